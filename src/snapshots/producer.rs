//! One nsqd as readers see it: its IDENTIFY body, and when it was last heard.
//!
//! Must not: know what it has registered; topics know their producers. All threads share it.

use std::cmp::Ordering as Order;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::protocol::host::Node;
use crate::protocol::json;
use crate::protocol::peer_info::PeerInfo;

/// An nsqd that has identified itself, for as long as its connection lasts. Two are the same if
/// they are the same allocation: an nsqd that reconnects is another producer.
#[derive(Debug)]
pub struct Producer {
    address: SocketAddr,
    peer_info: PeerInfo,
    json: Box<[u8]>,
    /// Unix nanoseconds. Relaxed everywhere: it orders nothing but itself.
    last_update: AtomicI64,
}

impl Producer {
    /// The nsqd at `address`, which sent `peer_info` at `now`.
    #[must_use]
    pub fn new(address: SocketAddr, peer_info: PeerInfo, now: Timestamp) -> Arc<Self> {
        let mut json = Vec::new();
        json::write_field("{\"remote_address\":", &address.to_string(), &mut json);
        json.push(b',');
        peer_info.write_fields(&mut json);
        let last_update = AtomicI64::new(now.unix_nanos());
        Arc::new(Self { address, peer_info, json: json.into(), last_update })
    }

    /// Its socket's address: its `remote_address`, and in NSQ its id.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it sent in IDENTIFY.
    #[must_use]
    pub fn peer_info(&self) -> &PeerInfo {
        &self.peer_info
    }

    /// The JSON object of a `/lookup` producer without the closing brace, so that `/nodes` can
    /// append to it: `{"remote_address":…,"hostname":…,…,"version":…`. Encoded once.
    #[must_use]
    pub fn json(&self) -> &[u8] {
        &self.json
    }

    /// When it last sent IDENTIFY or PING.
    #[must_use]
    pub fn last_update(&self) -> Timestamp {
        Timestamp::from_unix_nanos(self.last_update.load(Ordering::Relaxed))
    }

    /// It was heard at `now`. Publishes nothing: readers load the time themselves.
    pub fn update(&self, now: Timestamp) {
        self.last_update.store(now.unix_nanos(), Ordering::Relaxed);
    }

    /// Whether it was heard within `inactive_timeout` before `now`.
    #[must_use]
    pub fn is_active(&self, now: Timestamp, inactive_timeout: Duration) -> bool {
        now.since(self.last_update()) <= inactive_timeout
    }

    /// Whether it is `node`, in whatever spelling. Divergence: nsqlookupd compares text, so that
    /// nsqadmin cannot tombstone an nsqd with an IPv6 address.
    #[must_use]
    pub fn is_node(&self, node: &Node<'_>) -> bool {
        Node::new(&self.peer_info.broadcast_address, self.peer_info.http_port) == *node
    }
}

/// The order of producers in a [`CowSet`](crate::cow_set::CowSet): by their address in memory, which
/// needs no read of the producers compared.
pub(super) fn by_address(sought: &Arc<Producer>) -> impl Fn(&Arc<Producer>) -> Order + use<> {
    let sought = Arc::as_ptr(sought);
    move |producer| Arc::as_ptr(producer).cmp(&sought)
}
