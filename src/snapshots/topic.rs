//! A topic as a value: its producers, its channels with theirs, its tombstones.
//!
//! Must not: lock, publish or read a clock. The registry changes its own copy and publishes clones.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;

use super::Producer;
use crate::clock::Timestamp;
use crate::cow_set::CowSet;
use crate::protocol::names::ChannelName;

type Tombstones = Vec<(Arc<Producer>, Timestamp)>;

/// A topic at one moment. A clone is a few reference counts.
#[derive(Clone, Debug, Default)]
pub struct Topic {
    producers: CowSet<Arc<Producer>>,
    channels: CowSet<Arc<Channel>>,
    /// Nearly always none, and never many: when each tombstoned producer was tombstoned.
    tombstones: Option<Arc<Tombstones>>,
}

/// A channel of a topic at one moment.
#[derive(Clone, Debug)]
pub struct Channel {
    name: ChannelName,
    producers: CowSet<Arc<Producer>>,
}

impl Channel {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &ChannelName {
        &self.name
    }

    /// The nsqds that carry it, in an order that stands as long as they do.
    #[must_use]
    pub fn producers(&self) -> &CowSet<Arc<Producer>> {
        &self.producers
    }

    /// Whether `peer` carries it.
    #[must_use]
    pub fn has_producer(&self, peer: &Arc<Producer>) -> bool {
        self.producers.find(by_peer(peer)).is_some()
    }
}

/// The order of producers in a set: by where they live in memory, which costs no look at them.
fn by_peer(sought: &Arc<Producer>) -> impl Fn(&Arc<Producer>) -> Ordering {
    let sought = Arc::as_ptr(sought);
    move |peer| Arc::as_ptr(peer).cmp(&sought)
}

fn by_name(sought: &str) -> impl Fn(&Arc<Channel>) -> Ordering {
    move |channel| channel.name.as_str().cmp(sought)
}

impl Topic {
    /// The nsqds that carry it, in an order that stands as long as they do.
    #[must_use]
    pub fn producers(&self) -> &CowSet<Arc<Producer>> {
        &self.producers
    }

    /// Its channels, by name.
    #[must_use]
    pub fn channels(&self) -> &CowSet<Arc<Channel>> {
        &self.channels
    }

    /// The channel called `name`.
    #[must_use]
    pub fn channel(&self, name: &str) -> Option<&Arc<Channel>> {
        self.channels.find(by_name(name))
    }

    /// Whether `peer` carries it.
    #[must_use]
    pub fn has_producer(&self, peer: &Arc<Producer>) -> bool {
        self.producers.find(by_peer(peer)).is_some()
    }

    /// Whether any producer is tombstoned here at `now`.
    #[must_use]
    pub fn has_tombstones(&self, now: Timestamp, lifetime: Duration) -> bool {
        let tombstones = self.tombstones.as_deref();
        tombstones.is_some_and(|all| all.iter().any(|&(_, at)| now.since(at) < lifetime))
    }

    /// When `peer` was tombstoned here, if it was, however long ago.
    #[must_use]
    pub fn tombstoned_at(&self, peer: &Producer) -> Option<Timestamp> {
        let tombstones = self.tombstones.as_deref()?;
        tombstones.iter().find(|(who, _)| std::ptr::eq(&raw const **who, peer)).map(|&(_, at)| at)
    }

    /// Whether `peer` is tombstoned here at `now`.
    #[must_use]
    pub fn is_tombstoned(&self, peer: &Producer, now: Timestamp, lifetime: Duration) -> bool {
        self.tombstoned_at(peer).is_some_and(|at| now.since(at) < lifetime)
    }

    /// Adds a producer; whether it is new. Does not clear a tombstone.
    pub(crate) fn add_producer(&mut self, peer: &Arc<Producer>) -> bool {
        !self.has_producer(peer) && self.producers.insert(Arc::clone(peer), by_peer(peer))
    }

    /// Takes a producer and its tombstone out; whether it was there. Leaves its channels.
    pub(crate) fn remove_producer(&mut self, peer: &Arc<Producer>) -> bool {
        if let Some(tombstones) = &mut self.tombstones
            && tombstones.iter().any(|(who, _)| Arc::ptr_eq(who, peer))
        {
            Arc::make_mut(tombstones).retain(|(who, _)| !Arc::ptr_eq(who, peer));
        }
        self.producers.remove(by_peer(peer))
    }

    /// Adds a channel without producers; whether it is new.
    pub(crate) fn add_channel(&mut self, name: &ChannelName) -> bool {
        if self.channel(name.as_str()).is_some() {
            return false;
        }
        let channel = Channel { name: name.clone(), producers: CowSet::default() };
        self.channels.insert(Arc::new(channel), by_name(name.as_str()))
    }

    /// Takes a channel out, producers and all; whether it was there.
    pub(crate) fn remove_channel(&mut self, name: &str) -> bool {
        self.channels.remove(by_name(name))
    }

    /// Adds a channel with its first producer; there is none of that name.
    pub(crate) fn add_channel_with(&mut self, name: &ChannelName, peer: &Arc<Producer>) {
        let mut producers = CowSet::default();
        producers.insert(Arc::clone(peer), by_peer(peer));
        let channel = Channel { name: name.clone(), producers };
        self.channels.insert(Arc::new(channel), by_name(name.as_str()));
    }

    /// Adds a producer to a channel that is there; whether the producer is new.
    pub(crate) fn add_channel_producer(&mut self, name: &str, peer: &Arc<Producer>) -> bool {
        let Some(channel) = self.channel(name) else { return false };
        if channel.has_producer(peer) {
            return false;
        }
        let mut changed = Channel::clone(channel);
        changed.producers.insert(Arc::clone(peer), by_peer(peer));
        self.channels.insert(Arc::new(changed), by_name(name));
        true
    }

    /// Takes a producer out of a channel; whether it was there.
    pub(crate) fn remove_channel_producer(&mut self, name: &str, peer: &Arc<Producer>) -> bool {
        let Some(channel) = self.channel(name) else { return false };
        if !channel.has_producer(peer) {
            return false;
        }
        let mut changed = Channel::clone(channel);
        changed.producers.remove(by_peer(peer));
        self.channels.insert(Arc::new(changed), by_name(name));
        true
    }

    /// Tombstones at `now` every producer that is `node`; whether there was one.
    pub(crate) fn tombstone(&mut self, node: &str, now: Timestamp) -> bool {
        let hit: Vec<_> = self.producers.iter().filter(|peer| peer.is_node(node)).collect();
        if hit.is_empty() {
            return false;
        }
        let tombstones = Arc::make_mut(self.tombstones.get_or_insert_default());
        tombstones.retain(|(who, _)| !hit.iter().any(|peer| Arc::ptr_eq(who, peer)));
        tombstones.extend(hit.into_iter().map(|peer| (Arc::clone(peer), now)));
        true
    }
}
