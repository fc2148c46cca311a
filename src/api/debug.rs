//! `/debug`: every registration that has producers, with its key: those of channels, of nsqds, of
//! topics.
//!
//! Must not: encode an nsqd's object ahead of time: nobody asks for it but an operator in need. Any
//! thread. Source: nsq `nsqlookupd/http.go` `doDebug`.

use std::sync::Arc;

use super::listings::{Context, Listing, next_topic};
use super::response::JsonArray;
use super::walks::{ChannelsOf, Producers, Topics};
use crate::clock::Timestamp;
use crate::cow_set::CowSet;
use crate::protocol::json;
use crate::protocol::names::{ChannelName, TopicName};
use crate::snapshots::Producer;
use crate::work::Work;

/// All registrations.
#[derive(Debug)]
pub(super) struct Registrations {
    keys: JsonArray,
    stage: Stage,
    topics: Topics,
    /// The registration that is being written.
    current: Option<Registration>,
}

/// What is written now; the walk over the topics is made once for the channels, once for the topics.
#[derive(Debug)]
enum Stage {
    /// The channels of a topic, and those of them that were found and not written yet.
    Channels(Option<ChannelsOf>, Vec<ChannelName>),
    Clients,
    Topics,
}

/// One key and its producers.
#[derive(Debug)]
struct Registration {
    of: Of,
    producers: Producers,
    /// Its producers; none before the first.
    array: Option<JsonArray>,
}

#[derive(Debug)]
enum Of {
    Channel(TopicName, ChannelName),
    /// The nsqds, of which this part is next.
    Clients(usize),
    Topic(TopicName),
}

impl Default for Registrations {
    fn default() -> Self {
        let stage = Stage::Channels(None, Vec::new());
        Self { keys: JsonArray::default(), stage, topics: Topics::all(), current: None }
    }
}

impl Listing for Registrations {
    fn step(&mut self, context: &Context<'_>, work: &mut Work, out: &mut Vec<u8>) -> bool {
        let Self { keys, stage, topics, current } = self;
        if let Some(registration) = current {
            if registration.step(context, keys, work, out) {
                *current = None;
            }
            return false;
        }
        match stage {
            Stage::Channels(Some(channels), found) => match found.pop() {
                Some(name) => begin(current, Of::Channel(channels.topic.clone(), name)),
                None => {
                    let is_last = channels.step(context.snapshots, work, |channel| {
                        if !channel.producers().is_empty() {
                            found.push(channel.name().clone());
                        }
                    });
                    if is_last && found.is_empty() {
                        *stage = Stage::Channels(None, Vec::new());
                    }
                }
            },
            Stage::Channels(of, _) => {
                if next_topic(topics, context, work, |name| *of = Some(ChannelsOf::new(name))) {
                    *stage = Stage::Clients;
                }
            }
            Stage::Clients => {
                (*stage, *topics) = (Stage::Topics, Topics::all());
                begin(current, Of::Clients(0));
            }
            Stage::Topics => {
                return next_topic(topics, context, work, |name| begin(current, Of::Topic(name)));
            }
        }
        false
    }
}

fn begin(current: &mut Option<Registration>, of: Of) {
    *current = Some(Registration { of, producers: Producers::default(), array: None });
}

impl Registration {
    /// Writes some producers; whether those were the last, and its end is written.
    fn step(
        &mut self,
        context: &Context<'_>,
        keys: &mut JsonArray,
        work: &mut Work,
        out: &mut Vec<u8>,
    ) -> bool {
        let Self { of, producers, array } = self;
        let mut write = |key: String, set: &CowSet<_>, tombstoned_at: &TombstonedAt<'_>| {
            if array.is_none() && !set.is_empty() {
                keys.name(&key, out);
                out.extend_from_slice(b":[");
                *array = Some(JsonArray::default());
            }
            let Some(array) = array else { return true };
            producers.step(set, work, |producer: &Arc<Producer>| {
                array.next(out);
                write_producer(producer, tombstoned_at(producer), out);
            })
        };
        let is_last = match of {
            Of::Channel(topic, name) => context.snapshots.topic(topic.as_str(), |found| {
                let channel = found.and_then(|(topic, _)| topic.channel(name.as_str()));
                let Some(channel) = channel else { return true };
                write(format!("channel:{topic}:{name}"), channel.producers(), &|_| None)
            }),
            Of::Topic(name) => context.snapshots.topic(name.as_str(), |found| {
                let Some((topic, _)) = found else { return true };
                let tombstoned_at = |producer: &_| topic.tombstoned_at(producer);
                write(format!("topic:{name}:"), topic.producers(), &tombstoned_at)
            }),
            Of::Clients(part) => {
                if write("client::".to_owned(), &context.snapshots.nodes_of(*part), &|_| None) {
                    *part += 1;
                    *producers = Producers::default();
                }
                *part == context.snapshots.node_parts()
            }
        };
        if is_last && self.array.is_some() {
            out.push(b']');
        }
        is_last
    }
}

/// When a producer was tombstoned, if it was.
type TombstonedAt<'t> = dyn Fn(&Producer) -> Option<Timestamp> + 't;

/// What Go prints for the time of a tombstone that was never set: `time.Time{}.UnixNano()`.
const NEVER_TOMBSTONED: i64 = -6_795_364_578_871_345_152;

fn write_producer(producer: &Producer, tombstoned_at: Option<Timestamp>, out: &mut Vec<u8>) {
    let info = producer.peer_info();
    json::write_field("{\"broadcast_address\":", &info.broadcast_address, out);
    json::write_field(",\"hostname\":", &info.hostname, out);
    number(",\"http_port\":", info.http_port, out);
    json::write_field(",\"id\":", &producer.address().to_string(), out);
    number(",\"last_update\":", producer.last_update().unix_nanos(), out);
    number(",\"tcp_port\":", info.tcp_port, out);
    out.extend_from_slice(b",\"tombstoned\":");
    out.extend_from_slice(if tombstoned_at.is_some() { b"true" } else { b"false" });
    let at = tombstoned_at.map_or(NEVER_TOMBSTONED, Timestamp::unix_nanos);
    number(",\"tombstoned_at\":", at, out);
    json::write_field(",\"version\":", &info.version, out);
    out.push(b'}');
}

fn number(key: &str, value: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}
