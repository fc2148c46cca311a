//! Bugs that are planted around the code under test, to prove that the simulation would see them.
//!
//! Must not: be reachable from production code. Each is what a plausible mistake would do.

use std::time::Duration;

use musterd::clock::Timestamp;

use crate::script::Say;
use crate::truth::View;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plant {
    Nothing,
    /// Replies leave although nothing was published.
    RepliesBeforeCommit,
    /// A connection that breaks is never told to the registry.
    ForgetsTheLost,
    /// REGISTER of one topic is answered and not carried out: an UNREGISTER is instead.
    LosesRegistrations,
    /// PING is answered and does not count as a sign of life.
    DeafToPing,
    /// Readers are given the snapshots of a step ago.
    StaleView,
    /// Readers judge by a clock that was read a step ago.
    StaleClock,
    /// A producer is taken for active one nanosecond too long.
    InactiveOneTooLate,
    /// A tombstone hides one nanosecond too long.
    TombstoneOneTooLong,
}

/// All that must be caught.
pub(crate) const PLANTS: [Plant; 8] = [
    Plant::RepliesBeforeCommit,
    Plant::ForgetsTheLost,
    Plant::LosesRegistrations,
    Plant::DeafToPing,
    Plant::StaleView,
    Plant::StaleClock,
    Plant::InactiveOneTooLate,
    Plant::TombstoneOneTooLong,
];

impl Plant {
    /// One nanosecond, if this is the plant.
    pub(crate) fn late(self, plant: Self) -> Duration {
        Duration::from_nanos(u64::from(self == plant))
    }

    /// What is really sent instead of what is said.
    pub(crate) fn garble(self, said: &Say) -> Option<Say> {
        match said {
            Say::Register("b", channel) if self == Self::LosesRegistrations => {
                Some(Say::Unregister("b", *channel))
            }
            _ => None,
        }
    }

    pub(crate) fn cached<'v>(self, before: &'v View, now: &'v View) -> &'v View {
        if self == Self::StaleView { before } else { now }
    }

    pub(crate) fn clock(self, before: Timestamp, now: Timestamp) -> Timestamp {
        if self == Self::StaleClock { before } else { now }
    }
}
