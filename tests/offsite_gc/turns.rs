//! Who may make the next request: one at a time, in an order that a test chooses.

use std::sync::{Condvar, Mutex};

/// Actors that wait for their turn before every request.
#[derive(Debug)]
pub struct Turns {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// What each wants to do next; `None` while it is at work.
    wants: Vec<Option<Want>>,
    done: Vec<bool>,
    /// Who may go.
    granted: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    Request,
    /// A request that removes something.
    Removal,
    /// To wait for longer than any removal can take.
    Wait,
}

impl Turns {
    pub fn new(actors: usize) -> Self {
        let state = State { wants: vec![None; actors], done: vec![false; actors], granted: None };
        Turns { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Called by an actor: returns when it may do it.
    pub fn turn(&self, actor: usize, want: Want) {
        let mut state = self.state.lock().unwrap();
        state.wants[actor] = Some(want);
        self.changed.notify_all();
        let mut state = self.changed.wait_while(state, |state| state.granted != Some(actor)).unwrap();
        state.granted = None;
        state.wants[actor] = None;
    }

    /// Called by an actor at its end.
    pub fn end(&self, actor: usize) {
        self.state.lock().unwrap().done[actor] = true;
        self.changed.notify_all();
    }

    /// Lets all run to their ends. `choose` gets those that may go and says which does. Returns how many steps it took.
    pub fn play(&self, mut choose: impl FnMut(usize, &[usize]) -> usize) -> usize {
        let mut steps = 0;
        loop {
            let state = self.state.lock().unwrap();
            let busy = |state: &mut State| {
                let at_work = state.wants.iter().zip(&state.done).any(|(want, done)| want.is_none() && !done);
                state.granted.is_some() || at_work
            };
            let mut state = self.changed.wait_while(state, |state| busy(state)).unwrap();
            let removing = state.wants.contains(&Some(Want::Removal));
            // A wait is longer than a removal that is on the way can take.
            let may = |want: &Option<Want>| match want {
                Some(Want::Wait) => !removing,
                Some(_) => true,
                None => false,
            };
            let able: Vec<usize> = (0..state.wants.len()).filter(|actor| may(&state.wants[*actor])).collect();
            if able.is_empty() {
                assert!(state.done.iter().all(|done| *done), "nobody can go: {state:?}");
                return steps;
            }
            state.granted = Some(choose(steps, &able));
            steps += 1;
            self.changed.notify_all();
        }
    }
}
