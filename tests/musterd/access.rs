//! Access control over sockets: allow lists, connections per address, the write token. Peers differ
//! by their address on the loopback, where a process may use any of 127.0.0.0/8.

use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use crate::support::{Daemon, HttpClient, Nsqd, Response, connect_from, eventually, run};

mod proxied;
mod reads;

const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const TWO: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 2));
const SIX: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

const NOT_ALLOWED: &[u8] = b"\0\0\0\x26E_INVALID this address may not connect";
const TOO_MANY: &[u8] = b"\0\0\0\x2eE_INVALID too many connections of this address";
const FORBIDDEN: &str = r#"{"message":"FORBIDDEN"}"#;

/// The requests that change something, in an order in which each of them succeeds.
const WRITES: [&str; 5] = [
    "/topic/create?topic=t",
    "/channel/create?topic=t&channel=c",
    "/topic/tombstone?topic=t&node=n:1",
    "/channel/delete?topic=t&channel=c",
    "/topic/delete?topic=t",
];

const ENGINES: [&str; 2] = ["--http-engine=builtin", "--http-engine=minihttp"];

fn nsqd(source: IpAddr, daemon: &Daemon) -> Nsqd {
    Nsqd::over(connect_from(source, daemon.tcp))
}

fn http(source: IpAddr, daemon: &Daemon) -> HttpClient {
    HttpClient::over(connect_from(source, daemon.http))
}

/// What an nsqd gets back that sends a command at once.
fn replies(mut nsqd: Nsqd) -> Vec<u8> {
    use std::io::Write;
    // The daemon may have closed already.
    let _ = nsqd.stream.write_all(b"  V1PING\n");
    nsqd.rest()
}

/// How an nsqd may end its connection: it closes, resets, or sends an invalid command.
const ENDINGS: [fn(Nsqd); 3] = [
    drop,
    |nsqd| {
        let linger = rustix::net::sockopt::set_socket_linger;
        linger(&nsqd.stream, Some(Duration::ZERO)).expect("an option");
    },
    |mut nsqd| {
        nsqd.send(b"nonsense");
        nsqd.rest();
    },
];

/// The status code of a response: the two engines have different reason phrases.
fn code(response: &Response) -> &str {
    response.status.split(' ').nth(1).unwrap_or_default()
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

/// A POST with this `Authorization`, if it is not empty.
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

/// A file that is removed when the value is dropped.
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

    fn read_flag(&self) -> String {
        format!("--http-read-token-file={}", self.0.display())
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn nsqds_connect_from_allowed_networks_only() {
    // The cap would reject a second connection with another reply.
    let flags = ["--tcp-allow=10.0.0.0/8,127.0.0.1", "--tcp-allow=::1", "--max-tcp-connections=1"];
    let daemon = Daemon::start(&flags);
    assert_eq!(replies(nsqd(TWO, &daemon)), NOT_ALLOWED);
    let mut allowed = nsqd(ONE, &daemon);
    allowed.identify("a");
    for _ in 0..3 {
        assert_eq!(replies(nsqd(TWO, &daemon)), NOT_ALLOWED);
    }
    allowed.command("PING");
    // The other port has no rule.
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

#[test]
fn address_that_has_most_connections_is_refused_first_and_a_fleet_is_not() {
    let daemon = Daemon::start(&["--max-tcp-connections=10", "--max-http-connections=10"]);
    let ping = |client: &mut HttpClient| code(&client.request("GET", "/ping")).to_owned();
    let mut clients: Vec<_> = (0..8).map(|_| http(ONE, &daemon)).collect();
    assert!(clients.iter_mut().all(|client| ping(client) == "200"));
    assert_eq!(code(&http(ONE, &daemon).response(false)), "503");
    assert_eq!(ping(&mut http(TWO, &daemon)), "200");

    // Until they identify, nsqds count as their address; then each for itself.
    let mut fleet: Vec<_> = (0..8).map(|_| nsqd(ONE, &daemon)).collect();
    assert_eq!(replies(nsqd(ONE, &daemon)), TOO_MANY);
    for (number, nsqd) in fleet.iter_mut().enumerate() {
        nsqd.identify(&format!("nsqd-{number}"));
    }
    let mut ninth = nsqd(ONE, &daemon);
    ninth.identify("nsqd-8");
    fleet.push(ninth);
    fleet.iter_mut().for_each(|nsqd| nsqd.command("PING"));
    for port in ["http", "tcp"] {
        let name = "musterd_connections_rejected_total";
        let name = format!("{name}{{port=\"{port}\",reason=\"share\"}}");
        assert_eq!(figure(&mut clients[0], &name), 1, "{port}");
    }
}

/// The loopback address of this family, with the port of `of`.
fn loopback(of: SocketAddr, source: IpAddr) -> SocketAddr {
    let here = if source.is_ipv4() { ONE } else { SIX };
    SocketAddr::new(here, of.port())
}

#[test]
fn a_dual_stack_port_matches_ipv4_and_ipv6_rules() {
    let has_ipv6 = std::net::TcpListener::bind((SIX, 0)).is_ok();
    let check_engine = |engine: &str, allow: &str, is_allowed: [bool; 3]| {
        let flags = [engine, "--tcp-address=[::]:0", "--http-address=[::]:0"];
        let lists = [format!("--tcp-allow={allow}"), format!("--http-write-allow={allow}")];
        let daemon = Daemon::start(&[&flags[..], &lists.each_ref().map(String::as_str)].concat());
        let sources = [ONE, TWO, SIX].into_iter().zip(is_allowed);
        for (source, is_allowed) in sources.filter(|(ip, _)| has_ipv6 || ip.is_ipv4()) {
            let mut nsqd = Nsqd::over(connect_from(source, loopback(daemon.tcp, source)));
            let mut http = HttpClient::over(connect_from(source, loopback(daemon.http, source)));
            let answer = http.request("POST", WRITES[0]);
            if is_allowed {
                nsqd.identify("a");
                assert_eq!(code(&answer), "200", "{allow} {source}");
            } else {
                assert_eq!(replies(nsqd), NOT_ALLOWED, "{allow} {source}");
                assert_eq!(code(&answer), "403", "{allow} {source}");
            }
            assert_eq!(http.request("GET", "/ping").body, "OK");
        }
    };
    let check = |allow: &str, is_allowed: [bool; 3]| {
        ENGINES.iter().for_each(|engine| check_engine(engine, allow, is_allowed));
    };
    check("127.0.0.1", [true, false, false]);
    check("::1", [false, false, true]);
    check("::1,127.0.0.0/8", [true, true, true]);
    check("::ffff:127.0.0.2", [false, true, false]);
    check("::/0", [false, false, true]);
    check("0.0.0.0/0", [true, true, false]);
}

#[test]
fn reads_are_open_and_writes_need_an_allowed_network() {
    for engine in ENGINES {
        let daemon = Daemon::start(&["--http-write-allow=127.0.0.2/32", engine]);
        let (mut reader, mut writer) = (http(ONE, &daemon), http(TWO, &daemon));
        assert_eq!(code(&writer.request("POST", "/topic/create?topic=a")), "200");
        for target in WRITES {
            let answer = reader.request("POST", target);
            assert_eq!((code(&answer), answer.body.as_str()), ("403", FORBIDDEN));
            let json = ("Content-Type".to_owned(), "application/json; charset=utf-8".to_owned());
            assert!(answer.headers.contains(&json), "{:?}", answer.headers);
        }
        // The rule does not change the answer to an unknown route or method.
        for (method, target, status) in [
            ("POST", "/nope", "404"),
            ("POST", "/lookup?topic=a", "405"),
            ("GET", WRITES[0], "405"),
            ("HEAD", WRITES[0], "405"),
            ("POST", "/debug/pprof/symbol", "404"),
            ("POST", "/topic/create", "403"),
        ] {
            assert_eq!(code(&reader.request(method, target)), status, "{engine} {method} {target}");
            // The second engine sends a HEAD a wrong length: use another connection.
            reader = http(ONE, &daemon);
        }
        // A path that would be redirected is denied or redirected, never carried out.
        let moved = reader.request("POST", "/topic//create?topic=moved");
        let is_refused = code(&moved) == "403";
        assert!(is_refused || code(&moved) == "307", "{engine}: {}", moved.status);
        assert_eq!(reader.request("GET", "/topics").body, r#"{"topics":["a"]}"#);
        assert!(reader.request("GET", "/lookup?topic=a").body.contains("producers"));
        for target in WRITES {
            assert_eq!(code(&writer.request("POST", target)), "200", "{target}");
        }
        let refusals = 6 + u64::from(is_refused);
        assert_eq!(refused(&mut reader, "http_write_allow"), refusals, "{engine}");
    }
}

#[test]
fn writes_need_the_token() {
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
                // Deleting twice is a 404.
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
fn an_allow_list_and_a_token_are_both_required() {
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
fn requests_behind_a_denied_post_are_answered_in_order() {
    let secret = Secret::new("pipeline", b"s3cret", 0o600);
    let daemon = Daemon::start(&[&secret.flag()]);
    let right = "Bearer s3cret";
    // A body that looks like a request.
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
    // The limit on bodies holds for denied requests too.
    let mut client = http(ONE, &daemon);
    let length = musterd::limits::HTTP_BODY + 1;
    let head = "POST /topic/create?topic=t HTTP/1.1\r\nHost: x\r\nContent-Length: ";
    client.send(format!("{head}{length}\r\n\r\n").as_bytes());
    assert!(client.response(false).status.contains(" 413 "));
    // A client that expects `100 Continue` gets it, and then the 403.
    let mut client = http(ONE, &daemon);
    client.send(format!("{head}3\r\nExpect: 100-continue\r\n\r\n").as_bytes());
    assert!(client.response(false).status.contains(" 100 "));
    client.send(b"abcGET /ping HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(code(&client.response(false)), "403");
    assert_eq!(client.response(false).body, "OK");
}

#[test]
fn connections_per_ip_are_limited_and_released_on_every_close_path() {
    let daemon = Daemon::start(&["--max-connections-per-ip=2", "--shards=2"]);
    let mut metrics = http(TWO, &daemon);
    let mut nsqds = [nsqd(ONE, &daemon), nsqd(ONE, &daemon)];
    nsqds.iter_mut().for_each(|nsqd| nsqd.identify("a"));
    assert_eq!(replies(nsqd(ONE, &daemon)), TOO_MANY);
    nsqd(TWO, &daemon).identify("another address");
    // Each port has a count of its own.
    let mut clients = [http(ONE, &daemon), http(ONE, &daemon)];
    clients.iter_mut().for_each(|client| drop(client.get("/ping")));
    let answer = http(ONE, &daemon).response(false);
    assert_eq!(code(&answer), "403");
    assert_eq!(answer.body, r#"{"message":"TOO_MANY_CONNECTIONS_PER_IP"}"#);
    let reasons = ["tcp_per_ip", "http_per_ip"];
    assert_eq!(reasons.map(|reason| refused(&mut metrics, reason)), [1, 1]);
    nsqds.iter_mut().for_each(|nsqd| nsqd.command("PING"));
    drop((nsqds, clients));
    let open = |http: &mut HttpClient| figure(http, "musterd_connections{port=\"tcp\"}");
    for end in ENDINGS {
        eventually("all are closed", || (open(&mut metrics) == 0).then_some(()));
        let peers = [nsqd(ONE, &daemon), nsqd(ONE, &daemon)];
        eventually("both are accepted", || (open(&mut metrics) == 2).then_some(()));
        assert_eq!(replies(nsqd(ONE, &daemon)), TOO_MANY);
        peers.into_iter().for_each(end);
    }
    assert_eq!(refused(&mut metrics, "tcp_per_ip"), 4);
    eventually("two clients are accepted", || {
        let mut clients = [http(ONE, &daemon), http(ONE, &daemon)];
        let answers = clients.each_mut().map(|client| client.try_request("GET", "/ping"));
        let is_served = |answer: &_| matches!(answer, Ok(answer) if code(answer) == "200");
        answers.iter().all(is_served).then_some(())
    });
}

#[test]
fn denials_are_logged_once_a_minute_with_the_last_address() {
    let daemon = Daemon::start(&["--tcp-allow=10.0.0.0/8", "--http-write-allow=10.0.0.0/8"]);
    let mut client = http(TWO, &daemon);
    assert_eq!(code(&client.request("POST", WRITES[0])), "403");
    let line = daemon.line_with("WARNING: access: ");
    let want = "refused 1 HTTP POSTs by --http-write-allow, the last of 127.0.0.2";
    assert!(line.ends_with(want), "{line}");
    assert_eq!(replies(nsqd(ONE, &daemon)), NOT_ALLOWED);
    let line = daemon.line_with("WARNING: access: ");
    let want = "refused 1 TCP connections by --tcp-allow, the last of 127.0.0.1";
    assert!(line.ends_with(want), "{line}");
    for _ in 0..5 {
        assert_eq!(replies(nsqd(ONE, &daemon)), NOT_ALLOWED);
        assert_eq!(code(&client.request("POST", WRITES[0])), "403");
    }
    // Long enough for two more checks, and far from a minute.
    std::thread::sleep(musterd::watchdog::INTERVAL * 5 / 2);
    assert_eq!(
        [refused(&mut client, "tcp_allow"), refused(&mut client, "http_write_allow")],
        [6; 2]
    );
    let log = daemon.stop();
    assert!(!log.iter().any(|line| line.contains("access: ")), "{log:#?}");
}

#[test]
fn a_world_readable_token_file_is_logged() {
    let secret = Secret::new("exposed", b"s3cret\n", 0o644);
    let daemon = Daemon::start(&[&secret.flag()]);
    daemon.line_with("WARNING: every user of this host can read --http-write-token-file");
    assert_eq!(code(&post(&mut http(ONE, &daemon), WRITES[0], "Bearer s3cret")), "200");
}

#[test]
fn invalid_access_rules_fail_the_start() {
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
    check(&minihttp, 1, "FATAL: --max-connections-per-ip needs the builtin HTTP engine");
    let config = Secret::new("config", b"tcp_allow = [\n\"::1\", \"here\"]\n", 0o600);
    let config_flag = format!("-config={}", config.0.display());
    check(&[&config_flag], 1, "FATAL: failed to load config file ");
    let long = "s3cret".repeat(200);
    for (name, content, reason) in [
        ("empty", "\n", "it is empty"),
        ("long", &*long, "at most 1024 characters"),
        ("umlaut", "s3cret\u{fc}", "visible ASCII"),
        ("lines", "s3cret\ns3cret\n", "visible ASCII"),
    ] {
        let secret = Secret::new(name, content.as_bytes(), 0o600);
        check(&[&secret.flag()], 1, reason);
        let named = format!("FATAL: --http-write-token-file \"{}\": ", secret.0.display());
        check(&[&secret.flag()], 1, &named);
    }
    check(&["-http-write-token-file=/nonexistent"], 1, "\"/nonexistent\": No such file");
    check(&["-http-write-token-file="], 2, "invalid value \"\" for flag -http-write-token-file: ");
    check(&["-http-write-token-file=/"], 1, "--http-write-token-file \"/\": Is a directory");
}

/// What a browser sends when a page of another site has a form that posts here.
#[test]
fn page_of_another_site_cannot_delete_a_topic() {
    let daemon = Daemon::start(&["--http-write-allow=127.0.0.1"]);
    let mut http = HttpClient::connect(daemon.http);
    assert_eq!(code(&post(&mut http, "/topic/create?topic=payments", "")), "200");
    let send = |http: &mut HttpClient, fields: &str| {
        let target = "/topic/delete?topic=payments";
        let head =
            format!("POST {target} HTTP/1.1\r\nHost: x\r\n{fields}Content-Length: 1\r\n\r\na");
        http.send(head.as_bytes());
        code(&http.response(false)).to_owned()
    };
    let foreign = "Origin: https://evil.example\r\n";
    assert_eq!(send(&mut http, foreign), "403");
    assert_eq!(send(&mut http, "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n"), "403");
    assert_eq!(send(&mut http, "Origin: null\r\n"), "403");
    assert_eq!(http.get("/topics"), "{\"topics\":[\"payments\"]}");
    let denied = figure(&mut http, "musterd_http_writes_rejected_total{reason=\"origin\"}");
    assert_eq!(denied, 3);
    assert_eq!(send(&mut http, "Sec-Fetch-Site: same-origin\r\n"), "200");
    assert_eq!(http.get("/topics"), "{\"topics\":[]}");
}

#[test]
fn only_the_named_hosts_are_served() {
    let daemon = Daemon::start(&["--http-host=lookupd.example,10.0.0.1:4161"]);
    let mut http = HttpClient::connect(daemon.http);
    let mut ask = |host: &str, path: &str| {
        http.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
        code(&http.response(false)).to_owned()
    };
    assert_eq!(ask("lookupd.example:4161", "/topics"), "200");
    assert_eq!(ask("rebound.example", "/topics"), "421");
    assert_eq!(ask("rebound.example", "/lookup?topic=t"), "421");
    assert_eq!(ask("rebound.example", "/ping"), "200");
    assert_eq!(ask("rebound.example", "/livez"), "200");
}
