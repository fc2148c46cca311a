//! Which states of a thing a reader may see: those from the last one it must or did see, on.
//!
//! Must not: know of what. This is the whole of "published before replied" and "no stale read".

use std::collections::VecDeque;

/// The states of one thing, oldest first, that a reader may still see.
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

    /// Adds a state, if it is one; the number of the newest.
    pub(crate) fn push(&mut self, state: S) -> usize {
        if self.states.back() != Some(&state) {
            self.states.push_back(state);
        }
        self.newest()
    }

    pub(crate) fn newest(&self) -> usize {
        self.first + self.states.len() - 1
    }

    /// From here on nobody may see a state before number `state`.
    pub(crate) fn require(&mut self, state: usize) {
        while self.first < state {
            self.states.pop_front();
            self.first += 1;
        }
    }

    /// A reader saw `state`: whether it may, and if so nobody may see an older one any more.
    pub(crate) fn observe(&mut self, state: &S) -> bool {
        let Some(at) = self.states.iter().position(|known| known == state) else { return false };
        self.require(self.first + at);
        true
    }
}
