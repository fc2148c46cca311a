//! `instructions SCENE`: one hot path, run under callgrind, whose counts repeat on a busy machine.
//!
//! `benches/check-instructions` runs it and compares with what is recorded; without a scene it
//! lists them. What is counted is what runs inside [`measured`]. Must not: count what prepares.

mod support;

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use musterd::handler::{ConnectionHandler, Input, Token};
use musterd::http1::Connection;
use musterd::protocol::decode::decode;
use musterd::protocol::peer_info::PeerInfo;
use musterd::registry::Client;
use musterd::session::{Observer, Session, SessionEvent, Sessions, Timeouts};
use musterd::work::Work;

use support::{Fleet, NOW, REGISTRIES, Static, address, identify_command, topic_name};

/// How often each scene repeats what it measures; the counts are divided by it.
const ROUNDS: usize = 64;

type Scene = (&'static str, fn());

const SCENES: &[Scene] = &[
    ("decode-ping", || decoded(b"PING\n")),
    ("decode-register", || decoded(b"REGISTER some_topic some_channel\n")),
    ("decode-identify", decode_identify),
    ("turn-ping", || turn(|_| testkit::wire::PING.to_vec())),
    ("turn-register-known", || turn(|_| b"REGISTER t0 c0\n".to_vec())),
    ("turn-register-new", || turn(|round| format!("REGISTER n{round} c0\n").into_bytes())),
    ("register-wide-10", || register_wide(10)),
    ("register-wide-10000", || register_wide(10_000)),
    ("leave-wide-10", || leave_wide(10)),
    ("leave-wide-10000", || leave_wide(10_000)),
    ("leave-own-100", leave_own),
    ("new-topic-among-1000", || new_topic(1_000)),
    ("new-topic-among-100000", || new_topic(100_000)),
    ("lookup-A", || lookup("A")),
    ("lookup-B", || lookup("B")),
    ("lookup-C", || lookup("C")),
    ("lookup-D", || lookup("D")),
    ("lookup-D-alone", || lookup("D-alone")),
    // Nearly all of it is one copy: callgrind counts `rep movsb` by the byte.
    ("lookup-E", || lookup("E")),
];

#[expect(clippy::print_stdout, reason = "read by benches/check-instructions")]
fn main() {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    match SCENES.iter().find(|(name, _)| *name == wanted) {
        Some((_, scene)) => scene(),
        None => SCENES.iter().for_each(|(name, _)| println!("{name} {ROUNDS}")),
    }
}

/// callgrind collects while this runs: it is toggled by the name.
#[inline(never)]
fn measured<T>(work: impl FnOnce() -> T) -> T {
    black_box(work())
}

fn decoded(command: &'static [u8]) {
    measured(|| {
        for _ in 0..ROUNDS {
            black_box(decode(black_box(command), true, false).expect("it is valid"));
        }
    });
}

fn decode_identify() {
    let command = identify_command(7);
    let body = &command[b"IDENTIFY\n".len() + 4..];
    measured(|| {
        for _ in 0..ROUNDS {
            black_box(PeerInfo::decode(black_box(body)).expect("it is valid"));
        }
    });
}

/// Nobody looks.
struct Blind;

impl Observer for Blind {
    fn observe(&mut self, _address: SocketAddr, event: SessionEvent<'_>) {
        black_box(event);
    }
}

/// One command a turn and a commit after each, as of one nsqd with one command in flight.
fn turn(command: impl Fn(usize) -> Vec<u8>) {
    let fleet = Fleet::wide(3);
    let timeouts = Timeouts::with_inactive_timeout(Duration::from_secs(300));
    let registry = Arc::new(fleet.registry);
    let mut sessions = Sessions::new(registry, timeouts, b"identify_response"[..].into(), Blind);
    let (mut session, _) = sessions.on_open(address(9), Token::default(), NOW);
    let (mut output, mut work) = (Vec::new(), Work::unlimited());
    let hello = [b"  V1", &*identify_command(9), b"REGISTER t0 c0\n"].concat();
    one_turn(&mut sessions, &mut session, &hello, &mut output, &mut work);
    let commands: Vec<_> = (0..ROUNDS).map(command).collect();
    measured(|| {
        for command in &commands {
            one_turn(&mut sessions, &mut session, command, &mut output, &mut work);
        }
    });
}

fn one_turn(
    sessions: &mut Sessions<Blind>,
    session: &mut Session,
    bytes: &[u8],
    output: &mut Vec<u8>,
    work: &mut Work,
) {
    output.clear();
    let input = Input { bytes: black_box(bytes), end: false };
    black_box(sessions.on_input(session, input, NOW, output, usize::MAX / 2, work));
    sessions.commit();
}

/// More nsqds than `width`, which have come and registered nothing.
fn newcomers(fleet: &mut Fleet, width: usize) -> Vec<Client> {
    let newcomers = (0..ROUNDS).map(|number| fleet.identify(width + number)).collect();
    fleet.commit();
    newcomers
}

fn register_all(fleet: &mut Fleet, clients: &mut [Client]) {
    for client in clients {
        fleet.register(client, "t0", Some("c0"));
        fleet.commit();
    }
}

fn register_wide(width: usize) {
    let mut fleet = Fleet::wide(width);
    let mut clients = newcomers(&mut fleet, width);
    measured(|| register_all(&mut fleet, &mut clients));
}

fn leave_wide(width: usize) {
    let mut fleet = Fleet::wide(width);
    let mut clients = newcomers(&mut fleet, width);
    register_all(&mut fleet, &mut clients);
    measured(|| {
        for client in clients {
            fleet.leave(client);
            fleet.commit();
        }
    });
}

fn leave_own() {
    let mut fleet = Fleet::default();
    let mut clients = newcomers(&mut fleet, 0);
    for (number, client) in clients.iter_mut().enumerate() {
        for topic in 0..100 {
            fleet.register(client, &topic_name(number * 100 + topic), Some("c0"));
        }
    }
    fleet.commit();
    measured(|| {
        for client in clients {
            fleet.leave(client);
            fleet.commit();
        }
    });
}

fn new_topic(among: usize) {
    let mut fleet = Fleet::filled(among, 0, 1);
    let mut client = fleet.identify(2);
    let names: Vec<_> = (0..ROUNDS).map(|number| topic_name(among + number)).collect();
    measured(|| {
        for name in &names {
            fleet.register(&mut client, name, None);
            fleet.commit();
        }
    });
}

/// Whole HTTP requests: the request's bytes to the response's.
fn lookup(registry: &str) {
    let shape = REGISTRIES.iter().find(|(name, ..)| registry.starts_with(name));
    let &(_, topics, channels, producers) = shape.expect("one of them");
    // Only D is about the number of topics, and callgrind is slow. "D-alone" must cost the same.
    let topics = if registry == "D" { topics } else { 1 };
    let fleet = Fleet::filled(topics, channels, producers);
    let mut app = Static::new(fleet);
    let mut connection = Connection::new(address(0), NOW);
    let request = b"GET /lookup?topic=t0 HTTP/1.1\r\nHost: lookupd:4161\r\n\
        User-Agent: go-nsq/1.1.0\r\nAccept: application/vnd.nsq; version=1.0\r\n\
        Accept-Encoding: gzip\r\n\r\n";
    let (mut output, mut work) = (Vec::new(), Work::unlimited());
    let mut once = || {
        output.clear();
        let input = Input { bytes: black_box(request), end: false };
        connection.on_input(input, NOW, &mut output, usize::MAX / 2, &mut work, &mut app)
    };
    once();
    measured(|| {
        for _ in 0..ROUNDS {
            black_box(once());
        }
    });
}
