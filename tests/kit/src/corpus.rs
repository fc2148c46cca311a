//! The recorded sessions with nsqlookupd v1.3.0 (`tests/corpus`): their reader, the one comparison of
//! a response with the recorded one, and the order in which everything is replayed.
//!
//! A test implements [`Server`], whose `play` calls [`check`] with an [`HttpClient`], or with a
//! [`Connection`] of its own that has no socket. Must not: know how a server is started.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{Shutdown, TcpStream};

use serde_json::{Value, json};

use crate::{HttpClient, Response};

/// `tests/corpus/tcp_commands.jsonl`.
pub const TCP: &str = include_str!("../../corpus/tcp_commands.jsonl");
/// `tests/corpus/http_empty.jsonl`.
pub const EMPTY: &str = include_str!("../../corpus/http_empty.jsonl");
/// `tests/corpus/http_errors_and_protocol.jsonl`.
pub const ERRORS: &str = include_str!("../../corpus/http_errors_and_protocol.jsonl");
/// `tests/corpus/http_admin.jsonl`.
pub const ADMIN: &str = include_str!("../../corpus/http_admin.jsonl");
/// `tests/corpus/http_with_producers.jsonl`; see [`with_producers`].
const PRODUCERS: &str = include_str!("../../corpus/http_with_producers.jsonl");

/// One recorded session.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// What the client sent.
    pub sent: Vec<u8>,
    /// What nsqlookupd sent.
    pub got: Vec<u8>,
    /// Whether nsqlookupd left the connection open.
    pub open: bool,
}

/// How the bytes of a case arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// In one piece.
    Whole,
    /// One by one.
    ByteByByte,
    /// Together with those of the cases behind it, as far as one connection goes.
    Pipelined,
}

/// Every way.
pub const PACES: [Pace; 3] = [Pace::Whole, Pace::ByteByByte, Pace::Pipelined];

/// What happens before a case.
#[derive(Clone, Debug)]
pub enum Event {
    /// The nsqd of this name joins from this address and sends these commands.
    Join(String, String, &'static [&'static str]),
    /// It sends one more command.
    Command(&'static str, &'static str),
    /// It closes.
    Leave(&'static str),
}

/// The address that was recorded, for each that an nsqd has today.
pub type Addresses = BTreeMap<String, String>;

/// What answers the recorded requests.
pub trait Server {
    /// Sends the cases down one connection and compares the responses.
    fn play(&mut self, cases: &[Case], pace: Pace, addresses: &Addresses);
    /// An nsqd joins and sends commands; its address today.
    fn join(&mut self, name: &str, address: &str, commands: &[&str]) -> String;
    /// An nsqd sends a command.
    fn command(&mut self, name: &str, command: &str);
    /// An nsqd closes, and the server has noticed.
    fn leave(&mut self, name: &str);
}

/// One connection to a server.
pub trait Connection {
    /// Sends bytes at a pace.
    fn send(&mut self, bytes: &[u8], pace: Pace);
    /// Closes the sending side.
    fn finish(&mut self);
    /// The next response; `to_head`: to a HEAD request.
    fn response(&mut self, to_head: bool) -> Response;
    /// What else comes until the server closes; `None` when it does not.
    fn rest(&mut self) -> Option<Vec<u8>>;
    /// Whether the server has sent nothing more and takes another request; what is missing of the
    /// `last` one is sent first.
    fn is_open(&mut self, last: &Case) -> bool;
}

/// Sends `bytes` at `pace`. The server may close before it has read all of them.
///
/// # Panics
/// When the stream is no socket that is open.
pub fn send(stream: &mut TcpStream, bytes: &[u8], pace: Pace) {
    stream.set_nodelay(true).expect("an option");
    let piece = if pace == Pace::ByteByByte { 1 } else { bytes.len().max(1) };
    let _ = bytes.chunks(piece).try_for_each(|piece| stream.write_all(piece));
}

impl Connection for HttpClient {
    fn send(&mut self, bytes: &[u8], pace: Pace) {
        send(self.stream(), bytes, pace);
    }

    fn finish(&mut self) {
        self.stream().shutdown(Shutdown::Write).expect("open");
    }

    fn response(&mut self, to_head: bool) -> Response {
        HttpClient::response(self, to_head)
    }

    fn rest(&mut self) -> Option<Vec<u8>> {
        Some(HttpClient::rest(self))
    }

    fn is_open(&mut self, last: &Case) -> bool {
        if last.lacks_its_body() {
            HttpClient::send(self, b"{}");
            assert_eq!(HttpClient::response(self, false).status, "HTTP/1.1 200 OK");
        }
        self.get("/ping") == "OK"
    }
}

/// Divergence: a request with a length and an encoding is the last of its connection.
const LENGTH_AND_ENCODING: &str = "CL and TE";

/// Divergence: a HEAD is answered as a GET, without a body; nsqlookupd answers 405.
const HEADS: [(&str, &str); 2] = [
    (
        "HEAD /ping",
        "HTTP/1.1 200 OK\r\nDate: \r\nContent-Length: 2\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\r\n",
    ),
    (
        "HEAD /lookup?topic=a",
        "HTTP/1.1 404 Not Found\r\nContent-Type: application/json; charset=utf-8\r\n\
         X-Nsq-Content-Type: nsq; version=1.0\r\nDate: \r\nContent-Length: 29\r\n\r\n",
    ),
];

/// The cases of a file, with what musterd answers otherwise.
///
/// # Panics
/// When it is not as `tests/corpus/README.md` says.
#[must_use]
pub fn cases(file: &str) -> Vec<Case> {
    let case = |line: &str| {
        let case: Value = serde_json::from_str(line).expect("a case a line");
        let name = case["case"].as_str().expect("a name").to_owned();
        let mut got = case["got"].as_str().expect("text").to_owned();
        if let Some((_, ours)) = HEADS.iter().find(|(head, _)| *head == name) {
            got = (*ours).to_owned();
        }
        // Divergence: `Allow` names HEAD where there is a GET.
        got = got.replace("Allow: GET, OPTIONS", "Allow: GET, HEAD, OPTIONS");
        let is_ambiguous = name == LENGTH_AND_ENCODING;
        if is_ambiguous {
            got = got.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
        }
        Case {
            name,
            sent: latin1(case["sent"].as_str().expect("text")),
            got: latin1(&got),
            open: case["end"] == "open" && !is_ambiguous,
        }
    };
    file.lines().map(case).collect()
}

/// The bytes that text stands for, one for each character.
///
/// # Panics
/// When a character is not of Latin-1.
#[must_use]
pub fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|byte| u8::try_from(u32::from(byte)).expect("latin-1")).collect()
}

/// Divergence: an ephemeral topic or channel goes with its last producer, however that went.
const EPHEMERAL_LEFTOVERS: [(usize, &str); 2] =
    [(34, r#"{"topics":["keep","alpha"]}"#), (35, r#"{"channels":[]}"#)];

/// The cases of `http_with_producers` with what musterd answers otherwise, and what happened before
/// the case of each number.
#[must_use]
#[expect(clippy::missing_panics_doc, reason = "the recorded responses have a head")]
pub fn with_producers() -> (Vec<Case>, Vec<(usize, Event)>) {
    let mut cases = cases(PRODUCERS);
    for (at, body) in EPHEMERAL_LEFTOVERS {
        let got = &mut cases[at].got;
        let head = got.windows(4).position(|end| end == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8_lossy(&got[..head]).into_owned();
        let length = head.rfind(' ').expect("the length comes last");
        *got = format!("{} {}\r\n\r\n{body}", &head[..length], body.len()).into();
    }
    let join = |name: &str, address: &str, commands: &'static [&'static str]| {
        Event::Join(name.to_owned(), address.to_owned(), commands)
    };
    let alpha = &["REGISTER alpha", "REGISTER alpha ch1", "REGISTER alpha ch2"];
    let ephemeral = &["REGISTER eph#ephemeral c#ephemeral", "REGISTER keep c#ephemeral"];
    let mut events = vec![
        (0, join("a", "127.0.0.2:41001", alpha)),
        (9, join("b", "127.0.0.3:41002", &["REGISTER alpha ch1", "REGISTER beta"])),
        (18, Event::Command("a", "UNREGISTER alpha ch1")),
        (20, Event::Command("a", "UNREGISTER alpha")),
        (25, Event::Leave("a")),
        (28, Event::Leave("b")),
        (30, join("e", "127.0.0.4:41003", ephemeral)),
        (31, Event::Command("e", "UNREGISTER keep c#ephemeral")),
        (32, Event::Command("e", "UNREGISTER eph#ephemeral")),
        (34, join("e2", "127.0.0.4:41004", &["REGISTER eph2#ephemeral c#ephemeral"])),
        (34, Event::Leave("e2")),
    ];
    events.extend((0..14).map(|number| {
        let address = format!("127.0.0.5:{}", 42000 + number);
        (36, Event::Join(format!("n{number:02}"), address, &["REGISTER big"]))
    }));
    (cases, events)
}

impl Case {
    /// The recorded responses; a case may hold several.
    ///
    /// # Panics
    /// When one is not whole.
    #[must_use]
    pub fn responses(&self) -> Vec<Response> {
        let (mut left, mut responses) = (&self.got[..], Vec::new());
        while !left.is_empty() {
            responses.push(Response::read(&mut left, self.is_head()).expect("recorded whole"));
        }
        responses
    }

    /// Whether the request is a HEAD.
    #[must_use]
    pub fn is_head(&self) -> bool {
        self.sent.starts_with(b"HEAD ")
    }

    /// Whether the client closed its sending side behind the request.
    #[must_use]
    pub fn half_closes(&self) -> bool {
        self.name == "half-closed client"
    }

    /// Whether its body is left out, so that no other case may follow.
    #[must_use]
    pub fn lacks_its_body(&self) -> bool {
        self.name == "Expect 100-continue"
    }
}

/// Plays all cases in their order, each behind the events of its number.
pub fn replay(server: &mut impl Server, cases: &[Case], events: &[(usize, Event)], pace: Pace) {
    let mut addresses = Addresses::new();
    let mut next = 0;
    while next < cases.len() {
        for (_, event) in events.iter().filter(|(at, _)| *at == next) {
            match event {
                Event::Join(name, recorded, commands) => {
                    let today = server.join(name, recorded, commands);
                    addresses.insert(today, recorded.clone());
                }
                Event::Command(name, command) => server.command(name, command),
                Event::Leave(name) => server.leave(name),
            }
        }
        let follows = |at: usize| {
            let before: &Case = &cases[at - 1];
            before.open && !before.lacks_its_body() && events.iter().all(|(event, _)| *event != at)
        };
        let mut end = next + 1;
        while pace == Pace::Pipelined && end < cases.len() && follows(end) {
            end += 1;
        }
        server.play(&cases[next..end], pace, &addresses);
        next = end;
    }
}

/// Sends the cases down one connection and compares every response, and what becomes of the
/// connection, with what was recorded.
///
/// # Panics
/// When anything differs.
pub fn check(connection: &mut impl Connection, cases: &[Case], pace: Pace, addresses: &Addresses) {
    let sent: Vec<u8> = cases.iter().flat_map(|case| case.sent.clone()).collect();
    connection.send(&sent, pace);
    let last = cases.last().expect("at least one case");
    if last.half_closes() {
        connection.finish();
    }
    for case in cases {
        for want in case.responses() {
            let got = connection.response(case.is_head());
            assert_same(&format!("{} ({pace:?})", case.name), got, want, addresses);
        }
    }
    let name = format!("after {} ({pace:?})", last.name);
    if last.open {
        assert!(connection.is_open(last), "{name}: open");
    } else {
        assert_eq!(connection.rest().as_deref(), Some(&b""[..]), "{name}: closed");
    }
}

/// Compares a response with the recorded one.
fn assert_same(name: &str, got: Response, want: Response, addresses: &Addresses) {
    let has_length = want.header("Content-Length").is_some();
    let (mut got, want) = (comparable(got, addresses), comparable(want, &Addresses::new()));
    // Divergence: every response has a length, where Go sends chunks for a body above 2 KiB.
    got.0.headers.retain(|(header, _)| header != "Content-Length" || has_length);
    assert_eq!(got, want, "{name}");
}

/// A response with what may differ made equal: dates, addresses, times, the order inside arrays.
/// A body of JSON is compared as that, and by its length.
#[must_use]
pub fn comparable(mut response: Response, addresses: &Addresses) -> (Response, Value) {
    response.headers.retain(|(name, _)| name != "Transfer-Encoding");
    for (name, value) in &mut response.headers {
        if name == "Date" {
            value.clear();
        }
    }
    for (today, recorded) in addresses {
        let (today, recorded) = (format!("\"{today}\""), format!("\"{recorded}\""));
        response.body = response.body.replace(&today, &recorded);
    }
    let length = response.body.len();
    // With today's addresses it may have another one.
    for (name, value) in &mut response.headers {
        if name == "Content-Length" && length > 0 {
            *value = length.to_string();
        }
    }
    let mut body = serde_json::from_str(&response.body).unwrap_or(Value::Null);
    if body != Value::Null {
        sort(&mut body);
        response.body = format!("{length} bytes");
    }
    (response, body)
}

/// Sorts arrays, which have no order in Go; pairs `topics` with `tombstones` first; hides times.
fn sort(value: &mut Value) {
    if let Some(object) = value.as_object_mut() {
        if let (Some(Value::Array(topics)), Some(Value::Array(tombstones))) =
            (object.get("topics"), object.get("tombstones"))
        {
            assert_eq!(topics.len(), tombstones.len(), "they pair up by index");
            let pairs = topics.iter().zip(tombstones).map(|pair| json!([pair.0, pair.1]));
            object.insert("topics".to_owned(), pairs.collect());
            object.remove("tombstones");
        }
        if let Some(updated) = object.get_mut("last_update") {
            *updated = json!(updated.as_i64().expect("nanoseconds") > 1_700_000_000_000_000_000);
        }
        if let Some(at) = object.get_mut("tombstoned_at").filter(|at| at.as_i64() > Some(0)) {
            *at = json!("some time");
        }
        object.values_mut().for_each(sort);
    }
    if let Some(array) = value.as_array_mut() {
        array.iter_mut().for_each(sort);
        if !array.iter().any(Value::is_boolean) {
            array.sort_by_key(Value::to_string);
        }
    }
}
