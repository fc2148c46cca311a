//! Ratios of two targets' figures over paired rounds, with a confidence interval by bootstrap.
//!
//! Must not: know what is compared.

use serde::Serialize;

use crate::model::rng::Rng;
use crate::num::position;

/// Bootstrap samples.
const SAMPLES: usize = 4000;

/// B's figure divided by A's: the geometric mean over the rounds and its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Ratio {
    pub(crate) mean: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// The ratio of paired figures; `None` when there is no pair of positive ones. With a single pair the
/// interval has no width and no meaning.
pub(crate) fn ratio(pairs: &[(f64, f64)], seed: u64) -> Option<Ratio> {
    let positive = pairs.iter().filter(|(a, b)| *a > 0.0 && *b > 0.0);
    let logs: Vec<f64> = positive.map(|(a, b)| (b / a).ln()).collect();
    if logs.is_empty() {
        return None;
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let mut rng = Rng::new(seed, 0);
    let mut resample = || {
        let sample: Vec<f64> = logs.iter().map(|_| logs[rng.below(logs.len())]).collect();
        mean(&sample)
    };
    let mut means: Vec<f64> = (0..SAMPLES).map(|_| resample()).collect();
    means.sort_by(f64::total_cmp);
    let at = |share: f64| means[position(share * (SAMPLES - 1) as f64)].exp();
    Some(Ratio { mean: mean(&logs).exp(), low: at(0.025), high: at(0.975) })
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

    #[test]
    fn ratio_is_inside_its_interval_which_contains_the_true_value() {
        let pairs = [(10.0, 5.2), (11.0, 5.4), (9.0, 4.4), (10.5, 5.3), (10.0, 4.9)];
        let got = ratio(&pairs, 1).expect("positive pairs");
        assert!(got.low <= got.mean && got.mean <= got.high, "{got:?}");
        assert!(got.low < 0.5 && 0.5 < got.high && got.high - got.low < 0.1, "{got:?}");
        assert_eq!(ratio(&pairs, 1), ratio(&pairs, 1));
        assert_eq!(ratio(&[(0.0, 1.0)], 1), None);
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
