//! The responses that walk many topics, channels or nsqds: `/topics`, `/nodes`, `/debug`, `topic=*`,
//! and those about one topic that is large.
//!
//! Each is a [`Listing`], whose steps write a little of the body. Must not: know requests; keep a
//! snapshot from one step to the next. Any thread. Source: nsq `nsqlookupd/http.go` `doTopics`,
//! `doChannels`, `doLookup`, `doNodes`, `doDebug`.

use std::collections::HashSet;
use std::fmt::Debug;
use std::sync::Arc;

use ahash::RandomState;

use super::debug::Registrations;
use super::nodes::NodesListing;
use super::response::JsonArray;
use super::walks::{ChannelsOf, Next, Producers, Topics};
use crate::clock::Timestamp;
use crate::protocol::names::TopicName;
use crate::registry::Registry;
use crate::snapshots::{Channel, Producer, Snapshots, Visibility};
use crate::work::Work;

/// A body that is written in steps.
pub(super) trait Listing: Debug + Send {
    /// Writes a little more of it; whether that was the last.
    fn step(&mut self, context: &Context<'_>, work: &mut Work, out: &mut Vec<u8>) -> bool;

    /// About how much it collects before it writes, in bytes.
    fn bytes(&self, _: &Registry) -> usize {
        0
    }
}

/// What a step reads.
pub(super) struct Context<'c> {
    pub(super) snapshots: &'c Snapshots,
    pub(super) visibility: &'c Visibility,
    pub(super) now: Timestamp,
}

/// `/topics`: `{"topics":[…]}`
pub(super) fn topics() -> Vec<Part> {
    vec![Part::text("{\"topics\":["), Part::new(TopicNames(array(), Topics::all())), END]
}

/// `/channels`: `{"channels":[…]}`, those of all `topics` one by one.
pub(super) fn channels(topics: Topics) -> Vec<Part> {
    vec![Part::text("{\"channels\":["), Part::new(ChannelNames::new(topics)), END]
}

/// `/lookup`: `{"channels":[…],"producers":[…]}`, of all topics, each producer once.
pub(super) fn lookup_all() -> Vec<Part> {
    lookup(Topics::all(), LookupProducers::new(Topics::all(), Some(HashSet::default())))
}

/// The same of one topic that has many of them.
pub(super) fn lookup_one(topic: &TopicName) -> Vec<Part> {
    let one = || Topics::one(topic.clone());
    lookup(one(), LookupProducers::new(one(), None))
}

fn lookup(topics: Topics, producers: LookupProducers) -> Vec<Part> {
    let (begin, middle) = (Part::text("{\"channels\":["), Part::text("],\"producers\":["));
    vec![begin, Part::new(ChannelNames::new(topics)), middle, Part::new(producers), END]
}

/// `/nodes`: `{"producers":[{…,"tombstones":[bool],"topics":[…]}]}`, every active nsqd, tombstoned
/// or not.
pub(super) fn nodes(expected_topics: usize) -> Vec<Part> {
    let listing = NodesListing::new(expected_topics);
    vec![Part::text("{\"producers\":["), Part::new(listing), END]
}

/// `/debug`: `{"channel:t:c":[{…}],"client::":[{…}],"topic:t:":[{…}]}`, every registration that has
/// producers, with its key. Divergence: nsqlookupd sorts all keys; here the channels come first,
/// then the nsqds, then the topics.
pub(super) fn debug() -> Vec<Part> {
    vec![Part::text("{"), Part::new(Registrations::default()), Part::text("}")]
}

/// A piece of a body.
#[derive(Debug)]
pub(super) enum Part {
    Text(&'static str),
    Listing(Box<dyn Listing>),
}

const END: Part = Part::Text("]}");

impl Part {
    /// Does a little of it; whether that was the last.
    pub(super) fn step(
        &mut self,
        context: &Context<'_>,
        work: &mut Work,
        out: &mut Vec<u8>,
    ) -> bool {
        match self {
            Self::Text(text) => out.extend_from_slice(text.as_bytes()),
            Self::Listing(listing) => return listing.step(context, work, out),
        }
        true
    }

    /// About how much it collects before it can be written, in bytes.
    pub(super) fn bytes(&self, registry: &Registry) -> usize {
        match self {
            Self::Text(_) => 0,
            Self::Listing(listing) => listing.bytes(registry),
        }
    }

    const fn text(text: &'static str) -> Self {
        Self::Text(text)
    }

    fn new(listing: impl Listing + 'static) -> Self {
        Self::Listing(Box::new(listing))
    }
}

fn array() -> JsonArray {
    JsonArray::default()
}

/// The names of topics.
#[derive(Debug)]
struct TopicNames(JsonArray, Topics);

impl Listing for TopicNames {
    fn step(&mut self, context: &Context<'_>, work: &mut Work, out: &mut Vec<u8>) -> bool {
        work.spend(2);
        match self.1.next(context.snapshots, work) {
            Next::Topic(name) => self.0.name(name.as_str(), out),
            Next::Later => {}
            Next::End => return true,
        }
        false
    }
}

/// The names of the channels of topics.
#[derive(Debug)]
struct ChannelNames {
    array: JsonArray,
    topics: Topics,
    current: Option<ChannelsOf>,
}

impl ChannelNames {
    fn new(topics: Topics) -> Self {
        Self { array: array(), topics, current: None }
    }
}

impl Listing for ChannelNames {
    fn step(&mut self, context: &Context<'_>, work: &mut Work, out: &mut Vec<u8>) -> bool {
        let Self { array, topics, current } = self;
        let Some(channels) = current else {
            return next_topic(topics, context, work, |name| {
                *current = Some(ChannelsOf::new(name))
            });
        };
        let write = |channel: &Channel| array.name(channel.name().as_str(), out);
        if channels.step(context.snapshots, work, write) {
            *current = None;
        }
        false
    }
}

/// Begins the next topic; whether there is none.
pub(super) fn next_topic(
    topics: &mut Topics,
    context: &Context<'_>,
    work: &mut Work,
    begin: impl FnOnce(TopicName),
) -> bool {
    match topics.next(context.snapshots, work) {
        Next::Topic(name) => begin(name),
        Next::Later => {}
        Next::End => return true,
    }
    false
}

/// The producers of topics that a lookup shows.
#[derive(Debug)]
struct LookupProducers {
    array: JsonArray,
    topics: Topics,
    current: Option<(TopicName, Producers)>,
    /// Those written or left out already, which live as long: as in Go, the first topic that has the
    /// producer decides on its tombstone.
    seen: Option<HashSet<SameProducer, RandomState>>,
}

/// A producer, equal only to itself.
#[derive(Debug)]
struct SameProducer(Arc<Producer>);

impl PartialEq for SameProducer {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for SameProducer {}

impl std::hash::Hash for SameProducer {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

impl LookupProducers {
    fn new(topics: Topics, seen: Option<HashSet<SameProducer, RandomState>>) -> Self {
        Self { array: array(), topics, current: None, seen }
    }
}

impl Listing for LookupProducers {
    fn step(&mut self, context: &Context<'_>, work: &mut Work, out: &mut Vec<u8>) -> bool {
        let Self { array, topics, current, seen } = self;
        let Some((name, producers)) = current else {
            let begin = |name| *current = Some((name, Producers::default()));
            return next_topic(topics, context, work, begin);
        };
        let is_last = context.snapshots.topic(name.as_str(), |found| {
            let Some((topic, _)) = found else { return true };
            producers.step(topic.producers(), work, |producer| {
                let is_new = match seen {
                    Some(seen) => seen.insert(SameProducer(Arc::clone(producer))),
                    None => true,
                };
                if is_new && topic.is_visible(producer, context.now, context.visibility) {
                    array.next(out);
                    out.extend_from_slice(producer.json());
                    out.push(b'}');
                }
            })
        });
        if is_last {
            *current = None;
        }
        false
    }
}
