//! The second half of a turn: the commit, and only then the replies.
//!
//! Must not: let a byte of a reply capacity a peer before the effects of the turn are committed. Runs
//! on the thread of the table's host.

use std::mem;

use super::event_loop::EventLoop;
use super::output::Reply;
use super::slab::Token;
use super::slot::{Phase, push};
use crate::handler::{CloseReason, ConnectionHandler};
use crate::limits;

impl<S: ConnectionHandler> EventLoop<S> {
    /// Commits, then writes every reply of the tick.
    pub(super) fn flush(&mut self) {
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
            self.service.commit(self.now);
        }
        self.close_finished();
    }

    /// Sends a reply, or as much of it as the socket takes; the rest stays in the slot.
    fn write(&mut self, reply: &Reply, bytes: &mut Vec<u8>) {
        let Some(slot) = self.slots.get_mut(reply.token) else { return };
        let mut range = reply.range.clone();
        if slot.queued() == 0 {
            match push(&slot.socket, &bytes[range.clone()]) {
                Ok(sent) => {
                    self.local.sent += sent as u64;
                    range.start += sent;
                }
                Err(_) => return self.end(reply.token, CloseReason::Broken),
            }
            if range.is_empty() {
                return self.written(reply.token);
            }
            slot.deadline = self.deadlines.note(self.now + limits::WRITE_STALL);
        }
        self.counters.queued(range.len());
        slot.queue(bytes, range, reply.last);
    }

    /// The socket takes output again.
    pub(super) fn drain(&mut self, token: Token) {
        let Some(slot) = self.slots.get_mut(token) else { return };
        if slot.queued() == 0 {
            return;
        }
        let Ok(sent) = slot.drain() else { return self.end(token, CloseReason::Broken) };
        self.counters.unqueued(sent);
        self.local.sent += sent as u64;
        if slot.queued() == 0 {
            // The deadline that the conversation asked for was set aside: it is asked again.
            slot.again = true;
            self.written(token);
        } else if sent > 0 {
            slot.deadline = self.deadlines.note(self.now + limits::WRITE_STALL);
        }
    }

    /// All output of a slot is with the kernel.
    fn written(&mut self, token: Token) {
        let Some(slot) = self.slots.get_mut(token) else { return };
        match slot.phase {
            Phase::Closing(why) => self.depart(token, why),
            Phase::Talking if slot.again => self.schedule(token),
            Phase::Talking => self.rest(token),
            Phase::Lingering | Phase::Refused => {}
        }
    }
}
