//! Bugs that can be switched on around the code under test: the simulation must find each of them.
//!
//! Must not: be reachable from production code. Each has the effect of a plausible mistake.

use std::time::Duration;

use musterd::clock::Timestamp;

use crate::oracle::View;
use crate::script::Command;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    None,
    /// Replies leave although nothing was published.
    RepliesBeforeCommit,
    /// The registry is not told when a connection breaks.
    ForgetsBrokenConnections,
    /// REGISTER of one topic is answered, but UNREGISTER is carried out.
    LosesRegistrations,
    /// PING is answered and does not update the producer.
    IgnoresPing,
    /// Readers are given the snapshots of a step ago.
    StaleView,
    /// Readers use the time of a step ago.
    StaleClock,
    /// A producer counts as active one nanosecond too long.
    InactiveOneNanosecondLate,
    /// A tombstone hides one nanosecond too long.
    TombstoneOneNanosecondLong,
}

/// Each must be found.
pub(crate) const MUTATIONS: [Mutation; 8] = [
    Mutation::RepliesBeforeCommit,
    Mutation::ForgetsBrokenConnections,
    Mutation::LosesRegistrations,
    Mutation::IgnoresPing,
    Mutation::StaleView,
    Mutation::StaleClock,
    Mutation::InactiveOneNanosecondLate,
    Mutation::TombstoneOneNanosecondLong,
];

impl Mutation {
    /// One nanosecond, if this is that mutation.
    pub(crate) fn late(self, mutation: Self) -> Duration {
        Duration::from_nanos(u64::from(self == mutation))
    }

    /// The command that is really sent instead of this one.
    pub(crate) fn replacement(self, command: &Command) -> Option<Command> {
        match command {
            Command::Register("b", channel) if self == Self::LosesRegistrations => {
                Some(Command::Unregister("b", *channel))
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
