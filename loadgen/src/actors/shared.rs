//! State that all threads of a run use: the plan, the oracle, the gauges, the phase of the run, and
//! which thread must be told about changes of a topic.
//!
//! Must not: hold a socket. All threads read it; everything that changes is atomic or behind a lock.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::clock::{Clock, Timestamp};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::OwnedFd;

use crate::input::target::Target;
use crate::model::names::{Inherited, Name, Names};
use crate::model::oracle::Oracle;
use crate::model::plan::{Plan, Workload};

/// A topic, and when a producer of it was added or removed.
pub(crate) type TopicChange = (u32, Timestamp);

/// Topic changes for one thread, pushed by any thread, and the eventfd that wakes that thread.
#[derive(Debug)]
pub(crate) struct ChangeQueue {
    changes: Mutex<Vec<TopicChange>>,
    pub(crate) waker: OwnedFd,
}

impl ChangeQueue {
    /// Takes all changes.
    pub(crate) fn take(&self) -> Vec<TopicChange> {
        std::mem::take(&mut *self.changes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Wakes the thread.
    pub(crate) fn wake(&self) {
        // It fails only when the counter is full; the thread is then woken anyway.
        let _ = rustix::io::write(&self.waker, &1_u64.to_ne_bytes());
    }

    fn push(&self, change: TopicChange) {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        changes.push(change);
        if changes.len() == 1 {
            self.wake();
        }
    }
}

/// Counts for the live view and for the end of a phase.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    /// Nsqds that have registered all their topics.
    pub(crate) complete: AtomicU64,
    /// Nsqds that are running, so that they should be complete.
    pub(crate) expected: AtomicU64,
    /// Open connections.
    pub(crate) tcp: AtomicU64,
    pub(crate) http: AtomicU64,
    /// Requests in flight.
    pub(crate) in_flight: AtomicU64,
    /// Watched topics whose last response differs from what the oracle expects.
    pub(crate) outdated: AtomicU64,
    /// When the fleet last became complete, in Unix nanoseconds.
    pub(crate) completed_at: AtomicI64,
    /// When a watched topic last became up to date, in Unix nanoseconds.
    pub(crate) up_to_date_at: AtomicI64,
}

/// The shared state of one run.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) plan: Plan,
    pub(crate) oracle: Oracle,
    pub(crate) target: Target,
    pub(crate) clock: Clock,
    pub(crate) started: Timestamp,
    pub(crate) gauges: Gauges,
    pub(crate) queues: Vec<ChangeQueue>,
    /// By topic, the threads (one bit per number) with actors that subscribe to it.
    subscribers: Vec<u64>,
    /// The names that the target had before the run.
    pub(crate) inherited: Inherited,
    /// The target was started for this run: it sees the addresses of the actors, has the ports that
    /// it was given, and nobody else uses it.
    pub(crate) owned: bool,
    /// Until when errors are due to the kill of the target, in Unix nanoseconds.
    outage_until: AtomicI64,
    main: AtomicI64,
    draining: AtomicBool,
    stopped: AtomicBool,
}

impl Shared {
    /// The state of a run of `plan` on `threads` threads.
    ///
    /// # Errors
    /// When an eventfd cannot be created.
    pub(crate) fn new(
        plan: Plan,
        target: Target,
        clock: Clock,
        threads: usize,
    ) -> std::io::Result<Self> {
        let queue = || {
            let waker = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
            Ok(ChangeQueue { changes: Mutex::default(), waker })
        };
        let mut subscribers = vec![0; plan.producers.len()];
        for (number, client) in plan.http_clients.iter().enumerate() {
            if let Some(topic) = subscribed_topic(&client.workload, client.missing) {
                subscribers[topic as usize] |= 1 << thread_of(number, threads);
            }
        }
        Ok(Self {
            oracle: Oracle::new(
                &plan.producers,
                plan.scenario.topics.channels,
                plan.nsqds.len(),
                plan.scenario.staleness.0,
            ),
            plan,
            target,
            started: clock.now(),
            clock,
            gauges: Gauges::default(),
            queues: (0..threads).map(|_| queue()).collect::<std::io::Result<_>>()?,
            subscribers,
            inherited: Inherited::default(),
            owned: false,
            outage_until: AtomicI64::new(i64::MIN),
            main: AtomicI64::new(Timestamp::NEVER.unix_nanos()),
            draining: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
        })
    }

    /// The names that the target has before the run, which nobody can say how long they stay.
    pub(crate) fn inherit(&mut self, inherited: Inherited) {
        for name in &inherited.topics {
            if let Some(topic) = Plan::topic_number(name)
                && topic < self.oracle.topics()
            {
                self.oracle.names(topic, Names::inherit);
            }
            if let Some(topic) = Plan::admin_number(name) {
                self.oracle.admin(|names| names.push((topic, Name::UNKNOWN)));
            }
        }
        self.inherited = inherited;
    }

    /// Errors are the scenario's doing until then.
    pub(crate) fn set_outage(&self, until: Timestamp) {
        self.outage_until.store(until.unix_nanos(), Ordering::Release);
    }

    /// Whether the target is down because the scenario says so.
    pub(crate) fn is_outage(&self, now: Timestamp) -> bool {
        now.unix_nanos() < self.outage_until.load(Ordering::Acquire)
    }

    /// When the main part begins; [`Timestamp::NEVER`] before that is known.
    pub(crate) fn main(&self) -> Timestamp {
        Timestamp::from_unix_nanos(self.main.load(Ordering::Acquire))
    }

    /// Sets when the main part begins.
    pub(crate) fn begin_main(&self, at: Timestamp) {
        self.main.store(at.unix_nanos(), Ordering::Release);
        self.wake_all();
    }

    /// The main part is over: no new requests.
    pub(crate) fn draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Ends the main part.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        self.wake_all();
    }

    /// The threads must end.
    pub(crate) fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Ends the threads.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.wake_all();
    }

    /// Informs the subscribers of a topic that a producer was added or removed. Consumers learn only
    /// of removals, by the end of their connection.
    pub(crate) fn topic_changed(&self, topic: u32, now: Timestamp, removed: bool) {
        if !removed && !self.plan.watched[topic as usize] {
            return;
        }
        let mask = self.subscribers[topic as usize];
        let subscribed =
            self.queues.iter().enumerate().filter(|(thread, _)| mask >> thread & 1 == 1);
        subscribed.for_each(|(_, queue)| queue.push((topic, now)));
    }

    fn wake_all(&self) {
        self.queues.iter().for_each(ChangeQueue::wake);
    }
}

/// The topic whose changes an HTTP client subscribes to.
pub(crate) fn subscribed_topic(workload: &Workload, missing: bool) -> Option<u32> {
    match workload {
        Workload::Poll { topic, .. } if !missing => Some(*topic),
        Workload::Watch { topic, .. } => Some(*topic),
        _ => None,
    }
}

/// The thread that runs actor number `actor` of its kind.
pub(crate) fn thread_of(actor: usize, threads: usize) -> usize {
    actor % threads
}
