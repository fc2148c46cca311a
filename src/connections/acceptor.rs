//! A listener, and the event loops that its connections go to.
//!
//! Must not: do more than hand over. Belongs to the loop that accepts.

use std::net::SocketAddr;

use super::messages::{LoopHandle, LoopMessage};
use crate::listener::{Incoming, Listener};

/// Which event loop a peer's connection belongs to: an index into the handles.
pub(crate) type Route = Box<dyn FnMut(SocketAddr) -> usize + Send>;

/// Accepts for several event loops, on one of them.
pub(crate) struct Acceptor {
    pub(super) listener: Listener,
    loops: Vec<LoopHandle>,
    own: usize,
    route: Route,
}

impl Acceptor {
    /// Connections of `listener` go to `loops[route(peer)]`; `own` is the index of the loop that
    /// will be given this acceptor.
    pub(crate) fn new(
        listener: Listener,
        loops: Vec<LoopHandle>,
        own: usize,
        route: Route,
    ) -> Self {
        Self { listener, loops, own, route }
    }

    /// Hands a connection to the loop it belongs to; gives it back when that is the own one.
    pub(super) fn hand_over(&mut self, incoming: Incoming) -> Option<Incoming> {
        let target = (self.route)(incoming.peer);
        if target == self.own {
            return Some(incoming);
        }
        self.loops[target].send(LoopMessage::Open(incoming));
        None
    }
}
