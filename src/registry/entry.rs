//! A topic as writers have it: with every change, and with where its names without producers come
//! from.
//!
//! Such a name was created by an HTTP client, and then it counts in the HTTP clients' part; or nsqds
//! registered it and went, and then it makes room when the registry is full. A name that was created
//! and then registered counts in that part again when its last producer goes, if there is room; if
//! not, it is like every other that nsqds left behind. Must not: lock; count names in all, which the
//! registry does. Source: nsq `nsqlookupd/registration_db.go`, which keeps such names for ever.

use std::sync::Arc;

use super::counts::Counts;
use super::pending_changes::PendingChanges;
use crate::cow_set::CowSet;
use crate::protocol::names::{ChannelName, TopicName};
use crate::reclaim::{self, Garbage};
use crate::snapshots::{PublishedTopic, Snapshots, Topic};

/// A topic as writers have it.
#[derive(Debug)]
pub(super) struct TopicEntry {
    pub(super) name: TopicName,
    /// The topic with every change.
    pub(super) topic: Topic,
    /// Where readers find it, once it was published.
    pub(super) published: Option<Arc<PublishedTopic>>,
    /// How many channels it has: the set would have to be walked.
    pub(super) channels: usize,
    /// Where the channels without producers come from, and whether the topic was created. Most topics
    /// need none.
    origins: Option<Box<Origins>>,
    /// Its number among those of which something is left behind; 0: nothing is.
    pub(super) left_behind: u64,
    /// How many changes `topic` has that `published` does not show.
    pub(super) changes: u32,
}

#[derive(Debug, Default)]
struct Origins {
    /// An HTTP client created the topic.
    is_created: bool,
    /// Channels that HTTP clients created.
    created: CowSet<ChannelName>,
    /// Channels that nsqds left behind.
    left_behind: CowSet<ChannelName>,
    /// How many names count in the HTTP clients' part: those created, without producers.
    http_names: usize,
}

impl Garbage for Origins {}

impl Origins {
    fn is_created(&self, channel: &ChannelName) -> bool {
        self.created.find(|known| known.cmp(channel)).is_some()
    }
}

impl TopicEntry {
    pub(super) fn new(name: TopicName) -> Self {
        let (topic, published, channels, changes) = (Topic::default(), None, 0, 0);
        Self { name, topic, published, channels, origins: None, left_behind: 0, changes }
    }

    /// Its change must be published before the replies to what made it are sent.
    pub(super) fn mark_dirty(&mut self, changes: &mut PendingChanges) {
        self.changes = self.changes.saturating_add(1);
        changes.add(&self.name);
    }

    /// Publishes every change, of whichever event loop, and lists a topic that is not listed. Runs
    /// under the topic's lock, so that an older topic never follows a newer one.
    pub(super) fn publish(&mut self, snapshots: &Snapshots) {
        let changes = std::mem::take(&mut self.changes);
        match &self.published {
            Some(published) if changes > 0 => published.publish(self.topic.clone(), changes),
            Some(_) => {}
            None => self.published = Some(snapshots.list(self.name.clone(), self.topic.clone())),
        }
    }

    /// Publishes only if a change waits for it.
    pub(super) fn publish_changes(&mut self, snapshots: &Snapshots) {
        if self.changes > 0 {
            self.publish(snapshots);
        }
    }

    /// Whether it is ephemeral and has no producers.
    pub(super) fn is_unused_ephemeral(&self) -> bool {
        // Divergence: nsqlookupd keeps ephemeral topics whose nsqd went without UNREGISTER.
        self.name.is_ephemeral() && self.topic.producers().is_empty()
    }

    /// Whether it was made for a change that is not done, or was refused. A topic that was there
    /// before stays, ephemeral and without producers though it may be: a refusal changes nothing.
    pub(super) fn is_new(&self) -> bool {
        self.published.is_none() && self.changes == 0
    }

    /// Whether every name has producers, and no HTTP client has created one.
    pub(super) fn is_used(&self) -> bool {
        self.origins.is_none() && self.left_behind == 0
    }

    /// Names of it that count in the HTTP clients' part.
    pub(super) fn http_names(&self) -> usize {
        self.origins.as_ref().map_or(0, |origins| origins.http_names)
    }

    /// Whether nsqds left all of it behind.
    pub(super) fn is_left_behind(&self) -> bool {
        let keeps = |origins: &Origins| origins.is_created || !origins.created.is_empty();
        self.topic.producers().is_empty() && !self.origins.as_deref().is_some_and(keeps)
    }

    /// The first of the channels that nsqds left behind.
    pub(super) fn first_left_behind(&self) -> Option<ChannelName> {
        self.origins.as_ref()?.left_behind.first().cloned()
    }

    /// How many channels nsqds left behind, up to `most`.
    pub(super) fn count_left_behind(&self, most: usize) -> usize {
        self.origins.as_ref().map_or(0, |origins| origins.left_behind.iter().take(most).count())
    }

    /// An HTTP client creates the topic, or a channel, which is new. The counts have it already.
    pub(super) fn create(&mut self, channel: Option<&ChannelName>) {
        let origins = self.origins.get_or_insert_default();
        origins.http_names += 1;
        match channel {
            Some(name) => {
                origins.created.insert(name.clone(), |known| known.cmp(name));
                self.topic.add_channel(name);
                self.channels += 1;
                self.changes = self.changes.saturating_add(1);
            }
            None => origins.is_created = true,
        }
    }

    /// An nsqd registers the topic, and a channel; called before it becomes a producer of them.
    #[cold]
    pub(super) fn register_names(&mut self, channel: Option<&ChannelName>, counts: &Counts) {
        let Some(origins) = &mut self.origins else { return };
        let is_unused = |name: &&ChannelName| {
            let channel = self.topic.channel(name.as_str());
            channel.is_some_and(|channel| channel.producers().is_empty())
        };
        let is_created = |name| !origins.left_behind.remove(|known: &ChannelName| known.cmp(name));
        let channel_is_created = channel.filter(is_unused).is_some_and(is_created);
        let topic_is_created = origins.is_created && self.topic.producers().is_empty();
        let count = usize::from(channel_is_created) + usize::from(topic_is_created);
        origins.http_names -= count;
        counts.remove_http_names(count);
    }

    /// The last producer of the topic has left it.
    pub(super) fn leave_topic(&mut self, counts: &Counts) {
        let Some(origins) = &mut self.origins else { return };
        origins.is_created = origins.is_created && counts.add_http_name().is_ok();
        origins.http_names += usize::from(origins.is_created);
    }

    /// The last producer of a channel that stays has left it.
    pub(super) fn leave_channel(&mut self, channel: &ChannelName, counts: &Counts) {
        let origins = self.origins.get_or_insert_default();
        if origins.is_created(channel) {
            if counts.add_http_name().is_ok() {
                origins.http_names += 1;
                return;
            }
            origins.created.remove(|known| known.cmp(channel));
        }
        origins.left_behind.insert(channel.clone(), |known| known.cmp(channel));
    }

    /// Removes a channel that is there. The flag: it had producers until now.
    pub(super) fn remove_channel(&mut self, name: &str, had_producers: bool, counts: &Counts) {
        self.topic.remove_channel(name);
        self.channels -= 1;
        self.changes = self.changes.saturating_add(1);
        let Some(origins) = &mut self.origins else { return };
        let is = |known: &ChannelName| known.as_str().cmp(name);
        if !origins.left_behind.remove(is) && origins.created.remove(is) && !had_producers {
            origins.http_names -= 1;
            counts.remove_http_names(1);
        }
    }

    /// Nothing is left behind: what is known of its origins is dropped, unless it was created.
    pub(super) fn forget_origins(&mut self) {
        if let Some(origins) = &self.origins
            && !origins.is_created
            && origins.created.is_empty()
        {
            self.origins = None;
        }
    }

    /// Frees it, elsewhere if it is large.
    pub(super) fn free(self) {
        if self.topic.is_larger_than(reclaim::LARGE) {
            reclaim::free(self.topic);
            if let Some(origins) = self.origins {
                reclaim::free(*origins);
            }
        }
    }
}
