//! The responses that walk all topics: `/topics`, `/nodes`, `/debug`, and `topic=*`.
//!
//! Each takes time linear in its response; consumers, which poll, ask `/lookup` of one topic. Must
//! not: know requests. Any thread. Source: nsq `nsqlookupd/http.go` `doTopics`, `doNodes`,
//! `doDebug`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use ahash::RandomState;

use super::response::JsonArray;
use crate::clock::Timestamp;
use crate::protocol::json;
use crate::protocol::names::TopicName;
use crate::snapshots::{Producer, Snapshots, Topic, Visibility};

/// Writes the names of a topic's channels as elements of an array.
pub(super) fn write_channels(topic: &Topic, channels: &mut JsonArray, out: &mut Vec<u8>) {
    for channel in topic.channels().iter() {
        channels.name(channel.name().as_str(), out);
    }
}

/// `{"topics":[…]}`
pub(super) fn topics(snapshots: &Snapshots, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"topics\":[");
    let mut array = JsonArray::default();
    snapshots.each_topic(|name, _| array.name(name.as_str(), out));
    out.extend_from_slice(b"]}");
}

/// `/lookup?topic=*`: the channels of all topics, one by one, and each producer once. `None`, with
/// `begin` not called, when there is no topic.
pub(super) fn lookup_all<'o>(
    snapshots: &Snapshots,
    visibility: &Visibility,
    now: Timestamp,
    begin: impl FnOnce() -> &'o mut Vec<u8>,
) -> Option<()> {
    let (mut channels, mut producers) = (Vec::new(), Vec::new());
    let (mut channel_array, mut producer_array) = (JsonArray::default(), JsonArray::default());
    let mut seen: HashSet<_, RandomState> = HashSet::default();
    let mut any = false;
    snapshots.each_topic(|_, topic| {
        any = true;
        write_channels(topic, &mut channel_array, &mut channels);
        for producer in topic.producers().iter() {
            // As in Go, the first topic that has the producer decides on its tombstone.
            if seen.insert(Arc::as_ptr(producer)) && topic.is_visible(producer, now, visibility) {
                producer_array.next(&mut producers);
                producers.extend_from_slice(producer.json());
                producers.push(b'}');
            }
        }
    });
    let parts = [&b"{\"channels\":["[..], &channels, b"],\"producers\":[", &producers, b"]}"];
    any.then(|| {
        let out = begin();
        parts.iter().for_each(|part| out.extend_from_slice(part));
    })
}

/// One producer of `/nodes`.
struct Node {
    producer: Arc<Producer>,
    /// Its topics, as indices into their names, and whether it is tombstoned there.
    topics: Vec<(u32, bool)>,
}

/// `{"producers":[{…,"tombstones":[bool],"topics":[…]}]}`: every active nsqd, tombstoned or not.
/// One pass over all topics' producers, since nobody publishes what one nsqd carries.
pub(super) fn nodes(
    snapshots: &Snapshots,
    visibility: &Visibility,
    now: Timestamp,
    out: &mut Vec<u8>,
) {
    let mut nodes = Vec::new();
    snapshots.each_node(|producer| {
        if producer.is_active(now, visibility.inactive_producer_timeout) {
            nodes.push(Node { producer: Arc::clone(producer), topics: Vec::new() });
        }
    });
    // In the order of a topic's producers, so that one walk along both finds them.
    nodes.sort_unstable_by_key(|node| Arc::as_ptr(&node.producer));
    let addresses: Vec<_> = nodes.iter().map(|node| Arc::as_ptr(&node.producer)).collect();
    let mut names: Vec<TopicName> = Vec::new();
    snapshots.each_topic(|name, topic| {
        let index = u32::try_from(names.len()).expect("far fewer names than this");
        let mut place = 0;
        for producer in topic.producers().iter() {
            place = exponential_search(&addresses, place, Arc::as_ptr(producer));
            if addresses.get(place) == Some(&Arc::as_ptr(producer)) {
                let hidden = topic.is_tombstoned(producer, now, visibility.tombstone_lifetime);
                nodes[place].topics.push((index, hidden));
            }
        }
        names.push(name.clone());
    });
    out.extend_from_slice(b"{\"producers\":[");
    let mut array = JsonArray::default();
    for node in &nodes {
        array.next(out);
        node.write(&names, out);
    }
    out.extend_from_slice(b"]}");
}

/// The first place from `from` on whose address is `sought` or above: in few steps when it is near,
/// as in a topic that most nsqds carry, and in logarithmically many when it is not.
fn exponential_search(sorted: &[*const Producer], from: usize, sought: *const Producer) -> usize {
    let (mut low, mut step) = (from, 1);
    while sorted.get(low + step).is_some_and(|&address| address < sought) {
        low += step;
        step *= 2;
    }
    let high = sorted.len().min(low + step + 1);
    low + sorted[low..high].partition_point(|&address| address < sought)
}

impl Node {
    fn write(&self, names: &[TopicName], out: &mut Vec<u8>) {
        out.extend_from_slice(self.producer.json());
        out.extend_from_slice(b",\"tombstones\":[");
        let mut array = JsonArray::default();
        for &(_, hidden) in &self.topics {
            array.next(out);
            out.extend_from_slice(if hidden { b"true" } else { b"false" });
        }
        out.extend_from_slice(b"],\"topics\":[");
        let mut array = JsonArray::default();
        for &(name, _) in &self.topics {
            array.name(names[name as usize].as_str(), out);
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
    snapshots.each_node(|producer| clients.push(Arc::clone(producer)));
    let mut keys: Vec<_> =
        topics.iter().map(|(name, topic)| (format!("topic:{name}:"), topic)).collect();
    keys.sort_unstable_by(|one, other| one.0.cmp(&other.0));
    let mut writer = DebugWriter { out, keys: JsonArray::default(), seen: HashMap::default() };
    writer.out.push(b'{');
    for (key, channel) in &channels {
        writer.registration(key, channel.producers().iter(), |_| None);
    }
    writer.registration("client::", clients.iter(), |_| None);
    for (key, topic) in keys {
        writer.registration(&key, topic.producers().iter(), |nsqd| topic.tombstoned_at(nsqd));
    }
    writer.out.push(b'}');
}

/// `/debug` being written. An nsqd stands in it once for each of its registrations, nearly the
/// same every time: its object is encoded once, but for what is about the tombstone.
struct DebugWriter<'o> {
    out: &'o mut Vec<u8>,
    keys: JsonArray,
    /// What stands before the tombstone, and behind it. The topics and clients being written keep
    /// every producer alive, so that no address is used twice.
    seen: HashMap<*const Producer, (Vec<u8>, Vec<u8>), RandomState>,
}

impl DebugWriter<'_> {
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
        self.keys.name(key, self.out);
        self.out.extend_from_slice(b":[");
        let mut array = JsonArray::default();
        for producer in producers {
            array.next(self.out);
            self.producer(producer, tombstoned_at(producer));
        }
        self.out.push(b']');
    }

    fn producer(&mut self, producer: &Arc<Producer>, tombstoned_at: Option<Timestamp>) {
        let new = || around_tombstone(producer);
        let around = self.seen.entry(Arc::as_ptr(producer)).or_insert_with(new);
        self.out.extend_from_slice(&around.0);
        self.out.extend_from_slice(if tombstoned_at.is_some() { b"true" } else { b"false" });
        let at = tombstoned_at.map_or(NEVER_TOMBSTONED, Timestamp::unix_nanos);
        number(",\"tombstoned_at\":", at, self.out);
        self.out.extend_from_slice(&around.1);
    }
}

/// A producer's object in `/debug`, up to the value of `tombstoned`, and from `version` on.
fn around_tombstone(producer: &Producer) -> (Vec<u8>, Vec<u8>) {
    let info = producer.peer_info();
    let (mut before, mut behind) = (Vec::new(), Vec::new());
    json::write_field("{\"broadcast_address\":", &info.broadcast_address, &mut before);
    json::write_field(",\"hostname\":", &info.hostname, &mut before);
    number(",\"http_port\":", info.http_port, &mut before);
    json::write_field(",\"id\":", &producer.address().to_string(), &mut before);
    number(",\"last_update\":", producer.last_update().unix_nanos(), &mut before);
    number(",\"tcp_port\":", info.tcp_port, &mut before);
    before.extend_from_slice(b",\"tombstoned\":");
    json::write_field(",\"version\":", &info.version, &mut behind);
    behind.push(b'}');
    (before, behind)
}

fn number(key: &str, value: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}
