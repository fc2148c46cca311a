//! What the operator hands in: scenarios, spans of time, targets. All of it is checked here once,
//! and every refusal is one line that names the remedy.

pub(crate) mod scenario;
pub(crate) mod shipped;
pub(crate) mod span;
pub(crate) mod target;

/// Why the run cannot begin: one line, with the remedy in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused(pub(crate) String);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

/// A refusal from anything that prints.
pub(crate) fn refuse<T>(line: impl Into<String>) -> Result<T, Refused> {
    Err(Refused(line.into()))
}
