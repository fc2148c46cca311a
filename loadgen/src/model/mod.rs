//! What is played and what is true: the plan drawn from a scenario and a seed, and the record of
//! what the actors know they registered.
//!
//! Must not: touch a socket or a clock.

pub(crate) mod plan;
pub(crate) mod rng;
pub(crate) mod truth;
