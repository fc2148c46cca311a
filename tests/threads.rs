//! Many threads over one registry: writers as on shards of their own, admins, and readers of every
//! route, for a fixed amount of work.
//!
//! The simulation checks every answer but runs one step at a time. Here steps overlap, and the checks
//! are those that hold at any moment: a reader sees what was replied, no change is seen half, nothing
//! is left at the end. Must not: time anything. Sanitizers run it too (`tests/slow`).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use musterd::api::{Api, Routed};
use musterd::clock::Timestamp;
use musterd::handler::Input;
use musterd::http1::{Connection, Date, Request, RequestError, Response, Service, Task};
use musterd::protocol::peer_info::PeerInfo;
use musterd::registry::{Capacity, Client, PendingChanges, Registry};
use musterd::snapshots::{Snapshots, Visibility};
use musterd::work::Work;

const WRITERS: usize = 4;
const READERS: usize = 3;
const ADMINS: usize = 2;
/// Connections of each writer, one after another.
const ROUNDS: usize = if cfg!(miri) { 3 } else { 400 };
const NOW: Timestamp = Timestamp::from_unix_nanos(1_700_000_000_000_000_000);
/// The inactive timeout.
const SILENCE: Duration = Duration::from_secs(300);
/// Topics that all writers share.
const SHARED: [&str; 3] = ["shared", "busy", "brief#ephemeral"];

/// One reader of the API.
struct Reader<'a> {
    api: &'a Api,
    status: u16,
}

impl Service for Reader<'_> {
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
        self.status = status;
    }

    fn refused(&mut self, _: SocketAddr, _: Timestamp, error: RequestError, _: &[u8]) {
        panic!("{error:?} of a request that is right");
    }
}

/// The status and the body of the response.
fn respond(api: &Api, method: &str, target: &str) -> (u16, Vec<u8>) {
    let request = format!("{method} {target} HTTP/1.1\r\nHost: x\r\n\r\n");
    let input = Input { bytes: request.as_bytes(), end: false };
    let (mut reader, mut output) = (Reader { api, status: 0 }, Vec::new());
    let mut connection = Connection::new(([127, 0, 0, 1], 1).into(), NOW);
    connection.on_input(
        input,
        NOW,
        &mut output,
        usize::MAX / 2,
        &mut Work::unlimited(),
        &mut reader,
    );
    let head = output.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head") + 4;
    (reader.status, output.split_off(head))
}

fn ask(api: &Api, method: &str, target: &str) -> (u16, serde_json::Value) {
    let (status, body) = respond(api, method, target);
    let body = if body.is_empty() {
        serde_json::Value::Null
    } else {
        serde_json::from_slice(&body).expect("JSON")
    };
    (status, body)
}

fn identity(name: &str) -> PeerInfo {
    PeerInfo::decode(testkit::wire::peer_info(name, name).as_bytes()).expect("a sample")
}

/// Whether `/lookup` of the topic lists an nsqd of this name.
fn is_listed(api: &Api, topic: &str, name: &str) -> bool {
    let (_, body) = ask(api, "GET", &format!("/lookup?topic={topic}"));
    let producers = body["producers"].as_array();
    producers.is_some_and(|all| all.iter().any(|producer| producer["hostname"] == *name))
}

/// One nsqd after another: a lookup shows each change once it is committed, and nothing after the
/// nsqd has left.
fn write(api: &Api, writer: usize) {
    let registry = &api.registry;
    let mut batch = PendingChanges::default();
    let own = format!("own-{writer}");
    for round in 0..ROUNDS {
        let name = format!("w{writer}r{round}");
        let address = SocketAddr::from(([10, 0, 0, 1], u16::try_from(writer).expect("few")));
        let mut client = registry.identify(&mut batch, address, identity(&name), NOW);
        for topic in SHARED {
            let channel = ["c", "e#ephemeral"][round % 2];
            registry.register(&mut batch, &mut client, topic, Some(channel)).expect("room");
        }
        registry.register(&mut batch, &mut client, &own, None).expect("room");
        registry.commit(&mut batch);
        assert!(is_listed(api, &own, &name), "{name} was replied to and is not seen");
        if round % 3 == 0 {
            let work = &mut Work::unlimited();
            registry.unregister_topic(&mut batch, &mut client, &own, work, |_| {});
            registry.commit(&mut batch);
            assert!(!is_listed(api, &own, &name), "{name} is seen after UNREGISTER");
        }
        leave(registry, &mut batch, client);
        assert!(!is_listed(api, &own, &name), "{name} is seen after it left");
    }
}

fn leave(registry: &Registry, batch: &mut PendingChanges, mut client: Client) {
    assert!(registry.leave(batch, &mut client, &mut Work::unlimited(), |_, _| {}));
    registry.commit(batch);
}

/// Reads all routes; each answer must be whole.
fn read(api: &Api, done: &AtomicBool) {
    loop {
        for topic in SHARED {
            let topic = topic.replace('#', "%23");
            let (status, body) = ask(api, "GET", &format!("/lookup?topic={topic}"));
            assert!(status == 200 || status == 404, "{status}: {body}");
        }
        let (_, nodes) = ask(api, "GET", "/nodes");
        for node in nodes["producers"].as_array().expect("an array") {
            let length = |key: &str| node[key].as_array().expect("an array").len();
            assert_eq!(length("topics"), length("tombstones"), "nsqadmin would crash: {node}");
        }
        for target in ["/topics", "/debug", "/channels?topic=*"] {
            assert_eq!(ask(api, "GET", target).0, 200);
        }
        if done.load(Ordering::SeqCst) {
            return;
        }
    }
}

/// Creates, deletes and tombstones the shared topics.
fn administrate(api: &Api, done: &AtomicBool) {
    for round in 0.. {
        let topic = ["busy", "brief%23ephemeral", "made"][round % 3];
        for target in [
            format!("/channel/create?topic={topic}&channel=made"),
            format!("/topic/tombstone?topic=shared&node=w0r{round}:4151"),
            format!("/topic/delete?topic={topic}"),
        ] {
            assert_eq!(ask(api, "POST", &target).0, 200, "{target}");
        }
        if done.load(Ordering::SeqCst) {
            return;
        }
    }
}

fn api() -> Api {
    Api {
        registry: Arc::new(Registry::new(Arc::new(Snapshots::default()), Capacity::default())),
        visibility: Visibility {
            inactive_producer_timeout: SILENCE,
            tombstone_lifetime: Duration::from_secs(45),
        },
        cache_from: 1,
        walks: Arc::default(),
        metrics: Arc::default(),
    }
}

/// `producers` nsqds register topic `t`. The one that a lookup renders first, so that a PING mostly comes
/// after it was left out, and the others.
fn first_rendered(api: &Api, batch: &mut PendingChanges, producers: u16) -> (Client, Vec<Client>) {
    let mut clients: Vec<_> = (0..producers)
        .map(|number| {
            let address = SocketAddr::from(([10, 0, 0, 1], number));
            let name = format!("n{number}");
            let mut client = api.registry.identify(batch, address, identity(&name), NOW);
            api.registry.register(batch, &mut client, "t", None).expect("room");
            client
        })
        .collect();
    api.registry.commit(batch);
    let first = api.registry.snapshots().topic("t", |topic| {
        topic.expect("listed").0.producers().iter().next().map(|peer| peer.address())
    });
    let at = clients.iter().position(|client| Some(client.producer().address()) == first);
    (clients.swap_remove(at.expect("one of them")), clients)
}

/// An inactive producer that sends a PING while a lookup of its topic is rendered is in all later
/// answers: a cached answer is valid only from the moment at which its rendering began.
#[test]
fn a_ping_during_rendering_is_in_the_next_answer() {
    const PRODUCERS: u16 = if cfg!(miri) { 8 } else { 1_000 };
    const ROUNDS: usize = if cfg!(miri) { 2 } else { 400 };
    let api = api();
    let mut batch = PendingChanges::default();
    let (mut silent, _others) = first_rendered(&api, &mut batch, PRODUCERS);
    let long_ago = Timestamp::from_unix_nanos(NOW.unix_nanos() - 600_000_000_000);
    let (done, reads) = (AtomicBool::new(false), AtomicUsize::new(0));
    let lookup = || respond(&api, "GET", "/lookup?topic=t").1;
    let mut missing = 0;
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                lookup();
                reads.fetch_add(1, Ordering::SeqCst);
            }
        });
        let read_once = || {
            let before = reads.load(Ordering::SeqCst);
            while reads.load(Ordering::SeqCst) == before {
                thread::yield_now();
            }
        };
        for round in 0..ROUNDS {
            silent.producer().update(long_ago);
            // Publishes the topic again: nothing is cached, and the second lookup from here on is cached.
            let channel = format!("c{round}");
            api.registry.register(&mut batch, &mut silent, "t", Some(&channel)).expect("room");
            api.registry.commit(&mut batch);
            read_once();
            // A little later in each round, so that some PINGs fall into the rendering.
            if round % 2 == 0 {
                (0..round % 50 * 20).for_each(|_| std::hint::spin_loop());
            } else {
                thread::sleep(Duration::from_micros(round as u64 % 10 * 50));
            }
            silent.producer().update(NOW);
            read_once();
            read_once();
            let name = format!("\"hostname\":\"{}\"", silent.producer().peer_info().hostname);
            let body = lookup();
            missing += usize::from(!String::from_utf8_lossy(&body).contains(&name));
        }
        done.store(true, Ordering::SeqCst);
    });
    assert_eq!(
        missing, 0,
        "of {ROUNDS} answers lack a producer that was active before the request"
    );
}

#[test]
fn concurrent_writers_admins_and_readers_agree() {
    let api = api();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..READERS {
            scope.spawn(|| read(&api, &done));
        }
        for _ in 0..ADMINS {
            scope.spawn(|| administrate(&api, &done));
        }
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                scope.spawn({
                    let api = &api;
                    move || write(api, writer)
                })
            })
            .collect();
        let written: Vec<_> = writers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::SeqCst);
        written.into_iter().for_each(|writer| writer.expect("a writer failed; see above"));
    });
    for name in ["busy", "brief%23ephemeral", "made"] {
        ask(&api, "POST", &format!("/topic/delete?topic={name}"));
    }
    let (_, nodes) = ask(&api, "GET", "/nodes");
    assert_eq!(nodes["producers"], serde_json::json!([]));
    assert_eq!(api.registry.registrations(), 0);
    let (_, debug) = ask(&api, "GET", "/debug");
    assert_eq!(debug, serde_json::json!({}), "producers are left");
    let (_, topics) = ask(&api, "GET", "/topics");
    let (_, channels) = ask(&api, "GET", "/channels?topic=*");
    let count = |list: &serde_json::Value| list.as_array().expect("an array").len();
    let listed = count(&topics["topics"]) + count(&channels["channels"]);
    assert_eq!(api.registry.topics() + api.registry.channels(), listed, "{topics} {channels}");
}
