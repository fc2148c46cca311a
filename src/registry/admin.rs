//! What the HTTP API changes: create, delete, tombstone. Each publishes before it returns.
//!
//! So does a call that changes nothing: its answer was true of the topic with every change, so that
//! readers must not see an older one afterwards. Must not: be called from a session; its changes are
//! batched. Source: nsq `nsqlookupd/http.go`.

use std::sync::atomic::Ordering;

use super::{LimitReached, Registry, TopicEntry};
use crate::clock::Timestamp;
use crate::protocol::names::{ChannelName, TopicName};

/// There is no such channel to delete: 404 `CHANNEL_NOT_FOUND`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSuchChannel;

/// The name that means every topic where NSQ allows it.
const ALL_TOPICS: &str = "*";

impl Registry {
    /// Lists a topic, if it is not listed.
    ///
    /// # Errors
    /// [`LimitReached::Registry`], and nothing has changed.
    pub fn create_topic(&self, topic: &TopicName) -> Result<(), LimitReached> {
        self.create(topic, None)
    }

    /// Lists a channel and its topic, if they are not listed.
    ///
    /// # Errors
    /// [`LimitReached::Registry`], and the channel is not there.
    pub fn create_channel(
        &self,
        topic: &TopicName,
        channel: &ChannelName,
    ) -> Result<(), LimitReached> {
        self.create(topic, Some(channel))
    }

    fn create(&self, topic: &TopicName, channel: Option<&ChannelName>) -> Result<(), LimitReached> {
        let mut entry = self.entry(topic.as_str())?;
        if let Some(channel) = channel
            && entry.topic.channel(channel.as_str()).is_none()
        {
            if let Err(full) = self.take_names(1) {
                drop(entry);
                self.drop_if(topic.as_str(), TopicEntry::is_unused);
                return Err(full);
            }
            entry.topic.add_channel(channel);
            entry.dirty = true;
        }
        entry.publish(&self.snapshots);
        Ok(())
    }

    /// Removes a topic with its channels, or every topic by `*`; unknown names are fine. nsqds
    /// that carry it stay unlisted under it until they register it again.
    pub fn delete_topic(&self, topic: &str) {
        if topic == ALL_TOPICS {
            let mut all = Vec::new();
            self.snapshots.each_topic(|name, _| all.push(name.clone()));
            all.iter().for_each(|name| self.delete_one(name.as_str()));
        } else {
            self.delete_one(topic);
        }
    }

    fn delete_one(&self, topic: &str) {
        let removed = self.topics.remove_if_mut(topic, |_, _| {
            self.snapshots.unlist(topic);
            true
        });
        if let Some((_, entry)) = removed {
            self.forget_names(&entry);
        }
    }

    /// Removes a channel.
    ///
    /// # Errors
    /// [`NoSuchChannel`] when there is none of that name.
    pub fn delete_channel(&self, topic: &str, channel: &str) -> Result<(), NoSuchChannel> {
        let mut entry = self.topics.get_mut(topic).ok_or(NoSuchChannel)?;
        let found = entry.topic.remove_channel(channel);
        if found {
            self.names.fetch_sub(1, Ordering::Relaxed);
            entry.dirty = true;
        }
        entry.publish_changes(&self.snapshots);
        if found { Ok(()) } else { Err(NoSuchChannel) }
    }

    /// Hides every producer of `topic` (of every topic by `*`) whose `broadcast_address:http_port`
    /// is `node` from lookups for the tombstone lifetime from `now`.
    pub fn tombstone(&self, topic: &str, node: &str, now: Timestamp) {
        if topic == ALL_TOPICS {
            let mut all = Vec::new();
            self.snapshots.each_topic(|name, _| all.push(name.clone()));
            all.iter().for_each(|name| self.tombstone_one(name.as_str(), node, now));
        } else {
            self.tombstone_one(topic, node, now);
        }
    }

    fn tombstone_one(&self, topic: &str, node: &str, now: Timestamp) {
        let Some(mut entry) = self.topics.get_mut(topic) else { return };
        entry.dirty |= entry.topic.tombstone(node, now);
        entry.publish_changes(&self.snapshots);
    }
}
