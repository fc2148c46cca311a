//! The handlers of the API: each reads a request's parameters and the snapshots, and writes a
//! response.
//!
//! Must not: know connections, framing or time but the `now` it is given, or read from the
//! registry, whose locks are for writers. Any thread. Source: nsq `nsqlookupd/http.go`.

use std::borrow::Cow;
use std::sync::Arc;

use super::listings;
use super::long::{Change, Walks};
use super::response::{ApiError, JsonArray, NSQ, TEXT, json};
use super::routes::Routed;
use super::walks::Topics;
use crate::clock::Timestamp;
use crate::http1::{Request, Response, Task};
use crate::limits;
use crate::metrics::{Families, Format};
use crate::protocol::NSQ_VERSION;
use crate::protocol::names::{ALL_TOPICS, ChannelName, TopicName};
use crate::registry::Registry;
use crate::snapshots::{Snapshots, Topic, Visibility};

/// What the handlers answer from.
#[derive(Clone, Debug)]
pub struct Api {
    /// The registry: handlers change it, and read its snapshots.
    pub registry: Arc<Registry>,
    /// Which producers are shown.
    pub visibility: Visibility,
    /// Responses to lookups of topics with as many producers are cached.
    pub cache_from: usize,
    /// What `/metrics` shows.
    pub metrics: Arc<Families>,
    /// The long responses that are being made.
    pub walks: Arc<Walks>,
}

impl Api {
    pub(super) fn snapshots(&self) -> &Snapshots {
        self.registry.snapshots()
    }
}

/// From so many producers on it pays to cache the response to a lookup: 5 KB.
pub const CACHE_FROM: usize = 32;

/// Channels whose names are written, for a unit of work.
pub(super) const CHANNELS_PER_UNIT: usize = 4;

/// One request and its response in the hands of a handler.
pub(super) struct Exchange<'e, 'o> {
    pub(super) api: &'e Api,
    pub(super) request: &'e Request<'e, Routed>,
    pub(super) now: Timestamp,
    pub(super) response: &'e mut Response<'o>,
}

/// A handler has written its response, or returns what is left to do for it, or the error that is
/// the response.
pub(super) type Answered = Result<Option<Box<dyn Task>>, ApiError>;

/// The parameters. Source: nsq `internal/http_api/req_params.go`.
impl<'e> Exchange<'e, '_> {
    /// The first value of each of `names`. As in NSQ the query is parsed first, then the body read.
    fn params<const N: usize>(
        &self,
        names: [&str; N],
    ) -> Result<[Option<Cow<'e, [u8]>>; N], ApiError> {
        let found = self.request.head.target.parameters(names)?;
        if self.request.body_is_broken { Err(ApiError::INVALID_REQUEST) } else { Ok(found) }
    }

    pub(super) fn topic(&self) -> Result<Cow<'e, [u8]>, ApiError> {
        let [topic] = self.params(["topic"])?;
        topic.ok_or(ApiError::MISSING_ARG_TOPIC)
    }

    /// Source: nsq `internal/http_api/topic_channel_args.go`, whose order of checks this is.
    fn topic_and_channel(&self) -> Result<(TopicName, ChannelName), ApiError> {
        let [topic, channel] = self.params(["topic", "channel"])?;
        let topic = topic.ok_or(ApiError::MISSING_ARG_TOPIC)?;
        let topic = TopicName::new(text(&topic)).ok_or(ApiError::INVALID_ARG_TOPIC)?;
        let channel = channel.ok_or(ApiError::MISSING_ARG_CHANNEL)?;
        let channel = ChannelName::new(text(&channel)).ok_or(ApiError::INVALID_ARG_CHANNEL)?;
        Ok((topic, channel))
    }
}

/// A parameter as text; empty, which is no valid name or node, when it is not UTF-8.
pub(super) fn text(parameter: &[u8]) -> &str {
    std::str::from_utf8(parameter).unwrap_or_default()
}

/// The name of a topic that was found by this parameter.
pub(super) fn known(topic: &[u8]) -> TopicName {
    TopicName::new(text(topic)).expect("no other is ever listed")
}

/// The response to a change that was made.
fn done(exchange: Exchange<'_, '_>) -> Answered {
    exchange.response.start(200, &[NSQ], 0);
    Ok(None)
}

pub(super) fn do_ping(exchange: Exchange<'_, '_>) -> Answered {
    exchange.response.start_detected(200, &[], Some(TEXT), 2).extend_from_slice(b"OK");
    Ok(None)
}

pub(super) fn do_info(exchange: Exchange<'_, '_>) -> Answered {
    let out = json(exchange.response, 19);
    for part in ["{\"version\":\"", NSQ_VERSION, "\"}"] {
        out.extend_from_slice(part.as_bytes());
    }
    Ok(None)
}

#[inline]
pub(super) fn write_channels(topic: &Topic, out: &mut Vec<u8>) {
    let mut channels = JsonArray::default();
    topic.channels().iter().for_each(|channel| channels.name(channel.name().as_str(), out));
}

/// `{"topics":[…]}`
pub(super) fn do_topics(exchange: Exchange<'_, '_>) -> Answered {
    exchange.list(listings::topics())
}

/// `{"channels":[…]}`, empty for an unknown topic.
pub(super) fn do_channels(exchange: Exchange<'_, '_>) -> Answered {
    let topic = exchange.topic()?;
    if &*topic == ALL_TOPICS.as_bytes() {
        return exchange.list(listings::channels(Topics::all()));
    }
    let is_answered = exchange.api.snapshots().topic(text(&topic), |topic| {
        if topic.is_some_and(|(topic, _)| topic.is_larger_than(limits::WIDE_TOPIC)) {
            return false;
        }
        let channels = topic.map_or(0, |(topic, _)| topic.channels().len());
        exchange.response.costs(channels / CHANNELS_PER_UNIT);
        let out = json(exchange.response, 0);
        out.extend_from_slice(b"{\"channels\":[");
        topic.into_iter().for_each(|(topic, _)| write_channels(topic, out));
        out.extend_from_slice(b"]}");
        true
    });
    match is_answered {
        true => Ok(None),
        false => exchange.stream(listings::channels(Topics::one(known(&topic))), None),
    }
}

/// `{"producers":[{…,"tombstones":[bool],"topics":[…]}]}`: every active nsqd.
pub(super) fn do_nodes(exchange: Exchange<'_, '_>) -> Answered {
    let topics = exchange.api.registry.topics();
    exchange.list(listings::nodes(topics))
}

/// Every registration that has producers.
pub(super) fn do_debug(exchange: Exchange<'_, '_>) -> Answered {
    // Each registration shows a whole nsqd.
    let is_short = exchange.api.registry.size() <= limits::SMALL_REGISTRY / 8;
    exchange.list_at_once(is_short, listings::debug())
}

/// What is counted, in the format that the client prefers.
pub(super) fn do_metrics(exchange: Exchange<'_, '_>) -> Answered {
    let format = Format::negotiate(exchange.request.head.accept);
    let page = exchange.api.metrics.render(format);
    let out = exchange.response.start(200, &[format.content_type()], page.len());
    out.extend_from_slice(page.as_bytes());
    Ok(None)
}

pub(super) fn do_profile(_: Exchange<'_, '_>) -> Answered {
    Err(ApiError::NO_PROFILES)
}

pub(super) fn do_create_topic(exchange: Exchange<'_, '_>) -> Answered {
    let topic = TopicName::new(text(&exchange.topic()?)).ok_or(ApiError::INVALID_ARG_TOPIC)?;
    exchange.api.registry.create_topic(&topic)?;
    done(exchange)
}

pub(super) fn do_delete_topic(exchange: Exchange<'_, '_>) -> Answered {
    let topic = exchange.topic()?;
    if &*topic == ALL_TOPICS.as_bytes() {
        return exchange.change_all(Change::Delete);
    }
    exchange.api.registry.delete_topic(text(&topic));
    done(exchange)
}

pub(super) fn do_tombstone_topic_producer(exchange: Exchange<'_, '_>) -> Answered {
    let [topic, node] = exchange.params(["topic", "node"])?;
    let topic = topic.ok_or(ApiError::MISSING_ARG_TOPIC)?;
    let node = node.ok_or(ApiError::MISSING_ARG_NODE)?;
    if &*topic == ALL_TOPICS.as_bytes() {
        return exchange.change_all(Change::Tombstone(text(&node).to_owned()));
    }
    let seen = exchange.api.registry.tombstone(text(&topic), text(&node), exchange.now);
    exchange.response.costs(seen);
    done(exchange)
}

pub(super) fn do_create_channel(exchange: Exchange<'_, '_>) -> Answered {
    let (topic, channel) = exchange.topic_and_channel()?;
    exchange.api.registry.create_channel(&topic, &channel)?;
    done(exchange)
}

pub(super) fn do_delete_channel(exchange: Exchange<'_, '_>) -> Answered {
    let (topic, channel) = exchange.topic_and_channel()?;
    match exchange.api.registry.delete_channel(topic.as_str(), channel.as_str()) {
        true => done(exchange),
        false => Err(ApiError::CHANNEL_NOT_FOUND),
    }
}
