//! What the HTTP API changes: create, delete, tombstone. Each publishes before it returns.
//!
//! So does a call that changes nothing: its answer rests on the topic with every change, and readers
//! must not see an older one afterwards. Must not: be called from a session, whose changes are
//! published by a commit. Source: nsq `nsqlookupd/http.go`.

use super::{LimitReached, Registry, Room, TopicEntry};
use crate::clock::Timestamp;
use crate::protocol::host::Node;
use crate::protocol::names::{ChannelName, TopicName};

impl Registry {
    /// Creates a topic, if there is none of that name.
    ///
    /// # Errors
    /// The limit that refuses it, and nothing has changed.
    pub fn create_topic(&self, topic: &TopicName) -> Result<(), LimitReached> {
        self.create(topic, None)
    }

    /// Creates a channel and its topic, as far as they do not exist.
    ///
    /// # Errors
    /// The limit that refuses it, and nothing has changed.
    pub fn create_channel(
        &self,
        topic: &TopicName,
        channel: &ChannelName,
    ) -> Result<(), LimitReached> {
        self.create(topic, Some(channel))
    }

    fn create(&self, topic: &TopicName, channel: Option<&ChannelName>) -> Result<(), LimitReached> {
        let topic = topic.as_str();
        match self.create_if_it_fits(topic, channel, Room::Left) {
            Err(limit) if limit.is_of_all() => {
                let names = (topic, channel.map(ChannelName::as_str));
                self.with_room(limit, names, 0, |room| self.create_if_it_fits(topic, channel, room))
            }
            created => created,
        }
    }

    /// What is new is counted in the HTTP clients' part.
    fn create_if_it_fits(
        &self,
        topic: &str,
        channel: Option<&ChannelName>,
        room: Room,
    ) -> Result<(), LimitReached> {
        let mut entry = self.entry(topic, room)?;
        if let Err(limit) = self.create_in(&mut entry, channel, room) {
            drop(entry);
            self.remove_if(topic, |entry| entry.is_new());
            return Err(limit);
        }
        self.left_behind.update(&mut entry);
        entry.publish(&self.snapshots);
        Ok(())
    }

    fn create_in(
        &self,
        entry: &mut TopicEntry,
        channel: Option<&ChannelName>,
        room: Room,
    ) -> Result<(), LimitReached> {
        if entry.is_new() {
            self.counts.add_http_name()?;
            entry.create(None);
        }
        if let Some(channel) = channel
            && entry.topic.channel(channel.as_str()).is_none()
        {
            self.counts.add_http_name()?;
            self.counts.add_channel(room).inspect_err(|_| self.counts.remove_http_names(1))?;
            entry.create(Some(channel));
        }
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
        let found = entry.topic.channel(channel).map(|channel| !channel.producers().is_empty());
        if let Some(has_producers) = found {
            self.remove_channel(&mut entry, channel, has_producers);
            self.left_behind.update(&mut entry);
        }
        entry.publish_changes(&self.snapshots);
        found.is_some()
    }

    /// Hides every producer of `topic` whose `broadcast_address:http_port` is `node` (see [`Node`])
    /// from lookups for the tombstone lifetime from `now`. Returns how many were looked at.
    pub fn tombstone(&self, topic: &str, node: &str, now: Timestamp) -> usize {
        let Some(node) = Node::parse(node) else { return 0 };
        let Some(mut entry) = self.topics.get_mut(topic) else { return 0 };
        let (seen, is_any) = entry.topic.tombstone(&node, now);
        if is_any {
            entry.changes = u32::try_from(seen).unwrap_or(u32::MAX);
        }
        entry.publish_changes(&self.snapshots);
        seen
    }
}
