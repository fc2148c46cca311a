//! One second in the time series of a run.
//!
//! Must not: sum.

use serde::Serialize;

/// One second in the time series.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Second {
    /// Seconds since the start of the main part; negative before.
    pub(crate) at: i64,
    /// Lookups that were due in it, and lookups that were answered.
    pub(crate) offered: u64,
    pub(crate) lookups: u64,
    /// Commands of nsqds answered.
    pub(crate) commands: u64,
    /// Corrected lookup latency in microseconds.
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    pub(crate) max: u64,
    pub(crate) errors: u64,
    /// Lookups that were due in it and never sent.
    pub(crate) dropped: u64,
    /// Open connections and complete nsqds at its end.
    pub(crate) connections: u64,
    pub(crate) complete: u64,
    /// The target's memory in bytes and the cores it used; absent when its process is unknown.
    pub(crate) server_memory: Option<u64>,
    pub(crate) server_cores: Option<f64>,
    /// The 99th percentile of the generator's scheduling lag, in microseconds.
    pub(crate) lag: u64,
    /// The share of its time that the busiest thread of the generator was on a CPU.
    pub(crate) generator_busy: f64,
    /// The share of its time that a thread of the generator waited for a CPU, at most: its run
    /// delay. Zero where the kernel does not count it.
    pub(crate) generator_waited: f64,
    /// The share of the time in which some thread of the machine waited for a CPU; absent where the
    /// kernel does not count it.
    pub(crate) cpu_pressure: Option<f64>,
    /// The cores that other programs than the generator and the target used; absent when the
    /// target's process is unknown.
    pub(crate) others_cores: Option<f64>,
}

/// Something that the scenario did to the target.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct RunEvent {
    /// Seconds since the start of the main part.
    pub(crate) at: f64,
    pub(crate) what: String,
}
