//! Every limit over sockets: input past the limit, the answer, and that others are still served.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use musterd::clock::Clock;
use musterd::limits;

use crate::support::{DEADLINE, Daemon, HttpClient, Nsqd, connect_from, eventually};

/// As short as the flag takes; no test needs a handshake within it.
const HANDSHAKE: &str = "--handshake-timeout=1s";

fn frame(payload: &str) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("small").to_be_bytes();
    [&length[..], payload.as_bytes()].concat()
}

/// Blocks of 1 MiB in a GiB.
const GIB: usize = 1 << 10;

/// Writes until the daemon has closed; it may do so in the middle.
fn flood(stream: &mut TcpStream, block: &[u8], times: usize) -> usize {
    (0..times).take_while(|_| stream.write_all(block).is_ok()).count()
}

#[test]
fn tcp_input_over_a_limit_is_rejected() {
    let daemon = Daemon::start(&[]);
    let check = |sent: &[u8], want: &str| {
        let mut nsqd = Nsqd::connect(daemon.tcp);
        nsqd.send(sent);
        assert_eq!(nsqd.rest(), frame(want), "{want}");
    };
    let line = [b"  V1", &b"x".repeat(limits::COMMAND_LINE)[..]].concat();
    check(&line, "E_INVALID command line longer than 4096 bytes");
    check(b"  V1IDENTIFY\n\xff\xff\xff\xff", "E_BAD_BODY IDENTIFY invalid body size -1");
    check(b"  V1IDENTIFY\n\x7f\xff\xff\xff", "E_BAD_BODY IDENTIFY body too big 2147483647 > 65536");
    // Input as long as the limit is accepted.
    let mut nsqd = Nsqd::connect(daemon.tcp);
    nsqd.send(&[b"  V1PING", &b" ".repeat(limits::COMMAND_LINE - 5)[..], b"\n"].concat());
    assert_eq!(nsqd.reply(), "OK");
    let body = r#"{"version":"1","tcp_port":1,"http_port":2,"broadcast_address":"b"}"#;
    let padding = " ".repeat(limits::IDENTIFY_BODY - body.len());
    nsqd.send(&[b"IDENTIFY\n\0\x01\0\0", padding.as_bytes(), body.as_bytes()].concat());
    assert!(nsqd.reply().contains("broadcast_address"));
}

#[test]
fn floods_and_oversized_requests_do_not_grow_memory() {
    let daemon = Daemon::start(&[]);
    HttpClient::connect(daemon.http).get("/ping");
    let before = daemon.resident();
    let block = vec![b'a'; 1 << 20];
    // Input past a limit is answered, then discarded for at most limits::LINGER.
    let mut line = Nsqd::connect(daemon.tcp);
    line.send(b"  V1");
    flood(&mut line.stream, &block, GIB);
    let mut nsqd = Nsqd::connect(daemon.tcp);
    flood(&mut nsqd.stream, &block, GIB);
    for start in [
        "GET /ping HTTP/1.1\r\nX: ",
        "GET /",
        "POST /topic/create?topic=t HTTP/1.1\r\nHost: x\r\nContent-Length: 1073741824\r\n\r\n",
        "POST /topic/create?topic=t HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        let mut client = HttpClient::connect(daemon.http);
        client.send(start.as_bytes());
        flood(client.stream(), &block, GIB);
    }
    assert_eq!(HttpClient::connect(daemon.http).get("/ping"), "OK");
    let grown = daemon.resident().saturating_sub(before);
    assert!(grown < 64 << 10, "{grown} KiB more");
}

#[test]
fn handshake_timeout_closes_the_connection() {
    let daemon = Daemon::start(&[HANDSHAKE]);
    let starts: [&[u8]; 4] = [b"", b"  V", b"  V1", b"  V1IDENTIFY\n\0\0\0\x50{"];
    let mut waiting: Vec<_> = starts.map(|_| Nsqd::connect(daemon.tcp)).into();
    for (nsqd, start) in waiting.iter_mut().zip(starts) {
        nsqd.send(start);
    }
    for nsqd in &mut waiting {
        assert_eq!(nsqd.rest(), b"", "closed without a reply");
    }
}

#[test]
fn handshake_timeout_does_not_close_an_nsqd_that_has_identified() {
    let daemon = Daemon::start(&[HANDSHAKE]);
    // A busy machine may take longer for the handshake itself: then another one tries.
    let mut identified = eventually("one identifies in time", || {
        let mut nsqd = Nsqd::connect(daemon.tcp);
        nsqd.try_identify("a").then_some(nsqd)
    });
    // One that came later is closed by the timeout.
    assert_eq!(Nsqd::connect(daemon.tcp).rest(), b"");
    identified.command("PING");
}

#[test]
fn handshake_that_times_out_counts_no_longer_for_its_address() {
    let daemon = Daemon::start(&[HANDSHAKE, "--max-connections-per-ip=1"]);
    assert_eq!(Nsqd::connect(daemon.tcp).rest(), b"");
    // One that is let in is closed without a reply, too.
    eventually("the next is let in", || Nsqd::connect(daemon.tcp).rest().is_empty().then_some(()));
}

#[test]
fn a_thousand_slow_peers_are_closed_and_do_not_grow_memory() {
    let daemon = Daemon::start(&[HANDSHAKE]);
    let before = daemon.resident();
    let mut peers: Vec<_> = (0..1000).map(|_| Nsqd::connect(daemon.tcp)).collect();
    for byte in b"  V1IDEN" {
        for peer in &mut peers {
            let _ = peer.stream.write_all(&[*byte]);
        }
    }
    for peer in &mut peers {
        assert_eq!(peer.rest(), b"");
    }
    let grown = daemon.resident().saturating_sub(before);
    assert!(grown < 64 << 10, "{grown} KiB more");
}

#[test]
fn silent_nsqd_leaves_the_answers_and_keeps_its_link() {
    let daemon = Daemon::start(&["--inactive-producer-timeout=500ms"]);
    let mut nsqd = Nsqd::identified(daemon.tcp, "silent");
    nsqd.command("REGISTER t");
    let mut http = HttpClient::connect(daemon.http);
    let mut is_shown = || http.get("/lookup?topic=t").contains("host-silent");
    eventually("it is inactive", || (!is_shown()).then_some(()));
    // Each PING shows it again, for half a second.
    eventually("it is back", || {
        nsqd.command("PING");
        is_shown().then_some(())
    });
}

#[test]
fn nsqd_that_has_been_silent_for_longest_makes_room() {
    let flags = ["--inactive-producer-timeout=500ms", "--max-tcp-connections=2", "--shards=1"];
    let daemon = Daemon::start(&flags);
    let mut silent = Nsqd::identified(daemon.tcp, "silent");
    silent.command("REGISTER t");
    let mut later = Nsqd::identified(daemon.tcp, "later");
    let mut http = HttpClient::connect(daemon.http);
    eventually("it is removed", || {
        later.command("PING");
        (!http.get("/debug").contains("silent")).then_some(())
    });
    assert_eq!(silent.rest(), b"");
    drop(silent);
    assert_eq!(http.get("/topics"), r#"{"topics":["t"]}"#);
    eventually("another comes in", || {
        later.command("PING");
        let mut nsqd = Nsqd::connect(daemon.tcp);
        // It is closed as long as there is no place.
        nsqd.stream.write_all(b"  V1PING\n").ok()?;
        let mut reply = [0; 6];
        nsqd.stream.read_exact(&mut reply).ok()
    });
    later.command("PING");
}

/// As load balancers and containers look whether a port is open.
#[test]
fn peers_that_send_nothing_are_no_errors() {
    let daemon = Daemon::start(&["--handshake-timeout=1s"]);
    let mut http = HttpClient::connect(daemon.http);
    let mut unused = |port: &str, want: u64| {
        let name = "musterd_connections_closed_total";
        let line = format!("{name}{{port=\"{port}\",reason=\"unused\"}} {want}\n");
        eventually("it is counted", || http.get("/metrics").contains(&line).then_some(()));
    };
    for (label, port) in [("tcp", daemon.tcp), ("http", daemon.http)] {
        drop(TcpStream::connect(port).expect("it listens"));
        unused(label, 1);
        let reset = TcpStream::connect(port).expect("it listens");
        rustix::net::sockopt::set_socket_linger(&reset, Some(Duration::ZERO)).expect("an option");
        drop(reset);
        unused(label, 2);
        let mut waits = TcpStream::connect(port).expect("it listens");
        let mut rest = Vec::new();
        waits.read_to_end(&mut rest).expect("the daemon closes");
        assert_eq!(rest, b"");
        unused(label, 3);
    }
    let metrics = http.get("/metrics");
    for reason in ["error", "timeout"] {
        for port in ["tcp", "http"] {
            let name = "musterd_connections_closed_total";
            let line = format!("{name}{{port=\"{port}\",reason=\"{reason}\"}} 0\n");
            assert!(metrics.contains(&line), "{metrics}");
        }
    }
    let lines = daemon.stop();
    assert_eq!(lines.iter().filter(|line| line.contains("sent nothing")).count(), 3, "{lines:#?}");
    let is_worse = |line: &&String| line.contains("ERROR: ") || line.contains("WARNING: ");
    assert_eq!(lines.iter().find(is_worse), None);
}

#[test]
fn what_is_spoken_on_the_wrong_port_is_named_in_the_log() {
    let daemon = Daemon::start(&[]);
    let mut http_client = Nsqd::connect(daemon.tcp);
    http_client.send(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(http_client.rest(), frame("E_BAD_PROTOCOL"));
    daemon.line_with("bad protocol magic 'GET ': this is HTTP, and HTTP clients belong on ");
    let mut nsqd = HttpClient::connect(daemon.http);
    nsqd.send(b"  V1IDENTIFY\n\0\0\0\x02{}");
    assert_eq!(nsqd.response(false).status, "HTTP/1.1 400 Bad Request");
    daemon.line_with("): this is NSQ's protocol, and nsqds belong on --tcp-address");
    let mut nsqd = Nsqd::connect(daemon.tcp);
    nsqd.send(b"  V1IDENTIFY\n\0\0\0\x0d{\"version\":1}");
    nsqd.rest();
    let mut nsqd = Nsqd::connect(daemon.tcp);
    nsqd.send(b"  V1IDENTIFY\n\0\0\0\x0f{\"version\":\"1\"}");
    assert_eq!(nsqd.rest(), frame("E_BAD_BODY IDENTIFY missing fields"));
    daemon.line_with("IDENTIFY missing fields (broadcast_address, tcp_port, http_port)");
}

#[test]
fn keepalive_probes_a_silent_nsqd() {
    let daemon = Daemon::start(&[]);
    let nsqd = Nsqd::identified(daemon.tcp, "a");
    // Both ends: another test's connection to another daemon may have had the same port.
    let end = |address: std::net::SocketAddr| format!("0100007F:{:04X}", address.port());
    let ends = [end(daemon.tcp), end(nsqd.stream.local_addr().expect("an address"))];
    // The timer of the daemon's end: 02 is the keepalive timer, once the last reply was acknowledged.
    // Behind it, in hundredths of a second, when it expires.
    let expires = eventually("the keepalive timer runs", || {
        let sockets = std::fs::read_to_string("/proc/net/tcp").expect("Linux has it");
        let mut fields = sockets.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let timer = fields.find(|fields| fields[1..3] == ends)?[5].to_owned();
        u64::from_str_radix(timer.strip_prefix("02:")?, 16).ok()
    });
    assert!(expires <= limits::KEEPALIVE.as_secs() * 100, "{expires}");
}

#[test]
fn registrations_are_limited_per_nsqd_and_in_all() {
    let check = |flag: &str, want: &str| {
        let daemon = Daemon::start(&[flag]);
        let mut nsqd = Nsqd::identified(daemon.tcp, "first");
        nsqd.command("REGISTER t c#ephemeral");
        nsqd.send(b"REGISTER u\n");
        assert_eq!(nsqd.reply(), want);
        daemon.line_with("WARNING: DB: client(");
        // It keeps what it has, and gets the rest once there is room.
        let mut http = HttpClient::connect(daemon.http);
        let mut topics = |want: &[&str]| {
            for topic in ["t", "u"] {
                let lookup = http.request("GET", &format!("/lookup?topic={topic}"));
                let shown = lookup.body.contains("host-first");
                assert_eq!(shown, want.contains(&topic), "{topic}");
            }
        };
        nsqd.command("PING");
        topics(&["t"]);
        nsqd.command("UNREGISTER t c#ephemeral");
        topics(&["t"]);
        nsqd.command("PING");
        topics(&["t", "u"]);
    };
    check(
        "--max-registrations-per-nsqd=2",
        "E_INVALID REGISTER too many registrations of this nsqd",
    );
    check("--max-registrations=2", "E_INVALID REGISTER too many registrations in all");
    let daemon = Daemon::start(&["--max-registrations=4", "--max-http-names=3"]);
    let mut http = HttpClient::connect(daemon.http);
    for name in ["a", "b", "c"] {
        http.request("POST", &format!("/topic/create?topic={name}"));
    }
    let mut nsqd = Nsqd::identified(daemon.tcp, "first");
    nsqd.command("REGISTER t");
    nsqd.send(b"REGISTER u\n");
    assert_eq!(nsqd.reply(), "E_INVALID REGISTER too many registrations in all");
    http.request("POST", "/topic/delete?topic=a");
    nsqd.command("PING");
    assert!(http.get("/lookup?topic=u").contains("\"hostname\":\"host-first\""));
    let daemon = Daemon::start(&["--max-registrations=1"]);
    let mut http = HttpClient::connect(daemon.http);
    assert_eq!(http.request("POST", "/topic/create?topic=t").status, "HTTP/1.1 200 OK");
    let rejected = http.request("POST", "/topic/create?topic=u");
    assert_eq!(rejected.status, "HTTP/1.1 503 Service Unavailable");
    assert_eq!(rejected.body, r#"{"message":"REGISTRY_FULL"}"#);
}

#[test]
fn names_of_http_clients_and_of_nsqds_that_went_lock_no_nsqd_out() {
    let daemon = Daemon::start(&["--max-registrations=20"]);
    let mut http = HttpClient::connect(daemon.http);
    let mut create = |topic| http.request("POST", &format!("/topic/create?topic={topic}")).status;
    assert_eq!([create("a"), create("b")], ["HTTP/1.1 200 OK"; 2]);
    assert_eq!(create("c"), "HTTP/1.1 503 Service Unavailable");
    let register_all = |name: &str| {
        let mut nsqd = Nsqd::identified(daemon.tcp, name);
        (0..18).for_each(|number| nsqd.command(&format!("REGISTER {name}{number}")));
        nsqd
    };
    let first = register_all("first");
    assert_eq!(create("a"), "HTTP/1.1 200 OK", "it is there");
    drop(first);
    eventually("it is gone", || http.get("/nodes").eq(r#"{"producers":[]}"#).then_some(()));
    let topics = http.get("/topics");
    assert!(topics.contains("first17") && topics.contains(r#""a""#), "nothing is lost: {topics}");
    let _second = register_all("second");
    let topics = http.get("/topics");
    assert_eq!(topics.matches("second").count(), 18, "{topics}");
    assert!(topics.contains(r#""a""#) && topics.contains(r#""b""#), "{topics}");
    assert!(http.get("/metrics").contains("\nmusterd_names_removed_total 18\n"));
    daemon.line_with("WARNING: DB: ");
}

#[test]
fn connections_over_the_cap_are_rejected_with_a_response() {
    let flags = ["--max-tcp-connections=2", "--max-http-connections=2"];
    let daemon = Daemon::start(&flags);
    let mut nsqds = [Nsqd::identified(daemon.tcp, "a"), Nsqd::identified(daemon.tcp, "b")];
    assert_eq!(Nsqd::connect(daemon.tcp).rest(), b"");
    let mut clients = [HttpClient::connect(daemon.http), HttpClient::connect(daemon.http)];
    clients.iter_mut().for_each(|client| drop(client.get("/ping")));
    let rejected = HttpClient::connect(daemon.http).response(false);
    assert_eq!(rejected.status, "HTTP/1.1 503 Service Unavailable");
    daemon.line_with("-connections (2 are open)");
    nsqds.iter_mut().for_each(|nsqd| nsqd.command("PING"));
    clients.iter_mut().for_each(|client| drop(client.get("/ping")));
    // A connection that closes makes room for another.
    drop(clients);
    eventually("another connection is accepted", || {
        let response = HttpClient::connect(daemon.http).try_request("GET", "/ping");
        response.is_ok_and(|response| response.status == "HTTP/1.1 200 OK").then_some(())
    });
}

#[test]
fn http_requests_over_a_limit_are_rejected() {
    let daemon = Daemon::start(&[]);
    let check = |sent: &str, want: &str| {
        let mut client = HttpClient::connect(daemon.http);
        let _ = client.stream().write_all(sent.as_bytes());
        let answer = client.response(false);
        assert!(answer.status.contains(want), "{want}: {}", answer.status);
        assert!(answer.headers.contains(&("Connection".to_owned(), "close".to_owned())));
        client.rest();
    };
    let host = "Host: x\r\n";
    let uri = "a".repeat(limits::HTTP_URI);
    check(&format!("GET /{uri} HTTP/1.1\r\n{host}\r\n"), " 414 ");
    let head = "a".repeat(limits::HTTP_HEAD);
    check(&format!("GET /ping HTTP/1.1\r\n{host}X: {head}\r\n\r\n"), " 431 ");
    let headers = "X: a\r\n".repeat(limits::HTTP_HEADERS);
    check(&format!("GET /ping HTTP/1.1\r\n{host}{headers}\r\n"), " 431 ");
    let length = limits::HTTP_BODY + 1;
    check(&format!("POST /ping HTTP/1.1\r\n{host}Content-Length: {length}\r\n\r\n"), " 413 ");
}

/// A topic whose lookup is far larger than a socket's buffer.
fn wide_topic(daemon: &Daemon, producers: usize) -> Vec<Nsqd> {
    let join = |number| {
        let mut nsqd = Nsqd::identified(daemon.tcp, &format!("{number:0200}"));
        nsqd.command("REGISTER wide");
        nsqd
    };
    (0..producers).map(join).collect()
}

#[test]
fn an_http_client_that_never_reads_is_paused_and_others_are_served() {
    let daemon = Daemon::start(&[]);
    let _fleet = wide_topic(&daemon, 200);
    let mut http = HttpClient::connect(daemon.http);
    let body = http.get("/lookup?topic=wide");
    assert!(body.len() > 100_000);
    let before = daemon.resident();
    let request = b"GET /lookup?topic=wide HTTP/1.1\r\nHost: x\r\n\r\n".repeat(2000);
    let mut unread = HttpClient::connect(daemon.http);
    unread.stream().set_write_timeout(Some(Duration::from_millis(200))).expect("a timeout");
    // The daemon stops reading from it: the rest of the requests does not arrive.
    let _ = unread.stream().write_all(&request);
    assert_eq!(http.get("/lookup?topic=wide"), body, "others are served");
    let grown = daemon.resident().saturating_sub(before);
    assert!(grown < 64 << 10, "{grown} KiB more");
    // Once it reads, it gets the responses in order and whole.
    unread.stream().set_read_timeout(Some(DEADLINE)).expect("a timeout");
    for _ in 0..20 {
        assert_eq!(unread.response(false).body, body);
    }
}

#[test]
fn an_nsqd_that_never_reads_is_paused() {
    let daemon = Daemon::start(&[]);
    let mut nsqd = Nsqd::identified(daemon.tcp, "unread");
    nsqd.stream.set_write_timeout(Some(Duration::from_millis(200))).expect("a timeout");
    let before = daemon.resident();
    let sent = flood(&mut nsqd.stream, &b"PING\n".repeat(20_000), 400);
    assert!(sent < 400, "40 MB of PINGs are not read while no reply is read");
    let grown = daemon.resident().saturating_sub(before);
    assert!(grown < 64 << 10, "{grown} KiB more");
    Nsqd::identified(daemon.tcp, "other").command("PING");
    let mut replies = [0; 6000];
    nsqd.stream.read_exact(&mut replies).expect("replies");
    assert!(replies.chunks(6).all(|reply| reply == b"\0\0\0\x02OK"));
}

#[test]
fn flood_of_requests_washes_no_other_line_out() {
    let daemon = Daemon::start(&[]);
    let mut flooder = HttpClient::over(connect_from([127, 0, 0, 2].into(), daemon.http));
    let mut other = HttpClient::connect(daemon.http);
    let (clock, begun) = (Clock::system(), Clock::system().now());
    // A hundred times as many as are logged, and as the queue of the log holds.
    for round in 0..20 {
        let requests = "GET /nope HTTP/1.1\r\nHost: x\r\n\r\n".repeat(500);
        flooder.send(requests.as_bytes());
        let target = format!("/topic/create?topic=t{round}");
        assert_eq!(other.request("POST", &target).status, "HTTP/1.1 200 OK");
        (0..500).for_each(|_| assert_eq!(flooder.response(false).status, "HTTP/1.1 404 Not Found"));
    }
    let report = daemon.line_with("more about refusals of 127.0.0.2");
    // The lines are counted anew each second: as often as it took seconds, and at both ends.
    let seconds = usize::try_from(clock.now().since(begun).as_secs()).expect("few") + 2;
    let lines: Vec<_> = [daemon.earlier_lines(), vec![report], daemon.stop()].concat();
    let count = |mark: &str| lines.iter().filter(|line| line.contains(mark)).count();
    assert_eq!(count("200 POST /topic/create?topic=t"), 20);
    assert!(count("404 GET /nope") <= limits::LOG_RATE * seconds, "{}", count("404 GET /nope"));
    assert_eq!(count("LOG: dropped"), 0);
}
