//! The read side of the registration DB: published topics and nsqds, found without a lock.
//!
//! The HTTP API reads here; the registry alone publishes. Must not: import the registry, so that a
//! reader cannot reach a writer's lock. Any thread may read.

mod cached_response;
mod nodes;
mod producer;
mod topic;
mod topic_index;

use std::sync::Arc;

pub use cached_response::{CacheBudget, CachedResponse};
pub use nodes::{ChangedStripes, Nodes};
pub use producer::Producer;
pub use topic::{Channel, Topic, Visibility};
pub use topic_index::{PublishedTopic, TopicSnapshot};

use crate::protocol::names::TopicName;
use topic_index::TopicIndex;

/// Everything that the HTTP API reads.
#[derive(Debug, Default)]
pub struct Snapshots {
    topics: TopicIndex,
    nodes: Nodes,
    cache_budget: Arc<CacheBudget>,
}

impl Snapshots {
    /// Reads the topic called `name` as it was last published; `None` when it is not listed.
    pub fn topic<R>(&self, name: &str, read: impl FnOnce(Option<&TopicSnapshot>) -> R) -> R {
        self.topics.find(name, |topic| match topic {
            Some(topic) => topic.read(|snapshot| read(Some(snapshot))),
            None => read(None),
        })
    }

    /// Visits every listed topic, in no order. A topic that is listed or unlisted meanwhile may be
    /// visited or not; every other one is visited once.
    pub fn each_topic(&self, mut visit: impl FnMut(&TopicName, &Topic)) {
        self.topics.each(|topic| topic.read(|snapshot| visit(topic.name(), snapshot)));
    }

    /// Visits every nsqd that has identified itself and is connected, in no order.
    pub fn each_node(&self, mut visit: impl FnMut(&Arc<Producer>)) {
        self.nodes.each(&mut visit);
    }

    /// The memory that all cached responses share.
    #[must_use]
    pub fn cache_budget(&self) -> &Arc<CacheBudget> {
        &self.cache_budget
    }

    /// Lists a topic that is not listed. The registry publishes into what is returned from then on.
    pub(crate) fn list(&self, name: TopicName, topic: Topic) -> Arc<PublishedTopic> {
        self.topics.insert(name, topic)
    }

    /// Removes a topic from the list, for the registry.
    pub(crate) fn unlist(&self, name: &str) {
        self.topics.remove(name);
    }

    /// The nsqds, for the registry.
    pub(crate) fn nodes(&self) -> &Nodes {
        &self.nodes
    }
}
