//! A small lookupd for tests, with one optional fault: a thread per connection and one list behind a
//! lock. Without a fault all its answers are right, as nsqlookupd's are.
//!
//! Must not: be used outside of tests.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, RwLock};
use std::thread;
use std::time::Duration;

use crate::clock::{Clock, Timestamp};
use serde_json::{Value, json};
use testkit::wire::{self, HTTP_PORT, VERSION};

use crate::input::target::Target;

/// The fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// This producer's registrations are acknowledged and discarded.
    Drops(&'static str),
    /// Registrations are listed only this long after their OK.
    ShowsLate(Duration),
    /// Disconnected producers are listed for this long.
    ForgetsLate(Duration),
    /// Every response lists a producer that was never registered.
    Invents,
    /// Every producer is listed with a wrong port.
    Garbles,
    /// Every list is `{}`.
    Empties,
    /// It closes the connection of every lookup without an answer.
    Resets,
    /// At its lookup of this number, it answers no request for this long.
    Pauses(u64, Duration),
    /// It closes the connection of every nsqd at its first PING.
    HangsUp,
}

#[derive(Debug)]
struct Entry {
    topic: String,
    host: String,
    shown: Timestamp,
    gone: Timestamp,
    /// The remote address of the connection that registered it.
    peer: String,
}

#[derive(Debug)]
struct State {
    fault: Fault,
    clock: Clock,
    target: Target,
    entries: Mutex<Vec<Entry>>,
    /// The channels of every topic, and by peer the hosts that are connected.
    topics: Mutex<BTreeMap<String, BTreeSet<String>>>,
    nodes: Mutex<BTreeMap<String, String>>,
    lookups: Mutex<u64>,
    /// Locked for writing while it pauses.
    pause: RwLock<()>,
}

/// Starts one on free ports; its threads end with the test's process.
pub(crate) fn start(fault: Fault) -> Target {
    let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
    let (tcp, http) = (listen(), listen());
    let target = Target { tcp: tcp.local_addr().unwrap(), http: http.local_addr().unwrap() };
    let state = Arc::new(State {
        fault,
        clock: Clock::system(),
        target,
        topics: Mutex::default(),
        nodes: Mutex::default(),
        entries: Mutex::default(),
        lookups: Mutex::default(),
        pause: RwLock::default(),
    });
    accept(tcp, Arc::clone(&state), nsqd);
    accept(http, state, client);
    target
}

fn accept(listener: TcpListener, state: Arc<State>, serve: fn(&State, TcpStream) -> Option<()>) {
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let state = Arc::clone(&state);
            thread::spawn(move || serve(&state, stream));
        }
    });
}

/// Serves one nsqd's connection to its end.
fn nsqd(state: &State, stream: TcpStream) -> Option<()> {
    let peer = stream.peer_addr().ok()?.to_string();
    let ended = commands(state, &peer, stream);
    let late = if let Fault::ForgetsLate(late) = state.fault { late } else { Duration::ZERO };
    let gone = state.clock.now() + late;
    let mut entries = state.entries.lock().unwrap();
    let registered = entries.iter_mut().filter(|entry| entry.peer == peer);
    registered.for_each(|entry| entry.gone = entry.gone.min(gone));
    state.nodes.lock().unwrap().remove(&peer);
    ended
}

fn commands(state: &State, peer: &str, mut stream: TcpStream) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    reader.read_exact(&mut [0; 4]).ok()?;
    let mut host = String::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let _open = state.pause.read().unwrap();
        let words: Vec<_> = line.trim_end().split(' ').collect();
        match words[..] {
            ["PING"] if state.fault == Fault::HangsUp => return None,
            ["IDENTIFY"] => {
                let mut length = [0; 4];
                reader.read_exact(&mut length).ok()?;
                let mut body = vec![0; u32::from_be_bytes(length) as usize];
                reader.read_exact(&mut body).ok()?;
                let info: serde_json::Value = serde_json::from_slice(&body).ok()?;
                host = info["broadcast_address"].as_str()?.to_owned();
                state.nodes.lock().unwrap().insert(peer.to_owned(), host.clone());
                let mut reply = Vec::new();
                wire::frame(identified(state.target).to_string().as_bytes(), &mut reply);
                stream.write_all(&reply).ok()?;
                continue;
            }
            ["REGISTER", topic, ref channel @ ..] => {
                let mut topics = state.topics.lock().unwrap();
                let channels = topics.entry(topic.to_owned()).or_default();
                channels.extend(channel.iter().map(ToString::to_string));
                drop(topics);
                register(state, peer, topic, &host);
            }
            ["UNREGISTER", topic, ..] => unregister(state, peer, topic),
            _ => {}
        }
        stream.write_all(wire::OK).ok()?;
    }
}

fn register(state: &State, peer: &str, topic: &str, host: &str) {
    let mut entries = state.entries.lock().unwrap();
    let known =
        entries.iter().any(|e| e.peer == peer && e.topic == topic && e.gone == Timestamp::NEVER);
    if known || state.fault == Fault::Drops(static_name(host)) {
        return;
    }
    let late = if let Fault::ShowsLate(late) = state.fault { late } else { Duration::ZERO };
    entries.push(Entry {
        topic: topic.to_owned(),
        host: host.to_owned(),
        shown: state.clock.now() + late,
        gone: Timestamp::NEVER,
        peer: peer.to_owned(),
    });
}

/// [`DROPPED`], if this is that name.
fn static_name(host: &str) -> &'static str {
    if host == DROPPED { DROPPED } else { "" }
}

/// The producer of [`Fault::Drops`].
pub(crate) const DROPPED: &str = "nsqd-0000003.fleet";

fn unregister(state: &State, peer: &str, topic: &str) {
    let now = state.clock.now();
    let mut entries = state.entries.lock().unwrap();
    let registered = entries.iter_mut().filter(|e| e.peer == peer && e.topic == topic);
    registered.for_each(|entry| entry.gone = entry.gone.min(now));
}

/// The reply to IDENTIFY.
pub(super) fn identified(target: Target) -> Value {
    json!({
        "tcp_port": target.tcp.port(),
        "http_port": target.http.port(),
        "version": VERSION,
        "hostname": "lookupd",
        "broadcast_address": "lookupd",
    })
}

/// Serves one HTTP client's connection to its end.
fn client(state: &State, mut stream: TcpStream) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let (mut first, mut line) = (String::new(), String::new());
        reader.read_line(&mut first).ok()?;
        let target = first.split(' ').nth(1)?.to_owned();
        let mut close = false;
        while line != "\r\n" {
            line.clear();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            close |= line.eq_ignore_ascii_case("connection: close\r\n");
        }
        let (path, topic) = target.split_once("?topic=").unwrap_or((&target, ""));
        if path == "/lookup" && state.fault == Fault::Resets {
            return None;
        }
        let (status, body) = answer(state, path, topic);
        let kind = if body.is_empty() { "" } else { JSON };
        let length = body.len();
        write!(stream, "HTTP/1.1 {status}\r\n{kind}{NSQ}Content-Length: {length}\r\n\r\n{body}")
            .ok()?;
        if close {
            return Some(());
        }
    }
}

/// The headers of nsqlookupd's answers.
pub(super) const JSON: &str = "Content-Type: application/json; charset=utf-8\r\n";
pub(super) const NSQ: &str = "X-NSQ-Content-Type: nsq; version=1.0\r\n";

fn answer(state: &State, path: &str, topic: &str) -> (&'static str, String) {
    let topics = || state.topics.lock().unwrap();
    let body = match path {
        "/lookup" => lookup(state, topic),
        "/topics" => Some(json!({ "topics": topics().keys().collect::<Vec<_>>() })),
        "/channels" if topic == "*" => {
            let all: BTreeSet<_> = topics().values().flatten().cloned().collect();
            Some(json!({ "channels": all }))
        }
        "/channels" => {
            Some(json!({ "channels": topics().get(topic).cloned().unwrap_or_default() }))
        }
        "/nodes" => Some(nodes(state)),
        "/topic/create" => {
            topics().entry(topic.to_owned()).or_default();
            return ("200 OK", String::new());
        }
        "/topic/delete" => {
            topics().remove(topic);
            return ("200 OK", String::new());
        }
        _ => return ("200 OK", "OK".to_owned()),
    };
    match body {
        Some(_) if state.fault == Fault::Empties => ("200 OK", "{}".to_owned()),
        Some(body) => ("200 OK", body.to_string()),
        None => ("404 Not Found", json!({ "message": "TOPIC_NOT_FOUND" }).to_string()),
    }
}

/// The producers in `/lookup` and `/nodes` have the same fields.
pub(super) fn producer(host: &str, peer: &str, port: u16) -> Value {
    json!({
        "remote_address": peer,
        "hostname": host,
        "broadcast_address": host,
        "tcp_port": port,
        "http_port": HTTP_PORT,
        "version": VERSION,
    })
}

fn nodes(state: &State) -> Value {
    let now = state.clock.now();
    let (nodes, entries) = (state.nodes.lock().unwrap(), state.entries.lock().unwrap());
    let node = |(peer, host): (&String, &String)| {
        let shown = |entry: &&Entry| entry.peer == *peer && entry.shown <= now && now < entry.gone;
        let topics: Vec<_> = entries.iter().filter(shown).map(|entry| &entry.topic).collect();
        let mut node = producer(host, peer, wire::TCP_PORT);
        node["tombstones"] = topics.iter().map(|_| false).collect();
        node["topics"] = json!(topics);
        node
    };
    json!({ "producers": nodes.iter().map(node).collect::<Vec<_>>() })
}

fn lookup(state: &State, topic: &str) -> Option<Value> {
    let number = {
        let mut lookups = state.lookups.lock().unwrap();
        *lookups += 1;
        *lookups
    };
    if let Fault::Pauses(at, length) = state.fault
        && at == number
    {
        let _closed = state.pause.write().unwrap();
        thread::sleep(length);
    }
    let _open = state.pause.read().unwrap();
    let now = state.clock.now();
    let channels = state.topics.lock().unwrap().get(topic)?.clone();
    let entries = state.entries.lock().unwrap();
    let listed = entries.iter().filter(|e| e.topic == topic && e.shown <= now && now < e.gone);
    let port = if state.fault == Fault::Garbles { 1 } else { wire::TCP_PORT };
    let mut producers: Vec<_> =
        listed.map(|entry| producer(&entry.host, &entry.peer, port)).collect();
    if state.fault == Fault::Invents {
        producers.push(producer("nsqd-9999999.fleet", "127.0.0.1:1", port));
    }
    Some(json!({ "channels": channels, "producers": producers }))
}
