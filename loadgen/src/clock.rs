//! The time of a run: nanoseconds since 1970, read once from the system's clock and then counted
//! by a monotonic one, so that it never goes back.
//!
//! Must not: be bypassed; nothing else reads a clock, so that tests can set the time.

use std::ops::Add;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A time in nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Timestamp(i64);

impl Timestamp {
    /// Later than every other time: not yet, or no timer.
    pub(crate) const NEVER: Self = Self(i64::MAX);

    /// That many nanoseconds after the start of 1970.
    pub(crate) const fn from_unix_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the start of 1970.
    pub(crate) const fn unix_nanos(self) -> i64 {
        self.0
    }

    /// The time since `earlier`; zero if that is later.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)))
    }
}

/// The clock. Clones show the same time.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    started: Timestamp,
    /// Absent in a test, whose clock stands still.
    monotonic: Option<Instant>,
}

impl Clock {
    /// The system's time.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads a clock")]
    pub(crate) fn system() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started: Timestamp(0) + since_epoch, monotonic: Some(Instant::now()) }
    }

    /// A clock that always shows `now`.
    #[cfg(test)]
    pub(crate) fn fixed(now: Timestamp) -> Self {
        Self { started: now, monotonic: None }
    }

    /// The time now.
    pub(crate) fn now(&self) -> Timestamp {
        self.started + self.monotonic.map_or(Duration::ZERO, |start| start.elapsed())
    }
}
