//! The figures of runs that are compared, taken from the runs' JSON, so that stored results can be
//! compared too.
//!
//! Must not: read a file.

use serde_json::{Value, json};

use super::generator_health::Verdict;
use super::ratio::{Ratio, ratio};

/// One figure of one scenario, for both sides.
#[derive(Debug)]
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) lower_is_better: bool,
    /// By side, of the rounds that are not left out and have it.
    pub(crate) values: [Vec<f64>; 2],
    pub(crate) ratio: Option<Ratio>,
}

/// Name, unit, whether lower is better, where it is in a run's JSON, and how many of the JSON's units
/// are one of this.
type Row = (&'static str, &'static str, bool, &'static str, f64);

/// The compared figures.
const FIGURES: [Row; 19] = [
    ("lookup p50", "ms", true, "/latency/lookup/corrected/p50", 1e3),
    ("lookup p99", "ms", true, "/latency/lookup/corrected/p99", 1e3),
    ("lookup p99.9", "ms", true, "/latency/lookup/corrected/p99_9", 1e3),
    ("lookup max", "ms", true, "/latency/lookup/corrected/max", 1e3),
    ("404 lookup p99", "ms", true, "/latency/miss/corrected/p99", 1e3),
    ("PING p99", "ms", true, "/latency/ping/corrected/p99", 1e3),
    ("REGISTER p99", "ms", true, "/latency/register/corrected/p99", 1e3),
    ("listing p99", "ms", true, "/latency/listing/corrected/p99", 1e3),
    ("REGISTER → shown p50", "ms", true, "/spans/appeared/p50", 1e3),
    ("REGISTER → shown max", "ms", true, "/spans/appeared/max", 1e3),
    ("killed → gone p50", "ms", true, "/spans/vanished/p50", 1e3),
    ("killed → gone max", "ms", true, "/spans/vanished/max", 1e3),
    ("fleet complete after", "s", true, "/recovery/registered", 1.0),
    ("all shown after", "s", true, "/recovery/shown", 1.0),
    ("knee", "lookups/s", false, "/knee", 1.0),
    ("lookups answered", "1/s", false, "/lookups_per_second", 1.0),
    ("requests that failed", "", true, "/errors/failed", 1.0),
    ("target's CPU", "s", true, "/server/cpu", 1.0),
    ("target's peak memory", "MB", true, "/server/peak", 1_048_576.0),
];

/// Why the figures of a run are not the target's; `None` when they are.
pub(crate) fn why_left_out(run: &Value) -> Option<&'static str> {
    let earlier_format = run.pointer("/verdict/bottleneck") == Some(&Value::Bool(true));
    let outcome = run.pointer("/verdict/outcome");
    let is = |verdict: Verdict| {
        earlier_format && verdict == Verdict::Generator || outcome == Some(&json!(verdict))
    };
    [Verdict::Generator, Verdict::Machine]
        .into_iter()
        .find(|verdict| is(*verdict))
        .map(Verdict::text)
}

/// The rounds in which both runs' figures are the target's: the others are left out.
fn rounds(runs: &[Vec<Value>; 2]) -> impl Iterator<Item = (&Value, &Value)> + Clone {
    let both = runs[0].iter().zip(&runs[1]);
    both.filter(|(a, b)| why_left_out(a).is_none() && why_left_out(b).is_none())
}

/// How many rounds are not left out.
pub(crate) fn counted(runs: &[Vec<Value>; 2]) -> usize {
    rounds(runs).count()
}

/// A line for each run whose round is left out, with the names of the sides.
pub(crate) fn left_out(names: [&str; 2], runs: &[Vec<Value>; 2]) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, side) in names.iter().zip(runs) {
        for (number, run) in (1..).zip(side) {
            if let Some(why) = why_left_out(run) {
                lines.push(format!("round {number} is left out: {why} ({name})"));
            }
        }
    }
    lines
}

/// All figures that a run has; `runs` by side, in the order of the rounds.
pub(crate) fn figures(runs: &[Vec<Value>; 2]) -> Vec<Figure> {
    let rounds = rounds(runs);
    let one = |&(name, unit, lower_is_better, pointer, divisor): &Row| {
        let value = |run: &Value| run.pointer(pointer)?.as_f64().map(|value| value / divisor);
        let values = [
            rounds.clone().filter_map(|(a, _)| value(a)).collect::<Vec<_>>(),
            rounds.clone().filter_map(|(_, b)| value(b)).collect(),
        ];
        let pairs = rounds.clone().filter_map(|(a, b)| value(a).zip(value(b)));
        let ratio = ratio(&pairs.collect::<Vec<_>>());
        let some = values.iter().flatten().any(|value| *value > 0.0);
        some.then_some(Figure { name, unit, lower_is_better, values, ratio })
    };
    FIGURES.iter().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(p99: u64, outcome: &str) -> Value {
        json!({
            "latency": { "lookup": { "corrected": { "p99": p99 } } },
            "verdict": { "outcome": outcome },
        })
    }

    #[test]
    fn disturbed_round_is_left_out_of_both_sides() {
        let a = (0..7).map(|_| run(2_000, "target")).collect();
        let b = (0..7).map(|round| match round {
            3 => run(90_000, "generator"),
            4 => run(90_000, "machine"),
            _ => run(1_000, "target"),
        });
        let runs = [a, b.collect()];
        let figures = figures(&runs);
        assert_eq!((figures.len(), counted(&runs)), (1, 5), "{figures:?}");
        assert_eq!(figures[0].values, [vec![2.0; 5], vec![1.0; 5]]);
        let ratio = figures[0].ratio.expect("five rounds");
        assert!((ratio.mean - 0.5).abs() < 1e-9 && ratio.differs(), "{ratio:?}");
        assert_eq!(
            left_out(["nsqlookupd", "musterd"], &runs),
            [
                "round 4 is left out: the generator was the bottleneck (musterd)",
                "round 5 is left out: the machine was busy (musterd)"
            ]
        );
    }

    #[test]
    fn bottleneck_of_the_earlier_format_is_left_out() {
        let earlier = |bottleneck| json!({ "form": 2, "verdict": { "bottleneck": bottleneck } });
        assert_eq!(why_left_out(&earlier(true)), Some("the generator was the bottleneck"));
        assert_eq!(why_left_out(&earlier(false)), None);
    }

    #[test]
    fn every_figure_is_in_the_json_of_a_run() {
        use crate::measure::interval::RequestTimes;
        use crate::measure::ops::{Count, Delay, Op};
        use crate::measure::{recovery::Recovery, results::Results, usage::Usage};
        let mut results = Results { knee: Some(1.0), ..Results::default() };
        let at = crate::clock::Timestamp::from_unix_nanos;
        let times = RequestTimes { intended: at(0), sent: at(0) };
        for op in Op::ALL {
            results.total.record_answer(*op, times, at(5_000_000));
        }
        results.total.record_error(Op::Lookup, Count::Lost, times, at(1));
        results.total.count(Count::Lookups, 9);
        for delay in Delay::ALL {
            results.total.delay(*delay, std::time::Duration::from_secs(1));
        }
        let recovery = Recovery { registered: Some(1.0), shown: Some(2.0), ..Recovery::default() };
        results.recovery = Some(recovery);
        results.server = Some(Usage { cpu: 1.0, cores: 1.0, peak: 1 << 20, resident: 1 });
        let run = crate::measure::json::json(&results);
        let found = figures(&[vec![run.clone()], vec![run]]);
        assert_eq!(found.len(), FIGURES.len(), "{found:?}");
    }
}
