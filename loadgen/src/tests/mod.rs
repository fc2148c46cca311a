//! Whole runs against a small lookupd that can be told to be wrong: what the oracle, the corrected
//! latencies and the verdict are worth.

mod fake;
mod files;
mod wrong;
