//! Runs the actors: one thread per core, each with one epoll, its share of the actors, a timer heap
//! and one connection per actor. Modules: `timers`, `connection` (one socket), `worker` (the event
//! loop).
//!
//! Must not: know what actors send.

pub(crate) mod connection;
pub(crate) mod timers;
pub(crate) mod worker;
