//! `--max-memory` from outside: peers that do at random whatever takes memory, beside a fleet.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use musterd::clock::Clock;
use testkit::rng::Rng;
use testkit::wire;

use crate::support::{Daemon, HttpClient, Nsqd, connect_from, eventually};

/// Peers that take memory, each on a thread.
const PEERS: u64 = 4;
/// Connections that each of them holds open.
const HELD: usize = 400;

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
        self.limit.trim_end_matches('M').parse::<u64>().expect("in MiB") * 1024
    }
}

/// One that takes memory: what it has open, and reads of which it does not read.
struct Peer {
    rng: Rng,
    tcp: SocketAddr,
    http: SocketAddr,
    held: VecDeque<TcpStream>,
}

impl Peer {
    /// Does something that takes memory, or gives some back. Whatever the daemon refuses is all right.
    fn act(&mut self) {
        match self.rng.below(10) {
            0 => self.pipeline("/topic/create?topic="),
            1 => self.pipeline("/channel/create?topic=wide&channel="),
            2 => self.pipeline("/topic/delete?topic="),
            3 | 4 => self.register(),
            5 => self.half_an_identify(),
            6 => self.ask_and_not_read(),
            7 => self.ping_and_not_read(),
            8 => (0..50).for_each(|_| self.hold(self.tcp, b"  V1")),
            _ => self.held.truncate(self.rng.below(HELD)),
        }
    }

    /// A name of 64 bytes, of so many that the registry is full before they are all there.
    fn name(&mut self) -> String {
        format!("{:x<64}", format!("n{}-", self.rng.below(10_000_000)))
    }

    fn open(address: SocketAddr) -> Option<TcpStream> {
        let stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(Duration::from_millis(500))).ok()?;
        stream.set_write_timeout(Some(Duration::from_millis(500))).ok()?;
        Some(stream)
    }

    /// Opens a connection, sends what it takes of `bytes`, and reads nothing.
    fn hold(&mut self, address: SocketAddr, bytes: &[u8]) {
        let Some(mut stream) = Self::open(address) else { return };
        // The daemon may stop to read, or close.
        let _ = stream.set_nonblocking(true).and_then(|()| stream.write_all(bytes));
        self.held.push_front(stream);
        self.held.truncate(HELD);
    }

    /// 2,000 POSTs, whose answers it reads.
    fn pipeline(&mut self, target: &str) {
        let Some(mut stream) = Self::open(self.http) else { return };
        let requests: String = (0..2000)
            .map(|_| {
                format!(
                    "POST {target}{} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
                    self.name()
                )
            })
            .collect();
        for part in requests.as_bytes().chunks(16 * 1024) {
            let mut answers = [0; 64 * 1024];
            if stream.write_all(part).is_err()
                || !stream.read(&mut answers).is_ok_and(|read| read > 0)
            {
                return;
            }
        }
    }

    /// An nsqd that registers up to 20,000 names and stays.
    fn register(&mut self) {
        let Some(mut stream) = Self::open(self.tcp) else { return };
        let mut bytes = wire::MAGIC.to_vec();
        wire::identify(&wire::peer_info(&"<".repeat(40), &"h".repeat(255)), &mut bytes);
        for _ in 0..self.rng.below(20_000) {
            let (topic, channel) = (self.name(), self.name());
            bytes.extend_from_slice(format!("REGISTER {topic} {channel}\n").as_bytes());
        }
        for part in bytes.chunks(16 * 1024) {
            let mut replies = [0; 64 * 1024];
            if stream.write_all(part).is_err()
                || !stream.read(&mut replies).is_ok_and(|read| read > 0)
            {
                return;
            }
        }
        self.held.push_front(stream);
        self.held.truncate(HELD);
    }

    fn half_an_identify(&mut self) {
        let bytes = [b"  V1IDENTIFY\n\0\x01\0\0", &[b'{'; 65_000][..]].concat();
        (0..20).for_each(|_| self.hold(self.tcp, &bytes));
    }

    fn ask_and_not_read(&mut self) {
        let target = self.rng.pick(&[
            "/debug",
            "/nodes",
            "/topics",
            "/channels?topic=*",
            "/lookup?topic=wide",
        ]);
        let requests = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").repeat(500);
        (0..5).for_each(|_| self.hold(self.http, requests.as_bytes()));
    }

    fn ping_and_not_read(&mut self) {
        let mut bytes = wire::MAGIC.to_vec();
        wire::identify(&wire::peer_info("a", "b"), &mut bytes);
        bytes.extend(b"PING\n".repeat(200_000));
        self.hold(self.tcp, &bytes);
    }
}

/// Whether the registry has refused something for want of memory.
fn was_full(http: &mut HttpClient) -> bool {
    let page = http.try_request("GET", "/metrics");
    let never = "\nmusterd_memory_refused_total{use=\"registry\"} 0\n";
    page.is_ok_and(|page| page.status.contains(" 200 ") && !page.body.contains(never))
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
    let refused = "musterd_connections_closed_total{port=\"tcp\",reason=\"no_room\"}";
    eventually("it is refused", || (http.metric(refused) > 400).then_some(()));
    daemon.line_with("too much waits for all peers together");
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
    let stop = AtomicBool::new(false);
    let (clock, mut most, mut looks) = (Clock::system(), 0, 0);
    thread::scope(|scope| {
        for seed in 0..PEERS {
            let (stop, rng, held) = (&stop, Rng::new(seed), VecDeque::new());
            let mut peer = Peer { rng, tcp: daemon.tcp, http: daemon.http, held };
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
        // A slow machine takes longer to fill the registry.
        let latest = end + 10 * measure.span;
        let mut all_is_well = true;
        while all_is_well && (clock.now() < end || clock.now() < latest && !was_full(&mut consumer))
        {
            all_is_well = look(&mut consumer);
        }
        stop.store(true, Ordering::Relaxed);
        assert!(all_is_well, "look {looks}: not listed, or {most} KiB in use");
    });
    let mut metrics = HttpClient::connect(daemon.http);
    let refused = |what: &str| format!("musterd_memory_refused_total{{use=\"{what}\"}}");
    let counts = ["registry", "buffers"].map(|what| metrics.metric(&refused(what)));
    eprintln!("{looks} looks; {most} KiB of {}; refused {counts:?}", measure.kib());
    assert!(counts[0] > 0, "the registry was never full");
}
