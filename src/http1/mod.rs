//! HTTP/1 without sockets: RFC 9112 with the strictness of Go's server, which nsqlookupd runs on.
//!
//! A [`Connection`] takes a client's bytes, finds the [`Route`] of each request right after its
//! head, lets a [`Service`] answer it, and gives back the response's bytes. In reading order:
//! `connection`, [`request`] (of `target`), `body`, `response`, `error`.
//!
//! Must not: know NSQ, a route, metrics, a socket or a runtime.

mod body;
mod connection;
mod error;
pub mod request;
mod response;
mod target;

pub use body::Body;
pub use connection::{Connection, Route, Service};
pub(crate) use connection::{PendingRequest, answer};
pub use error::RequestError;
pub use request::{Expect, Request, RequestHead};
pub use response::{CLOSE, Date, Response, reason};
pub use target::{MalformedQuery, Target};
