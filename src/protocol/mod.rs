//! NSQ's lookup protocol V1 without sockets: bytes to commands, replies to bytes.
//!
//! Must not: know a socket, the time, a log or the registry. The daemon and `loadgen` share it.

pub mod decode;
pub mod encode;
pub mod json;
pub mod names;
pub mod peer_info;

/// What opens a conversation.
pub const MAGIC: &[u8; 4] = b"  V1";

/// The version of nsqlookupd whose behaviour this is, and which NSQ's tools read.
pub const NSQ_VERSION: &str = "1.3.0";
