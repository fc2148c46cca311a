//! The result files of a run: NAME.json, NAME.hlog, NAME.html in one directory.
//!
//! Must not: decide what stands in them, but for the `.hlog`.

use std::fmt::Display;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use super::{html, json};
use crate::input::Refused;
use crate::measure::results::Results;

/// Writes all three and returns the line that names them.
///
/// # Errors
/// When the directory cannot be written.
pub(crate) fn write(results: &Results, directory: &Path) -> Result<String, Refused> {
    let refused = |error: &dyn Display| {
        Refused(format!("{}: {error}; name another --out", directory.display()))
    };
    std::fs::create_dir_all(directory).map_err(|error| refused(&error))?;
    // A scenario of one's own is named by its path; the files by its stem.
    let name = Path::new(&results.scenario).file_stem().unwrap_or_default().to_string_lossy();
    let path = |ending: &str| directory.join(format!("{name}.{ending}"));
    let text =
        serde_json::to_string_pretty(&json::json(results)).map_err(|error| refused(&error))?;
    std::fs::write(path("json"), text).map_err(|error| refused(&error))?;
    std::fs::write(path("hlog"), hlog(results).map_err(|error| refused(&error))?)
        .map_err(|error| refused(&error))?;
    std::fs::write(path("html"), html::html(results)).map_err(|error| refused(&error))?;
    Ok(format!("report: {} (and .json, .hlog beside it)", path("html").display()))
}

/// Every second's histograms, tagged `lookup.corrected` and so on, for HdrHistogram's tools.
fn hlog(results: &Results) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let began = UNIX_EPOCH + Duration::from_secs_f64(results.environment.began.max(0.0));
    let mut out = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("loadgen; values are microseconds")
        .with_base_time(began)
        .with_start_time(began)
        .with_max_value_divisor(1000.0)
        .begin_log_with(&mut out, &mut serializer)?;
    for (second, interval) in (0..).zip(&results.intervals) {
        let (at, length) = (Duration::from_secs(second), Duration::from_secs(1));
        for (op, latency) in &interval.latencies {
            for (kind, histogram) in [("corrected", &latency.corrected), ("raw", &latency.raw)] {
                let tag = format!("{}.{kind}", op.name());
                log.write_histogram(histogram, at, length, Tag::new(&tag))
                    .map_err(|e| format!("{e:?}"))?;
            }
        }
    }
    Ok(out)
}
