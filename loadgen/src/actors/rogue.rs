//! Peers that do not play by the rules: bytes that are no protocol, a byte a second, requests
//! whose answers are never read. Their number and pace are bounded by the scenario; what they
//! meet is not measured, only what the others meet beside them.
//!
//! Must not: touch a socket.

use std::time::Duration;

use musterd::clock::Timestamp;

use super::requests::Request;
use super::{Event, Io, Order, Port};
use crate::model::plan;
use crate::model::rng::Rng;

/// Between two acts of one peer.
const PACE: Duration = Duration::from_secs(1);
/// Lookups that a deaf peer sends at once, and for how many acts.
const DEAF_REQUESTS: u32 = 50;
const DEAF_ROUNDS: u32 = 20;

/// One such peer.
#[derive(Debug)]
pub(crate) struct Rogue {
    kind: plan::Rogue,
    due: Timestamp,
    connected: bool,
    round: u32,
    rng: Rng,
}

impl Rogue {
    /// A peer of that kind, silent until the main part begins.
    pub(crate) fn new(kind: plan::Rogue, number: u32, seed: u64) -> Self {
        let rng = Rng::new(seed, (2 << 32) | u64::from(number));
        Self { kind, due: Timestamp::NEVER, connected: false, round: 0, rng }
    }

    /// Deals with an event.
    pub(crate) fn event(&mut self, event: Event<'_>, io: &mut Io<'_>) {
        match event {
            Event::Start(main) => self.due = main + PACE.mul_f64(self.rng.unit()),
            Event::Wake => self.wake(io),
            Event::Connected => self.act(io),
            Event::Refused | Event::Lost => self.connected = false,
            Event::Drain | Event::End => {
                self.due = Timestamp::NEVER;
                io.order = Order::Close;
            }
            Event::Data(_) | Event::Notice(_) => {}
        }
        io.wake = self.due;
    }

    fn wake(&mut self, io: &mut Io<'_>) {
        if self.due > io.now {
            return;
        }
        self.due = io.now + PACE;
        if self.connected {
            return self.act(io);
        }
        self.connected = true;
        self.round = 0;
        io.order = Order::Connect(match self.kind {
            plan::Rogue::GarbageTcp | plan::Rogue::DrippingTcp => Port::Tcp,
            plan::Rogue::GarbageHttp | plan::Rogue::DrippingHttp | plan::Rogue::Deaf => Port::Http,
        });
    }

    fn act(&mut self, io: &mut Io<'_>) {
        let round = self.round;
        self.round += 1;
        match self.kind {
            plan::Rogue::GarbageTcp => self.garbage(b"  V1", io),
            plan::Rogue::GarbageHttp => self.garbage(b"GET /", io),
            plan::Rogue::DrippingTcp => drip(b"  V1IDENTIFY\n\0\0\0\x7f{\"version\":\"", round, io),
            plan::Rogue::DrippingHttp => drip(b"GET /lookup?topic=t HTTP/1.1\r\nHost: ", round, io),
            plan::Rogue::Deaf => deaf(round, io),
        }
    }

    /// Bytes at random, every other time behind a beginning that looks right.
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

/// One byte of a beginning, then a letter for ever.
fn drip(beginning: &[u8], round: u32, io: &mut Io<'_>) {
    io.out.push(beginning.get(round as usize).copied().unwrap_or(b'x'));
}

fn deaf(round: u32, io: &mut Io<'_>) {
    if round == 0 {
        io.order = Order::Deafen;
    }
    if round < DEAF_ROUNDS {
        let topics = crate::num::index(io.world.plan.scenario.topics.count.max(1));
        for topic in 0..DEAF_REQUESTS {
            Request::Lookup(topic % topics).write(io.world.target.http, false, io.out);
        }
    }
}
