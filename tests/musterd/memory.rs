//! `--max-memory` from outside: peers that do at random whatever takes memory, beside a fleet.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use musterd::clock::Clock;
use testkit::rng::Rng;
use testkit::wire;

use crate::support::{Daemon, HttpClient, Nsqd, connect_from, eventually, try_connect_from};

/// Peers that take memory, each on a thread.
const PEERS: u64 = 4;
/// Connections that each of them holds open.
const HELD: usize = 400;
/// When a peer gives up: the daemon reads it no more. A busy machine is slow, too.
const PAUSED: Duration = Duration::from_secs(2);
/// By how much the code of a program that is not optimised is larger, in KiB: its pages are resident
/// too.
const CODE: u64 = if cfg!(debug_assertions) { 12 * 1024 } else { 0 };
/// Topics that all their nsqds register, so that the responses about them are cached.
const CACHED: usize = 20;

/// What is tried: `MEMORY_TEST=LIMIT,NSQDS,SECONDS` is another measure.
struct Measure {
    limit: String,
    nsqds: usize,
    span: Duration,
}

impl Measure {
    fn asked() -> Self {
        let text = std::env::var("MEMORY_TEST").unwrap_or_else(|_| "128M,200,10".to_owned());
        let words: Vec<_> = text.split(',').collect();
        let number = |at: usize| words[at].parse().expect("a number");
        Self {
            limit: words[0].to_owned(),
            nsqds: number(1),
            span: Duration::from_secs(number(2) as u64),
        }
    }

    fn kib(&self) -> u64 {
        self.limit.trim_end_matches('M').parse::<u64>().expect("in MiB") * 1024 + CODE
    }
}

/// One that takes memory, from an address of its own: what it has open, and reads of which it does not
/// read.
struct Peer {
    rng: Rng,
    source: IpAddr,
    tcp: SocketAddr,
    http: SocketAddr,
    held: VecDeque<TcpStream>,
}

impl Peer {
    fn new(number: u64, daemon: &Daemon) -> Self {
        let source = [127, 0, 0, 2 + u8::try_from(number).expect("few")].into();
        let (rng, held) = (Rng::new(number), VecDeque::new());
        Self { rng, source, tcp: daemon.tcp, http: daemon.http, held }
    }

    /// Does something that takes memory, or gives some back. Whatever the daemon refuses is all right.
    fn act(&mut self) {
        match self.rng.below(16) {
            0 => self.post("/topic/create?topic="),
            1 => self.post("/channel/create?topic=wide&channel="),
            2 => self.post("/topic/delete?topic="),
            3..6 => self.register(),
            6 => self.register_once(),
            7 => self.hold_many(20, self.tcp, &half_an_identify()),
            8 => self.hold_many(20, self.http, &half_a_head()),
            9 => self.hold_many(20, self.http, &half_a_body()),
            10 | 11 => self.ask_and_not_read(),
            12 => self.ping_and_not_read(),
            13 => self.hold_many(50, self.tcp, b"  V1"),
            14 => self.be_logged(),
            _ => self.held.truncate(self.rng.below(HELD)),
        }
    }

    /// A name of 64 bytes, of so many that the registry is full before they are all there.
    fn name(&mut self) -> String {
        format!("{:x<64}", format!("n{}-", self.rng.below(10_000_000)))
    }

    fn open(&self, address: SocketAddr) -> Option<TcpStream> {
        let stream = try_connect_from(self.source, address).ok()?;
        stream.set_read_timeout(Some(PAUSED)).ok()?;
        stream.set_write_timeout(Some(PAUSED)).ok()?;
        Some(stream)
    }

    /// Opens a connection, sends what it takes of `bytes`, and reads nothing.
    fn hold(&mut self, address: SocketAddr, bytes: &[u8]) {
        let Some(mut stream) = self.open(address) else { return };
        // The daemon may stop to read, or close.
        let _ = stream.set_nonblocking(true).and_then(|()| stream.write_all(bytes));
        self.keep(stream);
    }

    fn hold_many(&mut self, count: usize, address: SocketAddr, bytes: &[u8]) {
        (0..count).for_each(|_| self.hold(address, bytes));
    }

    fn keep(&mut self, stream: TcpStream) {
        self.held.push_front(stream);
        self.held.truncate(HELD);
    }

    /// Sends all of it and reads something for each part, as long as the daemon goes on.
    fn exchange(stream: &mut TcpStream, bytes: &[u8]) -> Option<()> {
        for part in bytes.chunks(16 * 1024) {
            let mut replies = [0; 64 * 1024];
            stream.write_all(part).ok()?;
            stream.read(&mut replies).ok().filter(|&read| read > 0)?;
        }
        Some(())
    }

    /// 2,000 POSTs, whose answers it reads.
    fn post(&mut self, target: &str) {
        let Some(mut stream) = self.open(self.http) else { return };
        let mut request = || {
            let name = self.name();
            format!("POST {target}{name} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        };
        let requests: String = (0..2000).map(|_| request()).collect();
        let _ = Self::exchange(&mut stream, requests.as_bytes());
    }

    /// An nsqd with the longest identity, whose topics are asked for often.
    fn nsqd(&mut self) -> Vec<u8> {
        let mut bytes = wire::MAGIC.to_vec();
        let address = format!("{}{}", self.rng.below(10_000), "<".repeat(38));
        wire::identify(&wire::peer_info(&address, &"h".repeat(255)), &mut bytes);
        for number in 0..CACHED {
            bytes.extend_from_slice(format!("REGISTER cached-{number}\n").as_bytes());
        }
        bytes
    }

    /// An nsqd that registers up to 20,000 names and stays. Those for which there is no room are
    /// remembered.
    fn register(&mut self) {
        let Some(mut stream) = self.open(self.tcp) else { return };
        let mut bytes = self.nsqd();
        for _ in 0..self.rng.below(20_000) {
            let (topic, channel) = (self.name(), self.name());
            bytes.extend_from_slice(format!("REGISTER {topic} {channel}\n").as_bytes());
        }
        if Self::exchange(&mut stream, &bytes).is_some() {
            self.keep(stream);
        }
    }

    /// An nsqd that registers many ephemeral topics, unregisters them, and stays.
    fn register_once(&mut self) {
        let Some(mut stream) = self.open(self.tcp) else { return };
        let mut bytes = self.nsqd();
        let count = self.rng.below(80_000);
        for verb in ["REGISTER", "UNREGISTER"] {
            for number in 0..count {
                bytes.extend_from_slice(format!("{verb} e{number}#ephemeral\n").as_bytes());
            }
        }
        if Self::exchange(&mut stream, &bytes).is_some() {
            self.keep(stream);
        }
    }

    fn ask_and_not_read(&mut self) {
        let cached = format!("/lookup?topic=cached-{}", self.rng.below(CACHED));
        let target = self.rng.pick(&[
            "/debug",
            "/nodes",
            "/topics",
            "/channels?topic=*",
            "/lookup?topic=*",
            "/channels?topic=wide",
            &cached,
            &cached,
        ]);
        let requests = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").repeat(500);
        self.hold_many(5, self.http, requests.as_bytes());
    }

    fn ping_and_not_read(&mut self) {
        let mut bytes = self.nsqd();
        bytes.extend(b"PING\n".repeat(200_000));
        self.hold(self.tcp, &bytes);
    }

    /// Long lines, of an address that has caused none yet.
    fn be_logged(&mut self) {
        let source = std::mem::replace(&mut self.source, [127, 1, 0, 0].into());
        let number = u8::try_from(self.rng.below(256)).expect("a byte");
        self.source = [127, 1, number, u8::try_from(self.rng.below(256)).expect("a byte")].into();
        let target = "n".repeat(1000);
        let requests = format!("GET /{target} HTTP/1.1\r\nHost: x\r\n\r\n").repeat(100);
        self.hold(self.http, requests.as_bytes());
        self.source = source;
    }
}

/// All but the end of a head of 16 KiB.
fn half_a_head() -> Vec<u8> {
    let mut bytes = b"GET /ping HTTP/1.1\r\nHost: x\r\nX: ".to_vec();
    bytes.resize(16_000, b'x');
    bytes
}

/// A part of the body of a POST.
fn half_a_body() -> Vec<u8> {
    let head =
        "POST /topic/create?topic=body HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n";
    [head.as_bytes(), &[b'b'; 60_000]].concat()
}

/// How many REGISTERs were refused because the registry was full, or nearly.
fn rejected(metrics: &mut HttpClient) -> u64 {
    let mut count = |limit| {
        metrics.metric(&format!("musterd_registrations_rejected_total{{limit=\"{limit}\"}}"))
    };
    count("memory") + count("share")
}

#[test]
fn buffers_and_caches_have_parts_of_the_memory() {
    let daemon = Daemon::start(&["--max-memory=128M"]);
    let mut http = HttpClient::connect(daemon.http);
    let given_out: u64 = (128 - 32) << 20;
    let part = |per_cent| given_out / 100 * per_cent;
    for port in ["tcp", "http"] {
        let name = format!("musterd_output_queued_max_bytes{{port=\"{port}\"}}");
        assert_eq!(http.metric(&name), part(25), "{port}");
    }
    assert_eq!(http.metric("musterd_memory_used_bytes{use=\"listings\"}"), part(10));
}

/// A body of 65,000 bytes, of which all but the last byte is sent.
fn half_an_identify() -> Vec<u8> {
    let body = wire::peer_info("half", "half");
    let padding = " ".repeat(65_000 - body.len());
    let length = 65_000_u32.to_be_bytes();
    [b"  V1IDENTIFY\n", &length[..], padding.as_bytes(), &body.as_bytes()[..body.len() - 1]]
        .concat()
}

#[test]
fn one_address_cannot_take_the_buffers_of_all() {
    let daemon = Daemon::start(&["--max-memory=64M", "--handshake-timeout=60s"]);
    let half = half_an_identify();
    // Twice as many as fit. A connection that is refused may be reset.
    let greedy: Vec<_> = (0..1000)
        .map(|_| {
            let mut stream = connect_from([127, 0, 0, 2].into(), daemon.tcp);
            let _ = stream.write_all(&half);
            stream
        })
        .collect();
    let mut http = HttpClient::connect(daemon.http);
    let closed = "musterd_connections_closed_total{port=\"tcp\",reason=\"no_room\"}";
    eventually("it is refused", || (http.metric(closed) > 400).then_some(()));
    daemon.line_with("too much waits for all peers together");
    // Those that are refused leave one after the other.
    eventually("there is room", || {
        let response = HttpClient::connect(daemon.http).try_request("GET", "/ping");
        response.is_ok_and(|response| response.body == "OK").then_some(())
    });
    // Others get what they ask for: new connections, and an IDENTIFY and a head in two pieces.
    let mut nsqd = Nsqd::connect(daemon.tcp);
    nsqd.send(&half);
    assert_eq!(HttpClient::connect(daemon.http).get("/ping"), "OK");
    nsqd.send(b"}");
    assert!(nsqd.reply().contains("broadcast_address"));
    let mut client = HttpClient::connect(daemon.http);
    client.send(format!("GET /ping HTTP/1.1\r\nHost: x\r\nX: {}", "x".repeat(10_000)).as_bytes());
    nsqd.command("PING");
    client.send(b"\r\n\r\n");
    assert_eq!(client.response(false).status, "HTTP/1.1 200 OK");
    drop(greedy);
}

#[test]
#[expect(clippy::print_stderr, reason = "how much was used is what a long run is for")]
fn memory_stays_within_its_limit_and_the_fleet_stays_listed() {
    let measure = Measure::asked();
    let flag = format!("--max-memory={}", measure.limit);
    let daemon = Daemon::start(&[&flag]);
    let mut fleet: Vec<_> = (0..measure.nsqds)
        .map(|number| {
            let mut nsqd = Nsqd::identified(daemon.tcp, &number.to_string());
            nsqd.command(&format!("REGISTER fleet-{number} c"));
            nsqd
        })
        .collect();
    let unread = daemon.leave_stderr_unread();
    let stop = AtomicBool::new(false);
    let (clock, mut most, mut looks) = (Clock::system(), 0, 0);
    thread::scope(|scope| {
        for seed in 0..PEERS {
            let (stop, mut peer) = (&stop, Peer::new(seed, &daemon));
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    peer.act();
                }
            });
        }
        let mut consumer = HttpClient::connect(daemon.http);
        let end = clock.now() + measure.span;
        let mut look = |consumer: &mut HttpClient| {
            let number = looks % measure.nsqds;
            looks += 1;
            most = most.max(daemon.resident());
            let shown = consumer.try_request("GET", &format!("/lookup?topic=fleet-{number}"));
            let is_listed = shown.is_ok_and(|answer| {
                answer.status.contains(" 200 ")
                    && answer.body.contains(&format!("nsqd-{number}.example"))
            });
            fleet[number].send(b"PING\n");
            is_listed && fleet[number].reply() == "OK" && most <= measure.kib()
        };
        let mut all_is_well = true;
        while all_is_well && clock.now() < end {
            all_is_well = look(&mut consumer);
        }
        // Peers on a busy machine may have let go of what they registered: one does nothing else.
        let mut filler = Peer::new(PEERS, &daemon);
        let latest = end + 30 * measure.span;
        while all_is_well && clock.now() < latest && rejected(&mut consumer) == 0 {
            filler.register();
            all_is_well = look(&mut consumer);
        }
        stop.store(true, Ordering::Relaxed);
        assert!(all_is_well, "look {looks}: not listed, or {most} KiB in use");
    });
    drop(unread);
    let mut metrics = HttpClient::connect(daemon.http);
    let rejected = rejected(&mut metrics);
    let buffers = metrics.metric("musterd_memory_refused_total{use=\"buffers\"}");
    let kib = measure.kib();
    eprintln!(
        "{looks} looks; {most} KiB of {kib}; refused: {rejected} REGISTERs, {buffers} buffers"
    );
    assert!(rejected > 0, "the registry was never full");
}
