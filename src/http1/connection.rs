//! One client's HTTP/1 connection without sockets: bytes and `now` in, responses and a wait out.
//!
//! An incomplete head stays with the caller, bounded by [`limits::HTTP_HEAD`]; a body is discarded
//! as it comes, and its request answered once all of it has: what Go's handlers make of it. Must
//! not: name a socket or a runtime, or keep bytes of a request whose body is all there. A
//! connection belongs to one thread at a time.

use std::net::SocketAddr;

use super::body::BodyError;
use super::error::RequestError;
use super::pending::PendingRequest;
use super::request::{self, Expect, Progress, Request, RequestHead};
use super::response::{CLOSE, Framing, Response};
use super::service::{Route, Service};
use super::task::{Running, Task};
use crate::clock::Timestamp;
use crate::handler::{Handled, Input, Next};
use crate::limits;
use crate::work::Work;

/// What one connection remembers between its calls.
#[derive(Debug)]
pub struct Connection<R> {
    peer: SocketAddr,
    state: State<R>,
    /// When the wait for what the client sends next is over.
    deadline: Timestamp,
    progress: Progress,
}

#[derive(Debug)]
enum State<R> {
    /// No request has begun: whatever comes is one.
    Idle,
    /// A request was answered. Fewer than [`PEEK`] bytes are no other.
    Between {
        /// It was a POST: line ends may follow its body.
        after_post: bool,
    },
    /// A request's head has begun.
    Head,
    /// A request's body is on its way.
    Body(Box<PendingRequest<R>>),
    /// A request is being answered, in slices.
    Task(Box<Running<R>>),
}

/// Go waits for so many bytes before it takes what follows an answered request for another: a client
/// that leaves with fewer gets no answer to them. As many line ends may follow the body of a POST,
/// as old browsers sent them.
const PEEK: usize = 4;

/// Units of [`Work`] of a step: a request, or a piece of one.
const STEP: u32 = 20;
/// Bytes of a response that cost one unit more.
pub(super) const BYTES_PER_UNIT: usize = 2048;

/// What came of the next piece of the input.
enum Status {
    /// This many bytes are dealt with; on with the rest.
    Complete(usize),
    /// This many are; the rest is not all there.
    Partial(usize),
    /// This many are, and a task goes on before the rest.
    Begun(usize),
    /// The connection ends.
    Close,
}

impl<R: Route> Connection<R> {
    /// A connection of `peer` that was accepted at `now`.
    #[must_use]
    pub fn new(peer: SocketAddr, now: Timestamp) -> Self {
        let (deadline, progress) = (now + limits::HTTP_REQUEST, Progress::default());
        Self { peer, state: State::Idle, deadline, progress }
    }

    /// The client's address.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// When the wait for what the client sends next is over; moved by [`Connection::on_input`].
    #[must_use]
    pub fn deadline(&self) -> Timestamp {
        self.deadline
    }

    /// Deals with `input`, appending the responses of `service` to `output`; see
    /// [`crate::handler::ConnectionHandler::on_input`].
    pub fn on_input(
        &mut self,
        input: Input<'_>,
        now: Timestamp,
        output: &mut Vec<u8>,
        budget: usize,
        work: &mut Work,
        service: &mut impl Service<Route = R>,
    ) -> Handled {
        let full = output.len().saturating_add(budget);
        let mut consumed = 0;
        if let State::Task(_) = self.state
            && let Some(next) = self.resume(now, output, budget, work, service)
        {
            return Handled { consumed, next };
        }
        loop {
            let rest = &input.bytes[consumed..];
            let before = output.len();
            let mut context = Context { connection: &mut *self, now, output, service, cost: STEP };
            let status = context.step(rest, input.end);
            let written = context.output.len().saturating_sub(before) / BYTES_PER_UNIT;
            work.spend(context.cost.saturating_add(u32::try_from(written).unwrap_or(u32::MAX)));
            match status {
                Status::Complete(used) => consumed += used,
                Status::Partial(used) => {
                    consumed += used;
                    let deadline = self.deadline;
                    let next = if input.end { Next::Close } else { Next::Read { deadline } };
                    return Handled { consumed, next };
                }
                Status::Begun(used) => {
                    return Handled { consumed: consumed + used, next: Next::Continue };
                }
                Status::Close => return Handled { consumed: input.bytes.len(), next: Next::Close },
            }
            if consumed < input.bytes.len() {
                if output.len() >= full {
                    return Handled { consumed, next: Next::Write };
                }
                if work.is_over() {
                    return Handled { consumed, next: Next::Continue };
                }
            } else if let (State::Between { .. }, false) = (&self.state, input.end) {
                return Handled { consumed, next: Next::Read { deadline: self.deadline } };
            }
        }
    }

    /// Goes on with a task, if there is one; what the connection waits for then, unless it is done
    /// and the next request follows.
    #[inline(never)]
    fn resume(
        &mut self,
        now: Timestamp,
        output: &mut Vec<u8>,
        budget: usize,
        work: &mut Work,
        service: &mut impl Service<Route = R>,
    ) -> Option<Next> {
        let State::Task(running) = &mut self.state else { return None };
        if !running.is_read_at(now) {
            return Some(Next::Close);
        }
        let before = output.len();
        let Some(status) = running.resume(now, service.date(), output, budget, work) else {
            if output.len() - before < budget {
                return Some(Next::Continue);
            }
            running.waits_for_the_reader(now);
            return Some(Next::Write);
        };
        let head = running.request.head();
        let (route, peer) = (running.request.route, self.peer);
        let request = Request { peer, head: &head, route, body_is_broken: false };
        service.answered(&request, running.since, status);
        let (persistent, is_post) = (head.persistent, head.method == b"POST");
        self.state = State::Idle;
        if !persistent {
            return Some(Next::Close);
        }
        self.end_of_request(now + service.idle_timeout(), is_post);
        None
    }

    /// A request was answered, and the connection goes on, without another until `deadline` at most.
    fn end_of_request(&mut self, deadline: Timestamp, is_post: bool) {
        self.deadline = deadline;
        self.state = State::Between { after_post: is_post };
    }

    /// The deadline has passed: 408 if a request had begun. The caller closes the connection.
    pub fn on_timeout(&mut self, output: &mut Vec<u8>, service: &mut impl Service<Route = R>) {
        if matches!(self.state, State::Head | State::Body(_)) {
            let now = self.deadline;
            Context { connection: self, now, output, service, cost: 0 }
                .refuse(RequestError::Timeout, &[]);
        }
    }
}

/// A connection during one of its calls.
struct Context<'c, S: Service> {
    connection: &'c mut Connection<S::Route>,
    now: Timestamp,
    output: &'c mut Vec<u8>,
    service: &'c mut S,
    /// Units of work, beside those for what is written.
    cost: u32,
}

impl<S: Service> Context<'_, S> {
    fn step(&mut self, rest: &[u8], end: bool) -> Status {
        match std::mem::replace(&mut self.connection.state, State::Idle) {
            State::Body(pending) => self.body(pending, rest, end),
            State::Between { after_post } => self.between(after_post, rest, end),
            State::Idle | State::Task(_) => self.idle(rest, end),
            State::Head => self.head(rest, end),
        }
    }

    /// Waits for [`PEEK`] bytes, and takes the line ends among them off behind a POST.
    #[inline]
    fn between(&mut self, after_post: bool, rest: &[u8], end: bool) -> Status {
        let Some(first) = rest.first_chunk::<PEEK>() else {
            self.connection.state = State::Between { after_post };
            return Status::Partial(0);
        };
        let is_line_end = |byte: &&u8| matches!(byte, b'\r' | b'\n');
        match first.iter().take_while(is_line_end).count() {
            skipped @ 1.. if after_post => Status::Complete(skipped),
            _ => self.idle(rest, end),
        }
    }

    #[inline]
    fn idle(&mut self, rest: &[u8], end: bool) -> Status {
        if rest.is_empty() {
            return Status::Partial(0);
        }
        self.connection.deadline = self.now + limits::HTTP_REQUEST;
        self.connection.progress = Progress::default();
        self.head(rest, end)
    }

    fn head(&mut self, rest: &[u8], end: bool) -> Status {
        match request::parse(rest, &mut self.connection.progress) {
            Ok(Some(head)) => self.request(head, rest),
            Ok(None) if end => self.refuse(RequestError::BAD_REQUEST, rest),
            Ok(None) => {
                self.connection.state = State::Head;
                Status::Partial(0)
            }
            Err(error) => self.refuse(error, rest),
        }
    }

    /// A head is complete; `rest` starts with it.
    #[inline]
    fn request(&mut self, mut head: RequestHead<'_>, rest: &[u8]) -> Status {
        let route = S::Route::find(head.method, &head.target.path);
        match head.expect {
            Expect::Nothing => {}
            Expect::Continue if route.reads_body(&head.target) => {
                self.output.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            }
            // The body may come or not: nobody knows whether what follows belongs to it.
            Expect::Continue | Expect::Unknown => {
                head.persistent = false;
                return self.answer(&head, route, 0);
            }
        }
        match head.body.drain(&rest[head.length..]) {
            Ok(used) if head.body.is_done() => {
                head.persistent &= !self.ends_behind(&rest[head.length + used..]);
                self.answer(&head, route, head.length + used)
            }
            Ok(used) => {
                let pending = PendingRequest::new(&head, route);
                self.connection.state = State::Body(Box::new(pending));
                self.connection.deadline = self.now + limits::HTTP_REQUEST;
                Status::Complete(head.length + used)
            }
            Err(error) => self.broken(error, head, route),
        }
    }

    fn body(
        &mut self,
        mut pending: Box<PendingRequest<S::Route>>,
        rest: &[u8],
        end: bool,
    ) -> Status {
        let route = pending.route;
        match pending.body.drain(rest) {
            Ok(used) if pending.body.is_done() => {
                pending.persistent &= !self.ends_behind(&rest[used..]);
                self.answer(&pending.head(), route, used)
            }
            Ok(used) if !end => {
                self.connection.state = State::Body(pending);
                Status::Partial(used)
            }
            Ok(_) => self.broken(BodyError::Malformed, pending.head(), route),
            Err(error) => self.broken(error, pending.head(), route),
        }
    }

    /// Whether the connection ends behind a request that `rest` follows: its response says so, and the
    /// client sends no other that would meet the end.
    #[inline]
    fn ends_behind(&self, rest: &[u8]) -> bool {
        rest.is_empty() && self.service.is_stopping()
    }

    /// Answers a request; `used` bytes of the input are then dealt with.
    #[inline]
    fn answer(&mut self, head: &RequestHead<'_>, route: S::Route, used: usize) -> Status {
        if self.call(head, route, false) {
            return Status::Begun(used);
        }
        if !head.persistent {
            return Status::Close;
        }
        let deadline = self.now + self.service.idle_timeout();
        self.connection.end_of_request(deadline, head.method == b"POST");
        Status::Complete(used)
    }

    /// The body cannot be read to its end, so that nothing behind it can be a request.
    fn broken(&mut self, error: BodyError, mut head: RequestHead<'_>, route: S::Route) -> Status {
        if error == BodyError::TooLarge {
            return self.refuse(RequestError::BodyTooLarge, &[]);
        }
        head.persistent = false;
        if self.call(&head, route, true) { Status::Begun(0) } else { Status::Close }
    }

    /// Answers a request; whether a task is left, which goes on in later calls.
    #[inline]
    fn call(&mut self, head: &RequestHead<'_>, route: S::Route, body_is_broken: bool) -> bool {
        let request = Request { peer: self.connection.peer, head, route, body_is_broken };
        let mut response = Response::new(self.output, head, self.service.date());
        let task = begin(&request, self.now, &mut response, self.service);
        self.cost = self.cost.saturating_add(response.cost());
        match task {
            Some(task) => {
                let mut pending = PendingRequest::new(head, route);
                pending.persistent &= response.framing() != Framing::UntilClose;
                let running = Running::new(pending, task, self.now, &response);
                self.connection.state = State::Task(Box::new(running));
                true
            }
            None => {
                let status = response.finish();
                self.service.answered(&request, self.now, status);
                false
            }
        }
    }

    fn refuse(&mut self, error: RequestError, sent: &[u8]) -> Status {
        error.write(self.output);
        self.service.refused(self.connection.peer, self.now, error, sent);
        Status::Close
    }
}

/// Has `service` answer a request, or begin to.
#[inline]
fn begin<S: Service>(
    request: &Request<'_, S::Route>,
    now: Timestamp,
    response: &mut Response<'_>,
    service: &mut S,
) -> Option<Box<dyn Task>> {
    if request.head.expect == Expect::Unknown {
        response.start(417, &[CLOSE], 0);
        return None;
    }
    service.call(request, now, response)
}

/// Appends the whole response of `service` to `request`, which came at `now`, however long that
/// takes: its status. A body in pieces is not cut into chunks.
pub(crate) fn answer<S: Service>(
    request: &Request<'_, S::Route>,
    now: Timestamp,
    output: &mut Vec<u8>,
    service: &mut S,
) -> u16 {
    let mut response = Response::new(output, request.head, service.date()).in_one_piece();
    if let Some(mut task) = begin(request, now, &mut response, service) {
        while !task.resume(now, &mut response, usize::MAX, &mut Work::unlimited()) {}
    }
    let status = response.finish();
    service.answered(request, now, status);
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::{Date, Target};
    use std::cell::Cell;

    thread_local! {
        /// How many requests were routed.
        static ROUTED: Cell<usize> = const { Cell::new(0) };
    }

    #[derive(Clone, Copy)]
    struct Counted;

    impl Route for Counted {
        fn find(_: &[u8], _: &[u8]) -> Self {
            ROUTED.set(ROUTED.get() + 1);
            Self
        }

        fn reads_body(&self, _: &Target<'_>) -> bool {
            true
        }
    }

    /// The statuses of what was answered or refused.
    #[derive(Default)]
    struct Statuses(Vec<u16>);

    impl Service for Statuses {
        type Route = Counted;

        fn date(&mut self) -> Date {
            Date::new(784_111_777)
        }

        fn call(
            &mut self,
            request: &Request<'_, Counted>,
            _: Timestamp,
            to: &mut Response<'_>,
        ) -> Option<Box<dyn Task>> {
            to.start(if request.body_is_broken { 400 } else { 200 }, &[], 0);
            None
        }

        fn answered(&mut self, _: &Request<'_, Counted>, _: Timestamp, status: u16) {
            self.0.push(status);
        }

        fn refused(&mut self, _: SocketAddr, _: Timestamp, error: RequestError, _: &[u8]) {
            self.0.push(error.status());
        }
    }

    /// Sends one request whole and byte by byte: its status, and how often it was routed.
    fn check(request: &str, status: u16, routed: usize) {
        for piece in [1, request.len()] {
            ROUTED.set(0);
            let (mut service, mut output) = (Statuses::default(), Vec::new());
            let mut connection = Connection::new(([127, 0, 0, 1], 1).into(), Timestamp::default());
            let (mut pending, mut work) = (Vec::new(), Work::unlimited());
            for bytes in request.as_bytes().chunks(piece) {
                pending.extend_from_slice(bytes);
                let input = Input { bytes: &pending, end: false };
                let now = Timestamp::default();
                let handled =
                    connection.on_input(input, now, &mut output, 1, &mut work, &mut service);
                pending.drain(..handled.consumed);
                if handled.next == Next::Close {
                    break;
                }
            }
            assert_eq!((service.0, ROUTED.get()), (vec![status], routed), "{request:?}, {piece}");
        }
    }

    #[test]
    fn a_request_is_routed_once_after_its_head() {
        let post = "POST / HTTP/1.1\r\nHost: x\r\n";
        check("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 200, 1);
        check(&format!("{post}Content-Length: 3\r\n\r\nabc"), 200, 1);
        check(&format!("{post}Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"), 200, 1);
        check(&format!("{post}Transfer-Encoding: chunked\r\n\r\nzz\r\n"), 400, 1);
        check(&format!("{post}Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc"), 200, 1);
        check(&format!("{post}Expect: x\r\nContent-Length: 3\r\n\r\nabc"), 417, 1);
        check("GET / HTTP/3.0\r\nHost: x\r\n\r\n", 505, 0);
    }
}
