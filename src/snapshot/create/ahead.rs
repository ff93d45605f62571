//! Links to files of the previous snapshot, made while everything else goes on.
//!
//! Of a snapshot of many unchanged files, linking takes most of the time, and one directory takes its links one by one.
//! So the links wait for nothing: whatever the previous snapshot has under a wanted name is linked at once, while its
//! manifests are read, the source is looked at, the active segment is copied and the new manifests are written. What
//! turns out to have changed is taken back.
//!
//! Of many directories, though, they leave some threads to those who look at the source: whoever writes the manifests waits
//! for them, and while the manifests are written links are what the others can do.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};
use crate::fs::{Dir, falls_back, try_link};
use crate::observe::Observer;

/// The links of one source that are made ahead.
pub(in crate::snapshot) struct Ahead<'s> {
    start: &'s (dyn Fn(Arc<Queue>) + Sync),
    all: Mutex<Vec<Arc<Links>>>,
    /// How many of them have been put into the queue.
    begun: AtomicUsize,
    queue: Arc<Queue>,
}

/// Links of several directories that wait for a thread.
#[derive(Default)]
pub(in crate::snapshot) struct Queue(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    links: VecDeque<Arc<Links>>,
    /// Threads that take from them, or are about to.
    threads: usize,
}

/// The links of one directory.
pub(in crate::snapshot) struct Links {
    from: Dir,
    to: Dir,
    /// Where `to` is in the snapshot.
    prefix: String,
    names: Vec<String>,
    turns: Vec<AtomicU8>,
    failed: Mutex<Option<Error>>,
    observer: Observer,
}

/// A file that could not be linked, though nothing is wrong: it has all the names that it can have.
pub(in crate::snapshot) struct Missed<'a> {
    pub(in crate::snapshot) from: &'a Dir,
    pub(in crate::snapshot) to: &'a Dir,
    pub(in crate::snapshot) prefix: &'a str,
    pub(in crate::snapshot) name: &'a str,
}

/// What becomes of a name; from `FREE` either side may take it, once.
const FREE: u8 = 0;
const LINKING: u8 = 1;
const LINKED: u8 = 2;
const MISSED: u8 = 3;
const UNWANTED: u8 = 4;

impl<'s> Ahead<'s> {
    /// `start` has a thread in the background [`run`](Queue::run) the queue, which the sources of one create share.
    pub(in crate::snapshot) fn new(start: &'s (dyn Fn(Arc<Queue>) + Sync), queue: &Arc<Queue>) -> Self {
        Ahead { start, all: Mutex::default(), begun: AtomicUsize::new(0), queue: queue.clone() }
    }

    /// Asks for links of these names of `from` in `to`, which is the directory `prefix` of the new snapshot.
    pub(in crate::snapshot) fn ask(
        &self,
        from: &Dir,
        (to, prefix): (&Dir, &str),
        names: Vec<String>,
        observer: &Observer,
    ) -> Arc<Links> {
        let links = Arc::new(Links {
            from: from.clone(),
            to: to.clone(),
            prefix: prefix.to_owned(),
            turns: names.iter().map(|_| AtomicU8::new(FREE)).collect(),
            names,
            failed: Mutex::default(),
            observer: observer.clone(),
        });
        self.all.lock().unwrap_or_else(PoisonError::into_inner).push(links.clone());
        links
    }

    /// Begins to make all links that have been asked for since the last time, with half of the threads.
    pub(in crate::snapshot) fn begin(&self) {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let new = all.iter().skip(self.begun.swap(all.len(), Ordering::Relaxed)).cloned();
        self.queue.lock().links.extend(new);
        self.employ(rayon::current_num_threads().div_ceil(2));
    }

    /// Goes on with all threads: everything has been looked at.
    pub(in crate::snapshot) fn hurry(&self) {
        self.employ(rayon::current_num_threads());
    }

    fn employ(&self, most: usize) {
        (0..self.queue.more(most)).for_each(|_| (self.start)(self.queue.clone()));
    }

    pub(in crate::snapshot) fn into_links(self) -> Vec<Arc<Links>> {
        self.all.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Makes links until none wait.
    pub(in crate::snapshot) fn run(&self) {
        while let Some(links) = self.next() {
            links.make();
        }
    }

    fn next(&self) -> Option<Arc<Links>> {
        let mut waiting = self.lock();
        let next = waiting.links.pop_front();
        if next.is_none() {
            // While the lock is held: what comes later finds one thread less.
            waiting.threads = waiting.threads.saturating_sub(1);
        }
        next
    }

    /// How many threads may come to those that are there, so that they are no more than `most`, or than have something to do.
    fn more(&self, most: usize) -> usize {
        let mut waiting = self.lock();
        let more = waiting.links.len().min(most.saturating_sub(waiting.threads));
        waiting.threads += more;
        more
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Once all links have been tried: what has to get there another way.
pub(in crate::snapshot) fn missed(all: &[Arc<Links>]) -> Result<Vec<Missed<'_>>> {
    let mut missed = Vec::new();
    for links in all {
        if let Some(e) = links.failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(e);
        }
        for (name, turn) in links.names.iter().zip(&links.turns) {
            if turn.load(Ordering::Acquire) == MISSED {
                missed.push(Missed { from: &links.from, to: &links.to, prefix: &links.prefix, name });
            }
        }
    }
    Ok(missed)
}

impl Links {
    pub(in crate::snapshot) fn names(&self) -> &[String] {
        &self.names
    }

    /// Makes the links that are still wanted.
    pub(in crate::snapshot) fn make(&self) {
        if let Err(e) = self.try_make() {
            *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(e);
        }
    }

    fn try_make(&self) -> Result<()> {
        const BATCH: usize = 64;
        for (names, turns) in self.names.chunks(BATCH).zip(self.turns.chunks(BATCH)) {
            self.observer.check()?;
            for (name, turn) in names.iter().zip(turns) {
                if turn.compare_exchange(FREE, LINKING, Ordering::AcqRel, Ordering::Acquire).is_err() {
                    continue;
                }
                let made = try_link(&self.from, name, &self.to);
                turn.store(if made.is_ok() { LINKED } else { MISSED }, Ordering::Release);
                match made {
                    Ok(()) => {}
                    Err(e) if falls_back(&e) => {}
                    Err(e) => return Err(Error::io("link", self.from.path_of(name), e)),
                }
            }
            self.observer.advance(names.len() as u64, 0);
        }
        Ok(())
    }

    /// Sees to it that the `at`th name is free in the new snapshot, now and later.
    pub(in crate::snapshot) fn take_back(&self, at: usize) -> Result<()> {
        let (Some(turn), Some(name)) = (self.turns.get(at), self.names.get(at)) else { return Ok(()) };
        loop {
            match turn.compare_exchange(FREE, UNWANTED, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) | Err(UNWANTED) => return Ok(()),
                // The other side is within one system call.
                Err(LINKING) => std::thread::yield_now(),
                Err(was) => {
                    turn.store(UNWANTED, Ordering::Release);
                    return if was == LINKED { self.to.unlink(name) } else { Ok(()) };
                }
            }
        }
    }
}
