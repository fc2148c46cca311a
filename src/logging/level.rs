//! NSQ's five log levels.
//!
//! Must not: know where lines are written. Any thread may use it.

use std::fmt;
use std::str::FromStr;

use tracing::Metadata;
use tracing::level_filters::LevelFilter;

/// The target of an event whose line is FATAL; [`fatal!`](crate::fatal) sets it.
pub const FATAL: &str = "fatal";

/// The least severe line that is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Everything, request lines included.
    Debug,
    /// What the daemon does, such as listening and registrations.
    #[default]
    Info,
    /// What an operator should check.
    Warn,
    /// What went wrong.
    Error,
    /// Only the reason why the process ends.
    Fatal,
}

impl Level {
    /// The most verbose tracing level that is enabled.
    pub(super) fn filter(self) -> LevelFilter {
        match self {
            Self::Debug => LevelFilter::DEBUG,
            Self::Info => LevelFilter::INFO,
            Self::Warn => LevelFilter::WARN,
            Self::Error | Self::Fatal => LevelFilter::ERROR,
        }
    }

    /// Whether an event is logged at this level. All events of one call site give the same result.
    pub(super) fn enables(self, event: &Metadata<'_>) -> bool {
        Self::of(event) >= self && *event.level() != tracing::Level::TRACE
    }

    /// The level of an event; tracing has no FATAL.
    pub(super) fn of(event: &Metadata<'_>) -> Self {
        match *event.level() {
            tracing::Level::ERROR if event.target() == FATAL => Self::Fatal,
            tracing::Level::ERROR => Self::Error,
            tracing::Level::WARN => Self::Warn,
            tracing::Level::INFO => Self::Info,
            _ => Self::Debug,
        }
    }
}

impl fmt::Display for Level {
    /// As a log line shows it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warn => "WARNING",
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
        })
    }
}

impl FromStr for Level {
    type Err = String;

    /// Parses a level's name in any case. `WARNING` is no name, as in NSQ, whose message the error is
    /// (`internal/lg`).
    fn from_str(name: &str) -> Result<Self, String> {
        match name.to_lowercase().as_str() {
            "debug" => Ok(Self::Debug),
            "info" => Ok(Self::Info),
            "warn" => Ok(Self::Warn),
            "error" => Ok(Self::Error),
            "fatal" => Ok(Self::Fatal),
            _ => Err(format!("invalid log level '{name}' (debug, info, warn, error, fatal)")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_any_case() {
        for (name, want) in [
            ("debug", Some(Level::Debug)),
            ("InFo", Some(Level::Info)),
            ("WARN", Some(Level::Warn)),
            ("error", Some(Level::Error)),
            ("Fatal", Some(Level::Fatal)),
            ("warning", None),
            ("", None),
            (" info", None),
        ] {
            assert_eq!(name.parse().ok(), want, "{name:?}");
        }
    }
}
