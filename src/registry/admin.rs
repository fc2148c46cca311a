//! What the HTTP API changes: create, delete, tombstone. Each publishes before it returns.
//!
//! So does a call that changes nothing: its answer rests on the topic with every change, and readers
//! must not see an older one afterwards. Must not: be called from a session, whose changes are
//! published by a commit. Source: nsq `nsqlookupd/http.go`.

use super::{LimitReached, Registry, TopicEntry};
use crate::clock::Timestamp;
use crate::protocol::names::{ChannelName, TopicName};

impl Registry {
    /// Creates a topic, if there is none of that name.
    ///
    /// # Errors
    /// [`LimitReached::Registry`], and nothing has changed.
    pub fn create_topic(&self, topic: &TopicName) -> Result<(), LimitReached> {
        self.create(topic, None)
    }

    /// Creates a channel and its topic, as far as they do not exist.
    ///
    /// # Errors
    /// [`LimitReached::Registry`], and nothing has changed.
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
            if let Err(limit) = self.counts.add_channel() {
                drop(entry);
                self.remove_if(topic.as_str(), TopicEntry::is_unused);
                return Err(limit);
            }
            entry.topic.add_channel(channel);
            entry.channels += 1;
            entry.dirty = true;
        }
        entry.publish(&self.snapshots);
        Ok(())
    }

    /// Removes a topic with its channels; an unknown name is no error. nsqds that have registered it
    /// are listed again once they register it again.
    pub fn delete_topic(&self, topic: &str) {
        self.remove_if(topic, |_| true);
    }

    /// Removes a channel. Returns whether there was one of that name.
    #[must_use]
    pub fn delete_channel(&self, topic: &str, channel: &str) -> bool {
        let Some(mut entry) = self.topics.get_mut(topic) else { return false };
        let found = entry.topic.remove_channel(channel);
        if found {
            entry.channels -= 1;
            self.counts.remove_channels(1);
            entry.dirty = true;
        }
        entry.publish_changes(&self.snapshots);
        found
    }

    /// Hides every producer of `topic` whose `broadcast_address:http_port` is `node` from lookups for
    /// the tombstone lifetime from `now`. Returns how many were looked at.
    pub fn tombstone(&self, topic: &str, node: &str, now: Timestamp) -> usize {
        let Some(mut entry) = self.topics.get_mut(topic) else { return 0 };
        let (seen, is_any) = entry.topic.tombstone(node, now);
        entry.dirty |= is_any;
        entry.publish_changes(&self.snapshots);
        seen
    }
}
