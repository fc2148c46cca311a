//! The simulated fleet: nsqds, HTTP clients and misbehaving peers, each a state machine without
//! sockets. Each actor has at most one connection; the engine delivers events to it and performs
//! the action it returns.
//!
//! Must not: touch a socket, read a clock or block. Actors of all threads use one
//! [`shared::Shared`].

pub(crate) mod bodies;
pub(crate) mod check;
pub(crate) mod closed_loop;
pub(crate) mod http_client;
pub(crate) mod io;
pub(crate) mod misbehaving;
pub(crate) mod nsqd;
pub(crate) mod requests;
pub(crate) mod response;
pub(crate) mod shared;

use io::{Event, Io};

/// One actor.
#[derive(Debug)]
pub(crate) enum Actor {
    Nsqd(nsqd::Nsqd),
    HttpClient(Box<http_client::HttpClient>),
    Misbehaving(misbehaving::MisbehavingClient),
    ClosedLoop(Box<closed_loop::ClosedLoop>),
}

impl Actor {
    /// Handles an event.
    pub(crate) fn event(&mut self, event: Event<'_>, io: &mut Io<'_>) {
        match self {
            Self::Nsqd(nsqd) => nsqd.event(event, io),
            Self::HttpClient(client) => client.event(event, io),
            Self::Misbehaving(client) => client.event(event, io),
            Self::ClosedLoop(client) => client.event(event, io),
        }
    }
}
