//! One connection of a closed loop: it keeps a number of requests in flight and sends the next as
//! soon as one is answered. It measures throughput; its latencies are service times, since no
//! request has an intended time.
//!
//! Must not: touch a socket.

use std::collections::VecDeque;

use crate::clock::Timestamp;
use testkit::wire;

use super::check::{self, Window};
use super::io::{Action, Event, Io, Port};
use super::requests::Request;
use super::response::Response;
use crate::input::scenario::ClosedOp;
use crate::measure::interval::RequestTimes;
use crate::measure::ops::{Count, Op};
use crate::model::rng::Rng;

/// A connection that sends REGISTER cycles through this many topics.
const TOPICS: u32 = 16;

/// One connection.
#[derive(Debug)]
pub(crate) struct ClosedLoop {
    number: u32,
    /// When it connects; [`Timestamp::NEVER`] while it is connected.
    due: Timestamp,
    /// Requests in flight, oldest first: when each was sent, and its topic.
    pending: VecDeque<(Timestamp, u32)>,
    identified: bool,
    unparsed: Vec<u8>,
    response: Response,
    round: u32,
    rng: Rng,
}

impl ClosedLoop {
    /// The connection number `number`, idle until the main part begins.
    pub(crate) fn new(number: u32, seed: u64) -> Self {
        Self {
            number,
            due: Timestamp::NEVER,
            pending: VecDeque::new(),
            identified: false,
            unparsed: Vec::new(),
            response: Response::new(),
            round: 0,
            rng: Rng::new(seed, (3 << 32) | u64::from(number)),
        }
    }

    /// Handles an event.
    pub(crate) fn event(&mut self, event: Event<'_>, io: &mut Io<'_>) {
        match event {
            Event::Start(main) => self.due = main,
            Event::Wake if self.due <= io.now => {
                self.due = Timestamp::NEVER;
                let http = op(io) == ClosedOp::Lookup;
                io.action = Action::Connect(if http { Port::Http } else { Port::Tcp });
            }
            Event::Connected => self.connected(io),
            Event::Data(bytes) => self.data(bytes, io),
            Event::ConnectFailed => io.error(Count::Refused, None),
            Event::Disconnected => self.disconnected(io),
            Event::End => io.action = Action::Close,
            Event::Wake | Event::TopicChanged(_) | Event::Drain => {}
        }
        io.wake = self.due;
    }

    fn connected(&mut self, io: &mut Io<'_>) {
        if op(io) == ClosedOp::Lookup {
            self.identified = true;
            return self.fill(io);
        }
        let host = format!("closed-loop-{}", self.number);
        io.out.extend_from_slice(wire::MAGIC);
        wire::identify(&wire::peer_info(&host, &host), io.out);
    }

    /// Sends until the depth is reached.
    fn fill(&mut self, io: &mut Io<'_>) {
        let depth = io.shared.plan.scenario.closed.as_ref().map_or(1, |closed| closed.depth);
        while self.pending.len() < depth && !io.shared.draining() {
            let topic = match op(io) {
                ClosedOp::Ping => {
                    io.out.extend_from_slice(wire::PING);
                    0
                }
                ClosedOp::Register => {
                    self.round = (self.round + 1) % TOPICS;
                    let topic = format!("closed-loop-{}", self.round);
                    wire::register(&topic, Some("channel-0"), io.out);
                    self.round
                }
                ClosedOp::Lookup => {
                    let topic = crate::num::index(io.shared.plan.popularity.pick(&mut self.rng));
                    Request::Lookup(topic).write(io.shared.target.http, false, io.out);
                    topic
                }
            };
            self.pending.push_back((io.now, topic));
        }
    }

    fn data(&mut self, bytes: &[u8], io: &mut Io<'_>) {
        let http = op(io) == ClosedOp::Lookup;
        let valid = if http { self.responses(bytes, io) } else { self.replies(bytes, io) };
        if !valid {
            self.fail_pending(Count::ErrorReplies, io);
            io.garbled();
            io.action = Action::Close;
            return;
        }
        if self.identified {
            self.fill(io);
        }
    }

    fn replies(&mut self, bytes: &[u8], io: &mut Io<'_>) -> bool {
        self.unparsed.extend_from_slice(bytes);
        let mut read = 0;
        while let Some((reply, length)) = wire::take_frame(&self.unparsed[read..]) {
            if !self.identified {
                self.identified = check::identified(reply, io.shared.target, io.shared.owned);
                if !self.identified {
                    return false;
                }
            } else if reply == b"OK"
                && let Some((sent, _)) = self.pending.pop_front()
            {
                let kind = if op(io) == ClosedOp::Ping { Op::Ping } else { Op::Register };
                io.stats.record_answer(kind, RequestTimes { intended: sent, sent }, io.now);
            } else {
                return false;
            }
            read += length;
        }
        self.unparsed.drain(..read);
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
            let Some((sent, topic)) = self.pending.pop_front() else { return false };
            let (request, times) = (Request::Lookup(topic), RequestTimes { intended: sent, sent });
            if !request.may_be_answered_with(response.status) {
                io.error(Count::ErrorReplies, Some((Op::Lookup, times)));
                continue;
            }
            io.stats.record_answer(Op::Lookup, times, io.now);
            io.stats.count(Count::Lookups, 1);
            let window = Window { sent, received: io.now, measure_from: Timestamp::NEVER };
            check::check(&request, window, &response, io);
        }
        true
    }

    /// All requests in flight, or the connection without any, failed.
    fn fail_pending(&mut self, why: Count, io: &mut Io<'_>) {
        let op = match op(io) {
            ClosedOp::Ping => Op::Ping,
            ClosedOp::Register => Op::Register,
            ClosedOp::Lookup => Op::Lookup,
        };
        if self.pending.is_empty() {
            io.error(why, None);
        }
        for (sent, _) in std::mem::take(&mut self.pending) {
            io.error(why, Some((op, RequestTimes { intended: sent, sent })));
        }
    }

    fn disconnected(&mut self, io: &mut Io<'_>) {
        self.fail_pending(Count::Lost, io);
        self.identified = false;
        self.unparsed.clear();
        self.response = Response::new();
        self.due = io.now + std::time::Duration::from_millis(100);
    }
}

fn op(io: &Io<'_>) -> ClosedOp {
    io.shared.plan.scenario.closed.as_ref().map_or(ClosedOp::Ping, |closed| closed.op)
}
