//! Go's `flag` package, as far as it decides what a command line means: one dash or two, `-x v` or
//! `-x=v`, and a stop at the first word that is no flag.
//!
//! Must not: know what a flag means; it is told which exist.
//! Runs on the main thread, at start.

use std::ffi::OsString;
use std::fmt;

use crate::logging::Quoted;

/// How a flag takes its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    /// A truth value after `=`, or nothing for "true".
    Switch,
    /// A value after `=`, or the next argument, whatever it looks like.
    Value,
}

/// One flag as it was given: its name and its value, which is `true` or `false` for a switch.
pub(super) type Given = (String, String);

/// Why reading ended before the last flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Help was asked for.
    Help,
    /// The flags are wrong.
    Error(FlagError),
}

/// What is wrong with a flag, in the words of Go's `flag` package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FlagError {
    /// `---x` or `-=x`.
    BadSyntax(String),
    /// No flag has this name.
    NotDefined(String),
    /// Nothing follows a flag that takes a value.
    NeedsArgument(String),
    /// A switch that is neither true nor false: its name, then the value.
    InvalidBoolean(String, String),
    /// A value that cannot be read: the flag's name, the value, the reason.
    InvalidValue(String, String, String),
}

impl fmt::Display for FlagError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadSyntax(word) => write!(f, "bad flag syntax: {word}"),
            Self::NotDefined(name) => write!(f, "flag provided but not defined: -{name}"),
            Self::NeedsArgument(name) => write!(f, "flag needs an argument: -{name}"),
            Self::InvalidBoolean(name, value) => {
                write!(f, "invalid boolean value {} for -{name}: parse error", Quoted(value))
            }
            Self::InvalidValue(name, value, why) => {
                write!(f, "invalid value {} for flag -{name}: {why}", Quoted(value))
            }
        }
    }
}

impl std::error::Error for FlagError {}

/// Splits a command line (without the program's name) into its flags, in order. `takes` knows
/// which exist. What was read before a stop comes with it: its errors are to be told first.
/// Invalid UTF-8 becomes U+FFFD, as it would in the JSON that shows the broadcast address.
pub(super) fn split(
    args: impl IntoIterator<Item = OsString>,
    takes: impl Fn(&str) -> Option<Takes>,
) -> (Vec<Given>, Option<Stop>) {
    let mut args = args.into_iter().map(|word| word.to_string_lossy().into_owned());
    let mut flags = Vec::new();
    loop {
        match next(&mut args, &takes) {
            Ok(Some(flag)) => flags.push(flag),
            Ok(None) => return (flags, None),
            Err(stop) => return (flags, Some(stop)),
        }
    }
}

/// Reads one flag; none at the end, at `--`, and at the first word without a dash.
fn next(
    args: &mut impl Iterator<Item = String>,
    takes: impl Fn(&str) -> Option<Takes>,
) -> Result<Option<Given>, Stop> {
    let Some(word) = args.next() else { return Ok(None) };
    let Some(bare) = without_dashes(&word) else { return Ok(None) };
    if bare.starts_with(['-', '=']) {
        return Err(Stop::Error(FlagError::BadSyntax(word)));
    }
    let (name, value) = match bare.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (bare.to_owned(), None),
    };
    let given = match (takes(&name), value) {
        (None, _) if name == "help" || name == "h" => return Err(Stop::Help),
        (None, _) => Err(FlagError::NotDefined(name)),
        (Some(Takes::Switch), value) => truth(name, value),
        (Some(Takes::Value), value) => match value.or_else(|| args.next()) {
            Some(value) => Ok((name, value)),
            None => Err(FlagError::NeedsArgument(name)),
        },
    };
    given.map(Some).map_err(Stop::Error)
}

/// The word behind its one or two dashes; none when it is no flag, or ends the flags (`--`).
fn without_dashes(word: &str) -> Option<&str> {
    let bare = word.strip_prefix("--").or_else(|| word.strip_prefix('-'))?;
    Some(bare).filter(|bare| !bare.is_empty())
}

/// Reads a truth value as Go's `strconv.ParseBool` does; none is true.
fn truth(name: String, value: Option<String>) -> Result<Given, FlagError> {
    match value.as_deref() {
        None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok((name, "true".to_owned())),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok((name, "false".to_owned())),
        Some(value) => Err(FlagError::InvalidBoolean(name, value.to_owned())),
    }
}
