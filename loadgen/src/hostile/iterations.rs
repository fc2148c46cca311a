//! How long the iterations of a musterd's event loops took: the histogram of its metrics.
//!
//! Must not: fetch the page.

/// The metric.
const METRIC: &str = "musterd_loop_iteration_cpu_seconds_bucket{";

/// Iterations by their CPU time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Iterations {
    /// Upper bounds in seconds, and how many were at most so long; the last bound is infinite.
    buckets: Vec<(f64, u64)>,
}

impl Iterations {
    /// Reads a page of metrics; `None` if it has none of them.
    pub(crate) fn of(page: &str) -> Option<Self> {
        let mut buckets: Vec<(f64, u64)> = Vec::new();
        for line in page.lines().filter_map(|line| line.strip_prefix(METRIC)) {
            let bound = line.split_once("le=\"")?.1.split_once('"')?.0;
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().ok()? };
            let count = line.rsplit_once(' ')?.1.parse().ok()?;
            match buckets.iter_mut().find(|(other, _)| other.total_cmp(&bound).is_eq()) {
                Some((_, sum)) => *sum += count,
                None => buckets.push((bound, count)),
            }
        }
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        (!buckets.is_empty()).then_some(Self { buckets })
    }

    /// Those since `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let before = |bound: f64| {
            let same = |(other, _): &&(f64, u64)| other.total_cmp(&bound).is_eq();
            earlier.buckets.iter().find(same).map_or(0, |(_, count)| *count)
        };
        let buckets = self.buckets.iter();
        Self { buckets: buckets.map(|(bound, count)| (*bound, count - before(*bound))).collect() }
    }

    /// All of them.
    pub(crate) fn count(&self) -> u64 {
        self.buckets.last().map_or(0, |(_, count)| *count)
    }

    /// How many were longer than that.
    pub(crate) fn longer_than(&self, seconds: f64) -> u64 {
        let within = self.buckets.iter().filter(|(bound, _)| *bound <= seconds * 1.000_001);
        self.count() - within.map(|(_, count)| *count).max().unwrap_or(0)
    }

    /// The smallest bound that none exceeds, in seconds.
    pub(crate) fn longest(&self) -> f64 {
        let all = self.count();
        let bound = self.buckets.iter().find(|(_, count)| *count == all);
        bound.map_or(0.0, |(bound, _)| *bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histogram_is_read_summed_over_the_ports_and_subtracted() {
        let page = |counts: [u64; 3]| {
            let line = |port: &str, bound: &str, count: u64| {
                format!("{METRIC}port=\"{port}\",le=\"{bound}\"}} {count}\n")
            };
            ["tcp", "http"]
                .map(|port| {
                    ["0.01", "0.025", "+Inf"]
                        .iter()
                        .zip(counts)
                        .map(|(bound, count)| line(port, bound, count))
                        .collect::<String>()
                })
                .concat()
        };
        let of = |counts| Iterations::of(&page(counts)).expect("a histogram");
        let attack = of([100, 103, 103]).since(&of([10, 10, 10]));
        assert_eq!((attack.count(), attack.longer_than(0.01)), (186, 6));
        assert!((attack.longest() - 0.025).abs() < 1e-9);
        assert_eq!(Iterations::of("go_goroutines 7\n"), None);
    }
}
