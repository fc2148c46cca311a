//! The only reader of time: [`Clock::now`]. Everything else is passed a [`Timestamp`].
//!
//! Must not: sleep; be read twice for one decision (every call of a handler is passed one `now`).
//! Any thread may read it.

use std::ops::Add;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// A point in time in Unix nanoseconds, by a clock that never steps back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Later than every time the clock returns.
    pub const NEVER: Self = Self(i64::MAX);

    /// The time `nanos` nanoseconds after 1970-01-01 UTC.
    #[must_use]
    pub const fn from_unix_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since 1970-01-01 UTC, as `/debug` prints `last_update`.
    #[must_use]
    pub const fn unix_nanos(self) -> i64 {
        self.0
    }

    /// The time from `earlier` to this one; zero when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)))
    }
}

/// Returns the current [`Timestamp`]: the system's, or one that a test sets.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    /// The monotonic clock plus the wall clock's offset at the start: a wall clock that steps must
    /// not make ten thousand producers look inactive.
    System {
        /// What the wall clock was ahead of the monotonic one at the start, in nanoseconds.
        ahead: i64,
    },
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// The system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System { ahead: wall().0 - monotonic() })
    }

    /// A clock that returns `now` until [`Clock::set`] changes it.
    #[must_use]
    pub fn manual(now: Timestamp) -> Self {
        Self(Source::Manual(Arc::new(AtomicI64::new(now.0))))
    }

    /// The current time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System { ahead } => Timestamp(ahead + monotonic()),
            Source::Manual(now) => Timestamp(now.load(Ordering::SeqCst)),
        }
    }

    /// Sets a manual clock to `now`.
    ///
    /// # Panics
    /// When it is the system's clock.
    pub fn set(&self, now: Timestamp) {
        match &self.0 {
            Source::Manual(time) => time.store(now.0, Ordering::SeqCst),
            Source::System { .. } => panic!("the system's clock cannot be set"),
        }
    }

    /// The wall clock's time, which may step: for output that people read, never for a decision.
    #[must_use]
    pub fn wall(&self) -> Timestamp {
        match &self.0 {
            Source::System { .. } => wall(),
            Source::Manual(_) => self.now(),
        }
    }

    /// The wall clock's whole seconds since 1970-01-01 UTC: for the `Date` header.
    #[must_use]
    pub fn wall_seconds(&self) -> u64 {
        u64::try_from(self.wall().0 / 1_000_000_000).unwrap_or(0)
    }
}

/// How much CPU time this thread has taken so far. A system call.
#[must_use]
pub(crate) fn thread_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that reads time")]
fn wall() -> Timestamp {
    Timestamp::default() + SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Nanoseconds since some moment. `Instant` says the same in three times as many instructions, and
/// each request is timed.
fn monotonic() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_returns_the_time_that_was_set() {
        let clock = Clock::manual(Timestamp::from_unix_nanos(5_000_000_000));
        assert_eq!(clock.now(), clock.now());
        clock.set(clock.now() + Duration::from_secs(2));
        assert_eq!(clock.now().since(Timestamp::from_unix_nanos(5_000_000_000)).as_secs(), 2);
        assert_eq!(clock.wall_seconds(), 7);
    }

    #[test]
    fn the_system_clock_never_steps_back() {
        let clock = Clock::system();
        let (first, second) = (clock.now(), clock.now());
        assert!(first <= second);
        assert_eq!(first.since(second + Duration::from_secs(1)), Duration::ZERO);
    }
}
