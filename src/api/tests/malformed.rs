//! Requests that are odd, broken, oversized or meant to be taken for two: each is answered as
//! Go's server answers it, or more strictly, and nothing behind a refused one is ever read as a
//! request.

use super::server::{HttpClient, START, Server};
use crate::clock::Timestamp;
use crate::limits;

/// A second request, which only a connection that goes on answers.
const NEXT: &[u8] = b"GET /info HTTP/1.1\r\nHost: next\r\n\r\n";

/// Sends `request` and then [`NEXT`], whole and byte by byte. `want` is what the statuses of the
/// answers are: one, and 200 for [`NEXT`] if the connection goes on.
fn check(request: &[u8], want: &[u16]) {
    let shown = String::from_utf8_lossy(&request[..request.len().min(200)]).into_owned();
    for whole in [true, false] {
        let (mut server, mut client) = (Server::new(), HttpClient::new());
        let sent = [request, NEXT].concat();
        if whole {
            client.send(&mut server, &sent);
        } else {
            sent.iter().for_each(|byte| client.send(&mut server, &[*byte]));
        }
        let output = String::from_utf8_lossy(&client.output);
        assert_eq!(server.statuses, want, "{shown:?}, whole: {whole}, {output}");
        let goes_on = want.len() == 2 && want[1] == 200;
        assert_eq!(client.closed, !goes_on, "{shown:?}, whole: {whole}: closed");
        let answered = output.contains(r#"{"version":"#);
        assert_eq!(answered, goes_on, "{shown:?}, whole: {whole}, {output}");
    }
}

/// `request` is refused in Go's words, and the connection closes.
fn refused(request: &[u8], line: &str) {
    let status = line[..3].parse().expect("a status");
    check(request, &[status]);
    let (mut server, mut client) = (Server::new(), HttpClient::new());
    client.send(&mut server, request);
    let body = if status == 501 { "Unsupported transfer encoding" } else { line };
    let want = format!(
        "HTTP/1.1 {line}\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n{body}"
    );
    assert_eq!(String::from_utf8_lossy(&client.output), want);
}

fn get(fields: &str) -> Vec<u8> {
    format!("GET /ping HTTP/1.1\r\nHost: x\r\n{fields}\r\n").into_bytes()
}

fn post(fields: &str, body: &str) -> Vec<u8> {
    let head = "POST /topic/create?topic=t HTTP/1.1\r\nHost: x\r\n";
    format!("{head}{fields}\r\n{body}").into_bytes()
}

#[test]
fn malformed_request_lines_are_refused() {
    let refusals: &[&[u8]] = &[
        b"GET /ping\r\n",
        b"GET  /ping HTTP/1.1\r\n",
        b"GET /ping HTTP/1.1 \r\n",
        b" GET /ping HTTP/1.1\r\n",
        b"GET /ping http/1.1\r\n",
        b"GET /ping HTTP/1.10\r\n",
        b"GET /ping HTTP/+1.1\r\n",
        b"GET /ping HTTP/1,1\r\n",
        b"G@T /ping HTTP/1.1\r\n",
        b"G\xc3\x89T /ping HTTP/1.1\r\n",
        b"GET ping HTTP/1.1\r\n",
        b"GET /a%zz HTTP/1.1\r\n",
        b"GET /a\0 HTTP/1.1\r\n",
        b"GET /ping HTTP/1.1\r\r\n",
        b"\r\n",
        b"\n",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\n",
    ];
    for line in refusals {
        // A client that sends no HTTP gets its 400 at the end of the first line.
        refused(line, "400 Bad Request");
    }
    let unsupported = "505 HTTP Version Not Supported: unsupported protocol version";
    refused(b"GET /ping HTTP/0.9\r\nHost: x\r\n\r\n", unsupported);
    refused(b"GET /ping HTTP/2.0\r\nHost: x\r\n\r\n", unsupported);
    check(b"PRI * HTTP/2.0\r\n\r\n", &[405]);
    check(b"PRI * HTTP/2.0\nHost: x\n\n", &[405, 200]);
    refused(b"PRI * HTTP/2.0\nX:\n\n", "400 Bad Request: missing required Host header");
    check(b"GET /ping HTTP/1.9\r\nHost: x\r\n\r\n", &[200, 200]);
    check(b"CONNECT x:80 HTTP/1.1\r\n\r\n", &[404, 200]);
    check(b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", &[200, 200]);
}

#[test]
fn bad_hosts_are_refused() {
    let missing = "400 Bad Request: missing required Host header";
    refused(b"GET /ping HTTP/1.1\r\n\r\n", missing);
    refused(b"GET http://x/ping HTTP/1.1\r\nX: y\r\n\r\n", missing);
    refused(&get("Host: x\r\n"), "400 Bad Request");
    let malformed = "400 Bad Request: malformed Host header";
    refused(b"GET /ping HTTP/1.1\r\nHost: a/b\r\n\r\n", malformed);
    refused(b"GET /ping HTTP/1.0\r\nHost: a b\r\n\r\n", malformed);
    check(b"GET /ping HTTP/1.1\r\nHost:\r\n\r\n", &[200, 200]);
    check(b"GET /ping HTTP/1.1\r\nhOsT:x\r\n\r\n", &[200, 200]);
}

#[test]
fn malformed_fields_are_refused() {
    let name = "400 Bad Request: invalid header name";
    for spaced in ["X : y\r\n", "X Y: z\r\n", "Transfer-Encoding : chunked\r\n"] {
        refused(&get(spaced), name);
    }
    let refusals = [
        "X\r\n",
        ": y\r\n",
        "X\0: y\r\n",
        "X: \0\r\n",
        "X: a\rb\r\n",
        "X: y\r\n folded\r\n",
        "X: y\r\n\tfolded\r\n",
        " X: y\r\n",
        "X\t: y\r\n",
        "X: \x7f\r\n",
        "\u{e9}: y\r\n",
        "X : \0\r\n",
        "X : y\r\nbroken\r\n",
    ];
    for field in refusals {
        refused(&get(field), "400 Bad Request");
    }
    for field in ["X:\r\n", "X: \t y \t\r\n", "X: \u{e9}\r\n", "X: y\n", "!#$%&'*+-.^_`|~: y\r\n"] {
        check(&get(field), &[200, 200]);
    }
}

#[test]
fn ambiguous_bodies_are_refused() {
    let refusals = [
        "Content-Length: 3\r\nContent-Length: 4\r\n",
        "Content-Length: 3, 3\r\n",
        "Content-Length: +3\r\n",
        "Content-Length: 0x3\r\n",
        "Content-Length: \r\n",
        "Content-Length: 9223372036854775808\r\n",
        "Content-Length: x\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTrailer: Content-Length\r\n",
    ];
    for fields in refusals {
        refused(&post(fields, ""), "400 Bad Request");
    }
    let encodings = [
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: \r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Content-Length: 3\r\nTransfer-Encoding: chunked, identity\r\n",
    ];
    for fields in encodings {
        refused(&post(fields, "abc"), "501 Not Implemented");
    }
    check(&post("Content-Length: 3\r\nContent-Length: 3\r\n", "abc"), &[200, 200]);
    check(&post("Transfer-Encoding: CHUNKED\r\n", "3\r\nabc\r\n0\r\nX: y\r\n\r\n"), &[200, 200]);
    // Answered, but the last: another server may see another end of it.
    for length in ["0", "3", "5", "99"] {
        let (length, encoding) =
            (format!("Content-Length: {length}\r\n"), "Transfer-Encoding: chunked\r\n");
        for fields in [[&length, encoding].concat(), [encoding, &length].concat()] {
            check(&post(&fields, "0\r\n\r\n"), &[200]);
            check(&get(&fields), &[200]);
        }
    }
    check(&post("Transfer-Encoding: chunked\r\n", "3\nabc\r\n0\r\n\r\n"), &[400]);
    check(&post("Transfer-Encoding: chunked\r\n", "zz\r\n"), &[400]);
    check(&post("Transfer-Encoding: chunked\r\n", "3\r\nabcGET / HTTP/1.1\r\n"), &[400]);
    // A route that looks at no body answers all the same, but is the last.
    check(&get("Transfer-Encoding: chunked\r\n"), &[200]);
    // HTTP/1.0 knows no encodings: whatever follows is not read as a request.
    let old = b"POST /topic/create?topic=t HTTP/1.0\r\nConnection: keep-alive\r\n\
                Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    check(old, &[200]);
}

#[test]
fn a_broken_body_changes_nothing() {
    let (mut server, mut client) = (Server::new(), HttpClient::new());
    client.send(&mut server, &post("Transfer-Encoding: chunked\r\n", "zz\r\n"));
    let mut half = HttpClient::new();
    half.send(&mut server, &post("Content-Length: 3\r\n", "ab"));
    assert_eq!(String::from_utf8_lossy(&half.output), "", "the body is not all there");
    half.end(&mut server);
    for output in [&client.output, &half.output] {
        let output = String::from_utf8_lossy(output);
        assert!(
            output.ends_with("Connection: close\r\n\r\n{\"message\":\"INVALID_REQUEST\"}"),
            "{output}"
        );
    }
    assert!(!server.api.registry.snapshots().topic("t", |topic| topic.is_some()));
}

#[test]
fn connections_stay_open_or_close_as_go_does() {
    let old = |fields: &str| format!("GET /ping HTTP/1.0\r\n{fields}\r\n").into_bytes();
    check(&old(""), &[200]);
    check(&old("Connection: Keep-Alive\r\n"), &[200, 200]);
    check(&old("Connection: te, keep-alive\r\n"), &[200, 200]);
    check(&get("Connection: keep-alive\r\n"), &[200, 200]);
    check(&get("Connection: x , CLOSE\r\n"), &[200]);
    check(&get("Connection: x\r\nConnection: close\r\n"), &[200]);
    check(&get("Connection: closed\r\n"), &[200, 200]);
    // Line ends behind a POST's body, which old browsers sent.
    check(&post("Content-Length: 2\r\n", "ab\r\n\r\n"), &[200, 200]);
    check(&post("Content-Length: 2\r\n", "ab\r\n\r\n\r\n"), &[200, 400]);
    check(&[&get(""), &b"\r\n"[..]].concat(), &[200, 400]);
}

/// Sends `request` and `rest`, whole and byte by byte, and closes: the statuses that come back.
fn leaves(request: &[u8], rest: &str, want: &[u16]) {
    let bytes = [request, rest.as_bytes()].concat();
    for piece in [bytes.len(), 1] {
        let (mut server, mut client) = (Server::new(), HttpClient::new());
        bytes.chunks(piece).for_each(|piece| client.send(&mut server, piece));
        client.end(&mut server);
        assert_eq!(server.statuses, want, "{:?}", String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn client_that_leaves_with_less_than_four_bytes_more_gets_no_second_answer() {
    let (get, post) = (get(""), post("Content-Length: 2\r\n", "ab"));
    for request in [&get, &post] {
        for rest in ["", "\n", "G", "\r\n", "GE", "\r\n\r", "GET", "\0\0\0"] {
            leaves(request, rest, &[200]);
        }
        for rest in ["GET ", "GET /", "\0\0\0\0", "\n\nGE", " \r\n\r"] {
            leaves(request, rest, &[200, 400]);
        }
    }
    leaves(&get, "\r\n\r\n", &[200, 400]);
    for (rest, want) in
        [("\r\n\r\n", &[200][..]), ("\n\n\n\n\n", &[200, 400]), ("\r\nGET", &[200, 400])]
    {
        leaves(&post, rest, want);
    }
    // Nothing was answered before.
    leaves(b"", "G", &[400]);
    leaves(b"", "\r\n", &[400]);
}

#[test]
fn expectations_are_answered_before_the_body() {
    let body = "Content-Length: 2\r\n";
    let expecting = |expected: &str| format!("Expect: {expected}\r\n{body}");
    let (mut server, mut client) = (Server::new(), HttpClient::new());
    client.send(&mut server, &post(&expecting("100-Continue"), ""));
    assert_eq!(String::from_utf8_lossy(&client.output), "HTTP/1.1 100 Continue\r\n\r\n");
    client.send(&mut server, b"ab");
    client.send(&mut server, NEXT);
    assert_eq!(server.statuses, [200, 200]);
    check(&post(&expecting("x"), "ab"), &[417]);
    check(&post(&expecting(""), "ab"), &[200, 200]);
    check(&post("Expect: 100-continue\r\n", ""), &[200, 200]);
    // Routes that read no body answer at once; nobody knows whether what follows is the body.
    check(&get(&expecting("100-continue")), &[200]);
    let wrong = b"POST /topic/create?topic=%zz HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    check(wrong, &[400]);
}

#[test]
fn requests_over_a_limit_are_refused() {
    let target = |length: usize| {
        format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(length - 1)).into_bytes()
    };
    check(&target(limits::HTTP_URI), &[404, 200]);
    refused(&target(limits::HTTP_URI + 1), "414 Request URI Too Long");
    // Before the line has ended, too.
    refused(&[b"GET /", &b"a".repeat(limits::HTTP_URI)[..]].concat(), "414 Request URI Too Long");
    let large = "431 Request Header Fields Too Large";
    refused(&b"G".repeat(limits::HTTP_HEAD), large);
    let padded = |length: usize| {
        let (head, tail) = ("GET /ping HTTP/1.1\r\nHost: x\r\nX: ", "\r\n\r\n");
        [head, &"a".repeat(length - head.len() - tail.len()), tail].concat().into_bytes()
    };
    check(&padded(limits::HTTP_HEAD), &[200, 200]);
    refused(&padded(limits::HTTP_HEAD + 1), large);
    check(&get(&"X: y\r\n".repeat(limits::HTTP_HEADERS - 1)), &[200, 200]);
    refused(&get(&"X: y\r\n".repeat(limits::HTTP_HEADERS)), large);
    let too_large = "413 Request Entity Too Large";
    refused(&post(&format!("Content-Length: {}\r\n", limits::HTTP_BODY + 1), ""), too_large);
    refused(&post("Transfer-Encoding: chunked\r\n", "100001\r\n"), too_large);
    let full = "a".repeat(limits::HTTP_BODY);
    let (mut server, mut client) = (Server::new(), HttpClient::new());
    client.send(&mut server, &post(&format!("Content-Length: {}\r\n", full.len()), &full));
    assert_eq!(server.statuses, [200]);
}

/// The client sends `bytes` and then nothing: the status line that it gets at `deadline`.
fn silence(bytes: &[u8], deadline: Timestamp, want: &str) {
    let (mut server, mut client) = (Server::new(), HttpClient::new());
    server.now = START + limits::HTTP_REQUEST / 2;
    client.send(&mut server, bytes);
    assert_eq!(client.connection.deadline(), deadline, "{:?}", String::from_utf8_lossy(bytes));
    // A drip is no progress.
    server.now = deadline;
    let mut output = Vec::new();
    client.connection.on_timeout(&mut output, &mut server);
    let line = String::from_utf8_lossy(&output);
    assert_eq!(
        line.lines().next().unwrap_or_default(),
        want,
        "{:?}",
        String::from_utf8_lossy(bytes)
    );
}

#[test]
fn each_phase_of_a_request_has_a_deadline() {
    let timeout = "HTTP/1.1 408 Request Timeout";
    let begun = START + limits::HTTP_REQUEST / 2;
    silence(b"", START + limits::HTTP_REQUEST, "");
    silence(b"G", begun + limits::HTTP_REQUEST, timeout);
    silence(&get("")[..30], begun + limits::HTTP_REQUEST, timeout);
    silence(&post("Content-Length: 3\r\n", "ab"), begun + limits::HTTP_REQUEST, timeout);
    silence(&get(""), begun + limits::HTTP_IDLE, "");
    silence(&[&get(""), &b"GET"[..]].concat(), begun + limits::HTTP_IDLE, "");
    silence(&[&get(""), &b"GET "[..]].concat(), begun + limits::HTTP_REQUEST, timeout);
}

#[test]
fn last_response_before_the_end_says_so() {
    let (ping, post) = (get(""), post("Content-Length: 3\r\n", "abc"));
    for (bytes, answers) in [(&ping, 1), (&post, 1), (&[&ping[..], &post, &ping].concat(), 3)] {
        let (mut server, mut client) = (Server::new(), HttpClient::new());
        client.send(&mut server, &ping);
        assert!(!client.closed);
        client.output.clear();
        server.is_stopping = true;
        client.send(&mut server, bytes);
        let output = String::from_utf8_lossy(&client.output);
        assert!(client.closed, "{output}");
        assert_eq!(output.matches("HTTP/1.1 200 OK\r\n").count(), answers, "{output}");
        assert_eq!(output.matches("\r\nConnection: close\r\n").count(), 1, "{output}");
        let (_, last) = output.rsplit_once("HTTP/1.1 ").expect("an answer");
        assert!(last.contains("Connection: close"), "{output}");
    }
}

#[test]
fn single_bytes_do_not_move_the_deadline() {
    for request in [get("X: y\r\n"), post("Content-Length: 9\r\n", "abcdefghi")] {
        let (mut server, mut client) = (Server::new(), HttpClient::new());
        let mut deadlines = Vec::new();
        for (second, byte) in (1..).zip(&request) {
            server.now = START + limits::HTTP_REQUEST * second / 1000;
            client.send(&mut server, &[*byte]);
            deadlines.push(client.connection.deadline());
        }
        deadlines.dedup();
        // The head's, the body's if there is one, the idle connection's.
        assert!(deadlines.len() <= 3, "{deadlines:?}");
    }
}
