//! The HTTP connections of one table: what they share, and what is logged and counted of them.
//!
//! Must not: name a runtime or a socket. Runs on whichever worker pumps the table. Divergence: a
//! request that changes nothing and was answered with 2xx is logged at debug, not info.

use std::net::SocketAddr;
use std::sync::Arc;

use tracing::{Level, enabled};

use super::{
    App, Call, Connection, Date, NOBODY, Refusal, Respond, Routes, response, routes, turn,
};
use crate::access::WritePolicy;
use crate::clock::{Clock, Timestamp};
use crate::connections::ConnectionCounters;
use crate::handler::{CloseReason, ConnectionHandler, Handled, Input};
use crate::limits;
use crate::logging::Escaped;
use crate::metrics::{Families, StripedCounter};

/// Responses, by the first digit of their status.
#[derive(Debug, Default)]
pub struct Responses([StripedCounter; CLASSES.len()]);

const CLASSES: [&str; 6] = ["other", "1xx", "2xx", "3xx", "4xx", "5xx"];

impl Responses {
    /// Registers their family.
    pub fn register_metrics(self: &Arc<Self>, families: &mut Families) {
        let (name, help) = ("musterd_http_responses_total", "HTTP responses.");
        for (class, label) in CLASSES.into_iter().enumerate() {
            let responses = Arc::clone(self);
            families.counter(name, help, &[("class", label)], move || responses.0[class].get());
        }
    }

    fn count(&self, status: u16) {
        self.0[usize::from(status / 100).min(CLASSES.len() - 1)].inc();
    }
}

/// Requests answered from `Routes`.
#[derive(Clone, Debug)]
pub struct Requests {
    routes: Routes,
    /// Who may change something; none: everyone.
    write_policy: Option<Arc<WritePolicy>>,
    responses: Arc<Responses>,
    /// How much all clients together have not read.
    counters: Arc<ConnectionCounters>,
    clock: Clock,
    /// The `Date` header, and the second it is of.
    date: (u64, Date),
    /// Whose turn it is.
    peer: SocketAddr,
}

/// One client's connection.
#[derive(Debug)]
pub struct Client {
    peer: SocketAddr,
    connection: Connection,
}

impl Requests {
    /// Requests of the connections that `counters` count.
    #[must_use]
    pub fn new(
        routes: Routes,
        write_policy: Option<Arc<WritePolicy>>,
        responses: Arc<Responses>,
        counters: Arc<ConnectionCounters>,
        clock: Clock,
    ) -> Self {
        Self {
            routes,
            write_policy,
            responses,
            counters,
            clock,
            date: (0, Date::new(0)),
            peer: NOBODY,
        }
    }
}

impl App for Requests {
    fn date(&mut self) -> Date {
        let now = self.clock.wall_seconds();
        if self.date.0 != now {
            self.date = (now, Date::new(now));
        }
        self.date.1
    }

    fn answer(&mut self, call: &Call<'_>, now: Timestamp, response: &mut impl Respond) {
        if self.counters.queued_output() > limits::HTTP_QUEUED_OUTPUT as u64 {
            return response::overloaded(response);
        }
        if let Some(write_policy) = &self.write_policy
            && routes::writes(call)
            && !write_policy.allows(self.peer.ip(), call.authorization)
        {
            return routes::forbidden(response);
        }
        self.routes.answer(call, now, response);
    }

    fn meet(&mut self, peer: SocketAddr) {
        self.peer = canonical(peer);
    }

    fn answered(&mut self, call: &Call<'_>, status: u16) {
        self.responses.count(status);
        // Consumers poll all day; what changes something is told, whoever asked for it.
        let is_quiet = (200..300).contains(&status) && !routes::writes(call);
        let is_told = if is_quiet { enabled!(Level::DEBUG) } else { enabled!(Level::INFO) };
        if !is_told {
            return;
        }
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let (method, target, peer) = (text(call.method), text(call.target.raw), self.peer);
        let line = format!("{status} {} {} ({peer})", Escaped(&method), Escaped(&target));
        if is_quiet { tracing::debug!("{line}") } else { tracing::info!("{line}") }
    }

    fn refused(&mut self, refusal: Refusal) {
        self.responses.count(refusal.status());
        tracing::info!("{} refused ({})", refusal.status(), self.peer);
    }
}

impl ConnectionHandler for Requests {
    type Connection = Client;

    fn on_open(&mut self, peer: SocketAddr, now: Timestamp) -> (Client, Timestamp) {
        let peer = canonical(peer);
        let connection = Connection::new(now);
        let deadline = connection.deadline();
        (Client { peer, connection }, deadline)
    }

    fn on_input(
        &mut self,
        client: &mut Client,
        input: Input<'_>,
        now: Timestamp,
        output: &mut Vec<u8>,
        budget: usize,
    ) -> Handled {
        self.peer = client.peer;
        turn(&mut client.connection, input, now, output, budget, self)
    }

    fn on_timeout(&mut self, client: &mut Client, _now: Timestamp, output: &mut Vec<u8>) {
        self.peer = client.peer;
        client.connection.expired(output, self);
    }

    /// The routes publish what they change before they return.
    fn commit(&mut self, _now: Timestamp) {}

    fn on_close(&mut self, client: Client, why: CloseReason, _now: Timestamp) {
        tracing::debug!("HTTP: client({}) closed: {why:?}", client.peer);
    }
}

/// A dual-stack listener's IPv4 peers are IPv4 peers.
fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{AllowList, Token};
    use crate::registry::{Capacity, Registry};
    use crate::snapshots::Snapshots;
    use std::time::Duration;

    fn routes() -> Routes {
        Routes {
            registry: Arc::new(Registry::new(Arc::new(Snapshots::default()), Capacity::default())),
            inactive_producer_timeout: Duration::from_secs(300),
            tombstone_lifetime: Duration::from_secs(45),
            keep_from: 1,
            metrics: Arc::default(),
        }
    }

    /// Every route, and what a writer who is refused, or none, is told.
    #[test]
    fn only_routes_that_change_something_ask_who_it_is() {
        let write_policy =
            WritePolicy::new(AllowList::default(), Token::new(b"x").ok(), Arc::default());
        let counters = Arc::new(ConnectionCounters::default());
        let clock = Clock::manual(Timestamp::default());
        let mut requests =
            Requests::new(routes(), write_policy, Arc::default(), counters, clock.clone());
        let mut ask = |line: &str, fields: &str| {
            let (mut client, _) = requests.on_open(([127, 0, 0, 1], 1).into(), clock.now());
            let request = format!("{line} HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
            let mut output = Vec::new();
            // Byte by byte, as a body that comes later keeps a request waiting.
            let mut kept = Vec::new();
            for byte in request.bytes().chain(*b"abc") {
                kept.push(byte);
                let input = Input { bytes: &kept, end: false };
                let turn = requests.on_input(&mut client, input, clock.now(), &mut output, 1000);
                kept.drain(..turn.consumed);
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
    fn what_all_clients_have_not_read_is_bounded() {
        let counters = Arc::new(ConnectionCounters::default());
        let clock = Clock::manual(Timestamp::default());
        let mut requests =
            Requests::new(routes(), None, Arc::default(), Arc::clone(&counters), clock.clone());
        let mut ask = || {
            let (mut client, _) = requests.on_open(([127, 0, 0, 1], 1).into(), clock.now());
            let input = Input { bytes: b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n", end: false };
            let mut output = Vec::new();
            let turn = requests.on_input(&mut client, input, clock.now(), &mut output, 1000);
            assert_eq!(turn.consumed, input.bytes.len(), "the connection goes on");
            String::from_utf8(output).expect("text")
        };
        counters.queued(limits::HTTP_QUEUED_OUTPUT);
        assert!(ask().starts_with("HTTP/1.1 200 OK"));
        counters.queued(1);
        let answer = ask();
        assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable"), "{answer}");
        assert!(answer.ends_with("{\"message\":\"OVERLOADED\"}"), "{answer}");
    }
}
