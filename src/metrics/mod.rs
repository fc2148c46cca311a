//! The metric families of the daemon, and the text of `/metrics`.
//!
//! Each room registers its own families at the start ([`Families::counter`], [`Families::gauge`]) with
//! a closure that reads the number where the room keeps it; [`Families::render`] asks them all. Must
//! not: import another room, be asked for a decision, or take a lock that a worker waits for. A scrape
//! runs on the HTTP worker that was asked.
//!
//! The text is written by prometheus-client: it has both formats from one description (0.0.4 since its
//! 0.26; the `prometheus` crate has no OpenMetrics), and a [`Collector`] reads numbers wherever they
//! are, so that the storage stays our own ([`StripedCounter`]): the library's counters are one cache
//! line that all threads would write.

mod format;
mod histogram;
mod process;
mod striped_counter;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, MetricEncoder, NoLabelSet, prometheus_text, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

pub use format::Format;
pub use histogram::Histograms;
pub(crate) use process::limit as process_limit;
pub use process::register as register_process;
pub use striped_counter::StripedCounter;

/// The name and the value of a label.
pub type Label = (&'static str, &'static str);
/// The labels of a series.
pub type Labels = Vec<Label>;

/// A number as it is shown.
#[derive(Clone, Copy, Debug)]
pub enum Value {
    /// A count.
    Integer(u64),
    /// A measure, as of seconds.
    Float(f64),
}

/// All families, each once, by name.
#[derive(Debug, Default)]
pub struct Families(BTreeMap<&'static str, Family>);

/// One family: what it is, and its series.
struct Family {
    help: &'static str,
    kind: MetricType,
    series: Series,
}

/// The series of a family, by where their numbers come from.
enum Series {
    Numbers(Vec<(Labels, Read)>),
    Histograms(Arc<Histograms>),
}

/// Reads the number of a series.
type Read = Box<dyn Fn() -> Value + Send + Sync>;

impl Families {
    /// Adds a series to the counter `name`, which ends in `_total`.
    pub fn counter<V: Into<Value>>(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[Label],
        read: impl Fn() -> V + Send + Sync + 'static,
    ) {
        self.add(MetricType::Counter, name, help, labels, Box::new(move || read().into()));
    }

    /// Adds a series to the gauge `name`: a number that goes up and down.
    pub fn gauge<V: Into<Value>>(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[Label],
        read: impl Fn() -> V + Send + Sync + 'static,
    ) {
        self.add(MetricType::Gauge, name, help, labels, Box::new(move || read().into()));
    }

    /// Adds what `labels` say and never changes, as `name`, which ends in `_info`.
    pub fn info(&mut self, name: &'static str, help: &'static str, labels: &[Label]) {
        self.add(MetricType::Info, name, help, labels, Box::new(|| Value::Integer(1)));
    }

    /// Adds the histogram `name`, of spans of time: it ends in `_seconds`.
    pub fn histogram(&mut self, name: &'static str, help: &'static str, all: Arc<Histograms>) {
        let series = Series::Histograms(all);
        self.0.insert(name, Family { help, kind: MetricType::Histogram, series });
    }

    fn add(
        &mut self,
        kind: MetricType,
        name: &'static str,
        help: &'static str,
        labels: &[Label],
        read: Read,
    ) {
        let new = Family { help, kind, series: Series::Numbers(Vec::new()) };
        let family = self.0.entry(name).or_insert(new);
        debug_assert!(family.help == help && family.kind == kind, "{name} is two families");
        if let Series::Numbers(series) = &mut family.series {
            series.push((labels.to_vec(), read));
        }
    }

    /// The text of `/metrics`.
    #[must_use]
    pub fn render(self: &Arc<Self>, format: Format) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Arc::clone(self)));
        let mut out = String::new();
        let encoded = match format {
            Format::Text => prometheus_text::encode(&mut out, &registry),
            Format::OpenMetrics => text::encode(&mut out, &registry),
        };
        encoded.expect("a String takes what it is given");
        out
    }
}

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for (name, family) in &self.0 {
            let (stem, unit) = stem_and_unit(name);
            family.encode(encoder.encode_descriptor(stem, family.help, unit, family.kind)?)?;
        }
        Ok(())
    }
}

impl Family {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let series = match &self.series {
            Series::Numbers(series) => series,
            Series::Histograms(all) => {
                return all.observed().try_for_each(|seen| {
                    let mut encoder = encoder.encode_family(seen.labels)?;
                    let (sum, count) = (seen.sum, seen.count);
                    encoder.encode_histogram::<NoLabelSet>(sum, count, &seen.buckets, None)
                });
            }
        };
        for (labels, read) in series {
            if self.kind == MetricType::Info {
                encoder.encode_info(labels)?;
                continue;
            }
            let (mut to, is_counter) =
                (encoder.encode_family(labels)?, self.kind == MetricType::Counter);
            match (read(), is_counter) {
                (Value::Integer(n), true) => to.encode_counter::<NoLabelSet, _, u64>(&n, None)?,
                (Value::Float(n), true) => to.encode_counter::<NoLabelSet, _, u64>(&n, None)?,
                (Value::Integer(n), false) => to.encode_gauge(&n)?,
                (Value::Float(n), false) => to.encode_gauge(&n)?,
            }
        }
        Ok(())
    }
}

/// A family's name as the library wants it: without what it adds by itself.
fn stem_and_unit(name: &str) -> (&str, Option<&'static Unit>) {
    let name = name.strip_suffix("_total").or(name.strip_suffix("_info")).unwrap_or(name);
    let units = [("_bytes", &Unit::Bytes), ("_seconds", &Unit::Seconds)];
    let found =
        units.into_iter().find_map(|(end, unit)| Some((name.strip_suffix(end)?, Some(unit))));
    found.unwrap_or((name, None))
}

impl fmt::Debug for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.kind)
    }
}

impl From<u64> for Value {
    fn from(count: u64) -> Self {
        Self::Integer(count)
    }
}

impl From<usize> for Value {
    fn from(count: usize) -> Self {
        Self::Integer(count as u64)
    }
}

impl From<f64> for Value {
    fn from(measure: f64) -> Self {
        Self::Float(measure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn families() -> Arc<Families> {
        let mut families = Families::default();
        let count = Arc::new(StripedCounter::new());
        count.add(3);
        let help = "Bytes sent.";
        families.counter("a_sent_bytes_total", help, &[("port", "tcp")], move || count.get());
        families.gauge("a_start_seconds", "When it started.", &[], || 1.5);
        families.counter("a_sent_bytes_total", help, &[("port", "http")], || 7_usize);
        families.info("a_build_info", "What was built.", &[("version", "1")]);
        let spans = Arc::new(Histograms::new(2));
        spans.observe(1, || vec![("route", "/")], Duration::from_millis(250));
        families.histogram("a_span_seconds", "How long it took.", spans);
        Arc::new(families)
    }

    /// The text without the buckets that hold nothing new.
    fn shown(format: Format) -> String {
        let text = families().render(format);
        let is_shown = |line: &&str| !line.contains("_bucket") || line.contains("le=\"0.25\"");
        text.lines().filter(is_shown).map(|line| format!("{line}\n")).collect()
    }

    #[test]
    fn each_family_is_described_once_with_all_its_series() {
        let want = "# HELP a_build_info What was built.\n\
            # TYPE a_build_info gauge\n\
            a_build_info{version=\"1\"} 1\n\
            # HELP a_sent_bytes_total Bytes sent.\n\
            # TYPE a_sent_bytes_total counter\n\
            a_sent_bytes_total{port=\"tcp\"} 3\n\
            a_sent_bytes_total{port=\"http\"} 7\n\
            # HELP a_span_seconds How long it took.\n\
            # TYPE a_span_seconds histogram\n\
            a_span_seconds_bucket{route=\"/\",le=\"0.25\"} 1\n\
            a_span_seconds_sum{route=\"/\"} 0.25\n\
            a_span_seconds_count{route=\"/\"} 1\n\
            # HELP a_start_seconds When it started.\n\
            # TYPE a_start_seconds gauge\n\
            a_start_seconds 1.5\n";
        assert_eq!(shown(Format::Text), want);
    }

    #[test]
    fn openmetrics_names_units_and_ends_with_eof() {
        let want = "# HELP a_build What was built.\n\
            # TYPE a_build info\n\
            a_build_info{version=\"1\"} 1\n\
            # HELP a_sent_bytes Bytes sent.\n\
            # TYPE a_sent_bytes counter\n\
            # UNIT a_sent_bytes bytes\n\
            a_sent_bytes_total{port=\"tcp\"} 3\n\
            a_sent_bytes_total{port=\"http\"} 7\n\
            # HELP a_span_seconds How long it took.\n\
            # TYPE a_span_seconds histogram\n\
            # UNIT a_span_seconds seconds\n\
            a_span_seconds_sum{route=\"/\"} 0.25\n\
            a_span_seconds_count{route=\"/\"} 1\n\
            a_span_seconds_bucket{le=\"0.25\",route=\"/\"} 1\n\
            # HELP a_start_seconds When it started.\n\
            # TYPE a_start_seconds gauge\n\
            # UNIT a_start_seconds seconds\n\
            a_start_seconds 1.5\n\
            # EOF\n";
        assert_eq!(shown(Format::OpenMetrics), want);
    }
}
