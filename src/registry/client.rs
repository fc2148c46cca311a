//! One connected nsqd, as its session owns it: the producer, and everything it has registered.
//!
//! Must not: be shared between threads. Only the session needs this list: it is walked when the
//! nsqd disconnects, so that a disconnect never walks the registry. NSQ: `ClientV1`.

use std::fmt;
use std::mem;
use std::sync::Arc;

use ahash::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::{Entry, IntoIter};

use super::refused::Refused;
use crate::cow_set::{Chunk, CowSet};
use crate::protocol::names::{ChannelName, TopicName};
use crate::snapshots::Producer;

/// A table with room for this many times its topics is made smaller.
const SPARSE: usize = 8;

/// An identified nsqd. [`super::Registry::identify`] makes it, the registry changes it, and it must
/// be given to [`super::Registry::leave`] in the end, until that is done.
#[derive(Debug)]
pub struct Client {
    producer: Arc<Producer>,
    topics: Topics,
    hasher: RandomState,
    /// How many topics and channels it has registered.
    registrations: usize,
    /// The topic that it is being removed from.
    removing: Option<Registered>,
    /// What was refused and is to be tried again.
    pub(super) refused: Refused,
}

/// What it registered. The names are shared with the registry. An admin may have deleted some of
/// them since: unregistering those changes nothing.
enum Topics {
    Registered(HashTable<Registered>),
    /// The nsqd leaves: those that it is still to be removed from.
    Leaving(IntoIter<Registered>),
}

/// A topic that it registered, and its channels.
#[derive(Debug)]
struct Registered {
    /// Of the name. The table that grows does not look at the names again: they are all over the
    /// memory, and there may be 100,000.
    hash: u64,
    topic: TopicName,
    channels: CowSet<ChannelName>,
}

impl Client {
    pub(super) fn new(producer: Arc<Producer>) -> Self {
        let (topics, refused) = (Topics::Registered(HashTable::new()), Refused::default());
        let hasher = RandomState::new();
        Self { producer, topics, hasher, registrations: 0, removing: None, refused }
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

    /// How many of its REGISTERs were refused and are to be tried again.
    #[must_use]
    pub fn refused(&self) -> usize {
        self.refused.len()
    }

    /// Whether it has registered more than `count` channels of a topic.
    #[must_use]
    pub fn has_more_channels_than(&self, topic: &str, count: usize) -> bool {
        self.find(topic).is_some_and(|channels| channels.is_longer_than(count))
    }

    fn find(&self, topic: &str) -> Option<&CowSet<ChannelName>> {
        let Topics::Registered(topics) = &self.topics else { return None };
        let found = topics.find(self.hasher.hash_one(topic), |known| known.is(topic));
        found.map(|found| &found.channels)
    }

    /// How many registrations [`Client::add`] would add.
    pub(super) fn count_new(&self, topic: &str, channel: Option<&str>) -> usize {
        let Some(channels) = self.find(topic) else {
            return 1 + usize::from(channel.is_some());
        };
        let has = |name| channels.find(|channel| channel.as_str().cmp(name)).is_some();
        usize::from(channel.is_some_and(|name| !has(name)))
    }

    /// Adds `new` registrations, as [`Client::count_new`] counted them.
    pub(super) fn add(&mut self, topic: &TopicName, channel: Option<&ChannelName>, new: usize) {
        let Topics::Registered(topics) = &mut self.topics else { return };
        let hash = self.hasher.hash_one(topic.as_str());
        let is = |known: &Registered| known.is(topic.as_str());
        let registered = match topics.entry(hash, is, |known| known.hash) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let (topic, channels) = (topic.clone(), CowSet::default());
                entry.insert(Registered { hash, topic, channels }).into_mut()
            }
        };
        if let Some(name) = channel {
            registered.channels.insert(name.clone(), |channel| channel.cmp(name));
        }
        self.registrations += new;
    }

    /// Removes a channel. Returns how many registrations that were: one or none.
    pub(super) fn remove(&mut self, topic: &str, channel: &str) -> usize {
        let Topics::Registered(topics) = &mut self.topics else { return 0 };
        let found = topics.find_mut(self.hasher.hash_one(topic), |known| known.is(topic));
        let Some(Registered { channels, .. }) = found else { return 0 };
        let removed = usize::from(channels.remove(|name| name.as_str().cmp(channel)));
        self.registrations -= removed;
        removed
    }

    /// Begins to remove a topic, unless one is being removed.
    pub(super) fn begin_to_remove(&mut self, topic: &str) {
        if let (Topics::Registered(topics), None) = (&mut self.topics, &self.removing) {
            let found = topics.find_entry(self.hasher.hash_one(topic), |known| known.is(topic));
            self.removing = found.ok().map(|entry| entry.remove().0);
            // What was registered once is in no ledger: the table gives it back.
            if topics.len() < topics.capacity() / SPARSE {
                topics.shrink_to(2 * topics.len(), |known| known.hash);
            }
        }
    }

    /// Begins to remove any of the topics, unless one is being removed. Returns its name; none if
    /// nothing is left. Nothing can be added any longer.
    pub(super) fn begin_to_leave(&mut self) -> Option<&TopicName> {
        if let Topics::Registered(topics) = &mut self.topics {
            self.topics = Topics::Leaving(mem::take(topics).into_iter());
        }
        if let (Topics::Leaving(topics), None) = (&mut self.topics, &self.removing) {
            self.removing = topics.next();
        }
        self.removing.as_ref().map(|removing| &removing.topic)
    }

    /// Takes a few channels of the topic that is being removed, and with the last of them the topic:
    /// then the flag is set. None when no topic is being removed.
    pub(super) fn remove_some(&mut self) -> Option<(Chunk<ChannelName>, bool)> {
        let channels = &mut self.removing.as_mut()?.channels;
        let chunk = channels.take_first_chunk();
        let is_last = channels.is_empty();
        self.registrations -= chunk.len() + usize::from(is_last);
        if is_last {
            self.removing = None;
        }
        Some((chunk, is_last))
    }
}

impl fmt::Debug for Topics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registered(topics) => f.debug_set().entries(topics).finish(),
            Self::Leaving(_) => f.write_str("Leaving"),
        }
    }
}

impl Registered {
    fn is(&self, topic: &str) -> bool {
        self.topic.as_str() == topic
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::protocol::peer_info::PeerInfo;

    #[test]
    fn table_of_what_was_registered_once_becomes_small_again() {
        let info = PeerInfo::sample("host", "node");
        let producer = Producer::new(([127, 0, 0, 1], 1).into(), info, Timestamp::default());
        let mut client = Client::new(producer);
        let name = |number: usize| TopicName::new(&format!("t{number}")).expect("valid");
        let room = |client: &Client| match &client.topics {
            Topics::Registered(topics) => topics.capacity(),
            Topics::Leaving(_) => 0,
        };
        (0..10_000).for_each(|number| client.add(&name(number), None, 1));
        assert!(room(&client) >= 10_000);
        for number in 0..9_990 {
            client.begin_to_remove(name(number).as_str());
            assert!(client.remove_some().is_some(), "{number}");
        }
        assert!(room(&client) < 200, "{}", room(&client));
        assert_eq!(client.registrations(), 10);
        (9_990..10_000).for_each(|number| assert!(client.find(name(number).as_str()).is_some()));
    }
}
