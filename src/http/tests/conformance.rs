//! Every recorded HTTP conversation with nsqlookupd v1.3.0, replayed: whole, byte by byte, and
//! pipelined on as few connections as possible.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::host::{Daemon, Producer};
use crate::registry::Client;

/// One recorded case.
struct Case {
    name: String,
    sent: Vec<u8>,
    /// The answers, made comparable.
    want: Vec<Answer>,
    closes: bool,
    half_closes: bool,
}

/// What has to be equal of an answer.
#[derive(Debug, PartialEq)]
struct Answer {
    /// The status line and the fields in their order; values that may differ are left out.
    head: Vec<String>,
    body: Value,
}

/// How the bytes of the cases reach the daemon.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Manner {
    Whole,
    Bytes,
    Pipelined,
}

const MANNERS: [Manner; 3] = [Manner::Whole, Manner::Bytes, Manner::Pipelined];

fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|letter| u8::try_from(letter).expect("latin-1")).collect()
}

fn cases(corpus: &str) -> Vec<Case> {
    let case = |line: &str| {
        let recorded: Value = serde_json::from_str(line).expect("a JSON line");
        let text = |key: &str| recorded[key].as_str().expect("a string").to_owned();
        let (name, sent) = (text("case"), latin1(&text("sent")));
        let half_closes = name == "half-closed client";
        let closes = text("end") != "open";
        let mut got = &*latin1(&text("got"));
        let mut want = Vec::new();
        while !got.is_empty() {
            want.push(take_answer(&mut got, sent.starts_with(b"HEAD ")));
        }
        Case { name, sent, want, closes, half_closes }
    };
    corpus.lines().map(case).collect()
}

/// Divergence: every answer has one, where Go sends chunks or nothing for a body above 2 KiB.
const LENGTH: &str = "Content-Length";

/// Takes the first answer off `bytes`.
fn take_answer(bytes: &mut &[u8], head_only: bool) -> Answer {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a whole head") + 4;
    let head = String::from_utf8(bytes[..end - 4].to_vec()).expect("a head is ASCII");
    *bytes = &bytes[end..];
    let value =
        |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
    let length = value("Content-Length: ").map(|length| length.parse::<usize>().expect("digits"));
    let body = if value("Transfer-Encoding: ").is_some() {
        take_chunks(bytes)
    } else {
        let length = length.unwrap_or(if head.contains("100 Continue") { 0 } else { bytes.len() });
        let length = if head_only { 0 } else { length };
        let (body, rest) = bytes.split_at(length);
        *bytes = rest;
        body.to_vec()
    };
    let is_kept = |line: &&str| !line.starts_with("Transfer-Encoding: ");
    let masked = |line: &str| match line.split_once(": ") {
        Some((name @ ("Date" | LENGTH), _)) => name.to_owned(),
        _ => line.to_owned(),
    };
    let head = head.lines().filter(is_kept).map(masked).collect();
    let text = String::from_utf8(body).expect("a body is UTF-8");
    let body = match serde_json::from_str(&text) {
        Ok(json) => comparable(json),
        Err(_) => Value::String(text),
    };
    Answer { head, body }
}

fn take_chunks(bytes: &mut &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = bytes.windows(2).position(|window| window == b"\r\n").expect("a chunk's size");
        let size = std::str::from_utf8(&bytes[..end]).expect("digits");
        let size = usize::from_str_radix(size, 16).expect("digits");
        body.extend_from_slice(&bytes[end + 2..end + 2 + size]);
        *bytes = &bytes[end + 2 + size + 2..];
        if size == 0 {
            return body;
        }
    }
}

/// Sorts arrays, which have no order in Go; pairs `topics` with `tombstones` first; hides times.
fn comparable(json: Value) -> Value {
    match json {
        Value::Array(items) => {
            let mut items: Vec<Value> = items.into_iter().map(comparable).collect();
            items.sort_by_key(Value::to_string);
            Value::Array(items)
        }
        Value::Object(mut members) => {
            if let (Some(Value::Array(topics)), Some(Value::Array(tombstones))) =
                (members.get("topics").cloned(), members.remove("tombstones"))
            {
                assert_eq!(topics.len(), tombstones.len(), "the arrays pair up");
                let pairs = topics.into_iter().zip(tombstones);
                let pairs = pairs.map(|(topic, hidden)| Value::Array(vec![hidden, topic]));
                members.insert("topics".to_owned(), pairs.collect());
            }
            let hide = |name: &str, value: Value| match name {
                "last_update" => Value::from("a time"),
                "tombstoned_at" if value != -6_795_364_578_871_345_152_i64 => Value::from("a time"),
                _ => comparable(value),
            };
            members.into_iter().map(|(name, value)| (name.clone(), hide(&name, value))).collect()
        }
        other => other,
    }
}

/// The nsqds that are connected, by name.
type Fleet = BTreeMap<&'static str, Client>;
/// What happened before the case of this number.
type SessionEvent = (usize, fn(&Daemon, &mut Fleet));

fn replay(cases: &[Case], events: &[SessionEvent], manner: Manner) {
    let (mut daemon, mut fleet) = (Daemon::new(), Fleet::new());
    let has_event = |number: usize| events.iter().any(|&(at, _)| at == number);
    let mut next = 0;
    while next < cases.len() {
        for (_, event) in events.iter().filter(|&&(at, _)| at == next) {
            event(&daemon, &mut fleet);
        }
        // What goes down one connection at once: up to an event, or to a case that ends it.
        let mut end = next + 1;
        while manner == Manner::Pipelined
            && end < cases.len()
            && !has_event(end)
            && !cases[end - 1].ends_a_pipeline()
        {
            end += 1;
        }
        converse(&cases[next..end], &mut daemon, manner);
        next = end;
    }
}

/// Replays `group` over one connection.
fn converse(group: &[Case], daemon: &mut Daemon, manner: Manner) {
    let sent: Vec<u8> = group.iter().flat_map(|case| case.sent.clone()).collect();
    let mut peer = Producer::new();
    match manner {
        Manner::Bytes => sent.iter().for_each(|byte| peer.send(daemon, &[*byte])),
        Manner::Whole | Manner::Pipelined => peer.send(daemon, &sent),
    }
    let last = group.last().expect("no group is empty");
    if last.half_closes {
        peer.end(daemon);
    }
    let mut output = &*peer.output;
    for Case { name, sent, want, .. } in group {
        for want in want {
            let mut got = take_answer(&mut output, sent.starts_with(b"HEAD "));
            got.head.retain(|line| line != LENGTH || want.head.contains(line));
            assert_eq!(&got, want, "{name}, {manner:?}");
        }
    }
    assert_eq!(String::from_utf8_lossy(output), "", "after {}, {manner:?}", last.name);
    assert_eq!(peer.closed, last.closes, "{}, {manner:?}: closed", last.name);
}

impl Case {
    /// Whether the next case needs another connection.
    fn ends_a_pipeline(&self) -> bool {
        // One case leaves its body out.
        self.closes || self.name == "Expect 100-continue"
    }
}

#[test]
fn an_empty_registry_answers_as_recorded() {
    for manner in MANNERS {
        replay(&cases(include_str!("../../../tests/corpus/http_empty.jsonl")), &[], manner);
    }
}

#[test]
fn router_framing_and_headers_are_as_recorded() {
    let corpus = include_str!("../../../tests/corpus/http_errors_and_protocol.jsonl");
    for manner in MANNERS {
        replay(&cases(corpus), &[], manner);
    }
}

#[test]
fn posts_have_the_recorded_effects() {
    for manner in MANNERS {
        replay(&cases(include_str!("../../../tests/corpus/http_admin.jsonl")), &[], manner);
    }
}

/// What happened between the requests of `http_with_producers`.
const EVENTS: [SessionEvent; 9] = [
    (0, |daemon, fleet| {
        let registrations = [("alpha", None), ("alpha", Some("ch1")), ("alpha", Some("ch2"))];
        fleet.insert("a", daemon.join("a", "127.0.0.2:41001", &registrations));
    }),
    (9, |daemon, fleet| {
        let registrations = [("alpha", Some("ch1")), ("beta", None)];
        fleet.insert("b", daemon.join("b", "127.0.0.3:41002", &registrations));
    }),
    (18, |daemon, fleet| daemon.unregister(of(fleet, "a"), "alpha", Some("ch1"))),
    (20, |daemon, fleet| daemon.unregister(of(fleet, "a"), "alpha", None)),
    (25, |daemon, fleet| daemon.leave(fleet.remove("a").expect("joined"))),
    (28, |daemon, fleet| daemon.leave(fleet.remove("b").expect("joined"))),
    (30, |daemon, fleet| {
        let registrations = [("eph#ephemeral", Some("c#ephemeral")), ("keep", Some("c#ephemeral"))];
        fleet.insert("e", daemon.join("e", "127.0.0.4:41003", &registrations));
    }),
    (31, |daemon, fleet| daemon.unregister(of(fleet, "e"), "keep", Some("c#ephemeral"))),
    (32, |daemon, fleet| daemon.unregister(of(fleet, "e"), "eph#ephemeral", None)),
];

/// The last events: an nsqd with ephemeral names comes and goes, then a fleet comes.
const LATE_EVENTS: [SessionEvent; 2] = [
    (34, |daemon, _| {
        let registrations = [("eph2#ephemeral", Some("c#ephemeral"))];
        daemon.leave(daemon.join("e2", "127.0.0.4:41004", &registrations));
    }),
    (36, |daemon, fleet| {
        for (name, port) in NAMES.iter().zip(42000..) {
            let address = format!("127.0.0.5:{port}");
            fleet.insert(name, daemon.join(name, &address, &[("big", None)]));
        }
    }),
];

const NAMES: [&str; 14] = [
    "n00", "n01", "n02", "n03", "n04", "n05", "n06", "n07", "n08", "n09", "n10", "n11", "n12",
    "n13",
];

fn of<'f>(fleet: &'f mut Fleet, name: &str) -> &'f mut Client {
    fleet.get_mut(name).expect("joined")
}

#[test]
fn producers_are_told_as_recorded() {
    let mut cases = cases(include_str!("../../../tests/corpus/http_with_producers.jsonl"));
    // Divergence: an ephemeral topic goes with its last nsqd, however that went.
    cases[34].want[0].body = comparable(json!({"topics": ["keep", "alpha"]}));
    cases[35].want[0].body = json!({"channels": []});
    let events: Vec<SessionEvent> = EVENTS.into_iter().chain(LATE_EVENTS).collect();
    for manner in MANNERS {
        replay(&cases, &events, manner);
    }
}
