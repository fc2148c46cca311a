//! HTTP/1 without sockets: RFC 9112 with the strictness of Go's server, which nsqlookupd runs on.
//!
//! A [`Connection`] takes a client's bytes, finds the [`Route`] of each request right after its
//! head, lets a [`Service`] answer it, and gives back the response's bytes. In reading order:
//! `service`, `connection`, [`request`] (of `target`), `body`, `pending`,
//! `response`, `task`, `error`.
//!
//! Must not: know NSQ, a route, metrics, a socket or a runtime.

mod body;
mod connection;
mod error;
mod pending;
pub mod request;
mod response;
mod service;
mod target;
mod task;

pub use body::Body;
pub use connection::Connection;
pub(crate) use connection::answer;
pub use error::RequestError;
pub(crate) use pending::PendingRequest;
pub use request::{Expect, Request, RequestHead};
pub use response::{CLOSE, Date, Response, reason};
pub use service::{Route, Service};
pub use target::{MalformedQuery, Target};
pub use task::Task;
