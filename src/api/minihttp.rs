//! The second engine: the same API behind may_minihttp, with what can be repaired from outside.
//!
//! A benchmark baseline for the builtin engine, not for a public port. Repaired: bodies are read
//! before the answer, so that none is taken for a request; a bad `Content-Length` is refused before
//! it panics; encoded bodies, bad hosts and unknown expectations are refused; a connection that
//! ends is shut down; what follows on it changes nothing. Beyond repair, since the engine owns the
//! socket:
//!
//! - it drops the connection without an answer for a malformed head, more than 16 fields, or a
//!   version other than 1.0 and 1.1, and answers HTTP/1.0 as 1.1;
//! - nothing ever times out, heads and queued answers are not bounded, half-closing gets no answer;
//! - `200 Ok`, a `Server` field and its own order of fields; no dynamic fields, so that a request
//!   that would be sent elsewhere is answered as if it had gone there; a HEAD has length 0;
//! - no `100 Continue`: the request is answered without its body, and is the connection's last;
//! - an answer that ends its connection and does not fit the socket's buffer may be cut off;
//! - accepting cannot be stopped but by ending the process, and burns a core without descriptors.
//!
//! Must not: return `Err` to the engine, which would answer 500 in its own words and go on. Runs on
//! may's workers, a coroutine per connection.

use std::borrow::Cow;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::RawFd;

use may_minihttp::{HttpService, HttpServiceFactory, Request};
use rustix::net::{Shutdown, getpeername, shutdown};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

use super::response::{HTML, JSON, NSQ, TEXT};
use super::routes::Routed;
use super::service::ApiService;
use crate::clock::Clock;
use crate::http1::request::{Fields, RequestLine};
use crate::http1::{
    self, CLOSE, Expect, PendingRequest, RequestError, RequestHead, Route, Service, Target, reason,
};
use crate::limits;
use crate::listener::canonical;
use crate::metrics::Format;

/// Serves `service` on `address` until the process ends, on as many of may's threads as are
/// configured.
///
/// # Errors
/// When the address cannot be listened on, or the system refuses what closing a connection takes
/// (`pidfd_getfd`, which some containers' seccomp profiles do).
pub fn start(service: ApiService, clock: Clock, address: impl ToSocketAddrs) -> io::Result<()> {
    // Any socket will do to try it.
    let probe = std::net::UdpSocket::bind(("127.0.0.1", 0))?;
    duplicate(std::os::fd::AsRawFd::as_raw_fd(&probe))?;
    drop(Factory { service, clock }.start(address)?);
    Ok(())
}

/// A second descriptor of this process's descriptor `number`.
fn duplicate(number: RawFd) -> io::Result<std::os::fd::OwnedFd> {
    let own = pidfd_open(getpid(), PidfdFlags::empty())?;
    Ok(pidfd_getfd(own, number, PidfdGetfdFlags::empty())?)
}

/// The peer of this process's descriptor `number`, while it is connected.
fn peer(number: RawFd) -> Option<SocketAddr> {
    getpeername(duplicate(number).ok()?).ok()??.try_into().ok().map(canonical)
}

/// Stands for a peer that has disconnected already, or whose socket could not be asked: no list of
/// addresses has it.
const UNKNOWN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

struct Factory {
    service: ApiService,
    clock: Clock,
}

impl HttpServiceFactory for Factory {
    type Service = MinihttpConnection;

    fn new_service(&self, id: usize) -> MinihttpConnection {
        let socket = RawFd::try_from(id).expect("the engine gives a descriptor's number");
        MinihttpConnection {
            service: self.service.clone(),
            clock: self.clock.clone(),
            peer: peer(socket).unwrap_or(UNKNOWN),
            socket,
            is_over: false,
            output: Vec::new(),
        }
    }
}

/// One connection. The engine's coroutine owns the socket for longer than this lives.
struct MinihttpConnection {
    service: ApiService,
    clock: Clock,
    peer: SocketAddr,
    socket: RawFd,
    /// The last request was answered: whatever follows is refused.
    is_over: bool,
    /// The response as `http1` writes it, before the engine gets its parts.
    output: Vec<u8>,
}

/// Every field that does not depend on a request: the engine takes no others.
const FIELDS: [&str; 11] = [
    JSON,
    NSQ,
    HTML,
    TEXT,
    CLOSE,
    "Connection: keep-alive",
    "Allow: GET, OPTIONS",
    "Allow: OPTIONS, POST",
    "Allow: GET, OPTIONS, POST",
    Format::Text.content_type(),
    Format::OpenMetrics.content_type(),
];

/// The head of a request that the engine has parsed, judged as `http1` judges its own.
fn judge<'a>(request: &'a Request<'_, '_, '_>) -> Result<RequestHead<'a>, RequestError> {
    let (method, raw) = (request.method().as_bytes(), request.path().as_bytes());
    if raw.len() > limits::HTTP_URI {
        return Err(RequestError::UriTooLong);
    }
    let target = Target::parse(method, raw).ok_or(RequestError::BAD_REQUEST)?;
    let mut fields = Fields::default();
    request.headers().iter().for_each(|header| fields.add(header.name.as_bytes(), header.value));
    let line = RequestLine { method, target, major: 1, minor: request.version() };
    let mut head = fields.judge(line, 0)?;
    head.persistent &= head.expect == Expect::Nothing;
    Ok(head)
}

impl HttpService for MinihttpConnection {
    fn call(
        &mut self,
        request: Request<'_, '_, '_>,
        response: &mut may_minihttp::Response<'_>,
    ) -> io::Result<()> {
        self.output.clear();
        let answered =
            if self.is_over { Err(RequestError::BAD_REQUEST) } else { self.answer(request) };
        let (status, persistent) = answered.unwrap_or_else(|error| {
            error.write(&mut self.output);
            if !self.is_over {
                self.service.refused(self.peer, self.clock.now(), error, &[]);
            }
            (error.status(), false)
        });
        let body_at = memchr::memmem::find(&self.output, b"\r\n\r\n").expect("the head's end");
        let (head, body) = (&self.output[..body_at], &self.output[body_at + 4..]);
        response.status_code(status.into(), reason(status));
        let mut says_close = false;
        for line in head.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii_end) {
            if let Some(field) = FIELDS.iter().find(|field| field.as_bytes() == line) {
                response.header(field);
                says_close |= *field == CLOSE;
            }
        }
        response.body_mut().extend_from_slice(body);
        // `http1` sends no field for what is the default of HTTP/1.0; the engine answers all
        // requests as HTTP/1.1.
        if !persistent && !says_close {
            response.header(CLOSE);
        }
        if !persistent {
            self.hang_up();
        }
        Ok(())
    }
}

impl MinihttpConnection {
    /// Answers a request: the status, and whether the connection goes on.
    fn answer(&mut self, request: Request<'_, '_, '_>) -> Result<(u16, bool), RequestError> {
        let head = judge(&request)?;
        let length = head.body.remaining().ok_or(RequestError::UnsupportedTransferEncoding)?;
        let (expect, mut route) = (head.expect, Routed::find(head.method, &head.target.path));
        // Reading the body takes the engine's buffer, from which the head is borrowed.
        let pending = PendingRequest::new(&head, route);
        let body_is_broken = expect == Expect::Nothing && !discard(length, request);
        let mut head = pending.head();
        (head.expect, head.persistent) = (expect, head.persistent && !body_is_broken);
        if let Routed::Moved(path) = route {
            head.target.path = Cow::Borrowed(path.as_bytes());
            route = Routed::find(head.method, &head.target.path);
        }
        let request = http1::Request { peer: self.peer, head: &head, route, body_is_broken };
        let now = self.clock.now();
        let status = http1::answer(&request, now, &mut self.output, &mut self.service);
        Ok((status, head.persistent))
    }

    /// Lets the engine find the end of the input once it has written what it has.
    fn hang_up(&mut self) {
        self.is_over = true;
        // The peer may have reset it; then the engine finds out by itself.
        if let Ok(socket) = duplicate(self.socket) {
            let _ = shutdown(socket, Shutdown::Read);
        }
    }
}

/// Reads the body to its end; whether it came.
fn discard(length: u64, request: Request<'_, '_, '_>) -> bool {
    length == 0 || io::copy(&mut request.body().take(length), &mut io::sink()).ok() == Some(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::RequestDurations;
    use crate::api::tests::server::{api, no_output};
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    fn serve() -> SocketAddr {
        // The engine does not return the port it got: it is given one that was free, of an address that
        // no other test uses.
        let free = TcpListener::bind("127.0.0.9:0").and_then(|listener| listener.local_addr());
        let address = free.expect("a free port");
        let clock = Clock::system();
        let service =
            ApiService::new(api(), None, RequestDurations::default(), no_output(), clock.clone());
        crate::hosts::may::configure(2);
        start(service, clock, address).expect("it starts");
        address
    }

    /// Sends `request` and reads to the end of the connection, which it must bring about.
    fn check(address: SocketAddr, request: &str, want: &[&str]) {
        let mut stream = TcpStream::connect(address).expect("it accepts");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut got = String::new();
        stream.read_to_string(&mut got).expect("it closes");
        let version = "HTTP/1.1 ";
        let statuses = got.match_indices(version).map(|(at, _)| &got[at + version.len()..][..3]);
        let statuses: Vec<&str> = statuses.collect();
        assert_eq!(statuses, want, "{request:?}: {got}");
    }

    #[test]
    fn requests_that_the_engine_would_misread_are_answered_safely() {
        let address = serve();
        let last = "GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        check(address, last, &["200"]);
        check(address, "GET /PING HTTP/1.0\r\n\r\n", &["200"]);
        let post = "POST /topic/create?topic=t HTTP/1.1\r\nHost: x\r\n";
        let with = |fields: &str| format!("{post}{fields}{last}");
        check(address, &with("\r\n"), &["200", "200"]);
        check(address, &with("Content-Length: 3\r\n\r\nabc"), &["200", "200"]);
        // What follows is in the engine's hands already: it is answered, and changes nothing.
        check(address, &with("Content-Length: x\r\n\r\n"), &["400", "400"]);
        check(address, &with("Content-Length: 1048577\r\n\r\n"), &["413", "400"]);
        check(address, &with("Transfer-Encoding: chunked\r\n\r\n"), &["501", "400"]);
        check(address, &with("Expect: x\r\n\r\n"), &["417", "400"]);
        check(address, "GET /ping HTTP/1.1\r\n\r\n", &["400"]);
    }
}
