//! The daemon from outside: a process, its two ports, its log and its exit code.
//!
//! One binary, so that it links once. Must not: reach into the library where a socket would do.

mod access;
mod conformance;
mod faults;
mod http_parity;
mod limits;
mod memory;
mod metrics;
mod netns;
mod process;
mod refused;
mod reports;
mod restart;
mod shutdown;
mod support;
mod tidy;
