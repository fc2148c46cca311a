//! The may host.

pub mod server;
