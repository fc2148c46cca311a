//! The fleet: nsqds, HTTP clients and peers that do not play by the rules, all without sockets.
//! An actor is handed events and a moment, and says what its one connection shall do next.
//!
//! Must not: touch a socket, read a clock or block. Actors of all threads share the [`World`].

pub(crate) mod asker;
pub(crate) mod check;
pub(crate) mod nsqd;
pub(crate) mod pump;
pub(crate) mod requests;
pub(crate) mod response;
pub(crate) mod rogue;
pub(crate) mod world;

use musterd::clock::Timestamp;

use crate::measure::interval::Interval;
use crate::model::truth::Shown;
use world::World;

/// What happens to an actor.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event<'a> {
    /// The moment it asked for has come.
    Wake,
    /// The main part begins at this moment.
    Start(Timestamp),
    /// Its connection stands.
    Connected,
    /// Bytes arrived; it keeps what it needs.
    Data(&'a [u8]),
    /// Its connection could not be made.
    Refused,
    /// The target ended its connection.
    Lost,
    /// A producer of its topic came or went at this moment.
    Notice(Timestamp),
    /// The run is over: nothing new is sent, answers in flight are still read.
    Drain,
    /// The run has ended: what is in flight stays unanswered.
    End,
}

/// Which of the target's ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    Tcp,
    Http,
}

/// What an actor wants of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Write what was appended to the output, if anything.
    Go,
    /// Connect; an earlier connection is closed.
    Connect(Port),
    /// Close at once, whatever is unsent.
    Close,
    /// Stop reading for good: the peer that never reads.
    Deafen,
}

/// What an actor may use during one event.
pub(crate) struct Io<'a> {
    pub(crate) now: Timestamp,
    pub(crate) world: &'a World,
    /// This second's measurements on this thread.
    pub(crate) stats: &'a mut Interval,
    /// Scratch for the oracle.
    pub(crate) shown: &'a mut Shown,
    /// Bytes for the connection.
    pub(crate) out: &'a mut Vec<u8>,
    /// Offsets in `out` at which a write of its own begins: nsqd writes a command in pieces.
    pub(crate) cuts: &'a mut Vec<usize>,
    pub(crate) order: Order,
    /// When the next [`Event::Wake`] is due; [`Timestamp::NEVER`]: not.
    pub(crate) wake: Timestamp,
}

impl Io<'_> {
    /// What follows in `out` is a write of its own.
    pub(crate) fn cut(&mut self) {
        self.cuts.push(self.out.len());
    }
}

/// One actor. Each has one connection at most.
#[derive(Debug)]
pub(crate) enum Actor {
    Nsqd(nsqd::Nsqd),
    Asker(Box<asker::Asker>),
    Rogue(rogue::Rogue),
    Pump(Box<pump::Pump>),
}

impl Actor {
    /// Deals with an event.
    pub(crate) fn event(&mut self, event: Event<'_>, io: &mut Io<'_>) {
        match self {
            Self::Nsqd(nsqd) => nsqd.event(event, io),
            Self::Asker(asker) => asker.event(event, io),
            Self::Rogue(rogue) => rogue.event(event, io),
            Self::Pump(pump) => pump.event(event, io),
        }
    }
}
