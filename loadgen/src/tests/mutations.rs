//! Every answer with every fault: each field and each route, missing, extra, altered, duplicated, cut,
//! stale, reset, slow, with another status. A fault that no run would fail for fails the test.
//!
//! Must not: open a socket. The actors are driven event by event.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::wire;

use super::altered::altered;
use super::fake_lookupd::{JSON, NSQ, identified, producer};
use crate::actors::Actor;
use crate::actors::http_client::HttpClient;
use crate::actors::io::{Action, Event, Io, Port};
use crate::actors::nsqd::Nsqd;
use crate::actors::shared::Shared;
use crate::clock::{Clock, Timestamp};
use crate::input::scenario::Scenario;
use crate::input::target::Target;
use crate::measure::interval::Interval;
use crate::measure::ops::Count;
use crate::measure::results::Results;
use crate::model::oracle::ListedProducers;
use crate::model::plan::{HttpClientPlan, Plan, Workload};

/// Three nsqds register both topics with both channels. A fourth has left, and the third has given up
/// topic 1.
const FLEET: &str = "about = 'a test'\nduration = '60s'\n[topics]\ncount = 2\nchannels = 2\n[[nsqds]]\ncount = 4\ntopics = 2\nrecreate = '10s'\n";
const HTTP: &str = "127.0.0.1:2";
const TCP: &str = "127.0.0.1:1";

fn at(second: i64) -> Timestamp {
    Timestamp::from_unix_nanos(second * 1_000_000_000)
}

fn remote(nsqd: u32, port: u16) -> SocketAddr {
    format!("127.0.0.1:{}", u32::from(port) + nsqd).parse().expect("an address")
}

/// An actor, the model, and what was measured.
struct Fixture {
    shared: Shared,
    actor: Actor,
    stats: Interval,
    listed: ListedProducers,
    now: Timestamp,
    wake: Timestamp,
    action: Action,
}

impl Fixture {
    fn new(actor: Actor) -> Self {
        let scenario = Scenario::parse("test", FLEET).expect("a valid scenario");
        let target = Target::new(TCP, HTTP, false).expect("loopback");
        let plan = Plan::generate(&scenario);
        let mut shared = Shared::new(plan, target, Clock::fixed(at(0)), 1).expect("an eventfd");
        shared.owned = true;
        register_fleet(&shared);
        let (stats, listed) = (Interval::default(), ListedProducers::new(4));
        let (wake, action) = (Timestamp::NEVER, Action::Continue);
        Self { shared, actor, stats, listed, now: at(1000), wake, action }
    }

    /// Delivers an event; what the actor wrote.
    fn event(&mut self, event: Event<'_>) -> String {
        let (mut out, mut splits) = (Vec::new(), Vec::new());
        self.now = self.now + Duration::from_millis(1);
        let mut io = Io {
            lag: None,
            now: self.now,
            shared: &self.shared,
            local: Some(remote(0, 5000)),
            stats: &mut self.stats,
            listed: &mut self.listed,
            out: &mut out,
            splits: &mut splits,
            action: Action::Continue,
            wake: Timestamp::NEVER,
        };
        self.actor.event(event, &mut io);
        (self.wake, self.action) = (io.wake, io.action);
        String::from_utf8(out).expect("ASCII")
    }

    /// The exit code of a run in which nothing else happened.
    fn exit(&self) -> u8 {
        let total = self.stats.clone();
        assert!(total.requests() > 0, "nothing was asked");
        Results { total, error_budget: 0.001, ..Results::default() }.exit()
    }
}

/// What the actors of the fleet tell the model.
fn register_fleet(shared: &Shared) {
    let oracle = &shared.oracle;
    for nsqd in 0..4 {
        oracle.connected(nsqd, Some(remote(nsqd, 4000)), at(1));
        oracle.connected(nsqd, Some(remote(nsqd, 5000)), at(2));
        oracle.registering(oracle.nodes(), nsqd, at(2));
        oracle.registered(oracle.nodes(), nsqd, at(2));
        for topic in 0..2 {
            oracle.registering(topic, nsqd, at(3));
            oracle.registered(topic, nsqd, at(4));
            for channel in 0..2 {
                oracle.names(topic, |names| names.registering(Some(channel), at(3)));
                oracle.names(topic, |names| names.registered(Some(channel), at(3), at(4)));
            }
        }
    }
    for topic in [0, 1, oracle.nodes()] {
        oracle.killed(topic, 3, at(5));
    }
    oracle.unregistering(1, 2, at(6));
    oracle.unregistered(1, 2, at(7));
}

/// The right answers, by path and query: status and body. nsqadmin has made the topic `admin`.
fn right(path: &str, admin: Option<u32>) -> (u16, Value) {
    let shown = |nsqd| producer(&Plan::host(nsqd), &remote(nsqd, 5000).to_string(), wire::TCP_PORT);
    let lookup = |nsqds: std::ops::Range<u32>| json!({ "channels": ["channel-0", "channel-1"], "producers": nsqds.map(shown).collect::<Vec<_>>() });
    let node = |nsqd| {
        let topics =
            if nsqd == 2 { &["topic-0000000"][..] } else { &["topic-0000001", "topic-0000000"] };
        let mut node = shown(nsqd);
        node["tombstones"] = topics.iter().map(|_| false).collect();
        node["topics"] = json!(topics);
        node
    };
    match path {
        "/lookup?topic=topic-0000001" => (200, lookup(0..2)),
        "/lookup?topic=nobody-0000001" => (404, json!({ "message": "TOPIC_NOT_FOUND" })),
        "/nodes" => (200, json!({ "producers": (0..3).map(node).collect::<Vec<_>>() })),
        "/topics" => {
            let own = admin.map(Plan::admin_topic);
            let fleet = ["topic-0000001", "topic-0000000"].map(str::to_owned);
            (200, json!({ "topics": own.into_iter().chain(fleet).collect::<Vec<_>>() }))
        }
        path if path.starts_with("/channels?") => {
            (200, json!({ "channels": ["channel-1", "channel-0"] }))
        }
        path if path.starts_with("/topic/") => (200, Value::Null),
        path => panic!("{path} is not asked for"),
    }
}

fn text(body: &Value) -> String {
    if body.is_null() { String::new() } else { body.to_string() }
}

fn response(status: u16, kind: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\n{kind}{NSQ}Content-Length: {length}\r\n\r\n{body}")
}

/// What the target does instead of the right answer.
enum Fault {
    /// It sends these bytes, and then closes if told so.
    Sends(String, bool),
    /// It closes the connection at once.
    Resets,
    /// It does not answer in time.
    IsSlow,
}

/// The client that asks for that, whether it must first be answered rightly so many times.
fn client(path: &str, earlier: usize) -> Fixture {
    let workload = match path.split_once("topic=") {
        Some((start, _)) if start.starts_with("/lookup") => {
            let (every, first) = (Duration::from_secs(1), Duration::ZERO);
            Workload::Poll { topic: 1, every, jitter: 0.0, first }
        }
        _ => Workload::Admin { every: Duration::from_secs(1) },
    };
    let missing = path.contains("nobody");
    let plan = HttpClientPlan { workload, fresh: false, missing };
    let client = Actor::HttpClient(Box::new(HttpClient::new(plan, 0, 1)));
    let mut fixture = Fixture::new(client);
    fixture.event(Event::Start(at(1001)));
    let mut admin = None;
    for _ in 0..earlier {
        let asked = ask(&mut fixture);
        let number = asked.split_once("admin-").and_then(|(_, number)| number.parse().ok());
        if let Some(number) = number {
            admin = asked.contains("/create").then_some(number);
        }
        let (status, body) = right(&asked, admin);
        fixture.event(Event::Data(response(status, JSON, &text(&body)).as_bytes()));
    }
    assert_eq!(fixture.stats.sum(&Count::ERRORS), 0);
    fixture
}

/// Waits for the next request; its target.
fn ask(fixture: &mut Fixture) -> String {
    fixture.now = fixture.wake;
    let mut wrote = fixture.event(Event::Wake);
    if fixture.action != Action::Continue {
        wrote = fixture.event(Event::Connected);
    }
    wrote.split(' ').nth(1).expect("a request").to_owned()
}

/// The exit code after that fault in the answer to `path`.
fn exit_after(path: &str, earlier: usize, fault: &Fault) -> u8 {
    let mut fixture = client(path, earlier);
    assert!(ask(&mut fixture).starts_with(path.split("0000").next().expect("a path")));
    match fault {
        Fault::Sends(bytes, close) => {
            // Bytes may arrive in any parts.
            let (one, two) = bytes.as_bytes().split_at(bytes.len() / 3);
            fixture.event(Event::Data(one));
            if fixture.action == Action::Continue {
                fixture.event(Event::Data(two));
            }
            if *close && fixture.action == Action::Continue {
                fixture.event(Event::Disconnected);
            }
        }
        Fault::Resets => drop(fixture.event(Event::Disconnected)),
        Fault::IsSlow => {
            fixture.now = fixture.now + Duration::from_secs(61);
            fixture.event(Event::Wake);
        }
    }
    if fixture.stats.requests() == earlier as u64 {
        // A request on an idle connection that broke is sent again once, on a new one.
        fixture.event(Event::Connected);
        fixture.event(Event::Disconnected);
    }
    fixture.exit()
}

/// Answers from before the last change, and names that were never made.
fn stale_and_extra(path: &str, body: &Value) -> Vec<(&'static str, Value)> {
    let with = |list: &str, item: Value| {
        let mut body = body.clone();
        body[list].as_array_mut().expect("a list").push(item);
        body
    };
    let host = |nsqd, port| {
        let mut shown = producer(&Plan::host(nsqd), &remote(nsqd, port).to_string(), 4150);
        if path == "/nodes" {
            (shown["topics"], shown["tombstones"]) = (json!([]), json!([]));
        }
        shown
    };
    let mut found = Vec::new();
    if path == "/nodes" || path.contains("topic-0000001") && path.starts_with("/lookup") {
        let mut earlier = body.clone();
        earlier["producers"][0]["remote_address"] = json!(remote(0, 4000).to_string());
        found.push(("stale remote address", earlier));
        let mut swapped = body.clone();
        swapped["producers"][0]["remote_address"] = body["producers"][1]["remote_address"].clone();
        found.push(("another's remote address", swapped));
        found.push(("stale producer", with("producers", host(3, 5000))));
        found.push(("unknown producer", with("producers", host(9, 5000))));
    }
    if path == "/nodes" {
        let mut stale = body.clone();
        stale["producers"][2]["topics"] = json!(["topic-0000000", "topic-0000001"]);
        stale["producers"][2]["tombstones"] = json!([false, false]);
        found.push(("stale topic of a node", stale));
    } else if path == "/topics" {
        found.push(("stale topic", with("topics", json!("admin-0000001"))));
        found.push(("extra topic", with("topics", json!("topic-0000002"))));
        found.push(("foreign topic", with("topics", json!("somebody"))));
    }
    if path.starts_with("/channels") || path.starts_with("/lookup?topic=topic") {
        found.push(("extra channel", with("channels", json!("channel-2"))));
        found.push(("foreign channel", with("channels", json!("somebody"))));
    }
    found
}

/// Every fault of an answer.
fn faults(path: &str, (status, body): &(u16, Value)) -> Vec<(String, Fault)> {
    let whole = text(body);
    let mut bytes = faults_of_bytes(*status, &whole);
    if whole.is_empty() {
        bytes.push(("a body".to_owned(), response(*status, JSON, "OK")));
    } else {
        bytes.extend(faults_of_length(*status, &whole));
        let mut bodies: Vec<_> = altered(body);
        if *status == 200 {
            let named = stale_and_extra(path, body).into_iter();
            bodies.extend(named.map(|(what, body)| (what.to_owned(), body)));
        }
        if path.starts_with("/lookup") {
            bytes.push(("the answer of the other status".to_owned(), other_lookup(*status)));
        }
        let bodies = bodies.into_iter().map(|(what, body)| (what, text(&body)));
        bytes.extend(bodies.map(|(what, body)| (what, response(*status, JSON, &body))));
        let (name, field) =
            body.as_object().and_then(|fields| fields.iter().next()).expect("a field");
        let twice = whole.replacen('{', &format!("{{\"{name}\":{field},"), 1);
        bytes.push(("a field twice".to_owned(), response(*status, JSON, &twice)));
    }
    let sends = bytes.into_iter().map(|(what, bytes)| (what, Fault::Sends(bytes, true)));
    let broken = [("reset", Fault::Resets), ("slow", Fault::IsSlow)];
    sends.chain(broken.map(|(what, fault)| (what.to_owned(), fault))).collect()
}

/// A right answer to a lookup of a topic that is registered if this one is not, and the reverse: what
/// was so before, or would be.
fn other_lookup(status: u16) -> String {
    let (other, body) = if status == 200 {
        (404, json!({ "message": "TOPIC_NOT_FOUND" }))
    } else {
        (200, json!({ "channels": [], "producers": [] }))
    };
    response(other, JSON, &text(&body))
}

/// Faults of any answer: its status, its head, and bytes behind it.
fn faults_of_bytes(status: u16, whole: &str) -> Vec<(String, String)> {
    let right = response(status, JSON, whole);
    let other = |other: &u16| *other != status;
    let mut found: Vec<_> = [200, 204, 301, 400, 404, 500, 503]
        .into_iter()
        .filter(other)
        .map(|other| (format!("status {other}"), response(other, JSON, whole)))
        .collect();
    let length = |says: &str| right.replace(&format!("Length: {}", whole.len()), says);
    let mut add = |what: &str, bytes: String| found.push((what.to_owned(), bytes));
    add("duplicated", right.repeat(2));
    add("bytes behind it", format!("{right}x"));
    add("no X-NSQ-Content-Type", right.replace(NSQ, ""));
    add("no HTTP", right[4..].to_owned());
    add("no length", right.replace("Content-Length", "Content-Size"));
    add("two lengths", length(&format!("Length: 0\r\nContent-Length: {}", whole.len())));
    add("a length that is too small", length("Length: 1") + "  ");
    add("a length that is too large", length("Length: 9999"));
    if !whole.is_empty() {
        add("no Content-Type", right.replace(JSON, ""));
        add("another Content-Type", right.replace("application/json", "text/html"));
        add("another charset", right.replace("utf-8", "latin1"));
        add("no body", response(status, JSON, ""));
        add("an empty object", response(status, JSON, "{}"));
    }
    found
}

/// Bodies that are cut, with a length and in chunks.
fn faults_of_length(status: u16, whole: &str) -> Vec<(String, String)> {
    let right = response(status, JSON, whole);
    let mut found: Vec<_> = (1..whole.len())
        .map(|cut| (format!("body cut to {cut}"), response(status, JSON, &whole[..cut])))
        .collect();
    let mut add = |what: &str, bytes: String| found.push((what.to_owned(), bytes));
    for cut in [right.len() - 1, right.len() - whole.len(), 9] {
        add(&format!("connection cut at {cut}"), right[..cut].to_owned());
    }
    let (one, two) = whole.split_at(whole.len() / 2);
    let head = right[..right.len() - whole.len()]
        .replace(&format!("Content-Length: {}", whole.len()), "Transfer-Encoding: chunked");
    let first = format!("{head}{:x}\r\n{one}\r\n", one.len());
    let both = format!("{first}{:x}\r\n{two}\r\n", two.len());
    add("chunks without an end", both.clone());
    add("a missing chunk", format!("{first}0\r\n\r\n"));
    add("a chunk that is too long", both.replacen(one, &format!("{one}x"), 1) + "0\r\n\r\n");
    found
}

#[test]
fn every_fault_of_every_http_answer_fails_a_run() {
    // nsqadmin's requests in order, and consumers.
    let routes = [
        ("/lookup?topic=topic-0000001", 0, None),
        ("/lookup?topic=nobody-0000001", 0, None),
        ("/nodes", 0, None),
        ("/topics", 1, None),
        ("/channels?topic=topic-000000", 2, None),
        ("/topic/delete?topic=admin-000000", 3, None),
        ("/topic/create?topic=admin-0000001", 4, None),
        ("/topics", 11, Some(2)),
    ];
    let (mut survivors, mut count) = (Vec::new(), 0);
    for (path, earlier, admin) in routes {
        let right = right(path, admin);
        let answer = Fault::Sends(response(right.0, JSON, &text(&right.1)), false);
        assert_eq!(exit_after(path, earlier, &answer), 0, "the right answer to {path} passes");
        for (what, fault) in faults(path, &right) {
            count += 1;
            if exit_after(path, earlier, &fault) == 0 {
                survivors.push(format!("{path}: {what}"));
            }
        }
    }
    assert!(count > 1_700, "only {count} faults were tried");
    assert!(survivors.is_empty(), "{count} faults, not noticed: {survivors:#?}");
}

/// The nsqd's reply to its command number `step`: it is connected, identified and registered by then.
fn nsqd_after(step: usize, fault: &Fault) -> u8 {
    let mut fixture = Fixture::new(Actor::Nsqd(Nsqd::new(0, 1)));
    fixture.event(Event::Wake);
    assert_eq!(fixture.action, Action::Connect(Port::Tcp));
    let mut wrote = fixture.event(Event::Connected);
    let right = |wrote: &str| {
        let mut reply = Vec::new();
        let body = identified(Target::new(TCP, HTTP, false).expect("loopback")).to_string();
        wire::frame(if wrote.contains("IDENTIFY") { body.as_bytes() } else { b"OK" }, &mut reply);
        reply
    };
    for _ in 0..step {
        wrote = fixture.event(Event::Data(&right(&wrote)));
        if wrote.is_empty() {
            fixture.now = fixture.wake;
            wrote = fixture.event(Event::Wake);
        }
    }
    let verbs = ["IDENTIFY", "REGISTER", "REGISTER", "REGISTER", "REGISTER"];
    assert!(verbs.get(step).is_none_or(|verb| wrote.contains(verb)), "{wrote}");
    match fault {
        Fault::Sends(bytes, _) => drop(fixture.event(Event::Data(bytes.as_bytes()))),
        Fault::Resets => {}
        Fault::IsSlow => {
            fixture.now = fixture.now + Duration::from_secs(1);
            fixture.event(Event::Wake);
        }
    }
    if fixture.action == Action::Continue && !matches!(fault, Fault::Sends(_, false)) {
        fixture.event(Event::Disconnected);
    }
    fixture.exit()
}

#[test]
fn every_fault_of_every_tcp_reply_fails_a_run() {
    let framed = |body: &str| {
        let mut reply = Vec::new();
        wire::frame(body.as_bytes(), &mut reply);
        String::from_utf8(reply).expect("a short frame")
    };
    let info = identified(Target::new(TCP, HTTP, false).expect("loopback"));
    let (mut survivors, mut count) = (Vec::new(), 0);
    for step in 0..8 {
        let right = if step == 0 { info.to_string() } else { "OK".to_owned() };
        let answer = Fault::Sends(framed(&right), false);
        assert_eq!(nsqd_after(step, &answer), 0, "the right reply {step} passes");
        let mut replies: Vec<_> = ["", "O", "OKx", "KO", "E_INVALID", "{}", "null"]
            .map(|reply| (reply.to_owned(), framed(reply)))
            .into();
        if step == 0 {
            replies.extend(altered(&info).into_iter().filter_map(|(what, body)| {
                // Any name and any version of the lookupd is right.
                let free = ["hostname", "broadcast_address", "version"];
                let differs = ["altered", "cut"].iter().any(|end| what.ends_with(end));
                let free = free.iter().any(|name| what.starts_with(name)) && differs;
                (!free).then(|| (what, framed(&body.to_string())))
            }));
        }
        replies.push(("duplicated".to_owned(), framed(&right).repeat(2)));
        replies.push(("cut".to_owned(), framed(&right)[..5].to_owned()));
        replies.push(("cut in the length".to_owned(), framed(&right)[..2].to_owned()));
        let sends = replies.into_iter().map(|(what, bytes)| (what, Fault::Sends(bytes, true)));
        let broken = [("reset", Fault::Resets), ("slow", Fault::IsSlow)];
        for (what, fault) in sends.chain(broken.map(|(what, fault)| (what.to_owned(), fault))) {
            count += 1;
            if nsqd_after(step, &fault) == 0 {
                survivors.push(format!("reply {step}: {what}"));
            }
        }
    }
    assert!(count > 100, "only {count} faults were tried");
    assert!(survivors.is_empty(), "{count} faults, not noticed: {survivors:#?}");
}
