//! [`Work`]: how much an iteration of an event loop may still do.
//!
//! The event loop gives it to the calls of an iteration; whatever can take long spends it and stops
//! between two steps once it is over. Must not: decide what is done next. Belongs to the thread of
//! the loop.

use crate::clock::{Clock, Timestamp};
use crate::limits;

/// How much work the calls of an iteration may still do, in CPU time rather than in bytes.
///
/// It is counted in units of about 100 ns: a name written, a topic looked at. A PING costs one, a
/// small request ten. The clock is read only now and then, so that counting costs next to nothing.
#[derive(Debug)]
pub struct Work {
    /// None: time stands still.
    clock: Option<Clock>,
    /// The moment that it is over.
    until: Timestamp,
    /// Units until the clock is read again.
    left: u32,
    /// Units left to the call that is being made.
    of_call: u64,
    is_over: bool,
}

/// Units from one look at the clock to the next: about 50 µs.
pub(crate) const UNITS_PER_LOOK: u32 = 512;

/// Units that the calls which wait have together: 10 ms.
const ROUND: usize = 100_000;

/// The least that a call has, however many wait.
const LEAST: usize = 64;

/// What each of so many calls that wait may do, in units, so that the last of them does not wait
/// for long: [`limits::CALL`] at most.
pub(crate) fn part_of_round(calls: usize) -> usize {
    (ROUND / calls.max(1)).clamp(LEAST, limits::CALL)
}

impl Work {
    /// Work that is over from `until` on, by `clock`.
    #[must_use]
    pub fn new(clock: Clock, until: Timestamp) -> Self {
        Self { clock: Some(clock), until, ..Self::unlimited() }
    }

    /// Work that is never over.
    #[must_use]
    pub fn unlimited() -> Self {
        let (until, left) = (Timestamp::NEVER, UNITS_PER_LOOK);
        Self { clock: None, until, left, of_call: u64::MAX, is_over: false }
    }

    /// Work that is over once more than `units` are spent, on any machine.
    #[must_use]
    pub fn units(units: u32) -> Self {
        Self { until: Timestamp::default(), left: units, ..Self::unlimited() }
    }

    /// Begins anew: over from `until` on.
    pub(crate) fn restart(&mut self, until: Timestamp) {
        (self.until, self.left, self.is_over) = (until, UNITS_PER_LOOK, false);
    }

    /// A call of a handler begins, which has [`limits::CALL`] at most.
    pub(crate) fn begin_call(&mut self) {
        self.begin_call_of(limits::CALL);
    }

    /// The same, which has so many units at most.
    pub(crate) fn begin_call_of(&mut self, units: usize) {
        self.of_call = units as u64;
    }

    /// How many units were spent since it was made, if no call of an event loop has begun since.
    #[must_use]
    pub fn spent(&self) -> u64 {
        u64::MAX - self.of_call
    }

    /// So much was done, or is about to be.
    #[inline]
    pub fn spend(&mut self, units: u32) {
        self.of_call = self.of_call.saturating_sub(units.into());
        match self.left.checked_sub(units) {
            Some(left) => self.left = left,
            None => self.look_at_the_clock(),
        }
    }

    #[cold]
    fn look_at_the_clock(&mut self) {
        self.left = UNITS_PER_LOOK;
        let now = self.clock.as_ref().map_or_else(Timestamp::default, Clock::now);
        self.is_over |= now >= self.until;
    }

    /// Whether the call should end here and go on in a later one.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.of_call == 0 || self.is_over
    }

    /// Whether the iteration should end.
    pub(crate) fn is_iteration_over(&self) -> bool {
        self.is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_wait_together_have_less_each() {
        let units_of_call = |units| {
            let (mut work, mut spent) = (Work::unlimited(), 0);
            work.begin_call_of(units);
            while !work.is_over() {
                work.spend(1);
                spent += 1;
            }
            spent
        };
        assert_eq!(units_of_call(part_of_round(1)), limits::CALL);
        assert_eq!(units_of_call(part_of_round(500)), ROUND / 500);
        assert_eq!(units_of_call(part_of_round(10 * ROUND)), LEAST, "each does something");
    }
}
