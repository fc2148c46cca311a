//! One connection's HTTP/1 without sockets: bytes and `now` in, bytes and a flow out.
//!
//! Must not: name a socket or a runtime, or keep bytes of a request whose body is all there.
//! An incomplete head stays with the host, bounded by [`limits::HTTP_HEAD`]; a body is discarded as
//! it comes, and its request answered once all of it has: what Go's handlers make of it. A
//! connection belongs to one thread at a time.

use std::net::SocketAddr;

use super::body::{Body, Fault};
use super::request::{self, Expect, Head, Progress};
use super::response::{self, CLOSE, Date, Frame, Refusal, Respond, Response};
use super::target::Target;
use super::{Call, routes};
use crate::clock::Timestamp;
use crate::handler::{Handled, Input, Next};
use crate::limits;

/// What answers the requests.
pub trait App {
    /// The value of the `Date` header now.
    fn date(&mut self) -> Date;

    /// Answers one request, by one [`Respond::start`].
    fn answer(&mut self, call: &Call<'_>, now: Timestamp, response: &mut impl Respond);

    /// The requests that follow come from this peer. Only an engine with an app for each connection
    /// says so; a table's app is told by its [`ConnectionHandler`](crate::handler::ConnectionHandler).
    fn meet(&mut self, _peer: SocketAddr) {}

    /// A request was answered with `status`: to count and to log.
    fn answered(&mut self, call: &Call<'_>, status: u16);

    /// A request was refused before it was understood: to count and to log.
    fn refused(&mut self, refusal: Refusal);
}

/// What one connection remembers between turns.
#[derive(Debug)]
pub struct Connection {
    phase: Phase,
    /// When the peer's time for what it does now is over.
    deadline: Timestamp,
    progress: Progress,
    /// How many stray line ends may still follow the last request's body.
    strays: u8,
}

#[derive(Debug)]
enum Phase {
    /// No request has begun.
    Idle,
    /// A request's head has begun.
    Head,
    /// A request's body is on its way.
    Body(Box<Pending>),
}

/// A request that waits for the end of its body.
#[derive(Debug)]
struct Pending {
    body: Body,
    /// The method, then the target.
    line: Box<[u8]>,
    method: usize,
    authorization: Option<Box<[u8]>>,
    is_http11: bool,
    persistent: bool,
}

/// Line ends that may follow the body of a POST: old browsers sent them. Go tolerates as many.
const STRAYS: u8 = 4;

/// What a step came to.
enum Step {
    /// A piece of the input is dealt with; on with the rest.
    On(usize),
    /// This much is; the rest is not all there.
    Wait(usize),
    /// All is said.
    Close,
}

impl Connection {
    /// A connection that was accepted at `now`.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        let deadline = now + limits::HTTP_REQUEST;
        Self { phase: Phase::Idle, deadline, progress: Progress::default(), strays: 0 }
    }

    /// When the peer's time for what it does now is over; moved by [`turn`].
    #[must_use]
    pub fn deadline(&self) -> Timestamp {
        self.deadline
    }

    /// The deadline has passed: 408 if a request had begun. The host closes the connection.
    pub fn expired(&mut self, output: &mut Vec<u8>, app: &mut impl App) {
        if !matches!(self.phase, Phase::Idle) {
            refuse(Refusal::Timeout, output, app);
        }
    }
}

/// Deals with `input`, appending answers to `output`; see [`crate::handler::ConnectionHandler::on_input`].
pub fn turn(
    connection: &mut Connection,
    input: Input<'_>,
    now: Timestamp,
    output: &mut Vec<u8>,
    budget: usize,
    app: &mut impl App,
) -> Handled {
    let full = output.len().saturating_add(budget);
    let mut consumed = 0;
    loop {
        let rest = &input.bytes[consumed..];
        let mut dialogue = Dialogue { connection: &mut *connection, now, output, app };
        match dialogue.step(rest, input.end) {
            Step::On(taken) => consumed += taken,
            Step::Wait(taken) => {
                consumed += taken;
                let deadline = connection.deadline;
                let next = if input.end { Next::Close } else { Next::Read { deadline } };
                return Handled { consumed, next };
            }
            Step::Close => return Handled { consumed: input.bytes.len(), next: Next::Close },
        }
        if output.len() >= full && consumed < input.bytes.len() {
            return Handled { consumed, next: Next::Write };
        }
    }
}

fn refuse(refusal: Refusal, output: &mut Vec<u8>, app: &mut impl App) -> Step {
    refusal.write(output);
    app.refused(refusal);
    Step::Close
}

/// A connection in one of its turns.
struct Dialogue<'t, A> {
    connection: &'t mut Connection,
    now: Timestamp,
    output: &'t mut Vec<u8>,
    app: &'t mut A,
}

impl<A: App> Dialogue<'_, A> {
    fn step(&mut self, rest: &[u8], end: bool) -> Step {
        match std::mem::replace(&mut self.connection.phase, Phase::Idle) {
            Phase::Body(pending) => self.body(pending, rest, end),
            Phase::Idle => self.idle(rest, end),
            Phase::Head => self.head(rest, end),
        }
    }

    fn idle(&mut self, rest: &[u8], end: bool) -> Step {
        match rest.first() {
            None => Step::Wait(0),
            Some(b'\r' | b'\n') if self.connection.strays > 0 => {
                self.connection.strays -= 1;
                Step::On(1)
            }
            Some(_) => {
                self.connection.deadline = self.now + limits::HTTP_REQUEST;
                self.connection.progress = Progress::default();
                self.head(rest, end)
            }
        }
    }

    fn head(&mut self, rest: &[u8], end: bool) -> Step {
        match request::parse(rest, &mut self.connection.progress) {
            Ok(Some(head)) => self.request(&head, &rest[head.length..]),
            Ok(None) if end => refuse(Refusal::BAD_REQUEST, self.output, self.app),
            Ok(None) => {
                self.connection.phase = Phase::Head;
                Step::Wait(0)
            }
            Err(refusal) => refuse(refusal, self.output, self.app),
        }
    }

    /// A head is complete; `rest` is what follows it.
    fn request(&mut self, head: &Head<'_>, rest: &[u8]) -> Step {
        let authorization = head.authorization;
        let call = Call { method: head.method, target: &head.target, authorization };
        let mut frame = self.frame(&call, head.is_http11, head.persistent);
        let Ok(mut body) = Body::new(head.framing) else {
            return refuse(Refusal::BodyTooLarge, self.output, self.app);
        };
        match head.expect {
            Expect::Nothing => {}
            Expect::Unknown => return self.expectation_failed(&call, frame),
            Expect::Continue if routes::reads_body(&call) => {
                self.output.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            }
            // The body may come or not: what follows cannot be told from it.
            Expect::Continue => {
                frame.persistent = false;
                return self.answer(&call, frame, 0);
            }
        }
        match body.drain(rest) {
            Ok(used) if body.is_done() => self.answer(&call, frame, head.length + used),
            Ok(used) => {
                self.connection.phase = Phase::Body(Box::new(Pending::new(head, body)));
                self.connection.deadline = self.now + limits::HTTP_REQUEST;
                Step::On(head.length + used)
            }
            Err(fault) => self.broken(fault, &call, frame),
        }
    }

    fn body(&mut self, mut pending: Box<Pending>, rest: &[u8], end: bool) -> Step {
        let drained = pending.body.drain(rest);
        if let Ok(used) = drained
            && !(end || pending.body.is_done())
        {
            self.connection.phase = Phase::Body(pending);
            return Step::Wait(used);
        }
        let (method, target) = pending.line.split_at(pending.method);
        let authorization = pending.authorization.as_deref();
        let target = Target::parse(method, target).expect("it was parsed before it had to wait");
        let call = Call { method, target: &target, authorization };
        let frame = self.frame(&call, pending.is_http11, pending.persistent);
        match drained {
            Ok(used) if pending.body.is_done() => self.answer(&call, frame, used),
            Ok(_) => self.broken(Fault::Malformed, &call, frame),
            Err(fault) => self.broken(fault, &call, frame),
        }
    }

    fn frame(&mut self, call: &Call<'_>, is_http11: bool, persistent: bool) -> Frame {
        let head_only = call.method == b"HEAD";
        Frame { is_http11, persistent, head_only, date: self.app.date() }
    }

    /// Answers a request; `used` bytes of the input are then dealt with.
    fn answer(&mut self, call: &Call<'_>, frame: Frame, used: usize) -> Step {
        let mut response = Response::new(self.output, frame);
        self.app.answer(call, self.now, &mut response);
        let status = response.finish();
        self.app.answered(call, status);
        if !frame.persistent {
            return Step::Close;
        }
        self.connection.deadline = self.now + limits::HTTP_IDLE;
        self.connection.strays = if call.method == b"POST" { STRAYS } else { 0 };
        Step::On(used)
    }

    fn expectation_failed(&mut self, call: &Call<'_>, frame: Frame) -> Step {
        let mut response = Response::new(self.output, Frame { persistent: false, ..frame });
        let fields = &[CLOSE];
        response.start(response::Head { status: 417, fields, sniffed: None, expected: 0 });
        let status = response.finish();
        self.app.answered(call, status);
        Step::Close
    }

    /// The body cannot be read to its end, so that nothing behind it can be a request.
    fn broken(&mut self, fault: Fault, call: &Call<'_>, frame: Frame) -> Step {
        if fault == Fault::TooLarge {
            return refuse(Refusal::BodyTooLarge, self.output, self.app);
        }
        let frame = Frame { persistent: false, ..frame };
        if !routes::reads_body(call) {
            return self.answer(call, frame, 0);
        }
        let mut response = Response::new(self.output, frame);
        routes::invalid_request(&mut response);
        let status = response.finish();
        self.app.answered(call, status);
        Step::Close
    }
}

impl Pending {
    fn new(head: &Head<'_>, body: Body) -> Self {
        Self {
            body,
            line: [head.method, head.target.raw].concat().into(),
            method: head.method.len(),
            authorization: head.authorization.map(Into::into),
            is_http11: head.is_http11,
            persistent: head.persistent,
        }
    }
}
