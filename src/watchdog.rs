//! What the main thread checks once a second: counters worth a warning, and whether every worker
//! and acceptor still iterates.
//!
//! Must not: wait for a worker. A worker that no longer reads its messages has peers that hang, and
//! nobody else would notice: its connections stay open, its nsqds go inactive.

use std::time::Duration;

use crate::access::{DenialCount, Denials, DenyReason};
use crate::clock::Timestamp;
use crate::connections::{ConnectionCounters, LoopHandle};
use crate::registry::Registry;

/// How often the checks are made.
pub const INTERVAL: Duration = Duration::from_secs(1);
/// How often the same warning is logged at most.
const WARN: Duration = Duration::from_secs(60);
/// From how full a registry on the log warns of it.
const NEARLY_FULL: f64 = 0.8;
/// Checks from one ping of the workers to the next.
const PING_EVERY: u32 = 10;
/// Pings in a row without an acknowledgement or a call after which a worker counts as stalled: half a
/// minute in which it has done nothing, however much there was to do. A process that was stopped for a while checks, once it goes on, before its workers can have
/// acknowledged; that is one.
const MISSED_PINGS: u32 = 3;

/// The checks of one server.
pub struct Watchdog<'a> {
    server: &'static str,
    counters: &'a ConnectionCounters,
    handles: &'a [LoopHandle],
    refused: Warned,
    accept_errors: Warned,
    checks: u32,
    /// For each worker, how many pings in a row it has neither acknowledged nor made a call since, and
    /// the calls it had made by the last ping.
    missed: Vec<(u32, u64)>,
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

impl<'a> Watchdog<'a> {
    /// Checks the server of this name, whose workers have these counters and handles.
    #[must_use]
    pub fn new(
        server: &'static str,
        counters: &'a ConnectionCounters,
        handles: &'a [LoopHandle],
    ) -> Self {
        let (refused, accept_errors) = (Warned::default(), Warned::default());
        let missed = vec![(0, 0); handles.len()];
        Self { server, counters, handles, refused, accept_errors, checks: 0, missed }
    }

    /// Checks once; to be called every [`INTERVAL`].
    ///
    /// # Errors
    /// When a worker does not acknowledge its messages: the process should end, so that its
    /// supervisor starts a new one.
    pub fn check(&mut self, now: Timestamp) -> Result<(), String> {
        let Self { server, counters, .. } = *self;
        if let Some(more) = self.refused.grown(counters.refused.get(), now) {
            let (flag, open) = (server.to_lowercase(), counters.open());
            tracing::warn!(
                "{server}: refused {more} connections over --max-{flag}-connections ({open} are open)"
            );
        }
        if let Some(more) = self.accept_errors.grown(counters.accept_errors.get(), now) {
            tracing::warn!(
                "{server}: {more} accepts failed; too few descriptors (RLIMIT_NOFILE), too little memory, or a security module?"
            );
        }
        self.checks += 1;
        if self.checks.is_multiple_of(PING_EVERY) { self.ping() } else { Ok(()) }
    }

    /// Pings every worker, and counts those that have done nothing since the last ping. One that is
    /// busy makes calls, and is left alone.
    fn ping(&mut self) -> Result<(), String> {
        for (handle, missed) in self.handles.iter().zip(&mut self.missed) {
            let calls = handle.calls();
            let is_alive = handle.is_responsive() || calls != missed.1;
            *missed = (if is_alive { 0 } else { missed.0 + 1 }, calls);
            if missed.0 == MISSED_PINGS {
                let (server, span) = (self.server, INTERVAL * PING_EVERY * MISSED_PINGS);
                let (name, doing) = (handle.name(), handle.stage().doing());
                return Err(format!(
                    "{server} {name} stalled for {span:?} while {doing}; exiting, since \
                     its peers hang; please report this"
                ));
            }
            handle.ping();
        }
        Ok(())
    }
}

/// The warnings about peers that the access rules refuse.
#[derive(Debug)]
pub struct DenialWarnings<'a> {
    denials: &'a Denials,
    warned: [Warned; DenyReason::ALL.len()],
}

impl<'a> DenialWarnings<'a> {
    /// Warns about these.
    #[must_use]
    pub fn new(denials: &'a Denials) -> Self {
        Self { denials, warned: Default::default() }
    }

    /// Checks once; to be called every [`INTERVAL`].
    pub fn check(&mut self, now: Timestamp) {
        for (reason, warned) in DenyReason::ALL.into_iter().zip(&mut self.warned) {
            let DenialCount { count, last } = self.denials.get(reason);
            if let (Some(more), Some(last)) = (warned.grown(count, now), last) {
                let (what, flag) = (reason.denied_requests(), reason.flag());
                tracing::warn!("access: refused {more} {what} by {flag}, the last of {last}");
            }
        }
    }
}

/// The warnings of a registry that is nearly full, and of names that made room for others.
#[derive(Debug, Default)]
pub struct RegistryWarning {
    was_nearly_full: bool,
    at: Option<Timestamp>,
    removed: Warned,
}

impl RegistryWarning {
    /// Checks once; to be called every [`INTERVAL`].
    pub fn check(&mut self, registry: &Registry, now: Timestamp) {
        if let Some(more) = self.removed.grown(registry.removed() as u64, now) {
            tracing::warn!(
                "DB: {more} topics and channels without producers were removed to make room (--max-registrations, --max-memory)"
            );
        }
        let ratio = registry.fill_ratio();
        if self.is_due(ratio, now) {
            tracing::warn!(
                "DB: the registry is {:.0} % full (--max-registrations, --max-memory): then REGISTERs and POSTs of new names are refused",
                ratio * 100.0
            );
        }
    }

    /// Whether a registry that is so full is worth a warning: when it becomes nearly full.
    fn is_due(&mut self, ratio: f64, now: Timestamp) -> bool {
        let was_nearly_full = std::mem::replace(&mut self.was_nearly_full, ratio >= NEARLY_FULL);
        let is_new = self.was_nearly_full && !was_nearly_full;
        let is_due = is_new && self.at.is_none_or(|at| now.since(at) >= WARN);
        if is_due {
            self.at = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connections::{LoopFds, Stage};

    fn second(number: u32) -> Timestamp {
        Timestamp::default() + Duration::from_secs(number.into())
    }

    #[test]
    fn worker_that_acknowledges_nothing_is_reported_and_others_are_not() {
        let counters = ConnectionCounters::default();
        let loop_fds = [0, 1].map(|number| {
            LoopFds::new(format!("worker {number}"), second(0)).expect("descriptors")
        });
        let handles = loop_fds.each_ref().map(|fds| fds.handle.clone());
        handles[1].begin(Stage::Serve);
        let mut watchdog = Watchdog::new("TCP", &counters, &handles);
        let stalled_at = (1..100).find_map(|number| {
            let checked = watchdog.check(second(number));
            handles[0].acknowledge();
            checked.err().map(|stalled| (number, stalled))
        });
        // The first ping can only be missed at the second one.
        let (number, stalled) = stalled_at.expect("one is");
        assert_eq!(number, PING_EVERY * (MISSED_PINGS + 1));
        assert!(stalled.contains("TCP worker 1 stalled for 30s while serving connections"));
    }

    #[test]
    fn worker_that_is_busy_for_minutes_is_left_alone() {
        let counters = ConnectionCounters::default();
        let handles = [LoopFds::new(String::new(), second(0)).expect("descriptors").handle.clone()];
        let mut watchdog = Watchdog::new("TCP", &counters, &handles);
        for number in 1..600 {
            handles[0].called();
            assert_eq!(watchdog.check(second(number)), Ok(()));
        }
        let stalled = (600..700).find(|&number| watchdog.check(second(number)).is_err());
        assert_eq!(stalled, Some(630), "half a minute after its last call");
    }

    #[test]
    fn registry_is_warned_of_when_it_becomes_nearly_full() {
        let mut warning = RegistryWarning::default();
        let checks =
            [(0, 0.79), (1, 0.8), (2, 1.0), (3, 0.7), (4, 0.9), (70, 0.9), (71, 0.5), (72, 0.8)];
        let due = checks.map(|(at, ratio)| warning.is_due(ratio, second(at)));
        assert_eq!(due, [false, true, false, false, false, false, false, true]);
    }

    #[test]
    fn growing_counter_is_warned_of_at_once_and_then_once_a_minute() {
        let mut warned = Warned::default();
        let checks = [(0, 0), (5, 5), (6, 6), (64, 9), (65, 9), (66, 9), (200, 9), (201, 10)];
        let given = checks.map(|(at, count)| warned.grown(count, second(at)));
        assert_eq!(given, [None, Some(5), None, None, Some(4), None, None, Some(1)]);
    }
}
