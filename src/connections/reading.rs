//! The first half of a turn: input in, the conversation's acknowledge into the shared output.
//!
//! Must not: write to a socket; that waits for the commit. Runs on the thread of the table's host.

use super::event_loop::{EventLoop, catch_panic};
use super::slab::Token;
use super::slot::{Phase, Received};
use crate::handler::{CloseReason, ConnectionHandler, Handled, Input, Next};
use crate::limits;

impl<S: ConnectionHandler> EventLoop<S> {
    /// Does what a slot on the ready list waits for.
    pub(super) fn serve(&mut self, token: Token) {
        let Some(slot) = self.slots.get_mut(token) else { return };
        slot.scheduled = false;
        match slot.phase {
            Phase::Lingering | Phase::Refused => self.discard(token),
            Phase::Talking if !slot.is_paused() => self.converse(token),
            // It is scheduled again once its output is drained.
            Phase::Talking | Phase::Closing(_) => {}
        }
    }

    /// Reads once and offers what is there to the conversation.
    pub(super) fn converse(&mut self, token: Token) {
        let Some(slot) = self.slots.get_mut(token) else { return };
        let fresh = if std::mem::take(&mut slot.again) {
            0
        } else {
            match slot.receive(&mut self.scratch) {
                Received::Bytes(bytes) => bytes,
                Received::End => 0,
                Received::Nothing => return self.rest(token),
                Received::Failed => return self.end(token, CloseReason::Broken),
            }
        };
        self.local.received += fresh as u64;
        self.offer(token, fresh);
    }

    /// Lets the conversation take its turn with the tail and the first `fresh` bytes of the
    /// scratch, and does what it asks for.
    fn offer(&mut self, token: Token, fresh: usize) {
        let Some(slot) = self.slots.get_mut(token) else { return };
        let fresh = &self.scratch[..fresh];
        let (end, queued) = (slot.ended, slot.queued());
        let budget = limits::QUEUED_OUTPUT.saturating_sub(queued).max(1);
        let Some((connection, bytes)) = slot.conversation(fresh) else { return };
        let start = self.output.bytes.len();
        let (service, output, now) = (&mut self.service, &mut self.output.bytes, self.now);
        let turn = catch_panic(|| {
            let turn = service.on_input(connection, Input { bytes, end }, now, output, budget);
            check(turn, bytes.len(), queued + output.len() > start);
            turn
        });
        self.uncommitted = true;
        let Some(turn) = turn else {
            self.output.bytes.truncate(start);
            return self.end(token, CloseReason::Panicked);
        };
        slot.consume(turn.consumed, fresh);
        self.output.reply(token, start);
        self.follow(token, turn.next, self.output.bytes.len() > start);
    }

    /// Does what the conversation asked for, as far as that does not wait for the commit.
    fn follow(&mut self, token: Token, next: Next, replied: bool) {
        let Some(slot) = self.slots.get_mut(token) else { return };
        let closing = match next {
            Next::Read { deadline } if !slot.ended => {
                let tick = self.deadlines.note(deadline);
                if slot.queued() == 0 {
                    slot.deadline = tick;
                }
                if slot.readable {
                    self.schedule(token);
                } else if !replied {
                    self.rest(token);
                }
                return;
            }
            Next::Write => {
                slot.again = true;
                return;
            }
            // After the end of the input nothing can follow: all was answered.
            Next::Read { .. } | Next::Close => Phase::Closing(CloseReason::Finished),
        };
        slot.phase = closing;
        if !replied && slot.queued() == 0 {
            self.depart(token, CloseReason::Finished);
        }
    }

    /// A turn found nothing more to do for a slot: the moment a stopping table ends it.
    pub(super) fn rest(&mut self, token: Token) {
        let Some(slot) = self.slots.get_mut(token) else { return };
        if self.stopping.is_some() && slot.phase == Phase::Talking && slot.is_at_rest() {
            self.end(token, CloseReason::Shutdown);
        }
    }

    /// Reads and forgets what the peer of a finished conversation still sends.
    fn discard(&mut self, token: Token) {
        let Some(slot) = self.slots.get_mut(token) else { return };
        match slot.receive(&mut self.scratch) {
            Received::Bytes(_) if slot.readable => self.schedule(token),
            Received::Bytes(_) | Received::Nothing => {}
            Received::End | Received::Failed => self.remove(token),
        }
    }
}

/// What a turn promises, so that a slot can neither grow nor be forgotten.
fn check(turn: Handled, offered: usize, has_output: bool) {
    assert!(turn.consumed <= offered, "a turn consumed more than it was offered");
    let left = offered - turn.consumed;
    assert!(left <= limits::UNCONSUMED_INPUT, "a turn left more input than its own limits allow");
    assert!(has_output || turn.next != Next::Write, "a turn waits for output that it did not give");
}
