//! Faults that need root or strace: cut links, failing accepts, shifted clocks.
//!
//! `cargo test` ignores them; `tests/slow faults` runs them and reports which it could not run.

mod accepts;
mod clocks;
mod links;
