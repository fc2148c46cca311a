//! The configuration file: TOML whose keys are the names of the flags with underscores.
//!
//! Must not: know defaults or one flag from another; the table does.
//! Runs on the main thread, at start.

use std::path::Path;

use serde::Deserialize as _;
use toml::de::{DeTable, DeValue, ValueDeserializer};
use toml::{Spanned, de};

use super::flags::{FLAGS, Kind};
use super::go_duration::GoDuration;
use super::values::Given;

/// Reads the file at `path`. Keys that the table does not have are ignored, as in NSQ.
///
/// # Errors
/// When the file cannot be read, is not TOML, or has a value of the wrong type.
pub(super) fn load(path: &Path) -> Result<Given, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string());
    text.and_then(|text| read(&text)).map_err(|reason| failed(path, &reason))
}

fn failed(path: &Path, reason: &str) -> String {
    format!("failed to load config file {} - {reason}", path.display())
}

/// Reads the text of a file; an error names its line, counted from one.
fn read(text: &str) -> Result<Given, String> {
    let at = |start: usize, reason: &str| {
        let line = 1 + text.get(..start).map_or(0, |before| before.matches('\n').count());
        // The reason may explain itself over several lines; a log line is one.
        format!("toml: line {line}: {}", reason.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let wrong = |error: de::Error| at(error.span().map_or(0, |span| span.start), error.message());
    let mut table = DeTable::parse(text).map_err(wrong)?.into_inner();
    let mut given = Given::new();
    for flag in FLAGS {
        let Some(value) = flag.key().and_then(|key| table.remove(key.as_str())) else { continue };
        let texts = given.entry(flag.name).or_default();
        for text in self::texts(flag.kind, value).map_err(wrong)? {
            let start = text.span().start;
            flag.kind.check(text.get_ref()).map_err(|reason| at(start, &reason))?;
            texts.push(text.into_inner());
        }
    }
    Ok(given)
}

/// A value as texts that the flag can take: one, or any number for a list.
fn texts(kind: Kind, value: Spanned<DeValue<'_>>) -> Result<Vec<Spanned<String>>, de::Error> {
    let span = value.span();
    let value = ValueDeserializer::from(value);
    let text = match kind {
        Kind::Networks => return Vec::deserialize(value),
        Kind::Text(_) | Kind::Checked(..) => String::deserialize(value)?,
        Kind::Count => usize::deserialize(value)?.to_string(),
        Kind::Duration => GoDuration::deserialize(value)?.to_string(),
        Kind::Bool => bool::deserialize(value)?.to_string(),
    };
    Ok(vec![Spanned::new(span, text)])
}

#[cfg(test)]
mod tests {
    use super::super::values::Values;
    use super::*;

    const MILLISECOND: i64 = 1_000_000;

    #[test]
    fn keys_have_underscores_and_unknown_ones_are_ignored() {
        let text = "log_level = \"WARN\"\ntcp-address = 5\nunknown = [1, 2]\nversion = true\n\
                    shards = 3\nhttp_engine = \"minihttp\"\n[table]\ntcp_address = 7\n";
        let want = [("log-level", "WARN"), ("shards", "3"), ("http-engine", "minihttp")];
        let want = want.map(|(name, value)| (name, vec![value.to_owned()]));
        assert_eq!(read(text).unwrap(), Given::from(want));
    }

    #[test]
    fn durations_are_gos_text_or_milliseconds() {
        for (value, millis) in [("5", 5), ("\"5s\"", 5_000), ("\"-1m\"", -60_000), ("0", 0)] {
            let file = read(&format!("tombstone_lifetime = {value}")).unwrap();
            let values = Values { file, ..Values::default() };
            let got = values.get::<GoDuration>("tombstone-lifetime").nanos();
            assert_eq!(got, millis * MILLISECOND, "{value}");
        }
    }

    #[test]
    fn errors_name_their_line() {
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
                "tcp_allow = [\n\"::1\",\n\"10.0.0.0/33\"]",
                "line 3: '10.0.0.0/33' is neither an address nor a CIDR (10.0.0.0/8, 2001:db8::/32, \
                 ::1)",
            ),
            (
                "http_write_allow = \"::1\"",
                "line 1: invalid type: string \"::1\", expected a sequence",
            ),
            ("shards = -1", "line 1: invalid value: integer `-1`, expected usize"),
        ] {
            let error = failed(Path::new("c.toml"), &read(text).unwrap_err());
            let want = format!("failed to load config file c.toml - toml: {want}");
            assert!(error.starts_with(&want) && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = load(Path::new("/nonexistent/x.toml")).unwrap_err();
        assert!(
            error.starts_with("failed to load config file /nonexistent/x.toml - No such file"),
            "{error}"
        );
    }
}
