//! The HTTP side against nsqlookupd's recorded answers, against malformed requests, and against
//! every way a conversation can be cut into reads.

mod conformance;
pub(in crate::http) mod host;
mod malformed;
mod splits;
