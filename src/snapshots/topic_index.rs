//! The topics by name: a hash table that readers walk without a lock and that grows in small steps.
//!
//! A fixed number of shards, so that writers seldom meet and growing copies one shard's share of
//! pointers. Must not: know what a topic is. Writers of one shard wait for each other, readers for
//! nobody.

use std::ops::Deref;
use std::sync::Arc;

use ahash::RandomState;

use super::{CachedResponse, Topic};
use crate::protocol::names::TopicName;
use crate::published::Published;
use crate::published::epoch_table::{EpochTable, Hash64};

/// Shards. Each starts small, so that listing few topics visits little.
const SHARDS: usize = 256;

/// Where a listed topic is published.
#[derive(Debug)]
pub struct TopicSlot {
    hash: u64,
    name: TopicName,
    shown: Published<TopicSnapshot>,
}

/// A topic as it was published, and the answer that readers have made of it.
#[derive(Debug)]
pub struct TopicSnapshot {
    topic: Topic,
    answer: CachedResponse,
}

impl TopicSnapshot {
    fn new(topic: Topic) -> Self {
        Self { topic, answer: CachedResponse::default() }
    }

    /// The answer to a lookup of it.
    #[must_use]
    pub fn answer(&self) -> &CachedResponse {
        &self.answer
    }
}

impl Deref for TopicSnapshot {
    type Target = Topic;

    fn deref(&self) -> &Topic {
        &self.topic
    }
}

impl TopicSlot {
    /// The topic's name.
    #[must_use]
    pub fn name(&self) -> &TopicName {
        &self.name
    }

    /// Reads the topic as it was last published.
    pub fn read<R>(&self, read: impl FnOnce(&TopicSnapshot) -> R) -> R {
        self.shown.read(read)
    }

    /// Publishes the topic: for the registry, under the topic's lock.
    pub(crate) fn publish(&self, topic: Topic) {
        self.shown.publish(TopicSnapshot::new(topic));
    }
}

impl Hash64 for TopicSlot {
    fn hash64(&self) -> u64 {
        self.hash
    }
}

#[derive(Debug)]
pub(super) struct TopicIndex {
    hasher: RandomState,
    shards: Box<[EpochTable<TopicSlot>]>,
}

impl Default for TopicIndex {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            shards: std::iter::repeat_with(EpochTable::default).take(SHARDS).collect(),
        }
    }
}

impl TopicIndex {
    pub(super) fn find<R>(&self, name: &str, read: impl FnOnce(Option<&TopicSlot>) -> R) -> R {
        let hash = self.hasher.hash_one(name);
        self.shard(hash).find(hash, |slot| slot.name.as_str() == name, read)
    }

    pub(super) fn each(&self, mut visit: impl FnMut(&TopicSlot)) {
        self.shards.iter().for_each(|shard| shard.each(&mut visit));
    }

    /// Lists `topic` as `name`, which must not be listed.
    pub(super) fn insert(&self, name: TopicName, topic: Topic) -> Arc<TopicSlot> {
        let hash = self.hasher.hash_one(name.as_str());
        let slot =
            Arc::new(TopicSlot { hash, name, shown: Published::new(TopicSnapshot::new(topic)) });
        self.shard(hash).insert(Arc::clone(&slot));
        slot
    }

    /// Takes a topic off the list, if it is there.
    pub(super) fn remove(&self, name: &str) {
        let hash = self.hasher.hash_one(name);
        self.shard(hash).remove(hash, |slot| slot.name.as_str() == name);
    }

    /// By the high bits: the low ones find the place in the shard.
    fn shard(&self, hash: u64) -> &EpochTable<TopicSlot> {
        &self.shards[usize::try_from(hash >> 56).expect("a byte")]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn what_is_inserted_is_found_and_listed_once_in_every_shard() {
        let index = TopicIndex::default();
        let count = SHARDS * 20;
        let name = |number| TopicName::new(&format!("t{number}")).expect("valid");
        for number in 0..count {
            index.insert(name(number), Topic::default());
        }
        for number in (0..count).step_by(3) {
            index.remove(name(number).as_str());
            index.remove("not there");
        }
        let mut listed = BTreeSet::new();
        index.each(|slot| assert!(listed.insert(slot.name.to_string()), "{} twice", slot.name));
        for number in 0..count {
            let name = name(number);
            let found =
                index.find(name.as_str(), |slot| slot.is_some_and(|slot| slot.name == name));
            let there = number % 3 != 0;
            assert_eq!((found, listed.contains(name.as_str())), (there, there), "{name}");
        }
    }
}
