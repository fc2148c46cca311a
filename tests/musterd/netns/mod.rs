//! Faults that take a privilege or a tracer to make: cut links, failing accepts, shifted clocks.
//!
//! All are ignored by `cargo test`; `tests/slow faults` runs them, and says which it could not run.

mod accepts;
mod clocks;
mod links;
