//! What readers see: published topics and nsqds, found without a lock.
//!
//! Must not: import the registry, so that a reader cannot reach a lock of a writer. Any thread may
//! read. The registry alone publishes.

mod clients;
mod index;
mod kept;
mod peer;
mod topic;

use std::sync::Arc;

pub use clients::{Clients, Shards};
pub use index::{Shown, Slot};
pub use kept::{Kept, Room};
pub use peer::Peer;
pub use topic::{Channel, Topic};

use crate::protocol::names::TopicName;
use index::Index;

/// Everything a lookup can ask about.
#[derive(Debug, Default)]
pub struct Directory {
    topics: Index,
    clients: Clients,
    room: Arc<Room>,
}

impl Directory {
    /// Reads the topic called `name`, as it was last published, if it is listed.
    pub fn topic<R>(&self, name: &str, read: impl FnOnce(Option<&Shown>) -> R) -> R {
        self.topics.find(name, |slot| match slot {
            Some(slot) => slot.read(|shown| read(Some(shown))),
            None => read(None),
        })
    }

    /// Visits every listed topic, in no order. A topic that comes or goes meanwhile may be
    /// visited or not; all others are, once.
    pub fn each_topic(&self, mut visit: impl FnMut(&TopicName, &Topic)) {
        self.topics.each(|slot| slot.read(|topic| visit(slot.name(), topic)));
    }

    /// Visits every nsqd that has identified and is connected, in no order.
    pub fn each_client(&self, mut visit: impl FnMut(&Arc<Peer>)) {
        self.clients.each(&mut visit);
    }

    /// What kept answers may take.
    #[must_use]
    pub fn room(&self) -> &Arc<Room> {
        &self.room
    }

    /// Lists a topic, which must not be listed: for the registry. It publishes into the slot from
    /// then on.
    pub(crate) fn list(&self, name: TopicName, topic: Topic) -> Arc<Slot> {
        self.topics.insert(name, topic)
    }

    /// Takes a topic off the list: for the registry.
    pub(crate) fn unlist(&self, name: &str) {
        self.topics.remove(name);
    }

    /// The nsqds: for the registry.
    pub(crate) fn clients(&self) -> &Clients {
        &self.clients
    }
}
