//! nsqlookupd's HTTP API: the route table, the handlers, the service that the connections share.
//!
//! In reading order: `routes`, `handlers`, `response`, `service`, `unread`, `durations`; `long`, what takes
//! several calls, with `listings`, `nodes`, `debug` and `walks`. Must not: name a
//! runtime or a socket (only `minihttp` does), or take a lock of the registry to answer a reader.

mod debug;
mod durations;
mod handlers;
mod listings;
mod long;
mod lookup;
pub mod minihttp;
mod nodes;
mod response;
mod routes;
mod service;
mod sites;
#[cfg(test)]
mod tests;
mod unread;
mod walks;

pub use durations::RequestDurations;
pub use handlers::{Api, CACHE_FROM};
pub use long::Walks;
pub use response::{TOO_MANY_CONNECTIONS, TOO_MANY_CONNECTIONS_PER_IP};
pub use routes::{Route, Routed};
pub use service::ApiService;
pub use sites::Sites;
pub use unread::Unread;
