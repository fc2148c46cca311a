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
mod entry;
mod left_behind;
mod metrics;
mod pending_changes;
mod refused;
mod sizes;
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
use crate::memory::Memory;
use crate::protocol::names::{ChannelName, EPHEMERAL, TopicName};
use crate::protocol::peer_info::PeerInfo;
use crate::snapshots::{Producer, Snapshots};
use crate::work::Work;
use counts::{Counts, Room};
use entry::TopicEntry;
use left_behind::LeftBehind;

/// Stripes of the map of topics (DashMap's "shards"): enough that writers seldom wait, and that one
/// of them grows within 3 ms where there are 5,000,000 topics.
const STRIPES: usize = 1024;

/// With more registrations than these an nsqd is removed from them in slices, behind everything else.
pub const AT_ONCE: usize = 64;
/// Units of [`Work`] of a REGISTER that is tried again.
const REGISTER: u32 = 20;
/// Units of [`Work`] of the removal of one registration, its part of the commit included.
const UNREGISTER: u32 = 20;

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
    /// Boxed, so that a stripe that grows moves little.
    topics: DashMap<TopicName, Box<TopicEntry>, RandomState>,
    snapshots: Arc<Snapshots>,
    counts: Counts,
    left_behind: LeftBehind,
}

impl Registry {
    /// An empty registry that publishes into `snapshots`, which nobody else publishes into.
    #[must_use]
    pub fn new(snapshots: Arc<Snapshots>, capacity: Capacity) -> Self {
        Self {
            topics: DashMap::with_hasher_and_shard_amount(RandomState::new(), STRIPES),
            snapshots,
            counts: Counts::new(capacity, Arc::default()),
            left_behind: LeftBehind::default(),
        }
    }

    /// The same, whose size counts towards `memory`. It is empty.
    #[must_use]
    pub fn within(self, memory: Arc<Memory>) -> Self {
        Self { counts: Counts::new(self.counts.capacity, memory), ..self }
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

    /// Whether it may be listed at once: see [`limits::SMALL_REGISTRY`].
    #[must_use]
    pub fn is_small(&self) -> bool {
        self.counts.is_small()
    }

    /// How many topics, channels and registrations there are: what a walk of all of it looks at.
    #[must_use]
    pub fn size(&self) -> usize {
        self.counts.topics() + self.counts.channels() + self.counts.registrations()
    }

    /// How many registrations all nsqds have together.
    #[must_use]
    pub fn registrations(&self) -> usize {
        self.counts.registrations()
    }

    /// How many refused registrations of all nsqds wait for room.
    #[must_use]
    pub fn refused(&self) -> usize {
        self.counts.refused()
    }

    /// How many names that nsqds had left behind were removed to make room for new ones.
    #[must_use]
    pub fn removed(&self) -> usize {
        self.counts.removed()
    }

    /// How full it is, from 0 to 1: registrations, names or its part of the memory, whichever is most.
    #[must_use]
    pub fn fill_ratio(&self) -> f64 {
        self.counts.fill_ratio()
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
        self.counts.add_nsqd();
        self.snapshots.nodes().add(&producer, &mut changes.nodes);
        Client::new(producer)
    }

    /// Makes the nsqd a producer of a topic, and of a channel of it. The names are valid.
    ///
    /// # Errors
    /// [`LimitReached`], and nothing has changed. The names are remembered, see
    /// [`Registry::retry`].
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
        let mut done = self.register_if_it_fits(changes, client, topic, channel, Room::Left);
        if let Err(limit) = done
            && limit.is_of_all()
        {
            done = self.register_with_room(limit, changes, client, topic, channel);
        }
        if done.is_err() {
            if self.counts.may_remember() && client.refused.add(topic, channel) {
                self.counts.add_refused();
            }
        } else if client.refused.len() > 0 {
            self.counts.remove_refused(client.refused.remove(topic, channel));
        }
        done
    }

    /// Registers what was refused and fits now, [`AT_ONCE`] names at most; calls `registered` for
    /// each. It ends at the first name that does not fit, and begins behind it the next time.
    pub fn retry(
        &self,
        changes: &mut PendingChanges,
        client: &mut Client,
        work: &mut Work,
        mut registered: impl FnMut(&str, Option<&str>, RegistrationChange),
    ) {
        for _ in 0..AT_ONCE {
            let fits = self.counts.check_registrations(client.registrations(), 1, Room::Left);
            let may_be_made = |limit: LimitReached| limit.is_of_all() && self.left_behind.is_any();
            let has_room = fits.map_or_else(may_be_made, |()| true);
            let Some((topic, channel)) = has_room.then(|| client.refused.next()).flatten() else {
                return;
            };
            work.spend(REGISTER);
            let done = self.register(changes, client, &topic, channel.as_deref());
            let Ok(change) = done else { return };
            registered(&topic, channel.as_deref(), change);
        }
    }

    fn register_if_it_fits(
        &self,
        changes: &mut PendingChanges,
        client: &mut Client,
        topic: &str,
        channel: Option<&str>,
        room: Room,
    ) -> Result<RegistrationChange, LimitReached> {
        let mut guard = self.entry(topic, room)?;
        let entry = &mut **guard;
        let new = client.count_new(topic, channel);
        let channel = match self.check_and_count(entry, client, channel, new, room) {
            Ok(channel) => channel,
            Err(limit) => {
                drop(guard);
                self.remove_if(topic, |entry| entry.is_new());
                return Err(limit);
            }
        };
        let is_used = entry.is_used();
        if !is_used {
            entry.register_names(channel.as_ref(), &self.counts);
        }
        let added = |name| entry.topic.add_channel_producer(name, client.producer());
        let change = RegistrationChange {
            channels: usize::from(channel.as_ref().is_some_and(added)),
            topic: entry.topic.add_producer(client.producer()),
        };
        if new > 0 {
            client.add(&entry.name, channel.as_ref(), new);
            self.counts.add_registrations(client.registrations(), new);
        }
        if !is_used {
            self.left_behind.update(entry);
        }
        if change != RegistrationChange::default() || entry.published.is_none() {
            entry.mark_dirty(changes);
        }
        Ok(change)
    }

    /// Removes the nsqd from a channel. An ephemeral channel without producers left is removed
    /// itself. Returns whether the nsqd was a producer of it.
    pub fn unregister_channel(
        &self,
        changes: &mut PendingChanges,
        client: &mut Client,
        topic: &str,
        channel: &str,
    ) -> bool {
        // Also what an admin has deleted: otherwise the nsqd's own list would only grow.
        let count = client.remove(topic, channel);
        self.counts.remove_registrations(client.registrations(), count);
        self.counts.remove_refused(client.refused.remove(topic, Some(channel)));
        let Some(mut guard) = self.topics.get_mut(topic) else { return false };
        let entry = &mut **guard;
        let removed = entry.topic.remove_channel_producer(channel, client.producer());
        if self.leave_channel(entry, channel, removed) || removed {
            entry.mark_dirty(changes);
            self.left_behind.update(entry);
        }
        removed
    }

    /// Removes the nsqd from a topic and all its channels, or from as many as `work` allows: calls
    /// `left` for each that it was a producer of, the topic last, and returns whether it is done; if
    /// not, it is to be called again. An ephemeral channel or topic without producers left is
    /// removed itself.
    pub fn unregister_topic(
        &self,
        changes: &mut PendingChanges,
        client: &mut Client,
        topic: &str,
        work: &mut Work,
        mut left: impl FnMut(Option<&ChannelName>),
    ) -> bool {
        client.begin_to_remove(topic);
        self.counts.remove_refused(client.refused.remove_topic(topic));
        while !self.remove_some(changes, client, topic, work, &mut left) {
            if work.is_over() {
                return false;
            }
        }
        if topic.ends_with(EPHEMERAL) {
            self.remove_if(topic, |entry| entry.is_unused_ephemeral());
        }
        true
    }

    /// The nsqd disconnected: removes it from everything it registered, or from as much as `work`
    /// allows. Calls `left` for each topic (and channel) that it was a producer of. Returns whether
    /// it is done; if not, it is to be called again.
    pub fn leave(
        &self,
        changes: &mut PendingChanges,
        client: &mut Client,
        work: &mut Work,
        mut left: impl FnMut(&TopicName, Option<&ChannelName>),
    ) -> bool {
        while let Some(topic) = client.begin_to_leave().cloned() {
            if work.is_over() {
                return false;
            }
            let mut has_left = false;
            self.remove_some(changes, client, topic.as_str(), work, &mut |channel| {
                has_left |= channel.is_none();
                left(&topic, channel);
            });
            if has_left && topic.is_ephemeral() {
                self.remove_if(topic.as_str(), |entry| entry.is_unused_ephemeral());
            }
        }
        self.counts.remove_refused(client.refused.clear());
        self.counts.remove_nsqd();
        self.snapshots.nodes().remove(client.producer(), &mut changes.nodes);
        true
    }

    /// Removes the nsqd from a few channels of the topic that it is being removed from, and with the
    /// last of them from the topic; returns whether the topic is done.
    fn remove_some(
        &self,
        changes: &mut PendingChanges,
        client: &mut Client,
        topic: &str,
        work: &mut Work,
        left: &mut impl FnMut(Option<&ChannelName>),
    ) -> bool {
        let before = client.registrations();
        let Some((mut channels, is_last)) = client.remove_some() else { return true };
        let removed = before - client.registrations();
        self.counts.remove_registrations(client.registrations(), removed);
        work.spend(UNREGISTER * u32::try_from(removed).unwrap_or(u32::MAX));
        let Some(mut guard) = self.topics.get_mut(topic) else { return is_last };
        let (entry, producer) = (&mut **guard, client.producer());
        channels.retain(|name| self.remove_from(entry, name, producer));
        let has_left = is_last && entry.topic.remove_producer(producer);
        if has_left && entry.topic.producers().is_empty() {
            entry.leave_topic(&self.counts);
        }
        if has_left || !channels.is_empty() {
            entry.changes += u32::try_from(channels.len()).unwrap_or(0);
            entry.mark_dirty(changes);
            self.left_behind.update(entry);
        }
        drop(guard);
        channels.iter().for_each(|name| left(Some(name)));
        if has_left {
            left(None);
        }
        is_last
    }

    /// Removes a producer from a channel, and the channel if it is ephemeral and has no other.
    /// Returns whether the producer was there.
    fn remove_from(
        &self,
        entry: &mut TopicEntry,
        channel: &ChannelName,
        producer: &Arc<Producer>,
    ) -> bool {
        let removed = entry.topic.remove_channel_producer(channel.as_str(), producer);
        if removed {
            self.leave_channel(entry, channel.as_str(), true);
        }
        removed
    }

    /// Publishes the changes: every lookup from here on sees them. If another event loop has
    /// committed a topic since it was changed here, its publication showed our change too.
    pub fn commit(&self, changes: &mut PendingChanges) {
        if !changes.topics.is_empty() {
            self.publish_topics(changes);
        }
        self.snapshots.nodes().publish(&mut changes.nodes);
    }

    /// Not inlined: the commit of a PING would pay for its variables.
    #[inline(never)]
    fn publish_topics(&self, changes: &mut PendingChanges) {
        while let Some(name) = changes.topics.pop() {
            // Looked up again: no guard may live from a command to its commit.
            if let Some(mut entry) = self.topics.get_mut(&name) {
                entry.publish(&self.snapshots);
            }
        }
    }

    /// The locked entry of a topic, made if there is none.
    fn entry(
        &self,
        topic: &str,
        room: Room,
    ) -> Result<RefMut<'_, TopicName, Box<TopicEntry>>, LimitReached> {
        if let Some(entry) = self.topics.get_mut(topic) {
            return Ok(entry);
        }
        let name = TopicName::new(topic).expect("the decoder and the routes give valid names");
        match self.topics.entry(name.clone()) {
            dashmap::Entry::Occupied(entry) => Ok(entry.into_ref()),
            dashmap::Entry::Vacant(entry) => {
                self.counts.add_topic(room)?;
                Ok(entry.insert(Box::new(TopicEntry::new(name))))
            }
        }
    }

    /// Checks that a REGISTER fits which adds `new` registrations, and counts its channel if the
    /// topic has none of that name. Returns the channel's name, shared with the topic's if known.
    fn check_and_count(
        &self,
        entry: &mut TopicEntry,
        client: &Client,
        channel: Option<&str>,
        new: usize,
        room: Room,
    ) -> Result<Option<ChannelName>, LimitReached> {
        self.counts.check_registrations(client.registrations(), new, room)?;
        let Some(name) = channel else { return Ok(None) };
        if let Some(known) = entry.topic.channel(name) {
            return Ok(Some(known.name().clone()));
        }
        self.counts.add_channel(room)?;
        entry.channels += 1;
        Ok(Some(ChannelName::new(name).expect("the decoder gives valid names")))
    }

    /// An nsqd has left a channel, or, without the flag, it is not a producer of it. If there are no
    /// producers, an ephemeral channel is removed: returns whether it was.
    fn leave_channel(&self, entry: &mut TopicEntry, name: &str, has_left: bool) -> bool {
        // Divergence: nsqlookupd keeps ephemeral channels whose nsqd went without UNREGISTER.
        let Some(channel) = entry.topic.channel(name) else { return false };
        if !channel.producers().is_empty() {
            return false;
        }
        let name = channel.name().clone();
        if name.is_ephemeral() {
            self.remove_channel(entry, name.as_str(), has_left);
        } else if has_left {
            entry.leave_channel(&name, &self.counts);
        }
        name.is_ephemeral()
    }

    /// Removes a channel that is there. The flag: it had producers until now.
    fn remove_channel(&self, entry: &mut TopicEntry, name: &str, had_producers: bool) {
        entry.remove_channel(name, had_producers, &self.counts);
        self.counts.remove_channels(1);
    }

    /// Removes a topic if `condition` holds under its lock.
    fn remove_if(&self, topic: &str, condition: impl FnOnce(&mut TopicEntry) -> bool) {
        let removed = self.topics.remove_if_mut(topic, |_, entry| {
            let remove = condition(entry);
            if remove {
                self.snapshots.unlist(topic);
                self.left_behind.remove(entry);
            }
            remove
        });
        if let Some((_, entry)) = removed {
            self.counts.remove_topic(entry.channels);
            self.counts.remove_http_names(entry.http_names());
            entry.free();
        }
    }
}
