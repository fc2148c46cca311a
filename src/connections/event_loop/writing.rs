//! Writing: replies right after their commit, and what is queued once the socket takes more.
//!
//! Must not: be called for a reply before the effects that it acknowledges are committed.

use std::mem;

use super::{BYTES_PER_UNIT, EventLoop, Reply, SERVE};
use crate::connections::slot::Slot;
use crate::handler::{CloseReason, ConnectionHandler, Token};
use crate::limits;

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
        let left = reply.range.len() - sent;
        if left == 0 {
            self.sent(sent);
            return self.act(reply.token, Slot::written);
        }
        let deadline = slot.output_deadline(self.now, left);
        if !was_queued {
            slot.deadline = self.deadlines.note(deadline);
        }
        slot.tell_queued(&mut self.handler);
        self.counters.queued(left);
        self.sent(sent);
        let (most, permits) = (self.options.max_queued_output, &self.permits);
        if !fits || !self.counters.may_queue(most, || permits.get(&reply.token)) {
            self.end(reply.token, CloseReason::NoRoom);
        }
    }

    /// Sends what is queued for those whose sockets take more, in order, as long as a part of the
    /// iteration allows; the rest comes first in the next iteration.
    pub(super) fn write_waiting(&mut self) -> usize {
        if self.writable.is_empty() {
            return 0;
        }
        self.work.restart(self.clock.now() + limits::SLICES);
        let writable = mem::take(&mut self.writable);
        let (written, rest) = self.each_in_time(writable, |event_loop, token| {
            event_loop.work.spend(SERVE);
            event_loop.write_queued(token);
        });
        self.writable = rest;
        self.work.restart(self.now + limits::ITERATION);
        written
    }

    /// So many bytes were sent.
    fn sent(&mut self, bytes: usize) {
        self.local.sent += bytes as u64;
        self.work.spend(u32::try_from(bytes / BYTES_PER_UNIT).unwrap_or(u32::MAX));
    }

    fn write_queued(&mut self, token: Token) {
        let Some(slot) = self.slots.get_mut(token) else { return };
        slot.is_writable = false;
        if slot.queued() == 0 {
            return;
        }
        let buffered = slot.buffered();
        let Ok(sent) = slot.send_queued() else { return self.end(token, CloseReason::Broken) };
        self.counters.resized(buffered, slot.buffered(), || self.permits.get_mut(&token));
        self.counters.unqueued(sent);
        slot.tell_queued(&mut self.handler);
        let left = slot.queued();
        if left > 0 && sent > 0 {
            slot.deadline = self.deadlines.note(slot.output_deadline(self.now, 0));
        }
        self.sent(sent);
        if left == 0 {
            self.act(token, Slot::written);
        }
    }
}
