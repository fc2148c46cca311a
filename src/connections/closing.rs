//! How connections end: by their conversation, by a deadline, refused, or because the table stops.
//!
//! Must not: end one without telling the service and the counters why. Runs on the thread of the
//! table's host.

use std::os::fd::OwnedFd;

use rustix::net::{Shutdown, shutdown};

use super::acceptor::REFUSALS;
use super::deadlines::CoarseTime;
use super::event_loop::{EventLoop, catch_panic};
use super::slab::Token;
use super::slot::{Phase, Slot, push};
use crate::clock::Timestamp;
use crate::handler::{CloseReason, ConnectionHandler};
use crate::limits;

impl<S: ConnectionHandler> EventLoop<S> {
    /// The conversation is over and all it said is with the kernel: our side closes after the
    /// commit. The socket stays until the peer's is, since a close with unread input resets what
    /// the peer has not read yet.
    pub(super) fn depart(&mut self, token: Token, why: CloseReason) {
        self.tell_closed(token, why);
        self.linger(token, Phase::Lingering);
        self.closing.push(token);
    }

    fn linger(&mut self, token: Token, phase: Phase) {
        let deadline = self.deadlines.note(self.now + limits::LINGER);
        let Some(slot) = self.slots.get_mut(token) else { return };
        (slot.phase, slot.deadline) = (phase, deadline);
        if slot.readable {
            self.schedule(token);
        }
    }

    /// Ends a connection, whatever it has not read; its socket closes after the commit.
    pub(super) fn end(&mut self, token: Token, why: CloseReason) {
        self.tell_closed(token, why);
        let Some(slot) = self.slots.get_mut(token) else { return };
        if slot.phase != Phase::Refused {
            slot.phase = Phase::Lingering;
        }
        slot.ended = true;
        self.closing.push(token);
    }

    /// Closes our side of the connections that are over, or all of it where nothing is to be waited
    /// for: committed before closed, so that who sees the end sees its effects too.
    pub(super) fn close_finished(&mut self) {
        let mut closing = std::mem::take(&mut self.closing);
        for token in closing.drain(..) {
            let Some(slot) = self.slots.get_mut(token) else { continue };
            if slot.ended || shutdown(&slot.socket, Shutdown::Write).is_err() {
                self.remove(token);
            }
        }
        self.closing = closing;
    }

    fn tell_closed(&mut self, token: Token, why: CloseReason) {
        let Some(slot) = self.slots.get_mut(token) else { return };
        let Some(connection) = slot.connection.take() else { return };
        let (service, now) = (&mut self.service, self.now);
        if catch_panic(|| service.on_close(connection, why, now)).is_none()
            && why != CloseReason::Panicked
        {
            self.counters.ended(CloseReason::Panicked);
        }
        self.uncommitted = true;
        self.counters.ended(why);
    }

    /// Closes the socket and frees the slot.
    pub(super) fn remove(&mut self, token: Token) {
        let Some(slot) = self.slots.remove(token) else { return };
        if !self.permits.is_empty() {
            self.permits.remove(&token);
        }
        self.counters.unqueued(slot.queued());
        if slot.phase != Phase::Refused {
            self.counters.leave();
        } else if let Some(acceptor) = &mut self.acceptor {
            acceptor.refusals -= 1;
        }
    }

    /// Tells a connection over the cap, or of a peer that may not come in, what it is, and closes it.
    pub(super) fn refuse(&mut self, socket: OwnedFd, refusal: &[u8]) {
        let Some(acceptor) = &mut self.acceptor else { return };
        let told = !refusal.is_empty() && push(&socket, refusal).is_ok();
        if !told || acceptor.refusals == REFUSALS || shutdown(&socket, Shutdown::Write).is_err() {
            return;
        }
        acceptor.refusals += 1;
        let token = self.slots.insert(Slot::new(socket, None, Phase::Refused));
        let slot = self.slots.get_mut(token).expect("it was inserted just now");
        if self.epoll.watch(&slot.socket, token).is_err() {
            return self.remove(token);
        }
        self.linger(token, Phase::Refused);
    }

    /// Stops accepting, and serves every connection once more: what is at rest after that ends.
    pub(super) fn stop(&mut self, deadline: Timestamp) {
        self.acceptor = None;
        self.stopping = Some(self.deadlines.note(deadline));
        for index in 0..self.slots.capacity() {
            if let Some(token) = self.slots.token_at(index) {
                self.schedule(token);
            }
        }
    }

    /// Ends what has lasted too long, when something may have.
    pub(super) fn keep_deadlines(&mut self) {
        let now = self.deadlines.tick(self.now);
        if !self.deadlines.due(now) {
            return;
        }
        self.deadlines.sweep();
        let over = self.stopping.is_some_and(|stop| stop <= now);
        let mut earliest =
            self.stopping.unwrap_or(CoarseTime::NEVER).min(self.resume_listening(now));
        for index in 0..self.slots.capacity() {
            let Some(token) = self.slots.token_at(index) else { continue };
            if over {
                self.end(token, CloseReason::Shutdown);
            } else if let Some(deadline) = self.keep_deadline(token, now) {
                earliest = earliest.min(deadline);
            }
        }
        self.deadlines.swept(if over { CoarseTime::NEVER } else { earliest });
    }

    /// Ends a slot whose deadline has passed; returns when that of one that stays does.
    fn keep_deadline(&mut self, token: Token, now: CoarseTime) -> Option<CoarseTime> {
        let slot = self.slots.get_mut(token)?;
        if slot.deadline > now {
            return Some(slot.deadline);
        }
        match slot.phase {
            // This tick's closing close it, behind the commit.
            _ if slot.ended => return Some(now.next()),
            // Even if it has more to discard: who never stops sending would never go.
            Phase::Lingering | Phase::Refused => self.remove(token),
            _ if slot.scheduled => return Some(now.next()),
            _ if slot.queued() > 0 => self.end(token, CloseReason::Stalled),
            Phase::Talking => self.expire(token, now),
            // Its last words are in this tick's output.
            Phase::Closing(_) => {}
        }
        if self.output.is_full() {
            self.flush();
        }
        self.slots.get_mut(token).map(|slot| slot.deadline.max(now.next()))
    }

    /// A conversation's deadline has passed. It is served once more before that is believed: when
    /// the process was stopped for a while, the peer's bytes have long been here.
    fn expire(&mut self, token: Token, now: CoarseTime) {
        self.converse(token);
        let Some(slot) = self.slots.get_mut(token) else { return };
        if slot.phase != Phase::Talking || slot.scheduled || slot.again || slot.deadline > now {
            return;
        }
        let Some(connection) = &mut slot.connection else { return };
        let start = self.output.bytes.len();
        let (service, output, now) = (&mut self.service, &mut self.output.bytes, self.now);
        let done = catch_panic(|| service.on_timeout(connection, now, output)).is_some();
        slot.phase = Phase::Closing(CloseReason::Expired);
        self.uncommitted = true;
        if !done {
            self.output.bytes.truncate(start);
            return self.end(token, CloseReason::Panicked);
        }
        self.output.reply(token, start);
        if self.output.bytes.len() == start {
            self.depart(token, CloseReason::Expired);
        }
    }

    /// Watches a paused listener again when its pause is over; returns when that is. What a pause is
    /// made of, a kernel without memory, may fail this too: then it goes on.
    fn resume_listening(&mut self, now: CoarseTime) -> CoarseTime {
        let Some(acceptor) = &mut self.acceptor else { return CoarseTime::NEVER };
        match acceptor.paused {
            None => CoarseTime::NEVER,
            Some(until) if until <= now && self.epoll.watch_listener(&*acceptor).is_ok() => {
                acceptor.paused = None;
                CoarseTime::NEVER
            }
            Some(until) => until.max(now.next()),
        }
    }
}
