//! What each route says: one pure function from a request and the snapshots to an answer.
//!
//! Must not: know connections, framing or time but the `now` it is given, or read from the registry,
//! whose locks are for those who change it. Any thread. Source: nsq `nsqlookupd/http.go`,
//! `internal/http_api/api_response.go`.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::router::{Route, Routed, route};
use super::{Call, Respond, listing, query, response};
use crate::clock::Timestamp;
use crate::metrics::Families;
use crate::protocol::NSQ_VERSION;
use crate::protocol::names::{ALL_TOPICS, ChannelName, TopicName};
use crate::registry::{LimitReached, NoSuchChannel, Registry};
use crate::snapshots::{Snapshots, Topic};

/// What the routes answer from.
#[derive(Clone, Debug)]
pub struct Routes {
    /// The registry, to change it; what is read of it is its snapshots.
    pub registry: Arc<Registry>,
    /// A producer that was silent for longer is left out (`--inactive-producer-timeout`).
    pub inactive_producer_timeout: Duration,
    /// How long a tombstone hides a producer (`--tombstone-lifetime`).
    pub tombstone_lifetime: Duration,
    /// Answers to lookups of topics with as many producers are kept for the next who asks.
    pub keep_from: usize,
    /// What `/metrics` shows.
    pub metrics: Arc<Families>,
}

/// Of answers of this many producers on it pays to keep them: 5 KB.
pub const KEEP_FROM: usize = 32;

pub(super) const JSON: &str = "Content-Type: application/json; charset=utf-8";
pub(super) const HTML: &str = "Content-Type: text/html; charset=utf-8";
pub(super) const TEXT: &str = "Content-Type: text/plain; charset=utf-8";
pub(super) const NSQ: &str = "X-Nsq-Content-Type: nsq; version=1.0";

/// An answer that is an error: its status, and the code in its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Error(u16, &'static str);

const INVALID_REQUEST: Error = Error(400, "INVALID_REQUEST");
const MISSING_ARG_TOPIC: Error = Error(400, "MISSING_ARG_TOPIC");
const MISSING_ARG_CHANNEL: Error = Error(400, "MISSING_ARG_CHANNEL");
const MISSING_ARG_NODE: Error = Error(400, "MISSING_ARG_NODE");
const INVALID_ARG_TOPIC: Error = Error(400, "INVALID_ARG_TOPIC");
const INVALID_ARG_CHANNEL: Error = Error(400, "INVALID_ARG_CHANNEL");
// Divergence: nsqlookupd lets everyone write.
const FORBIDDEN: Error = Error(403, "FORBIDDEN");
const NOT_FOUND: Error = Error(404, "NOT_FOUND");
const TOPIC_NOT_FOUND: Error = Error(404, "TOPIC_NOT_FOUND");
const CHANNEL_NOT_FOUND: Error = Error(404, "CHANNEL_NOT_FOUND");
const METHOD_NOT_ALLOWED: Error = Error(405, "METHOD_NOT_ALLOWED");
// Divergence: nsqlookupd's registry is never full.
const REGISTRY_FULL: Error = Error(503, "REGISTRY_FULL");
// Divergence: there are no Go profiles of a daemon that is not written in Go.
const NO_PROFILES: Error =
    Error(404, "NO_GO_PROFILES: see \\\"profile under perf\\\" in the README");

impl From<query::Malformed> for Error {
    fn from(query::Malformed: query::Malformed) -> Self {
        INVALID_REQUEST
    }
}

impl From<LimitReached> for Error {
    fn from(_: LimitReached) -> Self {
        REGISTRY_FULL
    }
}

impl From<NoSuchChannel> for Error {
    fn from(NoSuchChannel: NoSuchChannel) -> Self {
        CHANNEL_NOT_FOUND
    }
}

/// Whether the handler of `call` reads the body, so that a client that waits to be told to send it
/// is told.
pub(super) fn reads_body(call: &Call<'_>) -> bool {
    let routed = route(call.method, &call.target.path);
    let has_parameters = matches!(routed, Routed::To(route) if route.has_parameters());
    has_parameters && query::first(call.target.query(), []).is_ok()
}

/// Whether `call` would change something: it reaches a route of POST, all of which do but the one
/// that Go's profiler has.
pub(super) fn writes(call: &Call<'_>) -> bool {
    let changes = |routed| matches!(routed, Routed::To(route) if route != Route::Profile);
    call.method == b"POST" && changes(route(call.method, &call.target.path))
}

/// The answer to who may not change anything.
pub(super) fn forbidden(response: &mut impl Respond) {
    error(FORBIDDEN, response);
}

/// The answer to a body that cannot be read to its end.
pub(super) fn invalid_request(response: &mut impl Respond) {
    error(INVALID_REQUEST, response);
}

impl Routes {
    /// What there is to read.
    pub(super) fn snapshots(&self) -> &Snapshots {
        self.registry.snapshots()
    }

    /// Prometheus' text format, version 0.0.4.
    fn metrics(&self, response: &mut impl Respond) {
        let page = self.metrics.render();
        let fields = &["Content-Type: text/plain; version=0.0.4; charset=utf-8"];
        let head = response::Head { status: 200, fields, sniffed: None, expected: page.len() };
        response.start(head).extend_from_slice(page.as_bytes());
    }

    /// Answers one request. What it changes is published when it returns.
    pub fn answer(&self, call: &Call<'_>, now: Timestamp, response: &mut impl Respond) {
        let answered = match route(call.method, &call.target.path) {
            Routed::To(route) => self.route(route, call, now, response),
            Routed::Moved(path) => {
                moved(call, path, response);
                Ok(())
            }
            Routed::Options(allow) => {
                let field = allow.map(allow_field);
                let fields = field.as_deref();
                let fields = fields.as_slice();
                response.start(response::Head { status: 200, fields, sniffed: None, expected: 0 });
                Ok(())
            }
            Routed::MethodNotAllowed(allow) => {
                message(METHOD_NOT_ALLOWED, &[&allow_field(allow), JSON, NSQ], response);
                Ok(())
            }
            Routed::NotFound => Err(NOT_FOUND),
        };
        if let Err(answer) = answered {
            error(answer, response);
        }
    }

    fn route(
        &self,
        route: Route,
        call: &Call<'_>,
        now: Timestamp,
        response: &mut impl Respond,
    ) -> Result<(), Error> {
        let query = call.target.query();
        match route {
            Route::Ping => ping(response),
            Route::Info => info(response),
            Route::Lookup => self.lookup(&topic(query)?, now, response)?,
            Route::Channels => self.channels(&topic(query)?, json(response, 0)),
            Route::Topics => listing::topics(self.snapshots(), json(response, 1000)),
            Route::Nodes => listing::nodes(self, now, json(response, 100_000)),
            Route::Debug => listing::debug(self.snapshots(), json(response, 1_000_000)),
            Route::Metrics => self.metrics(response),
            Route::Profile => return Err(NO_PROFILES),
            Route::CreateTopic
            | Route::DeleteTopic
            | Route::CreateChannel
            | Route::DeleteChannel
            | Route::TombstoneTopicProducer => {
                self.change(route, query, now)?;
                let fields = &[NSQ];
                response.start(response::Head { status: 200, fields, sniffed: None, expected: 0 });
            }
        }
        Ok(())
    }

    /// `{"channels":[…],"producers":[{…}]}`, without inactive and tombstoned producers.
    fn lookup(
        &self,
        topic: &[u8],
        now: Timestamp,
        response: &mut impl Respond,
    ) -> Result<(), Error> {
        if topic == ALL_TOPICS.as_bytes() {
            return listing::lookup_every(self, now, || json(response, 100_000))
                .ok_or(TOPIC_NOT_FOUND);
        }
        self.snapshots().topic(text(topic), |topic| {
            let topic = topic.ok_or(TOPIC_NOT_FOUND)?;
            let complete_until = || self.complete_until(topic, now);
            if let Some(body) = topic.cached_response().get(now, complete_until) {
                json(response, body.len()).extend_from_slice(body);
                return Ok(());
            }
            let count = topic.producers().len();
            // Before the answer is rendered: who speaks from here on stays in it.
            let wanted = count >= self.keep_from && topic.cached_response().should_store();
            let right_until = wanted.then(complete_until).flatten();
            // Most producers' objects are this long.
            let out = json(response, 30 + 170 * count);
            let start = out.len();
            out.extend_from_slice(b"{\"channels\":[");
            let mut comma = Commas::default();
            write_channels(topic, &mut comma, out);
            out.extend_from_slice(b"],\"producers\":[");
            let mut comma = Commas::default();
            for peer in topic.producers().iter() {
                if peer.is_active(now, self.inactive_producer_timeout)
                    && !topic.is_tombstoned(peer, now, self.tombstone_lifetime)
                {
                    comma.write(out);
                    out.extend_from_slice(peer.json());
                    out.push(b'}');
                }
            }
            out.extend_from_slice(b"]}");
            if let Some(right_until) = right_until {
                topic.cached_response().store(
                    &out[start..],
                    right_until,
                    self.snapshots().cache_budget(),
                );
            }
            Ok(())
        })
    }

    /// Until when a lookup shows every producer of `topic`, whatever they do; never, if one is
    /// inactive or tombstoned now.
    fn complete_until(&self, topic: &Topic, now: Timestamp) -> Option<Timestamp> {
        if topic.has_tombstones(now, self.tombstone_lifetime) {
            return None;
        }
        let mut earliest = Timestamp::NEVER;
        for peer in topic.producers().iter() {
            if !peer.is_active(now, self.inactive_producer_timeout) {
                return None;
            }
            earliest = earliest.min(peer.last_update());
        }
        Some(earliest + self.inactive_producer_timeout)
    }

    /// `{"channels":[…]}`, empty for an unknown topic.
    fn channels(&self, topic: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"channels\":[");
        let mut comma = Commas::default();
        if topic == ALL_TOPICS.as_bytes() {
            self.snapshots().each_topic(|_, topic| write_channels(topic, &mut comma, out));
        } else {
            self.snapshots().topic(text(topic), |topic| {
                if let Some(topic) = topic {
                    write_channels(topic, &mut comma, out);
                }
            });
        }
        out.extend_from_slice(b"]}");
    }

    /// Carries out a POST.
    fn change(&self, route: Route, query: &[u8], now: Timestamp) -> Result<(), Error> {
        let registry = &self.registry;
        match route {
            Route::CreateTopic => {
                let name = topic(query)?;
                let name = TopicName::new(text(&name)).ok_or(INVALID_ARG_TOPIC)?;
                registry.create_topic(&name)?;
            }
            Route::CreateChannel => {
                let (topic, channel) = topic_and_channel(query)?;
                registry.create_channel(&topic, &channel)?;
            }
            Route::DeleteTopic => registry.delete_topic(text(&topic(query)?)),
            Route::DeleteChannel => {
                let (topic, channel) = topic_and_channel(query)?;
                registry.delete_channel(topic.as_str(), channel.as_str())?;
            }
            _ => {
                let [topic, node] = query::first(query, ["topic", "node"])?;
                let topic = topic.ok_or(MISSING_ARG_TOPIC)?;
                let node = node.ok_or(MISSING_ARG_NODE)?;
                registry.tombstone(text(&topic), text(&node), now);
            }
        }
        Ok(())
    }
}

/// A parameter as text. What is no UTF-8 is no name and no node, and neither is nothing.
fn text(parameter: &[u8]) -> &str {
    std::str::from_utf8(parameter).unwrap_or_default()
}

fn topic(query: &[u8]) -> Result<Cow<'_, [u8]>, Error> {
    let [topic] = query::first(query, ["topic"])?;
    topic.ok_or(MISSING_ARG_TOPIC)
}

/// Source: nsq `internal/http_api/topic_channel_args.go`, whose order of checks this is.
fn topic_and_channel(query: &[u8]) -> Result<(TopicName, ChannelName), Error> {
    let [topic, channel] = query::first(query, ["topic", "channel"])?;
    let topic = topic.ok_or(MISSING_ARG_TOPIC)?;
    let topic = TopicName::new(text(&topic)).ok_or(INVALID_ARG_TOPIC)?;
    let channel = channel.ok_or(MISSING_ARG_CHANNEL)?;
    let channel = ChannelName::new(text(&channel)).ok_or(INVALID_ARG_CHANNEL)?;
    Ok((topic, channel))
}

fn ping(response: &mut impl Respond) {
    let head = response::Head { status: 200, fields: &[], sniffed: Some(TEXT), expected: 2 };
    response.start(head).extend_from_slice(b"OK");
}

fn info(response: &mut impl Respond) {
    let out = json(response, 19);
    for part in ["{\"version\":\"", NSQ_VERSION, "\"}"] {
        out.extend_from_slice(part.as_bytes());
    }
}

/// Begins a 200 whose body is JSON of about `expected` bytes.
fn json(response: &mut impl Respond, expected: usize) -> &mut Vec<u8> {
    let fields = &[JSON, NSQ];
    response.start(response::Head { status: 200, fields, sniffed: None, expected })
}

fn error(error: Error, response: &mut impl Respond) {
    message(error, &[JSON, NSQ], response);
}

fn message(Error(status, code): Error, fields: &[&str], response: &mut impl Respond) {
    let expected = "{\"message\":\"\"}".len() + code.len();
    let out = response.start(response::Head { status, fields, sniffed: None, expected });
    for part in ["{\"message\":\"", code, "\"}"] {
        out.extend_from_slice(part.as_bytes());
    }
}

fn allow_field(allow: &str) -> String {
    format!("Allow: {allow}")
}

/// Sends the client to `path` with its own query. Source: Go `net/http.Redirect`.
fn moved(call: &Call<'_>, path: &str, response: &mut impl Respond) {
    let mut origin = call.target.origin.to_vec();
    let scheme = origin.iter().position(|&byte| byte == b':').unwrap_or(0);
    origin[..scheme].make_ascii_lowercase();
    let url = [&origin, path.as_bytes(), call.target.suffix].concat();
    let is_get = call.method == b"GET";
    let status = if is_get { 301 } else { 307 };
    let mut location = "Location: ".to_owned();
    for &byte in &url {
        match byte {
            0..=0x7f => location.push(char::from(byte)),
            _ => location.push_str(&format!("%{byte:x}")),
        }
    }
    let fields = [HTML, &location];
    let fields = if is_get { &fields[..] } else { &fields[1..] };
    let expected = if is_get { url.len() + 35 } else { 0 };
    let out = response.start(response::Head { status, fields, sniffed: None, expected });
    if is_get {
        out.extend_from_slice(b"<a href=\"");
        url.iter().for_each(|&byte| write_html(byte, out));
        let words = format!("\">{}</a>.\n\n", response::reason(status));
        out.extend_from_slice(words.as_bytes());
    }
}

fn write_html(byte: u8, out: &mut Vec<u8>) {
    match byte {
        b'&' => out.extend_from_slice(b"&amp;"),
        b'<' => out.extend_from_slice(b"&lt;"),
        b'>' => out.extend_from_slice(b"&gt;"),
        b'"' => out.extend_from_slice(b"&#34;"),
        b'\'' => out.extend_from_slice(b"&#39;"),
        byte => out.push(byte),
    }
}

/// Writes the commas between the elements of an array.
#[derive(Debug, Default)]
pub(super) struct Commas {
    more: bool,
}

impl Commas {
    pub(super) fn write(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.more, true) {
            out.push(b',');
        }
    }
}

/// Writes a valid name as a JSON string: none of its characters needs an escape.
pub(super) fn write_name(name: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.push(b'"');
}

pub(super) fn write_channels(topic: &Topic, comma: &mut Commas, out: &mut Vec<u8>) {
    for channel in topic.channels().iter() {
        comma.write(out);
        write_name(channel.name().as_str(), out);
    }
}
