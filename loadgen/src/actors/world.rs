//! What the actors of all threads share: the plan, the truth, who must be told of a change.
//!
//! Must not: hold a socket. Every thread reads it; what changes is atomic or behind a lock.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use musterd::clock::{Clock, Timestamp};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::OwnedFd;

use crate::input::target::Target;
use crate::model::plan::{Asking, Plan};
use crate::model::truth::Truth;

/// A topic changed at that moment.
pub(crate) type Notice = (u32, Timestamp);

/// Where other threads leave notices for one thread, and the descriptor that wakes it.
#[derive(Debug)]
pub(crate) struct Mailbox {
    notices: Mutex<Vec<Notice>>,
    pub(crate) bell: OwnedFd,
}

impl Mailbox {
    /// Takes all notices.
    pub(crate) fn take(&self) -> Vec<Notice> {
        std::mem::take(&mut *self.notices.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Wakes the thread.
    pub(crate) fn ring(&self) {
        // A full counter means that the bell rings already.
        let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
    }

    fn put(&self, notice: Notice) {
        let mut notices = self.notices.lock().unwrap_or_else(PoisonError::into_inner);
        notices.push(notice);
        if notices.len() == 1 {
            self.ring();
        }
    }
}

/// Shown in the live view and used to see when a phase is over.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    /// Nsqds that have registered all they have.
    pub(crate) complete: AtomicU64,
    /// Nsqds that are meant to be complete now.
    pub(crate) wanted: AtomicU64,
    /// Open connections.
    pub(crate) tcp: AtomicU64,
    pub(crate) http: AtomicU64,
    /// Requests in flight.
    pub(crate) in_flight: AtomicU64,
    /// Watched topics that do not show what is true yet.
    pub(crate) unsettled: AtomicU64,
    /// When the fleet was last completed, in Unix nanoseconds.
    pub(crate) completed_at: AtomicI64,
    /// When the last watched topic showed what is true, in Unix nanoseconds.
    pub(crate) settled_at: AtomicI64,
}

/// One run's common ground.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) truth: Truth,
    pub(crate) target: Target,
    pub(crate) clock: Clock,
    pub(crate) began: Timestamp,
    pub(crate) gauges: Gauges,
    pub(crate) mailboxes: Vec<Mailbox>,
    /// Which threads (bit by number) have actors that care about a topic.
    listeners: Vec<u64>,
    main: AtomicI64,
    draining: AtomicBool,
    over: AtomicBool,
}

impl World {
    /// The world of a plan, played by `threads` threads.
    ///
    /// # Errors
    /// When the system gives no event descriptor.
    pub(crate) fn new(
        plan: Plan,
        target: Target,
        clock: Clock,
        threads: usize,
    ) -> std::io::Result<Self> {
        let mailbox = || {
            let bell = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
            Ok(Mailbox { notices: Mutex::default(), bell })
        };
        let mut listeners = vec![0; plan.members.len()];
        for (number, asker) in plan.askers.iter().enumerate() {
            if let Some(topic) = listens_to(&asker.asking, asker.missing) {
                listeners[topic as usize] |= 1 << thread_of(number, threads);
            }
        }
        Ok(Self {
            truth: Truth::new(&plan.members, plan.scenario.staleness.0),
            plan,
            target,
            began: clock.now(),
            clock,
            gauges: Gauges::default(),
            mailboxes: (0..threads).map(|_| mailbox()).collect::<std::io::Result<_>>()?,
            listeners,
            main: AtomicI64::new(Timestamp::NEVER.unix_nanos()),
            draining: AtomicBool::new(false),
            over: AtomicBool::new(false),
        })
    }

    /// When the main part begins; [`Timestamp::NEVER`] before that is known.
    pub(crate) fn main(&self) -> Timestamp {
        Timestamp::from_unix_nanos(self.main.load(Ordering::Acquire))
    }

    /// Sets when the main part begins.
    pub(crate) fn begin_main(&self, at: Timestamp) {
        self.main.store(at.unix_nanos(), Ordering::Release);
        self.ring_all();
    }

    /// Nothing new is to be sent.
    pub(crate) fn draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Ends the sending.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        self.ring_all();
    }

    /// The threads are to end.
    pub(crate) fn over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Ends the threads.
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::Release);
        self.ring_all();
    }

    /// Tells those who care that producers of a topic came or went. Consumers only notice the
    /// going: it costs them a connection.
    pub(crate) fn changed(&self, topic: u32, now: Timestamp, went: bool) {
        if !went && !self.plan.watched[topic as usize] {
            return;
        }
        let mask = self.listeners[topic as usize];
        let listening =
            self.mailboxes.iter().enumerate().filter(|(thread, _)| mask >> thread & 1 == 1);
        listening.for_each(|(_, mailbox)| mailbox.put((topic, now)));
    }

    fn ring_all(&self) {
        self.mailboxes.iter().for_each(Mailbox::ring);
    }
}

/// The topic whose changes an HTTP client cares about.
pub(crate) fn listens_to(asking: &Asking, missing: bool) -> Option<u32> {
    match asking {
        Asking::Poll { topic, .. } if !missing => Some(*topic),
        Asking::Watch { topic, .. } => Some(*topic),
        _ => None,
    }
}

/// The thread that plays actor number `actor` of its kind.
pub(crate) fn thread_of(actor: usize, threads: usize) -> usize {
    actor % threads
}
