//! The HTTP connections of one event loop: who may do what, and what is logged and counted.
//!
//! Must not: name a runtime or a socket. Runs on whichever worker runs the event loop. Divergence:
//! a request that changes nothing and was answered with 2xx is logged at debug, not info.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tracing::{Level, enabled};

use super::durations::RequestDurations;
use super::handlers::Api;
use super::response::{self, ApiError};
use super::routes::Routed;
use super::sites::Sites;
use super::unread::{self, Unread};
use crate::access::{Holding, ReadPolicy, WritePolicy};
use crate::clock::{Clock, Timestamp};
use crate::handler::{CloseReason, ConnectionHandler, Handled, Input, Token};
use crate::http1::{Connection, Date, Request, RequestError, Response, Service, Task};
use crate::limits;
use crate::logging::{CHANGE, Escaped, Kind, PeerLines, REFUSAL};
use crate::protocol::{names::ALL_TOPICS, wrong_port};
use crate::work::Work;

/// Answers the requests of HTTP connections from an [`Api`].
#[derive(Clone)]
pub struct ApiService {
    api: Api,
    /// Who may change something; none: everyone.
    write_policy: Option<Arc<WritePolicy>>,
    /// Who may read; none: everyone.
    read_policy: Option<Arc<ReadPolicy>>,
    sites: Arc<Sites>,
    lines: Arc<PeerLines>,
    durations: RequestDurations,
    unread: Unread,
    idle_timeout: Duration,
    /// Whether most connections are taken.
    is_nearly_full: Arc<dyn Fn() -> bool + Send + Sync>,
    is_stopping: bool,
    clock: Clock,
    /// The `Date` header, and the second it is of.
    date: (u64, Date),
}

impl ApiService {
    /// A service for connections whose output counts towards `unread`.
    #[must_use]
    pub fn new(
        api: Api,
        write_policy: Option<Arc<WritePolicy>>,
        durations: RequestDurations,
        unread: Unread,
        clock: Clock,
    ) -> Self {
        let (sites, lines, date) = (Arc::default(), Arc::default(), (0, Date::new(0)));
        Self {
            api,
            write_policy,
            read_policy: None,
            sites,
            lines,
            durations,
            unread,
            idle_timeout: limits::HTTP_IDLE,
            is_nearly_full: Arc::new(|| false),
            is_stopping: false,
            clock,
            date,
        }
    }

    /// The same, whose connections may stay for so long without a request, and for
    /// [`limits::HTTP_IDLE_FULL`] while most of them are taken.
    #[must_use]
    pub fn idle_for(
        self,
        idle_timeout: Duration,
        is_nearly_full: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Self {
        Self { idle_timeout, is_nearly_full: Arc::new(is_nearly_full), ..self }
    }

    /// The same, for those who may read by this policy.
    #[must_use]
    pub fn for_readers(self, read_policy: Option<Arc<ReadPolicy>>) -> Self {
        Self { read_policy, ..self }
    }

    /// The same, for these sites.
    #[must_use]
    pub fn of_sites(self, sites: Sites) -> Self {
        Self { sites: Arc::new(sites), ..self }
    }

    /// The same, whose log lines are counted in `lines`.
    #[must_use]
    pub fn with_lines(self, lines: Arc<PeerLines>) -> Self {
        Self { lines, ..self }
    }

    fn may_read(&self, request: &Request<'_, Routed>) -> bool {
        let Some(policy) = &self.read_policy else { return true };
        if !request.route.reads() {
            return true;
        }
        policy.allows(request.peer.ip(), request.head.authorization, || {
            request.route.is_of_nsqds() && topic(request).is_some_and(|topic| !is_all(&topic))
        })
    }

    fn may_write(&self, request: &Request<'_, Routed>) -> bool {
        if !self.sites.is_meant(request.peer.ip(), request.head) {
            return false;
        }
        let Some(policy) = &self.write_policy else { return true };
        policy.allows(request.peer.ip(), request.head.authorization)
    }
}

/// The topic that a request names.
pub(super) fn topic<'a>(request: &Request<'a, Routed>) -> Option<Cow<'a, [u8]>> {
    let [topic] = request.head.target.parameters(["topic"]).ok()?;
    topic
}

/// Whether that stands for all topics.
pub(super) fn is_all(topic: &[u8]) -> bool {
    topic == ALL_TOPICS.as_bytes()
}

impl Service for ApiService {
    type Route = Routed;

    fn date(&mut self) -> Date {
        let now = self.clock.wall_seconds();
        if self.date.0 != now {
            self.date = (now, Date::new(now));
        }
        self.date.1
    }

    fn call(
        &mut self,
        request: &Request<'_, Routed>,
        now: Timestamp,
        response: &mut Response<'_>,
    ) -> Option<Box<dyn Task>> {
        if !request.route.is_probe() && !self.sites.serves(request.head.site.host) {
            ApiError::MISDIRECTED.write(response);
        } else if !request.route.is_probe() && !self.unread.has_room(request) {
            ApiError::OVERLOADED.write_with(&[response::JSON, "Retry-After: 1"], response);
        } else if (request.route.writes() && !self.may_write(request)) || !self.may_read(request) {
            ApiError::FORBIDDEN.write(response);
        } else {
            return self.api.answer(request, now, response);
        }
        None
    }

    fn answered(&mut self, request: &Request<'_, Routed>, now: Timestamp, status: u16) {
        let span = self.clock.now().since(now);
        self.durations.observe(Some(request.route), request.head.method, status, span);
        // Consumers poll all day; what changes something is logged, whoever asked for it.
        let is_quiet = (200..300).contains(&status) && !request.route.writes();
        let is_logged = if is_quiet { enabled!(Level::DEBUG) } else { enabled!(Level::INFO) };
        let kind = match (request.route.writes(), status) {
            (true, 200..300) => Kind::Write,
            (_, 200..300) => Kind::Request,
            _ => Kind::Refusal,
        };
        if !is_logged || !(is_quiet || self.lines.may_log(request.peer.ip(), kind)) {
            return;
        }
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let (method, target) = (text(request.head.method), text(request.head.target.raw));
        let (method, target, peer) = (Escaped(&method), Escaped(&target), request.peer);
        let line = format!("{status} {method} {target} ({peer}) {span:?}");
        match kind {
            _ if is_quiet => tracing::debug!("{line}"),
            Kind::Write => tracing::info!(target: CHANGE, "{line}"),
            _ => tracing::info!(target: REFUSAL, "{line}"),
        }
    }

    fn refused(&mut self, peer: SocketAddr, now: Timestamp, error: RequestError, sent: &[u8]) {
        self.durations.observe(None, b"", error.status(), self.clock.now().since(now));
        if self.lines.may_log(peer.ip(), Kind::Refusal) {
            let hint = wrong_port::on_http(sent).map(|hint| format!(": {hint}"));
            let hint = hint.unwrap_or_default();
            tracing::info!(target: REFUSAL, "{} refused ({peer}){hint}", error.status());
        }
    }

    fn idle_timeout(&self) -> Duration {
        let most = if (self.is_nearly_full)() { limits::HTTP_IDLE_FULL } else { Duration::MAX };
        self.idle_timeout.min(most)
    }

    fn is_stopping(&self) -> bool {
        self.is_stopping
    }
}

/// A connection, and its part of what is not read.
#[derive(Debug)]
pub struct Client {
    http: Connection<Routed>,
    unread: Option<Box<Holding>>,
}

impl ConnectionHandler for ApiService {
    type Connection = Client;

    fn on_open(
        &mut self,
        peer: SocketAddr,
        _: Token,
        now: Timestamp,
    ) -> (Self::Connection, Timestamp) {
        let connection = Connection::new(peer, now);
        let deadline = connection.deadline();
        (Client { http: connection, unread: None }, deadline)
    }

    fn on_input(
        &mut self,
        connection: &mut Self::Connection,
        input: Input<'_>,
        now: Timestamp,
        output: &mut Vec<u8>,
        budget: usize,
        work: &mut Work,
    ) -> Handled {
        connection.http.on_input(input, now, output, budget, work, self)
    }

    fn on_timeout(&mut self, connection: &mut Self::Connection, output: &mut Vec<u8>) {
        connection.http.on_timeout(output, self);
    }

    fn on_stop(&mut self) {
        self.is_stopping = true;
    }

    /// The handlers publish what they change before they return.
    fn commit(&mut self) {}

    fn on_queued(&mut self, connection: &mut Client, bytes: usize) {
        if bytes == 0 {
            connection.unread = None;
            return;
        }
        let hold = || Box::new(self.unread.hold(connection.http.peer().ip()));
        connection.unread.get_or_insert_with(hold).set(unread::places(bytes));
    }

    fn on_close(
        &mut self,
        connection: &mut Self::Connection,
        reason: CloseReason,
        _: &mut Work,
    ) -> bool {
        let peer = connection.http.peer();
        if reason == CloseReason::Panicked {
            tracing::error!("HTTP: client({peer}) - internal error (panic), connection closed");
        }
        if reason == CloseReason::NoRoom && self.lines.may_log(peer.ip(), Kind::Refusal) {
            tracing::error!(target: REFUSAL, "HTTP: client({peer}) - too much waits for all peers together");
        }
        tracing::debug!("HTTP: client({peer}) closed: {reason:?}");
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{AllowList, Token as WriteToken};
    use crate::api::tests::server::{api, no_output};
    use crate::handler::Next;

    /// Each route, and the status for clients with and without the token.
    #[test]
    fn only_routes_that_write_ask_the_access_rules() {
        let write_policy =
            WritePolicy::new(AllowList::default(), WriteToken::new(b"x").ok(), Arc::default());
        let clock = Clock::manual(Timestamp::default());
        let mut service = ApiService::new(
            api(),
            write_policy,
            RequestDurations::default(),
            no_output(),
            clock.clone(),
        );
        let mut ask = |line: &str, fields: &str| {
            let (mut connection, _) =
                service.on_open(([127, 0, 0, 1], 1).into(), Token::default(), clock.now());
            let request = format!("{line} HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
            let mut output = Vec::new();
            // Byte by byte, as a body that comes later makes a request wait.
            let mut pending = Vec::new();
            for byte in request.bytes().chain(*b"abc") {
                pending.push(byte);
                let input = Input { bytes: &pending, end: false };
                let handled = service.on_input(
                    &mut connection,
                    input,
                    clock.now(),
                    &mut output,
                    1000,
                    &mut Work::unlimited(),
                );
                pending.drain(..handled.consumed);
            }
            let answer = String::from_utf8(output).expect("text");
            answer["HTTP/1.1 ".len()..][..3].to_owned()
        };
        let body = "Content-Length: 3\r\n";
        for (line, refused, allowed) in [
            ("POST /topic/create?topic=t", "403", "200"),
            ("POST /channel/create?topic=t&channel=c", "403", "200"),
            ("POST /topic/tombstone?topic=t&node=n:1", "403", "200"),
            ("POST /channel/delete?topic=t&channel=c", "403", "200"),
            ("POST /topic/delete?topic=t", "403", "200"),
            ("POST /topic/create", "403", "400"),
            ("POST /topic//create?topic=t", "307", "307"),
            ("POST http://x/topic/create?topic=t", "403", "200"),
            ("POST /topic%2fcreate?topic=t", "403", "200"),
            ("POST /debug/pprof/symbol", "404", "404"),
            ("POST /nope", "404", "404"),
            ("POST /lookup?topic=t", "405", "405"),
            ("GET /topic/create?topic=t", "405", "405"),
            ("HEAD /topic/create?topic=t", "405", "405"),
            ("OPTIONS /topic/create", "200", "200"),
            ("PUT /topic/create?topic=t", "405", "405"),
            ("post /topic/create?topic=t", "405", "405"),
            ("GET /topics", "200", "200"),
            ("GET /metrics", "200", "200"),
        ] {
            let bearer = |word: &str| format!("{body}Authorization: Bearer {word}\r\n");
            assert_eq!(ask(line, body), refused, "{line}");
            assert_eq!(ask(line, &bearer("y")), refused, "{line}");
            assert_eq!(ask(line, &[bearer("x"), bearer("x")].concat()), refused, "{line}");
            assert_eq!(ask(line, &bearer("x")), allowed, "{line}");
        }
    }

    #[test]
    fn idle_connections_make_room_while_most_are_taken() {
        use std::sync::atomic::{AtomicBool, Ordering};

        let (clock, full) = (Clock::manual(Timestamp::default()), Arc::new(AtomicBool::new(false)));
        let (durations, is_full) = (RequestDurations::default(), Arc::clone(&full));
        let service = ApiService::new(api(), None, durations, no_output(), clock.clone());
        let hour = Duration::from_secs(3600);
        let mut service = service.idle_for(hour, move || is_full.load(Ordering::Relaxed));
        let peer = ([127, 0, 0, 1], 1).into();
        let (mut connection, _) = service.on_open(peer, Token::default(), clock.now());
        let mut ask = |is_full| {
            full.store(is_full, Ordering::Relaxed);
            let input = Input { bytes: b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n", end: false };
            let (output, work) = (&mut Vec::new(), &mut Work::unlimited());
            let now = clock.now();
            service.on_input(&mut connection, input, now, output, 1000, work).next
        };
        let until = |span| Next::Read { deadline: clock.now() + span };
        assert_eq!(ask(false), until(hour));
        assert_eq!(ask(true), until(limits::HTTP_IDLE_FULL));
        assert_eq!(ask(false), until(hour));
    }

    /// The targets of what is logged.
    #[derive(Clone, Default)]
    struct Targets(Arc<std::sync::Mutex<Vec<String>>>);

    impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Targets {
        fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
            Some(Level::INFO.into())
        }

        fn on_event(
            &self,
            event: &tracing::Event<'_>,
            _: tracing_subscriber::layer::Context<'_, S>,
        ) {
            self.0.lock().expect("one thread").push(event.metadata().target().to_owned());
        }
    }

    #[test]
    fn what_changes_something_is_logged_apart() {
        use tracing_subscriber::layer::SubscriberExt as _;

        let clock = Clock::manual(Timestamp::default());
        let durations = RequestDurations::default();
        let mut service = ApiService::new(api(), None, durations, no_output(), clock.clone());
        let targets = Targets::default();
        // With one subscriber in the process, tracing asks that of the thread which comes to a line
        // first: a test on another thread, which has none, would switch the line off for all.
        let _second = tracing::Dispatch::new(tracing_subscriber::registry());
        let subscriber = tracing_subscriber::registry().with(targets.clone());
        tracing::subscriber::with_default(subscriber, || {
            for request in [
                "POST /topic/create?topic=t HTTP/1.1\r\nHost: x\r\n\r\n",
                "POST /topic/create HTTP/1.1\r\nHost: x\r\n\r\n",
                "GET /nope HTTP/1.1\r\nHost: x\r\n\r\n",
                "nonsense\r\n",
            ] {
                let peer = ([127, 0, 0, 1], 1).into();
                let (mut connection, _) = service.on_open(peer, Token::default(), clock.now());
                let input = Input { bytes: request.as_bytes(), end: false };
                let (output, work) = (&mut Vec::new(), &mut Work::unlimited());
                service.on_input(&mut connection, input, clock.now(), output, 1000, work);
            }
        });
        assert_eq!(*targets.0.lock().expect("free"), [CHANGE, REFUSAL, REFUSAL, REFUSAL]);
    }
}
