//! The HTTP side without sockets: a connection's dialogue ([`turn()`]) and what each route says
//! ([`routes`]).
//!
//! In reading order: [`request`] (of [`target`] and [`query`]), [`body`], [`turn()`], [`router`],
//! [`routes`], [`response`]. Must not: name a runtime or a socket (only `server` and `minihttp` do),
//! or take a lock of the registry to answer a reader. Each connection belongs to one thread at a time.

pub mod body;
mod listing;
pub mod minihttp;
mod percent;
pub mod query;
pub mod request;
pub mod response;
pub mod router;
pub mod routes;
pub mod server;
pub mod service;
pub mod target;
#[cfg(test)]
mod tests;
mod turn;

pub use response::{BUSY, CROWDED, Date, Refusal, Respond};
pub use routes::{KEEP_FROM, Routes};
pub use turn::{App, Connection, turn};

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use target::Target;

/// A peer whose address is not known.
const NOBODY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// A request as the routes see it, whichever engine read it.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The method.
    pub method: &'a [u8],
    /// What is asked for.
    pub target: &'a Target<'a>,
    /// The value of its `Authorization` field; empty when it has several.
    pub authorization: Option<&'a [u8]>,
}
