//! Who may send a GET.

use super::*;

/// A GET with this `Authorization`, if it is not empty: its status.
fn get(http: &mut HttpClient, target: &str, authorization: &str) -> String {
    let field = match authorization {
        "" => String::new(),
        value => format!("Authorization: {value}\r\n"),
    };
    http.send(format!("GET {target} HTTP/1.1\r\nHost: x\r\n{field}\r\n").as_bytes());
    code(&http.response(false)).to_owned()
}

/// The routes that show something.
const READS: [&str; 7] = [
    "/lookup?topic=*",
    "/channels?topic=t",
    "/channels?topic=*",
    "/topics",
    "/nodes",
    "/info",
    "/debug",
];

const REJECTED: &str = "musterd_http_reads_rejected_total";

#[test]
fn reads_need_an_allowed_network_or_the_token() {
    let secret = Secret::new("reads", b"s3cret\n", 0o600);
    for engine in ENGINES {
        let daemon = Daemon::start(&["--http-read-allow=127.0.0.1", &secret.read_flag(), engine]);
        daemon.line_with("WARNING: everybody may send a POST");
        let (mut here, mut there) = (http(ONE, &daemon), http(TWO, &daemon));
        assert_eq!(code(&post(&mut there, "/topic/create?topic=t", "")), "200", "of a POST's own");
        for target in READS {
            assert_eq!(get(&mut here, target, ""), "200", "{engine} {target}");
            assert_eq!(get(&mut here, target, "Bearer wrong"), "200", "{engine} {target}");
            assert_eq!(get(&mut there, target, "Bearer s3cret"), "200", "{engine} {target}");
            for wrong in ["", "Bearer", "Bearer s3creT", "Basic s3cret"] {
                assert_eq!(get(&mut there, target, wrong), "403", "{engine} {target} {wrong}");
            }
        }
        assert_eq!(get(&mut there, "/metrics", ""), "403");
        assert_eq!(there.request("GET", "/lookup?topic=t").body, FORBIDDEN);
        assert_eq!(get(&mut there, "/lookup?topic=nope", ""), "403", "not even that it is missing");
        assert_eq!(get(&mut there, "/debug/pprof/heap", ""), "403");
        for probe in ["/ping", "/livez"] {
            assert_eq!(get(&mut there, probe, ""), "200", "{engine} {probe}");
        }
        assert_eq!(get(&mut there, "/nope", ""), "404");
        let refused = 4 * READS.len() as u64 + 4;
        assert_eq!(figure(&mut here, REJECTED), refused, "{engine}");
        let log = daemon.stop().join("\n");
        assert!(!log.contains("s3cret"), "{log}");
    }
}

#[test]
fn rules_of_reads_and_of_writes_are_apart() {
    let (read, write) = (Secret::new("r", b"r", 0o600), Secret::new("w", b"w", 0o644));
    let daemon = Daemon::start(&[&read.read_flag(), &write.flag()]);
    daemon.line_with("WARNING: every user of this host can read --http-write-token-file");
    let mut http = http(ONE, &daemon);
    assert_eq!(code(&post(&mut http, WRITES[0], "Bearer r")), "403");
    assert_eq!(code(&post(&mut http, WRITES[0], "Bearer w")), "200");
    assert_eq!(get(&mut http, "/topics", "Bearer w"), "403");
    assert_eq!(get(&mut http, "/topics", "Bearer r"), "200");
    let daemon_log = daemon.stop().join("\n");
    assert!(!daemon_log.contains("everybody may send a POST"), "{daemon_log}");
}

/// nsqd asks for the channels of a new topic without a token, and loses messages if it may not.
#[test]
fn connected_nsqds_may_ask_for_the_channels_of_a_topic() {
    let daemon = Daemon::start(&["--http-read-allow=10.0.0.0/8", "--shards=2"]);
    let mut client = http(TWO, &daemon);
    let may_ask = |client: &mut HttpClient| get(client, "/channels?topic=t", "") == "200";
    let connected = nsqd(TWO, &daemon);
    assert!(!may_ask(&mut client), "it has not identified");
    drop(connected);
    // Its registrations are more than are left in one call.
    let after_registering: fn(Nsqd) =
        |mut nsqd| (0..200).for_each(|n| nsqd.command(&format!("REGISTER t c{n}")));
    for end in ENDINGS.into_iter().chain([after_registering]) {
        let (mut nsqd, mut second) = (nsqd(TWO, &daemon), nsqd(TWO, &daemon));
        nsqd.identify("a");
        assert!(may_ask(&mut client), "as soon as its IDENTIFY was answered");
        second.identify("b");
        for other in ["/channels?topic=*", "/channels?topic=%2A", "/channels", "/lookup?topic=t"] {
            assert_eq!(get(&mut client, other, ""), "403", "{other}");
        }
        assert!(!may_ask(&mut http(ONE, &daemon)), "another address");
        end(nsqd);
        assert!(may_ask(&mut client), "the second is connected");
        drop(second);
        eventually("both are gone", || (!may_ask(&mut client)).then_some(()));
    }
}
