//! NSQ's lookup protocol V1 without sockets: bytes to commands, responses to bytes.
//!
//! Must not: know a socket, the time, a log or the registry. The daemon, benches and tests use it.

pub mod decode;
pub mod encode;
pub mod host;
pub mod json;
pub mod names;
pub mod peer_info;
pub mod wrong_port;

/// The first bytes of a connection.
pub const MAGIC: &[u8; 4] = b"  V1";

/// The version of nsqlookupd whose behaviour is implemented; sent where NSQ's tools read a version.
pub const NSQ_VERSION: &str = "1.3.0";
