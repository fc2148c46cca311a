//! One nsqd as its session holds it: the peer, and all it has registered.
//!
//! Must not: be shared; its registrations are walked when it leaves, and nobody else needs them.

use std::collections::HashSet;
use std::sync::Arc;

use ahash::RandomState;

use crate::directory::Peer;
use crate::protocol::names::{ChannelName, TopicName};

/// An identified nsqd. The registry changes it; it must [`super::Registry::leave`] in the end.
#[derive(Debug)]
pub struct Client {
    peer: Arc<Peer>,
    /// May hold names that an admin has deleted since: leaving them again changes nothing.
    registrations: HashSet<Registration, RandomState>,
}

/// A topic, or a channel of it, that an nsqd carries. Its names are shared with the registry.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Registration {
    pub(super) topic: TopicName,
    pub(super) channel: Option<ChannelName>,
}

impl Registration {
    pub(super) fn topic(topic: &TopicName) -> Self {
        Self { topic: topic.clone(), channel: None }
    }

    pub(super) fn channel(topic: &TopicName, channel: ChannelName) -> Self {
        Self { topic: topic.clone(), channel: Some(channel) }
    }
}

impl Client {
    pub(super) fn new(peer: Arc<Peer>) -> Self {
        Self { peer, registrations: HashSet::default() }
    }

    /// The nsqd as everybody sees it.
    #[must_use]
    pub fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    /// How many topics and channels it carries.
    #[must_use]
    pub fn registrations(&self) -> usize {
        self.registrations.len()
    }

    pub(super) fn hold(&mut self, registration: Registration) -> bool {
        self.registrations.insert(registration)
    }

    pub(super) fn release(&mut self, registration: &Registration) -> bool {
        self.registrations.remove(registration)
    }

    pub(super) fn into_parts(self) -> (Arc<Peer>, impl ExactSizeIterator<Item = Registration>) {
        (self.peer, self.registrations.into_iter())
    }
}
