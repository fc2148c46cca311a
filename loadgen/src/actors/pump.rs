//! One connection of a closed loop: it keeps a number of requests in flight and sends the next as
//! soon as one is answered. It measures throughput; its latencies are service times, since nothing
//! is ever due.
//!
//! Must not: touch a socket.

use std::collections::VecDeque;

use musterd::clock::Timestamp;
use testkit::wire;

use super::requests::Request;
use super::response::Response;
use super::{Event, Io, Order, Port, check};
use crate::input::scenario::ClosedOp;
use crate::measure::interval::Asked;
use crate::measure::ops::{Count, Op};
use crate::model::rng::Rng;
use crate::model::truth::Answer;

/// Topics that a registering connection goes through, over and over.
const TOPICS: u32 = 16;

/// One connection.
#[derive(Debug)]
pub(crate) struct Pump {
    number: u32,
    due: Timestamp,
    /// What is in flight, oldest first: when it was sent, and which topic it is about.
    flights: VecDeque<(Timestamp, u32)>,
    identified: bool,
    partial: Vec<u8>,
    response: Response,
    round: u32,
    rng: Rng,
}

impl Pump {
    /// The connection number `number`, silent until the main part begins.
    pub(crate) fn new(number: u32, seed: u64) -> Self {
        Self {
            number,
            due: Timestamp::NEVER,
            flights: VecDeque::new(),
            identified: false,
            partial: Vec::new(),
            response: Response::new(),
            round: 0,
            rng: Rng::new(seed, (3 << 32) | u64::from(number)),
        }
    }

    /// Deals with an event.
    pub(crate) fn event(&mut self, event: Event<'_>, io: &mut Io<'_>) {
        match event {
            Event::Start(main) => self.due = main,
            Event::Wake if self.due <= io.now => {
                self.due = Timestamp::NEVER;
                io.order =
                    Order::Connect(if op(io) == ClosedOp::Lookup { Port::Http } else { Port::Tcp });
            }
            Event::Connected => self.connected(io),
            Event::Data(bytes) => self.data(bytes, io),
            Event::Refused => io.stats.count(Count::Refused, 1),
            Event::Lost => self.lost(io),
            Event::End => io.order = Order::Close,
            Event::Wake | Event::Notice(_) | Event::Drain => {}
        }
        io.wake = self.due;
    }

    fn connected(&mut self, io: &mut Io<'_>) {
        if op(io) == ClosedOp::Lookup {
            self.identified = true;
            return self.fill(io);
        }
        let host = format!("pump-{}", self.number);
        io.out.extend_from_slice(wire::MAGIC);
        wire::identify(&wire::peer_info(&host, &host), io.out);
    }

    /// Sends until the depth is reached.
    fn fill(&mut self, io: &mut Io<'_>) {
        let depth = io.world.plan.scenario.closed.as_ref().map_or(1, |closed| closed.depth);
        while self.flights.len() < depth && !io.world.draining() {
            let topic = match op(io) {
                ClosedOp::Ping => {
                    io.out.extend_from_slice(wire::PING);
                    0
                }
                ClosedOp::Register => {
                    self.round = (self.round + 1) % TOPICS;
                    wire::register(&format!("pumped-{}", self.round), Some("channel-0"), io.out);
                    self.round
                }
                ClosedOp::Lookup => {
                    let topic = crate::num::index(io.world.plan.popularity.pick(&mut self.rng));
                    Request::Lookup(topic).write(io.world.target.http, false, io.out);
                    topic
                }
            };
            self.flights.push_back((io.now, topic));
        }
    }

    fn data(&mut self, bytes: &[u8], io: &mut Io<'_>) {
        let good = if op(io) == ClosedOp::Lookup {
            self.responses(bytes, io)
        } else {
            self.replies(bytes, io)
        };
        if !good {
            io.stats.count(Count::Wrong, 1);
            io.order = Order::Close;
            return self.flights.clear();
        }
        if self.identified {
            self.fill(io);
        }
    }

    fn replies(&mut self, bytes: &[u8], io: &mut Io<'_>) -> bool {
        self.partial.extend_from_slice(bytes);
        let mut read = 0;
        while let Some((reply, length)) = wire::take_frame(&self.partial[read..]) {
            if !self.identified {
                self.identified = reply.starts_with(b"{");
                if !self.identified {
                    return false;
                }
            } else if reply == b"OK"
                && let Some((sent, _)) = self.flights.pop_front()
            {
                let kind = if op(io) == ClosedOp::Ping { Op::Ping } else { Op::Register };
                io.stats.answered(kind, Asked { intended: sent, sent }, io.now);
            } else {
                return false;
            }
            read += length;
        }
        self.partial.drain(..read);
        true
    }

    fn responses(&mut self, bytes: &[u8], io: &mut Io<'_>) -> bool {
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.response.feed(rest) {
                Ok(None) => return true,
                Ok(Some(next)) => rest = next,
                Err(_) => return false,
            }
            let response = std::mem::replace(&mut self.response, Response::new());
            let Some((sent, topic)) = self.flights.pop_front() else { return false };
            io.stats.answered(Op::Lookup, Asked { intended: sent, sent }, io.now);
            io.stats.count(Count::Lookups, 1);
            let answer = Answer { topic, asked: sent, got: io.now, measured: Timestamp::NEVER };
            check::lookup(answer, response.status, &response.body, io);
        }
        true
    }

    fn lost(&mut self, io: &mut Io<'_>) {
        io.stats.count(Count::Lost, 1);
        self.flights.clear();
        self.identified = false;
        self.partial.clear();
        self.response = Response::new();
        self.due = io.now + std::time::Duration::from_millis(100);
    }
}

fn op(io: &Io<'_>) -> ClosedOp {
    io.world.plan.scenario.closed.as_ref().map_or(ClosedOp::Ping, |closed| closed.op)
}
