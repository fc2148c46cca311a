//! Every recorded conversation with nsqlookupd v1.3.0, replayed over sockets: whole, byte by byte
//! and pipelined, with one shard and with several, through each HTTP engine.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::support::{Answer, Daemon, Http, Nsqd};

/// One recorded conversation.
struct Case {
    name: String,
    sent: Vec<u8>,
    got: Vec<u8>,
    open: bool,
}

fn corpus(text: &str) -> Vec<Case> {
    let bytes = |value: &Value| {
        let text = value.as_str().expect("text").chars();
        text.map(|byte| u8::try_from(u32::from(byte)).expect("latin-1")).collect::<Vec<u8>>()
    };
    text.lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("a case a line"))
        .map(|case| Case {
            name: case["case"].as_str().expect("a name").to_owned(),
            sent: bytes(&case["sent"]),
            got: bytes(&case["got"]),
            open: case["end"] == "open",
        })
        .collect()
}

/// How the bytes of a case arrive.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Pace {
    Whole,
    ByteByByte,
}

/// Sends `bytes` at `pace`. The daemon may close before it has read all of them.
fn send(stream: &mut std::net::TcpStream, bytes: &[u8], pace: Pace) {
    use std::io::Write;
    stream.set_nodelay(true).expect("an option");
    match pace {
        Pace::Whole => drop(stream.write_all(bytes)),
        Pace::ByteByByte => {
            let _ = bytes.chunks(1).try_for_each(|byte| stream.write_all(byte));
        }
    }
}

mod tcp {
    use super::*;

    const CASES: &str = include_str!("../corpus/tcp_commands.jsonl");

    /// The frames in `bytes`; a reply that names the daemon's ports and host is parsed and those
    /// are taken out.
    fn frames(mut bytes: &[u8]) -> Vec<Value> {
        let mut frames = Vec::new();
        while let Some((payload, taken)) = musterd::protocol::decode::reply(bytes) {
            let text =
                || Value::from(payload.iter().map(|&byte| char::from(byte)).collect::<String>());
            let mut frame: Value = serde_json::from_slice(payload).unwrap_or_else(|_| text());
            if let Some(greeting) = frame.as_object_mut() {
                for key in ["hostname", "http_port", "tcp_port"] {
                    greeting[key].take();
                }
            }
            frames.push(frame);
            bytes = &bytes[taken..];
        }
        assert!(bytes.is_empty(), "{bytes:?} is no whole frame");
        frames
    }

    fn check(daemon: &Daemon, case: &Case, pace: Pace) {
        let mut nsqd = Nsqd::connect(daemon.tcp);
        send(&mut nsqd.stream, &case.sent, pace);
        let want = frames(&case.got);
        let name = format!("{} ({pace:?})", case.name);
        if case.open {
            // That it is still open, and said no more, shows in the answer to one more PING.
            send(&mut nsqd.stream, b"PING\n", Pace::Whole);
            for want in want.iter().chain([&json!("OK")]) {
                let reply = nsqd.reply();
                let framed =
                    [&u32::try_from(reply.len()).expect("small").to_be_bytes(), reply.as_bytes()];
                assert_eq!(frames(&framed.concat()), std::slice::from_ref(want), "{name}");
            }
        } else {
            if case.name.ends_with("FIN") {
                nsqd.finish();
            }
            assert_eq!(frames(&nsqd.rest()), want, "{name}");
        }
    }

    #[test]
    fn every_recorded_command_is_answered_as_recorded() {
        for shards in ["--shards=1", "--shards=2"] {
            let flags = [shards, "--broadcast-address=lookup.example"];
            let daemon = Daemon::start(&flags);
            for case in corpus(CASES) {
                check(&daemon, &case, Pace::Whole);
                check(&daemon, &case, Pace::ByteByByte);
            }
        }
    }
}

mod http {
    use super::*;

    const EMPTY: &str = include_str!("../corpus/http_empty.jsonl");
    const ERRORS: &str = include_str!("../corpus/http_errors_and_protocol.jsonl");
    const ADMIN: &str = include_str!("../corpus/http_admin.jsonl");
    const PRODUCERS: &str = include_str!("../corpus/http_with_producers.jsonl");

    /// `127.0.0.2:41001` as it was recorded, for the address a peer has today.
    type Recorded = BTreeMap<String, String>;

    /// An answer with what may differ made equal: addresses, times, the order inside arrays.
    fn comparable(mut answer: Answer, recorded: &Recorded) -> (Answer, Value) {
        for (today, then) in recorded {
            answer.body = answer.body.replace(&format!("\"{today}\""), &format!("\"{then}\""));
        }
        // A body in another order is as long.
        let mut body = serde_json::from_str(&answer.body).unwrap_or(Value::Null);
        if body != Value::Null {
            settle(&mut body);
            answer.body = format!("{} bytes", answer.body.len());
        }
        (answer, body)
    }

    fn settle(value: &mut Value) {
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
                *updated =
                    json!(updated.as_i64().expect("nanoseconds") > 1_700_000_000_000_000_000);
            }
            if let Some(at) = object.get_mut("tombstoned_at").filter(|at| at.as_i64() > Some(0)) {
                *at = json!("some time");
            }
            object.values_mut().for_each(settle);
        }
        if let Some(array) = value.as_array_mut() {
            array.iter_mut().for_each(settle);
            if !array.iter().any(Value::is_boolean) {
                array.sort_by_key(Value::to_string);
            }
        }
    }

    /// The recorded answers; a case may hold several.
    fn recorded(case: &Case) -> Vec<Answer> {
        let mut left = &case.got[..];
        let head = case.sent.starts_with(b"HEAD ");
        let mut answers = Vec::new();
        while !left.is_empty() {
            answers.push(Answer::read(&mut left, head).expect("recorded whole"));
        }
        answers
    }

    fn assert_same(name: &str, got: Answer, want: Answer, peers: &Recorded) {
        let (got, want) = (comparable(got, peers), comparable(want, &Recorded::new()));
        assert_eq!(got, want, "{name}");
    }

    /// Asks on a connection of its own and compares every answer and what becomes of it.
    fn check(http: SocketAddr, case: &Case, pace: Pace, peers: &Recorded) {
        let mut client = Http::connect(http);
        let name = format!("{} ({pace:?})", case.name);
        send(client.stream(), &case.sent, pace);
        if case.name.contains("half-closed") {
            client.stream().shutdown(std::net::Shutdown::Write).expect("open");
        }
        for want in recorded(case) {
            let got = client.answer(case.sent.starts_with(b"HEAD "));
            assert_same(&name, got, want, peers);
        }
        if !case.open {
            assert_eq!(String::from_utf8_lossy(&client.rest()), "", "{name}: closes");
            return;
        }
        if case.name == "Expect 100-continue" {
            client.send(b"{}");
            assert_eq!(client.answer(false).status, "HTTP/1.1 200 OK", "{name}: continues");
        }
        assert_eq!(client.get("/ping"), "OK", "{name}: stays open");
    }

    /// Sends all cases at once on one connection and compares the answers in their order.
    fn check_pipelined(http: SocketAddr, cases: &[Case]) {
        let mut client = Http::connect(http);
        let all: Vec<u8> = cases.iter().flat_map(|case| case.sent.clone()).collect();
        client.send(&all);
        for case in cases {
            for want in recorded(case) {
                let got = client.answer(case.sent.starts_with(b"HEAD "));
                assert_same(&format!("{} (pipelined)", case.name), got, want, &Recorded::new());
            }
        }
    }

    const FLAGS: [&str; 1] = ["--broadcast-address=lookup.example"];

    #[test]
    fn an_empty_registry_and_every_protocol_error() {
        let daemon = Daemon::start(&FLAGS);
        for pace in [Pace::Whole, Pace::ByteByByte] {
            for case in corpus(EMPTY).iter().chain(&corpus(ERRORS)) {
                check(daemon.http, case, pace, &Recorded::new());
            }
            Http::connect(daemon.http).ask("POST", "/topic/delete?topic=*");
        }
        check_pipelined(daemon.http, &corpus(EMPTY));
        let open = |case: &Case| case.open && !case.name.starts_with("Expect");
        let lasting: Vec<_> = corpus(ERRORS).into_iter().filter(open).collect();
        check_pipelined(daemon.http, &lasting);
    }

    #[test]
    fn the_admin_s_requests() {
        for pace in [Pace::Whole, Pace::ByteByByte] {
            let daemon = Daemon::start(&FLAGS);
            corpus(ADMIN).iter().for_each(|case| check(daemon.http, case, pace, &Recorded::new()));
        }
        check_pipelined(Daemon::start(&FLAGS).http, &corpus(ADMIN));
    }

    /// What happened between the requests of `http_with_producers`.
    struct Fleet {
        tcp: SocketAddr,
        peers: BTreeMap<&'static str, Nsqd>,
        recorded: Recorded,
        many: Vec<Nsqd>,
    }

    impl Fleet {
        fn join(&mut self, name: &'static str, recorded: &str, commands: &[&str]) {
            let mut nsqd = Nsqd::identified(self.tcp, name);
            commands.iter().for_each(|command| nsqd.command(command));
            self.recorded.insert(nsqd.address.to_string(), recorded.to_owned());
            self.peers.insert(name, nsqd);
        }

        fn say(&mut self, name: &str, command: &str) {
            self.peers.get_mut(name).expect("joined").command(command);
        }

        /// Closes a connection and waits until the daemon has noticed.
        fn leave(&mut self, name: &str) {
            let mut nsqd = self.peers.remove(name).expect("joined");
            nsqd.finish();
            assert_eq!(nsqd.rest(), b"");
        }

        fn before(&mut self, index: usize) {
            match index {
                0 => self.join(
                    "a",
                    "127.0.0.2:41001",
                    &["REGISTER alpha", "REGISTER alpha ch1", "REGISTER alpha ch2"],
                ),
                9 => self.join("b", "127.0.0.3:41002", &["REGISTER alpha ch1", "REGISTER beta"]),
                18 => self.say("a", "UNREGISTER alpha ch1"),
                20 => self.say("a", "UNREGISTER alpha"),
                25 => self.leave("a"),
                28 => self.leave("b"),
                30 => self.join(
                    "e",
                    "127.0.0.4:41003",
                    &["REGISTER eph#ephemeral c#ephemeral", "REGISTER keep c#ephemeral"],
                ),
                31 => self.say("e", "UNREGISTER keep c#ephemeral"),
                32 => self.say("e", "UNREGISTER eph#ephemeral"),
                34 => {
                    self.join("e2", "", &["REGISTER eph2#ephemeral c#ephemeral"]);
                    self.leave("e2");
                }
                36 => {
                    for number in 0..14 {
                        let mut nsqd = Nsqd::identified(self.tcp, &format!("n{number:02}"));
                        nsqd.command("REGISTER big");
                        let then = format!("127.0.0.5:{}", 42000 + number);
                        self.recorded.insert(nsqd.address.to_string(), then);
                        self.many.push(nsqd);
                    }
                }
                _ => {}
            }
        }
    }

    /// Divergence: an ephemeral topic or channel goes with its last producer, however that went.
    const EPHEMERAL_LEFTOVERS: [(usize, &str); 2] =
        [(34, r#"{"topics":["keep","alpha"]}"#), (35, r#"{"channels":[]}"#)];

    fn replay_with_producers(flags: &[&str], check: impl Fn(SocketAddr, &Case, &Recorded)) {
        let daemon = Daemon::start(flags);
        let (peers, recorded, many) = (BTreeMap::new(), Recorded::new(), Vec::new());
        let mut fleet = Fleet { tcp: daemon.tcp, peers, recorded, many };
        for (index, mut case) in corpus(PRODUCERS).into_iter().enumerate() {
            fleet.before(index);
            if let Some((_, body)) = EPHEMERAL_LEFTOVERS.iter().find(|(at, _)| *at == index) {
                let head = case.got.windows(4).position(|end| end == b"\r\n\r\n").expect("a head");
                let head = String::from_utf8_lossy(&case.got[..head]).into_owned();
                let length = head.rfind(' ').expect("the length comes last");
                case.got = format!("{} {}\r\n\r\n{body}", &head[..length], body.len()).into();
            }
            check(daemon.http, &case, &fleet.recorded);
        }
    }

    #[test]
    fn a_fleet_comes_and_goes() {
        for shards in ["--shards=1", "--shards=2"] {
            for pace in [Pace::Whole, Pace::ByteByByte] {
                let check = |http, case: &Case, peers: &_| check(http, case, pace, peers);
                replay_with_producers(&[shards, FLAGS[0]], check);
            }
        }
    }

    /// What the second engine answers otherwise: see the head of `src/http/minihttp.rs` for why.
    const MINIHTTP_EXCEPTIONS: [&str; 13] = [
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
        "half-closed client",
    ];

    /// Whether the second engine, which has its own words for a status and its own fields, gives
    /// the recorded code and body, and does with the connection what was recorded.
    fn is_same_by_minihttp(http: SocketAddr, case: &Case, peers: &Recorded) -> bool {
        let code = |answer: &Answer| answer.status.split(' ').nth(1).map(str::to_owned);
        let mut client = Http::connect(http);
        client.send(&case.sent);
        if case.name.contains("half-closed") {
            client.stream().shutdown(std::net::Shutdown::Write).expect("open");
        }
        let mut answers = recorded(case).into_iter();
        let same = answers.all(|want| {
            let Some(got) = client.try_answer(case.sent.starts_with(b"HEAD ")) else {
                return false;
            };
            let (got, want) = (comparable(got, peers), comparable(want, &Recorded::new()));
            (code(&got.0), got.1) == (code(&want.0), want.1)
        });
        if !same || !case.open {
            return same && client.rest().is_empty();
        }
        client.send(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n");
        client.try_answer(false).is_some_and(|answer| answer.body == "OK")
    }

    #[test]
    fn the_second_engine_says_the_same_but_for_a_list_of_exceptions() {
        let flags = ["--http-engine=minihttp", FLAGS[0]];
        let different = std::cell::RefCell::new(Vec::new());
        let check = |http, case: &Case, peers: &Recorded| {
            if !is_same_by_minihttp(http, case, peers) {
                different.borrow_mut().push(case.name.clone());
            }
        };
        let daemon = Daemon::start(&flags);
        for case in corpus(EMPTY).iter().chain(&corpus(ERRORS)) {
            check(daemon.http, case, &Recorded::new());
        }
        let daemon = Daemon::start(&flags);
        corpus(ADMIN).iter().for_each(|case| check(daemon.http, case, &Recorded::new()));
        replay_with_producers(&flags, check);
        assert_eq!(*different.borrow(), MINIHTTP_EXCEPTIONS);
    }
}
