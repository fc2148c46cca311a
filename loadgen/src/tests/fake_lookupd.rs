//! A small lookupd for tests, with one optional fault: a thread per connection and one list behind a
//! lock.
//!
//! Must not: be used outside of tests.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, RwLock};
use std::thread;
use std::time::Duration;

use crate::clock::{Clock, Timestamp};
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
    entries: Mutex<Vec<Entry>>,
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
                stream.write_all(b"\0\0\0\x02{}").ok()?;
                continue;
            }
            ["REGISTER", topic, ..] => register(state, peer, topic, &host),
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

/// Serves one HTTP client's connection to its end.
fn client(state: &State, mut stream: TcpStream) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let (mut first, mut line) = (String::new(), String::new());
        reader.read_line(&mut first).ok()?;
        let path = first.split(' ').nth(1)?.to_owned();
        let mut close = false;
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line).ok()?;
            close |= line.eq_ignore_ascii_case("connection: close\r\n");
        }
        let body = match path.strip_prefix("/lookup?topic=") {
            Some(topic) => lookup(state, topic),
            None => "OK".to_owned(),
        };
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).ok()?;
        if close {
            return Some(());
        }
    }
}

fn lookup(state: &State, topic: &str) -> String {
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
    let entries = state.entries.lock().unwrap();
    let listed = entries.iter().filter(|e| e.topic == topic && e.shown <= now && now < e.gone);
    let mut hosts: Vec<_> = listed.map(|entry| entry.host.as_str()).collect();
    if state.fault == Fault::Invents {
        hosts.push("nsqd-9999999.fleet");
    }
    let port = if state.fault == Fault::Garbles { 1 } else { wire::TCP_PORT };
    let mut body = "{\"channels\":[\"channel-0\"],\"producers\":[".to_owned();
    for (number, host) in hosts.iter().enumerate() {
        let comma = if number > 0 { "," } else { "" };
        let _ = write!(
            body,
            "{comma}{{\"remote_address\":\"127.0.0.1:1\",\"hostname\":\"{host}\",\"broadcast_address\":\"{host}\",\"tcp_port\":{port},\"http_port\":{HTTP_PORT},\"version\":\"{VERSION}\"}}"
        );
    }
    body + "]}"
}
