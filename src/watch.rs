//! What the main thread looks at once a second: counters worth a warning, and whether every table
//! still takes turns.
//!
//! Must not: wait for a table. A table that no longer hears its mailbox has peers that hang, and
//! nobody else would notice: its connections stay open, its nsqds go inactive.

use std::fmt;
use std::time::Duration;

use crate::access::{Reason, Refusals, Seen};
use crate::clock::Timestamp;
use crate::connections::{Counters, Handle, Mail};

/// How often the watch looks.
pub const LOOK: Duration = Duration::from_secs(1);
/// How often one thing is warned of at most.
const WARN: Duration = Duration::from_secs(60);
/// Looks between two calls to a table.
const CALL: u32 = 10;
/// Calls that go unheard before a table counts as deaf: half a minute. A process that was stopped
/// for a while looks, once it goes on, before its tables can have heard; that is one.
const UNHEARD: u32 = 3;

/// A table does not hear its mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deaf {
    /// Whose table.
    pub side: &'static str,
    /// Which of its tables.
    pub table: usize,
}

impl fmt::Display for Deaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { side, table } = self;
        let span = LOOK * CALL * UNHEARD;
        write!(f, "{side} table {table} has taken no turn for {span:?}; restart, and report this")
    }
}

/// The watch over one side.
#[derive(Debug)]
pub struct Watch<'a> {
    side: &'static str,
    counters: &'a Counters,
    handles: &'a [Handle],
    refused: Warned,
    accept_errors: Warned,
    looks: u32,
    /// For each table, how many calls in a row it has not heard.
    unheard: Vec<u32>,
}

/// How much of a counter has been warned of, and when.
#[derive(Debug, Default)]
struct Warned {
    count: u64,
    at: Option<Timestamp>,
}

impl Warned {
    /// By how much the counter has grown since, if that is worth a warning again.
    fn grown(&mut self, count: u64, now: Timestamp) -> Option<u64> {
        if count == self.count || self.at.is_some_and(|at| now.since(at) < WARN) {
            return None;
        }
        self.at = Some(now);
        Some(count - std::mem::replace(&mut self.count, count))
    }
}

impl<'a> Watch<'a> {
    /// A watch over the side called `side`, whose tables have these counters and mailboxes.
    #[must_use]
    pub fn new(side: &'static str, counters: &'a Counters, handles: &'a [Handle]) -> Self {
        let (refused, accept_errors) = (Warned::default(), Warned::default());
        let unheard = vec![0; handles.len()];
        Self { side, counters, handles, refused, accept_errors, looks: 0, unheard }
    }

    /// Looks once; every [`LOOK`].
    ///
    /// # Errors
    /// [`Deaf`]: the process should end, so that its supervisor starts a new one.
    pub fn look(&mut self, now: Timestamp) -> Result<(), Deaf> {
        let Self { side, counters, .. } = *self;
        if let Some(more) = self.refused.grown(counters.refused(), now) {
            let (flag, open) = (side.to_lowercase(), counters.open());
            tracing::warn!(
                "{side}: refused {more} connections over --max-{flag}-connections ({open} are open)"
            );
        }
        if let Some(more) = self.accept_errors.grown(counters.accept_errors(), now) {
            tracing::warn!(
                "{side}: {more} accepts failed; too few descriptors (RLIMIT_NOFILE), too little memory, or a security module?"
            );
        }
        self.looks += 1;
        if self.looks.is_multiple_of(CALL) { self.call() } else { Ok(()) }
    }

    /// Calls every table, and counts those that did not hear the last call.
    fn call(&mut self) -> Result<(), Deaf> {
        for (table, (handle, unheard)) in self.handles.iter().zip(&mut self.unheard).enumerate() {
            *unheard = if handle.is_heard() { 0 } else { *unheard + 1 };
            if *unheard == UNHEARD {
                return Err(Deaf { side: self.side, table });
            }
            handle.send(Mail::Wake);
        }
        Ok(())
    }
}

/// The watch over who is refused for who they are.
#[derive(Debug)]
pub struct AccessWatch<'a> {
    refusals: &'a Refusals,
    warned: [Warned; Reason::ALL.len()],
}

impl<'a> AccessWatch<'a> {
    /// A watch over these.
    #[must_use]
    pub fn new(refusals: &'a Refusals) -> Self {
        Self { refusals, warned: Default::default() }
    }

    /// Looks once; every [`LOOK`].
    pub fn look(&mut self, now: Timestamp) {
        for (reason, warned) in Reason::ALL.into_iter().zip(&mut self.warned) {
            let Seen { count, last } = self.refusals.seen(reason);
            if let (Some(more), Some(last)) = (warned.grown(count, now), last) {
                let (what, flag) = (reason.refused(), reason.flag());
                tracing::warn!("access: refused {more} {what} by {flag}, the last of {last}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connections::Seat;

    fn second(number: u32) -> Timestamp {
        Timestamp::default() + Duration::from_secs(number.into())
    }

    #[test]
    fn a_table_that_hears_nothing_is_told_and_one_that_hears_is_not() {
        let counters = Counters::default();
        let seats = [Seat::new().expect("descriptors"), Seat::new().expect("descriptors")];
        let handles = seats.each_ref().map(Seat::handle);
        let mut watch = Watch::new("TCP", &counters, &handles);
        let deaf_at = (1..100).find_map(|number| {
            let looked = watch.look(second(number));
            handles[0].hear();
            looked.err().map(|deaf| (number, deaf))
        });
        // The first call can only be unheard at the second one.
        let want = Deaf { side: "TCP", table: 1 };
        assert_eq!(deaf_at, Some((CALL * (UNHEARD + 1), want)));
        assert!(want.to_string().contains("TCP table 1 has taken no turn for 30s"));
    }

    #[test]
    fn a_counter_is_warned_of_at_once_and_then_once_a_minute() {
        let mut warned = Warned::default();
        let looks = [(0, 0), (5, 5), (6, 6), (64, 9), (65, 9), (66, 9), (200, 9), (201, 10)];
        let given = looks.map(|(at, count)| warned.grown(count, second(at)));
        assert_eq!(given, [None, Some(5), None, None, Some(4), None, None, Some(1)]);
    }
}
