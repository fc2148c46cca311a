//! Thousands of unusual HTTP requests that `tests/http_parity/record` recorded with nsqlookupd (Go's
//! server), replayed over sockets: whole and in small pieces. musterd does the same, except for the
//! listed classes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::{Shutdown, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use crate::support::{Daemon, HttpClient, Response};

const TABLE: &str = include_str!("../corpus/http_parity.jsonl");
/// What musterd does with each request that it handles differently.
const DIFFERENCES: &str = include_str!("../corpus/http_parity_differences.jsonl");

/// Every class of differences: the number of requests and the reason. Differences that change what a
/// request means are in README's list too.
const CLASSES: [(&str, usize, &str); 11] = [
    (
        "close-said",
        5,
        "a POST's body that breaks off: both close, musterd sends `Connection: close`",
    ),
    ("empty-length", 8, "an empty Content-Length is refused: servers disagree on what it means"),
    (
        "folded",
        30,
        "a line that starts with white space is refused: servers disagree on which field it belongs to",
    ),
    ("head", 188, "a HEAD is answered as a GET without a body, and `Allow` names it; Go: 405"),
    ("http10-encoding", 35, "HTTP/1.0 with an encoding: Go parses the body as the next request"),
    (
        "length-and-encoding",
        23,
        "a length and an encoding: the connection closes behind the answer (RFC 9112 6.1)",
    ),
    ("limits", 49, "heads, targets and bodies are bounded, Go's by 1 MiB, 1 MiB and nothing"),
    ("trailer", 24, "a trailer's lines are as strict as a chunk's, 16 at most; it ends by CRLF"),
    ("unread-body", 3, "a body that no route reads: Go closes past 256 KiB, musterd past 1 MiB"),
    (
        "whole-head",
        18,
        "a line that is only CRs: Go refuses it at once, musterd with the whole head",
    ),
    ("words", 2, "both refuse it and say another reason: Go checks the field names last"),
];

/// Sent when the connection stays open: the answer shows whether the server expects a new request.
const AFTER: &[u8] = b"GET /info?after HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
/// Connections at once.
const CLIENTS: usize = 16;

/// A response, and whether it has no body in spite of its Content-Length (to HEAD).
type Expected = (Response, bool);

/// What one server did with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    got: Vec<Expected>,
    closed: bool,
    after: Vec<Expected>,
}

struct Case {
    name: String,
    sent: Vec<u8>,
    /// The client closes its side behind the request.
    half_closes: bool,
    want: Seen,
}

impl Case {
    /// Whether the request's bytes contain `route`.
    fn names(&self, route: &str) -> bool {
        self.sent.windows(route.len()).any(|bytes| bytes == route.as_bytes())
    }
}

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

/// Text, or a list of text and `[text, times]`.
fn unpack(value: &Value) -> String {
    let part = |part: &Value| match part {
        Value::Array(pair) => {
            let times = pair[1].as_u64().expect("a number");
            text(&pair[0]).repeat(usize::try_from(times).expect("it fits memory"))
        }
        part => text(part).to_owned(),
    };
    value.as_array().map_or_else(|| part(value), |parts| parts.iter().map(part).collect())
}

/// The bytes of a text, one for each character.
fn bytes(value: &Value) -> Vec<u8> {
    testkit::corpus::latin1(&unpack(value))
}

/// The cases of a file, each with what the server did.
fn rows(file: &str) -> Vec<(Value, Option<Seen>)> {
    let (mut known, mut rows) = (BTreeMap::new(), Vec::new());
    for line in file.lines() {
        let row: Value = serde_json::from_str(line).expect("JSON");
        if let Some(name) = row["answer"].as_str() {
            let header = |pair: &Value| (text(&pair[0]).to_owned(), text(&pair[1]).to_owned());
            let headers = row["headers"].as_array().expect("a list").iter().map(header).collect();
            let body = String::from_utf8_lossy(&bytes(&row["body"])).into_owned();
            let answer = Response { status: text(&row["status"]).to_owned(), headers, body };
            known.insert(name.to_owned(), (answer, row["bodiless"] == true));
            continue;
        }
        let answers = |key: &str| {
            let names = row[key].as_array().into_iter().flatten();
            names.map(|name| known[text(name)].clone()).collect()
        };
        let seen = row["end"].as_str().map(|end| Seen {
            got: answers("got"),
            closed: end == "closed",
            after: answers("after"),
        });
        rows.push((row, seen));
    }
    rows
}

/// Every request with what musterd must do: what nsqlookupd did, or the listed difference. And the
/// topics that must exist at the end.
fn cases() -> (Vec<Case>, BTreeSet<String>) {
    let (mut cases, mut topics) = (Vec::new(), BTreeSet::new());
    let names = |list: &Value| -> BTreeSet<String> {
        list.as_array().expect("a list").iter().map(|name| text(name).to_owned()).collect()
    };
    for (row, seen) in rows(TABLE) {
        if let Some(want) = seen {
            let name = text(&row["case"]).to_owned();
            let (sent, half_closes) = (bytes(&row["sent"]), row["then"] == "close");
            cases.push(Case { name, sent, half_closes, want });
        } else if row["topics"].is_array() {
            topics = names(&row["topics"]);
        }
    }
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for (row, seen) in rows(DIFFERENCES) {
        if let Some(ours) = seen {
            let mut cases = cases.iter_mut();
            let case = cases.find(|case| row["case"] == *case.name).expect("a recorded request");
            assert_ne!(ours, case.want, "{} is no difference", case.name);
            case.want = ours;
            *counts.entry(text(&row["class"]).to_owned()).or_default() += 1;
        } else {
            topics.retain(|topic| !names(&row["topics_missing"]).contains(topic));
        }
    }
    let classes = CLASSES.iter().map(|&(name, count, _)| (name.to_owned(), count)).collect();
    assert_eq!(counts, classes, "every class of differences is named and counted above");
    (cases, topics)
}

/// Sends one request, `piece` bytes at a time. The error says what differs.
fn play(http: SocketAddr, case: &Case, piece: usize) -> Result<(), String> {
    let mut client = HttpClient::connect(http);
    client.stream().set_nodelay(true).expect("an option");
    // The daemon may close before it has read everything.
    let _ = case.sent.chunks(piece).try_for_each(|piece| client.stream().write_all(piece));
    if case.half_closes {
        let _ = client.stream().shutdown(Shutdown::Write);
    }
    expect(&mut client, &case.want.got)?;
    if !case.want.closed {
        let _ = client.stream().write_all(AFTER);
        let _ = client.stream().shutdown(Shutdown::Write);
        expect(&mut client, &case.want.after)?;
    }
    let rest = client.rest();
    if rest.is_empty() { Ok(()) } else { Err(format!("more: {}", String::from_utf8_lossy(&rest))) }
}

fn expect(client: &mut HttpClient, answers: &[Expected]) -> Result<(), String> {
    for (want, bodiless) in answers {
        let got = client.try_response(*bodiless).map(Response::without_date_and_framing);
        match got {
            Some(got) if got == *want => {}
            got => return Err(format!("{got:?} instead of {want:?}")),
        }
    }
    Ok(())
}

fn check(piece: impl Fn(&Case) -> usize + Sync) {
    let daemon = Daemon::start(&["--broadcast-address=x"]);
    let (cases, topics) = cases();
    assert!(cases.len() > 3_200, "{} requests", cases.len());
    // What lists all channels expects that there are topics, and not yet any channel.
    let (topics_made, rest): (Vec<_>, Vec<_>) =
        cases.iter().partition(|case| case.names("/topic/create"));
    let (channels_made, rest): (Vec<_>, Vec<_>) =
        rest.into_iter().partition(|case| case.names("/channel/create"));
    let mut failures = Vec::new();
    for cases in [topics_made, rest, channels_made] {
        let next = AtomicUsize::new(0);
        let client = || {
            let mut failures = Vec::new();
            while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Err(error) = play(daemon.http, case, piece(case)) {
                    failures.push(format!("{}: {error}", case.name));
                }
            }
            failures
        };
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
            for client in clients {
                failures.extend(client.join().expect("it does not panic"));
            }
        });
    }
    assert!(failures.is_empty(), "{} of {}: {failures:#?}", failures.len(), cases.len());
    let listed: Value =
        serde_json::from_str(&HttpClient::connect(daemon.http).get("/topics")).expect("JSON");
    let listed = listed["topics"].as_array().expect("a list").iter();
    assert_eq!(listed.map(|topic| text(topic).to_owned()).collect::<BTreeSet<_>>(), topics);
}

#[test]
fn unusual_requests_are_handled_as_go_handles_them() {
    check(|case| case.sent.len().max(1));
}

/// In pieces of one byte; of more, if the request has more than 2,000 bytes.
#[test]
fn unusual_requests_in_small_pieces_are_handled_the_same() {
    check(|case| 1 + case.sent.len() / 2_000);
}
