//! The operator's input: scenarios, durations, target addresses. It is validated here once; every
//! error is one line that says what to do.

pub(crate) mod builtin;
pub(crate) mod human_duration;
pub(crate) mod scenario;
pub(crate) mod target;

/// Why a command cannot run: one line that says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Error(pub(crate) String);

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// An [`Error`] with that line.
pub(crate) fn fail<T>(line: impl Into<String>) -> Result<T, Error> {
    Err(Error(line.into()))
}
