//! The results of a run, from which the table, the JSON file and the HTML report are made.
//!
//! Must not: print.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::generator_health::GeneratorHealth;
use super::interval::{Interval, Micros};
use super::ops::{Count, Delay, Op};
use super::recovery::Recovery;
use super::second::{RunEvent, Second};
use super::slo::Outcome;
use super::usage::Usage;

/// The version of the JSON format (its key `form`); increased by a change that breaks readers.
pub(crate) const FORMAT_VERSION: u32 = 3;

/// The percentiles that are reported.
pub(crate) const PERCENTILES: [(&str, f64); 6] =
    [("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("p99_9", 0.999), ("max", 1.0)];

/// A distribution of microseconds: count, mean and percentiles.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Summary {
    pub(crate) count: u64,
    pub(crate) mean: f64,
    #[serde(flatten)]
    pub(crate) percentiles: BTreeMap<&'static str, u64>,
}

impl Summary {
    /// The summary of a histogram.
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

/// The machine, the programs and the arguments of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Environment {
    pub(crate) loadgen: &'static str,
    /// The target's response to `/info`.
    pub(crate) target: String,
    pub(crate) tcp: String,
    pub(crate) http: String,
    pub(crate) command: Option<String>,
    pub(crate) kernel: String,
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) threads: usize,
    /// loadgen's own arguments.
    pub(crate) arguments: Vec<String>,
    /// When the run started, in Unix seconds.
    pub(crate) began: f64,
}

/// The results of one run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Results {
    pub(crate) scenario: String,
    pub(crate) about: String,
    pub(crate) seed: u64,
    pub(crate) duration: Duration,
    pub(crate) environment: Environment,
    /// How long the fleet took to start before the main part.
    pub(crate) setup: Duration,
    /// Sums over the main part and over the time before it.
    pub(crate) total: Interval,
    pub(crate) before: Interval,
    /// By second of the run, for the `.hlog`.
    pub(crate) intervals: Vec<Interval>,
    pub(crate) series: Vec<Second>,
    pub(crate) events: Vec<RunEvent>,
    pub(crate) recovery: Option<Recovery>,
    /// The highest rate of answered lookups before the latency limit was exceeded.
    pub(crate) knee: Option<f64>,
    pub(crate) server: Option<Usage>,
    pub(crate) generator: Usage,
    pub(crate) actors: usize,
    pub(crate) slo: Vec<Outcome>,
    /// The share of the requests that may fail.
    pub(crate) error_budget: f64,
    pub(crate) generator_health: GeneratorHealth,
}

impl Results {
    /// The number of wrong answers.
    pub(crate) fn wrong_answers(&self) -> u64 {
        self.total.counted(Count::WrongAnswers) + self.before.counted(Count::WrongAnswers)
    }

    /// The number of findings in wrong answers.
    pub(crate) fn findings(&self) -> u64 {
        self.total.sum(&Count::FINDINGS) + self.before.sum(&Count::FINDINGS)
    }

    /// The requests that failed, and all requests.
    pub(crate) fn errors(&self) -> (u64, u64) {
        let both = [&self.total, &self.before];
        let errors = both.iter().map(|sum| sum.sum(&Count::ERRORS)).sum();
        (errors, both.iter().map(|sum| sum.requests()).sum())
    }

    /// Whether more requests failed than the budget allows.
    pub(crate) fn too_many_errors(&self) -> bool {
        let (errors, requests) = self.errors();
        errors as f64 > self.error_budget * requests as f64
    }

    /// Whether more requests failed than the budget allows without these kinds of errors.
    pub(crate) fn too_many_errors_but(&self, kinds: &[Count]) -> bool {
        let (errors, requests) = self.errors();
        let these = self.total.sum(kinds) + self.before.sum(kinds);
        errors.saturating_sub(these) as f64 > self.error_budget * requests as f64
    }

    /// The corrected latency of an operation.
    pub(crate) fn corrected(&self, op: Op) -> Summary {
        self.total.latencies.get(&op).map(|l| Summary::of(&l.corrected)).unwrap_or_default()
    }

    /// The 99th percentile of the lag with which requests of an operation were sent, in
    /// microseconds, for those that a timer sent.
    pub(crate) fn own_lag(&self, op: Op) -> Option<u64> {
        self.total.lags.get(&op).map(|lag| lag.value_at_quantile(0.99))
    }

    /// The measured values of a delay.
    pub(crate) fn delay(&self, delay: Delay) -> Option<Summary> {
        self.total.delays.get(&delay).map(Summary::of)
    }

    /// Answered lookups a second.
    pub(crate) fn lookup_rate(&self) -> f64 {
        self.total.counted(Count::Lookups) as f64 / self.duration.as_secs_f64().max(1e-9)
    }

    /// The exit code: 5 wrong answers, else 4 a threshold was missed or too many requests failed,
    /// else 3 the generator was the bottleneck or the machine was busy, else 0.
    pub(crate) fn exit(&self) -> u8 {
        if self.wrong_answers() > 0 {
            5
        } else if self.too_many_errors() || self.slo.iter().any(|outcome| !outcome.met) {
            4
        } else if !self.generator_health.of_target() {
            3
        } else {
            0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::generator_health::Verdict;

    /// The exit code of a run with so many answered, failed and wrong answers.
    fn exit([answered, lost, wrong]: [u64; 3], met: bool, verdict: Verdict) -> u8 {
        let mut results = Results { error_budget: 0.001, ..Results::default() };
        results.total.count(Count::Answered, answered);
        results.before.count(Count::Lost, lost);
        results.total.count(Count::WrongAnswers, wrong);
        results.slo = vec![Outcome { slo: "missing<1".to_owned(), value: 0.0, met }];
        results.generator_health.outcome = verdict;
        results.exit()
    }

    #[test]
    fn wrong_answers_come_before_missed_thresholds_before_a_slow_generator() {
        assert_eq!(exit([10, 0, 0], true, Verdict::Target), 0);
        assert_eq!(exit([10, 0, 0], true, Verdict::Generator), 3);
        assert_eq!(exit([10, 0, 0], true, Verdict::Machine), 3);
        assert_eq!(exit([10, 0, 0], false, Verdict::Generator), 4);
        assert_eq!(exit([10, 9, 1], false, Verdict::Generator), 5);
    }

    #[test]
    fn more_errors_than_the_budget_fail_the_run() {
        assert_eq!(exit([9_990, 10, 0], true, Verdict::Target), 0);
        assert_eq!(exit([9_989, 11, 0], true, Verdict::Target), 4);
        assert_eq!(exit([0, 2_510, 0], true, Verdict::Target), 4, "a target that answers nothing");
    }
    #[test]
    fn errors_of_some_kinds_can_be_left_out() {
        let mut results = Results { error_budget: 0.001, ..Results::default() };
        results.total.count(Count::Answered, 1_000);
        results.total.count(Count::Timeouts, 50);
        assert!(results.too_many_errors() && !results.too_many_errors_but(&[Count::Timeouts]));
        results.before.count(Count::Lost, 50);
        assert!(results.too_many_errors_but(&[Count::Timeouts]));
    }
}
