//! Deadlines in [`CoarseTime`], and the one timer that wakes an event loop for the earliest of them.
//!
//! Must not: read the time; it is handed `now`. Belongs to the thread that runs the loop.
//!
//! No slot has a timer of its own. The timer is set for the earliest deadline noted since the last
//! sweep; the sweep walks all slots and finds the next. Deadlines mostly move later, so that a
//! loop of quiet peers sweeps a few times a minute.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use crate::clock::Timestamp;

/// The unit of [`CoarseTime`]: the most by which a deadline is late.
pub(super) const RESOLUTION: Duration = Duration::from_millis(250);

/// A moment, in units of [`RESOLUTION`] since the loop was made; it lasts for 34 years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CoarseTime(u32);

impl CoarseTime {
    pub(super) const NEVER: Self = Self(u32::MAX);

    /// One unit later.
    pub(super) const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// The timer of an event loop and what it is set for.
pub(super) struct Deadlines {
    start: Timestamp,
    timer: OwnedFd,
    earliest: CoarseTime,
    pub(super) armed: CoarseTime,
}

impl Deadlines {
    /// Counts from `start` on.
    pub(super) fn new(start: Timestamp) -> io::Result<Self> {
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
        )?;
        Ok(Self { start, timer, earliest: CoarseTime::NEVER, armed: CoarseTime::NEVER })
    }

    /// `now`, rounded down.
    pub(super) fn coarse(&self, now: Timestamp) -> CoarseTime {
        let units = now.since(self.start).as_nanos() / RESOLUTION.as_nanos();
        CoarseTime(u32::try_from(units).unwrap_or(u32::MAX - 1))
    }

    /// A deadline that has passed at `now`, noted for the next sweep.
    pub(super) fn note_passed(&mut self, now: Timestamp) -> CoarseTime {
        let passed = self.coarse(now);
        self.earliest = self.earliest.min(passed);
        passed
    }

    /// `deadline`, rounded up; noted, so that the loop wakes for it.
    pub(super) fn note(&mut self, deadline: Timestamp) -> CoarseTime {
        let coarse = if deadline == Timestamp::NEVER {
            CoarseTime::NEVER
        } else {
            let units = deadline.since(self.start).as_nanos().div_ceil(RESOLUTION.as_nanos());
            CoarseTime(u32::try_from(units).unwrap_or(u32::MAX))
        };
        self.earliest = self.earliest.min(coarse);
        coarse
    }

    /// Whether a sweep may find something at `now`.
    pub(super) fn due(&self, now: CoarseTime) -> bool {
        self.earliest <= now
    }

    /// A sweep begins: what is noted from here on may be of slots that it has passed.
    pub(super) fn begin_sweep(&mut self) {
        self.earliest = CoarseTime::NEVER;
    }

    /// A sweep found that nothing it saw ends before `earliest`.
    pub(super) fn end_sweep(&mut self, earliest: CoarseTime) {
        self.earliest = self.earliest.min(earliest);
    }

    /// The timer has fired, and is no longer set.
    pub(super) fn fired(&mut self) {
        self.armed = CoarseTime::NEVER;
    }

    /// Sets the timer for the earliest deadline, when that has changed.
    pub(super) fn arm(&mut self, now: Timestamp) -> io::Result<()> {
        if self.earliest == self.armed {
            return Ok(());
        }
        let wait = if self.earliest == CoarseTime::NEVER {
            Duration::ZERO // which unsets it
        } else {
            let moment = self.start + RESOLUTION.saturating_mul(self.earliest.0);
            moment.since(now).max(Duration::from_nanos(1))
        };
        let value = Itimerspec {
            it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: Timespec::try_from(wait).map_err(|_| io::ErrorKind::InvalidInput)?,
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &value)?;
        self.armed = self.earliest;
        Ok(())
    }
}

impl AsFd for Deadlines {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadline_is_less_than_the_resolution_late_and_never_early() {
        let start = Timestamp::from_unix_nanos(1_000_000_007);
        let mut deadlines = Deadlines::new(start).unwrap();
        for millis in [0, 1, 249, 250, 251, 10_000] {
            let deadline = start + Duration::from_millis(millis);
            let coarse = deadlines.note(deadline);
            let early = deadline + Duration::from_nanos(1);
            assert!(millis == 0 || deadlines.coarse(start) < coarse, "{millis}");
            assert!(deadlines.coarse(early + RESOLUTION) >= coarse, "{millis}: too late");
            let before = start + Duration::from_millis(millis.saturating_sub(1));
            assert!(millis == 0 || deadlines.coarse(before) < coarse, "{millis}: too early");
        }
        assert_eq!(deadlines.note(Timestamp::NEVER), CoarseTime::NEVER);
    }

    #[test]
    fn the_earliest_deadline_decides_when_a_sweep_is_due() {
        let start = Timestamp::default();
        let mut deadlines = Deadlines::new(start).unwrap();
        assert!(!deadlines.due(deadlines.coarse(start + Duration::from_secs(1_000_000))));
        let late = deadlines.note(start + Duration::from_secs(9));
        let early = deadlines.note(start + Duration::from_secs(3));
        assert!(!deadlines.due(deadlines.coarse(start + Duration::from_millis(2999))));
        assert!(deadlines.due(early));
        deadlines.begin_sweep();
        deadlines.end_sweep(late);
        assert!(!deadlines.due(early));
        assert!(deadlines.due(late));
        deadlines.begin_sweep();
        let meanwhile = deadlines.note(start + Duration::from_secs(5));
        deadlines.end_sweep(late);
        assert!(deadlines.due(meanwhile), "noted while a sweep went on");
    }
}
