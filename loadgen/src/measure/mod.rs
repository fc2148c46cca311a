//! Measurements and their evaluation: latencies by operation, counts, the CPU and memory of both
//! processes, thresholds, and whether the generator was the bottleneck.
//!
//! Must not: touch a socket.

pub(crate) mod figures;
pub(crate) mod footprint;
pub(crate) mod generator_health;
pub(crate) mod growth;
pub(crate) mod interval;
pub(crate) mod json;
pub(crate) mod ops;
pub(crate) mod ratio;
pub(crate) mod recovery;
pub(crate) mod results;
pub(crate) mod second;
pub(crate) mod slo;
pub(crate) mod usage;
