//! The bodies of a lookupd's answers, as JSON. A field that is missing, there twice or unknown makes
//! a body invalid.
//!
//! Must not: judge their values.

use std::borrow::Cow;

use serde::Deserialize;

/// `GET /lookup`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lookup<'a> {
    #[serde(borrow)]
    pub(crate) channels: Vec<Cow<'a, str>>,
    #[serde(borrow)]
    pub(crate) producers: Vec<Producer<'a>>,
}

/// A producer in a lookup.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Producer<'a> {
    #[serde(borrow)]
    pub(crate) remote_address: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) hostname: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) broadcast_address: Cow<'a, str>,
    pub(crate) tcp_port: u16,
    pub(crate) http_port: u16,
    #[serde(borrow)]
    pub(crate) version: Cow<'a, str>,
    /// Versions of nsqlookupd after 1.3 have both; no nsqd of the fleet gives them.
    #[serde(default, borrow)]
    pub(crate) topology_zone: Cow<'a, str>,
    #[serde(default, borrow)]
    pub(crate) topology_region: Cow<'a, str>,
}

/// `GET /nodes`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nodes<'a> {
    #[serde(borrow)]
    pub(crate) producers: Vec<Node<'a>>,
}

/// A producer in `/nodes`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Node<'a> {
    #[serde(borrow)]
    remote_address: Cow<'a, str>,
    #[serde(borrow)]
    hostname: Cow<'a, str>,
    #[serde(borrow)]
    broadcast_address: Cow<'a, str>,
    tcp_port: u16,
    http_port: u16,
    #[serde(borrow)]
    version: Cow<'a, str>,
    #[serde(default, borrow)]
    topology_zone: Cow<'a, str>,
    #[serde(default, borrow)]
    topology_region: Cow<'a, str>,
    pub(crate) tombstones: Vec<bool>,
    #[serde(borrow)]
    pub(crate) topics: Vec<Cow<'a, str>>,
}

impl<'a> Node<'a> {
    /// What a lookup would show of it, and its topics with their tombstones.
    pub(crate) fn split(self) -> (Producer<'a>, Vec<Cow<'a, str>>, Vec<bool>) {
        let producer = Producer {
            remote_address: self.remote_address,
            hostname: self.hostname,
            broadcast_address: self.broadcast_address,
            tcp_port: self.tcp_port,
            http_port: self.http_port,
            version: self.version,
            topology_zone: self.topology_zone,
            topology_region: self.topology_region,
        };
        (producer, self.topics, self.tombstones)
    }
}

/// `GET /topics`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Topics<'a> {
    #[serde(borrow)]
    pub(crate) topics: Vec<Cow<'a, str>>,
}

/// `GET /channels`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Channels<'a> {
    #[serde(borrow)]
    pub(crate) channels: Vec<Cow<'a, str>>,
}

/// Every answer that is an error.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Message<'a> {
    #[serde(borrow)]
    pub(crate) message: Cow<'a, str>,
}

/// The reply to IDENTIFY.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identified<'a> {
    pub(crate) tcp_port: u16,
    pub(crate) http_port: u16,
    #[serde(borrow)]
    pub(crate) version: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) hostname: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) broadcast_address: Cow<'a, str>,
}
