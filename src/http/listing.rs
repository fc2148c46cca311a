//! The answers that walk the whole snapshots: `/topics`, `/nodes`, `/debug`, and `topic=*`.
//!
//! Each is linear in its answer. Must not: be asked by what polls (consumers ask `/lookup` of one
//! topic). Any thread. Source: nsq `nsqlookupd/http.go` `doTopics`, `doNodes`, `doDebug`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use ahash::RandomState;

use super::routes::{Commas, Routes, write_channels, write_name};
use crate::clock::Timestamp;
use crate::protocol::json;
use crate::protocol::names::TopicName;
use crate::snapshots::{Producer, Snapshots, Topic};

/// `{"topics":[…]}`
pub(super) fn topics(snapshots: &Snapshots, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"topics\":[");
    let mut comma = Commas::default();
    snapshots.each_topic(|name, _| {
        comma.write(out);
        write_name(name.as_str(), out);
    });
    out.extend_from_slice(b"]}");
}

/// What `/lookup?topic=*` says: the channels of all topics, one by one, and each producer once.
/// `None`, with `begin` not called, when there is no topic.
pub(super) fn lookup_every<'o>(
    routes: &Routes,
    now: Timestamp,
    begin: impl FnOnce() -> &'o mut Vec<u8>,
) -> Option<()> {
    let (mut channels, mut producers) = (Vec::new(), Vec::new());
    let (mut channel_comma, mut producer_comma) = (Commas::default(), Commas::default());
    let mut seen: HashSet<_, RandomState> = HashSet::default();
    let mut any = false;
    routes.snapshots().each_topic(|_, topic| {
        any = true;
        write_channels(topic, &mut channel_comma, &mut channels);
        for peer in topic.producers().iter() {
            // As in Go, the first topic that has the producer decides on its tombstone.
            if seen.insert(Arc::as_ptr(peer))
                && peer.is_active(now, routes.inactive_producer_timeout)
                && !topic.is_tombstoned(peer, now, routes.tombstone_lifetime)
            {
                producer_comma.write(&mut producers);
                producers.extend_from_slice(peer.json());
                producers.push(b'}');
            }
        }
    });
    let parts = [&b"{\"channels\":["[..], &channels, b"],\"producers\":[", &producers, b"]}"];
    any.then(|| {
        parts.iter().for_each({
            let out = begin();
            |part| out.extend_from_slice(part)
        })
    })
}

/// A line of `/nodes` in the making.
struct Node {
    peer: Arc<Producer>,
    /// Its topics, as indices into their names, and whether it is tombstoned there.
    topics: Vec<(u32, bool)>,
}

/// `{"producers":[{…,"tombstones":[bool],"topics":[…]}]}`: every active nsqd, tombstoned or not.
/// One pass over all topics' producers, since nobody publishes what one nsqd carries.
pub(super) fn nodes(routes: &Routes, now: Timestamp, out: &mut Vec<u8>) {
    let mut nodes = Vec::new();
    routes.snapshots().each_node(|peer| {
        if peer.is_active(now, routes.inactive_producer_timeout) {
            nodes.push(Node { peer: Arc::clone(peer), topics: Vec::new() });
        }
    });
    // In the order of a topic's producers, so that one walk along both finds them.
    nodes.sort_unstable_by_key(|node| Arc::as_ptr(&node.peer));
    let addresses: Vec<_> = nodes.iter().map(|node| Arc::as_ptr(&node.peer)).collect();
    let mut names: Vec<TopicName> = Vec::new();
    routes.snapshots().each_topic(|name, topic| {
        let index = u32::try_from(names.len()).expect("far fewer names than this");
        let mut place = 0;
        for peer in topic.producers().iter() {
            place = exponential_search(&addresses, place, Arc::as_ptr(peer));
            if addresses.get(place) == Some(&Arc::as_ptr(peer)) {
                let hidden = topic.is_tombstoned(peer, now, routes.tombstone_lifetime);
                nodes[place].topics.push((index, hidden));
            }
        }
        names.push(name.clone());
    });
    out.extend_from_slice(b"{\"producers\":[");
    let mut comma = Commas::default();
    for node in &nodes {
        comma.write(out);
        node.write(&names, out);
    }
    out.extend_from_slice(b"]}");
}

/// The first place from `from` on whose address is `sought` or above: in few steps when it is near,
/// as in a topic that most nsqds carry, and in logarithmically many when it is not.
fn exponential_search(
    addresses: &[*const Producer],
    from: usize,
    sought: *const Producer,
) -> usize {
    let (mut low, mut step) = (from, 1);
    while addresses.get(low + step).is_some_and(|&address| address < sought) {
        low += step;
        step *= 2;
    }
    let high = addresses.len().min(low + step + 1);
    low + addresses[low..high].partition_point(|&address| address < sought)
}

impl Node {
    fn write(&self, names: &[TopicName], out: &mut Vec<u8>) {
        out.extend_from_slice(self.peer.json());
        out.extend_from_slice(b",\"tombstones\":[");
        let mut comma = Commas::default();
        for &(_, hidden) in &self.topics {
            comma.write(out);
            out.extend_from_slice(if hidden { b"true" } else { b"false" });
        }
        out.extend_from_slice(b"],\"topics\":[");
        let mut comma = Commas::default();
        for &(name, _) in &self.topics {
            comma.write(out);
            write_name(names[name as usize].as_str(), out);
        }
        out.extend_from_slice(b"]}");
    }
}

/// What Go prints for the time of a tombstone that was never set: `time.Time{}.UnixNano()`.
const NEVER_TOMBSTONED: i64 = -6_795_364_578_871_345_152;

/// `{"channel:t:c":[{…}],"client::":[{…}],"topic:t:":[{…}]}`: every registration that has
/// producers, with its key, in the order of the keys.
pub(super) fn debug(snapshots: &Snapshots, out: &mut Vec<u8>) {
    let mut topics: Vec<(TopicName, Topic)> = Vec::new();
    snapshots.each_topic(|name, topic| topics.push((name.clone(), topic.clone())));
    let mut channels = Vec::new();
    for (name, topic) in &topics {
        for channel in topic.channels().iter() {
            channels.push((format!("channel:{name}:{}", channel.name()), channel));
        }
    }
    channels.sort_unstable_by(|one, other| one.0.cmp(&other.0));
    let mut clients = Vec::new();
    snapshots.each_node(|peer| clients.push(Arc::clone(peer)));
    let mut keys: Vec<_> =
        topics.iter().map(|(name, topic)| (format!("topic:{name}:"), topic)).collect();
    keys.sort_unstable_by(|one, other| one.0.cmp(&other.0));
    let mut dump = Dump { out, keys: Commas::default(), seen: HashMap::default() };
    dump.out.push(b'{');
    for (key, channel) in &channels {
        dump.registration(key, channel.producers().iter(), |_| None);
    }
    dump.registration("client::", clients.iter(), |_| None);
    for (key, topic) in keys {
        dump.registration(&key, topic.producers().iter(), |peer| topic.tombstoned_at(peer));
    }
    dump.out.push(b'}');
}

/// `/debug` being written. An nsqd stands in it once for each of its registrations, nearly the
/// same every time: its object is encoded once, but for what is about the tombstone.
struct Dump<'o> {
    out: &'o mut Vec<u8>,
    keys: Commas,
    /// What stands before the tombstone, and behind it. The topics and clients being written keep
    /// every peer alive, so that no address is used twice.
    seen: HashMap<*const Producer, (Vec<u8>, Vec<u8>), RandomState>,
}

impl Dump<'_> {
    /// Writes one registration, if it has producers.
    fn registration<'p>(
        &mut self,
        key: &str,
        producers: impl Iterator<Item = &'p Arc<Producer>>,
        tombstoned_at: impl Fn(&Producer) -> Option<Timestamp>,
    ) {
        let mut producers = producers.peekable();
        if producers.peek().is_none() {
            return;
        }
        self.keys.write(self.out);
        write_name(key, self.out);
        self.out.extend_from_slice(b":[");
        let mut comma = Commas::default();
        for peer in producers {
            comma.write(self.out);
            self.producer(peer, tombstoned_at(peer));
        }
        self.out.push(b']');
    }

    fn producer(&mut self, peer: &Arc<Producer>, tombstoned_at: Option<Timestamp>) {
        let around = self.seen.entry(Arc::as_ptr(peer)).or_insert_with(|| around_tombstone(peer));
        self.out.extend_from_slice(&around.0);
        self.out.extend_from_slice(if tombstoned_at.is_some() { b"true" } else { b"false" });
        let at = tombstoned_at.map_or(NEVER_TOMBSTONED, Timestamp::unix_nanos);
        number(",\"tombstoned_at\":", at, self.out);
        self.out.extend_from_slice(&around.1);
    }
}

/// A producer's object in `/debug`, up to the value of `tombstoned`, and from `version` on.
fn around_tombstone(peer: &Producer) -> (Vec<u8>, Vec<u8>) {
    let identity = peer.peer_info();
    let mut before = b"{\"broadcast_address\":".to_vec();
    json::write_string(&identity.broadcast_address, &mut before);
    before.extend_from_slice(b",\"hostname\":");
    json::write_string(&identity.hostname, &mut before);
    number(",\"http_port\":", identity.http_port, &mut before);
    before.extend_from_slice(b",\"id\":");
    json::write_string(&peer.address().to_string(), &mut before);
    number(",\"last_update\":", peer.last_update().unix_nanos(), &mut before);
    number(",\"tcp_port\":", identity.tcp_port, &mut before);
    before.extend_from_slice(b",\"tombstoned\":");
    let mut behind = b",\"version\":".to_vec();
    json::write_string(&identity.version, &mut behind);
    behind.push(b'}');
    (before, behind)
}

fn number(key: &str, value: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}
