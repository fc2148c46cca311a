//! The listed topics by name, in hash tables that readers search without a lock.
//!
//! A fixed number of stripes, so that writers seldom wait and a table that grows copies the pointers
//! of one stripe. Must not: change or lock a topic. Writers of one stripe wait for each other,
//! readers for nobody.

use std::ops::Deref;
use std::sync::Arc;

use ahash::RandomState;

use super::{CachedResponse, Topic};
use crate::protocol::names::TopicName;
use crate::published::Published;
use crate::published::epoch_table::{EpochTable, StoredHash};

/// Each starts with a small table, so that a walk over few topics visits few cells.
const STRIPES: usize = 256;

/// A listed topic: its name, and its latest snapshot.
#[derive(Debug)]
pub struct PublishedTopic {
    hash: u64,
    name: TopicName,
    snapshot: Published<TopicSnapshot>,
}

/// A topic as it was published, and the body of a `/lookup` that readers have rendered from it.
#[derive(Debug)]
pub struct TopicSnapshot {
    topic: Topic,
    cached_response: CachedResponse,
}

impl TopicSnapshot {
    fn new(topic: Topic) -> Self {
        Self { topic, cached_response: CachedResponse::default() }
    }

    /// The body of a `/lookup` of it, once one was stored.
    #[must_use]
    pub fn cached_response(&self) -> &CachedResponse {
        &self.cached_response
    }
}

impl Deref for TopicSnapshot {
    type Target = Topic;

    fn deref(&self) -> &Topic {
        &self.topic
    }
}

impl PublishedTopic {
    /// The topic's name.
    #[must_use]
    pub fn name(&self) -> &TopicName {
        &self.name
    }

    /// Reads the topic as it was last published.
    pub fn read<R>(&self, read: impl FnOnce(&TopicSnapshot) -> R) -> R {
        self.snapshot.read(read)
    }

    /// Publishes the topic. The registry calls it under the topic's lock.
    pub(crate) fn publish(&self, topic: Topic) {
        self.snapshot.publish(TopicSnapshot::new(topic));
    }
}

impl StoredHash for PublishedTopic {
    fn stored_hash(&self) -> u64 {
        self.hash
    }
}

#[derive(Debug)]
pub(super) struct TopicIndex {
    hasher: RandomState,
    stripes: Box<[EpochTable<PublishedTopic>]>,
}

impl Default for TopicIndex {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            stripes: std::iter::repeat_with(EpochTable::default).take(STRIPES).collect(),
        }
    }
}

impl TopicIndex {
    pub(super) fn find<R>(&self, name: &str, read: impl FnOnce(Option<&PublishedTopic>) -> R) -> R {
        let hash = self.hasher.hash_one(name);
        self.stripe(hash).find(hash, |topic| topic.name.as_str() == name, read)
    }

    pub(super) fn each(&self, mut visit: impl FnMut(&PublishedTopic)) {
        self.stripes.iter().for_each(|stripe| stripe.each(&mut visit));
    }

    /// Lists `topic` as `name`, which must not be listed.
    pub(super) fn insert(&self, name: TopicName, topic: Topic) -> Arc<PublishedTopic> {
        let hash = self.hasher.hash_one(name.as_str());
        let snapshot = Published::new(TopicSnapshot::new(topic));
        let topic = Arc::new(PublishedTopic { hash, name, snapshot });
        self.stripe(hash).insert(Arc::clone(&topic));
        topic
    }

    /// Removes a topic from the list, if it is there.
    pub(super) fn remove(&self, name: &str) {
        let hash = self.hasher.hash_one(name);
        self.stripe(hash).remove(hash, |topic| topic.name.as_str() == name);
    }

    /// Chosen by the high bits of the hash: the low ones choose the cell in the table.
    fn stripe(&self, hash: u64) -> &EpochTable<PublishedTopic> {
        &self.stripes[usize::try_from(hash >> 56).expect("a byte")]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn an_inserted_topic_is_found_and_listed_once_in_every_stripe() {
        let index = TopicIndex::default();
        let count = STRIPES * 20;
        let name = |number| TopicName::new(&format!("t{number}")).expect("valid");
        for number in 0..count {
            index.insert(name(number), Topic::default());
        }
        for number in (0..count).step_by(3) {
            index.remove(name(number).as_str());
            index.remove("not there");
        }
        let mut listed = BTreeSet::new();
        index.each(|topic| assert!(listed.insert(topic.name.to_string()), "{} twice", topic.name));
        for number in 0..count {
            let name = name(number);
            let found =
                index.find(name.as_str(), |topic| topic.is_some_and(|topic| topic.name == name));
            let expected = number % 3 != 0;
            assert_eq!((found, listed.contains(name.as_str())), (expected, expected), "{name}");
        }
    }
}
