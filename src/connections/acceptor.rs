//! A listener, and the event loops that its connections go to.
//!
//! Must not: do more than hand over. Belongs to the loop that accepts.

use std::net::SocketAddr;

use super::messages::{LoopHandle, LoopMessage};
use crate::listener::{Incoming, Listener};

/// Which event loop a peer's connection belongs to: an index into the handles.
pub(crate) type Route = Box<dyn FnMut(SocketAddr) -> usize + Send>;

/// Accepts for several event loops, on the first of them.
pub(crate) struct Acceptor {
    pub listener: Listener,
    /// Connections go to `loops[route(peer)]`.
    pub loops: Vec<LoopHandle>,
    pub route: Route,
}

impl Acceptor {
    /// Hands a connection to the loop it belongs to; gives it back when that is the first one.
    pub(super) fn hand_over(&mut self, incoming: Incoming) -> Option<Incoming> {
        match (self.route)(incoming.peer) {
            0 => Some(incoming),
            target => {
                self.loops[target].send(LoopMessage::Open(incoming));
                None
            }
        }
    }
}
