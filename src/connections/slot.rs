//! One connection as the event loop sees it: a socket, a state, a deadline, and buffers only while
//! something waits in them.
//!
//! Must not: own heap memory at rest. Belongs to the thread that runs the loop.

#[cfg(test)]
mod tests;

use std::collections::TryReserveError;
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{RecvFlags, SendFlags, getpeername, recv, send};

use super::deadlines::CoarseTime;
use crate::clock::Timestamp;
use crate::handler::{CloseReason, ConnectionHandler, Handled, Next};
use crate::limits;

/// Whose a connection is. It only moves down this list.
pub(super) enum State<C> {
    /// Nobody's yet: a proxy is to say first who the peer is.
    Header,
    /// The handler's, which remembers this of it.
    Open(C),
    /// The handler is being told that it is over, in slices: see [`Leaving`].
    Leaving,
    /// The handler was told that it is over. Our side closes after the next commit; then input is
    /// discarded until the peer closes: a close with unread input would reset what the peer has
    /// not read yet.
    HalfClosed,
    /// The same, for a connection that was rejected before it was opened, which no handler knows
    /// and which is counted nowhere.
    Rejected,
    /// The handler was told, and the socket closes after the next commit.
    Closed,
}

/// A connection whose handler has more to do about its end. It stands beside the slot, where it
/// costs nothing to those at rest.
pub(super) struct Leaving<C> {
    pub(super) connection: C,
    pub(super) reason: CloseReason,
    pub(super) after: After,
}

/// What follows once the handler was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// Our side closes, and input is discarded until the peer closes.
    HalfClose,
    /// The socket closes.
    Close,
}

impl After {
    pub(super) fn state<C>(self) -> State<C> {
        match self {
            Self::HalfClose => State::HalfClosed,
            Self::Close => State::Closed,
        }
    }
}

/// What an open connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its input is read and offered to the handler.
    Reading,
    /// The handler will answer later: nothing is read, and a wake calls it.
    Held,
    /// The last output is being written; then it is over.
    Draining(CloseReason),
}

/// What is to be done for a slot once it can be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Pending {
    #[default]
    Nothing,
    /// The handler is called again with what is here once the output is written.
    CallAfterOutput,
    /// On the ready list: input is read, and offered or discarded.
    Read,
    /// On the ready list: the handler is called with what is here; nothing is read.
    Call,
    /// In the queue of those that go on: the same, behind everything that is ready.
    Continue,
}

/// What the loop does about a slot after a transition.
pub(super) enum Action {
    Nothing,
    /// Puts it on the ready list.
    List,
    /// Puts it into the queue of those that go on.
    Continue,
    /// Ends it if the loop is stopping and nothing is in flight.
    EndIfStopping,
    /// The handler is done, and all it said is with the kernel.
    HalfClose(CloseReason),
}

/// One connection.
pub(super) struct Slot<C> {
    pub(super) socket: OwnedFd,
    /// When the wait ends: for output that is queued, the write-stall limit; else what the handler
    /// asked for, or the time that a half-closed connection has.
    pub(super) deadline: CoarseTime,
    pub(super) buffers: Option<Box<Buffers>>,
    pub(super) state: State<C>,
    /// Means something while the connection is open.
    pub(super) phase: Phase,
    pub(super) pending: Pending,
    /// The kernel may hold input: an edge has said so and no short read has taken it back.
    pub(super) readable: bool,
    /// The peer has closed its side or the socket has failed; only a read tells which, so a short
    /// one is not the last.
    pub(super) hangup: bool,
    /// A read has met the end of the input.
    pub(super) end: bool,
    /// The handler was offered something that the peer has sent.
    pub(super) has_spoken: bool,
    /// The socket takes more output, and the loop is to write it.
    pub(super) is_writable: bool,
    /// The handler has said whose it is: it counts in that share, and not in its address's.
    pub(super) is_announced: bool,
}

/// What waits in a slot: the unconsumed tail of the input and the unsent rest of the output.
#[derive(Default)]
pub(super) struct Buffers {
    pub(super) input: Vec<u8>,
    output: Vec<u8>,
    sent: usize,
    /// By when the peer must have taken the output.
    read_by: Timestamp,
}

impl<C> Slot<C> {
    pub(super) fn new(socket: OwnedFd, state: State<C>) -> Self {
        Self {
            socket,
            deadline: CoarseTime::NEVER,
            buffers: None,
            state,
            phase: Phase::Reading,
            pending: Pending::Nothing,
            readable: false,
            hangup: false,
            end: false,
            has_spoken: false,
            is_writable: false,
            is_announced: false,
        }
    }

    /// Bytes of output that the peer has not taken.
    pub(super) fn queued(&self) -> usize {
        self.buffers.as_ref().map_or(0, |buffers| buffers.output.len() - buffers.sent)
    }

    /// When the wait for the peer to take its output ends, `added` bytes of which were queued at
    /// `now`: [`limits::WRITE_STALL`] from now, or where it was taken slower than
    /// [`limits::READ_RATE`], earlier. Asked when the output is queued and when some of it was taken.
    pub(super) fn output_deadline(&mut self, now: Timestamp, added: usize) -> Timestamp {
        let queued = self.queued();
        let Some(buffers) = &mut self.buffers else { return Timestamp::NEVER };
        let latest = now + limits::WRITE_STALL + time_to_read(queued);
        let is_first = queued == added;
        let moved = if is_first { latest } else { buffers.read_by + time_to_read(added) };
        buffers.read_by = moved.min(latest);
        buffers.read_by.min(now + limits::WRITE_STALL)
    }

    /// Bytes of memory that its buffers take.
    pub(super) fn buffered(&self) -> usize {
        self.buffers.as_ref().map_or(0, |buffers| {
            size_of::<Buffers>() + buffers.input.capacity() + buffers.output.capacity()
        })
    }

    /// Tells the handler how much is queued.
    pub(super) fn tell_queued(&mut self, handler: &mut impl ConnectionHandler<Connection = C>) {
        let queued = self.queued();
        if let State::Open(connection) = &mut self.state {
            handler.on_queued(connection, queued);
        }
    }

    /// Whether the loop has promised to look at it in the next iteration.
    pub(super) fn is_ready(&self) -> bool {
        matches!(self.pending, Pending::Read | Pending::Call | Pending::Continue)
    }

    pub(super) fn is_held(&self) -> bool {
        matches!(self.state, State::Open(_)) && self.phase == Phase::Held
    }

    /// Nothing is in flight: no half of a command, no reply, nothing that was not offered.
    pub(super) fn is_at_rest(&self) -> bool {
        matches!(self.state, State::Open(_))
            && self.phase == Phase::Reading
            && self.buffers.is_none()
            && !self.readable
            && self.pending == Pending::Nothing
    }

    /// The kernel has input for it, or it is to be looked at: it asks for a read, unless it is on
    /// the ready list or waits for its output.
    pub(super) fn ask_read(&mut self) -> Action {
        if self.pending != Pending::Nothing {
            return Action::Nothing;
        }
        self.pending = Pending::Read;
        Action::List
    }

    /// Asks for a call of the handler.
    fn ask_call(&mut self) -> Action {
        let is_listed = self.is_ready();
        self.pending = Pending::Call;
        if is_listed { Action::Nothing } else { Action::List }
    }

    /// Asks to go on in a later iteration.
    pub(super) fn go_on(&mut self) -> Action {
        match mem::replace(&mut self.pending, Pending::Continue) {
            Pending::Continue => Action::Nothing,
            _ => Action::Continue,
        }
    }

    /// Another thread wakes it: a held one asks for a call. Behind queued output that comes anyway.
    pub(super) fn wake(&mut self) -> Action {
        if self.is_held() && self.queued() == 0 { self.ask_call() } else { Action::Nothing }
    }

    /// Whether the peer has to read before its input is read again.
    pub(super) fn is_paused(&self) -> bool {
        self.queued() >= limits::QUEUED_OUTPUT
    }

    /// The handler has asked for `next`, whose deadline is `deadline`, and has `replied` or not.
    pub(super) fn follow(&mut self, next: Next, deadline: CoarseTime, replied: bool) -> Action {
        match next {
            Next::Read { .. } if !self.end => {
                self.phase = Phase::Reading;
                self.wait_until(deadline);
                match replied {
                    _ if self.readable => self.ask_read(),
                    true => Action::Nothing,
                    false => Action::EndIfStopping,
                }
            }
            Next::Hold { .. } if !self.end && !self.hangup => {
                self.phase = Phase::Held;
                self.wait_until(deadline);
                Action::Nothing
            }
            Next::Write => {
                self.phase = Phase::Reading;
                self.pending = Pending::CallAfterOutput;
                Action::Nothing
            }
            Next::Continue => {
                self.phase = Phase::Reading;
                self.wait_until(CoarseTime::NEVER);
                self.go_on()
            }
            // After the end of the input nothing can follow: all was answered.
            Next::Read { .. } | Next::Hold { .. } | Next::Close => {
                self.drain(CloseReason::Finished, replied)
            }
        }
    }

    /// Sets the deadline, unless that of queued output counts.
    pub(super) fn wait_until(&mut self, deadline: CoarseTime) {
        if self.queued() == 0 {
            self.deadline = deadline;
        }
    }

    /// It is over once its output is written: what is queued, and what it has just `replied`.
    pub(super) fn drain(&mut self, reason: CloseReason, replied: bool) -> Action {
        self.phase = Phase::Draining(reason);
        let is_written = !replied && self.queued() == 0;
        if is_written { Action::HalfClose(reason) } else { Action::Nothing }
    }

    /// All its output is with the kernel.
    pub(super) fn written(&mut self) -> Action {
        match (&self.state, self.phase) {
            (State::Open(_), Phase::Draining(reason)) => Action::HalfClose(reason),
            // A peer for which something had to wait is behind those that are ready.
            (State::Open(_), _) if self.pending == Pending::CallAfterOutput => self.go_on(),
            _ => Action::EndIfStopping,
        }
    }

    /// Why it ends, when `reason` is what ended it: a peer that sent nothing is no error.
    pub(super) fn reason(&self, reason: CloseReason) -> CloseReason {
        match reason {
            CloseReason::Finished | CloseReason::Expired | CloseReason::Broken
                if !self.has_spoken =>
            {
                CloseReason::Unused
            }
            other => other,
        }
    }

    /// Takes the connection that the handler is to be told the end of; none if it was told, or is
    /// being told.
    pub(super) fn leave(&mut self, after: After) -> Option<C> {
        if !self.is_ready() {
            self.pending = Pending::Nothing;
        }
        if let State::Leaving = self.state {
            return None;
        }
        match mem::replace(&mut self.state, after.state()) {
            State::Open(connection) => Some(connection),
            _ => None,
        }
    }

    /// Reads once into `scratch`; returns how many bytes came, 0 at the end of the input, or none
    /// when there is nothing to read yet.
    pub(super) fn receive(&mut self, scratch: &mut [u8]) -> Result<Option<usize>, Errno> {
        let asked = scratch.len();
        match retry_on_intr(|| recv(&self.socket, &mut *scratch, RecvFlags::DONTWAIT)) {
            Ok((_, 0)) => {
                (self.readable, self.end) = (false, true);
                Ok(Some(0))
            }
            Ok((_, bytes)) => {
                self.readable = bytes == asked || self.hangup;
                Ok(Some(bytes))
            }
            Err(Errno::AGAIN) => {
                self.readable = false;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The handler's side of an open connection, and the input for it: `fresh` alone, or behind
    /// the tail that was left.
    pub(super) fn input<'a>(&'a mut self, fresh: &'a [u8]) -> Option<(&'a mut C, &'a [u8])> {
        let bytes = match &mut self.buffers {
            Some(buffers) if !buffers.input.is_empty() => {
                buffers.input.extend_from_slice(fresh);
                buffers.input.as_slice()
            }
            _ => fresh,
        };
        match &mut self.state {
            State::Open(connection) => Some((connection, bytes)),
            _ => None,
        }
    }

    /// Forgets the `consumed` first bytes of the input and keeps the others: those of the tail, or
    /// of `fresh` when there was none.
    pub(super) fn consume(&mut self, consumed: usize, fresh: &[u8]) {
        match &mut self.buffers {
            Some(buffers) if !buffers.input.is_empty() => {
                // A copy of what is left, so that it keeps no more than its own length.
                buffers.input = buffers.input[consumed..].to_vec();
                self.free_empty_buffers();
            }
            _ if consumed < fresh.len() => {
                self.buffers.get_or_insert_default().input = fresh[consumed..].to_vec();
            }
            _ => {}
        }
    }

    /// Sends `bytes[range]` behind what is queued, and queues what the socket does not take; returns
    /// how much was sent.
    pub(super) fn send(
        &mut self,
        bytes: &mut Vec<u8>,
        mut range: Range<usize>,
        last: bool,
    ) -> io::Result<usize> {
        let sent = if self.queued() == 0 { push(&self.socket, &bytes[range.clone()])? } else { 0 };
        range.start += sent;
        if !range.is_empty() {
            self.queue(bytes, range, last)?;
        }
        Ok(sent)
    }

    /// Keeps `bytes[range]` to be sent later, behind what is queued. A large one that is the last
    /// in its buffer takes the buffer along instead of a copy.
    fn queue(
        &mut self,
        bytes: &mut Vec<u8>,
        range: Range<usize>,
        last: bool,
    ) -> Result<(), TryReserveError> {
        let buffers = self.buffers.get_or_insert_default();
        if buffers.output.is_empty() && last && range.len() > bytes.capacity() / 4 {
            buffers.output = mem::take(bytes);
            buffers.sent = range.start;
            return Ok(());
        }
        if buffers.sent > 0 {
            buffers.output.drain(..buffers.sent);
            buffers.sent = 0;
        }
        if let Err(error) = buffers.output.try_reserve(range.len()) {
            let peer = getpeername(&self.socket).ok().flatten();
            let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
            tracing::error!("client({peer:?}) - no memory for {} bytes of output", range.len());
            return Err(error);
        }
        buffers.output.extend_from_slice(&bytes[range]);
        Ok(())
    }

    /// Sends what is queued, as far as the peer takes it; returns how much that was. Once all of it
    /// is sent the handler is to be called: the deadline that it asked for was set aside.
    pub(super) fn send_queued(&mut self) -> io::Result<usize> {
        let Some(buffers) = &mut self.buffers else { return Ok(0) };
        let sent = push(&self.socket, &buffers.output[buffers.sent..])?;
        buffers.sent += sent;
        if buffers.sent == buffers.output.len() {
            (buffers.output, buffers.sent) = (Vec::new(), 0);
            self.pending = match self.pending {
                Pending::Nothing => Pending::CallAfterOutput,
                Pending::Read => Pending::Call,
                other => other,
            };
            self.free_empty_buffers();
        }
        Ok(sent)
    }

    fn free_empty_buffers(&mut self) {
        let is_empty = |buffers: &Buffers| buffers.input.is_empty() && buffers.output.is_empty();
        if self.buffers.as_deref().is_some_and(is_empty) {
            self.buffers = None;
        }
    }
}

/// How long a peer takes for so many bytes at the least rate.
fn time_to_read(bytes: usize) -> Duration {
    Duration::from_micros(bytes as u64 * 1_000_000 / limits::READ_RATE as u64)
}

/// Sends what the socket takes without waiting; returns how much that was.
fn push(socket: &OwnedFd, bytes: &[u8]) -> io::Result<usize> {
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    match retry_on_intr(|| send(socket, bytes, flags)) {
        Ok(sent) => Ok(sent),
        Err(Errno::AGAIN) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// What a call promises, so that a slot can neither grow nor be forgotten.
pub(super) fn check(handled: Handled, offered: usize, has_output: bool) {
    assert!(handled.consumed <= offered, "a handler consumed more than it was offered");
    let left = offered - handled.consumed;
    assert!(left <= limits::UNCONSUMED_INPUT, "a handler left more input than its limits allow");
    assert!(
        has_output || handled.next != Next::Write,
        "a handler waits for output it did not give"
    );
}

const _: () = assert!(size_of::<Slot<()>>() <= 32, "a slot at rest is small");
