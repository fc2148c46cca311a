//! The flags as they are typed, before anyone asks what they mean together.
//!
//! One struct serves twice: clap reads it from the command line (`--tcp-address`), serde from the
//! configuration file (`tcp_address`). A field that is `None` was not given there.
//!
//! Must not: hold defaults that depend on the machine, or look at it.
//! Runs on the main thread, at start.

use std::error::Error as _;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue};
use clap::{Args, CommandFactory as _, Parser};
use serde::Deserialize;

use super::go_duration::GoDuration;
use super::go_flags::{self, FlagError, Stop, Takes};
use crate::access::Network;
use crate::logging::Level;

/// What a command line says.
#[derive(Clone, Debug, Default, Parser)]
#[command(
    name = "musterd",
    about = "A drop-in replacement for NSQ's nsqlookupd.",
    after_help = "Flags take one dash or two, and their value after a space or `=`.\n\
                  Durations are written as in Go: 1h2m3.5s, 100ms, 10us.",
    disable_help_flag = true,
    disable_version_flag = true,
    args_override_self = true,
    next_line_help = true
)]
pub(super) struct LowArgs {
    /// path to config file
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<String>,

    /// print version string
    #[arg(long, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", default_value_t = false, hide_default_value = true,
          hide_possible_values = true, value_name = "BOOL")]
    pub(super) version: bool,

    /// [deprecated] has no effect, use --log-level
    #[arg(long, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", default_value_t = false, hide_default_value = true,
          hide_possible_values = true, value_name = "BOOL")]
    pub(super) verbose: bool,

    /// What the file can say too.
    #[command(flatten)]
    pub(super) settings: Settings,
}

/// What the command line and the configuration file can both say.
#[derive(Args, Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(super) struct Settings {
    /// set log verbosity: debug, info, warn, error, or fatal (default info)
    #[arg(long, value_name = "LEVEL")]
    pub(super) log_level: Option<Level>,

    /// log message prefix (default "[nsqlookupd] ")
    #[arg(long, value_name = "TEXT")]
    pub(super) log_prefix: Option<String>,

    /// address to listen on for TCP clients (default 0.0.0.0:4160)
    #[arg(long, value_name = "ADDR:PORT")]
    pub(super) tcp_address: Option<String>,

    /// address to listen on for HTTP clients (default 0.0.0.0:4161)
    #[arg(long, value_name = "ADDR:PORT")]
    pub(super) http_address: Option<String>,

    /// address of this lookupd node (default: the OS hostname)
    #[arg(long, value_name = "ADDR")]
    pub(super) broadcast_address: Option<String>,

    /// how long a producer stays in the active list after its last ping (default 5m0s)
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(super) inactive_producer_timeout: Option<GoDuration>,

    /// how long a producer stays tombstoned while its registration remains (default 45s)
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(super) tombstone_lifetime: Option<GoDuration>,

    /// how long an nsqd may take to connect and IDENTIFY (default 10s)
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(super) handshake_timeout: Option<GoDuration>,

    /// executors that serve TCP (default 0: one per core the process may use)
    #[arg(long, value_name = "N", value_parser = count)]
    pub(super) shards: Option<usize>,

    /// threads that serve HTTP (default 0: one per core, but at least 2)
    #[arg(long, value_name = "N", value_parser = count)]
    pub(super) http_workers: Option<usize>,

    /// HTTP server: guarded, or minihttp (default guarded)
    #[arg(long, value_name = "ENGINE")]
    pub(super) http_engine: Option<HttpEngine>,

    /// nsqds connected at once (default 0: what the file descriptors allow)
    #[arg(long, value_name = "N", value_parser = count)]
    pub(super) max_tcp_connections: Option<usize>,

    /// HTTP connections at once (default 0: what the file descriptors allow)
    #[arg(long, value_name = "N", value_parser = count)]
    pub(super) max_http_connections: Option<usize>,

    /// connections of one address to each port (default 0: not counted)
    #[arg(long, value_name = "N", value_parser = count)]
    pub(super) max_connections_per_ip: Option<usize>,

    /// networks that nsqds may connect from, repeated or separated by commas (default: all)
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pub(super) tcp_allow: Option<Vec<Network>>,

    /// networks that may POST, repeated or separated by commas (default: all)
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pub(super) http_write_allow: Option<Vec<Network>>,

    /// file with the bearer token that every POST must show (default: none is asked for)
    #[arg(long, value_name = "FILE")]
    pub(super) http_write_token_file: Option<PathBuf>,

    /// registrations of all nsqds (default 5000000)
    #[arg(long, value_name = "N", value_parser = count)]
    pub(super) max_registrations: Option<usize>,

    /// registrations of one nsqd (default 100000)
    #[arg(long, value_name = "N", value_parser = count)]
    pub(super) max_registrations_per_nsqd: Option<usize>,
}

/// Which code answers HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum HttpEngine {
    /// Our own turn over may: every limit holds.
    #[default]
    Guarded,
    /// `may_minihttp`, as a yardstick; not for a port that strangers reach.
    Minihttp,
}

impl std::str::FromStr for HttpEngine {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "guarded" => Ok(Self::Guarded),
            "minihttp" => Ok(Self::Minihttp),
            _ => Err(format!("unknown HTTP engine '{name}' (guarded, minihttp)")),
        }
    }
}

impl TryFrom<String> for HttpEngine {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        name.parse()
    }
}

/// Go's flags do not say what is wrong with a number or a duration.
const PARSE_ERROR: &str = "parse error";

fn duration(text: &str) -> Result<GoDuration, &'static str> {
    text.parse().map_err(|_| PARSE_ERROR)
}

fn count(text: &str) -> Result<usize, &'static str> {
    text.parse().map_err(|_| PARSE_ERROR)
}

/// Reads a command line without the program's name, as Go would: the first thing wrong, or a
/// request for help, ends it.
pub(super) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<LowArgs, Stop> {
    let command = LowArgs::command();
    let takes = |name: &str| {
        let flag = command.get_arguments().find(|flag| flag.get_long() == Some(name))?;
        Some(if flag.is_require_equals_set() { Takes::Switch } else { Takes::Value })
    };
    let (given, stop) = go_flags::split(args, takes);
    let canonical = given.into_iter().map(|(name, value)| format!("--{name}={value}"));
    let program = std::iter::once("musterd".to_owned());
    let args = LowArgs::try_parse_from(program.chain(canonical))
        .map_err(|error| Stop::Error(in_gos_words(&error)))?;
    stop.map_or(Ok(args), Err)
}

/// The usage text.
pub(super) fn usage() -> String {
    LowArgs::command().render_help().to_string()
}

/// The flags that the configuration file can set too.
#[cfg(test)]
pub(super) fn setting_names() -> Vec<String> {
    let command = Settings::augment_args(clap::Command::new("settings"));
    command.get_arguments().filter_map(|flag| flag.get_long().map(str::to_owned)).collect()
}

/// The flags are known and have their values, so all that clap can refuse is a value.
fn in_gos_words(error: &clap::Error) -> FlagError {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.as_str(),
        _ => "",
    };
    // `--log-level <LEVEL>`
    let flag = context(ContextKind::InvalidArg).split(' ').next().unwrap_or_default();
    let why = error.source().map_or_else(|| PARSE_ERROR.to_owned(), ToString::to_string);
    FlagError::InvalidValue(
        flag.trim_start_matches('-').to_owned(),
        context(ContextKind::InvalidValue).to_owned(),
        why,
    )
}

impl Settings {
    /// These settings, and where they are silent, those of `fallback`.
    pub(super) fn or(self, fallback: Self) -> Self {
        Self {
            log_level: self.log_level.or(fallback.log_level),
            log_prefix: self.log_prefix.or(fallback.log_prefix),
            tcp_address: self.tcp_address.or(fallback.tcp_address),
            http_address: self.http_address.or(fallback.http_address),
            broadcast_address: self.broadcast_address.or(fallback.broadcast_address),
            inactive_producer_timeout: self
                .inactive_producer_timeout
                .or(fallback.inactive_producer_timeout),
            tombstone_lifetime: self.tombstone_lifetime.or(fallback.tombstone_lifetime),
            handshake_timeout: self.handshake_timeout.or(fallback.handshake_timeout),
            shards: self.shards.or(fallback.shards),
            http_workers: self.http_workers.or(fallback.http_workers),
            http_engine: self.http_engine.or(fallback.http_engine),
            max_tcp_connections: self.max_tcp_connections.or(fallback.max_tcp_connections),
            max_http_connections: self.max_http_connections.or(fallback.max_http_connections),
            max_connections_per_ip: self.max_connections_per_ip.or(fallback.max_connections_per_ip),
            tcp_allow: self.tcp_allow.or(fallback.tcp_allow),
            http_write_allow: self.http_write_allow.or(fallback.http_write_allow),
            http_write_token_file: self.http_write_token_file.or(fallback.http_write_token_file),
            max_registrations: self.max_registrations.or(fallback.max_registrations),
            max_registrations_per_nsqd: self
                .max_registrations_per_nsqd
                .or(fallback.max_registrations_per_nsqd),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use proptest::prelude::*;

    use super::*;

    fn read(words: &[&str]) -> Result<LowArgs, Stop> {
        parse(words.iter().map(OsString::from))
    }

    /// The first line that NSQ's nsqlookupd v1.3.0 prints for these words, with exit code 2.
    #[test]
    fn errors_are_gos() {
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
                 unknown HTTP engine 'x' (guarded, minihttp)",
            ),
        ];
        check_errors(cases);
    }

    fn check_errors(cases: &[(&[&str], &str)]) {
        for (words, want) in cases {
            match read(words) {
                Err(Stop::Error(error)) => assert_eq!(error.to_string(), *want, "{words:?}"),
                other => panic!("{words:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn what_is_no_rule_of_access_is_refused_in_go_s_words() {
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
    fn help_comes_first_when_asked_first() {
        for words in [
            &["-help"][..],
            &["--help"],
            &["-h"],
            &["--h"],
            &["-h=3"],
            &["-help=3"],
            &["-version", "-help", "-nope"],
        ] {
            assert_eq!(read(words).err(), Some(Stop::Help), "{words:?}");
        }
    }

    #[test]
    fn a_switch_is_on_when_go_says_so() {
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
            assert_eq!(read(words).unwrap().version, want, "{words:?}");
        }
    }

    #[test]
    fn values_stand_behind_a_space_or_an_equals_sign_and_the_last_one_counts() {
        for (words, want) in [
            (&["-tcp-address", "a:1"][..], Some("a:1")),
            (&["--tcp-address=a:1"], Some("a:1")),
            (&["-tcp-address=a=b"], Some("a=b")),
            (&["-tcp-address="], Some("")),
            (&["-tcp-address", "--"], Some("--")),
            (&["-tcp-address=a:1", "--tcp-address", "b:2"], Some("b:2")),
            (&["word", "-tcp-address=a:1"], None),
        ] {
            assert_eq!(read(words).unwrap().settings.tcp_address.as_deref(), want, "{words:?}");
        }
    }

    #[test]
    fn lists_are_repeated_or_separated_by_commas() {
        let all = ["10.0.0.0/8", "::1", "192.0.2.1"].map(|text| text.parse().unwrap());
        for words in [
            &["-tcp-allow=10.0.0.0/8,::1,192.0.2.1"][..],
            &["-tcp-allow", "10.0.0.0/8", "--tcp-allow=::1", "-tcp-allow=192.0.2.1"],
            &["-tcp-allow=10.0.0.0/8, ::1", "-shards=1", "-tcp-allow=192.0.2.1"],
        ] {
            let networks = read(words).unwrap().settings.tcp_allow;
            assert_eq!(networks.as_deref(), Some(&all[..]), "{words:?}");
        }
    }

    proptest! {
        /// Whatever is typed, clap is never reached with something it would put in its own words.
        #[test]
        fn any_words_are_read_or_refused_by_name(words in prop::collection::vec(WORD, 0..5)) {
            let refused = parse(words.into_iter().map(OsString::from)).err();
            if let Some(Stop::Error(FlagError::InvalidValue(name, ..))) = refused {
                let command = LowArgs::command();
                prop_assert!(command.get_arguments().any(|flag| flag.get_long() == Some(&name)));
            }
        }
    }

    const WORD: &str =
        "-{0,3}(version|shards|log-level|tcp-address|tcp-allow|config|h)?=?[a-z0-9 \\-=é\n]{0,4}";

    #[test]
    fn words_that_are_not_utf8_are_shown_with_replacements() {
        let word = OsString::from_vec(b"-log-level=\xff".to_vec());
        let Err(Stop::Error(error)) = parse([word]) else { panic!("it is no level") };
        assert!(error.to_string().starts_with("invalid value \"\u{fffd}\" for"), "{error}");
    }

    #[test]
    fn the_usage_names_every_flag() {
        let usage = usage();
        for flag in LowArgs::command().get_arguments() {
            let name = flag.get_long().unwrap();
            assert!(usage.contains(&format!("--{name}")), "{name} in {usage}");
        }
    }
}
