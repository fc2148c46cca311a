//! The HTTP side without sockets: a connection's dialogue ([`turn`]) and what each route says
//! ([`router`]).
//!
//! Must not: name a runtime or a socket (only `server` and `minihttp` do), or take a lock of the
//! registry to answer a reader. Each connection belongs to one thread at a time.

pub mod body;
mod percent;
pub mod query;
pub mod router;
pub mod target;
