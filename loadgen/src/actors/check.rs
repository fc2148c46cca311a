//! Checks every answer whole: its headers and length, its JSON, every field, and what it lists
//! against the oracle, in both directions.
//!
//! Must not: touch a socket.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use testkit::wire;

use super::bodies::{Channels, Identified, Lookup, Message, Nodes, Producer, Topics};
use super::io::Io;
use super::requests::Request;
use super::response::Response;
use crate::clock::Timestamp;
use crate::input::target::Target;
use crate::measure::ops::{Count, Delay};
use crate::model::names::Name;
use crate::model::oracle::{Findings, LookupWindow};
use crate::model::plan::Plan;

/// The times of a request and its answer, and from when changes are measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) sent: Timestamp,
    pub(crate) received: Timestamp,
    pub(crate) measure_from: Timestamp,
}

impl Window {
    fn of(self, topic: u32) -> LookupWindow {
        let Self { sent, received, measure_from } = self;
        LookupWindow { topic, sent, received, measure_from }
    }
}

/// Checks the answer to a request, whose status [`Request::may_be_answered_with`] allows.
pub(crate) fn check(
    request: &Request,
    window: Window,
    response: &Response,
    io: &mut Io<'_>,
) -> Findings {
    let body = &response.body[..];
    let mut found = match (request, response.status) {
        (Request::Lookup(topic), 200) => with(body, |body| lookup(*topic, window, &body, io)),
        (Request::Lookup(topic), _) => not_found(*topic, window, body, io),
        (Request::Miss(_), 404) => Findings::garbled(u32::from(!is_not_found(body))),
        (Request::Miss(_), _) => Findings::garbled(1),
        (Request::Topics, _) => with(body, |body: Topics<'_>| topics(&body.topics, window, io)),
        (Request::Nodes, _) => with(body, |body| nodes(body, window, io)),
        (Request::Channels(topic), _) => with(body, |body: Channels<'_>| {
            let mut found = Findings::default();
            channels(*topic, &body.channels, window, io, &mut found);
            found
        }),
        (Request::Create(_) | Request::Delete(_), _) => {
            Findings::garbled(u32::from(!body.is_empty()))
        }
    };
    let post = matches!(request, Request::Create(_) | Request::Delete(_));
    let head = response.nsq && response.framed && (response.json || post) && !response.trailing;
    found.garbled += u32::from(!head);
    record(&found, io);
    found
}

/// Counts what an answer showed.
fn record(found: &Findings, io: &mut Io<'_>) {
    io.stats.count(Count::Checked, 1);
    if io.shared.plan.scenario.unchecked {
        return;
    }
    io.stats.count(Count::WrongAnswers, u64::from(found.is_wrong()));
    for (kind, number) in
        Count::FINDINGS.iter().zip([found.missing, found.stale, found.extra, found.garbled])
    {
        io.stats.count(*kind, number.into());
    }
    if !found.stalest.is_zero() {
        io.stats.delay(Delay::Staleness, found.stalest);
    }
    found.appeared.iter().for_each(|length| io.stats.delay(Delay::Appeared, *length));
    found.vanished.iter().for_each(|length| io.stats.delay(Delay::Vanished, *length));
}

/// The findings of `judge` in a body; of a body that cannot be parsed nothing more can be said.
fn with<'a, T: Deserialize<'a>>(body: &'a [u8], judge: impl FnOnce(T) -> Findings) -> Findings {
    serde_json::from_slice(body).map_or_else(|_| Findings::garbled(1), judge)
}

fn is_not_found(body: &[u8]) -> bool {
    let parsed = serde_json::from_slice::<Message<'_>>(body);
    parsed.is_ok_and(|body| body.message == "TOPIC_NOT_FOUND")
}

fn lookup(topic: u32, window: Window, body: &Lookup<'_>, io: &mut Io<'_>) -> Findings {
    io.listed.clear();
    let mut garbled = 0;
    for producer in &body.producers {
        let id = Plan::producer(&producer.broadcast_address);
        io.listed.add(id);
        garbled += u32::from(!is_right(producer, id, window.sent, io));
    }
    let mut found = io.shared.oracle.check(window.of(topic), io.listed);
    found.garbled += garbled;
    topic_name(topic, 1, window, io, &mut found);
    channels(topic, &body.channels, window, io, &mut found);
    found
}

/// Checks a 404, which lists no producer.
fn not_found(topic: u32, window: Window, body: &[u8], io: &mut Io<'_>) -> Findings {
    io.listed.clear();
    let mut found = io.shared.oracle.check(window.of(topic), io.listed);
    found.garbled += u32::from(!is_not_found(body));
    topic_name(topic, 0, window, io, &mut found);
    found
}

/// Whether each field of a producer is what the nsqd sent in IDENTIFY, and the remote address its own.
fn is_right(producer: &Producer<'_>, id: Option<u32>, sent: Timestamp, io: &Io<'_>) -> bool {
    let remote = producer.remote_address.parse().ok();
    let nsqds = io.shared.plan.nsqds.len();
    let id = id.filter(|id| (*id as usize) < nsqds);
    remote.is_some_and(|remote| id.is_none_or(|id| io.shared.oracle.is_remote(id, remote, sent)))
        && producer.hostname == producer.broadcast_address
        && (producer.tcp_port, producer.http_port) == (wire::TCP_PORT, wire::HTTP_PORT)
        && producer.version == wire::VERSION
        && producer.topology_zone.is_empty()
        && producer.topology_region.is_empty()
}

fn add((missing, extra): (u32, u32), found: &mut Findings) {
    found.missing += missing;
    found.extra += extra;
}

/// Checks whether a topic must be shown, or must not.
fn topic_name(topic: u32, shown: u32, window: Window, io: &Io<'_>, found: &mut Findings) {
    let Window { sent, received, .. } = window;
    add(io.shared.oracle.names(topic, |names| names.check_topic(sent, received, shown)), found);
}

/// Checks a topic's channels, in both directions.
fn channels(topic: u32, names: &[Cow<'_, str>], window: Window, io: &Io<'_>, found: &mut Findings) {
    let count = io.shared.plan.scenario.topics.channels;
    let mut shown = vec![0; count];
    for name in names {
        match Plan::channel_number(name).and_then(|number| shown.get_mut(number)) {
            Some(times) => *times += 1,
            None => found.extra += u32::from(!io.shared.inherited.channels.contains(&**name)),
        }
    }
    let Window { sent, received, .. } = window;
    let check =
        |names: &mut crate::model::names::Names| names.check_channels(sent, received, &shown);
    add(io.shared.oracle.names(topic, check), found);
}

/// Checks the list of all topics, in both directions.
fn topics(names: &[Cow<'_, str>], window: Window, io: &Io<'_>) -> Findings {
    let mut found = Findings::default();
    let mut shown = vec![0; io.shared.oracle.topics() as usize];
    let mut admin = BTreeMap::new();
    for name in names {
        let topic = Plan::topic_number(name).and_then(|topic| shown.get_mut(topic as usize));
        match (topic, Plan::admin_number(name)) {
            (Some(times), _) => *times += 1,
            (None, Some(number)) => *admin.entry(number).or_insert(0) += 1,
            (None, None) => found.extra += u32::from(!is_foreign(name, io)),
        }
    }
    for (topic, times) in (0..).zip(shown) {
        topic_name(topic, times, window, io, &mut found);
    }
    let Window { sent, received, .. } = window;
    io.shared.oracle.admin(|names| {
        for (number, name) in names {
            let times = admin.remove(number).unwrap_or(0);
            add(name.check(sent, received, times), &mut found);
        }
    });
    admin.values().for_each(|times| add(Name::UNUSED.check(sent, received, *times), &mut found));
    found
}

/// Whether a name may be somebody else's: it was there before, or others may use the target too.
fn is_foreign(name: &str, io: &Io<'_>) -> bool {
    let own = ["topic-", "nobody-"].iter().any(|prefix| name.starts_with(prefix));
    io.shared.inherited.topics.contains(name)
        || (!io.shared.owned && !own)
        || is_closed_loop(name, io)
}

fn is_closed_loop(name: &str, io: &Io<'_>) -> bool {
    io.shared.plan.closed_loops > 0 && name.starts_with("closed-loop-")
}

/// Checks the list of all nodes and of each one's topics, in both directions.
fn nodes(body: Nodes<'_>, window: Window, io: &mut Io<'_>) -> Findings {
    let mut garbled = 0;
    let mut shown = BTreeSet::new();
    let mut listed = BTreeSet::new();
    let mut extra = 0;
    io.listed.clear();
    for node in body.producers {
        let (producer, topics, tombstones) = node.split();
        let name = &producer.broadcast_address;
        let id = Plan::producer(name);
        let foreign = !io.shared.owned || is_closed_loop(name, io);
        if id.is_none() && foreign {
            continue;
        }
        io.listed.add(id);
        garbled += u32::from(!is_right(&producer, id, window.sent, io));
        garbled += u32::from(tombstones.len() != topics.len() || tombstones.contains(&true));
        let mut own = BTreeSet::new();
        for name in &topics {
            let topic = Plan::topic_number(name).filter(|topic| *topic < io.shared.oracle.topics());
            extra += u32::from(topic.is_none_or(|topic| !own.insert(topic)));
        }
        listed.extend(id);
        shown.extend(own.into_iter().map(|topic| (id, topic)));
    }
    let oracle = &io.shared.oracle;
    let mut found = oracle.check(window.of(oracle.nodes()), io.listed);
    (found.garbled, found.extra) = (found.garbled + garbled, found.extra + extra);
    for (id, plan) in (0..).zip(&io.shared.plan.nsqds).filter(|(id, _)| listed.contains(id)) {
        for topic in &plan.topics {
            let is_shown = shown.remove(&(Some(id), *topic));
            oracle.check_one(window.of(*topic), id, is_shown, &mut found);
        }
    }
    // What is left was shown of nsqds that never register it.
    found.extra += crate::num::index(shown.len());
    found
}

/// Whether the reply to IDENTIFY is right; the ports are known of a target that `owned` says was
/// started for this run.
pub(crate) fn identified(reply: &[u8], target: Target, owned: bool) -> bool {
    let Ok(reply) = serde_json::from_slice::<Identified<'_>>(reply) else { return false };
    let ports = (reply.tcp_port, reply.http_port) == (target.tcp.port(), target.http.port());
    let named = [&reply.version, &reply.hostname, &reply.broadcast_address];
    (ports || !owned) && named.iter().all(|name| !name.is_empty())
}
