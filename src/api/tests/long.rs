//! What takes long in a large registry: listings and changes in slices, while the registry changes,
//! and what becomes of them when the client reads slowly, goes, or asks for too many.

use std::collections::BTreeMap;

use serde_json::Value;

use super::server::{START, Server};
use crate::api::Routed;
use crate::clock::Timestamp;
use crate::handler::{Input, Next};
use crate::http1::Connection;
use crate::limits;
use crate::protocol::names::TopicName;
use crate::registry::Client;
use crate::work::Work;
use std::time::Duration;

/// Topics of the large registry: more than what is listed at once.
const TOPICS: usize = limits::SMALL_REGISTRY + 100;
/// Channels of its topic "wide": more than what is answered at once.
const CHANNELS: usize = 10 * limits::WIDE_TOPIC;

/// A registry of [`TOPICS`] topics "t…" with a channel "c" each, of the nsqd "all" and every tenth of
/// "some"; and the topic "wide" of "all".
struct Large {
    server: Server,
    all: Client,
    some: Client,
}

fn large() -> Large {
    let server = Server::new();
    let mut all = server.join("all", "10.0.0.1:1");
    let mut some = server.join("some", "10.0.0.2:2");
    for number in 0..TOPICS {
        server.register(&mut all, &format!("t{number}"), Some("c"));
        if number % 10 == 0 {
            server.register(&mut some, &format!("t{number}"), None);
        }
    }
    Large { server, all, some }
}

fn with_wide_topic() -> Large {
    let mut large = large();
    for number in 0..CHANNELS {
        large.server.register(&mut large.all, "wide", Some(&format!("w{number}")));
    }
    large
}

/// A client, and what it has been sent.
struct Peer {
    connection: Connection<Routed>,
    input: Vec<u8>,
    output: Vec<u8>,
    /// Calls that were needed.
    calls: usize,
    is_closed: bool,
}

impl Peer {
    fn new(request: &str) -> Self {
        let connection = Connection::new(([127, 0, 0, 1], 1).into(), START);
        let input = request.as_bytes().to_vec();
        Self { connection, input, output: Vec::new(), calls: 0, is_closed: false }
    }

    fn get(target: &str) -> Self {
        Self::new(&format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"))
    }

    fn post(target: &str) -> Self {
        Self::new(&format!("POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"))
    }

    /// One call with little work and a small budget of output; what the connection waits for.
    fn call(&mut self, server: &mut Server, now: Timestamp) -> Next {
        self.calls += 1;
        let input = Input { bytes: &self.input, end: false };
        let work = &mut Work::units(100);
        let handled = self.connection.on_input(input, now, &mut self.output, 4000, work, server);
        self.input.drain(..handled.consumed);
        self.is_closed = handled.next == Next::Close;
        handled.next
    }

    /// Calls until it waits for the next request or closes; `between` two calls something happens.
    fn finish(&mut self, server: &mut Server, mut between: impl FnMut(&mut Server)) {
        while !matches!(self.call(server, START), Next::Read { .. } | Next::Close) {
            between(server);
        }
    }

    /// The first response: its status and its body. The rest of the output stays.
    fn response(&mut self) -> (u16, Vec<u8>) {
        let end = self.output.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8(self.output.drain(..end + 4).collect()).expect("text");
        let status = head[9..12].parse().expect("a status");
        let body = if head.contains("\r\nTransfer-Encoding: chunked\r\n") {
            assert!(!head.contains("Content-Length"), "{head}");
            self.chunks()
        } else if let Some((_, length)) = head.split_once("Content-Length: ") {
            let length = length.lines().next().and_then(|text| text.parse::<usize>().ok());
            self.output.drain(..length.expect("a length")).collect()
        } else {
            assert!(self.is_closed, "only the end tells the end");
            self.output.drain(..).collect()
        };
        (status, body)
    }

    /// A body in chunks, read strictly.
    fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let line = self.output.windows(2).position(|bytes| bytes == b"\r\n").expect("a size");
            let size = String::from_utf8(self.output.drain(..line + 2).collect()).expect("text");
            let size = usize::from_str_radix(size.trim_end(), 16).expect("hexadecimal");
            body.extend(self.output.drain(..size));
            assert_eq!(self.output.drain(..2).as_slice(), b"\r\n");
            if size == 0 {
                return body;
            }
        }
    }

    fn json(&mut self) -> Value {
        let (status, body) = self.response();
        assert_eq!(status, 200);
        serde_json::from_slice(&body).expect("JSON")
    }
}

/// Adds and removes topics, channels and nsqds other than those of the large registry.
fn churn(server: &mut Server, round: &mut usize) {
    *round += 1;
    for number in 0..20 {
        let name = TopicName::new(&format!("x{}", *round * 20 + number)).expect("valid");
        server.api.registry.create_topic(&name).expect("room");
        let old = format!("x{}", (round.saturating_sub(3)) * 20 + number);
        server.api.registry.delete_topic(&old);
    }
    if round.is_multiple_of(20) {
        let mut passing = server.join("passing", &format!("10.0.1.{}:3", *round % 250));
        server.register(&mut passing, "wide", Some("passing"));
        server.leave(passing);
    }
}

/// How often each name of `array` is there.
fn count(array: &Value) -> BTreeMap<&str, usize> {
    let mut names = BTreeMap::new();
    for name in array.as_array().expect("an array") {
        *names.entry(name.as_str().expect("a name")).or_default() += 1;
    }
    names
}

/// The answer to `target` while the registry changes; it takes at least as many calls as there are
/// thousands of units of work in it.
fn answer(large: &mut Large, target: &str) -> Value {
    let (mut peer, mut round) = (Peer::get(target), 0);
    peer.finish(&mut large.server, |server| churn(server, &mut round));
    assert!(peer.calls > 50, "{target}: {} calls", peer.calls);
    peer.json()
}

#[test]
fn listing_shows_once_what_is_there_throughout() {
    let mut large = with_wide_topic();
    let topics = answer(&mut large, "/topics");
    let names = count(&topics["topics"]);
    assert!((0..TOPICS).all(|number| names.get(&*format!("t{number}")) == Some(&1)));
    assert_eq!(names["wide"], 1);

    for target in ["/channels?topic=*", "/lookup?topic=*"] {
        let found = answer(&mut large, target);
        let names = count(&found["channels"]);
        assert_eq!(names["c"], TOPICS, "{target}");
        assert!((0..CHANNELS).all(|number| names.get(&*format!("w{number}")) == Some(&1)));
    }
    for target in ["/channels?topic=wide", "/lookup?topic=wide"] {
        let found = answer(&mut large, target);
        let names = count(&found["channels"]);
        assert!((0..CHANNELS).all(|number| names.get(&*format!("w{number}")) == Some(&1)));
        assert!(!names.contains_key("c"), "{target}");
    }
    let hosts = |found: &Value| {
        let producers = found["producers"].as_array().expect("an array").clone();
        let host = |producer: &Value| producer["hostname"].as_str().unwrap_or_default().to_owned();
        producers.iter().map(host).filter(|host| !host.contains("passing")).collect::<Vec<_>>()
    };
    let mut all = hosts(&answer(&mut large, "/lookup?topic=*"));
    all.sort();
    assert_eq!(all, ["host-all", "host-some"], "each producer once");
    assert_eq!(hosts(&answer(&mut large, "/lookup?topic=wide")), ["host-all"]);
}

/// A topic "long" of so many nsqds with identities of this many bytes and more.
fn with_nsqds(count: usize, bytes: usize) -> (Server, Vec<Client>) {
    let (server, long) = (Server::new(), "x".repeat(bytes));
    let clients = (0..count).map(|number| {
        let address = format!("10.0.{}.{}:1", number / 250, number % 250);
        let mut client = server.join(&long, &address);
        server.register(&mut client, "long", None);
        client
    });
    let clients = clients.collect();
    (server, clients)
}

/// How many producers the next answer to that lookup has, and how it was made: in how many calls, and
/// whether its length was known.
fn lookup(server: &mut Server) -> (usize, usize, bool) {
    let mut peer = Peer::get("/lookup?topic=long");
    peer.finish(server, |_| {});
    let has_length = String::from_utf8_lossy(&peer.output).contains("\r\nContent-Length: ");
    let found = peer.json();
    (found["producers"].as_array().map_or(0, Vec::len), peer.calls, has_length)
}

#[test]
fn long_lookup_is_made_in_slices_or_whole_behind_others_to_be_cached() {
    for (count, bytes) in [(limits::WIDE_LOOKUP / 400, 240), (limits::WIDE_TOPIC + 2, 1)] {
        let (mut server, mut clients) = with_nsqds(count, bytes);
        let cached = |server: &Server| server.api.registry.snapshots().cache_budget().used();
        let (found, calls, has_length) = lookup(&mut server);
        assert!(found == count && calls > 20 && !has_length, "{found} {calls} {has_length}");
        assert_eq!(cached(&server), 0);
        // The request, and one slice.
        assert_eq!(lookup(&mut server), (count, 2, true));
        assert!(cached(&server) > 100 * count);
        let (found, calls, has_length) = lookup(&mut server);
        assert!(found == count && calls <= 2 && has_length, "{found} {calls} {has_length}");
        // What changed since is asked for once again before it is cached again.
        server.leave(clients.pop().expect("many"));
        let (found, calls, _) = lookup(&mut server);
        assert!(found == count - 1 && calls > 20, "{found} {calls}");
        assert_eq!(lookup(&mut server), (count - 1, 2, true));
    }
}

#[test]
fn lookup_that_is_too_long_for_the_cache_is_made_in_slices() {
    let (mut server, _clients) = with_nsqds(limits::CACHED_LOOKUP / 400, 240);
    for _ in 0..3 {
        let (found, calls, has_length) = lookup(&mut server);
        assert_eq!((found, has_length), (limits::CACHED_LOOKUP / 400, false));
        assert!(calls > 100, "{calls}");
    }
}

#[test]
fn nodes_have_two_arrays_of_one_look() {
    let mut large = large();
    large.server.api.registry.tombstone("t10", "nsqd-all.example:4151", START);
    let found = answer(&mut large, "/nodes");
    let mut seen = Vec::new();
    for node in found["producers"].as_array().expect("an array") {
        let (topics, tombstones) = (&node["topics"], &node["tombstones"]);
        assert_eq!(topics.as_array().map(Vec::len), tombstones.as_array().map(Vec::len));
        let names = count(topics);
        assert!(names.values().all(|&count| count == 1));
        let is_all = node["hostname"] == "host-all";
        for (topic, tombstone) in
            topics.as_array().into_iter().flatten().zip(tombstones.as_array().into_iter().flatten())
        {
            assert_eq!(*tombstone, Value::Bool(is_all && topic == "t10"), "{topic}");
        }
        seen.push((node["hostname"].as_str().unwrap_or_default().to_owned(), names.len()));
    }
    seen.sort();
    let some = TOPICS.div_ceil(10);
    assert_eq!(seen, [("host-all".to_owned(), TOPICS), ("host-some".to_owned(), some)]);
    let _ = (&large.all, &large.some);
}

#[test]
fn debug_shows_every_registration_once() {
    let mut large = large();
    let found = answer(&mut large, "/debug");
    let keys = found.as_object().expect("an object");
    let known = |key: &&String| !key.contains(":x") && !key.contains(":wide");
    assert_eq!(keys.keys().filter(known).count(), 2 * TOPICS + 1);
    assert_eq!(keys["client::"].as_array().map(Vec::len), Some(2));
    assert_eq!(keys["topic:t0:"].as_array().map(Vec::len), Some(2));
    assert_eq!(keys["channel:t1:c"].as_array().map(Vec::len), Some(1));
}

#[test]
fn pipelined_requests_are_answered_behind_a_long_one() {
    let mut large = large();
    let long = "GET /topics HTTP/1.1\r\nHost: x\r\n\r\n";
    let short = "GET /ping HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut peer = Peer::new(&[long, short, long, short].concat());
    peer.finish(&mut large.server, |_| {});
    for _ in 0..2 {
        assert_eq!(count(&peer.json()["topics"]).len(), TOPICS);
        assert_eq!(peer.response(), (200, b"OK".to_vec()));
    }
    assert_eq!(peer.output, b"");
    assert_eq!(large.server.statuses, [200; 4]);
}

#[test]
fn client_of_http_1_0_is_told_the_end_by_the_end() {
    let mut large = large();
    let request = "GET /topics HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    let mut peer = Peer::new(request);
    peer.finish(&mut large.server, |_| {});
    assert!(peer.is_closed);
    assert!(!String::from_utf8_lossy(&peer.output).contains("keep-alive"));
    assert_eq!(count(&peer.json()["topics"]).len(), TOPICS);
}

#[test]
fn too_many_long_requests_are_told_to_come_again() {
    let mut large = with_wide_topic();
    let server = &mut large.server;
    let mut next = 0;
    let mut begin = |server: &mut Server, target: &str| {
        next += 1;
        let mut peer = Peer::get(target);
        peer.connection = Connection::new(([10, 0, 0, next], 1).into(), START);
        assert_eq!(peer.call(server, START), Next::Continue);
        peer
    };
    let mut running: Vec<_> = (0..limits::WALKS).map(|_| begin(server, "/topics")).collect();
    for target in ["/topics", "/nodes", "/debug", "/channels?topic=*", "/lookup?topic=*"] {
        let mut peer = Peer::get(target);
        peer.finish(server, |_| {});
        let head = String::from_utf8_lossy(&peer.output).into_owned();
        assert!(head.contains("\r\nRetry-After: 1\r\n"), "{head}");
        assert_eq!(peer.response(), (503, b"{\"message\":\"BUSY\"}".to_vec()), "{target}");
    }
    let mut delete = Peer::post("/topic/delete?topic=*");
    delete.finish(server, |_| {});
    assert_eq!(delete.response().0, 503);
    // What consumers and nsqds need is always answered.
    for target in ["/ping", "/lookup?topic=t1", "/channels?topic=t1", "/channels?topic=wide"] {
        let mut peer = Peer::get(target);
        peer.finish(server, |_| {});
        assert_eq!(peer.response().0, 200, "{target}");
    }
    // A HEAD takes no place.
    for target in ["/topics", "/nodes", "/debug", "/channels?topic=*", "/channels?topic=wide"] {
        let mut peer = Peer::new(&format!(
            "HEAD {target} HTTP/1.1\r\nHost: x\r\n\r\nGET /info HTTP/1.1\r\nHost: x\r\n\r\n"
        ));
        assert!(matches!(peer.call(server, START), Next::Read { .. }), "{target}");
        let head = String::from_utf8_lossy(&peer.output).into_owned();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        let (_, behind) = head.split_once("Transfer-Encoding: chunked\r\n\r\n").expect(&head);
        assert!(behind.starts_with("HTTP/1.1 200 OK\r\n"), "{behind}");
        assert!(behind.ends_with("{\"version\":\"1.3.0\"}"), "{behind}");
    }
    // One goes in the middle; another is done.
    running.pop();
    running[0].finish(server, |_| {});
    let _others = [begin(server, "/nodes"), begin(server, "/topics")];
    let mut peer = Peer::get("/topics");
    peer.finish(server, |_| {});
    assert_eq!(peer.response().0, 503);
}

#[test]
fn change_of_all_topics_is_answered_after_its_last_slice() {
    let mut large = large();
    let registry = std::sync::Arc::clone(&large.server.api.registry);
    let mut tombstone = Peer::post("/topic/tombstone?topic=*&node=nsqd-all.example:4151");
    tombstone.finish(&mut large.server, |_| {});
    assert_eq!(tombstone.response(), (200, Vec::new()));
    let producers = |server: &mut Server| {
        let mut lookup = Peer::get("/lookup?topic=t10");
        lookup.finish(server, |_| {});
        lookup.json()["producers"].as_array().map(Vec::len)
    };
    assert_eq!(producers(&mut large.server), Some(1));
    let mut delete = Peer::post("/topic/delete?topic=*");
    let mut left = vec![registry.topics()];
    while !matches!(delete.call(&mut large.server, START), Next::Read { .. }) {
        assert_eq!(delete.output, b"", "an answer before the last slice");
        left.push(registry.topics());
    }
    assert!(left.len() > 100 && left.is_sorted_by(|before, after| before >= after), "{left:?}");
    assert_eq!((registry.topics(), delete.response()), (0, (200, Vec::new())));
}

/// Producers that are looked at cost work, shown or not.
#[test]
fn lookups_that_show_nothing_are_work_too() {
    let server = &mut Server::new();
    let mut nsqds: Vec<_> =
        (1..500).map(|port| server.join("n", &format!("10.0.0.1:{port}"))).collect();
    nsqds.iter_mut().for_each(|nsqd| server.register(nsqd, "t", None));
    let requests = |line: &str| format!("{line} HTTP/1.1\r\nHost: x\r\n\r\n").repeat(10);
    for line in [
        "POST /topic/tombstone?topic=t&node=nsqd-n.example:4151",
        "POST /topic/tombstone?topic=*&node=nsqd-n.example:4151",
        "GET /lookup?topic=t",
        "GET /topics",
        "POST /topic/delete?topic=*",
    ] {
        let mut peer = Peer::new(&requests(line));
        peer.finish(server, |_| {});
        let few = if line.contains("delete") { 1 } else { 9 };
        assert!(peer.calls >= few, "{line}: {} calls for 10 requests", peer.calls);
        assert!(String::from_utf8_lossy(&peer.output).matches("HTTP/1.1 200 OK").count() == 10);
    }
}

#[test]
fn channels_that_are_written_are_work() {
    let mut server = Server::new();
    let mut nsqd = server.join("n", "10.0.0.1:1");
    let channels = 0..limits::WIDE_TOPIC;
    channels.for_each(|number| server.register(&mut nsqd, "t", Some(&format!("c{number}"))));
    for target in ["/channels?topic=t", "/lookup?topic=t"] {
        let mut peer = Peer::get(target);
        let input = Input { bytes: &peer.input, end: false };
        let mut work = Work::unlimited();
        let (budget, output) = (usize::MAX / 2, &mut peer.output);
        peer.connection.on_input(input, START, output, budget, &mut work, &mut server);
        assert!(work.spent() >= limits::WIDE_TOPIC as u64 / 4, "{target}: {}", work.spent());
    }
}

#[test]
fn client_that_reads_too_slowly_is_closed() {
    let (mut large, second) = (large(), Duration::from_secs(1));
    // Each call gives 4 KB; 64 KiB/s are twenty of them a second.
    for (wait, is_closed) in [(second / 30, false), (second / 5, true)] {
        let (mut peer, mut now) = (Peer::get("/debug"), START);
        for _ in 0..4000 {
            match peer.call(&mut large.server, now) {
                Next::Write => now = now + wait,
                Next::Continue => {}
                _ => break,
            }
        }
        assert_eq!(peer.is_closed, is_closed, "{wait:?}");
        assert!(!is_closed || now.since(START) < 40 * second, "long after 30 s");
    }
}
