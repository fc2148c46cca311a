//! A consumer and an admin on one keep-alive HTTP connection, and the answers that they must get.
//!
//! Must not: share code with what it checks: the expected answers are built from the view that the
//! oracle allows, with another JSON library.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use musterd::api::{Api, Routed};
use musterd::clock::Timestamp;
use musterd::handler::{Input, Next};
use musterd::http1::{Connection, Date, Request, RequestError, Response, Service, Task};
use musterd::work::Work;
use serde_json::{Value, json};
use testkit::wire::{HTTP_PORT, TCP_PORT, VERSION};

use crate::oracle::{Id, Topic, View};

/// A client's connection, and the API that it asks.
pub(crate) struct Http {
    connection: Connection<Routed>,
    server: Server,
}

struct Server {
    api: Api,
    date: Date,
}

impl Service for Server {
    type Route = Routed;

    fn date(&mut self) -> Date {
        self.date
    }

    fn call(
        &mut self,
        request: &Request<'_, Routed>,
        now: Timestamp,
        response: &mut Response<'_>,
    ) -> Option<Box<dyn Task>> {
        self.api.answer(request, now, response)
    }

    fn answered(&mut self, _: &Request<'_, Routed>, _: Timestamp, _: u16) {}

    fn refused(&mut self, _: SocketAddr, _: Timestamp, error: RequestError, _: &[u8]) {
        panic!("{error:?} of a request that is right");
    }
}

/// A status and a body, `Null` when empty.
pub(crate) type Answer = (u64, Value);

impl Http {
    pub(crate) fn new(api: Api, now: Timestamp) -> Self {
        let server = Server { api, date: Date::new(784_111_777) };
        Self { connection: Connection::new(([127, 0, 0, 1], 1).into(), now), server }
    }

    pub(crate) fn post(&mut self, target: &str, now: Timestamp) -> Result<Answer, String> {
        let request = format!("POST {target} HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n");
        let mut answers = self.ask(&request, now)?;
        if answers.len() == 1 { Ok(answers.remove(0)) } else { Err(format!("{answers:?}")) }
    }

    /// Asks for all targets, pipelined.
    pub(crate) fn get(
        &mut self,
        targets: &[String],
        now: Timestamp,
    ) -> Result<Vec<Answer>, String> {
        let requests: String = targets
            .iter()
            .map(|target| format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n"))
            .collect();
        let answers = self.ask(&requests, now)?;
        if answers.len() != targets.len() {
            return Err(format!("{} answers to {} requests", answers.len(), targets.len()));
        }
        Ok(answers)
    }

    fn ask(&mut self, requests: &str, now: Timestamp) -> Result<Vec<Answer>, String> {
        let input = Input { bytes: requests.as_bytes(), end: false };
        let mut output = Vec::new();
        let budget = usize::MAX / 2;
        let (work, server) = (&mut Work::unlimited(), &mut self.server);
        let turn = self.connection.on_input(input, now, &mut output, budget, work, server);
        if turn.consumed != requests.len() || !matches!(turn.next, Next::Read { .. }) {
            return Err(format!("{turn:?} of {} bytes", requests.len()));
        }
        let output = String::from_utf8(output).map_err(|error| error.to_string())?;
        answers(&output).ok_or_else(|| format!("not HTTP: {output}"))
    }
}

fn answers(mut output: &str) -> Option<Vec<Answer>> {
    let mut all = Vec::new();
    while !output.is_empty() {
        let (head, rest) = output.split_once("\r\n\r\n")?;
        let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
        let length = head.split_once("Content-Length: ")?.1.lines().next()?.parse().ok()?;
        let body = rest.get(..length)?;
        let body = if length == 0 { Value::Null } else { serde_json::from_str(body).ok()? };
        all.push((status, body));
        output = &rest[length..];
    }
    Some(all)
}

/// An nsqd as it identified itself.
#[derive(Clone, Debug)]
pub(crate) struct Nsqd {
    pub(crate) address: String,
    pub(crate) node: usize,
    pub(crate) last_update: i64,
}

impl Nsqd {
    /// `broadcast_address` of a node.
    pub(crate) fn host(node: usize) -> String {
        format!("node-{node}")
    }
}

/// What Go prints for a tombstone that was never set.
const NEVER: i64 = -6_795_364_578_871_345_152;

/// All that an answer depends on.
pub(crate) struct Context<'a> {
    pub(crate) view: &'a View,
    pub(crate) nsqds: &'a BTreeMap<Id, Nsqd>,
    pub(crate) now: i64,
    pub(crate) inactive: Duration,
    pub(crate) tombstone: Duration,
}

/// An array in sorted order.
fn unordered(values: impl IntoIterator<Item = Value>) -> Value {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_by_cached_key(Value::to_string);
    Value::Array(values)
}

/// An answer with its arrays sorted; pairs of `/nodes` stay pairs.
pub(crate) fn canonical(value: Value) -> Value {
    match value {
        Value::Array(values) => unordered(values.into_iter().map(canonical)),
        Value::Object(mut members) => {
            if let (Some(Value::Array(tombstones)), Some(Value::Array(topics))) =
                (members.remove("tombstones"), members.get("topics"))
            {
                assert_eq!(tombstones.len(), topics.len(), "nsqadmin would crash");
                let pairs = topics.iter().zip(tombstones).map(|(topic, dead)| json!([topic, dead]));
                members.insert("topics".into(), pairs.collect());
                // A pair keeps its order; the list of pairs is sorted.
                let pairs = members.remove("topics").expect("just put in");
                let Value::Array(pairs) = pairs else { unreachable!("an array") };
                members.insert("pairs".into(), unordered(pairs));
                return Value::Object(members);
            }
            members.into_iter().map(|(key, value)| (key, canonical(value))).collect()
        }
        other => other,
    }
}

impl Context<'_> {
    /// Each target that is read after every step, with the answer it must have.
    pub(crate) fn expected(&self, topics: &[&str]) -> Vec<(String, Answer)> {
        let names = self.view.topics.keys().map(|name| json!(name));
        let every = self.view.topics.values().flat_map(|topic| topic.channels.keys());
        let mut all = vec![
            ("/topics".to_owned(), (200, json!({ "topics": unordered(names) }))),
            ("/nodes".to_owned(), (200, self.nodes())),
            ("/debug".to_owned(), (200, self.debug())),
            (
                "/channels?topic=*".to_owned(),
                (200, json!({ "channels": unordered(every.map(|name| json!(name))) })),
            ),
        ];
        for name in topics {
            let escaped = name.replace('#', "%23");
            let topic = self.view.topics.get(*name);
            all.push((format!("/channels?topic={escaped}"), (200, channels(topic))));
            all.push((format!("/lookup?topic={escaped}"), self.lookup(topic)));
        }
        all
    }

    fn is_active(&self, id: Id) -> bool {
        since(self.now, self.nsqds[&id].last_update) <= self.inactive
    }

    fn is_tombstoned(&self, topic: &Topic, id: Id) -> bool {
        topic.tombstoned.get(&id).is_some_and(|&at| since(self.now, at) < self.tombstone)
    }

    fn lookup(&self, topic: Option<&Topic>) -> Answer {
        let Some(found) = topic else { return (404, json!({"message": "TOPIC_NOT_FOUND"})) };
        let shown = found.producers.iter().filter(|id| self.is_active(**id));
        let shown = shown.filter(|id| !self.is_tombstoned(found, **id));
        let mut body = channels(topic);
        body["producers"] = unordered(shown.map(|id| self.producer(*id)));
        (200, body)
    }

    fn producer(&self, id: Id) -> Value {
        let nsqd = &self.nsqds[&id];
        json!({
            "remote_address": nsqd.address,
            "hostname": format!("c{id}"),
            "broadcast_address": Nsqd::host(nsqd.node),
            "tcp_port": TCP_PORT,
            "http_port": HTTP_PORT,
            "version": VERSION,
        })
    }

    fn nodes(&self) -> Value {
        let active = self.view.clients.iter().filter(|id| self.is_active(**id));
        let node = |&id: &Id| {
            let mut node = self.producer(id);
            let of_it = self.view.topics.iter().filter(|(_, topic)| topic.producers.contains(&id));
            let pairs = of_it.map(|(name, topic)| json!([name, self.is_tombstoned(topic, id)]));
            node["pairs"] = unordered(pairs);
            node
        };
        json!({ "producers": unordered(active.map(node)) })
    }

    fn debug(&self) -> Value {
        let mut all = BTreeMap::new();
        let none = BTreeMap::new();
        for (name, topic) in &self.view.topics {
            all.insert(format!("topic:{name}:"), (&topic.producers, &topic.tombstoned));
            for (channel, producers) in &topic.channels {
                all.insert(format!("channel:{name}:{channel}"), (producers, &none));
            }
        }
        all.insert("client::".to_owned(), (&self.view.clients, &none));
        let listed = all.into_iter().filter(|(_, (producers, _))| !producers.is_empty());
        let entry = |(key, (producers, tombstoned)): (String, (&_, &BTreeMap<Id, i64>))| {
            let producers: &std::collections::BTreeSet<Id> = producers;
            let each = producers.iter().map(|id| self.debug_producer(*id, tombstoned.get(id)));
            (key, unordered(each))
        };
        listed.map(entry).collect()
    }

    fn debug_producer(&self, id: Id, tombstoned: Option<&i64>) -> Value {
        let mut producer = self.producer(id);
        let members = producer.as_object_mut().expect("it is an object");
        let address = members.remove("remote_address").expect("it has one");
        members.insert("id".into(), address);
        members.insert("last_update".into(), json!(self.nsqds[&id].last_update));
        members.insert("tombstoned".into(), json!(tombstoned.is_some()));
        members.insert("tombstoned_at".into(), json!(tombstoned.copied().unwrap_or(NEVER)));
        producer
    }
}

fn channels(topic: Option<&Topic>) -> Value {
    let names = topic.into_iter().flat_map(|topic| topic.channels.keys());
    json!({ "channels": unordered(names.map(|name| json!(name))) })
}

fn since(now: i64, then: i64) -> Duration {
    Duration::from_nanos(u64::try_from(now - then).unwrap_or(0))
}
