//! One nsqd as a lookupd sees it: connect, IDENTIFY, one REGISTER per channel with one command in
//! flight, a heartbeat, one-second deadlines, and a new connection at the next heartbeat when the
//! link broke. Source: nsq `nsqd/lookup_peer.go`, `nsqd/lookup.go`.
//!
//! Must not: touch a socket. It tells the truth before it sends and after it has read, never the
//! other way round: that is what makes the oracle exact.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use musterd::clock::Timestamp;
use testkit::wire;

use super::{Event, Io, Order, Port};
use crate::measure::interval::Asked;
use crate::measure::ops::{Count, Op};
use crate::model::plan::{NsqdPlan, Plan};
use crate::model::rng::Rng;

/// nsqd's deadline for a connect, a read and a write.
const DEADLINE: Duration = Duration::from_secs(1);

/// What it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not connected.
    Off,
    /// A reply, or the connection; the command was number `step` of its round.
    Waiting { op: Op, asked: Asked, step: u32 },
    /// Nothing.
    Idle,
}

/// One nsqd.
#[derive(Debug)]
pub(crate) struct Nsqd {
    id: u32,
    state: State,
    /// Alive, whether connected or not.
    up: bool,
    complete: bool,
    /// The next entry of the plan's turns.
    turn: u32,
    main: Timestamp,
    tick: Timestamp,
    /// A heartbeat that could not be sent when it was due.
    owed: Option<Timestamp>,
    /// When to delete or create a topic again, and which.
    recreate: Timestamp,
    recreated: u32,
    deleted: bool,
    /// When the last command that was answered was sent.
    served: Timestamp,
    partial: Vec<u8>,
    rng: Rng,
}

impl Nsqd {
    /// The nsqd number `id` of the plan, not yet alive.
    pub(crate) fn new(id: u32, seed: u64) -> Self {
        Self {
            id,
            state: State::Off,
            up: false,
            complete: false,
            turn: 0,
            main: Timestamp::NEVER,
            tick: Timestamp::NEVER,
            owed: None,
            recreate: Timestamp::NEVER,
            recreated: 0,
            deleted: false,
            served: Timestamp::NEVER,
            partial: Vec::new(),
            rng: Rng::new(seed, u64::from(id)),
        }
    }

    /// Deals with an event.
    pub(crate) fn event(&mut self, event: Event<'_>, io: &mut Io<'_>) {
        match event {
            Event::Wake => self.wake(io),
            Event::Start(main) => self.main = main,
            Event::Connected => self.connected(io),
            Event::Data(bytes) => self.data(bytes, io),
            Event::Refused => self.down(Count::Refused, io),
            Event::Lost => self.down(Count::Lost, io),
            Event::Notice(_) | Event::Drain => {}
            Event::End => self.end(io),
        }
        io.wake = self.next_wake(io);
    }

    fn plan<'a>(&self, io: &Io<'a>) -> &'a NsqdPlan {
        &io.world.plan.nsqds[self.id as usize]
    }

    fn next_turn(&self, io: &Io<'_>) -> Timestamp {
        let plan = self.plan(io);
        match (plan.setup, plan.turns.get(self.turn as usize)) {
            (Some(after), _) if self.turn == 0 && !self.up && self.tick == Timestamp::NEVER => {
                io.world.began + after
            }
            (_, Some(turn)) if self.main != Timestamp::NEVER => self.main + turn.at,
            _ => Timestamp::NEVER,
        }
    }

    fn next_wake(&self, io: &Io<'_>) -> Timestamp {
        let deadline = match self.state {
            State::Waiting { asked, .. } => asked.sent + DEADLINE,
            State::Idle => self.recreate,
            State::Off => Timestamp::NEVER,
        };
        let tick = if self.up { self.tick } else { Timestamp::NEVER };
        deadline.min(tick).min(self.next_turn(io))
    }

    fn wake(&mut self, io: &mut Io<'_>) {
        let due = self.next_turn(io);
        if due <= io.now {
            return self.take_turn(due, io);
        }
        if let State::Waiting { asked, .. } = self.state
            && asked.sent + DEADLINE <= io.now
        {
            io.order = Order::Close;
            return self.down(Count::Timeouts, io);
        }
        if self.up && self.tick <= io.now {
            let due = self.tick;
            while self.tick <= io.now {
                self.tick = self.tick + self.plan(io).ping;
            }
            return self.heartbeat(due, io);
        }
        if self.state == State::Idle && self.recreate <= io.now {
            self.begin_recreate(io);
        }
    }

    fn take_turn(&mut self, due: Timestamp, io: &mut Io<'_>) {
        let first = self.tick == Timestamp::NEVER && self.plan(io).setup.is_some();
        let up = first || self.plan(io).turns[self.turn as usize].up;
        self.turn += u32::from(!first);
        if up && !self.up {
            self.up = true;
            io.world.gauges.wanted.fetch_add(1, Relaxed);
            self.tick = due + self.plan(io).ping.mul_f64(self.plan(io).phase.max(0.01));
            self.connect(due, io);
        } else if !up && self.up {
            self.up = false;
            io.world.gauges.wanted.fetch_sub(1, Relaxed);
            self.kill(io);
        }
    }

    /// Its process ends: the socket is closed by the system, and the consumers notice.
    fn kill(&mut self, io: &mut Io<'_>) {
        if self.state != State::Off {
            for topic in &self.plan(io).topics {
                io.world.truth.killed(*topic, self.id, io.now);
                io.world.changed(*topic, io.now, true);
            }
            io.order = Order::Close;
            self.off(io);
        }
    }

    fn off(&mut self, io: &Io<'_>) {
        self.state = State::Off;
        self.owed = None;
        self.recreate = Timestamp::NEVER;
        self.deleted = false;
        self.partial = Vec::new();
        if std::mem::take(&mut self.complete) {
            io.world.gauges.complete.fetch_sub(1, Relaxed);
        }
    }

    fn connect(&mut self, intended: Timestamp, io: &mut Io<'_>) {
        io.order = Order::Connect(Port::Tcp);
        self.served = io.now;
        self.wait(Op::Connect, 0, intended, io);
    }

    fn wait(&mut self, op: Op, step: u32, intended: Timestamp, io: &Io<'_>) {
        self.state = State::Waiting { op, asked: Asked { intended, sent: io.now }, step };
    }

    fn heartbeat(&mut self, due: Timestamp, io: &mut Io<'_>) {
        match self.state {
            _ if io.world.draining() => {}
            State::Off => self.connect(due, io),
            State::Waiting { .. } => {
                io.stats.count(Count::Late, u64::from(self.owed.is_none()));
                self.owed.get_or_insert(due);
            }
            State::Idle => self.ping(due, io),
        }
    }

    fn ping(&mut self, intended: Timestamp, io: &mut Io<'_>) {
        io.out.extend_from_slice(wire::PING);
        split_line(io);
        self.wait(Op::Ping, 0, intended, io);
    }

    /// Magic and IDENTIFY, in the pieces in which nsqd writes them.
    fn connected(&mut self, io: &mut Io<'_>) {
        let State::Waiting { op: Op::Connect, asked, .. } = self.state else { return };
        io.stats.answered(Op::Connect, asked, io.now);
        let host = Plan::host(self.id);
        io.out.extend_from_slice(wire::MAGIC);
        io.cut();
        let start = io.out.len();
        wire::identify(&wire::peer_info(&host, &host), io.out);
        let line = start + b"IDENTIFY\n".len();
        io.cuts.extend([line, line + 4]);
        self.wait(Op::Identify, 0, io.now, io);
    }

    fn data(&mut self, bytes: &[u8], io: &mut Io<'_>) {
        let held = std::mem::take(&mut self.partial);
        let mut all = if held.is_empty() { bytes.into() } else { [&held, bytes].concat() };
        while let Some((reply, length)) = wire::take_frame(&all) {
            self.reply(reply, io);
            if self.state == State::Off {
                return;
            }
            all.drain(..length);
        }
        self.partial = all;
    }

    fn reply(&mut self, reply: &[u8], io: &mut Io<'_>) {
        let State::Waiting { op, asked, step } = self.state else {
            return self.refuse(io);
        };
        let good = if op == Op::Identify { reply.starts_with(b"{") } else { reply == b"OK" };
        if !good {
            return self.refuse(io);
        }
        io.stats.answered(op, asked, io.now);
        self.served = asked.sent;
        match op {
            Op::Identify => self.register(0, io),
            Op::Register => self.registered(step, io),
            Op::Unregister => self.unregistered(io),
            _ => self.idle(io),
        }
    }

    /// An error reply, or one to nothing: the target is wrong, the link is given up.
    fn refuse(&mut self, io: &mut Io<'_>) {
        io.order = Order::Close;
        self.down(Count::Wrong, io);
    }

    fn per_topic(io: &Io<'_>) -> u32 {
        crate::num::index(io.world.plan.scenario.topics.channels.max(1))
    }

    /// Sends REGISTER number `step`: topic after topic, channel after channel.
    fn register(&mut self, step: u32, io: &mut Io<'_>) {
        let per_topic = Self::per_topic(io);
        let Some(topic) = self.plan(io).topics.get((step / per_topic) as usize).copied() else {
            return self.all_registered(io);
        };
        if step.is_multiple_of(per_topic) {
            io.world.truth.registering(topic, self.id, io.now);
            io.world.changed(topic, io.now, false);
        }
        let channels = io.world.plan.scenario.topics.channels > 0;
        let channel = channels.then(|| Plan::channel((step % per_topic) as usize));
        wire::register(&Plan::topic(topic), channel.as_deref(), io.out);
        split_line(io);
        self.wait(Op::Register, step, io.now, io);
    }

    fn registered(&mut self, step: u32, io: &mut Io<'_>) {
        let per_topic = Self::per_topic(io);
        if step.is_multiple_of(per_topic) {
            let topic = self.plan(io).topics[(step / per_topic) as usize];
            io.world.truth.registered(topic, self.id, io.now);
        }
        if self.complete && (step + 1).is_multiple_of(per_topic) {
            return self.idle(io);
        }
        self.register(step + 1, io);
    }

    fn all_registered(&mut self, io: &mut Io<'_>) {
        self.complete = true;
        let gauges = &io.world.gauges;
        if gauges.complete.fetch_add(1, Relaxed) + 1 == gauges.wanted.load(Relaxed) {
            gauges.completed_at.store(io.now.unix_nanos(), Relaxed);
        }
        self.schedule_recreate(io);
        self.idle(io);
    }

    fn idle(&mut self, io: &mut Io<'_>) {
        self.state = State::Idle;
        if let Some(due) = self.owed.take() {
            self.ping(due, io);
        }
    }

    fn schedule_recreate(&mut self, io: &Io<'_>) {
        if let Some(every) = self.plan(io).recreate {
            self.recreate = io.now + every.mul_f64(0.5 + self.rng.unit());
        }
    }

    /// Deletes the topic whose turn it is, or creates the one deleted last.
    fn begin_recreate(&mut self, io: &mut Io<'_>) {
        let topics = &self.plan(io).topics;
        let place = self.recreated as usize % topics.len().max(1);
        let Some(topic) = topics.get(place).copied() else { return };
        let due = self.recreate;
        self.schedule_recreate(io);
        if io.world.draining() {
            return;
        }
        if std::mem::take(&mut self.deleted) {
            self.recreated += 1;
            return self.register(crate::num::index(place) * Self::per_topic(io), io);
        }
        io.world.truth.unregistering(topic, self.id, io.now);
        io.world.changed(topic, io.now, true);
        wire::unregister(&Plan::topic(topic), None, io.out);
        split_line(io);
        self.wait(Op::Unregister, crate::num::index(place), due, io);
    }

    fn unregistered(&mut self, io: &mut Io<'_>) {
        let topics = &self.plan(io).topics;
        let topic = topics[self.recreated as usize % topics.len()];
        io.world.truth.unregistered(topic, self.id, io.now);
        self.deleted = true;
        self.idle(io);
    }

    /// The link is gone and nobody asked for it: it comes back at the next heartbeat.
    fn down(&mut self, why: Count, io: &mut Io<'_>) {
        if self.state == State::Off {
            return;
        }
        io.stats.count(why, 1);
        if let State::Waiting { op, asked, .. } = self.state {
            io.stats.took(op, asked, io.now);
        }
        let mut excused = 0;
        for topic in &self.plan(io).topics {
            excused += io.world.truth.broken(*topic, self.id, self.served, io.now);
        }
        io.stats.count(Count::Excused, excused);
        self.off(io);
    }

    fn end(&mut self, io: &mut Io<'_>) {
        // A command in flight is younger than its deadline; a target that hangs has shown it before.
        io.order = Order::Close;
        self.state = State::Off;
    }
}

/// Cuts the one line in the output as go-nsq's `Command.WriteTo` does: the verb, each space, each
/// parameter and the newline are written for themselves, on a socket without Nagle's delay.
fn split_line(io: &mut Io<'_>) {
    for (at, byte) in io.out.iter().enumerate() {
        match byte {
            b' ' => io.cuts.extend([at, at + 1]),
            b'\n' => io.cuts.push(at),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
