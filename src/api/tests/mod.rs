//! The API against nsqlookupd's recorded answers, against malformed requests, and against every way
//! in which requests can be cut into reads.

mod conformance;
mod long;
mod malformed;
mod requests;
pub(in crate::api) mod server;
mod splits;
