//! The states of one value that a reader may still see: from the last one that it must see or has
//! seen. This checks "published before replied" and "no stale read".
//!
//! Must not: know what the value is.

use std::collections::VecDeque;

/// The states of one value that a reader may still see, oldest first.
#[derive(Clone, Debug)]
pub(crate) struct Window<S> {
    states: VecDeque<S>,
    /// The number of the first of them.
    first: usize,
}

impl<S: PartialEq> Window<S> {
    pub(crate) fn new(state: S) -> Self {
        Self { states: VecDeque::from([state]), first: 0 }
    }

    /// The state that was seen last.
    pub(crate) fn seen(&self) -> &S {
        &self.states[0]
    }

    /// Adds a state, unless it is the newest one already; the number of the newest.
    pub(crate) fn push(&mut self, state: S) -> usize {
        if self.states.back() != Some(&state) {
            self.states.push_back(state);
        }
        self.newest()
    }

    pub(crate) fn newest(&self) -> usize {
        self.first + self.states.len() - 1
    }

    /// From now on no reader may see a state before number `state`.
    pub(crate) fn require(&mut self, state: usize) {
        while self.first < state {
            self.states.pop_front();
            self.first += 1;
        }
    }

    /// A reader saw `state`: whether that is allowed. If so, no reader may see an older one.
    pub(crate) fn observe(&mut self, state: &S) -> bool {
        let Some(at) = self.states.iter().position(|known| known == state) else { return false };
        self.require(self.first + at);
        true
    }
}
