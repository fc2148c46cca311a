//! Timers: one deadline per actor, earliest first.
//!
//! A deadline that moves later costs nothing until the earlier one is reached: the heap holds at
//! most a few entries per actor and checks each against the actor's current deadline.
//!
//! Must not: read a clock.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::clock::Timestamp;

/// The deadlines of one thread's actors.
#[derive(Debug)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Timestamp, u32)>>,
    /// By actor, its deadline and its earliest entry in the heap.
    deadlines: Vec<(Timestamp, Timestamp)>,
}

impl Timers {
    /// No deadlines, for actors `0..actors`.
    pub(crate) fn new(actors: usize) -> Self {
        let heap = BinaryHeap::with_capacity(actors);
        Self { heap, deadlines: vec![(Timestamp::NEVER, Timestamp::NEVER); actors] }
    }

    /// Replaces the actor's deadline.
    pub(crate) fn set(&mut self, actor: u32, at: Timestamp) {
        let (deadline, entry) = &mut self.deadlines[actor as usize];
        *deadline = at;
        if at < *entry {
            *entry = at;
            self.heap.push(Reverse((at, actor)));
        }
    }

    /// The next deadline, or an earlier one that was replaced.
    pub(crate) fn next(&self) -> Timestamp {
        self.heap.peek().map_or(Timestamp::NEVER, |Reverse((at, _))| *at)
    }

    /// Takes an actor whose deadline has come, with that deadline.
    pub(crate) fn due(&mut self, now: Timestamp) -> Option<(u32, Timestamp)> {
        while self.next() <= now {
            let Reverse((at, actor)) = self.heap.pop()?;
            let (deadline, entry) = &mut self.deadlines[actor as usize];
            if *entry != at {
                continue;
            }
            *entry = Timestamp::NEVER;
            let deadline = *deadline;
            if deadline <= now {
                return Some((actor, deadline));
            }
            self.set(actor, deadline);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: i64) -> Timestamp {
        Timestamp::from_unix_nanos(nanos)
    }

    #[test]
    fn earliest_deadline_comes_first_and_the_last_set_counts() {
        let mut timers = Timers::new(3);
        timers.set(0, at(30));
        timers.set(1, at(10));
        timers.set(2, at(20));
        timers.set(1, at(40)); // later than before
        timers.set(2, at(5)); // earlier than before
        assert_eq!(timers.due(at(4)), None);
        assert_eq!(timers.due(at(50)), Some((2, at(5))));
        assert_eq!(timers.due(at(35)), Some((0, at(30))));
        assert_eq!(timers.due(at(35)), None);
        assert_eq!(timers.due(at(50)), Some((1, at(40))));
        assert_eq!(timers.next(), Timestamp::NEVER);
        timers.set(1, Timestamp::NEVER);
        assert_eq!(timers.due(at(100)), None);
    }
}
