//! The result files: a directory that is checked before the load, names that are numbered instead of
//! overwritten, and the three files of a run: NAME.json, NAME.hlog, NAME.html.
//!
//! Must not: define the content of the JSON and HTML files (`measure::json` and `html` do).

use std::fmt::Display;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use super::html;
use crate::input::{Error, fail};
use crate::measure::json;
use crate::measure::results::Results;

/// How many results of one name a directory may have.
const MAX_NUMBER: u32 = 10_000;

/// A directory that exists and can be written.
#[derive(Clone, Debug)]
pub(crate) struct OutputDirectory(PathBuf);

impl OutputDirectory {
    /// Makes the directory if it does not exist, and checks that a file can be made in it. Call it
    /// before the load, so that no run is lost.
    ///
    /// # Errors
    /// One line, when it cannot be made or written.
    pub(crate) fn prepare(path: &Path) -> Result<Self, Error> {
        let probe = path.join(format!(".loadgen-{}", std::process::id()));
        fs::create_dir_all(path)
            .and_then(|()| fs::write(&probe, "x"))
            .and_then(|()| fs::remove_file(&probe))
            .map_err(|error| unwritable(path, &error))?;
        Ok(Self(path.to_owned()))
    }

    /// The files `NAME.ENDING`, or `NAME-2.ENDING` and so on if one of them exists. The first of them
    /// is made here, empty, so that two programs do not take the same name.
    ///
    /// # Errors
    /// One line, when the directory cannot be written or has too many results of that name.
    pub(crate) fn files(
        &self,
        name: &str,
        endings: &'static [&'static str],
    ) -> Result<ResultFiles, Error> {
        for number in 1..=MAX_NUMBER {
            let stem = if number == 1 { name.to_owned() } else { format!("{name}-{number}") };
            let files = ResultFiles { directory: self.0.clone(), stem, endings };
            if endings.iter().any(|ending| files.path(ending).exists()) {
                continue;
            }
            match File::create_new(files.path(endings[0])) {
                Ok(_) => return Ok(files),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(unwritable(&self.0, &error)),
            }
        }
        fail(format!("{}: it has {MAX_NUMBER} results; name another --out", self.0.display()))
    }
}

fn unwritable(directory: &Path, error: &dyn Display) -> Error {
    Error(format!("{}: {error}; name another --out", directory.display()))
}

/// The files of one result: one name, several endings.
#[derive(Debug)]
pub(crate) struct ResultFiles {
    directory: PathBuf,
    /// The name without an ending.
    pub(crate) stem: String,
    endings: &'static [&'static str],
}

impl ResultFiles {
    fn path(&self, ending: &str) -> PathBuf {
        self.directory.join(format!("{}.{ending}", self.stem))
    }

    /// Writes one of the files whole, or leaves what it had.
    ///
    /// # Errors
    /// One line, when it cannot be written.
    pub(crate) fn write(&self, ending: &str, content: impl AsRef<[u8]>) -> Result<(), Error> {
        let part = self.directory.join(format!(".{}.{ending}.part", self.stem));
        fs::write(&part, content)
            .and_then(|()| fs::rename(&part, self.path(ending)))
            .map_err(|error| unwritable(&self.directory, &error))
    }

    /// A line that names the files.
    pub(crate) fn line(&self) -> String {
        let (first, others) = self.endings.split_first().expect("a result has a file");
        let others: Vec<_> = others.iter().map(|ending| format!(".{ending}")).collect();
        let beside = if others.is_empty() {
            String::new()
        } else {
            format!(" (and {} beside it)", others.join(", "))
        };
        format!("report: {}{beside}", self.path(first).display())
    }
}

impl Drop for ResultFiles {
    /// Removes the empty file that took the name, if nothing was written.
    fn drop(&mut self) {
        let path = self.path(self.endings[0]);
        if fs::metadata(&path).is_ok_and(|file| file.len() == 0) {
            // It stays, empty, if this fails.
            let _ = fs::remove_file(path);
        }
    }
}

/// Writes the files of a run and returns a line that names them.
///
/// # Errors
/// When the directory cannot be written.
pub(crate) fn write(results: &Results, directory: &OutputDirectory) -> Result<String, Error> {
    // The name of a scenario file is its path; the results are named after its stem.
    let name = Path::new(&results.scenario).file_stem().unwrap_or_default().to_string_lossy();
    let files = directory.files(&name, &["html", "json", "hlog"])?;
    files.write("json", format!("{:#}", json::json(results)))?;
    files.write("hlog", hlog(results).map_err(|error| unwritable(&directory.0, &error))?)?;
    files.write("html", html::html(results))?;
    Ok(files.line())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("loadgen-{name}-{}", std::process::id()))
    }

    #[test]
    fn results_are_numbered_instead_of_overwritten() {
        let path = directory("numbered");
        let out = OutputDirectory::prepare(&path.join("made")).expect("it can be made");
        for want in ["steady", "steady-2", "steady-3"] {
            let files = out.files("steady", &["html", "json"]).expect("a name is free");
            assert_eq!(files.stem, want);
            files.write("html", "first").expect("written");
            files.write("html", want).expect("written again");
            assert_eq!(fs::read_to_string(files.path("html")).expect("it exists"), want);
        }
        drop(out.files("storm", &["html"]).expect("a name is free"));
        assert!(!path.join("made/storm.html").exists(), "nothing was written to it");
        // A file with another ending takes the name too.
        fs::write(path.join("made/herd.json"), "{}").expect("written");
        assert_eq!(out.files("herd", &["html", "json"]).expect("free").stem, "herd-2");
        fs::remove_dir_all(path).expect("it was made above");
    }

    #[test]
    fn directory_that_cannot_be_made_is_refused() {
        let path = directory("taken");
        fs::write(&path, "a file").expect("written");
        for taken in [path.clone(), path.join("below")] {
            let error = OutputDirectory::prepare(&taken).expect_err("a file is there").to_string();
            assert!(error.contains("name another --out"), "{error}");
        }
        fs::remove_file(path).expect("it was made above");
    }
}
