//! What the tables of one listener have seen, for metrics and for the connection cap.
//!
//! Must not: order anything: every access is relaxed, and each figure is exact only by itself.
//! Written by the tables, read by any thread.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::handler::CloseReason;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Figures shared by all tables of one listener.
        #[derive(Debug, Default)]
        pub struct ConnectionCounters {
            $($name: AtomicU64,)*
        }

        impl ConnectionCounters {
            $($(#[$doc])* #[must_use] pub fn $name(&self) -> u64 {
                self.$name.load(Ordering::Relaxed)
            })*
        }
    };
}

counters! {
    /// Connections that are open now, from accept to the close of the descriptor.
    open,
    /// Connections accepted, those refused included.
    accepted,
    /// Connections refused because as many as allowed were open.
    refused,
    /// Accepts that failed. Those for want of descriptors or memory pause the listener.
    accept_errors,
    /// Connections that their conversation ended, or the peer.
    finished,
    /// Connections ended by a deadline.
    expired,
    /// Connections ended because their peer did not read.
    stalled,
    /// Connections that failed.
    broken,
    /// Connections ended by the daemon's stop.
    shutdown,
    /// Connections that a panic of their conversation ended.
    panicked,
    /// Turns taken by the tables; how much one wake-up finds to do shows against `received`.
    turns,
    /// Bytes received.
    received,
    /// Bytes sent.
    sent,
    /// Bytes of output that peers have not taken yet, now.
    queued_output,
}

/// What one table has done and not told yet: the busiest figures are summed on its own thread, so
/// that tables on different cores do not share a cache line in every turn.
#[derive(Debug, Default)]
pub(super) struct LocalCounters {
    pub(super) turns: u64,
    pub(super) received: u64,
    pub(super) sent: u64,
}

impl ConnectionCounters {
    /// Counts one more open connection, or refuses it because `most` are open.
    pub(super) fn enter(&self, most: u64) -> bool {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        // Only the one acceptor of the listener enters, so that nobody overtakes this check.
        let enters = self.open.load(Ordering::Relaxed) < most;
        let figure = if enters { &self.open } else { &self.refused };
        figure.fetch_add(1, Ordering::Relaxed);
        enters
    }

    /// A connection was accepted, and sent away for who its peer is.
    pub(super) fn turned_away(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection that entered is closed.
    pub(super) fn leave(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn accept_failed(&self) {
        self.accept_errors.fetch_add(1, Ordering::Relaxed);
    }

    /// A conversation is over.
    pub(super) fn ended(&self, why: CloseReason) {
        let figure = match why {
            CloseReason::Finished => &self.finished,
            CloseReason::Expired => &self.expired,
            CloseReason::Stalled => &self.stalled,
            CloseReason::Broken => &self.broken,
            CloseReason::Shutdown => &self.shutdown,
            CloseReason::Panicked => &self.panicked,
        };
        figure.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds what a table has done since it last told.
    pub(super) fn add(&self, done: LocalCounters) {
        self.turns.fetch_add(done.turns, Ordering::Relaxed);
        self.received.fetch_add(done.received, Ordering::Relaxed);
        self.sent.fetch_add(done.sent, Ordering::Relaxed);
    }

    /// So much output waits for its peer.
    pub(crate) fn queued(&self, bytes: usize) {
        self.queued_output.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn unqueued(&self, bytes: usize) {
        self.queued_output.fetch_sub(bytes as u64, Ordering::Relaxed);
    }
}
