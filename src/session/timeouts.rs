//! How long a session waits.
//!
//! Must not: read a clock.

use std::time::Duration;

use crate::limits;

/// Session timeouts.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// From connect to a complete IDENTIFY.
    pub handshake: Duration,
    /// From a command's first byte to its last.
    pub command: Duration,
    /// Between two commands of an nsqd that is in the answers.
    pub inactive: Duration,
    /// Between two commands of an identified nsqd, at the most.
    pub silence: Duration,
}

impl Timeouts {
    /// The limits' timeouts, for an inactive-producer-timeout of `inactive`.
    #[must_use]
    pub fn with_inactive_timeout(inactive: Duration) -> Self {
        let twice = inactive.saturating_mul(limits::SILENCE_TIMEOUTS);
        Self {
            handshake: limits::HANDSHAKE,
            command: limits::COMMAND,
            inactive,
            silence: twice.max(limits::SILENCE),
        }
    }
}
