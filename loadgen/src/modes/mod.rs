//! What the program can be told to do, one room per command.
//!
//! Must not: speak the protocol; the actors do.

pub(crate) mod calibrate;
pub(crate) mod collect;
pub(crate) mod compare;
pub(crate) mod environment;
pub(crate) mod peak;
pub(crate) mod play;
pub(crate) mod process;
pub(crate) mod soak;
pub(crate) mod statics;
