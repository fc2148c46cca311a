//! The command line, read by the rules of Go's `flag` package: one dash or two, `-x v` or `-x=v`, a
//! stop at the first word that is not a flag, and an end at the first error.
//!
//! Must not: treat one flag unlike another, but for help; the table says how they differ. Runs on the main thread, at start.

use std::ffi::OsString;
use std::iter::Peekable;

use super::Exit;
use super::flags::{Flag, Kind};
use super::values::Given;
use crate::logging::Quoted;

/// What a command line holds.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    /// The values.
    pub(super) given: Given,
    /// The words that are not read: the first one that is no flag and all behind it, or all behind
    /// `--`.
    pub(super) unread: Vec<String>,
}

/// Reads a command line, without the program's name. Invalid UTF-8 becomes U+FFFD, as it would in
/// the JSON that shows the broadcast address.
///
/// # Errors
/// [`Exit::Usage`] with the first thing that is wrong, in the words of Go's `flag` package, or
/// [`Exit::Help`], whichever comes first.
pub(super) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Parsed, Exit> {
    let args = args.into_iter().map(|word| word.to_string_lossy().into_owned());
    let mut args = args.peekable();
    let mut given = Given::new();
    while let Some((flag, value)) = next(&mut args)? {
        let values = match flag.kind {
            Kind::Networks => value.split(',').collect(),
            _ => vec![value.as_str()],
        };
        for value in values {
            flag.kind.check(value).map_err(|reason| {
                // Go does not say what is wrong with a number or a duration.
                let is_number = matches!(flag.kind, Kind::Count | Kind::Duration);
                let reason = if is_number { "parse error".to_owned() } else { reason };
                let (name, value) = (flag.name, Quoted(value));
                Exit::Usage(format!("invalid value {value} for flag -{name}: {reason}"))
            })?;
            given.entry(flag.name).or_default().push(value.to_owned());
        }
    }
    args.next_if(|word| word == "--");
    Ok(Parsed { given, unread: args.collect() })
}

/// Reads one flag and its value; none at the end, at `--`, and at the first word without a dash.
fn next(
    args: &mut Peekable<impl Iterator<Item = String>>,
) -> Result<Option<(&'static Flag, String)>, Exit> {
    let Some(word) = args.next_if(|word| without_dashes(word).is_some()) else { return Ok(None) };
    let bare = without_dashes(&word).unwrap_or_default();
    if bare.starts_with(['-', '=']) {
        return Err(Exit::Usage(format!("bad flag syntax: {word}")));
    }
    let (name, value) = match bare.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (bare, None),
    };
    if name == "help" || name == "h" {
        return Err(Exit::Help);
    }
    let undefined = || Exit::Usage(format!("flag provided but not defined: -{name}"));
    let flag = Flag::find(name).ok_or_else(undefined)?;
    let value = match flag.kind {
        Kind::Bool => boolean(flag.name, value)?.to_string(),
        _ => value
            .or_else(|| args.next())
            .ok_or_else(|| Exit::Usage(format!("flag needs an argument: -{name}")))?,
    };
    Ok(Some((flag, value)))
}

/// A word without its one or two dashes; none when it is not a flag, or ends the flags (`--`).
fn without_dashes(word: &str) -> Option<&str> {
    let bare = word.strip_prefix("--").or_else(|| word.strip_prefix('-'))?;
    Some(bare).filter(|bare| !bare.is_empty())
}

/// Reads a boolean as Go's `strconv.ParseBool` does; without a value it is true.
fn boolean(name: &str, value: Option<String>) -> Result<bool, Exit> {
    match value.as_deref() {
        None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
        Some(value) => {
            let value = Quoted(value);
            Err(Exit::Usage(format!("invalid boolean value {value} for -{name}: parse error")))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use proptest::prelude::*;

    use super::super::values::Values;
    use super::*;
    use crate::access::Network;

    fn read(words: &[&str]) -> Result<Values, Exit> {
        let command_line = parse(words.iter().map(OsString::from))?.given;
        Ok(Values { command_line, ..Values::default() })
    }

    /// The first line that NSQ's nsqlookupd v1.3.0 prints for these words, with exit code 2.
    #[test]
    fn errors_have_gos_words() {
        let cases: &[(&[&str], &str)] = &[
            (&["-nope"], "flag provided but not defined: -nope"),
            (&["--nope=3"], "flag provided but not defined: -nope"),
            (&["-version", "-nope"], "flag provided but not defined: -nope"),
            (
                &["-inactive-producer-timeout=5"],
                r#"invalid value "5" for flag -inactive-producer-timeout: parse error"#,
            ),
            (
                &["--inactive-producer-timeout", "5"],
                r#"invalid value "5" for flag -inactive-producer-timeout: parse error"#,
            ),
            (
                &["-inactive-producer-timeout=5é\nx"],
                r#"invalid value "5é\nx" for flag -inactive-producer-timeout: parse error"#,
            ),
            (
                &["-inactive-producer-timeout=5", "-help"],
                r#"invalid value "5" for flag -inactive-producer-timeout: parse error"#,
            ),
            (
                &["-inactive-producer-timeout=5", "-nope"],
                r#"invalid value "5" for flag -inactive-producer-timeout: parse error"#,
            ),
            (&["-inactive-producer-timeout"], "flag needs an argument: -inactive-producer-timeout"),
            (
                &["-tombstone-lifetime=99999999999h"],
                r#"invalid value "99999999999h" for flag -tombstone-lifetime: parse error"#,
            ),
            (
                &["-tombstone-lifetime="],
                r#"invalid value "" for flag -tombstone-lifetime: parse error"#,
            ),
            (&["-version=maybe"], r#"invalid boolean value "maybe" for -version: parse error"#),
            (&["-verbose="], r#"invalid boolean value "" for -verbose: parse error"#),
            (
                &["-log-level", "foo"],
                "invalid value \"foo\" for flag -log-level: \
                 invalid log level 'foo' (debug, info, warn, error, fatal)",
            ),
            (
                &["-log-level="],
                "invalid value \"\" for flag -log-level: \
                 invalid log level '' (debug, info, warn, error, fatal)",
            ),
            (&["---x"], "bad flag syntax: ---x"),
            (&["-=x"], "bad flag syntax: -=x"),
            (&["--=x"], "bad flag syntax: --=x"),
            // Ours, in the same words.
            (&["-shards=-1"], r#"invalid value "-1" for flag -shards: parse error"#),
            (
                &["-http-engine", "x"],
                "invalid value \"x\" for flag -http-engine: \
                 unknown HTTP engine 'x' (builtin, minihttp)",
            ),
        ];
        check_errors(cases);
    }

    fn check_errors(cases: &[(&[&str], &str)]) {
        for (words, want) in cases {
            let Err(Exit::Usage(error)) = read(words) else { panic!("{words:?}: {want}") };
            assert_eq!(error, *want, "{words:?}");
        }
    }

    #[test]
    fn wrong_access_rules_are_refused_in_gos_words() {
        check_errors(&[
            (
                &["-tcp-allow=10.0.0.0/8,10.0.0.0/33"],
                "invalid value \"10.0.0.0/33\" for flag -tcp-allow: '10.0.0.0/33' is neither an \
                 address nor a CIDR (10.0.0.0/8, 2001:db8::/32, ::1)",
            ),
            (
                &["-http-write-allow", "here", "-http-write-allow=::1"],
                "invalid value \"here\" for flag -http-write-allow: 'here' is neither an address \
                 nor a CIDR (10.0.0.0/8, 2001:db8::/32, ::1)",
            ),
            // An empty list would be everyone: what an unset variable leaves is refused.
            (
                &["-tcp-allow="],
                "invalid value \"\" for flag -tcp-allow: '' is neither an address nor a CIDR \
                 (10.0.0.0/8, 2001:db8::/32, ::1)",
            ),
            (
                &["-max-connections-per-ip=-1"],
                r#"invalid value "-1" for flag -max-connections-per-ip: parse error"#,
            ),
        ]);
    }

    #[test]
    fn help_ends_the_reading() {
        for words in [
            &["-help"][..],
            &["--help"],
            &["-h"],
            &["--h"],
            &["-h=3"],
            &["-help=3"],
            &["-version", "-help", "-nope"],
        ] {
            assert!(matches!(read(words), Err(Exit::Help)), "{words:?}");
        }
    }

    #[test]
    fn booleans_are_read_as_go_does() {
        for (words, want) in [
            (&["-version"][..], true),
            (&["--version=true"], true),
            (&["-version=T"], true),
            (&["-version=0"], false),
            (&["-version=false", "-version"], true),
            (&["-version", "-version=F"], false),
            (&["-verbose", "-version"], true),
            (&["-verbose", "false", "-version"], false),
            (&["word", "-version", "-nope"], false),
            (&["--", "-nope"], false),
            (&["-", "-nope"], false),
            (&["", "-nope"], false),
            (&["-tcp-address", "-version"], false),
            (&["-tcp-address", "-version", "-version"], true),
        ] {
            assert_eq!(read(words).unwrap().text("version") == Some("true"), want, "{words:?}");
        }
    }

    #[test]
    fn values_follow_a_space_or_an_equals_sign_and_the_last_one_wins() {
        for (words, want) in [
            (&["-tcp-address", "a:1"][..], Some("a:1")),
            (&["--tcp-address=a:1"], Some("a:1")),
            (&["-tcp-address=a=b"], Some("a=b")),
            (&["-tcp-address="], Some("")),
            (&["-tcp-address", "--"], Some("--")),
            (&["-tcp-address=a:1", "--tcp-address", "b:2"], Some("b:2")),
            (&["word", "-tcp-address=a:1"], None),
        ] {
            let want = want.unwrap_or("0.0.0.0:4160");
            assert_eq!(read(words).unwrap().text("tcp-address"), Some(want), "{words:?}");
        }
    }

    #[test]
    fn words_behind_the_flags_are_not_read() {
        for (words, want) in [
            (&["-shards=1"][..], &[][..]),
            (&["-shards=1", "--"], &[]),
            (&["-shards", "1", "x", "-nope"], &["x", "-nope"]),
            (&["-verbose", "true", "-tcp-allow=::1"], &["true", "-tcp-allow=::1"]),
            (&["--", "--", "-nope"], &["--", "-nope"]),
            (&["-", "x"], &["-", "x"]),
            (&["", "x"], &["", "x"]),
        ] {
            assert_eq!(parse(words.iter().map(OsString::from)).unwrap().unread, want, "{words:?}");
        }
    }

    #[test]
    fn list_flags_are_repeated_or_take_commas() {
        let all: [Network; 3] =
            ["10.0.0.0/8", "::1", "192.0.2.1"].map(|text| text.parse().unwrap());
        for words in [
            &["-tcp-allow=10.0.0.0/8,::1,192.0.2.1"][..],
            &["-tcp-allow", "10.0.0.0/8", "--tcp-allow=::1", "-tcp-allow=192.0.2.1"],
            &["-tcp-allow=10.0.0.0/8, ::1", "-shards=1", "-tcp-allow=192.0.2.1"],
        ] {
            let networks: Vec<Network> = read(words).unwrap().list("tcp-allow");
            assert_eq!(networks, all, "{words:?}");
        }
    }

    proptest! {
        /// What is refused is one of the words, or a flag of the table.
        #[test]
        fn any_words_are_read_or_refused_by_name(words in prop::collection::vec(WORD, 0..5)) {
            let args = words.iter().map(OsString::from);
            if let Err(Exit::Usage(error)) = parse(args)
                && let Some((_, flag)) = error.split_once(" for flag -")
            {
                let (name, _) = flag.split_once(": ").expect("a reason");
                prop_assert!(Flag::find(name).is_some());
            }
        }
    }

    const WORD: &str =
        "-{0,3}(version|shards|log-level|tcp-address|tcp-allow|config|h)?=?[a-z0-9 \\-=é\n]{0,4}";

    #[test]
    fn words_that_are_not_utf8_are_shown_with_replacements() {
        let word = OsString::from_vec(b"-log-level=\xff".to_vec());
        let Err(Exit::Usage(error)) = parse([word]) else { panic!("it is no level") };
        assert!(error.starts_with("invalid value \"\u{fffd}\" for"), "{error}");
    }
}
