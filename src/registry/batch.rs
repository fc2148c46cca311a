//! What one tick of a table has changed and not published.
//!
//! Must not: be dropped with changes in it: they would wait for somebody else's commit.

use crate::protocol::names::TopicName;
use crate::snapshots::Shards;

/// Changes on their way to [`super::Registry::commit`]. Reused from tick to tick.
#[derive(Debug, Default)]
pub struct Batch {
    pub(super) topics: Vec<TopicName>,
    pub(super) clients: Shards,
}

impl Batch {
    /// Notes a changed topic; once, while a run of commands changes the same one.
    pub(super) fn note(&mut self, topic: &TopicName) {
        if self.topics.last() != Some(topic) {
            self.topics.push(topic.clone());
        }
    }
}
