//! The second engine: the same routes behind may_minihttp, with what can be repaired from outside.
//!
//! A yardstick for the first engine, not for a public port. Repaired: bodies are read before the
//! answer, so that none is taken for a request; a bad `Content-Length` is refused before it panics;
//! encoded bodies, bad hosts and unknown expectations are refused; a connection that ends is shut
//! down; what follows on it changes nothing. Beyond repair, since the engine owns the socket:
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
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::RawFd;

use may_minihttp::{HttpService, HttpServiceFactory, Request};
use rustix::net::{Shutdown, getpeername, shutdown};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

use super::body::{Body, Framing};
use super::request::{self, Expect};
use super::response::{self, CLOSE, Head, Refusal, Respond};
use super::router::{Routed, route};
use super::target::Target;
use super::turn::App;
use super::{Call, NOBODY, routes};
use crate::clock::Clock;

/// Serves `app` on `address` by `workers` of may's workers until the process ends.
///
/// # Errors
/// When the address cannot be listened on, or the system refuses what closing a connection takes
/// (`pidfd_getfd`, which some containers' seccomp profiles do).
pub fn start<A>(app: A, clock: Clock, address: impl ToSocketAddrs, workers: usize) -> io::Result<()>
where
    A: App + Clone + Send + Sync + 'static,
{
    super::server::configure(workers);
    // Any socket will do to try it.
    let probe = std::net::UdpSocket::bind(("127.0.0.1", 0))?;
    duplicate(std::os::fd::AsRawFd::as_raw_fd(&probe))?;
    drop(Factory { app, clock }.start(address)?);
    Ok(())
}

/// A second descriptor of this process's descriptor `number`.
fn duplicate(number: RawFd) -> io::Result<std::os::fd::OwnedFd> {
    let own = pidfd_open(getpid(), PidfdFlags::empty())?;
    Ok(pidfd_getfd(own, number, PidfdGetfdFlags::empty())?)
}

/// Who is at the other end of this process's descriptor `number`, while somebody is.
fn peer(number: RawFd) -> Option<SocketAddr> {
    getpeername(duplicate(number).ok()?).ok()??.try_into().ok()
}

struct Factory<A> {
    app: A,
    clock: Clock,
}

impl<A: App + Clone + Send + Sync + 'static> HttpServiceFactory for Factory<A> {
    type Service = Conversation<A>;

    fn new_service(&self, id: usize) -> Conversation<A> {
        let socket = RawFd::try_from(id).expect("the engine gives a descriptor's number");
        let mut app = self.app.clone();
        // It has gone, or there is no descriptor to ask with: then no list of addresses allows it.
        app.meet(peer(socket).unwrap_or(NOBODY));
        Conversation { app, clock: self.clock.clone(), socket, over: false }
    }
}

/// One connection. The engine's coroutine owns the socket for longer than this lives.
struct Conversation<A> {
    app: A,
    clock: Clock,
    socket: RawFd,
    /// The last request was answered: whatever follows is refused.
    over: bool,
}

/// An answer as the engine wants it.
#[derive(Default)]
struct Answer {
    status: u16,
    fields: Vec<&'static str>,
    body: Vec<u8>,
}

/// Every field that does not depend on a request: the engine takes no others.
const FIELDS: [&str; 8] = [
    routes::JSON,
    routes::NSQ,
    routes::HTML,
    routes::TEXT,
    CLOSE,
    "Allow: GET, OPTIONS",
    "Allow: OPTIONS, POST",
    "Allow: GET, OPTIONS, POST",
];

impl Respond for Answer {
    fn start(&mut self, head: Head<'_>) -> &mut Vec<u8> {
        self.status = head.status;
        let given = head.fields.iter().chain(&head.sniffed);
        self.fields = given.filter_map(|&field| FIELDS.into_iter().find(|&f| f == field)).collect();
        &mut self.body
    }
}

/// A request, taken out of the engine's buffer, which its body will need.
struct Asked {
    method: Vec<u8>,
    target: Vec<u8>,
    is_http11: bool,
    persistent: bool,
    expect: Expect,
    authorization: Option<Vec<u8>>,
    length: u64,
}

impl Asked {
    fn of(request: &Request<'_, '_, '_>) -> Result<Self, Refusal> {
        let (method, target) = (request.method().as_bytes(), request.path().as_bytes());
        let head = request::assemble(method, target, request.version(), request.headers())?;
        let Framing::Length(length) = head.framing else {
            return Err(Refusal::UnsupportedTransferEncoding);
        };
        Body::new(head.framing).map_err(|_| Refusal::BodyTooLarge)?;
        Ok(Self {
            method: method.to_vec(),
            target: target.to_vec(),
            is_http11: head.is_http11,
            persistent: head.persistent && head.expect == Expect::Nothing,
            expect: head.expect,
            authorization: head.authorization.map(Into::into),
            length,
        })
    }
}

impl<A: App> HttpService for Conversation<A> {
    fn call(
        &mut self,
        request: Request<'_, '_, '_>,
        response: &mut may_minihttp::Response<'_>,
    ) -> io::Result<()> {
        let asked = if self.over { Err(Refusal::BAD_REQUEST) } else { Asked::of(&request) };
        let (answer, persistent) = match asked {
            Ok(asked) => self.answer(&asked, request),
            Err(refusal) => (self.refuse(refusal), false),
        };
        response.status_code(answer.status.into(), response::reason(answer.status));
        for field in answer.fields {
            response.header(field);
        }
        response.body_vec(answer.body);
        if !persistent {
            self.hang_up();
        }
        Ok(())
    }
}

impl<A: App> Conversation<A> {
    /// The answer, and whether the connection goes on.
    fn answer(&mut self, asked: &Asked, request: Request<'_, '_, '_>) -> (Answer, bool) {
        let mut target = Target::parse(&asked.method, &asked.target).expect("parsed before");
        if let Routed::Moved(path) = route(&asked.method, &target.path) {
            target.path = Cow::Borrowed(path.as_bytes());
        }
        let authorization = asked.authorization.as_deref();
        let call = Call { method: &asked.method, target: &target, authorization };
        let mut answer = Answer::default();
        let mut persistent = asked.persistent;
        match asked.expect {
            Expect::Unknown => {
                let fields = &[CLOSE];
                answer.start(Head { status: 417, fields, sniffed: None, expected: 0 });
            }
            Expect::Nothing if !discard(asked.length, request) => {
                persistent = false;
                routes::invalid_request(&mut answer);
            }
            Expect::Nothing | Expect::Continue => {
                self.app.answer(&call, self.clock.now(), &mut answer);
            }
        }
        self.app.answered(&call, answer.status);
        match (persistent, asked.is_http11) {
            (false, _) if !answer.fields.contains(&CLOSE) => answer.fields.push(CLOSE),
            (true, false) => answer.fields.push("Connection: keep-alive"),
            _ => {}
        }
        if asked.method == b"HEAD" {
            answer.body.clear();
        }
        (answer, persistent)
    }

    fn refuse(&mut self, refusal: Refusal) -> Answer {
        if !self.over {
            self.app.refused(refusal);
        }
        let fields = vec![routes::TEXT, CLOSE];
        Answer { status: refusal.status(), fields, body: refusal.body().into_bytes() }
    }

    /// Lets the engine find the end of the input once it has written what it has.
    fn hang_up(&mut self) {
        self.over = true;
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
    use crate::http::tests::host::Daemon;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    fn serve() -> SocketAddr {
        // The engine does not tell which port it got: it is given one that was free.
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = free.expect("a free port");
        start(Daemon::new(), Clock::system(), address, 2).expect("it starts");
        address
    }

    /// Sends `request` and reads to the end of the connection, which it must bring about.
    fn check(address: SocketAddr, request: &str, want: &[&str]) {
        let mut stream = TcpStream::connect(address).expect("it accepts");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut got = String::new();
        stream.read_to_string(&mut got).expect("it closes");
        let version = "HTTP/1.1 ";
        let statuses = got.match_indices(version).map(|(at, _)| &got[at + version.len()..][..3]);
        let statuses: Vec<&str> = statuses.collect();
        assert_eq!(statuses, want, "{request:?}: {got}");
    }

    #[test]
    fn what_can_be_repaired_is() {
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
