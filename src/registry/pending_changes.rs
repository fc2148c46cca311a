//! What one iteration of an event loop has changed in the registry and not published yet.
//!
//! Must not: be dropped while it holds changes: readers would see them only with the next commit
//! of the same topic.

use crate::protocol::names::TopicName;
use crate::snapshots::ChangedStripes;

/// Changes that the next [`super::Registry::commit`] publishes. Reused from iteration to iteration.
#[derive(Debug, Default)]
pub struct PendingChanges {
    pub(super) topics: Vec<TopicName>,
    pub(super) nodes: ChangedStripes,
}

/// Changed topics at which a commit is due.
const FULL: usize = 64;

impl PendingChanges {
    /// Whether to commit before more is changed: so that what a commit takes, and what a table takes
    /// that it makes grow, is part of the time of an iteration.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.topics.len() >= FULL
    }

    /// Adds a changed topic. Consecutive changes of one topic add it once.
    pub(super) fn add(&mut self, topic: &TopicName) {
        if self.topics.last() != Some(topic) {
            self.topics.push(topic.clone());
        }
    }
}
