//! Whether a figure that should stay where it is grows, told from points that are noisy.
//!
//! Must not: know what the figure is.

/// The share of the points that is left out: caches fill and allocators settle at the beginning.
const WARM_UP: usize = 5;
/// Points behind the warm-up that a judgement needs.
pub(crate) const LEAST: usize = 4;

/// How a figure moved behind the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Growth {
    /// The medians of the first and of the last quarter.
    pub(crate) first: f64,
    pub(crate) last: f64,
    /// The median slope between any two points (Theil and Sen), times the span of all.
    pub(crate) trend: f64,
}

impl Growth {
    /// The growth of `points`, which are moments and values in order; `None` when they are too few.
    pub(crate) fn of(points: &[(f64, f64)]) -> Option<Self> {
        let points = &points[points.len().div_ceil(WARM_UP).min(points.len())..];
        if points.len() < LEAST {
            return None;
        }
        let quarter = points.len() / 4;
        let values = |points: &[(f64, f64)]| median(points.iter().map(|point| point.1).collect());
        let slopes = points.iter().enumerate().flat_map(|(place, from)| {
            points[place + 1..].iter().map(move |to| (to.1 - from.1) / (to.0 - from.0).max(1e-9))
        });
        let span = points[points.len() - 1].0 - points[0].0;
        Some(Self {
            first: values(&points[..quarter]),
            last: values(&points[points.len() - quarter..]),
            trend: median(slopes.collect()) * span,
        })
    }

    /// It grew by more than `allowed`: both measures say so, so that neither one late outlier nor a
    /// slope through noise does. A steady growth shows in the first as three quarters of itself at least.
    pub(crate) fn exceeds(&self, allowed: f64) -> bool {
        self.last - self.first > allowed && self.trend > allowed
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        _ if values.is_empty() => 0.0,
        0 => f64::midpoint(values[middle - 1], values[middle]),
        _ => values[middle],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hundred points of a level, a growth over all of it, and noise of ±1 that repeats itself.
    fn points(growth: f64) -> Vec<(f64, f64)> {
        let noise = [0.0, 1.0, -1.0, 0.3, -0.6, 0.9, -0.2];
        let value = |at: usize| 20.0 + growth * at as f64 / 100.0 + noise[at % noise.len()];
        (0..100).map(|at| (at as f64, value(at))).collect()
    }

    #[test]
    fn growth_is_told_from_noise_a_warm_up_and_an_outlier() {
        let exceeds = |points: &[(f64, f64)]| Growth::of(points).expect("enough").exceeds(2.0);
        assert!(!exceeds(&points(0.0)));
        assert!(!exceeds(&points(1.0)));
        assert!(exceeds(&points(5.0)));
        assert!(!exceeds(&points(-5.0)), "what shrinks does not grow");
        let mut warm_up = points(0.0);
        warm_up[..20].iter_mut().for_each(|point| point.1 /= 10.0);
        assert!(!exceeds(&warm_up));
        let mut outlier = points(0.0);
        outlier[99].1 = 1000.0;
        assert!(!exceeds(&outlier));
    }

    #[test]
    fn few_points_are_no_judgement() {
        assert_eq!(Growth::of(&[]), None);
        assert_eq!(Growth::of(&points(5.0)[..4]), None);
        assert!(Growth::of(&points(5.0)[..5]).is_some());
    }
}
