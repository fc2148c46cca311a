//! One connected nsqd, as its session owns it: the producer, and everything it has registered.
//!
//! Must not: be shared between threads. Only the session needs this list: it is walked when the
//! nsqd disconnects, so that a disconnect never walks the registry. NSQ: `ClientV1`.

use std::collections::HashMap;
use std::sync::Arc;

use ahash::RandomState;

use crate::cow_set::CowSet;
use crate::protocol::names::{ChannelName, TopicName};
use crate::snapshots::Producer;

/// An identified nsqd. [`super::Registry::identify`] makes it, the registry changes it, and it must
/// be given to [`super::Registry::leave`] in the end.
#[derive(Debug)]
pub struct Client {
    producer: Arc<Producer>,
    /// The channels of each topic that it registered. The names are shared with the registry. An
    /// admin may have deleted some of them since: unregistering those changes nothing.
    topics: HashMap<TopicName, CowSet<ChannelName>, RandomState>,
    /// How many topics and channels that is.
    registrations: usize,
}

impl Client {
    pub(super) fn new(producer: Arc<Producer>) -> Self {
        Self { producer, topics: HashMap::default(), registrations: 0 }
    }

    /// The nsqd as readers see it.
    #[must_use]
    pub fn producer(&self) -> &Arc<Producer> {
        &self.producer
    }

    /// How many topics and channels it has registered.
    #[must_use]
    pub fn registrations(&self) -> usize {
        self.registrations
    }

    /// How many registrations [`Client::add`] would add.
    pub(super) fn count_new(&self, topic: &str, channel: Option<&str>) -> usize {
        let Some(channels) = self.topics.get(topic) else {
            return 1 + usize::from(channel.is_some());
        };
        let has = |name| channels.find(|channel| channel.as_str().cmp(name)).is_some();
        usize::from(channel.is_some_and(|name| !has(name)))
    }

    /// Adds `new` registrations, as [`Client::count_new`] counted them.
    pub(super) fn add(&mut self, topic: &TopicName, channel: Option<&ChannelName>, new: usize) {
        let channels = self.topics.entry(topic.clone()).or_default();
        if let Some(name) = channel {
            channels.insert(name.clone(), |channel| channel.cmp(name));
        }
        self.registrations += new;
    }

    /// Removes a channel, or without one a topic and all its channels. Returns how many
    /// registrations that were.
    pub(super) fn remove(&mut self, topic: &str, channel: Option<&str>) -> usize {
        let removed = match channel {
            Some(name) => self.topics.get_mut(topic).map_or(0, |channels| {
                usize::from(channels.remove(|channel| channel.as_str().cmp(name)))
            }),
            None => self.topics.remove(topic).map_or(0, |channels| 1 + channels.len()),
        };
        self.registrations -= removed;
        removed
    }

    pub(super) fn into_parts(
        self,
    ) -> (Arc<Producer>, impl Iterator<Item = (TopicName, CowSet<ChannelName>)>) {
        (self.producer, self.topics.into_iter())
    }
}
