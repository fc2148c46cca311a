//! How connections end: by their conversation, by a deadline, refused, or because the table stops.
//!
//! Must not: end one without telling the service and the counters why. Runs on the thread of the
//! table's host.

use std::os::fd::OwnedFd;

use rustix::net::{Shutdown, shutdown};

use super::acceptor::REFUSALS;
use super::deadlines::Tick;
use super::slab::Token;
use super::slot::{Phase, Slot, push};
use super::table::{Table, guarded};
use crate::clock::Timestamp;
use crate::flow::{Ended, Service};
use crate::limits;

impl<S: Service> Table<S> {
    /// The conversation is over and all it said is with the kernel: our side closes after the
    /// commit. The socket stays until the peer's is, since a close with unread input resets what
    /// the peer has not read yet.
    pub(super) fn depart(&mut self, token: Token, why: Ended) {
        self.tell_closed(token, why);
        self.linger(token, Phase::Lingering);
        self.farewells.push(token);
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
    pub(super) fn end(&mut self, token: Token, why: Ended) {
        self.tell_closed(token, why);
        let Some(slot) = self.slots.get_mut(token) else { return };
        if slot.phase != Phase::Refused {
            slot.phase = Phase::Lingering;
        }
        slot.ended = true;
        self.farewells.push(token);
    }

    /// Closes our side of the connections that are over, or all of it where nothing is to be waited
    /// for: committed before closed, so that who sees the end sees its effects too.
    pub(super) fn say_farewells(&mut self) {
        let mut farewells = std::mem::take(&mut self.farewells);
        for token in farewells.drain(..) {
            let Some(slot) = self.slots.get_mut(token) else { continue };
            if slot.ended || shutdown(&slot.socket, Shutdown::Write).is_err() {
                self.remove(token);
            }
        }
        self.farewells = farewells;
    }

    fn tell_closed(&mut self, token: Token, why: Ended) {
        let Some(slot) = self.slots.get_mut(token) else { return };
        let Some(connection) = slot.connection.take() else { return };
        let (service, now) = (&mut self.service, self.now);
        if guarded(|| service.closed(connection, why, now)).is_none() && why != Ended::Panicked {
            self.counters.ended(Ended::Panicked);
        }
        self.uncommitted = true;
        self.counters.ended(why);
    }

    /// Closes the socket and frees the slot.
    pub(super) fn remove(&mut self, token: Token) {
        let Some(slot) = self.slots.remove(token) else { return };
        if !self.places.is_empty() {
            self.places.remove(&token);
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
        for index in 0..self.slots.reach() {
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
        let mut earliest = self.stopping.unwrap_or(Tick::NEVER).min(self.resume_listening(now));
        for index in 0..self.slots.reach() {
            let Some(token) = self.slots.token_at(index) else { continue };
            if over {
                self.end(token, Ended::Shutdown);
            } else if let Some(deadline) = self.keep_deadline(token, now) {
                earliest = earliest.min(deadline);
            }
        }
        self.deadlines.swept(if over { Tick::NEVER } else { earliest });
    }

    /// Ends a slot whose deadline has passed; returns when that of one that stays does.
    fn keep_deadline(&mut self, token: Token, now: Tick) -> Option<Tick> {
        let slot = self.slots.get_mut(token)?;
        if slot.deadline > now {
            return Some(slot.deadline);
        }
        match slot.phase {
            // This tick's farewells close it, behind the commit.
            _ if slot.ended => return Some(now.next()),
            // Even if it has more to discard: who never stops sending would never go.
            Phase::Lingering | Phase::Refused => self.remove(token),
            _ if slot.scheduled => return Some(now.next()),
            _ if slot.queued() > 0 => self.end(token, Ended::Stalled),
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
    fn expire(&mut self, token: Token, now: Tick) {
        self.converse(token);
        let Some(slot) = self.slots.get_mut(token) else { return };
        if slot.phase != Phase::Talking || slot.scheduled || slot.again || slot.deadline > now {
            return;
        }
        let Some(connection) = &mut slot.connection else { return };
        let start = self.output.bytes.len();
        let (service, output, now) = (&mut self.service, &mut self.output.bytes, self.now);
        let done = guarded(|| service.expired(connection, now, output)).is_some();
        slot.phase = Phase::Closing(Ended::Expired);
        self.uncommitted = true;
        if !done {
            self.output.bytes.truncate(start);
            return self.end(token, Ended::Panicked);
        }
        self.output.reply(token, start);
        if self.output.bytes.len() == start {
            self.depart(token, Ended::Expired);
        }
    }

    /// Watches a paused listener again when its pause is over; returns when that is. What a pause is
    /// made of, a kernel without memory, may fail this too: then it goes on.
    fn resume_listening(&mut self, now: Tick) -> Tick {
        let Some(acceptor) = &mut self.acceptor else { return Tick::NEVER };
        match acceptor.paused {
            None => Tick::NEVER,
            Some(until) if until <= now && self.epoll.watch_listener(&*acceptor).is_ok() => {
                acceptor.paused = None;
                Tick::NEVER
            }
            Some(until) => until.max(now.next()),
        }
    }
}
