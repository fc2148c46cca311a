//! The result files of a run: NAME.json, NAME.hlog, NAME.html in one directory.
//!
//! Must not: define the content of the JSON and HTML files (`json` and `html` do).

use std::fmt::Display;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use super::{html, json};
use crate::input::Error;
use crate::measure::results::Results;

/// Writes all three and returns a line that names them.
///
/// # Errors
/// When the directory cannot be written.
pub(crate) fn write(results: &Results, directory: &Path) -> Result<String, Error> {
    let failed = |error: &dyn Display| {
        Error(format!("{}: {error}; name another --out", directory.display()))
    };
    std::fs::create_dir_all(directory).map_err(|error| failed(&error))?;
    // The name of a scenario file is its path; the results are named after its stem.
    let name = Path::new(&results.scenario).file_stem().unwrap_or_default().to_string_lossy();
    let path = |ending: &str| directory.join(format!("{name}.{ending}"));
    for (ending, content) in [
        ("json", format!("{:#}", json::json(results)).into_bytes()),
        ("hlog", hlog(results).map_err(|error| failed(&error))?),
        ("html", html::html(results).into_bytes()),
    ] {
        std::fs::write(path(ending), content).map_err(|error| failed(&error))?;
    }
    Ok(format!("report: {} (and .json, .hlog beside it)", path("html").display()))
}

/// The histograms of every second, tagged `lookup.corrected` and so on, for HdrHistogram's tools.
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
        for ((op, why), failed) in &interval.failures {
            let tag = format!("{}.{}", op.name(), why.name());
            log.write_histogram(failed, at, length, Tag::new(&tag))
                .map_err(|e| format!("{e:?}"))?;
        }
    }
    Ok(out)
}
