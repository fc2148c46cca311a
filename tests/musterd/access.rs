//! Who may come in and who may change things: address lists, connections of one address, the token.
//! Peers differ by their address on the loopback, where a process may have any of 127.0.0.0/8.

use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use crate::support::{Daemon, HttpClient, Nsqd, Response, connect_from, eventually, run};

const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const TWO: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 2));
const SIX: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

const STRANGER: &[u8] = b"\0\0\0\x26E_INVALID this address may not connect";
const CROWDED: &[u8] = b"\0\0\0\x2eE_INVALID too many connections of this address";
const FORBIDDEN: &str = r#"{"message":"FORBIDDEN"}"#;

/// The requests that change something, in an order in which each does.
const WRITES: [&str; 5] = [
    "/topic/create?topic=t",
    "/channel/create?topic=t&channel=c",
    "/topic/tombstone?topic=t&node=n:1",
    "/channel/delete?topic=t&channel=c",
    "/topic/delete?topic=t",
];

const ENGINES: [&str; 2] = ["--http-engine=guarded", "--http-engine=minihttp"];

fn nsqd(source: IpAddr, daemon: &Daemon) -> Nsqd {
    Nsqd::over(connect_from(source, daemon.tcp))
}

fn http(source: IpAddr, daemon: &Daemon) -> HttpClient {
    HttpClient::over(connect_from(source, daemon.http))
}

/// What an nsqd is told that speaks first.
fn told(mut nsqd: Nsqd) -> Vec<u8> {
    use std::io::Write;
    // The daemon may have closed already.
    let _ = nsqd.stream.write_all(b"  V1PING\n");
    nsqd.rest()
}

/// The number of an answer's status: each engine has its own words behind it.
fn code(answer: &Response) -> &str {
    answer.status.split(' ').nth(1).unwrap_or_default()
}

/// A figure of `/metrics`.
fn figure(http: &mut HttpClient, name: &str) -> u64 {
    let page = http.request("GET", "/metrics").body;
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in\n{page}")).parse().expect("a number")
}

fn refused(http: &mut HttpClient, rule: &str) -> u64 {
    let series = match rule {
        "tcp_allow" => "connections_rejected_total{port=\"tcp\",reason=\"allow_list\"}",
        "tcp_per_ip" => {
            "connections_rejected_total{port=\"tcp\",reason=\"max_connections_per_ip\"}"
        }
        "http_per_ip" => {
            "connections_rejected_total{port=\"http\",reason=\"max_connections_per_ip\"}"
        }
        "http_write_allow" => "http_writes_rejected_total{reason=\"allow_list\"}",
        "http_write_token" => "http_writes_rejected_total{reason=\"token\"}",
        _ => panic!("no such rule: {rule}"),
    };
    figure(http, &format!("musterd_{series}"))
}

/// A POST with this `Authorization`, if any.
fn post(http: &mut HttpClient, target: &str, authorization: &str) -> Response {
    http.send(request(target, authorization, "").as_bytes());
    http.response(false)
}

/// The bytes of a POST, with a body of known length.
fn request(target: &str, authorization: &str, body: &str) -> String {
    let field = match authorization {
        "" => String::new(),
        value => format!("Authorization: {value}\r\n"),
    };
    let length = body.len();
    format!("POST {target} HTTP/1.1\r\nHost: x\r\n{field}Content-Length: {length}\r\n\r\n{body}")
}

/// A file with a token, gone with the value.
struct Secret(PathBuf);

impl Secret {
    fn new(name: &str, content: &[u8], mode: u32) -> Self {
        let name = format!("musterd-access-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, content).expect("a temporary file");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("it is ours");
        Self(path)
    }

    fn flag(&self) -> String {
        format!("--http-write-token-file={}", self.0.display())
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn nsqds_connect_from_allowed_networks_only() {
    // The cap would refuse a second connection in its own way.
    let flags = ["--tcp-allow=10.0.0.0/8,127.0.0.1", "--tcp-allow=::1", "--max-tcp-connections=1"];
    let daemon = Daemon::start(&flags);
    assert_eq!(told(nsqd(TWO, &daemon)), STRANGER);
    let mut allowed = nsqd(ONE, &daemon);
    allowed.identify("a");
    for _ in 0..3 {
        assert_eq!(told(nsqd(TWO, &daemon)), STRANGER);
    }
    allowed.command("PING");
    // The other port is open to everyone.
    let mut http = http(TWO, &daemon);
    assert_eq!(refused(&mut http, "tcp_allow"), 4);
    assert_eq!(
        figure(
            &mut http,
            "musterd_connections_rejected_total{port=\"tcp\",reason=\"max_connections\"}"
        ),
        0
    );
    assert_eq!(figure(&mut http, "musterd_connections_accepted_total{port=\"tcp\"}"), 5);
    assert_eq!(figure(&mut http, "musterd_connections{port=\"tcp\"}"), 1);
    assert_eq!(code(&http.request("POST", WRITES[0])), "200");
}

/// The address of `of` that a peer of this family reaches.
fn reached(of: SocketAddr, source: IpAddr) -> SocketAddr {
    let here = if source.is_ipv4() { ONE } else { SIX };
    SocketAddr::new(here, of.port())
}

#[test]
fn the_family_of_a_peer_is_its_own_on_a_port_of_both() {
    let has_ipv6 = std::net::TcpListener::bind((SIX, 0)).is_ok();
    let check = |allow: &str, is_allowed: [bool; 3]| {
        let flags = ["--tcp-address=[::]:0", "--http-address=[::]:0"];
        let lists = [format!("--tcp-allow={allow}"), format!("--http-write-allow={allow}")];
        let daemon = Daemon::start(&[&flags[..], &lists.each_ref().map(String::as_str)].concat());
        let sources = [ONE, TWO, SIX].into_iter().zip(is_allowed);
        for (source, is_allowed) in sources.filter(|(ip, _)| has_ipv6 || ip.is_ipv4()) {
            let mut nsqd = Nsqd::over(connect_from(source, reached(daemon.tcp, source)));
            let mut http = HttpClient::over(connect_from(source, reached(daemon.http, source)));
            let answer = http.request("POST", WRITES[0]);
            if is_allowed {
                nsqd.identify("a");
                assert_eq!(code(&answer), "200", "{allow} {source}");
            } else {
                assert_eq!(told(nsqd), STRANGER, "{allow} {source}");
                assert_eq!(code(&answer), "403", "{allow} {source}");
            }
            assert_eq!(http.get("/ping"), "OK");
        }
    };
    check("127.0.0.1", [true, false, false]);
    check("::1", [false, false, true]);
    check("::1,127.0.0.0/8", [true, true, true]);
    check("::ffff:127.0.0.2", [false, true, false]);
    check("::/0", [false, false, true]);
    check("0.0.0.0/0", [true, true, false]);
}

#[test]
fn everyone_reads_and_allowed_networks_write() {
    for engine in ENGINES {
        let daemon = Daemon::start(&["--http-write-allow=127.0.0.2/32", engine]);
        let (mut reader, mut writer) = (http(ONE, &daemon), http(TWO, &daemon));
        assert_eq!(code(&writer.request("POST", "/topic/create?topic=kept")), "200");
        for target in WRITES {
            let answer = reader.request("POST", target);
            assert_eq!((code(&answer), answer.body.as_str()), ("403", FORBIDDEN));
            let json = ("Content-Type".to_owned(), "application/json; charset=utf-8".to_owned());
            assert!(answer.headers.contains(&json), "{:?}", answer.headers);
        }
        // What is no route, or has another method, is told so as ever.
        for (method, target, status) in [
            ("POST", "/nope", "404"),
            ("POST", "/lookup?topic=kept", "405"),
            ("GET", WRITES[0], "405"),
            ("HEAD", WRITES[0], "405"),
            ("POST", "/debug/pprof/symbol", "404"),
            ("POST", "/topic/create", "403"),
        ] {
            assert_eq!(code(&reader.request(method, target)), status, "{engine} {method} {target}");
            // The second engine gives a HEAD a length of its own: on with another connection.
            reader = http(ONE, &daemon);
        }
        // What would be sent elsewhere is not let in by the way there.
        let moved = reader.request("POST", "/topic//create?topic=moved");
        let is_refused = code(&moved) == "403";
        assert!(is_refused || code(&moved) == "307", "{engine}: {}", moved.status);
        assert_eq!(reader.request("GET", "/topics").body, r#"{"topics":["kept"]}"#);
        assert!(reader.request("GET", "/lookup?topic=kept").body.contains("producers"));
        for target in WRITES {
            assert_eq!(code(&writer.request("POST", target)), "200", "{target}");
        }
        let refusals = 6 + u64::from(is_refused);
        assert_eq!(refused(&mut reader, "http_write_allow"), refusals, "{engine}");
    }
}

#[test]
fn who_writes_bears_the_token() {
    let secret = Secret::new("bearer", b"s3cret\n", 0o600);
    for engine in ENGINES {
        let daemon = Daemon::start(&[&secret.flag(), engine]);
        let mut http = http(ONE, &daemon);
        for target in WRITES {
            for wrong in ["", "Bearer", "Bearer s3creT", "Bearer s3cret x", "Basic s3cret"] {
                let answer = post(&mut http, target, wrong);
                assert_eq!(code(&answer), "403", "{engine} {wrong}");
                assert_eq!(answer.body, FORBIDDEN);
            }
            let twice = "Bearer s3cret\r\nAuthorization: Bearer s3cret";
            assert_eq!(code(&post(&mut http, target, twice)), "403", "{engine}");
            for right in ["Bearer s3cret", "bearer s3cret"] {
                // Deleting what is deleted is a 404.
                let answer = post(&mut http, target, right);
                assert_ne!(code(&answer), "403", "{engine} {right}");
            }
        }
        assert_eq!(refused(&mut http, "http_write_token"), 6 * WRITES.len() as u64);
        assert_eq!(http.request("GET", "/topics").body, r#"{"topics":[]}"#);
        let log = daemon.stop().join("\n");
        assert!(!log.contains("s3cret") && !log.contains("can read"), "{log}");
    }
}

#[test]
fn an_address_list_and_a_token_hold_together() {
    let secret = Secret::new("both", b"s3cret", 0o600);
    for engine in ENGINES {
        let daemon = Daemon::start(&[&secret.flag(), "--http-write-allow=127.0.0.1", engine]);
        let (mut here, mut there) = (http(ONE, &daemon), http(TWO, &daemon));
        let right = "Bearer s3cret";
        assert_eq!(code(&post(&mut here, WRITES[0], "")), "403");
        assert_eq!(code(&post(&mut there, WRITES[0], right)), "403");
        assert_eq!(code(&post(&mut there, WRITES[0], "")), "403");
        assert_eq!(here.request("GET", "/topics").body, r#"{"topics":[]}"#);
        assert_eq!(code(&post(&mut here, WRITES[0], right)), "200");
        let reasons = ["http_write_token", "http_write_allow"];
        assert_eq!(reasons.map(|reason| refused(&mut here, reason)), [1, 2]);
    }
}

#[test]
fn what_follows_a_refused_post_is_answered_in_order() {
    let secret = Secret::new("pipeline", b"s3cret", 0o600);
    let daemon = Daemon::start(&[&secret.flag()]);
    let right = "Bearer s3cret";
    // A body that looks like a request is none.
    let smuggled = request("/topic/create?topic=smuggled", right, "");
    let chunked = request("/topic/create?topic=b", "", "").replace(
        "Content-Length: 0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    );
    let requests = [
        request("/topic/create?topic=a", "Bearer wrong", &smuggled),
        chunked,
        request("/topic/create?topic=c", right, "abc"),
        request("/topic/create?topic=d", "", "abc"),
        "GET /topics HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
    ];
    let bytes = requests.concat();
    let statuses = ["403", "403", "200", "403", "200"];
    for pace in [1, 7, bytes.len()] {
        let mut client = http(ONE, &daemon);
        client.stream().set_nodelay(true).expect("an option");
        bytes.as_bytes().chunks(pace).for_each(|piece| client.send(piece));
        let answers = statuses.map(|_| client.response(false));
        for (answer, status) in answers.iter().zip(statuses) {
            assert_eq!(code(answer), status, "{pace}");
        }
        assert_eq!(answers[4].body, r#"{"topics":["c"]}"#);
        client.stream().shutdown(Shutdown::Write).expect("open");
        assert_eq!(client.rest(), b"");
    }
    // The bounds on bodies are the same for who is refused.
    let mut client = http(ONE, &daemon);
    let length = musterd::limits::HTTP_BODY + 1;
    let head = "POST /topic/create?topic=t HTTP/1.1\r\nHost: x\r\nContent-Length: ";
    client.send(format!("{head}{length}\r\n\r\n").as_bytes());
    assert!(client.response(false).status.contains(" 413 "));
    // Who waits to be told to send a body is told, and then refused.
    let mut client = http(ONE, &daemon);
    client.send(format!("{head}3\r\nExpect: 100-continue\r\n\r\n").as_bytes());
    assert!(client.response(false).status.contains(" 100 "));
    client.send(b"abcGET /ping HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(code(&client.response(false)), "403");
    assert_eq!(client.response(false).body, "OK");
}

#[test]
fn each_address_has_so_many_connections_and_gets_them_back() {
    let flags = ["--max-connections-per-ip=2", "--handshake-timeout=1s", "--shards=2"];
    let daemon = Daemon::start(&flags);
    let mut watcher = http(TWO, &daemon);
    let mut nsqds = [nsqd(ONE, &daemon), nsqd(ONE, &daemon)];
    nsqds.iter_mut().for_each(|nsqd| nsqd.identify("a"));
    assert_eq!(told(nsqd(ONE, &daemon)), CROWDED);
    nsqd(TWO, &daemon).identify("another address");
    // Each port counts by itself.
    let mut clients = [http(ONE, &daemon), http(ONE, &daemon)];
    clients.iter_mut().for_each(|client| drop(client.get("/ping")));
    let answer = http(ONE, &daemon).response(false);
    assert_eq!(code(&answer), "403");
    assert_eq!(answer.body, r#"{"message":"TOO_MANY_CONNECTIONS_PER_IP"}"#);
    let reasons = ["tcp_per_ip", "http_per_ip"];
    assert_eq!(reasons.map(|reason| refused(&mut watcher, reason)), [1, 1]);
    nsqds.iter_mut().for_each(|nsqd| nsqd.command("PING"));
    // They come back when a peer closes, resets, breaks a rule, or runs into a deadline.
    let endings: [fn(Nsqd); 4] = [
        |nsqd| drop(nsqd),
        |nsqd| {
            let linger = rustix::net::sockopt::set_socket_linger;
            linger(&nsqd.stream, Some(Duration::ZERO)).expect("an option");
        },
        |mut nsqd| {
            nsqd.send(b"nonsense");
            nsqd.rest();
        },
        |mut nsqd| drop(nsqd.rest()),
    ];
    drop((nsqds, clients));
    let open = |http: &mut HttpClient| figure(http, "musterd_connections{port=\"tcp\"}");
    for end in endings {
        eventually("all have left", || (open(&mut watcher) == 0).then_some(()));
        let peers = [nsqd(ONE, &daemon), nsqd(ONE, &daemon)];
        eventually("both are in", || (open(&mut watcher) == 2).then_some(()));
        assert_eq!(told(nsqd(ONE, &daemon)), CROWDED);
        peers.into_iter().for_each(end);
    }
    assert_eq!(refused(&mut watcher, "tcp_per_ip"), 5);
    eventually("there is room for two clients", || {
        let mut clients = [http(ONE, &daemon), http(ONE, &daemon)];
        let answers = clients.each_mut().map(|client| {
            client.send(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n");
            client.response(false)
        });
        answers.iter().all(|answer| code(answer) == "200").then_some(())
    });
}

#[test]
fn refusals_are_warned_of_once_a_minute_and_name_the_last() {
    let daemon = Daemon::start(&["--tcp-allow=10.0.0.0/8", "--http-write-allow=10.0.0.0/8"]);
    let mut client = http(TWO, &daemon);
    assert_eq!(code(&client.request("POST", WRITES[0])), "403");
    let line = daemon.line_with("WARNING: access: ");
    let want = "refused 1 HTTP POSTs by --http-write-allow, the last of 127.0.0.2";
    assert!(line.ends_with(want), "{line}");
    assert_eq!(told(nsqd(ONE, &daemon)), STRANGER);
    let line = daemon.line_with("WARNING: access: ");
    let want = "refused 1 TCP connections by --tcp-allow, the last of 127.0.0.1";
    assert!(line.ends_with(want), "{line}");
    for _ in 0..5 {
        assert_eq!(told(nsqd(ONE, &daemon)), STRANGER);
        assert_eq!(code(&client.request("POST", WRITES[0])), "403");
    }
    // Long enough for two more looks, and far from a minute.
    std::thread::sleep(musterd::watchdog::INTERVAL * 5 / 2);
    assert_eq!(
        [refused(&mut client, "tcp_allow"), refused(&mut client, "http_write_allow")],
        [6; 2]
    );
    let log = daemon.stop();
    assert!(!log.iter().any(|line| line.contains("access: ")), "{log:#?}");
}

#[test]
fn a_token_that_every_user_can_read_is_warned_of() {
    let secret = Secret::new("exposed", b"s3cret\n", 0o644);
    let daemon = Daemon::start(&[&secret.flag()]);
    daemon.line_with("WARNING: every user of this host can read --http-write-token-file");
    assert_eq!(code(&post(&mut http(ONE, &daemon), WRITES[0], "Bearer s3cret")), "200");
}

#[test]
fn rules_that_cannot_be_followed_end_the_start() {
    let check = |flags: &[&str], code: i32, want: &str| {
        let anywhere = ["--tcp-address=127.0.0.1:0", "--http-address=127.0.0.1:0"];
        let (got, _, stderr) = run(&[&anywhere, flags].concat());
        assert_eq!(got, Some(code), "{flags:?}: {stderr}");
        let line = stderr.lines().find(|line| line.contains(want));
        assert!(line.is_some() && !stderr.contains("listening on"), "{flags:?}: {stderr}");
        assert!(!stderr.contains("s3cret"), "{stderr}");
    };
    let network = |value: &str, flag: &str| format!("invalid value \"{value}\" for flag -{flag}: ");
    check(&["-tcp-allow=10.0.0.0/33"], 2, &network("10.0.0.0/33", "tcp-allow"));
    check(&["-tcp-allow=::1,,10.0.0.1"], 2, &network("", "tcp-allow"));
    check(&["-http-write-allow", "lookup-1"], 2, &network("lookup-1", "http-write-allow"));
    let minihttp = ["-max-connections-per-ip=9", "-http-engine=minihttp"];
    check(&minihttp, 1, "FATAL: --max-connections-per-ip needs the guarded HTTP engine");
    let config = Secret::new("config", b"tcp_allow = [\n\"::1\", \"here\"]\n", 0o600);
    let config_flag = format!("-config={}", config.0.display());
    check(&[&config_flag], 1, "FATAL: failed to load config file ");
    let long = "s3cret".repeat(200);
    for (name, content, why) in [
        ("empty", "\n", "it is empty"),
        ("long", &*long, "at most 1024 characters"),
        ("umlaut", "s3cret\u{fc}", "visible ASCII"),
        ("lines", "s3cret\ns3cret\n", "visible ASCII"),
    ] {
        let secret = Secret::new(name, content.as_bytes(), 0o600);
        check(&[&secret.flag()], 1, why);
        let named = format!("FATAL: --http-write-token-file \"{}\": ", secret.0.display());
        check(&[&secret.flag()], 1, &named);
    }
    check(&["-http-write-token-file=/nonexistent"], 1, "\"/nonexistent\": No such file");
    check(&["-http-write-token-file="], 2, "invalid value \"\" for flag -http-write-token-file: ");
    check(&["-http-write-token-file=/"], 1, "--http-write-token-file \"/\": Is a directory");
}
