//! musterd: a thread-per-core, drop-in replacement for NSQ's nsqlookupd.

pub mod access;
pub mod clock;
pub mod config;
pub mod connections;
pub mod daemon;
pub mod directory;
pub mod flow;
pub mod http;
pub mod journal;
pub mod limits;
pub mod logging;
pub mod metrics;
pub mod preflight;
pub mod protocol;
pub mod published;
pub mod registry;
pub mod session;
pub mod shard;
pub mod sorted;
pub mod stripes;
pub mod watch;
