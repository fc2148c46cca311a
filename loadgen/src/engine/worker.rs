//! One thread's loop: wakes its actors when their moments come, moves the bytes of their
//! connections, and hands over what it measured once a second.
//!
//! Must not: wait for anything but its one epoll. It never reads a moment before the thing it
//! dates: a sending is dated before, an arrival after, so that the oracle's windows are exact.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::Sender;
use std::time::Duration;

use musterd::clock::Timestamp;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, clock_gettime,
    timerfd_create, timerfd_settime,
};

use super::link::{Link, Read, State};
use super::timers::Timers;
use crate::actors::asker::Asker;
use crate::actors::nsqd::Nsqd;
use crate::actors::pump::Pump;
use crate::actors::rogue::Rogue;
use crate::actors::world::{World, listens_to, thread_of};
use crate::actors::{Actor, Event, Io, Order, Port};
use crate::measure::interval::Interval;
use crate::measure::ops::{Count, Span};
use crate::model::truth::Shown;
use crate::num::index;

/// Bytes read at once.
const SCRATCH: usize = 256 * 1024;
/// Socket events taken at once, and actors woken between two looks at the sockets.
const BATCH: usize = 256;
/// A wake-up later than this looks at the actor's socket first.
const BEHIND: Duration = Duration::from_millis(5);
/// The longest sleep, so that the second's measurements are handed over in time.
const NAP: Duration = Duration::from_millis(100);
/// The marks of the mailbox and of the alarm among the socket events.
const BELL: u64 = u64::MAX;
const ALARM: u64 = u64::MAX - 1;

/// What a thread measured in a second, counted from the start of the run.
pub(crate) type Report = (usize, Interval);

/// One thread's share of the run.
pub(crate) struct Worker {
    world: Arc<World>,
    number: usize,
    reports: Sender<Report>,
    epoll: OwnedFd,
    /// Ends a sleep to the nanosecond; epoll's own timeout counts whole milliseconds.
    alarm: OwnedFd,
    actors: Vec<Actor>,
    links: Vec<Link>,
    /// The actor's number in the whole run, which gives it its address.
    numbers: Vec<u32>,
    /// By topic, whom a notice concerns, in order.
    listeners: Vec<(u32, u32)>,
    timers: Timers,
    shown: Shown,
    stats: Interval,
    second: usize,
    cpu: Duration,
    scratch: Vec<u8>,
    out: Vec<u8>,
    cuts: Vec<usize>,
    started: bool,
    drained: bool,
}

impl Worker {
    /// The thread number `number` with its share of the plan's actors.
    ///
    /// # Errors
    /// When the system gives no epoll.
    pub(crate) fn new(
        world: Arc<World>,
        number: usize,
        reports: Sender<Report>,
    ) -> std::io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let bell = &world.mailboxes[number].bell;
        epoll::add(&epoll, bell, epoll::EventData::new_u64(BELL), epoll::EventFlags::IN)?;
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let alarm = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        // Edge-triggered, and set anew before each sleep, it need not be read.
        let edge = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&epoll, &alarm, epoll::EventData::new_u64(ALARM), edge)?;
        let (actors, numbers, mut listeners) = cast(&world, number);
        listeners.sort_unstable();
        let mut worker = Self {
            shown: Shown::new(world.plan.nsqds.len()),
            world,
            number,
            reports,
            epoll,
            alarm,
            links: actors.iter().map(|_| Link::default()).collect(),
            timers: Timers::new(actors.len()),
            actors,
            numbers,
            listeners,
            stats: Interval::default(),
            second: 0,
            cpu: cpu_time(),
            scratch: vec![0; SCRATCH],
            out: Vec::new(),
            cuts: Vec::new(),
            started: false,
            drained: false,
        };
        (0..index(worker.actors.len())).for_each(|actor| worker.event(actor, Event::Wake));
        Ok(worker)
    }

    /// Plays until the world is over.
    ///
    /// # Errors
    /// When epoll fails.
    pub(crate) fn run(mut self) -> std::io::Result<()> {
        let mut events = Vec::with_capacity(BATCH);
        self.cpu = cpu_time();
        while !self.world.over() {
            self.hand_over(false);
            self.milestones();
            let more = self.wake_due();
            let nap = if more { Duration::ZERO } else { self.nap() };
            self.set_alarm(nap)?;
            let timeout = if nap.is_zero() { nap } else { NAP };
            let timeout = Timespec::try_from(timeout).expect("a nap is short");
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
        self.hand_over(true);
        Ok(())
    }

    fn set_alarm(&self, nap: Duration) -> std::io::Result<()> {
        if nap.is_zero() {
            return Ok(());
        }
        let once = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec::try_from(nap).expect("a nap is short"),
        };
        timerfd_settime(&self.alarm, TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }

    fn nap(&self) -> Duration {
        let now = self.world.clock.now();
        let second_ends = self.world.began + Duration::from_secs(self.second as u64 + 1);
        self.timers.next().min(second_ends).since(now).min(NAP)
    }

    /// Tells the actors when the main part begins and when it ends.
    fn milestones(&mut self) {
        let main = self.world.main();
        if !self.started && main != Timestamp::NEVER {
            self.started = true;
            (0..index(self.actors.len())).for_each(|actor| self.event(actor, Event::Start(main)));
        }
        if !self.drained && self.world.draining() {
            self.drained = true;
            (0..index(self.actors.len())).for_each(|actor| self.event(actor, Event::Drain));
        }
    }

    /// Wakes actors whose moment has come; true when more may be due.
    fn wake_due(&mut self) -> bool {
        for _ in 0..BATCH {
            let now = self.world.clock.now();
            let Some((actor, due)) = self.timers.due(now) else { return false };
            self.stats.span(Span::Lag, now.since(due));
            if now.since(due) > BEHIND {
                self.look_first(actor);
            }
            self.event(actor, Event::Wake);
        }
        true
    }

    /// The answer may lie in the socket: a deadline must not pass for want of looking.
    fn look_first(&mut self, actor: u32) {
        let link = &mut self.links[actor as usize];
        match link.state {
            State::Open => self.readable(actor, epoll::EventFlags::empty()),
            State::Connecting if link.stands() => {
                link.state = State::Open;
                self.event(actor, Event::Connected);
            }
            _ => {}
        }
    }

    /// Hands over the measurements of a second that is past.
    fn hand_over(&mut self, last: bool) {
        let second = usize::try_from(self.world.clock.now().since(self.world.began).as_secs());
        let second = second.unwrap_or(usize::MAX);
        if second == self.second && !last {
            return;
        }
        let cpu = cpu_time();
        let seconds = (second - self.second).max(1) as f64;
        self.stats.busy = (cpu - self.cpu).as_secs_f64() / seconds;
        self.cpu = cpu;
        let done = std::mem::take(&mut self.stats);
        // The run's end may have closed the other side already.
        let _ = self.reports.send((self.second, done));
        self.second = second;
    }

    fn socket_event(&mut self, data: u64, flags: epoll::EventFlags) {
        if data == BELL {
            return self.open_mailbox();
        }
        if data == ALARM {
            return;
        }
        let actor = index(usize::try_from(data & 0xffff_ffff).unwrap_or(usize::MAX));
        let link = &mut self.links[actor as usize];
        if u64::from(link.generation) != data >> 32 || link.socket.is_none() {
            return;
        }
        if link.state == State::Connecting {
            if !flags.intersects(
                epoll::EventFlags::OUT | epoll::EventFlags::ERR | epoll::EventFlags::HUP,
            ) {
                return;
            }
            let good = link.established();
            self.event(actor, if good { Event::Connected } else { Event::Refused });
            return;
        }
        if flags.contains(epoll::EventFlags::OUT) && !link.flush() {
            return self.broken(actor);
        }
        let readable = epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR;
        if flags.intersects(readable) {
            self.readable(actor, flags);
        }
    }

    fn readable(&mut self, actor: u32, flags: epoll::EventFlags) {
        let generation = self.links[actor as usize].generation;
        loop {
            let link = &self.links[actor as usize];
            if link.generation != generation || link.state == State::Closed {
                return;
            }
            if link.state == State::Deaf {
                if flags.intersects(epoll::EventFlags::HUP | epoll::EventFlags::ERR) {
                    self.broken(actor);
                }
                return;
            }
            let mut scratch = std::mem::take(&mut self.scratch);
            let read = link.read(&mut scratch);
            if let Read::Bytes(count) = read {
                self.stats.count(Count::BytesIn, count as u64);
                self.event(actor, Event::Data(&scratch[..count]));
            }
            let full = read == Read::Bytes(scratch.len());
            self.scratch = scratch;
            match read {
                Read::End => return self.broken(actor),
                Read::Later => return,
                // A short read has emptied the socket; a closing peer makes an event of its own.
                Read::Bytes(_) if !full && !flags.contains(epoll::EventFlags::RDHUP) => return,
                Read::Bytes(_) => {}
            }
        }
    }

    fn broken(&mut self, actor: u32) {
        self.close(actor);
        self.event(actor, Event::Lost);
    }

    fn open_mailbox(&mut self) {
        let mailbox = &self.world.mailboxes[self.number];
        let mut count = [0; 8];
        // The bell may have been rung for an earlier look.
        let _ = rustix::io::read(&mailbox.bell, &mut count);
        for (topic, at) in mailbox.take() {
            let mut place = self.listeners.partition_point(|(other, _)| *other < topic);
            while let Some((other, actor)) = self.listeners.get(place).copied()
                && other == topic
            {
                self.event(actor, Event::Notice(at));
                place += 1;
            }
        }
    }

    /// Hands an event to an actor and does what it orders.
    fn event(&mut self, actor: u32, event: Event<'_>) {
        let mut out = std::mem::take(&mut self.out);
        let mut cuts = std::mem::take(&mut self.cuts);
        let mut io = Io {
            now: self.world.clock.now(),
            world: &self.world,
            stats: &mut self.stats,
            shown: &mut self.shown,
            out: &mut out,
            cuts: &mut cuts,
            order: Order::Go,
            wake: Timestamp::NEVER,
        };
        self.actors[actor as usize].event(event, &mut io);
        let (order, wake) = (io.order, io.wake);
        self.timers.set(actor, wake);
        self.obey(actor, order, &out, &cuts);
        out.clear();
        cuts.clear();
        (self.out, self.cuts) = (out, cuts);
    }

    fn obey(&mut self, actor: u32, order: Order, out: &[u8], cuts: &[usize]) {
        match order {
            Order::Close => return self.close(actor),
            Order::Connect(port) => return self.connect(actor, port),
            Order::Deafen => self.links[actor as usize].state = State::Deaf,
            Order::Go => {}
        }
        let link = &mut self.links[actor as usize];
        if out.is_empty() || link.state == State::Closed {
            return;
        }
        self.stats.count(Count::BytesOut, out.len() as u64);
        // A broken connection also makes a socket event, which tells the actor.
        link.write(out, cuts);
    }

    fn gauge(&self, actor: u32) -> &std::sync::atomic::AtomicU64 {
        match self.actors[actor as usize] {
            Actor::Nsqd(_) => &self.world.gauges.tcp,
            Actor::Asker(_) | Actor::Rogue(_) | Actor::Pump(_) => &self.world.gauges.http,
        }
    }

    fn close(&mut self, actor: u32) {
        if self.links[actor as usize].socket.is_some() {
            self.gauge(actor).fetch_sub(1, Relaxed);
        }
        self.links[actor as usize].close();
    }

    fn connect(&mut self, actor: u32, port: Port) {
        self.close(actor);
        let target = self.world.target;
        let to = if port == Port::Tcp { target.tcp } else { target.http };
        let link = &mut self.links[actor as usize];
        let opened = link.open(to, target.source(self.numbers[actor as usize]));
        let (Ok(()), Some(socket)) = (opened, &link.socket) else {
            return self.event(actor, Event::Refused);
        };
        let flags = epoll::EventFlags::IN
            | epoll::EventFlags::OUT
            | epoll::EventFlags::RDHUP
            | epoll::EventFlags::ET;
        let data = epoll::EventData::new_u64(u64::from(link.generation) << 32 | u64::from(actor));
        if epoll::add(&self.epoll, socket, data, flags).is_err() {
            link.close();
            return self.event(actor, Event::Refused);
        }
        self.gauge(actor).fetch_add(1, Relaxed);
    }
}

/// The actors of a thread, their numbers in the run, and who listens to which topic.
fn cast(world: &World, thread: usize) -> (Vec<Actor>, Vec<u32>, Vec<(u32, u32)>) {
    let (plan, threads) = (&world.plan, world.mailboxes.len());
    let seed = plan.scenario.seed;
    let mine = |number: &usize| thread_of(*number, threads) == thread;
    let (mut actors, mut numbers, mut listeners) = (Vec::new(), Vec::new(), Vec::new());
    for number in (0..plan.nsqds.len()).filter(mine) {
        actors.push(Actor::Nsqd(Nsqd::new(index(number), seed)));
        numbers.push(index(number));
    }
    for number in (0..plan.askers.len()).filter(mine) {
        let asker = &plan.askers[number];
        if let Some(topic) = listens_to(&asker.asking, asker.missing) {
            listeners.push((topic, index(actors.len())));
        }
        actors.push(Actor::Asker(Box::new(Asker::new(asker.clone(), index(number), seed))));
        numbers.push(index(plan.nsqds.len() + number));
    }
    for number in (0..plan.rogues.len()).filter(mine) {
        actors.push(Actor::Rogue(Rogue::new(plan.rogues[number], index(number), seed)));
        numbers.push(index(plan.nsqds.len() + plan.askers.len() + number));
    }
    for number in (0..plan.pumps).filter(mine) {
        actors.push(Actor::Pump(Box::new(Pump::new(index(number), seed))));
        numbers.push(index(plan.nsqds.len() + plan.askers.len() + plan.rogues.len() + number));
    }
    (actors, numbers, listeners)
}

/// What this thread has used of its CPU.
fn cpu_time() -> Duration {
    let spent = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(spent.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(spent.tv_nsec).unwrap_or(0))
}
