//! A fleet in memory, for the benches: nsqds made up by number, and registries filled with them.
//!
//! Must not: measure anything. Each bench is its own process; this is compiled into all of them.
#![allow(dead_code, reason = "no bench uses all of it")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use musterd::api::{Api, CACHE_FROM, RequestDurations, Routed};
use musterd::clock::{Clock, Timestamp};
use musterd::http1::{Date, Request, RequestError, Response, Service, Task};
use musterd::protocol::peer_info::PeerInfo;
use musterd::registry::{Capacity, Client, PendingChanges, Registry};
use musterd::snapshots::{Producer, Snapshots, Visibility};
use musterd::work::Work;

/// The moment everything happens at.
pub(crate) const NOW: Timestamp = Timestamp::from_unix_nanos(1_800_000_000_000_000_000);

/// The registries of the comparison with nsqlookupd: topics × channels × producers of each.
pub(crate) const REGISTRIES: [(&str, usize, usize, usize); 5] = [
    ("A", 1, 1, 1),
    ("B", 100, 1, 10),
    ("C", 1_000, 4, 100),
    ("D", 10_000, 4, 3),
    ("E", 1, 1, 1_000),
];

/// The socket's address of nsqd `number`.
#[must_use]
pub(crate) fn address(number: usize) -> SocketAddr {
    let low = u32::try_from(number).expect("a fleet is smaller");
    let port = u16::try_from(20_000 + number % 40_000).expect("below 60,000");
    SocketAddr::new(std::net::Ipv4Addr::from(0x0a00_0000 | low).into(), port)
}

fn peer_info(number: usize) -> String {
    let name = format!("nsqd-{number:05}.example");
    testkit::wire::peer_info(&name, &name)
}

/// What nsqd `number` says of itself.
#[must_use]
pub(crate) fn identity(number: usize) -> PeerInfo {
    PeerInfo::decode(peer_info(number).as_bytes()).expect("a sample")
}

/// The IDENTIFY command of nsqd `number`.
#[must_use]
pub(crate) fn identify_command(number: usize) -> Vec<u8> {
    let mut command = Vec::new();
    testkit::wire::identify(&peer_info(number), &mut command);
    command
}

/// nsqd `number` as the snapshots shows it.
#[must_use]
pub(crate) fn peer(number: usize) -> Arc<Producer> {
    Producer::new(address(number), identity(number), NOW)
}

/// A registry with the nsqds that filled it.
#[derive(Debug)]
pub(crate) struct Fleet {
    /// The registry, all changes published.
    pub(crate) registry: Registry,
    /// What is not published yet.
    pub(crate) batch: PendingChanges,
    /// The nsqds, in the order they came.
    pub(crate) clients: Vec<Client>,
}

impl Default for Fleet {
    fn default() -> Self {
        let registry = Registry::new(Arc::new(Snapshots::default()), Capacity::default());
        Self { registry, batch: PendingChanges::default(), clients: Vec::new() }
    }
}

impl Fleet {
    /// A fleet whose first topic `t0` has `producers` producers, in channel `c0` too.
    #[must_use]
    pub(crate) fn wide(producers: usize) -> Self {
        Self::filled(1, 1, producers)
    }

    /// `topics` topics `t0`, `t1`, … of `channels` channels `c0`, … and `producers` producers each.
    /// The topics share the nsqds.
    #[must_use]
    pub(crate) fn filled(topics: usize, channels: usize, producers: usize) -> Self {
        let mut fleet = Self::default();
        for number in 0..producers {
            let mut client = fleet.identify(number);
            for topic in 0..topics {
                for channel in 0..channels {
                    fleet.register(&mut client, &topic_name(topic), Some(&format!("c{channel}")));
                }
            }
            fleet.commit();
            fleet.clients.push(client);
        }
        fleet
    }

    /// nsqd `number` arrives.
    #[must_use]
    pub(crate) fn identify(&mut self, number: usize) -> Client {
        self.registry.identify(&mut self.batch, address(number), identity(number), NOW)
    }

    /// It registers; there is room.
    pub(crate) fn register(&mut self, client: &mut Client, topic: &str, channel: Option<&str>) {
        let done = self.registry.register(&mut self.batch, client, topic, channel);
        done.expect("the capacity is larger than any bench");
    }

    /// It goes.
    pub(crate) fn leave(&mut self, mut client: Client) {
        let work = &mut Work::unlimited();
        assert!(self.registry.leave(&mut self.batch, &mut client, work, |_, _| {}));
    }

    /// Publishes.
    pub(crate) fn commit(&mut self) {
        self.registry.commit(&mut self.batch);
    }
}

/// Topic `number`.
#[must_use]
pub(crate) fn topic_name(number: usize) -> String {
    format!("t{number}")
}

/// Answers HTTP requests from an `Api`, and measures how long that takes as the daemon does.
pub(crate) struct Static(Api, Clock, RequestDurations);

impl Static {
    /// A service of connections that see `fleet`.
    #[must_use]
    pub(crate) fn new(fleet: Fleet) -> Self {
        Self::of(Arc::new(fleet.registry))
    }

    /// The same, of a registry.
    #[must_use]
    pub(crate) fn of(registry: Arc<Registry>) -> Self {
        let api = Api {
            registry,
            visibility: Visibility {
                inactive_producer_timeout: Duration::from_secs(300),
                tombstone_lifetime: Duration::from_secs(45),
            },
            cache_from: CACHE_FROM,
            walks: Arc::default(),
            metrics: Arc::default(),
        };
        Self(api, Clock::system(), RequestDurations::default())
    }
}

impl Service for Static {
    type Route = Routed;

    fn date(&mut self) -> Date {
        Date::new(1_800_000_000)
    }

    fn call(
        &mut self,
        request: &Request<'_, Routed>,
        now: Timestamp,
        response: &mut Response<'_>,
    ) -> Option<Box<dyn Task>> {
        self.0.answer(request, now, response)
    }

    fn answered(&mut self, request: &Request<'_, Routed>, now: Timestamp, status: u16) {
        assert_eq!(status, 200);
        let span = self.1.now().since(now);
        self.2.observe(Some(request.route), request.head.method, status, span);
    }

    fn refused(&mut self, _: SocketAddr, _: Timestamp, error: RequestError, _: &[u8]) {
        panic!("a bench's request was refused: {error:?}");
    }
}
