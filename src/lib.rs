//! musterd: a thread-per-core, drop-in replacement for NSQ's nsqlookupd.
//!
//! The program is `main.rs`; everything else is this library. It is public for the workspace's own
//! benches, fuzz targets and tests, as far as they use it, and is no stable API. In reading order:
//!
//! - values: [`limits`], [`clock`], [`protocol`] (the V1 commands), [`cow_set`];
//! - what readers and writers share: [`published`], [`snapshots`] (read), [`registry`] (write);
//! - connection handlers, which do no I/O: [`handler`] (their interface), [`session`] (TCP), [`http1`]
//!   and [`api`] (HTTP), with the `access` rules and the `proxy` header;
//! - event loops and the threads that run them: `listener`, `connections`, `hosts`, [`watchdog`];
//! - logs and metrics: [`logging`], `event_log`, [`metrics`];
//! - start and stop: [`config`], `resources`, [`daemon`].

mod access;
pub mod api;
pub mod clock;
pub mod config;
mod connections;
pub mod cow_set;
pub mod daemon;
mod event_log;
pub mod handler;
mod hosts;
pub mod http1;
pub mod limits;
mod listener;
pub mod logging;
pub mod memory;
pub mod metrics;
pub mod protocol;
mod proxy;
pub mod published;
mod reclaim;
pub mod registry;
mod resources;
pub mod session;
pub mod snapshots;
pub mod watchdog;
pub mod work;
