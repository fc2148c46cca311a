//! What the tests, benchmarks and load generators of a lookupd share: nsqd's side of the wire format,
//! the sample nsqd, blocking clients for both ports, the recorded corpus and the registry's model.
//!
//! Must not: depend on musterd, so that unit tests of `src` can use it, and so that no check shares
//! code with what it checks.

pub mod corpus;
pub mod http;
pub mod model;
pub mod nsqd;
pub mod rng;
pub mod wire;

pub use http::{HttpClient, Response};
pub use nsqd::Nsqd;
pub use rng::Rng;

use std::time::Duration;

/// How long any one read or write of a test may take before the test fails. No test passes because
/// of it.
pub const DEADLINE: Duration = Duration::from_secs(60);
