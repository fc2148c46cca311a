//! The event loop of one thread: wakes its actors when their timers expire, reads and writes their
//! connections, and reports its measurements once a second.
//!
//! Must not: wait for anything but its one epoll. The time of a write is taken before it, the time of
//! a read after it: the oracle's bounds rest on this order.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::Sender;
use std::time::Duration;

use crate::clock::Timestamp;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, clock_gettime,
    timerfd_create, timerfd_settime,
};

use super::connection::{Connection, Read, State};
use super::timers::Timers;
use crate::actors::Actor;
use crate::actors::closed_loop::ClosedLoop;
use crate::actors::http_client::HttpClient;
use crate::actors::io::{Action, Event, Io, Port};
use crate::actors::misbehaving::MisbehavingClient;
use crate::actors::nsqd::Nsqd;
use crate::actors::shared::{Shared, subscribed_topic, thread_of};
use crate::measure::interval::Interval;
use crate::measure::ops::{Count, Delay};
use crate::model::oracle::ListedProducers;
use crate::num::index;

/// The size of the read buffer, in bytes.
const READ_BUFFER: usize = 256 * 1024;
/// Socket events taken from one wait, and actors woken between two waits.
const BATCH: usize = 256;
/// If a timer expired longer ago than this, the actor's socket is read before the timer is handled.
const LATE_WAKE: Duration = Duration::from_millis(5);
/// The longest wait, so that each second's measurements are reported in time.
const MAX_WAIT: Duration = Duration::from_millis(100);
/// The epoll data of the waker and of the timer; other values are sockets.
const WAKER: u64 = u64::MAX;
const TIMER: u64 = u64::MAX - 1;

/// A second, counted from the start of the run, and what a thread measured in it.
pub(crate) type Report = (usize, Interval);

/// One thread of a run, with its share of the actors.
pub(crate) struct Worker {
    shared: Arc<Shared>,
    number: usize,
    reports: Sender<Report>,
    epoll: OwnedFd,
    /// A timerfd, which ends a wait to the nanosecond; epoll's own timeout is in milliseconds.
    timer: OwnedFd,
    actors: Vec<Actor>,
    connections: Vec<Connection>,
    /// By actor, its number in the run, which gives it its source address.
    numbers: Vec<u32>,
    /// Topics and the actors that subscribe to them, in order.
    subscribers: Vec<(u32, u32)>,
    timers: Timers,
    listed: ListedProducers,
    stats: Interval,
    second: usize,
    cpu: Duration,
    /// How long this thread has waited for a CPU so far.
    waited: Duration,
    /// How late the event is that is about to be delivered, if it is a timer's.
    lag: Option<Duration>,
    read_buffer: Vec<u8>,
    out: Vec<u8>,
    splits: Vec<usize>,
    started: bool,
    drained: bool,
}

impl Worker {
    /// The thread number `number` with its share of the plan's actors.
    ///
    /// # Errors
    /// When epoll or the timer cannot be created.
    pub(crate) fn new(
        shared: Arc<Shared>,
        number: usize,
        reports: Sender<Report>,
    ) -> std::io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let waker = &shared.queues[number].waker;
        epoll::add(&epoll, waker, epoll::EventData::new_u64(WAKER), epoll::EventFlags::IN)?;
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        // It is edge-triggered and set again before each wait, so it need not be read.
        let edge = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&epoll, &timer, epoll::EventData::new_u64(TIMER), edge)?;
        let (actors, numbers, mut subscribers) = build_actors(&shared, number);
        subscribers.sort_unstable();
        let mut worker = Self {
            listed: ListedProducers::new(shared.plan.nsqds.len()),
            shared,
            number,
            reports,
            epoll,
            timer,
            connections: actors.iter().map(|_| Connection::default()).collect(),
            timers: Timers::new(actors.len()),
            actors,
            numbers,
            subscribers,
            stats: Interval::default(),
            second: 0,
            cpu: cpu_time(),
            waited: run_delay(),
            lag: None,
            read_buffer: vec![0; READ_BUFFER],
            out: Vec::new(),
            splits: Vec::new(),
            started: false,
            drained: false,
        };
        (0..index(worker.actors.len())).for_each(|actor| worker.event(actor, Event::Wake));
        Ok(worker)
    }

    /// Runs until [`Shared::stopped`].
    ///
    /// # Errors
    /// When epoll fails.
    pub(crate) fn run(mut self) -> std::io::Result<()> {
        let mut events = Vec::with_capacity(BATCH);
        (self.cpu, self.waited) = (cpu_time(), run_delay());
        while !self.shared.stopped() {
            self.report_second(false);
            self.announce_phases();
            let more = self.wake_due();
            let wait = if more { Duration::ZERO } else { self.next_wait() };
            self.set_timer(wait)?;
            let timeout = if wait.is_zero() { wait } else { MAX_WAIT };
            let timeout = Timespec::try_from(timeout).expect("a wait is short");
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                self.socket_event(event.data.u64(), event.flags);
            }
        }
        (0..index(self.actors.len())).for_each(|actor| self.event(actor, Event::End));
        self.report_second(true);
        Ok(())
    }

    fn set_timer(&self, wait: Duration) -> std::io::Result<()> {
        if wait.is_zero() {
            return Ok(());
        }
        let once = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec::try_from(wait).expect("a wait is short"),
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }

    fn next_wait(&self) -> Duration {
        let now = self.shared.clock.now();
        let second_ends = self.shared.started + Duration::from_secs(self.second as u64 + 1);
        self.timers.next().min(second_ends).since(now).min(MAX_WAIT)
    }

    /// Informs the actors when the main part begins and when it ends.
    fn announce_phases(&mut self) {
        let main = self.shared.main();
        if !self.started && main != Timestamp::NEVER {
            self.started = true;
            (0..index(self.actors.len())).for_each(|actor| self.event(actor, Event::Start(main)));
        }
        if !self.drained && self.shared.draining() {
            self.drained = true;
            (0..index(self.actors.len())).for_each(|actor| self.event(actor, Event::Drain));
        }
    }

    /// Wakes actors whose timers have expired; true when more may have.
    fn wake_due(&mut self) -> bool {
        for _ in 0..BATCH {
            let now = self.shared.clock.now();
            let Some((actor, due)) = self.timers.due(now) else { return false };
            self.stats.delay(Delay::Lag, now.since(due));
            if now.since(due) > LATE_WAKE {
                self.poll_connection(actor);
            }
            self.lag = Some(now.since(due));
            self.event(actor, Event::Wake);
        }
        true
    }

    /// Handles what the socket already has, so that this thread's delay does not time a request out.
    fn poll_connection(&mut self, actor: u32) {
        let connection = &mut self.connections[actor as usize];
        match connection.state {
            State::Open => self.readable(actor, epoll::EventFlags::empty()),
            State::Connecting if connection.is_connected() => {
                connection.state = State::Open;
                self.event(actor, Event::Connected);
            }
            _ => {}
        }
    }

    /// Reports the measurements of a second that has ended.
    fn report_second(&mut self, last: bool) {
        let second = usize::try_from(self.shared.clock.now().since(self.shared.started).as_secs());
        let second = second.unwrap_or(usize::MAX);
        if second == self.second && !last {
            return;
        }
        let (cpu, waited) = (cpu_time(), run_delay());
        let seconds = (second - self.second).max(1) as f64;
        self.stats.busy = (cpu - self.cpu).as_secs_f64() / seconds;
        self.stats.waited = waited.saturating_sub(self.waited).as_secs_f64() / seconds;
        (self.cpu, self.waited) = (cpu, waited);
        let done = std::mem::take(&mut self.stats);
        // The receiver may be gone at the end of the run.
        let _ = self.reports.send((self.second, done));
        self.second = second;
    }

    fn socket_event(&mut self, data: u64, flags: epoll::EventFlags) {
        if data == WAKER {
            return self.handle_topic_changes();
        }
        if data == TIMER {
            return;
        }
        let actor = index(usize::try_from(data & 0xffff_ffff).unwrap_or(usize::MAX));
        let connection = &mut self.connections[actor as usize];
        if u64::from(connection.generation) != data >> 32 || connection.socket.is_none() {
            return;
        }
        if connection.state == State::Connecting {
            if !flags.intersects(
                epoll::EventFlags::OUT | epoll::EventFlags::ERR | epoll::EventFlags::HUP,
            ) {
                return;
            }
            let connected = connection.finish_connect();
            self.event(actor, if connected { Event::Connected } else { Event::ConnectFailed });
            return;
        }
        if flags.contains(epoll::EventFlags::OUT) && !connection.flush() {
            return self.disconnected(actor);
        }
        let readable = epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR;
        if flags.intersects(readable) {
            self.readable(actor, flags);
        }
    }

    fn readable(&mut self, actor: u32, flags: epoll::EventFlags) {
        let generation = self.connections[actor as usize].generation;
        loop {
            let connection = &self.connections[actor as usize];
            if connection.generation != generation || connection.state == State::Closed {
                return;
            }
            if connection.state == State::NotReading {
                if flags.intersects(epoll::EventFlags::HUP | epoll::EventFlags::ERR) {
                    self.disconnected(actor);
                }
                return;
            }
            let mut buffer = std::mem::take(&mut self.read_buffer);
            let read = connection.read(&mut buffer);
            if let Read::Bytes(count) = read {
                self.stats.count(Count::BytesIn, count as u64);
                self.event(actor, Event::Data(&buffer[..count]));
            }
            let full = read == Read::Bytes(buffer.len());
            self.read_buffer = buffer;
            match read {
                Read::Closed => return self.disconnected(actor),
                Read::WouldBlock => return,
                // A short read has emptied the socket; a close makes another event.
                Read::Bytes(_) if !full && !flags.contains(epoll::EventFlags::RDHUP) => return,
                Read::Bytes(_) => {}
            }
        }
    }

    fn disconnected(&mut self, actor: u32) {
        self.close(actor);
        self.event(actor, Event::Disconnected);
    }

    fn handle_topic_changes(&mut self) {
        let queue = &self.shared.queues[self.number];
        let mut count = [0; 8];
        // It fails when an earlier call has read the counter already.
        let _ = rustix::io::read(&queue.waker, &mut count);
        for (topic, at) in queue.take() {
            let mut position = self.subscribers.partition_point(|(other, _)| *other < topic);
            while let Some((other, actor)) = self.subscribers.get(position).copied()
                && other == topic
            {
                self.event(actor, Event::TopicChanged(at));
                position += 1;
            }
        }
    }

    /// Delivers an event to an actor and performs its action.
    fn event(&mut self, actor: u32, event: Event<'_>) {
        let mut out = std::mem::take(&mut self.out);
        let mut splits = std::mem::take(&mut self.splits);
        let connected = self.shared.owned && matches!(event, Event::Connected);
        let connection = &self.connections[actor as usize];
        let mut io = Io {
            local: connected.then(|| connection.local()).flatten(),
            now: self.shared.clock.now(),
            lag: self.lag.take(),
            shared: &self.shared,
            stats: &mut self.stats,
            listed: &mut self.listed,
            out: &mut out,
            splits: &mut splits,
            action: Action::Continue,
            wake: Timestamp::NEVER,
        };
        self.actors[actor as usize].event(event, &mut io);
        let (action, wake) = (io.action, io.wake);
        self.timers.set(actor, wake);
        self.perform(actor, action, &out, &splits);
        out.clear();
        splits.clear();
        (self.out, self.splits) = (out, splits);
    }

    fn perform(&mut self, actor: u32, action: Action, out: &[u8], splits: &[usize]) {
        match action {
            Action::Close => return self.close(actor),
            Action::Connect(port) => return self.connect(actor, port),
            Action::StopReading => self.connections[actor as usize].state = State::NotReading,
            Action::Continue => {}
        }
        let connection = &mut self.connections[actor as usize];
        if out.is_empty() || connection.state == State::Closed {
            return;
        }
        self.stats.count(Count::BytesOut, out.len() as u64);
        // A broken connection also makes a socket event, which the actor is informed of.
        connection.write(out, splits);
    }

    fn gauge(&self, actor: u32) -> &std::sync::atomic::AtomicU64 {
        match self.actors[actor as usize] {
            Actor::Nsqd(_) => &self.shared.gauges.tcp,
            Actor::HttpClient(_) | Actor::Misbehaving(_) | Actor::ClosedLoop(_) => {
                &self.shared.gauges.http
            }
        }
    }

    fn close(&mut self, actor: u32) {
        if self.connections[actor as usize].socket.is_some() {
            self.gauge(actor).fetch_sub(1, Relaxed);
        }
        self.connections[actor as usize].close();
    }

    fn connect(&mut self, actor: u32, port: Port) {
        self.close(actor);
        let target = self.shared.target;
        let to = if port == Port::Tcp { target.tcp } else { target.http };
        let connection = &mut self.connections[actor as usize];
        let opened = connection.open(to, target.source(self.numbers[actor as usize]));
        let (Ok(()), Some(socket)) = (opened, &connection.socket) else {
            return self.event(actor, Event::ConnectFailed);
        };
        let flags = epoll::EventFlags::IN
            | epoll::EventFlags::OUT
            | epoll::EventFlags::RDHUP
            | epoll::EventFlags::ET;
        let data =
            epoll::EventData::new_u64(u64::from(connection.generation) << 32 | u64::from(actor));
        if epoll::add(&self.epoll, socket, data, flags).is_err() {
            connection.close();
            return self.event(actor, Event::ConnectFailed);
        }
        self.gauge(actor).fetch_add(1, Relaxed);
    }
}

/// The actors of a thread, their numbers in the run, and the actors that subscribe to each topic.
fn build_actors(shared: &Shared, thread: usize) -> (Vec<Actor>, Vec<u32>, Vec<(u32, u32)>) {
    let (plan, threads) = (&shared.plan, shared.queues.len());
    let seed = plan.scenario.seed;
    let of_thread = |number: &usize| thread_of(*number, threads) == thread;
    let (mut actors, mut numbers, mut subscribers) = (Vec::new(), Vec::new(), Vec::new());
    for number in (0..plan.nsqds.len()).filter(of_thread) {
        actors.push(Actor::Nsqd(Nsqd::new(index(number), seed)));
        numbers.push(index(number));
    }
    for number in (0..plan.http_clients.len()).filter(of_thread) {
        let client = &plan.http_clients[number];
        if let Some(topic) = subscribed_topic(&client.workload, client.missing) {
            subscribers.push((topic, index(actors.len())));
        }
        let client = HttpClient::new(client.clone(), index(number), seed);
        actors.push(Actor::HttpClient(Box::new(client)));
        numbers.push(index(plan.nsqds.len() + number));
    }
    for number in (0..plan.misbehaving.len()).filter(of_thread) {
        let client = MisbehavingClient::new(plan.misbehaving[number], index(number), seed);
        actors.push(Actor::Misbehaving(client));
        numbers.push(index(plan.nsqds.len() + plan.http_clients.len() + number));
    }
    for number in (0..plan.closed_loops).filter(of_thread) {
        actors.push(Actor::ClosedLoop(Box::new(ClosedLoop::new(index(number), seed))));
        let earlier = plan.nsqds.len() + plan.http_clients.len() + plan.misbehaving.len();
        numbers.push(index(earlier + number));
    }
    (actors, numbers, subscribers)
}

/// The CPU time that this thread has used.
fn cpu_time() -> Duration {
    let spent = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(spent.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(spent.tv_nsec).unwrap_or(0))
}

/// How long this thread has waited for a CPU though it could run, so far; zero where the kernel does
/// not count it.
fn run_delay() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split_whitespace().nth(1).and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}
