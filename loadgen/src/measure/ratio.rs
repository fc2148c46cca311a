//! Ratios of two targets' figures over paired rounds, with a confidence interval by Student's t on
//! the logarithms of the ratios.
//!
//! Must not: know what is compared.

use serde::Serialize;
use statrs::distribution::{ContinuousCDF as _, StudentsT};

/// The rounds from which a difference may be called one.
pub(crate) const MIN_ROUNDS: usize = 5;
/// The probability that the interval contains the true ratio.
const CONFIDENCE: f64 = 0.95;

/// B's figure divided by A's: the geometric mean over the rounds and its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Ratio {
    pub(crate) mean: f64,
    /// The interval; a single round has none.
    pub(crate) low: Option<f64>,
    pub(crate) high: Option<f64>,
    /// Rounds in which both have the figure.
    pub(crate) rounds: usize,
}

impl Ratio {
    /// Whether B's figure is less or greater than A's: the interval excludes 1, and the rounds are
    /// enough. One in twenty figures that are equal differs by this measure.
    pub(crate) fn differs(&self) -> bool {
        let excludes_one =
            self.high.is_some_and(|high| high < 1.0) || self.low.is_some_and(|low| low > 1.0);
        excludes_one && self.rounds >= MIN_ROUNDS
    }
}

/// The ratio of paired figures, one pair for each round; `None` when there is no pair of positive
/// ones.
pub(crate) fn ratio(pairs: &[(f64, f64)]) -> Option<Ratio> {
    let positive = pairs.iter().filter(|(a, b)| *a > 0.0 && *b > 0.0);
    let logs: Vec<f64> = positive.map(|(a, b)| (b / a).ln()).collect();
    if logs.is_empty() {
        return None;
    }
    let count = logs.len() as f64;
    let mean = logs.iter().sum::<f64>() / count;
    let squares: f64 = logs.iter().map(|log| (log - mean).powi(2)).sum();
    // Fails for a single round, which has no degree of freedom.
    let student = StudentsT::new(0.0, 1.0, count - 1.0).ok();
    let half = student.map(|student| {
        let deviation = (squares / (count - 1.0)).sqrt();
        student.inverse_cdf(f64::midpoint(1.0, CONFIDENCE)) * deviation / count.sqrt()
    });
    Some(Ratio {
        mean: mean.exp(),
        low: half.map(|half| (mean - half).exp()),
        high: half.map(|half| (mean + half).exp()),
        rounds: logs.len(),
    })
}

/// The median; zero for no values.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        count if count % 2 == 1 => sorted[count / 2],
        count => f64::midpoint(sorted[count / 2 - 1], sorted[count / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::rng::Rng;

    #[test]
    fn interval_is_students() {
        // The logarithms are 1, 2, 3, 4, 5: t(0.975, 4) = 2.776445, s = 1.581139.
        let pairs = [1.0, 2.0, 3.0, 4.0, 5.0].map(|log: f64| (2.0, 2.0 * log.exp()));
        let got = ratio(&pairs).expect("positive pairs");
        let half = 2.776_445 * 1.581_139 / 5_f64.sqrt();
        for (value, want) in [(Some(got.mean), 3.0), (got.low, 3.0 - half), (got.high, 3.0 + half)]
        {
            assert!((value.expect("five rounds").ln() - want).abs() < 1e-5, "{got:?}");
        }
        assert!(got.differs() && got.rounds == 5);
    }

    #[test]
    fn few_rounds_have_no_difference() {
        let pairs = [(10.0, 5.2), (11.0, 5.4), (9.0, 4.4), (10.5, 5.3)];
        let four = ratio(&pairs).expect("positive pairs");
        assert!(four.high < Some(1.0) && !four.differs(), "{four:?}");
        let one = ratio(&pairs[..1]).expect("a positive pair");
        assert_eq!((one.low, one.high, one.differs()), (None, None, false));
        assert_eq!(ratio(&[(0.0, 1.0)]), None);
    }

    /// About normal, with mean 0 and deviation 1.
    fn normal(rng: &mut Rng) -> f64 {
        (0..12).map(|_| rng.below(1 << 30) as f64 / f64::from(1 << 30)).sum::<f64>() - 6.0
    }

    /// Rounds of one figure of a target against itself: a state of the machine that both sides of a
    /// round share, and noise of each run, by `noise`.
    fn rounds(rng: &mut Rng, count: usize, noise: fn(&mut Rng) -> f64) -> Vec<(f64, f64)> {
        let mut round = || {
            let shared = (0.5 * normal(rng)).exp();
            (shared * noise(rng), shared * noise(rng))
        };
        (0..count).map(|_| round()).collect()
    }

    #[test]
    fn equal_targets_rarely_differ() {
        type Noise = fn(&mut Rng) -> f64;
        let rows: [(&str, Noise); 4] = [
            ("a median", |rng| (0.05 * normal(rng)).exp()),
            // The slowest of a few requests that a pause may have delayed.
            ("a maximum", |rng| (0.3 * normal(rng)).exp() * [1.0, 1.0, 1.0, 8.0][rng.below(4)]),
            // In whole steps, most of them equal.
            ("a coarse figure", |rng| (100.0 + normal(rng)).round() / 100.0),
            ("a skewed figure", |rng| 1.0 + 0.2 * normal(rng).powi(2)),
        ];
        for count in [MIN_ROUNDS, 10] {
            for (seed, (name, noise)) in (1..).zip(rows) {
                let mut rng = Rng::new(seed, 0);
                let differs = |_: &i32| {
                    ratio(&rounds(&mut rng, count, noise)).is_some_and(|ratio| ratio.differs())
                };
                let alarms = (0..2_000).filter(differs).count();
                assert!(alarms <= 140, "{name}, {count} rounds: {alarms} false alarms of 2,000");
            }
        }
    }

    #[test]
    fn medians() {
        for (values, want) in
            [(&[][..], 0.0), (&[3.0], 3.0), (&[3.0, 1.0, 2.0], 2.0), (&[4.0, 1.0], 2.5)]
        {
            assert!((median(values) - want).abs() < 1e-12);
        }
    }
}
