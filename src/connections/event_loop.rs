//! The event loop: [`EventLoop::poll_once`] is one iteration, and this file is in its order: wait,
//! messages, accept, read and handle, go on with what takes long, timeouts, commit, write, close.
//! Each step that peers can make long ends when the iteration's work is over, and goes on in the
//! next iteration.
//!
//! Must not: know a runtime, or let a byte of a reply reach a peer before the effects of the calls
//! it acknowledges are committed. Runs on the thread of its host.

mod behind_proxy;
mod finish;
mod lifecycle;
mod timeouts;
mod writing;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::mem;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use ahash::RandomState;

use self::lifecycle::catch_panic;
pub(crate) use self::lifecycle::{Acceptor, Route, Targets};
use self::timeouts::Sweep;
use super::counters::{ConnectionCounters, LocalCounters};
use super::deadlines::{CoarseTime, Deadlines};
use super::epoll::{Epoll, Event, LISTENER, LoopFds, MESSAGES, TIMER};
use super::messages::{LoopHandle, LoopMessage, Stage};
use super::output::{Output, Reply};
use super::slab::Slab;
use super::slot::{Action, Leaving, Pending, Phase, Slot, State, check};
use crate::access::{AcceptPolicy, Permit};
use crate::clock::{Clock, Timestamp};
use crate::handler::{CloseReason, ConnectionHandler, Input, Next, Token};
use crate::limits;
use crate::work::{Work, part_of_round};

/// What an operator or a handler chooses for all event loops of one listener.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// Connections of all loops together; past it a connection is rejected.
    pub max_connections: u64,
    /// What a connection past that is told before it is closed; nothing when empty.
    pub refusal: &'static [u8],
    /// Bytes of output that may wait for the peers of all loops together; past it the connection
    /// closes that would have more.
    pub max_queued_output: usize,
    /// After how long a silence the kernel probes the peer; never when none.
    pub keepalive: Option<Duration>,
}

/// What an iteration has left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Something was done, and more may be there: go on at once.
    Busy,
    /// Nothing happened: wait until the descriptor is readable.
    Quiet,
    /// The loop was stopped and has closed its last connection.
    Drained,
}

/// Units of [`Work`] of the loop's own system calls for one connection.
const SERVE: u32 = 20;
/// Bytes that are sent for one unit of [`Work`].
const BYTES_PER_UNIT: usize = 1024;
/// Connections that are over at which there is a commit, and they close: what that takes counts
/// towards the iteration's time.
pub(super) const CLOSED_AT_ONCE: usize = 64;
/// Messages taken in one iteration, so that connections that come do not delay those that are here.
const MESSAGES_AT_ONCE: usize = 64;

/// Many connections of one handler, on one thread at a time.
pub(crate) struct EventLoop<H: ConnectionHandler> {
    handler: H,
    options: Options,
    counters: Arc<ConnectionCounters>,
    local: LocalCounters,
    clock: Clock,
    /// The moment of this iteration.
    now: Timestamp,
    epoll: Epoll,
    pub(super) deadlines: Deadlines,
    messages: LoopHandle,
    pub(super) acceptor: Option<Acceptor>,
    pub(super) slots: Slab<Slot<H::Connection>>,
    /// Who may have a connection.
    policy: Arc<AcceptPolicy>,
    /// The permits that connections hold; beside the slots, which are small.
    pub(super) permits: HashMap<Token, Permit, RandomState>,
    /// The connections whose handler has more to do about their end.
    pub(super) leaving: HashMap<Token, Leaving<H::Connection>, RandomState>,
    /// The slots to be served in the next iteration, whether or not an event comes.
    ready: Vec<Token>,
    /// The slots that go on, behind all others, in slices.
    continuing: VecDeque<Token>,
    /// The slots that wait for the commit to close.
    closing: Vec<Token>,
    /// The slots whose sockets take more of what is queued.
    writable: Vec<Token>,
    scratch: Box<[u8]>,
    pub(super) output: Output,
    /// The handler was called since the last commit.
    uncommitted: bool,
    /// What this iteration may still do.
    work: Work,
    /// Where the sweep of the deadlines goes on, and the earliest deadline that it has seen.
    sweep: Option<Sweep>,
    /// Messages were left in the queue, which does not wake the loop for them again.
    has_messages: bool,
    /// The moment the loop ends what is left; set once it was told to stop.
    stopping: Option<CoarseTime>,
}

impl<H: ConnectionHandler> EventLoop<H> {
    /// A loop without connections. All loops of one listener share `policy` and `counters`.
    #[must_use]
    pub(crate) fn new(
        fds: LoopFds,
        handler: H,
        options: Options,
        policy: Arc<AcceptPolicy>,
        counters: Arc<ConnectionCounters>,
        clock: Clock,
    ) -> Self {
        let LoopFds { epoll, deadlines, handle } = fds;
        let work = Work::new(clock.clone(), Timestamp::NEVER);
        Self {
            handler,
            options,
            counters,
            local: LocalCounters::default(),
            now: clock.now(),
            clock,
            epoll,
            deadlines,
            messages: handle,
            acceptor: None,
            slots: Slab::new(),
            policy,
            permits: HashMap::default(),
            leaving: HashMap::default(),
            ready: Vec::new(),
            continuing: VecDeque::new(),
            closing: Vec::new(),
            writable: Vec::new(),
            scratch: vec![0; limits::READ_BUFFER].into_boxed_slice(),
            output: Output::default(),
            uncommitted: false,
            work,
            sweep: None,
            has_messages: false,
            stopping: None,
        }
    }

    /// What other threads reach the loop by.
    #[must_use]
    pub(crate) fn handle(&self) -> &LoopHandle {
        &self.messages
    }

    /// Has this loop accept.
    ///
    /// # Errors
    /// When the listener cannot be watched.
    pub(crate) fn listen(&mut self, acceptor: Acceptor) -> io::Result<()> {
        self.epoll.watch_listener(&acceptor.listener)?;
        self.acceptor = Some(acceptor);
        Ok(())
    }

    /// One iteration: waits at most `wait` for an event (not at all when work is left), then does
    /// what has become possible. Precise to 1 ms.
    ///
    /// # Errors
    /// When epoll or the timer fails, which ends the loop.
    pub(crate) fn poll_once(&mut self, wait: Duration) -> io::Result<Progress> {
        let wait = if self.has_more() { Duration::ZERO } else { wait };
        let events = self.epoll.wait(wait)?;
        self.now = self.clock.now();
        self.messages.begin(Stage::Events);
        self.work.restart(self.now + limits::ITERATION);
        if self.has_messages {
            self.take_messages();
        }
        for index in 0..events {
            self.note_event(self.epoll.event(index))?;
        }
        self.messages.begin(Stage::Serve);
        let served = self.write_waiting() + self.serve_ready() + self.serve_continuing();
        self.check_deadlines();
        self.messages.begin(Stage::Commit);
        self.commit_and_write();
        self.deadlines.arm(self.now)?;
        self.publish_counts();
        if events + served > 0 {
            self.note_cpu_time();
        }
        self.messages.begin(Stage::Wait);
        Ok(self.progress(events + served))
    }

    // Events: messages, a new connection, a socket that can be read or written.

    fn note_event(&mut self, event: Event) -> io::Result<()> {
        match event.token {
            MESSAGES => {
                self.messages.acknowledge();
                self.take_messages();
            }
            TIMER => self.deadlines.fired(),
            LISTENER => self.accept()?,
            token => self.note_socket(token, event),
        }
        Ok(())
    }

    fn take_messages(&mut self) {
        for _ in 0..MESSAGES_AT_ONCE {
            let message = self.messages.next();
            self.has_messages = message.is_some();
            match message {
                Some(LoopMessage::Open(incoming)) => self.open(incoming),
                Some(LoopMessage::Wake(token)) => self.act(token, Slot::wake),
                Some(LoopMessage::Stop { deadline }) => self.stop(deadline),
                None => break,
            }
        }
    }

    /// Stops accepting, serves every connection once more, and ends what is at rest after that. To
    /// those that are held it is as if their deadline had passed.
    fn stop(&mut self, deadline: Timestamp) {
        self.stop_listening();
        self.handler.on_stop();
        self.stopping = Some(self.deadlines.note(deadline));
        for index in 0..self.slots.capacity() {
            let Some(token) = self.slots.token_at(index) else { continue };
            let Some(slot) = self.slots.get_mut(token) else { continue };
            if slot.is_held() {
                slot.wait_until(self.deadlines.note_passed(self.now));
            } else {
                self.act(token, Slot::ask_read);
            }
        }
    }

    fn note_socket(&mut self, token: Token, event: Event) {
        let Some(slot) = self.slots.get_mut(token) else { return };
        slot.hangup |= event.hangup;
        if event.writable && slot.queued() > 0 && !mem::replace(&mut slot.is_writable, true) {
            self.writable.push(token);
        }
        if event.readable {
            slot.readable = true;
            self.act(token, Slot::ask_read);
        }
    }

    /// Has a slot take a transition, and does what follows from it.
    fn act(&mut self, token: Token, transition: impl FnOnce(&mut Slot<H::Connection>) -> Action) {
        let Some(slot) = self.slots.get_mut(token) else { return };
        match transition(slot) {
            Action::Nothing => {}
            Action::List => self.ready.push(token),
            Action::Continue => self.continuing.push_back(token),
            Action::HalfClose(reason) => self.half_close(token, reason),
            Action::EndIfStopping if self.stopping.is_some() && slot.is_at_rest() => {
                self.end(token, CloseReason::Shutdown);
            }
            Action::EndIfStopping => {}
        }
    }

    // Read and handle.

    /// Serves what was ready when the iteration began, until the work is over; the rest comes first
    /// in the next iteration, and behind it what becomes ready meanwhile. The more wait, the less is
    /// read and done for each; what has more goes on in slices.
    fn serve_ready(&mut self) -> usize {
        let ready = mem::take(&mut self.ready);
        let units = part_of_round(ready.len());
        let most = limits::READ_BUFFER * units / limits::CALL;
        let (served, mut rest) = self.each_in_time(ready, |event_loop, token| {
            event_loop.work.begin_call_of(units);
            event_loop.work.spend(SERVE);
            event_loop.serve(token, most);
            event_loop.write_if_full();
        });
        rest.append(&mut self.ready);
        self.ready = rest;
        served
    }

    /// Calls `each` for one slot after the other until the work is over. Returns for how many, and
    /// the others.
    #[inline]
    fn each_in_time(
        &mut self,
        mut tokens: Vec<Token>,
        mut each: impl FnMut(&mut Self, Token),
    ) -> (usize, Vec<Token>) {
        let mut done = 0;
        for &token in &tokens {
            if self.work.is_iteration_over() {
                break;
            }
            done += 1;
            each(self, token);
        }
        tokens.drain(..done);
        (done, tokens)
    }

    /// Does what a slot on the ready list waits for; reads so many bytes at most.
    fn serve(&mut self, token: Token, most: usize) {
        let Some(slot) = self.slots.get_mut(token) else { return };
        if slot.pending == Pending::Continue {
            return;
        }
        match (&slot.state, slot.phase, mem::take(&mut slot.pending)) {
            (State::Open(_), Phase::Held, _) if slot.hangup => self.end_held(token),
            (State::Open(_), Phase::Reading | Phase::Held, Pending::Call) => {
                self.call_handler(token, 0);
            }
            // One that is paused is called once its output is written.
            (State::Open(_), Phase::Reading, _) if !slot.is_paused() => self.read(token, most),
            (State::HalfClosed | State::Rejected, ..) => self.discard(token),
            (State::Header, ..) => self.read_header(token),
            _ => {}
        }
    }

    /// Goes on with what takes long: a slice at least, and as many as fit, in order. Each goes to
    /// the end of the queue if it is not done.
    fn serve_continuing(&mut self) -> usize {
        let count = self.continuing.len();
        if count == 0 {
            return 0;
        }
        self.messages.begin(Stage::Slices);
        self.work.restart(self.clock.now() + limits::SLICES);
        for served in 0..count {
            if self.work.is_iteration_over() {
                return served;
            }
            let Some(token) = self.continuing.pop_front() else { return served };
            self.work.begin_call();
            self.work.spend(SERVE);
            self.go_on(token);
            self.write_if_full();
        }
        count
    }

    /// Does the next slice of a connection.
    fn go_on(&mut self, token: Token) {
        let Some(slot) = self.slots.get_mut(token) else { return };
        slot.pending = Pending::Nothing;
        match slot.state {
            State::Open(_) => self.call_handler(token, 0),
            State::HalfClosed => self.discard(token),
            _ => {
                if let Some(leaving) = self.leaving.remove(&token) {
                    self.leave(token, leaving);
                }
            }
        }
    }

    fn write_if_full(&mut self) {
        if self.output.is_full() || self.closing.len() >= CLOSED_AT_ONCE {
            self.commit_and_write();
        }
    }

    /// Reads once, so many bytes at most, and offers what is there to the handler.
    fn read(&mut self, token: Token, most: usize) {
        let Some(slot) = self.slots.get_mut(token) else { return };
        let fresh = match slot.receive(&mut self.scratch[..most]) {
            Ok(Some(fresh)) => fresh,
            Ok(None) => return self.act(token, |_| Action::EndIfStopping),
            Err(_) => return self.end(token, CloseReason::Broken),
        };
        self.local.received += fresh as u64;
        self.call_handler(token, fresh);
    }

    /// Calls the handler with the tail and the first `fresh` bytes of the scratch, and does what it
    /// asks for.
    fn call_handler(&mut self, token: Token, fresh: usize) {
        let Some(slot) = self.slots.get_mut(token) else { return };
        let fresh = &self.scratch[..fresh];
        let (end, queued, buffered) = (slot.end, slot.queued(), slot.buffered());
        let budget = limits::QUEUED_OUTPUT.saturating_sub(queued).max(1);
        slot.has_spoken |= !fresh.is_empty() || buffered > 0;
        let Some((connection, bytes)) = slot.input(fresh) else { return };
        let start = self.output.bytes.len();
        let (handler, output, now) = (&mut self.handler, &mut self.output.bytes, self.now);
        let work = &mut self.work;
        let handled = catch_panic(|| {
            let input = Input { bytes, end };
            let handled = handler.on_input(connection, input, now, output, budget, work);
            check(handled, bytes.len(), queued + output.len() > start);
            handled
        });
        self.uncommitted = true;
        self.messages.called();
        if let Some(handled) = handled {
            slot.consume(handled.consumed, fresh);
        }
        let (now_buffered, permits) = (slot.buffered(), &mut self.permits);
        let fits = self.counters.resized(buffered, now_buffered, || permits.get_mut(&token));
        let Some(handled) = handled.filter(|_| fits) else {
            // What belongs to no reply could end up in that of another connection.
            self.output.bytes.truncate(start);
            let is_panic = handled.is_none();
            let reason = if is_panic { CloseReason::Panicked } else { CloseReason::NoRoom };
            return self.end(token, reason);
        };
        if !slot.is_announced
            && let State::Open(connection) = &slot.state
            && let Some(announced) = self.handler.announced(connection)
        {
            slot.is_announced = true;
            self.permits.entry(token).and_modify(|permit| permit.move_to(announced));
        }
        let replied = self.output.reply(token, start);
        let deadline = match handled.next {
            Next::Hold { .. } if self.stopping.is_some() => self.deadlines.note_passed(now),
            Next::Read { deadline } | Next::Hold { deadline } => self.deadlines.note(deadline),
            Next::Write | Next::Continue | Next::Close => CoarseTime::NEVER,
        };
        self.act(token, |slot| slot.follow(handled.next, deadline, replied));
    }

    /// The peer of a held connection has closed its side, or the socket has failed: a read tells
    /// which. What it sent behind the held request is not answered.
    fn end_held(&mut self, token: Token) {
        let Some(slot) = self.slots.get_mut(token) else { return };
        match slot.receive(&mut self.scratch) {
            Err(_) => self.end(token, CloseReason::Broken),
            _ => self.act(token, |slot| slot.drain(CloseReason::Finished, false)),
        }
    }

    /// Reads and forgets what the peer of a half-closed connection still sends.
    fn discard(&mut self, token: Token) {
        let Some(slot) = self.slots.get_mut(token) else { return };
        match slot.receive(&mut self.scratch) {
            Ok(Some(0)) | Err(_) => self.remove(token),
            Ok(Some(_)) if slot.readable => self.act(token, Slot::ask_read),
            Ok(_) => {}
        }
    }

    // Commit, and only then write and close.

    /// Commits, then writes every reply since the last time.
    fn commit_and_write(&mut self) {
        self.commit();
        let (mut bytes, mut replies) = self.output.take();
        for reply in replies.drain(..) {
            self.write(&reply, &mut bytes);
        }
        self.output.recycle(bytes, replies);
        self.commit(); // for the peers that turned out to be gone
    }

    fn commit(&mut self) {
        if mem::take(&mut self.uncommitted) {
            self.handler.commit();
        }
        self.close_finished();
    }
}

impl<H: ConnectionHandler> AsFd for EventLoop<H> {
    /// The epoll of the loop: readable when an iteration would find something.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}
