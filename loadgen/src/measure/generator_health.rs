//! Whether the generator was the bottleneck, so that the figures are not the target's.
//!
//! It was when, in the main part,
//! - its scheduling lag (from the time an actor's timer expires until the actor is woken) exceeds
//!   the scenario's `max_lag` at the 99th percentile, or
//! - one of its threads was on a CPU for at least 95 % of the time, in more than a tenth of the
//!   seconds (and in at least two).
//!
//! In a closed loop no request has an intended time, so the first rule does not apply.
//!
//! A slow target causes neither: its delay is in the corrected latencies.
//!
//! Must not: use the target's figures.

use std::time::Duration;

use serde::Serialize;

use super::interval::{Interval, Micros};
use super::ops::Delay;
use crate::input::human_duration::show;

/// A thread is busy in a second if it is on a CPU for at least this share of it.
const BUSY: f64 = 0.95;

/// Whether the generator kept up, and why not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct GeneratorHealth {
    pub(crate) bottleneck: bool,
    pub(crate) reasons: Vec<String>,
}

/// Checks the generator in the seconds of the main part; `max_lag` is `None` for a closed loop.
pub(crate) fn check_generator(
    seconds: &[Interval],
    total: &Interval,
    max_lag: Option<Duration>,
) -> GeneratorHealth {
    let mut reasons = Vec::new();
    let p99 = |lag: &Micros| Duration::from_micros(lag.value_at_quantile(0.99));
    let lag = total.delays.get(&Delay::Lag).map_or(Duration::ZERO, p99);
    if let Some(max_lag) = max_lag
        && lag > max_lag
    {
        let (lag, max_lag) = (show(lag), show(max_lag));
        reasons.push(format!("its scheduling lag, p99, was {lag} (limit {max_lag})"));
    }
    let busy = seconds.iter().filter(|second| second.busy >= BUSY).count();
    if busy >= 2 && busy * 10 > seconds.len() {
        reasons.push(format!("one of its threads was busy in {busy} of {} seconds", seconds.len()));
    }
    GeneratorHealth { bottleneck: !reasons.is_empty(), reasons }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(lag: Duration, busy: f64) -> Interval {
        let mut interval = Interval { busy, ..Interval::default() };
        (0..100).for_each(|_| interval.delay(Delay::Lag, lag));
        interval
    }

    fn check(seconds: &[Interval], want: &[&str]) {
        let mut total = Interval::default();
        seconds.iter().for_each(|second| total.add(second));
        let got = check_generator(seconds, &total, Some(Duration::from_millis(10)));
        let closed = check_generator(seconds, &total, None);
        assert!(closed.reasons.iter().all(|reason| reason.contains("busy")));
        assert_eq!(got.bottleneck, !want.is_empty());
        assert_eq!(got.reasons.len(), want.len(), "{got:?}");
        assert!(got.reasons.iter().zip(want).all(|(got, want)| got.contains(want)), "{got:?}");
    }

    #[test]
    fn lag_and_busy_threads_are_reported() {
        let (small, large) = (Duration::from_micros(80), Duration::from_millis(30));
        check(&vec![second(small, 0.4); 10], &[]);
        check(&vec![second(large, 0.4); 10], &["scheduling lag"]);
        check(&vec![second(small, 0.99); 10], &["busy in 10 of 10"]);
        check(&[vec![second(small, 0.99)], vec![second(small, 0.2); 9]].concat(), &[]);
        check(&[], &[]);
    }
}
