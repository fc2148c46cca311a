//! The values of flags that take one of a few names.
//!
//! Must not: act on the choice. Runs on the main thread, at start.

use std::str::FromStr;

/// Which HTTP server answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpEngine {
    /// musterd's own, which keeps every limit.
    #[default]
    Builtin,
    /// `may_minihttp`: a benchmark baseline, not for a public port.
    Minihttp,
}

/// What runs the event loops of the TCP workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TcpRuntime {
    /// glommio where the kernel allows io_uring, else threads.
    #[default]
    Auto,
    /// glommio's executors, over io_uring.
    Glommio,
    /// Plain threads.
    Thread,
}

impl FromStr for HttpEngine {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "builtin" => Ok(Self::Builtin),
            "minihttp" => Ok(Self::Minihttp),
            _ => Err(format!("unknown HTTP engine '{name}' (builtin, minihttp)")),
        }
    }
}

impl FromStr for TcpRuntime {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "auto" => Ok(Self::Auto),
            "glommio" => Ok(Self::Glommio),
            "thread" => Ok(Self::Thread),
            _ => Err(format!("unknown TCP runtime '{name}' (auto, glommio, thread)")),
        }
    }
}
