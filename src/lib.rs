//! musterd: a thread-per-core, drop-in replacement for NSQ's nsqlookupd.

pub mod access;
pub mod api;
pub mod clock;
pub mod config;
pub mod connections;
pub mod cow_set;
pub mod daemon;
pub mod event_log;
pub mod handler;
pub mod hosts;
pub mod http1;
pub mod limits;
pub mod logging;
pub mod metrics;
pub mod protocol;
pub mod published;
pub mod registry;
pub mod resources;
pub mod session;
pub mod snapshots;
pub mod watchdog;
