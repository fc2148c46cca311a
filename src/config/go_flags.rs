//! Go's `flag` package, as far as it decides what a command line means: one dash or two, `-x v` or
//! `-x=v`, and a stop at the first word that is no flag.
//!
//! Must not: know what a flag means; it is told which exist.
//! Runs on the main thread, at start.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;

use crate::logging::Quoted;

/// How a flag takes its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    /// A truth value after `=`, or nothing for "true".
    Switch,
    /// A value after `=`, or the next argument, whatever it looks like.
    Value,
}

/// One flag as it was given; a switch's value is `true` or `false`.
pub(super) type Given = (String, OsString);

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
pub(super) fn split(
    args: impl IntoIterator<Item = OsString>,
    takes: impl Fn(&str) -> Option<Takes>,
) -> (Vec<Given>, Option<Stop>) {
    let mut args = args.into_iter();
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
    args: &mut impl Iterator<Item = OsString>,
    takes: impl Fn(&str) -> Option<Takes>,
) -> Result<Option<Given>, Stop> {
    let Some(word) = args.next() else { return Ok(None) };
    let Some(bare) = without_dashes(word.as_bytes()) else { return Ok(None) };
    if bare.is_empty() {
        return Ok(None);
    }
    if bare.starts_with(b"-") || bare.starts_with(b"=") {
        return Err(Stop::Error(FlagError::BadSyntax(word.to_string_lossy().into_owned())));
    }
    let (name, value) = match bare.iter().position(|&byte| byte == b'=') {
        Some(at) => (&bare[..at], Some(OsStr::from_bytes(&bare[at + 1..]))),
        None => (bare, None),
    };
    let name = String::from_utf8_lossy(name).into_owned();
    let given = match (takes(&name), value) {
        (None, _) if name == "help" || name == "h" => return Err(Stop::Help),
        (None, _) => Err(FlagError::NotDefined(name)),
        (Some(Takes::Switch), None) => Ok((name, "true".into())),
        (Some(Takes::Switch), Some(value)) => truth(name, value),
        (Some(Takes::Value), Some(value)) => Ok((name, value.to_owned())),
        (Some(Takes::Value), None) => match args.next() {
            Some(value) => Ok((name, value)),
            None => Err(FlagError::NeedsArgument(name)),
        },
    };
    given.map(Some).map_err(Stop::Error)
}

/// The word behind its one or two dashes (empty for `--`); none when it is no flag.
fn without_dashes(word: &[u8]) -> Option<&[u8]> {
    let bare = word.strip_prefix(b"-").filter(|bare| !bare.is_empty())?;
    Some(bare.strip_prefix(b"-").unwrap_or(bare))
}

/// Reads a truth value as Go's `strconv.ParseBool` does.
fn truth(name: String, value: &OsStr) -> Result<Given, FlagError> {
    match value.as_bytes() {
        b"1" | b"t" | b"T" | b"true" | b"TRUE" | b"True" => Ok((name, "true".into())),
        b"0" | b"f" | b"F" | b"false" | b"FALSE" | b"False" => Ok((name, "false".into())),
        _ => Err(FlagError::InvalidBoolean(name, value.to_string_lossy().into_owned())),
    }
}
