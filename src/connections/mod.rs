//! The one table of sockets, for both sides of the daemon: an edge-triggered epoll, a slab of
//! plain slots, byte budgets, back-pressure, deadlines, a mailbox. It pumps a [`Service`](crate::flow::Service).
//!
//! Must not: know a protocol or a runtime, or block anywhere but in the wait a host asks for.
//! A table belongs to one host, which moves it from thread to thread at most between turns; only
//! a [`Handle`] and the [`Counters`] are shared.
//!
//! One turn of a table reads every socket that is ready, lets the service deal with each, commits
//! once, and only then writes the replies: published before replied.

mod acceptor;
mod counters;
mod deadlines;
mod departures;
mod epoll;
mod host;
mod mailbox;
mod output;
mod reading;
mod slab;
mod slot;
mod table;
#[cfg(test)]
mod tests;
mod writing;

pub use acceptor::{Acceptor, Route};
pub use counters::Counters;
pub(crate) use host::{Berth, Join};
pub use host::{Exit, Hosting, Running};
pub use mailbox::{Arrival, Handle, Mail};
pub use table::{Options, Progress, Seat, Table};
