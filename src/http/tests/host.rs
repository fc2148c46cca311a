//! A host for one connection, as a table of sockets would be: it keeps what is not consumed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::handler::{Input, Next};
use crate::http::{App, Call, Connection, Date, Refusal, Respond, Routes, turn};
use crate::protocol::peer_info::PeerInfo;
use crate::registry::{Capacity, Client, PendingChanges, Registry};
use crate::snapshots::Snapshots;

/// When every test begins.
pub(in crate::http) const START: Timestamp = Timestamp::from_unix_nanos(1_784_111_777_000_000_000);

/// The daemon around the conversations.
#[derive(Clone)]
pub(in crate::http) struct Daemon {
    pub(in crate::http) routes: Routes,
    pub(in crate::http) now: Timestamp,
    /// The statuses of what was answered and refused.
    pub(in crate::http) statuses: Vec<u16>,
}

impl Daemon {
    pub(in crate::http) fn new() -> Self {
        let snapshots = Arc::new(Snapshots::default());
        let routes = Routes {
            registry: Arc::new(Registry::new(snapshots, Capacity::default())),
            inactive_producer_timeout: Duration::from_secs(300),
            tombstone_lifetime: Duration::from_secs(45),
            keep_from: 1,
            metrics: Arc::default(),
        };
        Self { routes, now: START, statuses: Vec::new() }
    }

    /// An nsqd called `host-NAME` joins from `address`.
    pub(in crate::http) fn join(&self, name: &str, address: &str) -> Client {
        let body = testkit::nsqd::peer_info(name);
        let identity = PeerInfo::decode(body.as_bytes()).expect("a sample");
        let address: SocketAddr = address.parse().expect("an address");
        let mut batch = PendingChanges::default();
        let registry = &self.routes.registry;
        let client = registry.identify(&mut batch, address, identity, self.now);
        registry.commit(&mut batch);
        client
    }

    pub(in crate::http) fn register(
        &self,
        client: &mut Client,
        topic: &str,
        channel: Option<&str>,
    ) {
        let mut batch = PendingChanges::default();
        let done = self.routes.registry.register(&mut batch, client, topic, channel);
        done.expect("there is room");
        self.routes.registry.commit(&mut batch);
    }

    pub(in crate::http) fn unregister(
        &self,
        client: &mut Client,
        topic: &str,
        channel: Option<&str>,
    ) {
        let mut batch = PendingChanges::default();
        self.routes.registry.unregister(&mut batch, client, topic, channel);
        self.routes.registry.commit(&mut batch);
    }

    pub(in crate::http) fn leave(&self, client: Client) {
        let mut batch = PendingChanges::default();
        self.routes.registry.leave(&mut batch, client, |_, _| {});
        self.routes.registry.commit(&mut batch);
    }
}

impl App for Daemon {
    fn date(&mut self) -> Date {
        Date::new(784_111_777)
    }

    fn answer(&mut self, call: &Call<'_>, now: Timestamp, response: &mut impl Respond) {
        self.routes.answer(call, now, response);
    }

    fn answered(&mut self, _: &Call<'_>, status: u16) {
        self.statuses.push(status);
    }

    fn refused(&mut self, refusal: Refusal) {
        self.statuses.push(refusal.status());
    }
}

/// One connection to a daemon.
pub(in crate::http) struct Producer {
    pub(in crate::http) connection: Connection,
    kept: Vec<u8>,
    pub(in crate::http) output: Vec<u8>,
    pub(in crate::http) closed: bool,
    pub(in crate::http) budget: usize,
}

impl Producer {
    pub(in crate::http) fn new() -> Self {
        Self {
            connection: Connection::new(START),
            kept: Vec::new(),
            output: Vec::new(),
            closed: false,
            budget: 64 * 1024,
        }
    }

    /// Sends `bytes`, as one read of the host.
    pub(in crate::http) fn send(&mut self, daemon: &mut Daemon, bytes: &[u8]) {
        self.kept.extend_from_slice(bytes);
        self.pump(daemon, false);
    }

    /// Closes the sending side.
    pub(in crate::http) fn end(&mut self, daemon: &mut Daemon) {
        self.pump(daemon, true);
    }

    fn pump(&mut self, daemon: &mut Daemon, end: bool) {
        while !self.closed {
            let input = Input { bytes: &self.kept, end };
            let before = self.output.len();
            let now = daemon.now;
            let done =
                turn(&mut self.connection, input, now, &mut self.output, self.budget, daemon);
            self.kept.drain(..done.consumed);
            match done.next {
                Next::Write => {
                    assert!(self.output.len() >= before + self.budget, "stopped too early");
                    assert!(!self.kept.is_empty(), "nothing is left to go on with");
                }
                Next::Read { deadline } => {
                    assert_eq!(deadline, self.connection.deadline());
                    assert!(deadline > now, "a wait that is over before it begins");
                    return;
                }
                Next::Close => self.closed = true,
            }
        }
    }
}
