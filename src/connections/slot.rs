//! One connection as the table sees it: a socket, a phase, a deadline, and buffers only while
//! something waits in them.
//!
//! Must not: own heap memory at rest. Belongs to the thread that runs the table.

use std::io;
use std::mem;
use std::ops::Range;
use std::os::fd::OwnedFd;

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::deadlines::CoarseTime;
use crate::handler::CloseReason;
use crate::limits;

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its conversation goes on.
    Talking,
    /// The last output is being written; then the conversation is over.
    Closing(CloseReason),
    /// The conversation is over and our side is closed; input is discarded until the peer closes.
    Lingering,
    /// The same, for a connection that was refused, which is counted nowhere.
    Refused,
}

/// One connection.
pub(super) struct Slot<C> {
    pub(super) socket: OwnedFd,
    /// When the wait ends: for output that is queued, the write-stall limit; else what the
    /// conversation asked for, or the end of the lingering.
    pub(super) deadline: CoarseTime,
    /// None once the conversation is over.
    pub(super) connection: Option<C>,
    rest: Option<Box<Buffers>>,
    pub(super) phase: Phase,
    /// The kernel may hold input: an edge has said so and no short read has taken it back.
    pub(super) readable: bool,
    /// The peer has closed its side or the socket has failed; only a read tells which, so a short
    /// one is not the last.
    pub(super) hangup: bool,
    /// A read has met the end of the input.
    pub(super) ended: bool,
    /// On the ready list.
    pub(super) scheduled: bool,
    /// The next turn is for what is here already: it reads nothing.
    pub(super) again: bool,
}

/// What waits in a slot: the unconsumed tail of the input and the unsent rest of the output.
#[derive(Default)]
struct Buffers {
    input: Vec<u8>,
    output: Vec<u8>,
    sent: usize,
}

/// What a read brought.
pub(super) enum Received {
    Bytes(usize),
    Nothing,
    End,
    Failed,
}

impl<C> Slot<C> {
    pub(super) fn new(socket: OwnedFd, connection: Option<C>, phase: Phase) -> Self {
        Self {
            socket,
            deadline: CoarseTime::NEVER,
            connection,
            rest: None,
            phase,
            readable: false,
            hangup: false,
            ended: false,
            scheduled: false,
            again: false,
        }
    }

    /// Bytes of output that the peer has not taken.
    pub(super) fn queued(&self) -> usize {
        self.rest.as_ref().map_or(0, |rest| rest.output.len() - rest.sent)
    }

    /// Whether the peer has to read before it is served again.
    pub(super) fn is_paused(&self) -> bool {
        let queued = self.queued();
        queued >= limits::QUEUED_OUTPUT || (queued > 0 && self.again)
    }

    /// Nothing is in flight: no half of a command, no reply, nothing that was not offered.
    pub(super) fn is_at_rest(&self) -> bool {
        self.rest.is_none() && !self.readable && !self.again
    }

    /// Reads once into `scratch`.
    pub(super) fn receive(&mut self, scratch: &mut [u8]) -> Received {
        let asked = scratch.len();
        match retry_on_intr(|| recv(&self.socket, &mut *scratch, RecvFlags::DONTWAIT)) {
            Ok((_, 0)) => {
                (self.readable, self.ended) = (false, true);
                Received::End
            }
            Ok((_, bytes)) => {
                self.readable = bytes == asked || self.hangup;
                Received::Bytes(bytes)
            }
            Err(Errno::AGAIN) => {
                self.readable = false;
                Received::Nothing
            }
            Err(_) => Received::Failed,
        }
    }

    /// The conversation, and what is here for it: `fresh` alone, or behind the tail it left.
    pub(super) fn conversation<'a>(&'a mut self, fresh: &'a [u8]) -> Option<(&'a mut C, &'a [u8])> {
        let bytes = match &mut self.rest {
            Some(rest) if !rest.input.is_empty() => {
                rest.input.extend_from_slice(fresh);
                rest.input.as_slice()
            }
            _ => fresh,
        };
        Some((self.connection.as_mut()?, bytes))
    }

    /// Forgets the `consumed` first bytes of the input and keeps the others: those of the tail, or
    /// of `fresh` when there was none.
    pub(super) fn consume(&mut self, consumed: usize, fresh: &[u8]) {
        match &mut self.rest {
            Some(rest) if !rest.input.is_empty() => {
                // A copy of what is left, so that it keeps no more than its own length.
                rest.input = rest.input[consumed..].to_vec();
                self.tidy();
            }
            _ if consumed < fresh.len() => {
                self.rest.get_or_insert_default().input = fresh[consumed..].to_vec();
            }
            _ => {}
        }
    }

    /// Keeps `bytes[range]` to be sent later, behind what is queued. A large one that is the last
    /// in its buffer takes the buffer along instead of a copy.
    pub(super) fn queue(&mut self, bytes: &mut Vec<u8>, range: Range<usize>, last: bool) {
        let rest = self.rest.get_or_insert_default();
        if rest.output.is_empty() && last && range.len() > bytes.len() / 2 {
            rest.output = mem::take(bytes);
            rest.sent = range.start;
            return;
        }
        if rest.sent > 0 {
            rest.output.drain(..rest.sent);
            rest.sent = 0;
        }
        rest.output.extend_from_slice(&bytes[range]);
    }

    /// Sends what is queued, as far as the peer takes it; returns how much that was.
    pub(super) fn drain(&mut self) -> io::Result<usize> {
        let Some(rest) = &mut self.rest else { return Ok(0) };
        let sent = push(&self.socket, &rest.output[rest.sent..])?;
        rest.sent += sent;
        if rest.sent == rest.output.len() {
            (rest.output, rest.sent) = (Vec::new(), 0);
            self.tidy();
        }
        Ok(sent)
    }

    /// Gives the buffers back once they are empty.
    fn tidy(&mut self) {
        if self.rest.as_ref().is_some_and(|rest| rest.input.is_empty() && rest.output.is_empty()) {
            self.rest = None;
        }
    }
}

/// Sends what the socket takes without waiting; returns how much that was.
pub(super) fn push(socket: &OwnedFd, bytes: &[u8]) -> io::Result<usize> {
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    match retry_on_intr(|| send(socket, bytes, flags)) {
        Ok(sent) => Ok(sent),
        Err(Errno::AGAIN) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

const _: () = assert!(size_of::<Slot<()>>() <= 32, "a slot at rest is small");
