//! What readers see: published topics and nsqds, found without a lock.
//!
//! Must not: import the registry, so that a reader cannot reach a lock of a writer. Any thread may
//! read. The registry alone publishes.

mod cached_response;
mod nodes;
mod producer;
mod topic;
mod topic_index;

use std::sync::Arc;

pub use cached_response::{CacheBudget, CachedResponse};
pub use nodes::{Nodes, Shards};
pub use producer::Producer;
pub use topic::{Channel, Topic};
pub use topic_index::{TopicSlot, TopicSnapshot};

use crate::protocol::names::TopicName;
use topic_index::TopicIndex;

/// Everything a lookup can ask about.
#[derive(Debug, Default)]
pub struct Snapshots {
    topics: TopicIndex,
    clients: Nodes,
    room: Arc<CacheBudget>,
}

impl Snapshots {
    /// Reads the topic called `name`, as it was last published, if it is listed.
    pub fn topic<R>(&self, name: &str, read: impl FnOnce(Option<&TopicSnapshot>) -> R) -> R {
        self.topics.find(name, |slot| match slot {
            Some(slot) => slot.read(|shown| read(Some(shown))),
            None => read(None),
        })
    }

    /// Visits every listed topic, in no order. A topic that comes or goes meanwhile may be
    /// visited or not; all others are, once.
    pub fn each_topic(&self, mut visit: impl FnMut(&TopicName, &Topic)) {
        self.topics.each(|slot| slot.read(|topic| visit(slot.name(), topic)));
    }

    /// Visits every nsqd that has identified and is connected, in no order.
    pub fn each_node(&self, mut visit: impl FnMut(&Arc<Producer>)) {
        self.clients.each(&mut visit);
    }

    /// What kept answers may take.
    #[must_use]
    pub fn room(&self) -> &Arc<CacheBudget> {
        &self.room
    }

    /// Lists a topic, which must not be listed: for the registry. It publishes into the slot from
    /// then on.
    pub(crate) fn list(&self, name: TopicName, topic: Topic) -> Arc<TopicSlot> {
        self.topics.insert(name, topic)
    }

    /// Takes a topic off the list: for the registry.
    pub(crate) fn unlist(&self, name: &str) {
        self.topics.remove(name);
    }

    /// The nsqds: for the registry.
    pub(crate) fn clients(&self) -> &Nodes {
        &self.clients
    }
}
