//! PROXY headers over sockets, on both ports: 127.0.0.1 is a proxy, 127.0.0.2 is not.

use super::*;
use std::io::{Read as _, Write as _};

const PROXY: &str = "--proxy-protocol-from=127.0.0.1";

fn v1(ip: &str) -> Vec<u8> {
    format!("PROXY TCP4 {ip} 127.0.0.1 4000 4160\r\n").into_bytes()
}

/// A version 2 header for `ip` and port 4000, with a TLV behind the addresses.
fn v2(ip: &str) -> Vec<u8> {
    let tlv = [0x04, 0, 1, 0xff];
    let addresses = match ip.parse::<IpAddr>().expect("an address") {
        IpAddr::V4(ip) => [&b"\x21\x11\0\x10"[..], &ip.octets(), &[127, 0, 0, 1]].concat(),
        IpAddr::V6(ip) => [&b"\x21\x21\0\x28"[..], &ip.octets(), &[1; 16]].concat(),
    };
    [&b"\r\n\r\n\0\r\nQUIT\n"[..], &addresses, &[0x0f, 0xa0, 0x10, 0x40], &tlv].concat()
}

/// An nsqd behind the proxy.
fn proxied(header: &[u8], daemon: &Daemon) -> Nsqd {
    let mut nsqd = nsqd(ONE, daemon);
    nsqd.send(header);
    nsqd
}

/// The status of a request behind the proxy, whose bytes come one at a time or at once.
fn status(header: &[u8], request: &str, is_split: bool, daemon: &Daemon) -> String {
    let mut client = http(ONE, daemon);
    let sent = [header, request.as_bytes()].concat();
    let size = if is_split { 1 } else { sent.len() };
    sent.chunks(size).for_each(|piece| client.send(piece));
    code(&client.response(false)).to_owned()
}

/// Whether the daemon closes without a word.
fn is_closed(mut stream: std::net::TcpStream, sent: &[u8]) -> bool {
    // The daemon may have closed already.
    let _ = stream.write_all(sent);
    // Unread input is answered with a reset.
    let mut got = Vec::new();
    let _ = stream.read_to_end(&mut got);
    got.is_empty()
}

#[test]
fn headers_name_the_real_nsqds() {
    let daemon = Daemon::start(&[PROXY, "--tcp-allow=10.0.0.0/8,2001:db8::/32,127.0.0.2"]);
    let mut whole = proxied(&v1("10.1.2.3"), &daemon);
    whole.identify("a");
    let mut split = nsqd(ONE, &daemon);
    v2("2001:db8::1").chunks(1).for_each(|byte| split.send(byte));
    split.identify("b");
    nsqd(TWO, &daemon).identify("c");
    for denied in [v1("192.0.2.1"), v2("192.0.2.1"), b"PROXY UNKNOWN\r\n".to_vec()] {
        assert_eq!(replies(proxied(&denied, &daemon)), NOT_ALLOWED);
    }
    let mut client = http(TWO, &daemon);
    let nodes = client.get("/nodes");
    for address in ["10.1.2.3:4000", "[2001:db8::1]:4000"] {
        assert!(nodes.contains(&format!("\"remote_address\":\"{address}\"")), "{nodes}");
    }
    daemon.line_with("client(10.1.2.3:4000)");
    // Only a proxy is believed.
    assert_eq!(replies(proxied(&[], &daemon)), b"");
    let mut direct = nsqd(TWO, &daemon);
    direct.send(&v1("10.1.2.3"));
    assert!(direct.rest().ends_with(b"E_BAD_PROTOCOL"));
}

#[test]
fn headers_name_the_real_http_clients() {
    let flags =
        [PROXY, "--http-write-allow=10.0.0.0/8,2001:db8::/32", "--max-connections-per-ip=1"];
    let daemon = Daemon::start(&flags);
    let post = request(WRITES[0], "", "");
    for is_split in [false, true] {
        for (header, want) in [
            (v1("10.1.2.3"), "200"),
            (v2("10.1.2.4"), "200"),
            (v2("2001:db8::1"), "200"),
            (v1("192.0.2.1"), "403"),
            (v2("192.0.2.2"), "403"),
            (b"PROXY UNKNOWN\r\n".to_vec(), "403"),
        ] {
            eventually("its last connection is gone", || {
                (status(&header, "GET /ping HTTP/1.0\r\n\r\n", false, &daemon) == "200")
                    .then_some(())
            });
            eventually("it is answered", || {
                let status = status(&header, &post, is_split, &daemon);
                (status == want).then_some(())
            });
        }
    }
}

#[test]
fn what_is_no_header_is_closed_and_counted_on_both_ports() {
    let daemon = Daemon::start(&[PROXY]);
    let wrong: [&[u8]; 5] = [
        b"  V1PING\n",
        b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PROXY TCP4 10.0.0.256 127.0.0.1 1 2\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c            ",
        b"\r\n\r\n\0\r\nQUIT\n\x20\0\xff\xff",
    ];
    for sent in wrong {
        for port in [daemon.tcp, daemon.http] {
            assert!(is_closed(connect_from(ONE, port), sent), "{sent:?}");
        }
    }
    let mut client = http(TWO, &daemon);
    for port in ["http", "tcp"] {
        let labels = format!("{{port=\"{port}\",reason=\"proxy_header\"}}");
        let name = format!("musterd_connections_rejected_total{labels}");
        assert_eq!(figure(&mut client, &name), wrong.len() as u64);
    }
    // One is open, that of the question.
    assert_eq!(figure(&mut client, "musterd_connections{port=\"http\"}"), 1);
    assert_eq!(figure(&mut client, "musterd_connections{port=\"tcp\"}"), 0);
}
