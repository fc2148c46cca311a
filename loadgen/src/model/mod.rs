//! The plan of a run, generated from a scenario and a seed, and the oracle, which records what the
//! actors have registered and checks responses against it.
//!
//! Must not: touch a socket or a clock.

pub(crate) mod names;
pub(crate) mod oracle;
pub(crate) mod plan;
pub(crate) mod rng;
