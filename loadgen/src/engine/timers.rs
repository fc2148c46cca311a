//! When each actor wants to be woken: one moment per actor, earliest first.
//!
//! Must not: read a clock. A moment that moves later costs nothing until it is reached: the heap
//! keeps at most a few entries per actor and checks them against the actor's own moment.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use musterd::clock::Timestamp;

/// The moments of one thread's actors.
#[derive(Debug)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Timestamp, u32)>>,
    /// What the actor asked for, and the earliest entry that stands for it in the heap.
    wanted: Vec<(Timestamp, Timestamp)>,
}

impl Timers {
    /// No moments, for actors `0..actors`.
    pub(crate) fn new(actors: usize) -> Self {
        let heap = BinaryHeap::with_capacity(actors);
        Self { heap, wanted: vec![(Timestamp::NEVER, Timestamp::NEVER); actors] }
    }

    /// The actor wants to be woken at `at` and no longer at any other moment.
    pub(crate) fn set(&mut self, actor: u32, at: Timestamp) {
        let (wanted, entry) = &mut self.wanted[actor as usize];
        *wanted = at;
        if at < *entry {
            *entry = at;
            self.heap.push(Reverse((at, actor)));
        }
    }

    /// The next moment, or one before it that has been given up.
    pub(crate) fn next(&self) -> Timestamp {
        self.heap.peek().map_or(Timestamp::NEVER, |Reverse((at, _))| *at)
    }

    /// Takes an actor whose moment has come, with that moment.
    pub(crate) fn due(&mut self, now: Timestamp) -> Option<(u32, Timestamp)> {
        while self.next() <= now {
            let Reverse((at, actor)) = self.heap.pop()?;
            let (wanted, entry) = &mut self.wanted[actor as usize];
            if *entry != at {
                continue;
            }
            *entry = Timestamp::NEVER;
            let wanted = *wanted;
            if wanted <= now {
                return Some((actor, wanted));
            }
            self.set(actor, wanted);
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
    fn the_earliest_comes_first_and_only_the_last_wish_counts() {
        let mut timers = Timers::new(3);
        timers.set(0, at(30));
        timers.set(1, at(10));
        timers.set(2, at(20));
        timers.set(1, at(40)); // later than first said
        timers.set(2, at(5)); // earlier than first said
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
