//! A run's results, as the table, the JSON file and the HTML report show them.
//!
//! Must not: print.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::interval::{Interval, Micros};
use super::ops::{Count, Op, Span};
use super::slo::Outcome;
use super::usage::Usage;
use super::verdict::Verdict;

/// The version of the JSON form; a change that breaks a reader counts it up.
pub(crate) const FORM: u32 = 1;

/// The percentiles that are written down.
pub(crate) const PERCENTILES: [(&str, f64); 6] =
    [("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("p99_9", 0.999), ("max", 1.0)];

/// A distribution of microseconds in a few numbers.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Summary {
    pub(crate) count: u64,
    pub(crate) mean: f64,
    #[serde(flatten)]
    pub(crate) percentiles: BTreeMap<&'static str, u64>,
}

impl Summary {
    /// The numbers of a histogram.
    pub(crate) fn of(histogram: &Micros) -> Self {
        let at = |quantile| match quantile {
            1.0 => histogram.max(),
            _ => histogram.value_at_quantile(quantile),
        };
        Self {
            count: histogram.len(),
            mean: histogram.mean(),
            percentiles: PERCENTILES.iter().map(|(name, q)| (*name, at(*q))).collect(),
        }
    }

    /// A percentile by its name; zero when nothing was measured.
    pub(crate) fn at(&self, name: &str) -> u64 {
        self.percentiles.get(name).copied().unwrap_or(0)
    }
}

/// One second in the time series.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Second {
    /// Seconds since the main part began; negative before.
    pub(crate) at: i64,
    /// Lookups that were due, and that were answered.
    pub(crate) offered: u64,
    pub(crate) lookups: u64,
    /// Commands of nsqds answered.
    pub(crate) commands: u64,
    /// Corrected lookup latency in microseconds.
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    pub(crate) max: u64,
    pub(crate) errors: u64,
    /// Open connections and complete nsqds at its end.
    pub(crate) connections: u64,
    pub(crate) complete: u64,
    /// The target's memory in bytes and the cores it used; absent without a process.
    pub(crate) server_memory: Option<u64>,
    pub(crate) server_cores: Option<f64>,
    /// The busiest thread of the generator.
    pub(crate) generator_busy: f64,
}

/// How the fleet came back: after its arrival at once, or after the daemon's restart.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Recovery {
    /// What set it off.
    pub(crate) event: &'static str,
    /// Until the last nsqd had registered all it has, in seconds; `None`: not by the end.
    pub(crate) registered: Option<f64>,
    /// Until the last watched topic showed it, in seconds; `None`: not by the end.
    pub(crate) shown: Option<f64>,
    /// How many topics were watched.
    pub(crate) watched: usize,
}

/// Where and with what it was measured.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Environment {
    pub(crate) loadgen: &'static str,
    /// What the target says of itself at `/info`.
    pub(crate) target: String,
    pub(crate) tcp: String,
    pub(crate) http: String,
    pub(crate) command: Option<String>,
    pub(crate) kernel: String,
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) threads: usize,
    /// The program's own arguments.
    pub(crate) arguments: Vec<String>,
    /// When it began, in Unix seconds.
    pub(crate) began: f64,
}

/// One run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Results {
    pub(crate) scenario: String,
    pub(crate) about: String,
    pub(crate) seed: u64,
    pub(crate) duration: Duration,
    pub(crate) environment: Environment,
    /// How long the fleet took to arrive before the main part.
    pub(crate) setup: Duration,
    /// Sums over the main part and over what came before it.
    pub(crate) total: Interval,
    pub(crate) before: Interval,
    /// The intervals themselves, by second of the run, for the `.hlog`.
    pub(crate) intervals: Vec<Interval>,
    pub(crate) series: Vec<Second>,
    pub(crate) recovery: Option<Recovery>,
    /// The highest rate of answered lookups before the knee.
    pub(crate) knee: Option<f64>,
    pub(crate) server: Option<Usage>,
    pub(crate) generator: Usage,
    pub(crate) actors: usize,
    pub(crate) slo: Vec<Outcome>,
    pub(crate) verdict: Verdict,
}

impl Results {
    /// A wrong answer was seen.
    pub(crate) fn wrong_answers(&self) -> u64 {
        let faults = [Count::Missing, Count::Stale, Count::Extra, Count::Garbled];
        let both = |count: &Count| self.total.counted(*count) + self.before.counted(*count);
        faults.iter().map(both).sum()
    }

    /// A corrected latency's numbers.
    pub(crate) fn corrected(&self, op: Op) -> Summary {
        self.total.latencies.get(&op).map(|l| Summary::of(&l.corrected)).unwrap_or_default()
    }

    /// A span's numbers.
    pub(crate) fn span(&self, span: Span) -> Option<Summary> {
        self.total.spans.get(&span).map(Summary::of)
    }

    /// Answered lookups a second.
    pub(crate) fn lookup_rate(&self) -> f64 {
        self.total.counted(Count::Lookups) as f64 / self.duration.as_secs_f64().max(1e-9)
    }

    /// What the exit code says: 0 good, 3 the generator was the bottleneck, 4 a threshold was
    /// missed, 5 a wrong answer.
    pub(crate) fn exit(&self) -> u8 {
        if self.wrong_answers() > 0 {
            5
        } else if self.verdict.bottleneck {
            3
        } else if self.slo.iter().any(|outcome| !outcome.met) {
            4
        } else {
            0
        }
    }
}
