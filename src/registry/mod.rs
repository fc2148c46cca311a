//! The registration DB: which nsqd has registered which topic and channel. NSQ: `RegistrationDB`.
//!
//! This is the write side. Sessions call `identify`, `register`, `unregister` and `leave`, which
//! collect what they change in [`PendingChanges`]; [`Registry::commit`] then publishes each changed
//! topic once to [`Snapshots`], where readers find it. The HTTP API's changes (`admin.rs`) publish
//! before they return. The topics stand in a DashMap, so that a writer locks the one topic that it
//! changes, and others of the same stripe for as long. Must not: know sockets, a session's bytes or
//! HTTP; return a DashMap guard. Any thread may call.

mod admin;
mod client;
mod counts;
mod metrics;
mod pending_changes;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;

use ahash::RandomState;
use dashmap::DashMap;
use dashmap::mapref::one::RefMut;

pub use client::Client;
pub use counts::{Capacity, LimitReached};
pub use pending_changes::PendingChanges;

use crate::clock::Timestamp;
use crate::protocol::names::{ChannelName, TopicName};
use crate::protocol::peer_info::PeerInfo;
use crate::snapshots::{Producer, PublishedTopic, Snapshots, Topic};
use counts::Counts;

/// Stripes of the map of topics (DashMap's "shards"): enough that writers seldom wait.
const STRIPES: usize = 256;

/// What a REGISTER or UNREGISTER changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RegistrationChange {
    /// The nsqd became a producer of the topic, or is one no longer.
    pub topic: bool,
    /// How many channels of the topic it was added to, or removed from.
    pub channels: usize,
}

/// All registrations.
#[derive(Debug)]
pub struct Registry {
    topics: DashMap<TopicName, TopicEntry, RandomState>,
    snapshots: Arc<Snapshots>,
    counts: Counts,
}

/// A topic as writers have it.
#[derive(Debug)]
struct TopicEntry {
    name: TopicName,
    /// The topic with every change.
    topic: Topic,
    /// Where readers find it, once it was published.
    published: Option<Arc<PublishedTopic>>,
    /// Whether `topic` has a change that `published` does not show.
    dirty: bool,
}

impl Registry {
    /// An empty registry that publishes into `snapshots`, which nobody else publishes into.
    #[must_use]
    pub fn new(snapshots: Arc<Snapshots>, capacity: Capacity) -> Self {
        Self {
            topics: DashMap::with_hasher_and_shard_amount(RandomState::new(), STRIPES),
            snapshots,
            counts: Counts::new(capacity),
        }
    }

    /// What readers see of it.
    #[must_use]
    pub fn snapshots(&self) -> &Arc<Snapshots> {
        &self.snapshots
    }

    /// How many topics there are.
    #[must_use]
    pub fn topics(&self) -> usize {
        self.counts.topics()
    }

    /// How many channels all topics have together.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.counts.channels()
    }

    /// How many registrations all nsqds have together.
    #[must_use]
    pub fn registrations(&self) -> usize {
        self.counts.registrations()
    }

    /// An nsqd identified itself. The client must [`Registry::leave`] in the end.
    #[must_use]
    pub fn identify(
        &self,
        changes: &mut PendingChanges,
        address: SocketAddr,
        peer_info: PeerInfo,
        now: Timestamp,
    ) -> Client {
        let producer = Producer::new(address, peer_info, now);
        self.snapshots.nodes().add(&producer, &mut changes.nodes);
        Client::new(producer)
    }

    /// Makes the nsqd a producer of a topic, and of a channel of it. The names are valid.
    ///
    /// # Errors
    /// [`LimitReached`], and nothing has changed.
    ///
    /// # Panics
    /// When a name is not valid: the decoder gives none that is not.
    pub fn register(
        &self,
        changes: &mut PendingChanges,
        client: &mut Client,
        topic: &str,
        channel: Option<&str>,
    ) -> Result<RegistrationChange, LimitReached> {
        let mut guard = self.entry(topic)?;
        let entry = &mut *guard;
        let new = client.count_new(topic, channel);
        let channel = match self.check_and_count(entry, client, channel, new) {
            Ok(channel) => channel,
            Err(limit) => {
                drop(guard);
                self.remove_if(topic, TopicEntry::is_unused);
                return Err(limit);
            }
        };
        let added = |name| entry.topic.add_channel_producer(name, client.producer());
        let change = RegistrationChange {
            channels: usize::from(channel.as_ref().is_some_and(added)),
            topic: entry.topic.add_producer(client.producer()),
        };
        if new > 0 {
            client.add(&entry.name, channel.as_ref(), new);
            self.counts.add_registrations(new);
        }
        if change != RegistrationChange::default() || entry.published.is_none() {
            entry.mark_dirty(changes);
        }
        Ok(change)
    }

    /// Removes the nsqd from a channel, or without one from a topic and all its channels. An
    /// ephemeral channel or topic without producers left is removed itself.
    pub fn unregister(
        &self,
        changes: &mut PendingChanges,
        client: &mut Client,
        topic: &str,
        channel: Option<&str>,
    ) -> RegistrationChange {
        // Also what an admin has deleted: otherwise the nsqd's own list would only grow.
        self.counts.remove_registrations(client.remove(topic, channel));
        let mut change = RegistrationChange::default();
        let Some(mut guard) = self.topics.get_mut(topic) else { return change };
        let entry = &mut *guard;
        let channels: Vec<ChannelName> = match channel {
            Some(name) => {
                entry.topic.channel(name).map(|known| known.name().clone()).into_iter().collect()
            }
            None => entry.topic.channels().iter().map(|known| known.name().clone()).collect(),
        };
        for name in channels {
            let removed = entry.topic.remove_channel_producer(name.as_str(), client.producer());
            if self.remove_unused_channel(entry, name.as_str()) || removed {
                entry.mark_dirty(changes);
            }
            change.channels += usize::from(removed);
        }
        if channel.is_none() {
            change.topic = entry.topic.remove_producer(client.producer());
            if change.topic {
                entry.mark_dirty(changes);
            }
            let is_unused = entry.is_unused_ephemeral();
            drop(guard);
            if is_unused {
                self.remove_if(topic, TopicEntry::is_unused_ephemeral);
            }
        }
        change
    }

    /// The nsqd disconnected: removes it from everything it registered. Calls `left` for each topic
    /// (and channel) that it was a producer of.
    pub fn leave(
        &self,
        changes: &mut PendingChanges,
        client: Client,
        mut left: impl FnMut(&TopicName, Option<&ChannelName>),
    ) {
        self.counts.remove_registrations(client.registrations());
        let (producer, topics) = client.into_parts();
        for (topic, channels) in topics {
            let Some(mut guard) = self.topics.get_mut(&topic) else { continue };
            let entry = &mut *guard;
            let mut left_channels: Vec<&ChannelName> = Vec::new();
            for channel in channels.iter() {
                if entry.topic.remove_channel_producer(channel.as_str(), &producer) {
                    self.remove_unused_channel(entry, channel.as_str());
                    left_channels.push(channel);
                }
            }
            let left_topic = entry.topic.remove_producer(&producer);
            if left_topic || !left_channels.is_empty() {
                entry.mark_dirty(changes);
            }
            let is_unused = left_topic && entry.is_unused_ephemeral();
            drop(guard);
            if is_unused {
                self.remove_if(topic.as_str(), TopicEntry::is_unused_ephemeral);
            }
            left_channels.into_iter().for_each(|channel| left(&topic, Some(channel)));
            if left_topic {
                left(&topic, None);
            }
        }
        self.snapshots.nodes().remove(&producer, &mut changes.nodes);
    }

    /// Publishes the changes: every lookup from here on sees them. If another event loop has
    /// committed a topic since it was changed here, its publication showed our change too.
    pub fn commit(&self, changes: &mut PendingChanges) {
        while let Some(name) = changes.topics.pop() {
            // Looked up again: no guard may live from a command to its commit.
            if let Some(mut entry) = self.topics.get_mut(&name) {
                entry.publish(&self.snapshots);
            }
        }
        self.snapshots.nodes().publish(&mut changes.nodes);
    }

    /// The locked entry of a topic, made if there is none.
    fn entry(&self, topic: &str) -> Result<RefMut<'_, TopicName, TopicEntry>, LimitReached> {
        if let Some(entry) = self.topics.get_mut(topic) {
            return Ok(entry);
        }
        let name = TopicName::new(topic).expect("the decoder and the routes give valid names");
        match self.topics.entry(name.clone()) {
            dashmap::Entry::Occupied(entry) => Ok(entry.into_ref()),
            dashmap::Entry::Vacant(entry) => {
                self.counts.add_topic()?;
                Ok(entry.insert(TopicEntry::new(name)))
            }
        }
    }

    /// Checks that a REGISTER fits which adds `new` registrations, and counts its channel if the
    /// topic has none of that name. Returns the channel's name, shared with the topic's if known.
    fn check_and_count(
        &self,
        entry: &TopicEntry,
        client: &Client,
        channel: Option<&str>,
        new: usize,
    ) -> Result<Option<ChannelName>, LimitReached> {
        self.counts.check_registrations(client.registrations(), new)?;
        let Some(name) = channel else { return Ok(None) };
        if let Some(known) = entry.topic.channel(name) {
            return Ok(Some(known.name().clone()));
        }
        self.counts.add_channel()?;
        Ok(Some(ChannelName::new(name).expect("the decoder gives valid names")))
    }

    /// Removes a channel if it is ephemeral and has no producers. Returns whether it did.
    fn remove_unused_channel(&self, entry: &mut TopicEntry, name: &str) -> bool {
        // Divergence: nsqlookupd keeps ephemeral channels whose nsqd went without UNREGISTER.
        let is_unused = entry
            .topic
            .channel(name)
            .is_some_and(|channel| channel.name().is_ephemeral() && channel.producers().is_empty());
        if is_unused {
            entry.topic.remove_channel(name);
            self.counts.remove_channels(1);
        }
        is_unused
    }

    /// Removes a topic if `condition` holds under its lock.
    fn remove_if(&self, topic: &str, condition: impl Fn(&TopicEntry) -> bool) {
        let removed = self.topics.remove_if_mut(topic, |_, entry| {
            let remove = condition(entry);
            if remove {
                self.snapshots.unlist(topic);
            }
            remove
        });
        if let Some((_, entry)) = removed {
            self.counts.remove_topic(entry.topic.channels().len());
        }
    }
}

impl TopicEntry {
    fn new(name: TopicName) -> Self {
        Self { name, topic: Topic::default(), published: None, dirty: false }
    }

    /// Its change must be published before the replies to what made it are sent.
    fn mark_dirty(&mut self, changes: &mut PendingChanges) {
        self.dirty = true;
        changes.add(&self.name);
    }

    /// Publishes every change, of whichever event loop, and lists a topic that is not listed. Runs under the
    /// topic's lock, so that an older topic never follows a newer one.
    fn publish(&mut self, snapshots: &Snapshots) {
        let dirty = std::mem::take(&mut self.dirty);
        match &self.published {
            Some(published) if dirty => published.publish(self.topic.clone()),
            Some(_) => {}
            None => self.published = Some(snapshots.list(self.name.clone(), self.topic.clone())),
        }
    }

    /// Publishes only if a change waits for it.
    fn publish_changes(&mut self, snapshots: &Snapshots) {
        if self.dirty {
            self.publish(snapshots);
        }
    }

    /// Whether it is ephemeral and has no producers.
    fn is_unused_ephemeral(&self) -> bool {
        // Divergence: nsqlookupd keeps ephemeral topics whose nsqd went without UNREGISTER.
        self.name.is_ephemeral() && self.topic.producers().is_empty()
    }

    /// Whether it was made for a change that was then refused. A topic that was there before stays,
    /// ephemeral and without producers though it may be: a refusal changes nothing.
    fn is_unused(&self) -> bool {
        self.published.is_none() && !self.dirty
    }
}
