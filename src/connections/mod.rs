//! The one table of sockets, for both sides of the daemon: an edge-triggered epoll, a slab of
//! plain slots, byte budgets, back-pressure, deadlines, a mailbox. It pumps a [`ConnectionHandler`](crate::handler::ConnectionHandler).
//!
//! Must not: know a protocol or a runtime, or block anywhere but in the wait a host asks for.
//! A table belongs to one host, which moves it from thread to thread at most between turns; only
//! a [`LoopHandle`] and the [`ConnectionCounters`] are shared.
//!
//! One turn of a table reads every socket that is ready, lets the service deal with each, commits
//! once, and only then writes the replies: published before replied.

mod acceptor;
mod closing;
mod counters;
mod deadlines;
mod epoll;
mod event_loop;
mod messages;
mod output;
mod reading;
mod slab;
mod slot;
#[cfg(test)]
pub(crate) mod tests;
mod writing;

pub use acceptor::{Acceptor, Route};
pub use counters::ConnectionCounters;
pub use event_loop::{EventLoop, LoopFds, Options, Progress};
pub use messages::{Arrival, LoopHandle, LoopMessage};
