//! One nsqd as everybody sees it: what it said of itself, and when it was last heard.
//!
//! Must not: know what it has registered; that is the topics' to know. Shared by all threads.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::protocol::json;
use crate::protocol::peer_info::PeerInfo;

/// An nsqd that has identified itself, for as long as its connection lasts. Two are the same if
/// they are the same allocation: an nsqd that reconnects is another peer.
#[derive(Debug)]
pub struct Producer {
    address: SocketAddr,
    identity: PeerInfo,
    json: Box<[u8]>,
    /// Unix nanoseconds. Relaxed everywhere: it orders nothing but itself.
    last_update: AtomicI64,
}

impl Producer {
    /// The nsqd at `address`, which said `identity` at `now`.
    #[must_use]
    pub fn new(address: SocketAddr, identity: PeerInfo, now: Timestamp) -> Arc<Self> {
        let mut json = b"{\"remote_address\":".to_vec();
        json::write_string(&address.to_string(), &mut json);
        json.push(b',');
        identity.write_fields(&mut json);
        let last_update = AtomicI64::new(now.unix_nanos());
        Arc::new(Self { address, identity, json: json.into(), last_update })
    }

    /// Its socket's address: its `remote_address` and its id.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it said of itself.
    #[must_use]
    pub fn peer_info(&self) -> &PeerInfo {
        &self.identity
    }

    /// The JSON object of a `/lookup` producer, without the closing brace, so that `/nodes` can
    /// go on: `{"remote_address":…,"hostname":…,…,"version":…`. Encoded once.
    #[must_use]
    pub fn json(&self) -> &[u8] {
        &self.json
    }

    /// When it last identified or pinged.
    #[must_use]
    pub fn last_update(&self) -> Timestamp {
        Timestamp::from_unix_nanos(self.last_update.load(Ordering::Relaxed))
    }

    /// It was heard at `now`. Publishes nothing.
    pub fn update(&self, now: Timestamp) {
        self.last_update.store(now.unix_nanos(), Ordering::Relaxed);
    }

    /// Whether it has been heard within `inactive_timeout` before `now`.
    #[must_use]
    pub fn is_active(&self, now: Timestamp, inactive_timeout: Duration) -> bool {
        now.since(self.last_update()) <= inactive_timeout
    }

    /// Whether `node` is its `broadcast_address:http_port`, as tombstones name it.
    #[must_use]
    pub fn is_node(&self, node: &str) -> bool {
        node.strip_prefix(&*self.identity.broadcast_address)
            .and_then(|rest| rest.strip_prefix(':'))
            .is_some_and(|port| port == self.identity.http_port.to_string())
    }
}
