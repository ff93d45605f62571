//! The same work on many files, by all processors.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

/// What `work` makes of each item, in the order of the items. Each thread has a state of its own, and takes the next item when it is
/// done with one: where they are shared out beforehand, one thread waits in the end while the other has whole files before it.
pub(in crate::snapshot) fn each<T: Sync, S, R: Send>(
    items: &[T],
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, &T) -> R + Sync,
) -> Vec<R> {
    let Ok(all) = try_each(items, state, |state, item| Ok::<R, Infallible>(work(state, item)));
    all
}

/// As [`each`]; after an error no item is begun.
pub(in crate::snapshot) fn try_each<T: Sync, S, R: Send, E: Send>(
    items: &[T],
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, &T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let next = AtomicUsize::new(0);
    let worker = |_| {
        let (mut state, mut done) = (state(), Vec::new());
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else { return Ok(done) };
            match work(&mut state, item) {
                Ok(result) => done.push((at, result)),
                Err(e) => {
                    next.store(items.len(), Ordering::Relaxed);
                    return Err(e);
                }
            }
        }
    };
    let threads = rayon::current_num_threads().min(items.len());
    let parts: Vec<Result<Vec<(usize, R)>, E>> = (0..threads).into_par_iter().with_max_len(1).map(worker).collect();
    let mut all = Vec::with_capacity(items.len());
    for part in parts {
        all.extend(part?);
    }
    // What each thread has done is in order already, which this sort merges.
    all.sort_by_key(|(at, _)| *at);
    Ok(all.into_iter().map(|(_, result)| result).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_order_and_each_once() {
        let items: Vec<usize> = (0..1_000).collect();
        assert_eq!(each(&items, || 0, |_, item| item * 2), items.iter().map(|item| item * 2).collect::<Vec<_>>());
        assert_eq!(each(&[0_usize; 0], || 0, |_, item| *item), [0_usize; 0]);
    }

    #[test]
    fn no_thread_waits_while_another_has_items_before_it() {
        // The first item takes as long as all others together.
        let pause = |_: &mut (), item: &usize| {
            std::thread::sleep(std::time::Duration::from_millis(if *item == 0 { 200 } else { 2 }));
            std::thread::current().id()
        };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let items: Vec<usize> = (0..40).collect();
        let by = pool.install(|| each(&items, || (), pause));
        let beside = by.iter().skip(1).filter(|thread| **thread != by[0]).count();
        assert!(beside >= 30, "{beside} of 39 beside the long one");
    }

    #[test]
    fn after_an_error_nothing_is_begun() {
        let begun = AtomicUsize::new(0);
        let items: Vec<usize> = (0..1_000).collect();
        let failed = try_each(
            &items,
            || (),
            |(), item| {
                begun.fetch_add(1, Ordering::Relaxed);
                if *item == 10 { Err("ten") } else { Ok(()) }
            },
        );
        assert_eq!(failed, Err("ten"));
        assert!(begun.into_inner() < 1_000);
    }
}
