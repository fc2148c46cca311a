//! `/lookup` of one topic: from the cache, at once, or in slices.
//!
//! What is long is made behind other requests: in slices as the client reads; or, where others ask
//! for the same, whole in one slice, and cached. Must not: know connections. Any thread. Source: nsq
//! `nsqlookupd/http.go` `doLookup`.

use super::handlers::{Answered, Api, CHANNELS_PER_UNIT, Exchange, known, text, write_channels};
use super::listings;
use super::response::{ApiError, JsonArray, json};
use crate::clock::Timestamp;
use crate::http1::{Response, Task};
use crate::limits;
use crate::protocol::names::ALL_TOPICS;
use crate::snapshots::{CachedResponse, Topic, Visibility};
use crate::work::Work;

/// Producers that a lookup looks at, shown or not, for a unit of work.
const PRODUCERS_PER_UNIT: usize = 2;

/// Producers, or channels, of a topic whose body may be made whole in one slice.
const WHOLE: usize = 16 * limits::WIDE_TOPIC;

/// How a lookup is answered.
enum Answer {
    /// It is.
    Done,
    /// By this task.
    Whole(WholeLookup),
    InSlices,
}

/// `{"channels":[…],"producers":[{…}]}`, without inactive and tombstoned producers.
pub(super) fn do_lookup(exchange: Exchange<'_, '_>) -> Answered {
    let name = exchange.topic()?;
    if &*name == ALL_TOPICS.as_bytes() {
        return match exchange.api.registry.topics() {
            0 => Err(ApiError::TOPIC_NOT_FOUND),
            _ => exchange.list(listings::lookup_all()),
        };
    }
    let (api, now) = (exchange.api, exchange.now);
    let answer: Result<_, ApiError> = api.snapshots().topic(text(&name), |found| {
        let (topic, cache) = found.ok_or(ApiError::TOPIC_NOT_FOUND)?;
        let is_short = topic.lookup_bytes() <= limits::WIDE_LOOKUP;
        if is_short && write_cached(api, topic, cache, now, exchange.response) {
            return Ok(Answer::Done);
        }
        if is_short && !topic.is_larger_than(limits::WIDE_TOPIC) {
            write_new(api, topic, cache, now, exchange.response);
            return Ok(Answer::Done);
        }
        if may_be_cached(api, topic) && cache.is_wanted() {
            return Ok(Answer::Whole(WholeLookup::new(api, topic, cache)));
        }
        Ok(Answer::InSlices)
    });
    match answer? {
        Answer::Done => Ok(None),
        Answer::Whole(task) => Ok(Some(Box::new(task))),
        Answer::InSlices => exchange.stream(listings::lookup_one(&known(&name)), None),
    }
}

/// Whether the body of a long lookup may be made whole.
fn may_be_cached(api: &Api, topic: &Topic) -> bool {
    topic.producers().len() >= api.cache_from
        && topic.lookup_bytes() <= limits::CACHED_LOOKUP
        && !topic.is_larger_than(WHOLE)
}

/// A lookup whose body is cached, or made to be.
#[derive(Debug)]
struct WholeLookup {
    api: Api,
    /// As it was when the request was made.
    topic: Topic,
    cache: CachedResponse,
}

impl WholeLookup {
    fn new(api: &Api, topic: &Topic, cache: &CachedResponse) -> Self {
        let cache = cache.share(api.snapshots().cache_budget());
        Self { api: api.clone(), topic: topic.clone(), cache }
    }
}

impl Task for WholeLookup {
    fn resume(
        &mut self,
        now: Timestamp,
        response: &mut Response<'_>,
        _: usize,
        _: &mut Work,
    ) -> bool {
        let Self { api, topic, cache } = self;
        if !write_cached(api, topic, cache, now, response) {
            write_new(api, topic, cache, now, response);
        }
        true
    }
}

/// Writes the response from the cache, if it is there.
#[inline]
fn write_cached(
    api: &Api,
    topic: &Topic,
    cache: &CachedResponse,
    now: Timestamp,
    response: &mut Response<'_>,
) -> bool {
    let complete_until = || topic.all_visible_until(now, &api.visibility);
    let send = |body: &[u8]| json(response, body.len()).extend_from_slice(body);
    cache.get(now, complete_until, send).is_some()
}

/// Renders the response, and caches it if others ask for the same.
#[inline]
fn write_new(
    api: &Api,
    topic: &Topic,
    cache: &CachedResponse,
    now: Timestamp,
    response: &mut Response<'_>,
) {
    let count = topic.producers().len();
    let channels = topic.channels().len() / CHANNELS_PER_UNIT;
    response.costs(count / PRODUCERS_PER_UNIT + channels);
    // Before the response is rendered: a producer that sends a PING from here on stays in it.
    let wanted = count >= api.cache_from && cache.should_store();
    let complete_until = || topic.all_visible_until(now, &api.visibility);
    let valid_until = wanted.then(complete_until).flatten();
    let out = json(response, 30 + topic.lookup_bytes());
    let start = out.len();
    write_lookup(topic, now, &api.visibility, out);
    if let Some(valid_until) = valid_until {
        cache.store(&out[start..], valid_until, api.snapshots().cache_budget());
    }
}

#[inline]
fn write_lookup(topic: &Topic, now: Timestamp, visibility: &Visibility, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"channels\":[");
    write_channels(topic, out);
    out.extend_from_slice(b"],\"producers\":[");
    let mut producers = JsonArray::default();
    for producer in topic.producers().iter() {
        if topic.is_visible(producer, now, visibility) {
            producers.next(out);
            out.extend_from_slice(producer.json());
            out.push(b'}');
        }
    }
    out.extend_from_slice(b"]}");
}
