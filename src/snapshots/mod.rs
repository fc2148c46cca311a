//! The read side of the registration DB: published topics and nsqds, found without a lock.
//!
//! The HTTP API reads here; the registry alone publishes. The listed topics stand by name in hash
//! tables that readers search without a lock: a fixed number of stripes, so that writers seldom wait
//! and a table that grows copies the pointers of one stripe. Must not: import the registry, so that a
//! reader cannot reach a writer's lock; change or lock a topic. Writers of one stripe wait for each
//! other, readers for nobody. Any thread may read.

mod cached_response;
mod nodes;
mod producer;
mod topic;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ahash::RandomState;

pub use cached_response::{CacheBudget, CachedResponse};
pub use nodes::{ChangedStripes, Nodes};
pub use producer::Producer;
pub use topic::{Channel, Topic, Visibility};

use crate::cow_set::CowSet;
use crate::protocol::names::TopicName;
use crate::published::Published;
use crate::published::epoch_table::{EpochTable, StoredHash};
use crate::reclaim::{self, Garbage};

/// Each starts with a small table, so that a walk over few topics visits few cells; so many that one
/// of them grows within 1 ms where there are 5,000,000 topics. A power of two.
const STRIPES: usize = 1024;

/// Cells of a table that one step of a walk looks at.
const CELLS_AT_ONCE: usize = 64;

/// Where a walk over all topics goes on: between two steps it holds nothing. It begins with the
/// default.
#[derive(Clone, Copy, Debug, Default)]
pub struct TopicCursor {
    stripe: usize,
    /// The lowest hash that was not visited.
    hash: u64,
}

/// Everything that the HTTP API reads.
#[derive(Debug)]
pub struct Snapshots {
    hasher: RandomState,
    /// The listed topics, in stripes.
    topics: Box<[EpochTable<PublishedTopic>]>,
    nodes: Nodes,
    cache_budget: Arc<CacheBudget>,
}

/// A listed topic: its name, and the topic as it was last published, with the body of a `/lookup`
/// that readers have rendered from it.
#[derive(Debug)]
pub struct PublishedTopic {
    hash: u64,
    name: TopicName,
    snapshot: Published<Snapshot>,
}

#[derive(Debug)]
struct Snapshot {
    value: (Topic, CachedResponse),
    /// How many changes the next version has that this one has not: what of this one is its own, and
    /// is freed with it.
    replaced: AtomicU32,
}

impl Snapshot {
    fn new(topic: Topic) -> Self {
        Self { value: (topic, CachedResponse::default()), replaced: AtomicU32::new(0) }
    }
}

/// Changes from one version to the next from which on the old one is freed on another thread.
const MANY_CHANGES: u32 = 64;

/// An old version of a topic, with what no other version shares.
struct OldVersion(#[expect(dead_code, reason = "it is dropped")] Topic);

impl Garbage for OldVersion {}

impl Drop for Snapshot {
    /// Many versions may be freed at once, whenever the last of their readers is gone.
    fn drop(&mut self) {
        if *self.replaced.get_mut() >= MANY_CHANGES && !reclaim::is_behind() {
            reclaim::free(OldVersion(std::mem::take(&mut self.value.0)));
        }
    }
}

impl Default for Snapshots {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            topics: std::iter::repeat_with(EpochTable::default).take(STRIPES).collect(),
            nodes: Nodes::default(),
            cache_budget: Arc::default(),
        }
    }
}

impl Snapshots {
    /// Reads the topic called `name` as it was last published, and the body that is cached for it;
    /// `None` when the topic is not listed.
    pub fn topic<R>(
        &self,
        name: &str,
        read: impl FnOnce(Option<&(Topic, CachedResponse)>) -> R,
    ) -> R {
        let hash = self.hasher.hash_one(name);
        let is = |topic: &PublishedTopic| topic.name.as_str() == name;
        self.stripe(hash).find(hash, is, |topic| match topic {
            Some(topic) => topic.snapshot.read(|snapshot| read(Some(&snapshot.value))),
            None => read(None),
        })
    }

    /// Visits every listed topic, in no order. A topic that is listed or unlisted meanwhile may be
    /// visited or not; every other one is visited once.
    pub fn each_topic(&self, mut visit: impl FnMut(&TopicName, &Topic)) {
        let mut visit = |topic: &PublishedTopic| {
            topic.snapshot.read(|snapshot| visit(&topic.name, &snapshot.value.0));
        };
        self.topics.iter().for_each(|stripe| stripe.each(&mut visit));
    }

    /// Gives the names of some listed topics to `names`, and moves the cursor behind them; returns
    /// whether there are more. Every topic that is listed from the first call to the last is given
    /// once, whatever happens to others meanwhile.
    pub fn names_from(&self, cursor: &mut TopicCursor, names: &mut Vec<TopicName>) -> bool {
        let Some(stripe) = self.topics.get(cursor.stripe) else { return false };
        let next = stripe.each_from(cursor.hash, CELLS_AT_ONCE, |topic| {
            names.push(topic.name.clone());
        });
        match next {
            Some(hash) => cursor.hash = hash,
            None => *cursor = TopicCursor { stripe: cursor.stripe + 1, hash: 0 },
        }
        cursor.stripe < STRIPES
    }

    /// How many parts the set of nsqds has, for [`Snapshots::nodes_of`].
    #[must_use]
    pub fn node_parts(&self) -> usize {
        self.nodes.parts()
    }

    /// The connected nsqds of one part: an nsqd is in the same part as long as it is connected.
    #[must_use]
    pub fn nodes_of(&self, part: usize) -> CowSet<Arc<Producer>> {
        self.nodes.of(part)
    }

    /// Visits every nsqd that has identified itself and is connected, in no order.
    pub fn each_node(&self, mut visit: impl FnMut(&Arc<Producer>)) {
        self.nodes.each(&mut visit);
    }

    /// The same, with this much memory for cached responses, in bytes. It is empty.
    #[must_use]
    pub fn caching(self, max: usize) -> Self {
        Self { cache_budget: Arc::new(CacheBudget::new(max)), ..self }
    }

    /// The memory that all cached responses share.
    #[must_use]
    pub fn cache_budget(&self) -> &Arc<CacheBudget> {
        &self.cache_budget
    }

    /// Lists a topic that is not listed. The registry publishes into what is returned from then on.
    pub(crate) fn list(&self, name: TopicName, topic: Topic) -> Arc<PublishedTopic> {
        let hash = self.hasher.hash_one(name.as_str());
        let snapshot = Published::new(Snapshot::new(topic));
        let topic = Arc::new(PublishedTopic { hash, name, snapshot });
        self.stripe(hash).insert(Arc::clone(&topic));
        topic
    }

    /// Removes a topic from the list, for the registry, if it is there.
    pub(crate) fn unlist(&self, name: &str) {
        let hash = self.hasher.hash_one(name);
        self.stripe(hash).remove(hash, |topic| topic.name.as_str() == name);
    }

    /// The nsqds, for the registry.
    pub(crate) fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    /// Chosen by the low bits of the hash: the high ones choose the cell in the table.
    fn stripe(&self, hash: u64) -> &EpochTable<PublishedTopic> {
        &self.topics[usize::try_from(hash % STRIPES as u64).expect("less than STRIPES")]
    }
}

impl PublishedTopic {
    /// Publishes the topic, which has so many `changes`, with nothing cached. The registry calls it
    /// under the topic's lock.
    pub(crate) fn publish(&self, topic: Topic, changes: u32) {
        let tell = |old: &Snapshot| old.replaced.store(changes, Ordering::Relaxed);
        self.snapshot.replace(Snapshot::new(topic), tell);
    }
}

impl StoredHash for PublishedTopic {
    fn stored_hash(&self) -> u64 {
        self.hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::names::ChannelName;
    use std::collections::BTreeSet;

    #[test]
    fn an_inserted_topic_is_found_and_listed_once_in_every_stripe() {
        let snapshots = Snapshots::default();
        let count = STRIPES * 20;
        let name = |number| TopicName::new(&format!("t{number}")).expect("valid");
        for number in 0..count {
            // The channel tells the topic from all others.
            let (name, mut topic) = (name(number), Topic::default());
            topic.add_channel(&ChannelName::new(name.as_str()).expect("valid"));
            snapshots.list(name, topic);
        }
        for number in (0..count).step_by(3) {
            snapshots.unlist(name(number).as_str());
            snapshots.unlist("not there");
        }
        let mut listed = BTreeSet::new();
        snapshots.each_topic(|name, _| assert!(listed.insert(name.to_string()), "{name} twice"));
        for number in 0..count {
            let name = name(number);
            let found = snapshots.topic(name.as_str(), |topic| {
                topic.is_some_and(|(topic, _)| topic.channel(name.as_str()).is_some())
            });
            let expected = number % 3 != 0;
            assert_eq!((found, listed.contains(name.as_str())), (expected, expected), "{name}");
        }
    }
}
