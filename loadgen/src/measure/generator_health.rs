//! The verdict on a run: whether its figures are the target's, or the generator was the bottleneck,
//! or the machine was busy with other programs.
//!
//! The figures are not the target's when, in the main part,
//! - the generator's scheduling lag (from the time an actor's timer expires until the actor is
//!   woken) exceeds the scenario's `max_lag` at the 99th percentile, or
//! - one of its threads was on a CPU for at least 95 % of the time, in more than a tenth of the
//!   seconds (and in at least two), or
//! - the machine was busy: the threads of the generator waited for a CPU for a fifth of the time in
//!   which they could run, or more, and other programs than the generator and the target used a
//!   quarter of a core or more.
//!
//! If the last holds, it is the verdict; otherwise the generator was the bottleneck. In a closed loop
//! no request has an intended time, so the first rule does not apply. A scenario that allows a lag of
//! a minute is not judged.
//!
//! A slow target causes none of this: its delay is in the corrected latencies.
//!
//! Must not: use the target's latencies.

use std::time::Duration;

use serde::Serialize;

use super::ratio::median;
use super::second::Second;
use crate::input::human_duration::show;

/// A thread is busy in a second if it is on a CPU for at least this share of it.
const BUSY: f64 = 0.95;
/// The generator waits if it is on no CPU for at least this share of the time in which it could run.
const WAITED: f64 = 0.2;
/// A scenario that allows so long a lag is not judged.
const NOT_JUDGED: Duration = Duration::from_secs(60);
/// Other programs are busy if they use at least so many cores.
const OTHERS: f64 = 0.25;

/// Whose figures those of a run are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// The target's.
    #[default]
    Target,
    /// The generator did not keep up.
    Generator,
    /// Other programs used the CPUs that the run needed.
    Machine,
}

impl Verdict {
    /// As a part of a sentence.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Target => "the figures are the target's",
            Self::Generator => "the generator was the bottleneck",
            Self::Machine => "the machine was busy",
        }
    }
}

/// The verdict and its reasons, none for the target's figures.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct GeneratorHealth {
    pub(crate) outcome: Verdict,
    pub(crate) reasons: Vec<String>,
}

impl GeneratorHealth {
    /// Whether the figures are the target's.
    pub(crate) fn of_target(&self) -> bool {
        self.outcome == Verdict::Target
    }
}

/// Checks the seconds of the main part; `lag` is the 99th percentile over all of it and its limit,
/// `None` for a closed loop.
pub(crate) fn check_generator(
    seconds: &[Second],
    lag: Option<(Duration, Duration)>,
) -> GeneratorHealth {
    let often = |which: &dyn Fn(&&Second) -> bool| {
        let count = seconds.iter().filter(which).count();
        (count >= 2 && count * 10 > seconds.len()).then_some(count)
    };
    let busy = often(&|second| second.generator_busy >= BUSY);
    if lag.is_some_and(|(_, limit)| limit >= NOT_JUDGED) {
        return GeneratorHealth::default();
    }
    let mut reasons = Vec::new();
    if let Some((lag, limit)) = lag
        && lag > limit
    {
        let (lag, limit) = (show(lag), show(limit));
        reasons.push(format!("its scheduling lag, p99, was {lag} (limit {limit})"));
    }
    if let Some(busy) = busy {
        reasons.push(format!("one of its threads was busy in {busy} of {} seconds", seconds.len()));
    }
    let others = median_of(seconds, |second| second.others_cores);
    let outcome = match (waited(seconds), others) {
        (waited, Some(others)) if waited >= WAITED && others >= OTHERS => {
            reasons.push(format!(
                "the generator waited for a CPU for {:.0} % of the time in which it could run, while other programs used {others:.1} cores{}",
                waited * 100.0,
                pressure(seconds)
            ));
            Verdict::Machine
        }
        _ if reasons.is_empty() => Verdict::Target,
        _ => Verdict::Generator,
    };
    GeneratorHealth { outcome, reasons }
}

/// How long the generator waited for a CPU, as a share of the time in which it could run.
pub(crate) fn waited(seconds: &[Second]) -> f64 {
    let sum = |figure: fn(&Second) -> f64| seconds.iter().map(figure).sum::<f64>();
    let (waited, ran) = (sum(|s| s.generator_waited), sum(|s| s.generator_busy));
    waited / (waited + ran).max(f64::MIN_POSITIVE)
}

/// The median over the seconds that have the figure.
pub(crate) fn median_of(seconds: &[Second], figure: fn(&Second) -> Option<f64>) -> Option<f64> {
    let values: Vec<_> = seconds.iter().filter_map(figure).collect();
    (!values.is_empty()).then(|| median(&values))
}

fn pressure(seconds: &[Second]) -> String {
    let median = median_of(seconds, |second| second.cpu_pressure);
    median.map_or_else(String::new, |share| format!(" (CPU pressure {:.0} %)", share * 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(busy: f64, waited: f64, others: f64) -> Second {
        Second {
            generator_busy: busy,
            generator_waited: waited,
            others_cores: Some(others),
            cpu_pressure: Some(0.9),
            ..Second::default()
        }
    }

    /// Seconds, the lag in milliseconds or a closed loop, the verdict and words of its reasons.
    type Case<'a> = (Vec<Second>, Option<u64>, Verdict, &'a [&'a str]);

    #[test]
    fn verdict_follows_lag_busy_threads_and_other_programs() {
        let quiet = vec![second(0.4, 0.05, 0.1); 10];
        let contended = vec![second(0.4, 0.6, 1.5); 10];
        let unknown = vec![Second { others_cores: None, ..second(0.4, 0.6, 0.0) }; 10];
        // A thread that needs little may wait long all the same.
        let idle = vec![second(0.02, 0.02, 1.9); 10];
        let once = [vec![second(0.99, 0.1, 1.9)], vec![second(0.2, 0.0, 0.0); 9]].concat();
        let cases: [Case<'_>; 14] = [
            (quiet.clone(), Some(1), Verdict::Target, &[]),
            (quiet.clone(), Some(30), Verdict::Generator, &["scheduling lag"]),
            (vec![second(0.99, 0.0, 0.0); 10], Some(1), Verdict::Generator, &["busy in 10 of 10"]),
            (vec![second(0.99, 0.0, 0.0); 10], None, Verdict::Generator, &["busy in 10 of 10"]),
            (once.clone(), Some(1), Verdict::Target, &[]),
            (once, None, Verdict::Target, &[]),
            (contended.clone(), Some(1), Verdict::Machine, &["waited for a CPU for 60 %"]),
            // Other programs on other CPUs do not matter.
            (vec![second(0.4, 0.05, 1.5); 10], Some(1), Verdict::Target, &[]),
            (contended.clone(), Some(30), Verdict::Machine, &["lag", "1.5 cores (CPU pressure 90"]),
            (contended, None, Verdict::Machine, &["waited for a CPU for 60 %"]),
            (idle, Some(30), Verdict::Machine, &["lag", "for 50 % of the time"]),
            // It may be the target that uses the CPUs.
            (unknown.clone(), Some(30), Verdict::Generator, &["lag"]),
            (unknown, None, Verdict::Target, &[]),
            (Vec::new(), Some(0), Verdict::Target, &[]),
        ];
        let limit = Duration::from_secs(60);
        let unjudged = check_generator(&vec![second(0.4, 0.6, 1.5); 10], Some((limit, limit)));
        assert!(unjudged.of_target());
        for (number, (seconds, lag, want, words)) in (0..).zip(cases) {
            let lag = lag.map(|lag| (Duration::from_millis(lag), Duration::from_millis(10)));
            let got = check_generator(&seconds, lag);
            assert_eq!(got.outcome, want, "{number}: {got:?}");
            assert_eq!(got.reasons.len(), words.len(), "{number}: {got:?}");
            assert!(got.reasons.iter().zip(words).all(|(got, want)| got.contains(want)), "{got:?}");
        }
    }
}
