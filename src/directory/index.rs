//! The topics by name: a hash table that readers walk without a lock and that grows in small steps.
//!
//! A fixed number of shards; each a table of buckets that doubles; each bucket published by
//! itself. Adding a topic copies one bucket of a few; doubling, one shard's share of the topics.
//! Must not: know what a topic is. Writers of one shard wait for each other, readers for nobody.

use std::sync::{Arc, Mutex, PoisonError};

use ahash::RandomState;

use super::Topic;
use crate::protocol::names::TopicName;
use crate::published::Published;

/// Shards. Each starts with one bucket, so that listing few topics visits little.
const SHARDS: usize = 256;
/// A shard with more topics than this per bucket doubles its buckets.
const LOAD: usize = 4;

/// Where a listed topic is published.
#[derive(Debug)]
pub struct Slot {
    name: TopicName,
    topic: Published<Topic>,
}

impl Slot {
    /// A slot for the topic called `name`, which shows an empty topic.
    pub(crate) fn new(name: TopicName) -> Arc<Self> {
        Arc::new(Self { name, topic: Published::new(Topic::default()) })
    }

    /// The topic's name.
    #[must_use]
    pub fn name(&self) -> &TopicName {
        &self.name
    }

    /// Reads the topic as it was last published.
    pub fn read<R>(&self, read: impl FnOnce(&Topic) -> R) -> R {
        self.topic.read(read)
    }

    /// Publishes the topic: for the registry, under the topic's lock.
    pub(crate) fn publish(&self, topic: Topic) {
        self.topic.publish(topic);
    }
}

type Bucket = Vec<Arc<Slot>>;
type Table = Box<[Published<Bucket>]>;

#[derive(Debug)]
pub(super) struct Index {
    hasher: RandomState,
    shards: Box<[Shard]>,
}

#[derive(Debug)]
struct Shard {
    /// How many topics; the lock of this shard's writers.
    len: Mutex<usize>,
    table: Published<Table>,
}

impl Default for Index {
    fn default() -> Self {
        let shard = || Shard { len: Mutex::new(0), table: Published::new(table(vec![Vec::new()])) };
        Self {
            hasher: RandomState::new(),
            shards: std::iter::repeat_with(shard).take(SHARDS).collect(),
        }
    }
}

fn table(buckets: Vec<Bucket>) -> Table {
    buckets.into_iter().map(Published::new).collect()
}

impl Index {
    pub(super) fn find<R>(&self, name: &str, read: impl FnOnce(Option<&Slot>) -> R) -> R {
        let hash = self.hash(name);
        self.shard(hash).table.read(|table| {
            bucket(table, hash).read(|bucket| {
                read(bucket.iter().find(|slot| slot.name.as_str() == name).map(|slot| &**slot))
            })
        })
    }

    pub(super) fn each(&self, mut visit: impl FnMut(&Slot)) {
        for shard in &self.shards {
            shard.table.read(|table| {
                for bucket in table {
                    bucket.read(|bucket| bucket.iter().for_each(|slot| visit(slot)));
                }
            });
        }
    }

    /// Puts a slot in, which must not be there.
    pub(super) fn insert(&self, slot: Arc<Slot>) {
        let hash = self.hash(slot.name.as_str());
        let shard = self.shard(hash);
        let mut len = shard.len.lock().unwrap_or_else(PoisonError::into_inner);
        *len += 1;
        let grown = shard.table.read(|table| {
            let bucket = bucket(table, hash);
            let more = bucket.read(|slots| slots.iter().cloned().chain([slot]).collect());
            bucket.publish(more);
            (*len > table.len() * LOAD).then(|| self.doubled(table))
        });
        if let Some(grown) = grown {
            shard.table.publish(grown);
        }
    }

    /// Takes a slot out, if it is there.
    pub(super) fn remove(&self, name: &str) {
        let hash = self.hash(name);
        let shard = self.shard(hash);
        let mut len = shard.len.lock().unwrap_or_else(PoisonError::into_inner);
        shard.table.read(|table| {
            let bucket = bucket(table, hash);
            let mut slots = bucket.read(Bucket::clone);
            let Some(at) = slots.iter().position(|slot| slot.name.as_str() == name) else { return };
            slots.swap_remove(at);
            bucket.publish(slots);
            *len -= 1;
        });
    }

    /// The same topics in twice the buckets. Only a shard's writer may ask, so that nothing changes
    /// meanwhile.
    fn doubled(&self, old: &Table) -> Table {
        let mut buckets = vec![Vec::new(); old.len() * 2];
        let mask = buckets.len() - 1;
        for bucket in old {
            bucket.read(|slots| {
                for slot in slots {
                    let at = place(self.hash(slot.name.as_str()), mask);
                    buckets[at].push(Arc::clone(slot));
                }
            });
        }
        table(buckets)
    }

    fn hash(&self, name: &str) -> u64 {
        self.hasher.hash_one(name)
    }

    fn shard(&self, hash: u64) -> &Shard {
        &self.shards[place(hash >> 56, SHARDS - 1)]
    }
}

fn bucket(table: &Table, hash: u64) -> &Published<Bucket> {
    &table[place(hash, table.len() - 1)]
}

/// The low bits of `hash`; `mask` is a power of two less one.
fn place(hash: u64, mask: usize) -> usize {
    usize::try_from(hash & mask as u64).expect("no larger than the mask")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn slot(number: usize) -> Arc<Slot> {
        Slot::new(TopicName::new(&format!("t{number}")).expect("valid"))
    }

    #[test]
    fn what_is_inserted_is_found_and_listed_once_through_every_doubling() {
        let index = Index::default();
        let count = SHARDS * LOAD * 5;
        for number in 0..count {
            index.insert(slot(number));
        }
        for number in (0..count).step_by(3) {
            index.remove(&format!("t{number}"));
            index.remove("not there");
        }
        let mut listed = BTreeSet::new();
        index.each(|slot| assert!(listed.insert(slot.name.to_string()), "{} twice", slot.name));
        for number in 0..count {
            let name = format!("t{number}");
            let found =
                index.find(&name, |slot| slot.is_some_and(|slot| slot.name.as_str() == name));
            assert_eq!(
                (found, listed.contains(&name)),
                (number % 3 != 0, number % 3 != 0),
                "{name}"
            );
        }
    }
}
