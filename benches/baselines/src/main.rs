//! `baselines KIND ADDRESS [BODY_BYTES]`: a server that does nothing but I/O, the least that a lookupd
//! can cost.
//!
//! `http-epoll` and `http-may` answer every request with a body of that many bytes; `tcp-epoll` and
//! `tcp-glommio` answer every line with a framed `OK`. Must not: parse more than it takes to count
//! requests; or be used for anything but benchmarks on the loopback.

mod epoll;
mod glommio_ok;
mod minihttp;

use std::process::ExitCode;

/// What a lookupd answers to a PING or REGISTER.
const OK: &[u8] = b"\0\0\0\x02OK";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [kind, address, rest @ ..] = words.as_slice() else { return usage() };
    let body = rest.first().and_then(|size| size.parse().ok()).unwrap_or(0);
    let served = match kind.as_str() {
        "http-epoll" => epoll::serve(address, b"\r\n\r\n", &response(body)),
        "tcp-epoll" => epoll::serve(address, b"\n", OK),
        "http-may" => minihttp::serve(address, body),
        "tcp-glommio" => glommio_ok::serve(address),
        _ => return usage(),
    };
    served.map_or_else(|error| fail(&error.to_string()), |()| ExitCode::SUCCESS)
}

/// A whole answer, with the headers of a lookupd's.
fn response(body: usize) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\n\
         X-Nsq-Content-Type: nsq; version=1.0\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
         Content-Length: {body}\r\n\r\n"
    );
    [head.into_bytes(), vec![b'x'; body]].concat()
}

fn usage() -> ExitCode {
    fail("usage: baselines http-epoll|http-may|tcp-epoll|tcp-glommio ADDRESS [BODY_BYTES]")
}

#[expect(clippy::print_stderr, reason = "a tool for the terminal")]
fn fail(message: &str) -> ExitCode {
    eprintln!("baselines: {message}");
    ExitCode::from(2)
}
