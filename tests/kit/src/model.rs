//! A model of the registry: NSQ's rules in the plainest code. The registry's tests and the simulation
//! compare musterd with it.
//!
//! Must not: batch, publish or be fast.

use std::collections::{BTreeMap, BTreeSet};

/// What a reader can see of a topic. `P` names an nsqd's connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen<P> {
    /// Those of the topic.
    pub producers: BTreeSet<P>,
    /// Those of each channel.
    pub channels: BTreeMap<String, BTreeSet<P>>,
    /// When each tombstoned producer was tombstoned, in Unix nanoseconds.
    pub tombstoned: BTreeMap<P, i64>,
}

/// Everything a reader can see, if all is published at once.
#[derive(Clone, Debug)]
pub struct Model<P> {
    /// By name.
    pub topics: BTreeMap<String, Seen<P>>,
    /// Every nsqd that has identified.
    pub clients: BTreeSet<P>,
}

impl<P> Default for Seen<P> {
    fn default() -> Self {
        Self { producers: BTreeSet::new(), channels: BTreeMap::new(), tombstoned: BTreeMap::new() }
    }
}

impl<P> Default for Model<P> {
    fn default() -> Self {
        Self { topics: BTreeMap::new(), clients: BTreeSet::new() }
    }
}

fn ephemeral(name: &str) -> bool {
    name.ends_with("#ephemeral")
}

impl<P: Copy + Ord> Model<P> {
    /// How many topics and channels there are.
    #[must_use]
    pub fn names(&self) -> usize {
        self.topics.values().map(|seen| 1 + seen.channels.len()).sum()
    }

    /// `REGISTER` of `peer`.
    pub fn register(&mut self, peer: P, topic: &str, channel: Option<&str>) {
        let seen = self.topics.entry(topic.to_owned()).or_default();
        seen.producers.insert(peer);
        if let Some(channel) = channel {
            seen.channels.entry(channel.to_owned()).or_default().insert(peer);
        }
    }

    /// `UNREGISTER` of `peer`.
    pub fn unregister(&mut self, peer: P, topic: &str, channel: Option<&str>) {
        let Some(seen) = self.topics.get_mut(topic) else { return };
        seen.channels.retain(|name, peers| {
            if channel.is_some_and(|channel| channel != name) {
                return true;
            }
            let is_named_or_left = peers.remove(&peer) || channel.is_some();
            !(is_named_or_left && peers.is_empty() && ephemeral(name))
        });
        if channel.is_none() {
            seen.producers.remove(&peer);
            seen.tombstoned.remove(&peer);
            if seen.producers.is_empty() && ephemeral(topic) {
                self.topics.remove(topic);
            }
        }
    }

    /// The connection of `peer` ends.
    pub fn leave(&mut self, peer: P) {
        self.clients.remove(&peer);
        for (topic, mut seen) in std::mem::take(&mut self.topics) {
            let was_there = seen.producers.remove(&peer);
            seen.tombstoned.remove(&peer);
            seen.channels.retain(|name, peers| {
                !(peers.remove(&peer) && peers.is_empty() && ephemeral(name))
            });
            if !(was_there && seen.producers.is_empty() && ephemeral(&topic)) {
                self.topics.insert(topic, seen);
            }
        }
    }

    /// Creates a topic, and a channel of it.
    pub fn create(&mut self, topic: &str, channel: Option<&str>) {
        let seen = self.topics.entry(topic.to_owned()).or_default();
        if let Some(channel) = channel {
            seen.channels.entry(channel.to_owned()).or_default();
        }
    }

    /// Removes a topic; whether it was there.
    pub fn delete_topic(&mut self, topic: &str) -> bool {
        self.topics.remove(topic).is_some()
    }

    /// Removes a channel; whether it was there.
    pub fn delete_channel(&mut self, topic: &str, channel: &str) -> bool {
        self.topics.get_mut(topic).is_some_and(|seen| seen.channels.remove(channel).is_some())
    }

    /// Tombstones at `now` those producers of a topic that are `node`.
    pub fn tombstone(&mut self, topic: &str, node: impl Fn(P) -> bool, now: i64) {
        let Some(seen) = self.topics.get_mut(topic) else { return };
        for &peer in seen.producers.iter().filter(|&&peer| node(peer)) {
            seen.tombstoned.insert(peer, now);
        }
    }
}
