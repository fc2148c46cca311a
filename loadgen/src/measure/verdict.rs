//! Whether the figures are the target's or the generator's own.
//!
//! The generator was the bottleneck when, in the main part,
//! - its own scheduling lag (a due moment → the actor is woken) exceeds the scenario's `max_lag`
//!   at the 99th percentile, or
//! - one of its threads was on a CPU for 95 % of the time or more, in more than a tenth of the
//!   seconds (and in at least two).
//!
//! In a closed loop nothing is due and the first rule does not hold.
//!
//! A target that answers late makes neither: its delay stands in the corrected latencies.
//!
//! Must not: look at a target's figures.

use std::time::Duration;

use serde::Serialize;

use super::interval::Interval;
use super::ops::Span;
use crate::input::span::show;

/// A thread that is on a CPU for this share of a second is busy in it.
const BUSY: f64 = 0.95;

/// Whether the generator kept up, and why not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Verdict {
    pub(crate) bottleneck: bool,
    pub(crate) reasons: Vec<String>,
}

/// Judges the generator by the seconds of the main part; without `max_lag`, of a closed loop.
pub(crate) fn verdict(
    seconds: &[Interval],
    total: &Interval,
    max_lag: Option<Duration>,
) -> Verdict {
    let mut reasons = Vec::new();
    let lag = total.spans.get(&Span::Lag).map_or(0, |lag| lag.value_at_quantile(0.99));
    let lag = Duration::from_micros(lag);
    if let Some(max_lag) = max_lag
        && lag > max_lag
    {
        reasons.push(format!(
            "its scheduling lag, p99, was {} (limit {})",
            show(lag),
            show(max_lag)
        ));
    }
    let busy = seconds.iter().filter(|second| second.busy >= BUSY).count();
    if busy >= 2 && busy * 10 > seconds.len() {
        reasons.push(format!("a thread of it was busy in {busy} of {} seconds", seconds.len()));
    }
    Verdict { bottleneck: !reasons.is_empty(), reasons }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(lag: Duration, busy: f64) -> Interval {
        let mut interval = Interval { busy, ..Interval::default() };
        (0..100).for_each(|_| interval.span(Span::Lag, lag));
        interval
    }

    fn check(seconds: &[Interval], want: &[&str]) {
        let mut total = Interval::default();
        seconds.iter().for_each(|second| total.add(second));
        let got = verdict(seconds, &total, Some(Duration::from_millis(10)));
        let closed = verdict(seconds, &total, None);
        assert!(closed.reasons.iter().all(|reason| reason.contains("busy")));
        assert_eq!(got.bottleneck, !want.is_empty());
        assert_eq!(got.reasons.len(), want.len(), "{got:?}");
        assert!(got.reasons.iter().zip(want).all(|(got, want)| got.contains(want)), "{got:?}");
    }

    #[test]
    fn lag_and_saturation_are_told() {
        let (calm, late) = (Duration::from_micros(80), Duration::from_millis(30));
        check(&vec![second(calm, 0.4); 10], &[]);
        check(&vec![second(late, 0.4); 10], &["scheduling lag"]);
        check(&vec![second(calm, 0.99); 10], &["busy in 10 of 10"]);
        check(&[vec![second(calm, 0.99)], vec![second(calm, 0.2); 9]].concat(), &[]);
        check(&[], &[]);
    }
}
