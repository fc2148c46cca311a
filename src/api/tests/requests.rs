//! Single requests that nsqlookupd answers otherwise.

use super::server::{HttpClient, START, Server};
use crate::api::routes::ROUTES;
use crate::protocol::peer_info::PeerInfo;
use crate::registry::PendingChanges;

/// The head and the body of the only response to `METHOD TARGET`.
fn response(server: &mut Server, method: &str, target: &str) -> (String, String) {
    let mut client = HttpClient::new();
    client.send(server, format!("{method} {target} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
    assert!(!client.closed, "{method} {target}");
    let text = String::from_utf8(client.output).expect("text");
    let (head, body) = text.split_once("\r\n\r\n").expect("a whole head");
    (head.to_owned(), body.to_owned())
}

#[test]
fn head_is_answered_as_get_without_a_body() {
    let mut server = Server::new();
    let mut nsqd = server.join("a", "10.0.0.1:1");
    server.register(&mut nsqd, "t", Some("c"));
    let gets = ROUTES.iter().filter(|route| route.method == b"GET").map(|route| route.path);
    let others = ["/lookup?topic=t", "/channels?topic=t", "/lookup?topic=no", "/nope", "/PING/"];
    for target in gets.chain(others) {
        let (head, body) = response(&mut server, "GET", target);
        assert!(head.contains(&format!("\r\nContent-Length: {}", body.len())), "{head}");
        assert_eq!(response(&mut server, "HEAD", target), (head, String::new()), "{target}");
    }
    let (head, body) = response(&mut server, "HEAD", "/topic/create?topic=new");
    assert!(head.starts_with("HTTP/1.1 405 Method Not Allowed\r\nAllow: OPTIONS, POST\r\n"));
    assert_eq!(body, "");
    let (head, _) = response(&mut server, "PUT", "/ping");
    assert!(head.starts_with("HTTP/1.1 405 Method Not Allowed\r\nAllow: GET, HEAD, OPTIONS\r\n"));
}

#[test]
fn tombstone_finds_an_nsqd_in_any_spelling() {
    for node in ["[::1]:4151", "::1:4151", "[0:0::1]:4151"] {
        let mut server = Server::new();
        let info = PeerInfo::sample("h", "::1");
        let mut changes = PendingChanges::default();
        let address = "[::1]:9".parse().expect("an address");
        let mut nsqd = server.api.registry.identify(&mut changes, address, info, START);
        server.api.registry.commit(&mut changes);
        server.register(&mut nsqd, "t", None);
        assert!(response(&mut server, "GET", "/lookup?topic=t").1.contains("\"::1\""));
        let target = format!("/topic/tombstone?topic=t&node={node}");
        assert!(response(&mut server, "POST", &target).0.starts_with("HTTP/1.1 200 OK\r\n"));
        let lookup = response(&mut server, "GET", "/lookup?topic=t").1;
        assert_eq!(lookup, "{\"channels\":[],\"producers\":[]}", "{node}");
    }
}
