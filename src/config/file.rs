//! The configuration file: TOML, the flags' names with underscores.
//!
//! Must not: know defaults or the command line.
//! Runs on the main thread, at start.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::flags::Settings;

/// Why a configuration file cannot be used.
#[derive(Debug)]
pub struct FileError {
    path: PathBuf,
    why: Why,
}

#[derive(Debug)]
enum Why {
    Unreadable(io::Error),
    /// The line, counted from one where it is known, and what is wrong there.
    Broken(Option<usize>, String),
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failed to load config file {} - ", self.path.display())?;
        match &self.why {
            Why::Unreadable(error) => write!(f, "{error}"),
            Why::Broken(Some(line), message) => write!(f, "toml: line {line}: {message}"),
            Why::Broken(None, message) => write!(f, "toml: {message}"),
        }
    }
}

impl std::error::Error for FileError {}

/// Reads the settings in the file at `path`. Keys that it does not know are ignored, as in NSQ.
///
/// # Errors
/// When the file cannot be read, is no TOML, or has a value of the wrong kind.
pub(super) fn load(path: &Path) -> Result<Settings, FileError> {
    let text = std::fs::read_to_string(path).map_err(Why::Unreadable);
    text.and_then(|text| read(&text)).map_err(|why| FileError { path: path.to_owned(), why })
}

fn read(text: &str) -> Result<Settings, Why> {
    toml::from_str(text).map_err(|error| {
        let line = error.span().and_then(|span| text.get(..span.start));
        let line = line.map(|before| 1 + before.matches('\n').count());
        // The message may explain itself over several lines; a log line is one.
        Why::Broken(line, error.message().split_whitespace().collect::<Vec<_>>().join(" "))
    })
}

#[cfg(test)]
mod tests {
    use super::super::flags::HttpEngine;
    use super::super::go_duration::GoDuration;
    use super::*;
    use crate::logging::Level;

    const MILLISECOND: i64 = 1_000_000;

    #[test]
    fn keys_have_underscores_and_unknown_ones_are_ignored() {
        let text = "log_level = \"WARN\"\ntcp-address = 5\nunknown = [1, 2]\nversion = true\n\
                    shards = 3\nhttp_engine = \"minihttp\"\n[table]\ntcp_address = 7\n";
        let want = Settings {
            log_level: Some(Level::Warn),
            shards: Some(3),
            http_engine: Some(HttpEngine::Minihttp),
            ..Settings::default()
        };
        assert_eq!(read(text).unwrap(), want);
    }

    #[test]
    fn a_duration_is_gos_text_or_milliseconds() {
        for (value, millis) in [("5", 5), ("\"5s\"", 5_000), ("\"-1m\"", -60_000), ("0", 0)] {
            let settings = read(&format!("tombstone_lifetime = {value}")).unwrap();
            let want = Some(GoDuration::from_nanos(millis * MILLISECOND));
            assert_eq!(settings.tombstone_lifetime, want, "{value}");
        }
    }

    #[test]
    fn what_is_broken_is_named_with_its_line() {
        for (text, want) in [
            ("a = 1\nbroken =\n", "line 2"),
            ("a = 1\na = 2\n", "line 2: duplicate key"),
            (
                "\n\nlog_level = \"nope\"",
                "line 3: invalid log level 'nope' (debug, info, warn, error, fatal)",
            ),
            ("log_level = 5", "line 1: invalid type: integer `5`, expected a string"),
            (
                "tombstone_lifetime = 5.5",
                "line 1: invalid type: floating point `5.5`, expected a duration such as \"1m30s\"",
            ),
            (
                "tombstone_lifetime = true",
                "line 1: invalid type: boolean `true`, expected a duration",
            ),
            ("tombstone_lifetime = \"5\"", "line 1: time: missing unit in duration \"5\""),
            (
                "tombstone_lifetime = 9223372036854775807",
                "line 1: 9223372036854775807 ms is too long",
            ),
            (
                "tcp_allow = [\"::1\", \"10.0.0.0/33\"]",
                "line 1: '10.0.0.0/33' is neither an address nor a CIDR (10.0.0.0/8, 2001:db8::/32, \
                 ::1)",
            ),
            (
                "http_write_allow = \"::1\"",
                "line 1: invalid type: string \"::1\", expected a sequence",
            ),
            ("shards = -1", "line 1: invalid value: integer `-1`, expected usize"),
        ] {
            let error = FileError { path: "c.toml".into(), why: read(text).unwrap_err() };
            let error = error.to_string();
            let want = format!("failed to load config file c.toml - toml: {want}");
            assert!(error.starts_with(&want) && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = load(Path::new("/nonexistent/x.toml")).unwrap_err().to_string();
        assert!(
            error.starts_with("failed to load config file /nonexistent/x.toml - No such file"),
            "{error}"
        );
    }
}
