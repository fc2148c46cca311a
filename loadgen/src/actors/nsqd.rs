//! One nsqd as a lookupd sees it: connect, IDENTIFY, one REGISTER per channel with one command in
//! flight, a heartbeat, one-second deadlines, and a new connection at the next heartbeat after the
//! connection broke. Source: nsq `nsqd/lookup_peer.go`, `nsqd/lookup.go`.
//!
//! Must not: touch a socket. It informs the oracle before it sends a command and after it has read
//! the reply, never the other way round: the oracle's bounds rest on this order.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::clock::Timestamp;
use testkit::wire;

use super::check;
use super::io::{Action, Event, Io, Port};
use crate::measure::interval::RequestTimes;
use crate::measure::ops::{Count, Op};
use crate::model::plan::{NsqdPlan, Plan};
use crate::model::rng::Rng;

/// nsqd's timeout for a connect, a read and a write.
const DEADLINE: Duration = Duration::from_secs(1);

/// The state of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not connected.
    Off,
    /// Waits for a reply, or for the connection; `step` numbers the REGISTERs of one registration.
    Waiting { op: Op, times: RequestTimes, step: u32 },
    /// Connected, no command in flight.
    Idle,
}

/// One nsqd.
#[derive(Debug)]
pub(crate) struct Nsqd {
    id: u32,
    state: State,
    /// Its process runs, whether it is connected or not.
    running: bool,
    /// It has registered all its topics.
    complete: bool,
    /// The next entry of the plan's transitions.
    transition: u32,
    /// When the main part begins; [`Timestamp::NEVER`] before that is known.
    main: Timestamp,
    next_heartbeat: Timestamp,
    /// When a heartbeat was due that could not be sent then.
    overdue_heartbeat: Option<Timestamp>,
    /// When it next deletes a topic or registers it again, and which.
    recreate: Timestamp,
    recreated: u32,
    deleted: bool,
    /// When the last command that was answered had been sent.
    last_answered: Timestamp,
    unparsed: Vec<u8>,
    rng: Rng,
}

impl Nsqd {
    /// The nsqd number `id` of the plan, not yet running.
    pub(crate) fn new(id: u32, seed: u64) -> Self {
        Self {
            id,
            state: State::Off,
            running: false,
            complete: false,
            transition: 0,
            main: Timestamp::NEVER,
            next_heartbeat: Timestamp::NEVER,
            overdue_heartbeat: None,
            recreate: Timestamp::NEVER,
            recreated: 0,
            deleted: false,
            last_answered: Timestamp::NEVER,
            unparsed: Vec::new(),
            rng: Rng::new(seed, u64::from(id)),
        }
    }

    /// Handles an event.
    pub(crate) fn event(&mut self, event: Event<'_>, io: &mut Io<'_>) {
        match event {
            Event::Wake => self.wake(io),
            Event::Start(main) => self.main = main,
            Event::Connected => self.connected(io),
            Event::Data(bytes) => self.data(bytes, io),
            Event::ConnectFailed => self.connection_lost(Count::Refused, io),
            Event::Disconnected => self.connection_lost(Count::Lost, io),
            Event::TopicChanged(_) | Event::Drain => {}
            Event::End => self.end(io),
        }
        io.wake = self.next_wake(io);
    }

    fn plan<'a>(&self, io: &Io<'a>) -> &'a NsqdPlan {
        &io.shared.plan.nsqds[self.id as usize]
    }

    fn next_transition(&self, io: &Io<'_>) -> Timestamp {
        let plan = self.plan(io);
        match (plan.setup, plan.transitions.get(self.transition as usize)) {
            (Some(after), _)
                if self.transition == 0
                    && !self.running
                    && self.next_heartbeat == Timestamp::NEVER =>
            {
                io.shared.started + after
            }
            (_, Some(transition)) if self.main != Timestamp::NEVER => self.main + transition.at,
            _ => Timestamp::NEVER,
        }
    }

    fn next_wake(&self, io: &Io<'_>) -> Timestamp {
        let deadline = match self.state {
            State::Waiting { times, .. } => times.sent + DEADLINE,
            State::Idle => self.recreate,
            State::Off => Timestamp::NEVER,
        };
        let heartbeat = if self.running { self.next_heartbeat } else { Timestamp::NEVER };
        deadline.min(heartbeat).min(self.next_transition(io))
    }

    fn wake(&mut self, io: &mut Io<'_>) {
        let due = self.next_transition(io);
        if due <= io.now {
            return self.apply_transition(due, io);
        }
        if let State::Waiting { times, .. } = self.state
            && times.sent + DEADLINE <= io.now
        {
            io.action = Action::Close;
            return self.connection_lost(Count::Timeouts, io);
        }
        if self.running && self.next_heartbeat <= io.now {
            let due = self.next_heartbeat;
            while self.next_heartbeat <= io.now {
                self.next_heartbeat = self.next_heartbeat + self.plan(io).ping;
            }
            return self.heartbeat(due, io);
        }
        if self.state == State::Idle && self.recreate <= io.now {
            self.begin_recreate(io);
        }
    }

    fn apply_transition(&mut self, due: Timestamp, io: &mut Io<'_>) {
        let first = self.next_heartbeat == Timestamp::NEVER && self.plan(io).setup.is_some();
        let start = first || self.plan(io).transitions[self.transition as usize].start;
        self.transition += u32::from(!first);
        if start && !self.running {
            self.running = true;
            io.shared.gauges.expected.fetch_add(1, Relaxed);
            self.next_heartbeat = due + self.plan(io).ping.mul_f64(self.plan(io).phase.max(0.01));
            self.connect(due, io);
        } else if !start && self.running {
            self.running = false;
            io.shared.gauges.expected.fetch_sub(1, Relaxed);
            self.kill(io);
        }
    }

    /// Its process is killed: the system closes the socket, and its consumers are disconnected.
    fn kill(&mut self, io: &mut Io<'_>) {
        if self.state != State::Off {
            for topic in &self.plan(io).topics {
                io.shared.oracle.killed(*topic, self.id, io.now);
                io.shared.topic_changed(*topic, io.now, true);
            }
            io.shared.oracle.killed(io.shared.oracle.nodes(), self.id, io.now);
            io.action = Action::Close;
            self.reset(io);
        }
    }

    fn reset(&mut self, io: &Io<'_>) {
        self.state = State::Off;
        self.overdue_heartbeat = None;
        self.recreate = Timestamp::NEVER;
        self.deleted = false;
        self.unparsed = Vec::new();
        if std::mem::take(&mut self.complete) {
            io.shared.gauges.complete.fetch_sub(1, Relaxed);
        }
    }

    fn connect(&mut self, intended: Timestamp, io: &mut Io<'_>) {
        io.action = Action::Connect(Port::Tcp);
        self.last_answered = io.now;
        self.wait(Op::Connect, 0, intended, io);
    }

    fn wait(&mut self, op: Op, step: u32, intended: Timestamp, io: &mut Io<'_>) {
        io.sends(op);
        self.state = State::Waiting { op, times: RequestTimes { intended, sent: io.now }, step };
    }

    fn heartbeat(&mut self, due: Timestamp, io: &mut Io<'_>) {
        match self.state {
            _ if io.shared.draining() => {}
            State::Off => self.connect(due, io),
            State::Waiting { .. } => {
                io.stats.count(Count::Late, u64::from(self.overdue_heartbeat.is_none()));
                self.overdue_heartbeat.get_or_insert(due);
            }
            State::Idle => self.ping(due, io),
        }
    }

    fn ping(&mut self, intended: Timestamp, io: &mut Io<'_>) {
        io.out.extend_from_slice(wire::PING);
        split_line(io);
        self.wait(Op::Ping, 0, intended, io);
    }

    /// Sends the magic bytes and IDENTIFY, in the same separate writes as nsqd.
    fn connected(&mut self, io: &mut Io<'_>) {
        let State::Waiting { op: Op::Connect, times, .. } = self.state else { return };
        io.stats.record_answer(Op::Connect, times, io.now);
        let oracle = &io.shared.oracle;
        oracle.connected(self.id, io.local, io.now);
        oracle.registering(oracle.nodes(), self.id, io.now);
        let host = Plan::host(self.id);
        io.out.extend_from_slice(wire::MAGIC);
        io.split();
        let start = io.out.len();
        wire::identify(&wire::peer_info(&host, &host), io.out);
        let line = start + b"IDENTIFY\n".len();
        io.splits.extend([line, line + 4]);
        self.wait(Op::Identify, 0, io.now, io);
    }

    fn data(&mut self, bytes: &[u8], io: &mut Io<'_>) {
        let earlier = std::mem::take(&mut self.unparsed);
        let mut all = if earlier.is_empty() { bytes.into() } else { [&earlier, bytes].concat() };
        while let Some((reply, length)) = wire::take_frame(&all) {
            self.reply(reply, io);
            if self.state == State::Off {
                return;
            }
            all.drain(..length);
        }
        self.unparsed = all;
    }

    fn reply(&mut self, reply: &[u8], io: &mut Io<'_>) {
        let State::Waiting { op, times, step } = self.state else {
            return self.unexpected_reply(reply, io);
        };
        let Io { shared, .. } = io;
        let expected = match op {
            Op::Identify => check::identified(reply, shared.target, shared.owned),
            _ => reply == b"OK",
        };
        if !expected {
            return self.unexpected_reply(reply, io);
        }
        io.stats.record_answer(op, times, io.now);
        self.last_answered = times.sent;
        match op {
            Op::Identify => {
                shared.oracle.registered(shared.oracle.nodes(), self.id, io.now);
                self.register(0, io);
            }
            Op::Register => self.registered(step, times.sent, io),
            Op::Unregister => self.unregistered(io),
            _ => self.idle(io),
        }
    }

    /// An error reply, a wrong one, or a reply without a command: closes the connection.
    fn unexpected_reply(&mut self, reply: &[u8], io: &mut Io<'_>) {
        io.action = Action::Close;
        if !(reply.starts_with(b"E_") && matches!(self.state, State::Waiting { .. })) {
            io.garbled();
        }
        self.connection_lost(Count::ErrorReplies, io);
    }

    /// The channel of REGISTER number `step`.
    fn channel(step: u32, io: &Io<'_>) -> Option<usize> {
        let channels = io.shared.plan.scenario.topics.channels > 0;
        channels.then(|| (step % Self::per_topic(io)) as usize)
    }

    fn per_topic(io: &Io<'_>) -> u32 {
        crate::num::index(io.shared.plan.scenario.topics.channels.max(1))
    }

    /// Sends REGISTER number `step`: topic after topic, channel after channel.
    fn register(&mut self, step: u32, io: &mut Io<'_>) {
        let per_topic = Self::per_topic(io);
        let Some(topic) = self.plan(io).topics.get((step / per_topic) as usize).copied() else {
            return self.all_registered(io);
        };
        if step.is_multiple_of(per_topic) {
            io.shared.oracle.registering(topic, self.id, io.now);
            io.shared.topic_changed(topic, io.now, false);
        }
        let channel = Self::channel(step, io);
        io.shared.oracle.names(topic, |names| names.registering(channel, io.now));
        wire::register(&Plan::topic(topic), channel.map(Plan::channel).as_deref(), io.out);
        split_line(io);
        self.wait(Op::Register, step, io.now, io);
    }

    fn registered(&mut self, step: u32, sent: Timestamp, io: &mut Io<'_>) {
        let per_topic = Self::per_topic(io);
        let topic = self.plan(io).topics[(step / per_topic) as usize];
        let channel = Self::channel(step, io);
        io.shared.oracle.names(topic, |names| names.registered(channel, sent, io.now));
        if step.is_multiple_of(per_topic) {
            io.shared.oracle.registered(topic, self.id, io.now);
        }
        if self.complete && (step + 1).is_multiple_of(per_topic) {
            return self.idle(io);
        }
        self.register(step + 1, io);
    }

    fn all_registered(&mut self, io: &mut Io<'_>) {
        self.complete = true;
        let gauges = &io.shared.gauges;
        if gauges.complete.fetch_add(1, Relaxed) + 1 == gauges.expected.load(Relaxed) {
            gauges.completed_at.store(io.now.unix_nanos(), Relaxed);
        }
        self.schedule_recreate(io);
        self.idle(io);
    }

    fn idle(&mut self, io: &mut Io<'_>) {
        self.state = State::Idle;
        if let Some(due) = self.overdue_heartbeat.take() {
            self.ping(due, io);
        }
    }

    fn schedule_recreate(&mut self, io: &Io<'_>) {
        if let Some(every) = self.plan(io).recreate {
            self.recreate = io.now + every.mul_f64(0.5 + self.rng.unit());
        }
    }

    /// Deletes the next topic, or registers the one deleted last.
    fn begin_recreate(&mut self, io: &mut Io<'_>) {
        let topics = &self.plan(io).topics;
        let position = self.recreated as usize % topics.len().max(1);
        let Some(topic) = topics.get(position).copied() else { return };
        let due = self.recreate;
        self.schedule_recreate(io);
        if io.shared.draining() {
            return;
        }
        if std::mem::take(&mut self.deleted) {
            self.recreated += 1;
            return self.register(crate::num::index(position) * Self::per_topic(io), io);
        }
        io.shared.oracle.unregistering(topic, self.id, io.now);
        io.shared.topic_changed(topic, io.now, true);
        wire::unregister(&Plan::topic(topic), None, io.out);
        split_line(io);
        self.wait(Op::Unregister, crate::num::index(position), due, io);
    }

    fn unregistered(&mut self, io: &mut Io<'_>) {
        let topics = &self.plan(io).topics;
        let topic = topics[self.recreated as usize % topics.len()];
        io.shared.oracle.unregistered(topic, self.id, io.now);
        self.deleted = true;
        self.idle(io);
    }

    /// The connection broke; it connects again at the next heartbeat.
    fn connection_lost(&mut self, why: Count, io: &mut Io<'_>) {
        if self.state == State::Off {
            return;
        }
        let request = match self.state {
            State::Waiting { op, times, .. } => Some((op, times)),
            State::Idle | State::Off => None,
        };
        io.error(why, request);
        let oracle = &io.shared.oracle;
        for topic in self.plan(io).topics.iter().copied().chain([oracle.nodes()]) {
            let excused = oracle.broken(topic, self.id, self.last_answered, io.now);
            io.stats.count(Count::Excused, excused.findings);
            io.stats.count(Count::ExcusedAnswers, excused.answers);
        }
        self.reset(io);
    }

    fn end(&mut self, io: &mut Io<'_>) {
        // A command in flight is within its timeout; earlier ones have shown a target that hangs.
        io.action = Action::Close;
        self.state = State::Off;
    }
}

/// Splits the line in the output as go-nsq's `Command.WriteTo` does: the verb, each space, each
/// parameter and the newline are separate writes, on a socket with TCP_NODELAY.
fn split_line(io: &mut Io<'_>) {
    for (at, byte) in io.out.iter().enumerate() {
        match byte {
            b' ' => io.splits.extend([at, at + 1]),
            b'\n' => io.splits.push(at),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
