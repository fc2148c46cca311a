//! The commands of the program, one module for each, and what they share: a run (`run`,
//! `collector`), the target's process (`process`), the machine (`environment`).
//!
//! Must not: speak the protocol (the actors do) or print.

pub(crate) mod calibrate;
pub(crate) mod collector;
pub(crate) mod compare;
pub(crate) mod environment;
pub(crate) mod hostile;
pub(crate) mod peak;
pub(crate) mod process;
pub(crate) mod run;
pub(crate) mod self_comparison;
pub(crate) mod soak;
pub(crate) mod static_server;
pub(crate) mod stored;
