//! Connections of proxies: which peer they are for is in a PROXY header that comes first.
//!
//! Must not: call the handler before the header is whole, the access rules allow the real peer, and
//! its share has room.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::net::getpeername;

use super::EventLoop;
use super::lifecycle::catch_panic;
use crate::connections::slot::{Slot, State};
use crate::handler::{CloseReason, ConnectionHandler, Token};
use crate::limits;
use crate::listener;
use crate::proxy::{self, Header, Malformed};

impl<H: ConnectionHandler> EventLoop<H> {
    /// Waits for the header of a connection, which has to be whole by its deadline.
    pub(super) fn await_header(&mut self, socket: OwnedFd) {
        let mut slot = Slot::new(socket, State::Header);
        slot.deadline = self.deadlines.note(self.now + self.policy.header_timeout());
        let token = self.slots.next_token();
        let watched = self.epoll.watch(&slot.socket, token);
        self.slots.insert(slot);
        if watched.is_err() {
            self.remove(token);
        }
    }

    /// Reads once, and begins the connection if the header is whole.
    pub(super) fn read_header(&mut self, token: Token) {
        let Some(slot) = self.slots.get_mut(token) else { return };
        let header = match slot.receive(&mut self.scratch) {
            Ok(fresh) => {
                let fresh = &self.scratch[..fresh.unwrap_or(0)];
                self.local.received += fresh.len() as u64;
                let buffered = slot.buffered();
                slot.buffers.get_or_insert_default().input.extend_from_slice(fresh);
                if !self.counters.resized(buffered, slot.buffered(), || None) {
                    self.counters.ended(CloseReason::NoRoom);
                    return self.remove(token);
                }
                proxy::parse(slot.buffers.as_ref().map_or(&[], |buffers| &buffers.input))
            }
            Err(_) => Err(Malformed),
        };
        match header {
            Ok(Some(header)) => self.begin(token, header),
            Ok(None) if slot.end => self.refuse_header(token),
            Ok(None) if self.stopping.is_some() => self.remove(token),
            Ok(None) if slot.readable => self.act(token, Slot::ask_read),
            Ok(None) => {}
            Err(Malformed) => self.refuse_header(token),
        }
    }

    /// A connection has waited for its header until its deadline. It is read once more: when the process
    /// was stopped for a while, the header has long been here.
    pub(super) fn expire_header(&mut self, token: Token) {
        self.read_header(token);
        let is_waiting = |slot: &mut Slot<_>| matches!(slot.state, State::Header);
        if self.slots.get_mut(token).is_some_and(is_waiting) {
            self.refuse_header(token);
        }
    }

    /// Ends a connection whose header is missing or wrong. That nothing came is no denial: proxies see
    /// so whether a port is open.
    fn refuse_header(&mut self, token: Token) {
        let Some(slot) = self.slots.get_mut(token) else { return };
        let has_sent = slot.buffers.as_ref().is_some_and(|buffers| !buffers.input.is_empty());
        if has_sent && let Some(proxy) = peer_of(&slot.socket) {
            self.policy.deny_header(proxy.ip());
        }
        self.remove(token);
    }

    /// Begins a connection as that of the real peer: the access rules and the shares see no other.
    fn begin(&mut self, token: Token, header: Header) {
        let Some(slot) = self.slots.get_mut(token) else { return };
        let buffered = slot.buffered();
        slot.consume(header.length, &[]);
        self.counters.resized(buffered, slot.buffered(), || None);
        let Some(peer) = header.source.or_else(|| peer_of(&slot.socket)) else {
            return self.remove(token);
        };
        let admitted = self.policy.check(peer.ip()).and_then(|mut permit| {
            self.policy.place(peer.ip(), &mut permit, self.counters.is_short())?;
            Ok(permit)
        });
        let permit = match admitted {
            Ok(permit) => permit,
            Err(message) => return self.turn_away(token, message),
        };
        let (now, handler) = (self.now, &mut self.handler);
        let Some((connection, deadline)) = catch_panic(|| handler.on_open(peer, token, now)) else {
            self.counters.ended(CloseReason::Panicked);
            return self.remove(token);
        };
        slot.state = State::Open(connection);
        slot.deadline = self.deadlines.note(deadline);
        if !permit.is_empty() {
            self.permits.insert(token, permit);
        }
        self.call_handler(token, 0);
    }

    /// Tells a peer why it may not come in. It counts as open no longer, as one that was rejected when
    /// it was accepted.
    fn turn_away(&mut self, token: Token, message: &[u8]) {
        let Some(slot) = self.slots.get_mut(token) else { return };
        if !listener::reject(&slot.socket, message) || !self.policy.may_stay_rejected() {
            return self.remove(token);
        }
        slot.state = State::Rejected;
        slot.deadline = self.deadlines.note(self.now + limits::LINGER);
        let is_readable = slot.readable;
        self.left();
        if is_readable {
            self.act(token, Slot::ask_read);
        }
    }
}

/// Who is at the other end of a socket.
fn peer_of(socket: &OwnedFd) -> Option<SocketAddr> {
    let peer = SocketAddr::try_from(getpeername(socket).ok()??).ok()?;
    Some(listener::canonical(peer))
}
