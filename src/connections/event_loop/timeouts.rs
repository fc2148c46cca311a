//! Timeouts: the sweep of all deadlines, and the end of what has lasted too long.
//!
//! Must not: end a connection whose bytes are here and were not looked at.

use super::lifecycle::catch_panic;
use super::{EventLoop, SERVE};
use crate::clock::Timestamp;
use crate::connections::deadlines::CoarseTime;
use crate::connections::messages::Stage;
use crate::connections::slot::{Pending, Phase, State};
use crate::handler::{CloseReason, ConnectionHandler, Token};
use crate::limits;

/// A sweep of the deadlines that is under way.
pub(super) struct Sweep {
    index: usize,
    earliest: CoarseTime,
}

impl<H: ConnectionHandler> EventLoop<H> {
    /// Ends what has lasted too long, when something may have. Replies are written first, so that
    /// a last reply is the only one its slot has in the output.
    pub(super) fn check_deadlines(&mut self) {
        let now = self.deadlines.coarse(self.now);
        if self.sweep.is_none() && !self.deadlines.due(now) {
            return;
        }
        self.messages.begin(Stage::Timeouts);
        self.commit_and_write();
        let is_over = self.stopping.is_some_and(|stop| stop <= now);
        // A part of the iteration of its own: deadlines pass on a busy machine too.
        let until = if is_over { Timestamp::NEVER } else { self.clock.now() + limits::SLICES };
        self.work.restart(until);
        let mut sweep = self.sweep.take().unwrap_or_else(|| {
            self.deadlines.begin_sweep();
            let earliest = self.stopping.unwrap_or(CoarseTime::NEVER).min(self.resume_listening());
            Sweep { index: 0, earliest }
        });
        while sweep.index < self.slots.capacity() {
            if self.work.is_iteration_over() {
                self.sweep = Some(sweep);
                return;
            }
            self.work.begin_call();
            self.work.spend(1);
            let token = self.slots.token_at(sweep.index);
            sweep.index += 1;
            let Some(token) = token else { continue };
            if is_over {
                self.end(token, CloseReason::Shutdown);
                self.give_up(token);
            } else if let Some(deadline) = self.check_deadline(token, now) {
                sweep.earliest = sweep.earliest.min(deadline);
            }
        }
        self.deadlines.end_sweep(if is_over { CoarseTime::NEVER } else { sweep.earliest });
    }

    /// Tells the handler no more of an end that takes slices: the process ends as well.
    fn give_up(&mut self, token: Token) {
        let Some(leaving) = self.leaving.remove(&token) else { return };
        self.counters.ended(leaving.reason);
        if let Some(slot) = self.slots.get_mut(token) {
            slot.state = State::Closed;
            self.closing.push(token);
        }
    }

    /// Ends a slot whose deadline has passed; returns when that of one that stays does.
    fn check_deadline(&mut self, token: Token, now: CoarseTime) -> Option<CoarseTime> {
        let slot = self.slots.get_mut(token)?;
        if slot.deadline > now {
            return Some(slot.deadline);
        }
        match slot.state {
            // This iteration closes it, behind the commit.
            State::Closed => return Some(now.next()),
            // Even if it has more to discard: who never stops sending would never go.
            State::HalfClosed | State::Rejected => self.remove(token),
            State::Header => self.expire_header(token),
            State::Open(_) | State::Leaving if slot.is_ready() => return Some(now.next()),
            State::Leaving => {}
            State::Open(_) if slot.queued() > 0 => self.end(token, CloseReason::Stalled),
            State::Open(_) => self.expire(token, now),
        }
        self.work.spend(SERVE);
        self.write_if_full();
        self.slots.get_mut(token).map(|slot| slot.deadline.max(now.next()))
    }

    /// A connection's deadline has passed. It is served once more before that is believed: when
    /// the process was stopped for a while, the peer's bytes have long been here.
    fn expire(&mut self, token: Token, now: CoarseTime) {
        let Some(slot) = self.slots.get_mut(token) else { return };
        let before = self.output.bytes.len();
        match slot.phase {
            Phase::Reading => self.read(token, limits::READ_BUFFER),
            Phase::Held => self.call_handler(token, 0),
            Phase::Draining(_) => return,
        }
        let Some(slot) = self.slots.get_mut(token) else { return };
        let reason = match (slot.phase, self.stopping) {
            (Phase::Draining(_), _) => return,
            (Phase::Held, Some(_)) => CloseReason::Shutdown,
            (Phase::Reading | Phase::Held, _) => CloseReason::Expired,
        };
        let State::Open(connection) = &mut slot.state else { return };
        if slot.pending != Pending::Nothing || slot.deadline > now {
            return;
        }
        let moment = self.now;
        if self.stopping.is_none()
            && slot.phase == Phase::Reading
            && let Some(until) =
                catch_panic(|| self.handler.on_silence(connection, moment)).flatten()
        {
            slot.deadline = self.deadlines.note(until);
            return;
        }
        let start = self.output.bytes.len();
        let (handler, output) = (&mut self.handler, &mut self.output.bytes);
        let done = catch_panic(|| handler.on_timeout(connection, output)).is_some();
        self.uncommitted = true;
        if !done {
            self.output.bytes.truncate(start);
            return self.end(token, CloseReason::Panicked);
        }
        self.output.reply(token, start);
        let replied = self.output.bytes.len() > before;
        self.act(token, |slot| slot.drain(reason, replied));
    }
}
