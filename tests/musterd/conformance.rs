//! Every recorded session with nsqlookupd v1.3.0, replayed over sockets: whole, byte by byte and
//! pipelined, with one shard and with several, through each HTTP engine.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use testkit::corpus::{
    ADMIN, Addresses, Case, Connection, EMPTY, ERRORS, PACES, Pace, Server, TCP, cases, check,
    comparable, replay, send, with_producers,
};
use testkit::wire;

use crate::support::{Daemon, HttpClient, Nsqd, Response};

const NAME: &str = "--broadcast-address=lookup.example";
const SHARDS: [&str; 2] = ["--shards=1", "--shards=2"];

/// The frames in `bytes`; a reply that names the daemon's ports and host is parsed and those are
/// taken out.
fn frames(bytes: &[u8]) -> Vec<Value> {
    let frame = |payload: &[u8]| {
        let text = || Value::from(payload.iter().map(|&byte| char::from(byte)).collect::<String>());
        let mut frame: Value = serde_json::from_slice(payload).unwrap_or_else(|_| text());
        if let Some(reply) = frame.as_object_mut() {
            for key in ["hostname", "http_port", "tcp_port"] {
                reply[key].take();
            }
        }
        frame
    };
    let payloads = wire::frames(bytes).unwrap_or_else(|| panic!("not all is whole: {bytes:?}"));
    payloads.into_iter().map(frame).collect()
}

fn check_tcp(daemon: &Daemon, case: &Case, pace: Pace) {
    let mut nsqd = Nsqd::connect(daemon.tcp);
    send(&mut nsqd.stream, &case.sent, pace);
    let want = frames(&case.got);
    let name = format!("{} ({pace:?})", case.name);
    if case.open {
        // That it is still open, and sent no more, shows in the reply to one more PING.
        send(&mut nsqd.stream, wire::PING, Pace::Whole);
        for want in want.iter().chain([&json!("OK")]) {
            let mut framed = Vec::new();
            wire::frame(nsqd.reply().as_bytes(), &mut framed);
            assert_eq!(frames(&framed), std::slice::from_ref(want), "{name}");
        }
    } else {
        if case.name.ends_with("FIN") {
            nsqd.finish();
        }
        assert_eq!(frames(&nsqd.rest()), want, "{name}");
    }
}

#[test]
fn tcp_commands_are_answered_as_recorded() {
    for shards in SHARDS {
        let daemon = Daemon::start(&[shards, NAME]);
        for case in cases(TCP) {
            check_tcp(&daemon, &case, Pace::Whole);
            check_tcp(&daemon, &case, Pace::ByteByByte);
        }
    }
}

/// A daemon with the nsqds that are connected to it.
struct Process {
    daemon: Daemon,
    nsqds: BTreeMap<String, Nsqd>,
}

impl Process {
    fn start(flags: &[&str]) -> Self {
        Self { daemon: Daemon::start(flags), nsqds: BTreeMap::new() }
    }

    fn join(&mut self, name: &str, commands: &[&str]) -> String {
        let mut nsqd = Nsqd::identified(self.daemon.tcp, name);
        commands.iter().for_each(|command| nsqd.command(command));
        let address = nsqd.address.to_string();
        self.nsqds.insert(name.to_owned(), nsqd);
        address
    }

    fn command(&mut self, name: &str, command: &str) {
        self.nsqds.get_mut(name).expect("joined").command(command);
    }

    fn leave(&mut self, name: &str) {
        let mut nsqd = self.nsqds.remove(name).expect("joined");
        nsqd.finish();
        assert_eq!(nsqd.rest(), b"");
    }
}

impl Server for Process {
    fn play(&mut self, cases: &[Case], pace: Pace, addresses: &Addresses) {
        check(&mut HttpClient::connect(self.daemon.http), cases, pace, addresses);
    }

    fn join(&mut self, name: &str, _: &str, commands: &[&str]) -> String {
        Process::join(self, name, commands)
    }

    fn command(&mut self, name: &str, command: &str) {
        Process::command(self, name, command);
    }

    fn leave(&mut self, name: &str) {
        Process::leave(self, name);
    }
}

#[test]
fn http_reads_and_errors_are_answered_as_recorded() {
    let mut process = Process::start(&[NAME]);
    for pace in PACES {
        replay(&mut process, &cases(EMPTY), &[], pace);
        replay(&mut process, &cases(ERRORS), &[], pace);
        HttpClient::connect(process.daemon.http).request("POST", "/topic/delete?topic=*");
    }
}

#[test]
fn http_admin_requests_are_answered_as_recorded() {
    for pace in PACES {
        replay(&mut Process::start(&[NAME]), &cases(ADMIN), &[], pace);
    }
}

#[test]
fn http_is_answered_as_recorded_while_nsqds_come_and_go() {
    let (cases, events) = with_producers();
    for shards in SHARDS {
        for pace in PACES {
            replay(&mut Process::start(&[shards, NAME]), &cases, &events, pace);
        }
    }
}

/// What the second engine answers otherwise: see the head of `src/api/minihttp.rs` for why.
const MINIHTTP_EXCEPTIONS: [&str; 12] = [
    "GET /PING",
    "GET //ping",
    "GET /lookup/?topic=a",
    "garbage",
    "empty line first",
    "HTTP/1.2",
    "HTTP/3.0",
    "nsqd V1 magic on http port",
    "space before colon",
    "Expect 100-continue",
    "CL and TE",
    "chunked body",
];

/// The engine reads once: it answers when it reads before the end has come, and closes otherwise.
const MINIHTTP_UNDECIDED: &str = "half-closed client";

/// A daemon on the second engine, and the names of the cases that it answers otherwise.
struct Minihttp {
    process: Process,
    different: Vec<String>,
}

/// Whether the second engine, which has its own words for a status and its own fields, gives the
/// recorded code and body, and does with the connection what was recorded.
fn is_same_by_minihttp(client: &mut HttpClient, case: &Case, addresses: &Addresses) -> bool {
    let code = |response: &Response| response.status.split(' ').nth(1).map(str::to_owned);
    client.send(&case.sent);
    if case.half_closes() {
        Connection::finish(client);
    }
    let same = case.responses().into_iter().all(|want| {
        let Some(got) = client.try_response(case.is_head()) else { return false };
        let (got, want) = (comparable(got, addresses), comparable(want, &Addresses::new()));
        (code(&got.0), got.1) == (code(&want.0), want.1)
    });
    if !same || !case.open {
        return same && client.rest().is_empty();
    }
    client.try_request("GET", "/ping").is_ok_and(|response| response.body == "OK")
}

impl Server for Minihttp {
    fn play(&mut self, cases: &[Case], _: Pace, addresses: &Addresses) {
        for case in cases {
            let mut client = HttpClient::connect(self.process.daemon.http);
            if !is_same_by_minihttp(&mut client, case, addresses) {
                self.different.push(case.name.clone());
            }
        }
    }

    fn join(&mut self, name: &str, _: &str, commands: &[&str]) -> String {
        self.process.join(name, commands)
    }

    fn command(&mut self, name: &str, command: &str) {
        self.process.command(name, command);
    }

    fn leave(&mut self, name: &str) {
        self.process.leave(name);
    }
}

#[test]
fn minihttp_answers_as_recorded_except_in_listed_cases() {
    let flags = ["--http-engine=minihttp", NAME];
    let (producers, events) = with_producers();
    let corpora = [
        ([cases(EMPTY), cases(ERRORS)].concat(), vec![]),
        (cases(ADMIN), vec![]),
        (producers, events),
    ];
    let mut different = Vec::new();
    for (cases, events) in corpora {
        let mut server = Minihttp { process: Process::start(&flags), different: Vec::new() };
        replay(&mut server, &cases, &events, Pace::Whole);
        different.append(&mut server.different);
    }
    different.retain(|name| name != MINIHTTP_UNDECIDED);
    assert_eq!(different, MINIHTTP_EXCEPTIONS);
}
