//! What was measured, and what it means: latencies by operation, counts, the processes' cost, the
//! thresholds and the verdict.
//!
//! Must not: touch a socket.

pub(crate) mod footprint;
pub(crate) mod growth;
pub(crate) mod interval;
pub(crate) mod ops;
pub(crate) mod ratio;
pub(crate) mod results;
pub(crate) mod slo;
pub(crate) mod usage;
pub(crate) mod verdict;
