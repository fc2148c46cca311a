//! Writing: replies right after their commit, and what is queued once the socket takes more.
//!
//! Must not: be called for a reply before the effects that it acknowledges are committed.

use super::{EventLoop, Reply};
use crate::connections::slot::Slot;
use crate::handler::{CloseReason, ConnectionHandler, Token};

impl<H: ConnectionHandler> EventLoop<H> {
    /// Sends a reply, or as much of it as the socket takes; the rest stays in the slot.
    pub(super) fn write(&mut self, reply: &Reply, bytes: &mut Vec<u8>) {
        let Some(slot) = self.slots.get_mut(reply.token) else { return };
        let (was_queued, buffered) = (slot.queued() > 0, slot.buffered());
        let sent = slot.send(bytes, reply.range.clone(), reply.last);
        // Also when it fails: what the slot has is given back when it is removed.
        let (now_buffered, permits) = (slot.buffered(), &mut self.permits);
        let fits = self.counters.resized(buffered, now_buffered, || permits.get_mut(&reply.token));
        let Ok(sent) = sent else { return self.end(reply.token, CloseReason::Broken) };
        self.local.sent += sent as u64;
        let left = reply.range.len() - sent;
        if left == 0 {
            return self.act(reply.token, Slot::written);
        }
        let deadline = slot.output_deadline(self.now, left);
        if !was_queued {
            slot.deadline = self.deadlines.note(deadline);
        }
        slot.tell_queued(&mut self.handler);
        self.counters.queued(left);
        let (most, permits) = (self.options.max_queued_output, &self.permits);
        if !fits || !self.counters.may_queue(most, || permits.get(&reply.token)) {
            self.end(reply.token, CloseReason::NoRoom);
        }
    }

    /// The socket takes output again.
    pub(super) fn write_queued(&mut self, token: Token) {
        let Some(slot) = self.slots.get_mut(token) else { return };
        if slot.queued() == 0 {
            return;
        }
        let buffered = slot.buffered();
        let Ok(sent) = slot.send_queued() else { return self.end(token, CloseReason::Broken) };
        self.counters.resized(buffered, slot.buffered(), || self.permits.get_mut(&token));
        self.counters.unqueued(sent);
        self.local.sent += sent as u64;
        slot.tell_queued(&mut self.handler);
        if slot.queued() == 0 {
            self.act(token, Slot::written);
        } else if sent > 0 {
            slot.deadline = self.deadlines.note(slot.output_deadline(self.now, 0));
        }
    }
}
