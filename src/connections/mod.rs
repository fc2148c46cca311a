//! The event loop, for both sides of the daemon: one edge-triggered epoll, a slab of plain slots,
//! byte budgets, back-pressure, deadlines, a queue of messages. It calls a
//! [`ConnectionHandler`](crate::handler::ConnectionHandler).
//!
//! `event_loop` has the order of an iteration; `slot` (one connection), `deadlines` and `output`
//! (the replies of an iteration) hold its state, and `messages` is how other threads reach it.
//!
//! Must not: know a protocol or a runtime, or block anywhere but in the wait a host asks for.
//! An event loop belongs to one host, which moves it from thread to thread at most between
//! iterations; only a [`LoopHandle`] and the [`ConnectionCounters`] are shared.

mod counters;
mod deadlines;
mod epoll;
mod event_loop;
mod messages;
mod output;
mod slab;
mod slot;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use counters::{ConnectionCounters, IterationSpans, Port as ListenerPort};
pub(crate) use epoll::LoopFds;
pub(crate) use event_loop::{Acceptor, EventLoop, Options, Progress, Route, Targets};
#[cfg(test)]
pub(crate) use messages::Stage;
pub(crate) use messages::{LoopHandle, LoopMessage};
