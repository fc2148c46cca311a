//! What moves the actors: one thread per core, each with one epoll, its share of the actors, a heap
//! of their next moments and a connection per actor.
//!
//! Must not: know what actors say. Rooms: `timers`, `link` (one socket), `worker` (the loop).

pub(crate) mod link;
pub(crate) mod timers;
pub(crate) mod worker;
