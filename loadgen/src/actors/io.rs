//! The interface between an actor and the engine: the engine hands an actor an [`Event`] and an
//! [`Io`]; the actor appends bytes, records measurements and leaves one [`Action`].
//!
//! Must not: touch a socket, read a clock or know a kind of actor.

use std::net::SocketAddr;
use std::time::Duration;

use crate::clock::Timestamp;

use super::shared::Shared;
use crate::measure::interval::{Interval, RequestTimes};
use crate::measure::ops::{Count, Op};
use crate::model::oracle::ListedProducers;

/// What happens to an actor.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event<'a> {
    /// The time in [`Io::wake`] has come.
    Wake,
    /// The main part begins at this time.
    Start(Timestamp),
    /// Its connection is established.
    Connected,
    /// Bytes arrived. They are not delivered again: an actor copies what it needs later.
    Data(&'a [u8]),
    /// Its connection could not be established.
    ConnectFailed,
    /// The target closed its connection.
    Disconnected,
    /// A producer of its topic was added or removed at this time.
    TopicChanged(Timestamp),
    /// The main part is over: no new requests; responses to requests in flight are still read.
    Drain,
    /// The run has ended: requests in flight stay unanswered.
    End,
}

/// One of the target's two ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    Tcp,
    Http,
}

/// What the engine does with an actor's connection after an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Write the bytes in [`Io::out`], if there are any.
    Continue,
    /// Connect; an earlier connection is closed first.
    Connect(Port),
    /// Close at once and discard unsent bytes.
    Close,
    /// Write the bytes and never read again.
    StopReading,
}

/// What an actor may use during one event.
pub(crate) struct Io<'a> {
    pub(crate) now: Timestamp,
    /// With [`Event::Wake`], how much later than asked for it comes.
    pub(crate) lag: Option<Duration>,
    pub(crate) shared: &'a Shared,
    /// With [`Event::Connected`], this end's address, if the target sees the same.
    pub(crate) local: Option<SocketAddr>,
    /// This second's measurements on this thread.
    pub(crate) stats: &'a mut Interval,
    /// Reused buffer for the oracle's check.
    pub(crate) listed: &'a mut ListedProducers,
    /// Bytes to send.
    pub(crate) out: &'a mut Vec<u8>,
    /// Offsets in `out` at which a separate write begins: nsqd writes one command in several parts.
    pub(crate) splits: &'a mut Vec<usize>,
    pub(crate) action: Action,
    /// When the next [`Event::Wake`] is due; [`Timestamp::NEVER`] for none.
    pub(crate) wake: Timestamp,
}

impl Io<'_> {
    /// A request, or a connection between two requests, failed.
    pub(crate) fn error(&mut self, why: Count, request: Option<(Op, RequestTimes)>) {
        let why = if self.shared.is_outage(self.now) { Count::Outage } else { why };
        match request {
            Some((op, times)) => self.stats.record_error(op, why, times, self.now),
            None => self.stats.count(why, 1),
        }
    }

    /// A request is sent; if a timer sends it, records how late the generator was.
    pub(crate) fn sends(&mut self, op: Op) {
        if let Some(lag) = self.lag {
            self.stats.lag(op, lag);
        }
    }

    /// Something was due then; it is counted in that second, however late it is handled.
    pub(crate) fn count_due(&mut self, count: Count, due: Timestamp) {
        let second = usize::try_from(due.since(self.shared.started).as_secs());
        self.stats.count_due(second.unwrap_or(usize::MAX), count);
    }

    /// Bytes arrived that no right target sends.
    pub(crate) fn garbled(&mut self) {
        [Count::Checked, Count::Garbled, Count::WrongAnswers]
            .iter()
            .for_each(|count| self.stats.count(*count, 1));
    }

    /// What is appended to `out` from here on is a separate write.
    pub(crate) fn split(&mut self) {
        self.splits.push(self.out.len());
    }
}
