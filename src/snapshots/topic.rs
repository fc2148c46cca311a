//! A topic as a value: its producers, its channels with their producers, its tombstones.
//!
//! The registry changes its own copy and publishes clones of it. Must not: lock, publish or read a
//! clock.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;

use super::Producer;
use super::producer::by_address;
use crate::clock::Timestamp;
use crate::cow_set::CowSet;
use crate::protocol::host::Node;
use crate::protocol::names::ChannelName;
use crate::reclaim::Garbage;

/// In the order of the producers, since all of a large topic may be tombstoned.
type Tombstones = CowSet<(Arc<Producer>, Timestamp)>;

/// A topic. A clone costs a few reference counts.
#[derive(Clone, Debug, Default)]
pub struct Topic {
    producers: CowSet<Arc<Producer>>,
    channels: CowSet<Arc<Channel>>,
    /// Bytes of the names of its channels and of what a `/lookup` shows of its producers.
    bytes: usize,
    /// When each tombstoned producer was tombstoned. Nearly always none.
    tombstones: Tombstones,
}

/// How long a producer stays in answers.
#[derive(Clone, Copy, Debug)]
pub struct Visibility {
    /// A producer that was silent for longer is left out (`--inactive-producer-timeout`).
    pub inactive_producer_timeout: Duration,
    /// How long a tombstone hides a producer (`--tombstone-lifetime`).
    pub tombstone_lifetime: Duration,
}

/// A channel of a topic.
#[derive(Clone, Debug)]
pub struct Channel {
    name: ChannelName,
    producers: CowSet<Arc<Producer>>,
}

impl Channel {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &ChannelName {
        &self.name
    }

    /// The nsqds that have registered it, in an order that does not change while they are connected.
    #[must_use]
    pub fn producers(&self) -> &CowSet<Arc<Producer>> {
        &self.producers
    }

    /// Whether `producer` has registered it.
    #[must_use]
    pub fn has_producer(&self, producer: &Arc<Producer>) -> bool {
        self.producers.find(by_address(producer)).is_some()
    }
}

fn by_name(sought: &str) -> impl Fn(&Arc<Channel>) -> Ordering {
    move |channel| channel.name.as_str().cmp(sought)
}

/// Bytes of a producer in a list: its object, the brace that ends it, and a comma.
fn bytes_of(producer: &Producer) -> usize {
    producer.json().len() + 2
}

/// Bytes of a name in a list: two quotes and a comma.
fn bytes_of_name(name: &str) -> usize {
    name.len() + 3
}

impl Garbage for Topic {
    fn is_alone(&self) -> bool {
        !self.channels.is_shared() && !self.producers.is_shared()
    }
}

impl Topic {
    /// The nsqds that have registered it, in an order that does not change while they are connected.
    #[must_use]
    pub fn producers(&self) -> &CowSet<Arc<Producer>> {
        &self.producers
    }

    /// Its channels, by name.
    #[must_use]
    pub fn channels(&self) -> &CowSet<Arc<Channel>> {
        &self.channels
    }

    /// Its channels, by name, behind the one called `last`, whether or not there is one.
    pub fn channels_after(
        &self,
        last: Option<&ChannelName>,
    ) -> impl Iterator<Item = &Arc<Channel>> {
        self.channels.iter_from(move |channel| match last {
            Some(last) if channel.name <= *last => Ordering::Less,
            _ => Ordering::Greater,
        })
    }

    /// The channel called `name`.
    #[must_use]
    pub fn channel(&self, name: &str) -> Option<&Arc<Channel>> {
        self.channels.find(by_name(name))
    }

    /// Whether `producer` has registered it.
    #[must_use]
    pub fn has_producer(&self, producer: &Arc<Producer>) -> bool {
        self.producers.find(by_address(producer)).is_some()
    }

    /// Whether it has more than `count` producers or more than `count` channels.
    #[must_use]
    pub fn is_larger_than(&self, count: usize) -> bool {
        self.producers.is_longer_than(count) || self.channels.is_longer_than(count)
    }

    /// About how long the body of a `/lookup` is that shows all its producers.
    #[must_use]
    pub fn lookup_bytes(&self) -> usize {
        self.bytes
    }

    /// When `producer` was tombstoned here, if it was, however long ago.
    #[must_use]
    pub fn tombstoned_at(&self, producer: &Producer) -> Option<Timestamp> {
        let sought = std::ptr::from_ref(producer);
        self.tombstones.find(|(nsqd, _)| Arc::as_ptr(nsqd).cmp(&sought)).map(|&(_, at)| at)
    }

    /// Whether `producer` is tombstoned here at `now`.
    #[must_use]
    #[inline]
    pub fn is_tombstoned(&self, producer: &Producer, now: Timestamp, lifetime: Duration) -> bool {
        // Nearly always there are none.
        !self.tombstones.is_empty()
            && self.tombstoned_at(producer).is_some_and(|at| now.since(at) < lifetime)
    }

    /// Whether a lookup at `now` shows `producer`: it is active, and not tombstoned here.
    #[must_use]
    #[inline]
    pub fn is_visible(&self, producer: &Producer, now: Timestamp, rules: &Visibility) -> bool {
        producer.is_active(now, rules.inactive_producer_timeout)
            && !self.is_tombstoned(producer, now, rules.tombstone_lifetime)
    }

    /// Until when every producer is visible, whatever they do; never, if one is not visible now.
    #[must_use]
    pub fn all_visible_until(&self, now: Timestamp, rules: &Visibility) -> Option<Timestamp> {
        let mut earliest = Timestamp::NEVER;
        for producer in self.producers.iter() {
            if !self.is_visible(producer, now, rules) {
                return None;
            }
            earliest = earliest.min(producer.last_update());
        }
        Some(earliest + rules.inactive_producer_timeout)
    }

    /// Adds a producer. Returns whether it is new. Does not clear a tombstone.
    pub(crate) fn add_producer(&mut self, producer: &Arc<Producer>) -> bool {
        let is_new = !self.has_producer(producer)
            && self.producers.insert(Arc::clone(producer), by_address(producer));
        if is_new {
            self.bytes += bytes_of(producer);
        }
        is_new
    }

    /// Removes a producer and its tombstone, but not from channels. Returns whether it was there.
    pub(crate) fn remove_producer(&mut self, producer: &Arc<Producer>) -> bool {
        let order = by_address(producer);
        self.tombstones.remove(|(tombstoned, _)| order(tombstoned));
        let is_removed = self.producers.remove(by_address(producer));
        if is_removed {
            self.bytes -= bytes_of(producer);
        }
        is_removed
    }

    /// Adds a channel without producers. Returns whether it is new.
    pub(crate) fn add_channel(&mut self, name: &ChannelName) -> bool {
        if self.channel(name.as_str()).is_some() {
            return false;
        }
        let channel = Channel { name: name.clone(), producers: CowSet::default() };
        self.bytes += bytes_of_name(name.as_str());
        self.channels.insert(Arc::new(channel), by_name(name.as_str()))
    }

    /// Removes a channel with its producers. Returns whether it was there.
    pub(crate) fn remove_channel(&mut self, name: &str) -> bool {
        let is_removed = self.channels.remove(by_name(name));
        if is_removed {
            self.bytes -= bytes_of_name(name);
        }
        is_removed
    }

    /// Adds a producer to a channel, which is made if there is none. Returns whether the producer is
    /// new to it.
    pub(crate) fn add_channel_producer(
        &mut self,
        name: &ChannelName,
        producer: &Arc<Producer>,
    ) -> bool {
        let mut changed = match self.channel(name.as_str()) {
            Some(channel) if channel.has_producer(producer) => return false,
            Some(channel) => Channel::clone(channel),
            None => {
                self.bytes += bytes_of_name(name.as_str());
                Channel { name: name.clone(), producers: CowSet::default() }
            }
        };
        changed.producers.insert(Arc::clone(producer), by_address(producer));
        self.channels.insert(Arc::new(changed), by_name(name.as_str()));
        true
    }

    /// Removes a producer from a channel. Returns whether it was there.
    pub(crate) fn remove_channel_producer(&mut self, name: &str, producer: &Arc<Producer>) -> bool {
        let Some(channel) = self.channel(name) else { return false };
        if !channel.has_producer(producer) {
            return false;
        }
        let mut changed = Channel::clone(channel);
        changed.producers.remove(by_address(producer));
        self.channels.insert(Arc::new(changed), by_name(name));
        true
    }

    /// Tombstones at `now` every producer that is `node`. Returns how many it looked at, and whether
    /// one was.
    pub(crate) fn tombstone(&mut self, node: &Node<'_>, now: Timestamp) -> (usize, bool) {
        let (mut seen, mut is_any) = (0, false);
        for producer in self.producers.iter() {
            seen += 1;
            if producer.is_node(node) {
                let order = by_address(producer);
                self.tombstones.insert((Arc::clone(producer), now), |(known, _)| order(known));
                is_any = true;
            }
        }
        (seen, is_any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::peer_info::PeerInfo;

    #[test]
    fn bytes_of_a_lookup_are_those_of_what_is_there() {
        let info = PeerInfo::sample("host", "node");
        let producer = Producer::new(([127, 0, 0, 1], 1).into(), info, Timestamp::default());
        let name = |text| ChannelName::new(text).expect("valid");
        let mut topic = Topic::default();
        for _ in 0..2 {
            topic.add_producer(&producer);
            topic.add_channel(&name("first"));
            topic.add_channel_producer(&name("second"), &producer);
            topic.add_channel_producer(&name("first"), &producer);
        }
        let names = "\"first\",\"second\",".len();
        assert_eq!(topic.lookup_bytes(), producer.json().len() + "},".len() + names);
        for _ in 0..2 {
            topic.remove_channel_producer("first", &producer);
            topic.remove_channel("second");
            topic.remove_producer(&producer);
        }
        assert_eq!(topic.lookup_bytes(), "\"first\",".len());
    }
}
