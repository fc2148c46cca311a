//! Whether a figure grows, decided from noisy samples.
//!
//! Must not: know what the figure is.

use super::ratio::median;

/// One in this many points is left out, at the beginning: caches fill and allocators warm up.
const WARM_UP: usize = 5;
/// Points after the warm-up that a decision needs.
pub(crate) const MIN_POINTS: usize = 4;

/// How a figure changed after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Growth {
    /// The medians of the first and of the last quarter.
    pub(crate) first: f64,
    pub(crate) last: f64,
    /// The median slope between any two points (Theil and Sen), times the span of all.
    pub(crate) trend: f64,
}

impl Growth {
    /// The growth of `points`, which are times and values in order; `None` when they are too few.
    pub(crate) fn of(points: &[(f64, f64)]) -> Option<Self> {
        let points = &points[points.len().div_ceil(WARM_UP).min(points.len())..];
        if points.len() < MIN_POINTS {
            return None;
        }
        let quarter = points.len() / 4;
        let quarter_median =
            |points: &[(f64, f64)]| median(&points.iter().map(|point| point.1).collect::<Vec<_>>());
        let slopes = points.iter().enumerate().flat_map(|(index, from)| {
            points[index + 1..].iter().map(move |to| (to.1 - from.1) / (to.0 - from.0).max(1e-9))
        });
        let span = points[points.len() - 1].0 - points[0].0;
        Some(Self {
            first: quarter_median(&points[..quarter]),
            last: quarter_median(&points[points.len() - quarter..]),
            trend: median(&slopes.collect::<Vec<_>>()) * span,
        })
    }

    /// Whether it grew by more than `allowed`. Both measures must exceed it, so that neither one late
    /// outlier nor a slope through noise counts. Of a steady growth, `last - first` is at least three
    /// quarters.
    pub(crate) fn exceeds(&self, allowed: f64) -> bool {
        self.last - self.first > allowed && self.trend > allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hundred points: a constant, a linear growth, and periodic noise of ±1.
    fn points(growth: f64) -> Vec<(f64, f64)> {
        let noise = [0.0, 1.0, -1.0, 0.3, -0.6, 0.9, -0.2];
        let value = |at: usize| 20.0 + growth * at as f64 / 100.0 + noise[at % noise.len()];
        (0..100).map(|at| (at as f64, value(at))).collect()
    }

    #[test]
    fn growth_is_told_from_noise_warm_up_and_outlier() {
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
    fn too_few_points_give_no_growth() {
        assert_eq!(Growth::of(&[]), None);
        assert_eq!(Growth::of(&points(5.0)[..4]), None);
        assert!(Growth::of(&points(5.0)[..5]).is_some());
    }
}
