//! How connections begin and end: accept, open, reject; half-close, close, remove.
//!
//! Must not: call back into the iteration that `event_loop` orders, or end a connection without
//! telling the handler and the counters why.

use std::io;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::net::{Shutdown, shutdown};

use super::EventLoop;
use crate::access::Permit;
use crate::connections::deadlines::CoarseTime;
use crate::connections::messages::{LoopHandle, LoopMessage, Stage};
use crate::connections::slot::{After, Leaving, Slot, State};
use crate::handler::{CloseReason, ConnectionHandler, Token};
use crate::limits;
use crate::listener::{self, Accepted, Incoming, Listener};

/// Which event loop a peer's connection belongs to: an index into the handles.
pub(crate) type Route = Box<dyn Fn(SocketAddr) -> usize + Send>;

/// What an event loop accepts from, and for whom.
pub(crate) struct Acceptor {
    pub listener: Listener,
    /// Where connections go.
    pub targets: Targets,
}

/// Which event loop a connection goes to.
pub(crate) enum Targets {
    /// That of `loops[route(peer)]`.
    ByPeer { loops: Vec<LoopHandle>, route: Route },
    /// The one that accepts, or one of these which has fewer and waits for events.
    Fewest(Vec<LoopHandle>),
}

impl Targets {
    /// The loop that is to have the next connection, if it is not `own`.
    fn choose(&self, peer: SocketAddr, own: &LoopHandle) -> Option<&LoopHandle> {
        // Those that wait, and those that see whether there is something to accept.
        let is_free = |other: &&LoopHandle| matches!(other.stage(), Stage::Wait | Stage::Events);
        match self {
            Self::ByPeer { loops, route } => Some(&loops[route(peer)]),
            Self::Fewest(others) => {
                let free = others.iter().filter(is_free);
                let fewest = free.min_by_key(|other| other.connections())?;
                (fewest.connections() < own.connections()).then_some(fewest)
            }
        }
    }
}

impl<H: ConnectionHandler> EventLoop<H> {
    /// Accepts a batch of connections: each is opened here, handed to another loop, or rejected.
    pub(super) fn accept(&mut self) -> io::Result<()> {
        self.messages.called();
        for _ in 0..listener::BATCH {
            let Some(acceptor) = &mut self.acceptor else { break };
            match acceptor.listener.accept() {
                Accepted::Connection(socket, peer) => {
                    self.counters.accepted.inc();
                    match self.admit(peer.ip()) {
                        Ok(permit) => self.hand_over(Incoming { socket, peer, permit }),
                        Err(message) => self.reject(socket, message),
                    }
                }
                Accepted::Nobody => break,
                Accepted::Lost => self.counters.accept_errors.inc(),
                Accepted::Exhausted => {
                    self.counters.accept_errors.inc();
                    self.epoll.forget(&acceptor.listener)?;
                    self.deadlines.note(acceptor.listener.pause(self.now));
                    break;
                }
            }
        }
        Ok(())
    }

    /// Lets a connection in, which is counted as open then. That of a proxy has no permit before its
    /// header says who the peer is.
    ///
    /// # Errors
    /// What it is told that may not come in.
    fn admit(&self, peer: IpAddr) -> Result<Option<Permit>, &'static [u8]> {
        let is_proxy = self.policy.is_proxy(peer);
        let permit = if is_proxy { None } else { Some(self.policy.check(peer)?) };
        if !self.counters.enter(self.options.max_connections) {
            return Err(self.options.refusal); // the permit is given back
        }
        let Some(mut permit) = permit else { return Ok(None) };
        let is_short = self.counters.is_short();
        self.policy.place(peer, &mut permit, is_short).inspect_err(|_| self.counters.leave())?;
        Ok(Some(permit))
    }

    /// Gives a connection to the loop that it belongs to.
    fn hand_over(&mut self, incoming: Incoming) {
        let targets = self.acceptor.as_ref().map(|acceptor| &acceptor.targets);
        match targets.and_then(|targets| targets.choose(incoming.peer, &self.messages)) {
            Some(other) => {
                other.entered();
                other.send(LoopMessage::Open(incoming));
            }
            None => {
                self.messages.entered();
                self.open(incoming);
            }
        }
    }

    /// A connection of this loop is open no longer.
    pub(super) fn left(&self) {
        self.counters.leave();
        self.messages.left();
    }

    /// Accepts nothing any longer. Others may have the same socket, so that it is not closed with ours.
    pub(super) fn stop_listening(&mut self) {
        let Some(acceptor) = self.acceptor.take() else { return };
        // It fails where a pause has stopped it already.
        let _ = self.epoll.forget(&acceptor.listener);
    }

    /// Watches a connection's socket and gives it to the handler.
    pub(super) fn open(&mut self, incoming: Incoming) {
        let Incoming { socket, peer, permit } = incoming;
        if self.stopping.is_some() {
            return self.left();
        }
        let Some(permit) = permit else { return self.await_header(socket) };
        let (token, now, handler) = (self.slots.next_token(), self.now, &mut self.handler);
        let Some((connection, deadline)) = catch_panic(|| handler.on_open(peer, token, now)) else {
            self.counters.ended(CloseReason::Panicked);
            return self.left();
        };
        let mut slot = Slot::new(socket, State::Open(connection));
        slot.deadline = self.deadlines.note(deadline);
        let watched = self.epoll.watch(&slot.socket, token);
        self.slots.insert(slot);
        if !permit.is_empty() {
            self.permits.insert(token, permit);
        }
        if watched.is_err() {
            self.end(token, CloseReason::Broken);
        }
    }

    /// Tells a connection that may not come in why, and closes it.
    fn reject(&mut self, socket: OwnedFd, message: &[u8]) {
        if !listener::reject(&socket, message) || !self.policy.may_stay_rejected() {
            return;
        }
        let mut slot = Slot::new(socket, State::Rejected);
        slot.deadline = self.deadlines.note(self.now + limits::LINGER);
        let token = self.slots.next_token();
        let watched = self.epoll.watch(&slot.socket, token);
        self.slots.insert(slot);
        if watched.is_err() {
            self.remove(token);
        }
    }

    /// Watches a paused listener again when its pause is over; returns when that is. What a pause is
    /// made of, a kernel without memory, may fail this too: then it pauses once more.
    pub(super) fn resume_listening(&mut self) -> CoarseTime {
        let Some(Acceptor { listener, .. }) = &mut self.acceptor else { return CoarseTime::NEVER };
        let Some(mut until) = listener.paused_until else { return CoarseTime::NEVER };
        if until <= self.now {
            if self.epoll.watch_listener(&*listener).is_ok() {
                listener.paused_until = None;
                return CoarseTime::NEVER;
            }
            until = listener.pause(self.now);
        }
        self.deadlines.note(until)
    }

    /// The handler is done and all it said is with the kernel: our side closes after the commit.
    pub(super) fn half_close(&mut self, token: Token, reason: CloseReason) {
        self.close(token, reason, After::HalfClose);
    }

    /// Ends a connection, whatever it has not read; its socket closes after the commit.
    pub(super) fn end(&mut self, token: Token, reason: CloseReason) {
        self.close(token, reason, After::Close);
    }

    fn close(&mut self, token: Token, reason: CloseReason, after: After) {
        let Some(slot) = self.slots.get_mut(token) else { return };
        if let State::Rejected = slot.state {
            return self.remove(token);
        }
        let reason = slot.reason(reason);
        if let Some(connection) = slot.leave(after) {
            return self.leave(token, Leaving { connection, reason, after });
        }
        match self.leaving.get_mut(&token) {
            Some(leaving) if after == After::Close => leaving.after = after,
            Some(_) => {}
            None => self.closing.push(token),
        }
    }

    /// Tells the handler that a connection is over, or goes on telling it.
    pub(super) fn leave(&mut self, token: Token, mut leaving: Leaving<H::Connection>) {
        let (handler, work) = (&mut self.handler, &mut self.work);
        let connection = &mut leaving.connection;
        let done = catch_panic(|| handler.on_close(connection, leaving.reason, work));
        self.uncommitted = true;
        self.messages.called();
        let Some(slot) = self.slots.get_mut(token) else { return };
        if done == Some(false) {
            (slot.state, slot.deadline) = (State::Leaving, CoarseTime::NEVER);
            self.leaving.insert(token, leaving);
            return self.act(token, Slot::go_on);
        }
        if done.is_none() && leaving.reason != CloseReason::Panicked {
            self.counters.ended(CloseReason::Panicked);
        }
        self.counters.ended(leaving.reason);
        self.closing.push(token);
        slot.state = leaving.after.state();
        if leaving.after == After::HalfClose {
            slot.deadline = self.deadlines.note(self.now + limits::LINGER);
            if slot.readable {
                self.act(token, Slot::ask_read);
            }
        }
    }

    /// Closes our side of the connections that are over, or all of it where nothing is to be waited
    /// for: committed before closed, so that who sees the end sees its effects too.
    pub(super) fn close_finished(&mut self) {
        let mut closing = mem::take(&mut self.closing);
        for token in closing.drain(..) {
            let Some(slot) = self.slots.get_mut(token) else { continue };
            let is_over = slot.end || matches!(slot.state, State::Closed);
            if is_over || shutdown(&slot.socket, Shutdown::Write).is_err() {
                self.remove(token);
            }
        }
        self.closing = closing;
    }

    /// Closes the socket and frees the slot.
    pub(super) fn remove(&mut self, token: Token) {
        let Some(slot) = self.slots.remove(token) else { return };
        if !self.permits.is_empty() {
            self.permits.remove(&token);
        }
        self.counters.unqueued(slot.queued());
        self.counters.resized(slot.buffered(), 0, || None);
        if let State::Rejected = slot.state {
            self.policy.rejected_is_gone();
        } else {
            self.left();
        }
    }
}

/// What a call of the handler returns, or none when it panics: that costs its connection only.
pub(super) fn catch_panic<T>(call: impl FnOnce() -> T) -> Option<T> {
    // AssertUnwindSafe: the connection is dropped after a panic, and a handler keeps no state of a
    // half-done call that another connection could see.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::connections::LoopFds;

    #[test]
    fn connection_goes_to_the_loop_that_has_fewest_and_is_not_busy() {
        let new = |connections| {
            let fds = LoopFds::new(String::new(), Timestamp::default()).expect("descriptors");
            (0..connections).for_each(|_| fds.handle.entered());
            fds.handle.clone()
        };
        let (own, few, fewer) = (new(5), new(3), new(2));
        let targets = Targets::Fewest(vec![few.clone(), fewer.clone()]);
        let chosen = || {
            let peer = SocketAddr::from(([127, 0, 0, 1], 1));
            targets.choose(peer, &own).map(LoopHandle::connections)
        };
        assert_eq!(chosen(), Some(2));
        fewer.begin(Stage::Serve);
        assert_eq!(chosen(), Some(3));
        few.begin(Stage::Slices);
        assert_eq!(chosen(), None, "a busy one could keep it waiting");
        few.begin(Stage::Events);
        (0..2).for_each(|_| own.left());
        assert_eq!(chosen(), None, "it has as few itself");
    }
}
