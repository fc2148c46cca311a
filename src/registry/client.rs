//! One nsqd as its session holds it: the peer, and all it has registered.
//!
//! Must not: be shared; its registrations are walked when it leaves, and nobody else needs them.

use std::collections::HashMap;
use std::collections::hash_map;
use std::sync::Arc;

use ahash::RandomState;

use crate::cow_set::CowSet;
use crate::protocol::names::{ChannelName, TopicName};
use crate::snapshots::Producer;

/// An identified nsqd. The registry changes it; it must [`super::Registry::leave`] in the end.
#[derive(Debug)]
pub struct Client {
    peer: Arc<Producer>,
    /// The channels of each topic that it carries. The names are shared with the registry. Some may
    /// have been deleted by an admin since: leaving them again changes nothing.
    topics: HashMap<TopicName, CowSet<ChannelName>, RandomState>,
    /// How many topics and channels that is.
    registrations: usize,
}

impl Client {
    pub(super) fn new(peer: Arc<Producer>) -> Self {
        Self { peer, topics: HashMap::default(), registrations: 0 }
    }

    /// The nsqd as everybody sees it.
    #[must_use]
    pub fn peer(&self) -> &Arc<Producer> {
        &self.peer
    }

    /// How many topics and channels it carries.
    #[must_use]
    pub fn registrations(&self) -> usize {
        self.registrations
    }

    /// How many registrations it would gain with the topic, and a channel of it.
    pub(super) fn missing(&self, topic: &str, channel: Option<&str>) -> usize {
        let Some(channels) = self.topics.get(topic) else {
            return 1 + usize::from(channel.is_some());
        };
        let held = |channel| channels.find(|held| held.as_str().cmp(channel)).is_some();
        usize::from(channel.is_some_and(|channel| !held(channel)))
    }

    /// It carries the topic, and a channel of it; how many of them are new.
    pub(super) fn hold(&mut self, topic: &TopicName, channel: Option<&ChannelName>) -> usize {
        let mut new = 0;
        let channels = match self.topics.entry(topic.clone()) {
            hash_map::Entry::Occupied(known) => known.into_mut(),
            hash_map::Entry::Vacant(place) => {
                new += 1;
                place.insert(CowSet::default())
            }
        };
        if let Some(channel) = channel {
            new += usize::from(channels.insert(channel.clone(), |held| held.cmp(channel)));
        }
        self.registrations += new;
        new
    }

    /// It no longer carries the channel, or without one the topic and all its channels; how many
    /// registrations that is.
    pub(super) fn release(&mut self, topic: &str, channel: Option<&str>) -> usize {
        let gone = match channel {
            Some(channel) => self.topics.get_mut(topic).map_or(0, |channels| {
                usize::from(channels.remove(|held| held.as_str().cmp(channel)))
            }),
            None => self.topics.remove(topic).map_or(0, |channels| 1 + channels.len()),
        };
        self.registrations -= gone;
        gone
    }

    pub(super) fn into_parts(
        self,
    ) -> (Arc<Producer>, impl Iterator<Item = (TopicName, CowSet<ChannelName>)>) {
        (self.peer, self.topics.into_iter())
    }
}
