//! The API with a fixed clock, and HTTP connections to it, each with what its event loop would
//! hold.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::api::{Api, Routed, Unread};
use crate::clock::Timestamp;
use crate::handler::{Input, Next};
use crate::http1::{Connection, Date, Request, RequestError, Response, Service, Task};
use crate::protocol::peer_info::PeerInfo;
use crate::registry::{Capacity, Client, PendingChanges, Registry};
use crate::snapshots::{Snapshots, Visibility};
use crate::work::Work;

/// When every test begins.
pub(in crate::api) const START: Timestamp = Timestamp::from_unix_nanos(1_784_111_777_000_000_000);

/// An API with an empty registry.
pub(in crate::api) fn api() -> Api {
    Api {
        registry: Arc::new(Registry::new(Arc::new(Snapshots::default()), Capacity::default())),
        visibility: Visibility {
            inactive_producer_timeout: Duration::from_secs(300),
            tombstone_lifetime: Duration::from_secs(45),
        },
        cache_from: 1,
        walks: Arc::default(),
        metrics: Arc::default(),
    }
}

/// All clients read what they are sent.
pub(in crate::api) fn no_output() -> Unread {
    Unread::new(crate::limits::HTTP_QUEUED_OUTPUT, || 0)
}

/// The API, and what was answered.
pub(in crate::api) struct Server {
    pub(in crate::api) api: Api,
    pub(in crate::api) now: Timestamp,
    /// The statuses of what was answered and refused.
    pub(in crate::api) statuses: Vec<u16>,
    pub(in crate::api) is_stopping: bool,
}

impl Server {
    pub(in crate::api) fn new() -> Self {
        Self { api: api(), now: START, statuses: Vec::new(), is_stopping: false }
    }

    /// An nsqd called `host-NAME` joins from `address`.
    pub(in crate::api) fn join(&self, name: &str, address: &str) -> Client {
        let body = testkit::nsqd::peer_info(name);
        let info = PeerInfo::decode(body.as_bytes()).expect("a sample");
        let address: SocketAddr = address.parse().expect("an address");
        let mut changes = PendingChanges::default();
        let client = self.api.registry.identify(&mut changes, address, info, self.now);
        self.api.registry.commit(&mut changes);
        client
    }

    pub(in crate::api) fn register(&self, client: &mut Client, topic: &str, channel: Option<&str>) {
        let mut changes = PendingChanges::default();
        let done = self.api.registry.register(&mut changes, client, topic, channel);
        done.expect("there is room");
        self.api.registry.commit(&mut changes);
    }

    pub(in crate::api) fn unregister(
        &self,
        client: &mut Client,
        topic: &str,
        channel: Option<&str>,
    ) {
        let mut changes = PendingChanges::default();
        let (registry, work) = (&self.api.registry, &mut Work::unlimited());
        match channel {
            Some(channel) => {
                registry.unregister_channel(&mut changes, client, topic, channel);
            }
            None => assert!(registry.unregister_topic(&mut changes, client, topic, work, |_| {})),
        }
        self.api.registry.commit(&mut changes);
    }

    pub(in crate::api) fn leave(&self, mut client: Client) {
        let (mut changes, work) = (PendingChanges::default(), &mut Work::unlimited());
        assert!(self.api.registry.leave(&mut changes, &mut client, work, |_, _| {}));
        self.api.registry.commit(&mut changes);
    }
}

impl Service for Server {
    type Route = Routed;

    fn date(&mut self) -> Date {
        Date::new(784_111_777)
    }

    fn call(
        &mut self,
        request: &Request<'_, Routed>,
        now: Timestamp,
        response: &mut Response<'_>,
    ) -> Option<Box<dyn Task>> {
        self.api.answer(request, now, response)
    }

    fn answered(&mut self, _: &Request<'_, Routed>, _: Timestamp, status: u16) {
        self.statuses.push(status);
    }

    fn refused(&mut self, _: SocketAddr, _: Timestamp, error: RequestError, _: &[u8]) {
        self.statuses.push(error.status());
    }

    fn is_stopping(&self) -> bool {
        self.is_stopping
    }
}

/// One client's connection to a server.
pub(in crate::api) struct HttpClient {
    pub(in crate::api) connection: Connection<Routed>,
    /// What the connection has not consumed.
    pending: Vec<u8>,
    pub(in crate::api) output: Vec<u8>,
    pub(in crate::api) closed: bool,
    pub(in crate::api) budget: usize,
}

impl HttpClient {
    pub(in crate::api) fn new() -> Self {
        Self {
            connection: Connection::new(([127, 0, 0, 1], 1).into(), START),
            pending: Vec::new(),
            output: Vec::new(),
            closed: false,
            budget: 64 * 1024,
        }
    }

    /// Sends `bytes`, which arrive as one read.
    pub(in crate::api) fn send(&mut self, server: &mut Server, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
        self.run(server, false);
    }

    /// Closes the sending side.
    pub(in crate::api) fn end(&mut self, server: &mut Server) {
        self.run(server, true);
    }

    fn run(&mut self, server: &mut Server, end: bool) {
        while !self.closed {
            let input = Input { bytes: &self.pending, end };
            let (before, now) = (self.output.len(), server.now);
            let work = &mut Work::units(15);
            let handled =
                self.connection.on_input(input, now, &mut self.output, self.budget, work, server);
            self.pending.drain(..handled.consumed);
            match handled.next {
                Next::Write => {
                    assert!(self.output.len() >= before + self.budget, "stopped too early");
                    assert!(!self.pending.is_empty(), "nothing is left to go on with");
                }
                Next::Read { deadline } => {
                    assert_eq!(deadline, self.connection.deadline());
                    assert!(deadline > now, "a wait that is over before it begins");
                    return;
                }
                Next::Continue => {}
                Next::Hold { .. } => unreachable!(),
                Next::Close => self.closed = true,
            }
        }
    }
}
