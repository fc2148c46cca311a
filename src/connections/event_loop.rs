//! The table itself and the order of a turn: wait, note, read and talk, sweep, commit, write.
//!
//! Must not: know a runtime. Runs on the thread of its host; see `reading`, `writing` and
//! `departures` for the steps.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::mem;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use ahash::RandomState;

use super::acceptor::{Accepted, Acceptor, BATCH, PAUSE};
use super::counters::{ConnectionCounters, LocalCounters};
use super::deadlines::{CoarseTime, Deadlines};
use super::epoll::{Epoll, Event, Source};
use super::messages::{Arrival, LoopHandle, LoopMessage};
use super::output::Output;
use super::slab::{Slab, Token};
use super::slot::{Phase, Slot};
use crate::access::PerIpPermit;
use crate::clock::{Clock, Timestamp};
use crate::handler::{CloseReason, ConnectionHandler};
use crate::limits;

/// Busy turns after which the shared counters are told what was done; a quiet one tells at once.
const TOLD_AFTER: u64 = 64;

/// What an operator or a service chooses for all tables of one listener.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Connections of all tables together; past it a connection is refused.
    pub max_connections: u64,
    /// What a refused connection is told before it is closed; nothing when empty.
    pub refusal: &'static [u8],
    /// After how long a silence the kernel probes the peer; never when none.
    pub keepalive: Option<Duration>,
}

/// What a turn has left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Something was done, and more may be there: take another turn.
    Busy,
    /// Nothing happened: wait until the descriptor is readable.
    Quiet,
    /// The table was stopped and has closed its last connection.
    Drained,
}

/// The descriptors of a table that is yet to be: made and named before any thread is started.
pub struct LoopFds {
    epoll: Epoll,
    deadlines: Deadlines,
    handle: LoopHandle,
}

impl LoopFds {
    /// Opens an epoll, an eventfd and a timerfd.
    ///
    /// # Errors
    /// When the process has no descriptors left.
    pub fn new() -> io::Result<Self> {
        let (epoll, deadlines, handle) = (Epoll::new()?, Deadlines::new()?, LoopHandle::new()?);
        epoll.watch_waker(handle.waker(), Source::MessageQueue)?;
        epoll.watch_waker(&deadlines, Source::Timer)?;
        Ok(Self { epoll, deadlines, handle })
    }

    /// The sending end of the table's mailbox.
    #[must_use]
    pub fn handle(&self) -> LoopHandle {
        self.handle.clone()
    }
}

impl AsFd for LoopFds {
    /// The epoll of the table.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

impl fmt::Debug for LoopFds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoopFds").field("handle", &self.handle).finish_non_exhaustive()
    }
}

/// Many connections of one service, pumped from one thread at a time.
pub struct EventLoop<S: ConnectionHandler> {
    pub(super) service: S,
    pub(super) options: Options,
    pub(super) counters: Arc<ConnectionCounters>,
    clock: Clock,
    pub(super) epoll: Epoll,
    pub(super) deadlines: Deadlines,
    messages: LoopHandle,
    pub(super) acceptor: Option<Acceptor>,
    pub(super) slots: Slab<Slot<S::Connection>>,
    /// The permits that connections hold; beside the slots, so that they cost nothing where none
    /// are counted.
    pub(super) permits: HashMap<Token, PerIpPermit, RandomState>,
    /// What is to be served in the next turn whether or not an event comes.
    pub(super) ready: Vec<Token>,
    /// What is over and waits for the commit to be closed.
    pub(super) closing: Vec<Token>,
    pub(super) scratch: Box<[u8]>,
    pub(super) output: Output,
    /// The moment of this turn.
    pub(super) now: Timestamp,
    /// Turns were taken since the last commit.
    pub(super) uncommitted: bool,
    /// The moment the table ends what is left; set once it was told to stop.
    pub(super) stopping: Option<CoarseTime>,
    pub(super) local: LocalCounters,
}

impl<S: ConnectionHandler> EventLoop<S> {
    /// A table without connections. `counters` are shared by all tables of one listener.
    #[must_use]
    pub fn new(
        fds: LoopFds,
        service: S,
        options: Options,
        counters: Arc<ConnectionCounters>,
        clock: Clock,
    ) -> Self {
        let LoopFds { epoll, mut deadlines, handle } = fds;
        let now = clock.now();
        deadlines.start(now);
        Self {
            service,
            options,
            counters,
            clock,
            epoll,
            deadlines,
            messages: handle,
            acceptor: None,
            slots: Slab::new(),
            permits: HashMap::default(),
            ready: Vec::new(),
            closing: Vec::new(),
            scratch: vec![0; limits::READ_BUFFER].into_boxed_slice(),
            output: Output::default(),
            now,
            uncommitted: false,
            stopping: None,
            local: LocalCounters::default(),
        }
    }

    /// The sending end of the table's mailbox.
    #[must_use]
    pub fn handle(&self) -> &LoopHandle {
        &self.messages
    }

    /// Makes this the table that accepts for its listener.
    ///
    /// # Errors
    /// When the listener cannot be watched.
    pub fn listen(&mut self, acceptor: Acceptor) -> io::Result<()> {
        self.epoll.watch_listener(&acceptor)?;
        self.acceptor = Some(acceptor);
        Ok(())
    }

    /// How many connections the table has, those that linger after their end included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether the table has no connection.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.len() == 0
    }

    /// Waits at most `wait` for an event (not at all when work is left), then does what has become
    /// possible: replies are written after the commit of all they acknowledge. Precise to 1 ms.
    ///
    /// # Errors
    /// When epoll or the timer fails, which ends the table.
    pub fn turn(&mut self, wait: Duration) -> io::Result<Progress> {
        let wait = if self.ready.is_empty() { wait } else { Duration::ZERO };
        let events = self.epoll.wait(wait)?;
        self.now = self.clock.now();
        for index in 0..events {
            self.note(self.epoll.event(index))?;
        }
        let served = self.serve_ready();
        self.keep_deadlines();
        self.flush();
        self.deadlines.arm(self.now)?;
        let progress = self.progress(events + served);
        self.tell(progress);
        Ok(progress)
    }

    fn progress(&self, done: usize) -> Progress {
        if self.stopping.is_some() && self.slots.len() == 0 {
            Progress::Drained
        } else if done > 0 || !self.ready.is_empty() {
            Progress::Busy
        } else {
            Progress::Quiet
        }
    }

    /// Adds to the shared counters, now and then.
    fn tell(&mut self, progress: Progress) {
        self.local.turns += 1;
        if progress != Progress::Busy || self.local.turns == TOLD_AFTER {
            self.counters.add(mem::take(&mut self.local));
        }
    }

    fn note(&mut self, event: Event) -> io::Result<()> {
        match event.source {
            Source::MessageQueue => self.read_mail(),
            Source::Timer => self.deadlines.fired(),
            Source::Listener => self.accept()?,
            Source::Slot(token) => self.note_slot(token, event),
        }
        Ok(())
    }

    fn note_slot(&mut self, token: Token, event: Event) {
        let Some(slot) = self.slots.get_mut(token) else { return };
        slot.hangup |= event.hangup;
        if event.readable {
            slot.readable = true;
            self.schedule(token);
        }
        if event.writable {
            self.drain(token);
        }
    }

    /// Puts a slot on the ready list, once.
    pub(super) fn schedule(&mut self, token: Token) {
        let Some(slot) = self.slots.get_mut(token) else { return };
        if !mem::replace(&mut slot.scheduled, true) {
            self.ready.push(token);
        }
    }

    /// Serves what was ready when the turn began; what becomes ready meanwhile waits for the next.
    fn serve_ready(&mut self) -> usize {
        let mut ready = mem::take(&mut self.ready);
        let served = ready.len();
        for token in ready.drain(..) {
            self.serve(token);
            if self.output.is_full() {
                self.flush();
            }
        }
        ready.append(&mut self.ready);
        self.ready = ready;
        served
    }

    fn read_mail(&mut self) {
        self.messages.acknowledge();
        while let Some(messages) = self.messages.next() {
            match messages {
                LoopMessage::Open(arrival) => self.open(arrival),
                LoopMessage::Wake => {}
                LoopMessage::Stop { deadline } => self.stop(deadline),
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        let mut lost = 0;
        for _ in 0..BATCH {
            let Some(acceptor) = &mut self.acceptor else { break };
            match acceptor.accept() {
                Accepted::Connection(socket, peer) => match acceptor.admit(peer) {
                    Err(words) => {
                        self.counters.turned_away();
                        self.refuse(socket, words);
                    }
                    // A place that was taken is given back.
                    Ok(_) if !self.counters.enter(self.options.max_connections) => {
                        self.refuse(socket, self.options.refusal);
                    }
                    Ok(place) => {
                        if let Some(own) = acceptor.hand_over(Arrival { socket, peer, place }) {
                            self.open(own);
                        }
                    }
                },
                Accepted::Nobody => break,
                Accepted::Lost if lost + 1 < BATCH => {
                    self.counters.accept_failed();
                    lost += 1;
                }
                // A whole batch that is lost is no chance: it would go on at once.
                Accepted::Lost | Accepted::Exhausted => {
                    self.counters.accept_failed();
                    self.epoll.forget(&*acceptor)?;
                    acceptor.paused = Some(self.deadlines.note(self.now + PAUSE));
                    break;
                }
            }
        }
        Ok(())
    }

    /// Watches a socket and begins its conversation.
    pub(super) fn open(&mut self, arrival: Arrival) {
        let Arrival { socket, peer, place } = arrival;
        if self.stopping.is_some() {
            return self.counters.leave();
        }
        let (now, service) = (self.now, &mut self.service);
        let Some((connection, deadline)) = catch_panic(|| service.on_open(peer, now)) else {
            self.counters.ended(CloseReason::Panicked);
            return self.counters.leave();
        };
        let token = self.slots.insert(Slot::new(socket, Some(connection), Phase::Talking));
        if let Some(place) = place {
            self.permits.insert(token, place);
        }
        let tick = self.deadlines.note(deadline);
        let slot = self.slots.get_mut(token).expect("it was inserted just now");
        slot.deadline = tick;
        if self.epoll.watch(&slot.socket, token).is_err() {
            self.end(token, CloseReason::Broken);
        }
    }
}

impl<S: ConnectionHandler> AsFd for EventLoop<S> {
    /// The epoll of the table: readable when a turn would find something.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

impl<S: ConnectionHandler> fmt::Debug for EventLoop<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventLoop").field("connections", &self.slots.len()).finish_non_exhaustive()
    }
}

/// What `conversation` returns, or none when it panics: that costs its connection only.
pub(super) fn catch_panic<T>(conversation: impl FnOnce() -> T) -> Option<T> {
    // AssertUnwindSafe: the connection is dropped after a panic, and a service keeps no state of a
    // half-done turn that another connection could see.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(conversation)).ok()
}
