//! Peers that violate the protocol: random bytes, one byte a second, requests whose responses are
//! never read. The scenario bounds their number. Nothing is measured on their own connections; what
//! matters is how the other actors are served meanwhile.
//!
//! Must not: touch a socket.

use std::time::Duration;

use crate::clock::Timestamp;

use super::io::{Action, Event, Io, Port};
use super::requests::Request;
use crate::model::plan::Misbehaviour;
use crate::model::rng::Rng;

/// Between two sends of one peer.
const SEND_INTERVAL: Duration = Duration::from_secs(1);
/// A peer that never reads sends this many lookups at once, in this many rounds.
const UNREAD_REQUESTS: u32 = 50;
const UNREAD_ROUNDS: u32 = 20;
/// The valid beginnings that are sent one byte at a time.
const SLOW_IDENTIFY: &[u8] = b"  V1IDENTIFY\n\0\0\0\x7f{\"version\":\"";
const SLOW_LOOKUP: &[u8] = b"GET /lookup?topic=t HTTP/1.1\r\nHost: ";

/// One misbehaving peer.
#[derive(Debug)]
pub(crate) struct MisbehavingClient {
    kind: Misbehaviour,
    /// When it sends next.
    due: Timestamp,
    connected: bool,
    round: u32,
    rng: Rng,
}

impl MisbehavingClient {
    /// A peer of that kind, idle until the main part begins.
    pub(crate) fn new(kind: Misbehaviour, number: u32, seed: u64) -> Self {
        let rng = Rng::new(seed, (2 << 32) | u64::from(number));
        Self { kind, due: Timestamp::NEVER, connected: false, round: 0, rng }
    }

    /// Handles an event.
    pub(crate) fn event(&mut self, event: Event<'_>, io: &mut Io<'_>) {
        match event {
            Event::Start(main) => self.due = main + SEND_INTERVAL.mul_f64(self.rng.unit()),
            Event::Wake => self.wake(io),
            Event::Connected => self.send(io),
            Event::ConnectFailed | Event::Disconnected => self.connected = false,
            Event::Drain | Event::End => {
                self.due = Timestamp::NEVER;
                io.action = Action::Close;
            }
            Event::Data(_) | Event::TopicChanged(_) => {}
        }
        io.wake = self.due;
    }

    fn wake(&mut self, io: &mut Io<'_>) {
        if self.due > io.now {
            return;
        }
        self.due = io.now + SEND_INTERVAL;
        if self.connected {
            return self.send(io);
        }
        self.connected = true;
        self.round = 0;
        let tcp = matches!(self.kind, Misbehaviour::GarbageTcp | Misbehaviour::SlowlorisTcp);
        io.action = Action::Connect(if tcp { Port::Tcp } else { Port::Http });
    }

    fn send(&mut self, io: &mut Io<'_>) {
        let round = self.round;
        self.round += 1;
        match self.kind {
            Misbehaviour::GarbageTcp => self.garbage(b"  V1", io),
            Misbehaviour::GarbageHttp => self.garbage(b"GET /", io),
            Misbehaviour::SlowlorisTcp => send_byte(SLOW_IDENTIFY, round, io),
            Misbehaviour::SlowlorisHttp => send_byte(SLOW_LOOKUP, round, io),
            Misbehaviour::NeverReads => send_unread(round, io),
        }
    }

    /// Random bytes, half of the times after a valid beginning.
    fn garbage(&mut self, beginning: &[u8], io: &mut Io<'_>) {
        if self.rng.below(2) == 0 {
            io.out.extend_from_slice(beginning);
        }
        for _ in 0..=self.rng.below(64) {
            io.out.extend_from_slice(&self.rng.next().to_ne_bytes());
        }
        io.out.push(b'\n');
    }
}

/// One byte of a valid beginning, then `x` forever.
fn send_byte(beginning: &[u8], round: u32, io: &mut Io<'_>) {
    io.out.push(beginning.get(round as usize).copied().unwrap_or(b'x'));
}

fn send_unread(round: u32, io: &mut Io<'_>) {
    if round == 0 {
        io.action = Action::StopReading;
    }
    if round < UNREAD_ROUNDS {
        let topics = crate::num::index(io.shared.plan.scenario.topics.count.max(1));
        for topic in 0..UNREAD_REQUESTS {
            Request::Lookup(topic % topics).write(io.shared.target.http, false, io.out);
        }
    }
}
