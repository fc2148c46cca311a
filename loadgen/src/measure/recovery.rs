//! How long the fleet took to recover: after many nsqds arrived at once, or after a restart.
//!
//! Must not: measure it; the run does.

use serde::Serialize;

/// The recovery of one run.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Recovery {
    /// What the fleet recovered from.
    pub(crate) event: &'static str,
    /// Until the last nsqd had registered all its topics, in seconds; `None`: not by the end.
    pub(crate) registered: Option<f64>,
    /// Until the last watched topic was up to date, in seconds; `None`: not by the end.
    pub(crate) shown: Option<f64>,
    /// How many topics were watched.
    pub(crate) watched: usize,
}
