//! The truth: which nsqd carries which topic and channel, and what of it is published.
//!
//! A sharded DashMap keyed by topic; a writer locks the one topic it changes and no other. Changes
//! collect in a [`Batch`] and [`Registry::commit`] publishes each changed topic once. Must not: know
//! sockets, sessions' bytes or HTTP; or let a DashMap guard out of a function. Any thread may call.

mod admin;
mod batch;
mod client;
mod metrics;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ahash::RandomState;
use dashmap::DashMap;
use dashmap::mapref::one::RefMut;

pub use admin::NoSuchChannel;
pub use batch::Batch;
pub use client::Client;

use crate::clock::Timestamp;
use crate::limits;
use crate::protocol::names::{ChannelName, TopicName};
use crate::protocol::peer_info::PeerInfo;
use crate::snapshots::{Producer, Snapshots, Topic, TopicSlot};

/// Shards of the map of topics: enough that writers seldom meet.
const SHARDS: usize = 256;

/// How much the registry takes.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    /// Registrations of all nsqds; topics and channels in all.
    pub registrations: usize,
    /// Registrations of one nsqd.
    pub per_peer: usize,
}

impl Default for Capacity {
    fn default() -> Self {
        Self { registrations: limits::REGISTRATIONS, per_peer: limits::REGISTRATIONS_PER_PEER }
    }
}

/// A change that was refused because the registry, or the nsqd's share of it, is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitReached {
    /// This nsqd has [`Capacity::per_peer`] registrations.
    Producer,
    /// All nsqds together have [`Capacity::registrations`], or there are as many names.
    Registry,
}

/// What a REGISTER or UNREGISTER changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// The peer came to, or left, the topic.
    pub topic: bool,
    /// How many channels of the topic it came to, or left.
    pub channels: usize,
}

/// All registrations.
#[derive(Debug)]
pub struct Registry {
    topics: DashMap<TopicName, TopicEntry, RandomState>,
    snapshots: Arc<Snapshots>,
    capacity: Capacity,
    /// Topics and channels that exist. Relaxed, like the others: bounds, exact when all is quiet.
    names: AtomicUsize,
    /// Topics that exist: as many of the `names`.
    topic_count: AtomicUsize,
    /// Registrations that nsqds hold.
    registrations: AtomicUsize,
}

/// A topic in the truth.
#[derive(Debug)]
struct TopicEntry {
    name: TopicName,
    /// The topic with every change.
    topic: Topic,
    /// Where it is published, once it is.
    slot: Option<Arc<TopicSlot>>,
    /// Whether `topic` has a change that the slot does not show.
    dirty: bool,
}

impl Registry {
    /// An empty registry that publishes into `snapshots`, which nobody else publishes into.
    #[must_use]
    pub fn new(snapshots: Arc<Snapshots>, capacity: Capacity) -> Self {
        Self {
            topics: DashMap::with_hasher_and_shard_amount(RandomState::new(), SHARDS),
            snapshots,
            capacity,
            names: AtomicUsize::new(0),
            topic_count: AtomicUsize::new(0),
            registrations: AtomicUsize::new(0),
        }
    }

    /// What readers see of it.
    #[must_use]
    pub fn snapshots(&self) -> &Arc<Snapshots> {
        &self.snapshots
    }

    /// How many topics and channels there are.
    #[must_use]
    pub fn names(&self) -> usize {
        self.names.load(Ordering::Relaxed)
    }

    /// How many registrations nsqds hold.
    #[must_use]
    pub fn registrations(&self) -> usize {
        self.registrations.load(Ordering::Relaxed)
    }

    /// An nsqd identified itself. It must [`Registry::leave`] in the end.
    #[must_use]
    pub fn identify(
        &self,
        batch: &mut Batch,
        address: SocketAddr,
        identity: PeerInfo,
        now: Timestamp,
    ) -> Client {
        let peer = Producer::new(address, identity, now);
        self.snapshots.clients().add(&peer, &mut batch.clients);
        Client::new(peer)
    }

    /// The nsqd carries a topic, and a channel of it. The names are valid.
    ///
    /// # Errors
    /// [`LimitReached`], and nothing has changed.
    ///
    /// # Panics
    /// When a name is not valid: the decoder gives none that is not.
    pub fn register(
        &self,
        batch: &mut Batch,
        client: &mut Client,
        topic: &str,
        channel: Option<&str>,
    ) -> Result<Changed, LimitReached> {
        let mut guard = self.entry(topic)?;
        let entry = &mut *guard;
        if let Err(full) = self.make_room(entry, client, channel) {
            drop(guard);
            self.drop_if(topic, TopicEntry::is_unused);
            return Err(full);
        }
        let new_channel =
            channel.and_then(|channel| add_channel(&mut entry.topic, channel, client));
        let changed = Changed {
            topic: entry.topic.add_producer(client.peer()),
            channels: usize::from(new_channel.is_some()),
        };
        if changed != Changed::default() {
            let held = client.hold(&entry.name, new_channel.as_ref());
            self.registrations.fetch_add(held, Ordering::Relaxed);
        }
        if changed != Changed::default() || entry.slot.is_none() {
            entry.mark(batch);
        }
        Ok(changed)
    }

    /// The nsqd no longer carries a channel, or without one a topic and all its channels. An
    /// ephemeral channel or topic that this leaves without producers goes.
    pub fn unregister(
        &self,
        batch: &mut Batch,
        client: &mut Client,
        topic: &str,
        channel: Option<&str>,
    ) -> Changed {
        // What an admin has deleted goes from the nsqd's own list too, or that would only grow.
        let released = client.release(topic, channel);
        self.registrations.fetch_sub(released, Ordering::Relaxed);
        let Some(mut guard) = self.topics.get_mut(topic) else { return Changed::default() };
        let entry = &mut *guard;
        let mut changed = Changed::default();
        let channels: Vec<ChannelName> = match channel {
            Some(name) => {
                entry.topic.channel(name).map(|known| known.name().clone()).into_iter().collect()
            }
            None => entry.topic.channels().iter().map(|known| known.name().clone()).collect(),
        };
        for name in channels {
            let left = entry.topic.remove_channel_producer(name.as_str(), client.peer());
            if self.drop_empty_channel(entry, name.as_str()) || left {
                entry.mark(batch);
            }
            changed.channels += usize::from(left);
        }
        if channel.is_none() {
            changed.topic = entry.topic.remove_producer(client.peer());
            if changed.topic {
                entry.mark(batch);
            }
            let gone = entry.is_leftover();
            drop(guard);
            if gone {
                self.drop_if(topic, TopicEntry::is_leftover);
            }
        }
        changed
    }

    /// The nsqd is gone: it leaves everything it registered. `left` is told each topic (and
    /// channel) it left.
    pub fn leave(
        &self,
        batch: &mut Batch,
        client: Client,
        mut left: impl FnMut(&TopicName, Option<&ChannelName>),
    ) {
        self.registrations.fetch_sub(client.registrations(), Ordering::Relaxed);
        let (peer, topics) = client.into_parts();
        for (topic, channels) in topics {
            let Some(mut guard) = self.topics.get_mut(&topic) else { continue };
            let entry = &mut *guard;
            let mut gone: Vec<&ChannelName> = Vec::new();
            for channel in channels.iter() {
                if entry.topic.remove_channel_producer(channel.as_str(), &peer) {
                    self.drop_empty_channel(entry, channel.as_str());
                    gone.push(channel);
                }
            }
            let was_there = entry.topic.remove_producer(&peer);
            if was_there || !gone.is_empty() {
                entry.mark(batch);
            }
            let is_leftover = was_there && entry.is_leftover();
            drop(guard);
            if is_leftover {
                self.drop_if(topic.as_str(), TopicEntry::is_leftover);
            }
            gone.into_iter().for_each(|channel| left(&topic, Some(channel)));
            if was_there {
                left(&topic, None);
            }
        }
        self.snapshots.clients().remove(&peer, &mut batch.clients);
    }

    /// Publishes what has changed in the batch. From here on every lookup sees it.
    pub fn commit(&self, batch: &mut Batch) {
        for name in batch.topics.drain(..) {
            if let Some(mut entry) = self.topics.get_mut(&name) {
                entry.publish(&self.snapshots);
            }
        }
        self.snapshots.clients().publish(&mut batch.clients);
    }

    /// The locked entry of a topic, made if there is none.
    fn entry(&self, topic: &str) -> Result<RefMut<'_, TopicName, TopicEntry>, LimitReached> {
        if let Some(entry) = self.topics.get_mut(topic) {
            return Ok(entry);
        }
        let name = TopicName::new(topic).expect("the decoder and the routes give valid names");
        match self.topics.entry(name.clone()) {
            dashmap::Entry::Occupied(entry) => Ok(entry.into_ref()),
            dashmap::Entry::Vacant(place) => {
                self.take_names(1)?;
                self.topic_count.fetch_add(1, Ordering::Relaxed);
                Ok(place.insert(TopicEntry::new(name)))
            }
        }
    }

    /// Takes an ephemeral channel without producers out of its topic. Returns whether it did.
    fn drop_empty_channel(&self, entry: &mut TopicEntry, name: &str) -> bool {
        // Divergence: nsqlookupd keeps ephemeral channels whose nsqd went without UNREGISTER.
        let gone = entry
            .topic
            .channel(name)
            .is_some_and(|channel| channel.name().is_ephemeral() && channel.producers().is_empty());
        if gone {
            entry.topic.remove_channel(name);
            self.names.fetch_sub(1, Ordering::Relaxed);
        }
        gone
    }

    /// Removes a topic that nothing keeps: `is_gone` is asked (again) under its lock.
    fn drop_if(&self, topic: &str, is_gone: impl Fn(&TopicEntry) -> bool) {
        // Divergence: nsqlookupd keeps ephemeral topics whose nsqd went without UNREGISTER.
        let removed = self.topics.remove_if_mut(topic, |_, entry| {
            let gone = is_gone(entry);
            if gone {
                self.snapshots.unlist(topic);
            }
            gone
        });
        if let Some((_, entry)) = removed {
            self.forget_names(&entry);
        }
    }

    /// A topic was removed: its name and those of its channels are free.
    fn forget_names(&self, entry: &TopicEntry) {
        self.topic_count.fetch_sub(1, Ordering::Relaxed);
        self.names.fetch_sub(entry.names(), Ordering::Relaxed);
    }

    /// Checks that what a REGISTER would add fits, and counts a new channel's name.
    fn make_room(
        &self,
        entry: &TopicEntry,
        client: &Client,
        channel: Option<&str>,
    ) -> Result<(), LimitReached> {
        let new = client.missing(entry.name.as_str(), channel);
        if new > 0 && client.registrations() + new > self.capacity.per_peer {
            return Err(LimitReached::Producer);
        }
        if new > 0 && self.registrations() + new > self.capacity.registrations {
            return Err(LimitReached::Registry);
        }
        let unknown = channel.is_some_and(|name| entry.topic.channel(name).is_none());
        if unknown { self.take_names(1) } else { Ok(()) }
    }

    /// Counts `count` more topics and channels, if they fit.
    fn take_names(&self, count: usize) -> Result<(), LimitReached> {
        if self.names.fetch_add(count, Ordering::Relaxed) + count > self.capacity.registrations {
            self.names.fetch_sub(count, Ordering::Relaxed);
            return Err(LimitReached::Registry);
        }
        Ok(())
    }
}

/// Adds the nsqd to a channel, made if there is none; its name, if the nsqd is new to it.
fn add_channel(topic: &mut Topic, channel: &str, client: &Client) -> Option<ChannelName> {
    match topic.channel(channel).map(|known| known.name().clone()) {
        Some(known) => topic.add_channel_producer(channel, client.peer()).then_some(known),
        None => {
            let name = ChannelName::new(channel).expect("the decoder gives valid names");
            topic.add_channel_with(&name, client.peer());
            Some(name)
        }
    }
}

impl TopicEntry {
    fn new(name: TopicName) -> Self {
        Self { name, topic: Topic::default(), slot: None, dirty: false }
    }

    /// Notes that `batch` must publish it before its replies are sent.
    fn mark(&mut self, batch: &mut Batch) {
        self.dirty = true;
        batch.note(&self.name);
    }

    /// Shows every change, whoever made it. Under the topic's lock, so that an older topic never
    /// follows a newer one.
    fn publish(&mut self, snapshots: &Snapshots) {
        let dirty = std::mem::take(&mut self.dirty);
        match &self.slot {
            Some(slot) if dirty => slot.publish(self.topic.clone()),
            Some(_) => {}
            None => self.slot = Some(snapshots.list(self.name.clone(), self.topic.clone())),
        }
    }

    /// Shows what waits for a commit, if anything does.
    fn publish_changes(&mut self, snapshots: &Snapshots) {
        if self.dirty {
            self.publish(snapshots);
        }
    }

    /// Whether its last producer was what kept it.
    fn is_leftover(&self) -> bool {
        self.name.is_ephemeral() && self.topic.producers().is_empty()
    }

    /// Whether it was made for a change that was then refused. A topic that was there before stays,
    /// ephemeral and without producers though it may be: a refusal changes nothing.
    fn is_unused(&self) -> bool {
        self.slot.is_none() && !self.dirty
    }

    /// How many names go with it.
    fn names(&self) -> usize {
        1 + self.topic.channels().len()
    }
}
