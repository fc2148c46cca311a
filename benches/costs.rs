//! `costs NAMES`: every command and every route, on a registry of so many names, under callgrind.
//!
//! `benches/check-costs` runs it: callgrind writes a file behind each call of [`measured`], and this
//! prints a line for each. A line says what it was, in how many calls of the handler, how many units of
//! work they spent, and its size: the bytes that went either way, and the names it was about. Must
//! not: count what prepares.

mod support;

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use musterd::api::Routed;
use musterd::handler::{ConnectionHandler, Handled, Input, Next, Token};
use musterd::http1::Connection;
use musterd::registry::Registry;
use musterd::session::{Observer, Session, SessionEvent, Sessions, Timeouts};
use musterd::work::Work;

use support::{Fleet, NOW, Static, address, identify_command, topic_name};

/// Units of work of one call, as the event loop gives it: `limits::CALL`.
const CALL: u32 = 1024;
/// Bytes of output of one call, as the event loop gives it: `limits::QUEUED_OUTPUT`.
const OUTPUT: usize = 256 * 1024;
/// How often a short command or request is repeated.
const ROUNDS: usize = 64;

/// What was measured of one scene.
#[derive(Default)]
struct Cost {
    calls: usize,
    work: u64,
    bytes: usize,
}

/// callgrind writes a file behind each call: it is named in `benches/check-costs`.
#[inline(never)]
fn measured(run: &mut dyn FnMut()) {
    run();
    black_box(());
}

/// Nobody looks.
struct Blind;

impl Observer for Blind {
    fn observe(&mut self, _address: SocketAddr, event: SessionEvent<'_>) {
        black_box(event);
    }
}

fn main() {
    let names = std::env::args().nth(1).and_then(|text| text.parse().ok());
    let names: usize = names.expect("costs NAMES");
    // Topics of one nsqd and one channel each, and a topic with a tenth of all names as channels.
    let (topics, wide) = (names * 45 / 100, names / 10);
    let registry = Arc::new(filled(topics, wide));
    commands(&registry, wide);
    routes(&registry, topics);
}

/// A registry of `topics` topics with a channel each, and one topic with `wide` channels; of nsqds with
/// 10,000 topics each.
fn filled(topics: usize, wide: usize) -> Registry {
    let mut fleet = Fleet::default();
    for first in (0..topics).step_by(10_000) {
        let mut client = fleet.identify(first / 10_000);
        for topic in first..topics.min(first + 10_000) {
            fleet.register(&mut client, &topic_name(topic), Some("c0"));
            fleet.commit();
        }
        fleet.clients.push(client);
    }
    let mut client = fleet.identify(9_000);
    for channel in 0..wide.min(99_999) {
        fleet.register(&mut client, "wide", Some(&format!("c{channel}")));
    }
    fleet.commit();
    fleet.clients.push(client);
    // They stay: nothing of theirs is removed.
    std::mem::forget(std::mem::take(&mut fleet.clients));
    fleet.registry
}

#[expect(clippy::print_stdout, reason = "read by benches/check-costs")]
fn report(name: &str, names: usize, run: impl FnOnce(&mut Cost)) {
    // What others have replaced is freed by whoever comes next: before, not meanwhile.
    while musterd::published::retired() > 0 {
        musterd::published::flush();
    }
    // Old tables are not counted.
    (0..1000).for_each(|_| musterd::published::flush());
    let (mut cost, mut run) = (Cost::default(), Some(run));
    measured(&mut || run.take().expect("once")(&mut cost));
    let Cost { calls, work, bytes } = cost;
    println!("{name} {calls} {work} {}", bytes + names);
}

fn commands(registry: &Arc<Registry>, wide: usize) {
    let timeouts = Timeouts::with_inactive_timeout(Duration::from_secs(300));
    let hello: Arc<[u8]> = b"identify_response"[..].into();
    let mut sessions = Sessions::new(Arc::clone(registry), timeouts, hello, Blind);
    let mut nsqd = |number| {
        let mut session = sessions.on_open(address(number), Token::default(), NOW).0;
        let hello = [b"  V1", &*identify_command(number)].concat();
        send(&mut sessions, &mut session, &hello, &mut Cost::default());
        session
    };
    let [mut first, mut second] = [nsqd(9_001), nsqd(9_002)];
    let repeated = |line: &str| line.repeat(ROUNDS).into_bytes();
    let numbered = |line: &str| -> Vec<u8> {
        (0..ROUNDS).flat_map(|n| line.replace('@', &n.to_string()).into_bytes()).collect()
    };
    let wide = wide.min(99_000);
    let channels: Vec<u8> =
        (0..wide).flat_map(|n| format!("REGISTER wide c{n}\n").into_bytes()).collect();
    let scenes = [
        ("PING", repeated("PING\n"), 0),
        ("REGISTER-new", numbered("REGISTER new@ c\n"), 0),
        ("REGISTER-known", numbered("REGISTER new@ c\n"), 0),
        ("REGISTER-channel", channels.clone(), 0),
        ("UNREGISTER-channel", numbered("UNREGISTER new@ c\n"), 0),
        ("UNREGISTER-topic", numbered("UNREGISTER new@\n"), 0),
        ("UNREGISTER-unknown", numbered("UNREGISTER never@\n"), 0),
        ("UNREGISTER-wide", b"UNREGISTER wide\n".to_vec(), wide),
    ];
    for (name, bytes, names) in scenes {
        report(name, names, |cost| send(&mut sessions, &mut first, &bytes, cost));
    }
    report("IDENTIFY", 0, |cost| {
        let mut session = sessions.on_open(address(9_003), Token::default(), NOW).0;
        let hello = [b"  V1", &*identify_command(9_003)].concat();
        send(&mut sessions, &mut session, &hello, cost);
        std::mem::forget(session);
    });
    send(&mut sessions, &mut second, &channels, &mut Cost::default());
    report("leave", wide, |cost| {
        loop {
            let mut work = Work::units(CALL);
            let done =
                sessions.on_close(&mut second, musterd::handler::CloseReason::Broken, &mut work);
            sessions.commit();
            cost.calls += 1;
            cost.work += work.spent();
            if done {
                break;
            }
        }
    });
    std::mem::forget(first);
}

/// Sends bytes of an nsqd, and goes on until all is replied to; a commit behind each call.
fn send(sessions: &mut Sessions<Blind>, session: &mut Session, bytes: &[u8], cost: &mut Cost) {
    drive(bytes, cost, |input, output, work| {
        let handled = sessions.on_input(session, input, NOW, output, OUTPUT, work);
        sessions.commit();
        handled
    });
}

fn drive(
    mut bytes: &[u8],
    cost: &mut Cost,
    mut call: impl FnMut(Input<'_>, &mut Vec<u8>, &mut Work) -> Handled,
) {
    cost.bytes += bytes.len();
    let mut output = Vec::with_capacity(2 * OUTPUT);
    loop {
        let mut work = Work::units(CALL);
        let handled = call(Input { bytes, end: false }, &mut output, &mut work);
        cost.calls += 1;
        cost.work += work.spent();
        cost.bytes += output.len();
        output.clear();
        bytes = &bytes[handled.consumed..];
        match handled.next {
            Next::Continue | Next::Write => {}
            _ if bytes.is_empty() => return,
            next => panic!("{next:?}, and {} bytes are left", bytes.len()),
        }
    }
}

fn routes(registry: &Arc<Registry>, topics: usize) {
    let all = registry.size();
    let mut app = Static::of(Arc::clone(registry));
    let short = |method: &str, target: &str| request(method, target).repeat(ROUNDS).into_bytes();
    let numbered = |method: &str, target: &str| -> Vec<u8> {
        (0..ROUNDS)
            .flat_map(|n| request(method, &target.replace('@', &n.to_string())).into_bytes())
            .collect()
    };
    let once = |method: &str, target: &str| request(method, target).into_bytes();
    let scenes = [
        ("/ping", short("GET", "/ping"), 0),
        ("/livez", short("GET", "/livez"), 0),
        ("/info", short("GET", "/info"), 0),
        ("/metrics", short("GET", "/metrics"), 0),
        ("/lookup", short("GET", "/lookup?topic=t0"), 0),
        ("/channels", short("GET", "/channels?topic=t0"), 0),
        ("/lookup-wide", once("GET", "/lookup?topic=wide"), 0),
        ("/channels-wide", once("GET", "/channels?topic=wide"), 0),
        ("/topics", once("GET", "/topics"), 0),
        ("/channels-all", once("GET", "/channels?topic=*"), all),
        ("/lookup-all", once("GET", "/lookup?topic=*"), all),
        ("/nodes", once("GET", "/nodes"), all),
        ("/debug", once("GET", "/debug"), 0),
        ("/topic/create", numbered("POST", "/topic/create?topic=created@"), 0),
        ("/channel/create", numbered("POST", "/channel/create?topic=created@&channel=c"), 0),
        ("/channel/delete", numbered("POST", "/channel/delete?topic=created@&channel=c"), 0),
        ("/topic/delete", numbered("POST", "/topic/delete?topic=created@"), 0),
        ("/topic/tombstone", short("POST", "/topic/tombstone?topic=t0&node=none:1"), 0),
        ("/topic/tombstone-all", once("POST", "/topic/tombstone?topic=*&node=none:1"), topics),
        ("/topic/delete-wide", once("POST", "/topic/delete?topic=wide"), all - topics),
        ("/topic/delete-all", once("POST", "/topic/delete?topic=*"), all),
    ];
    for (name, bytes, names) in scenes {
        report(name, names, |cost| ask(&mut app, &bytes, cost));
    }
}

fn request(method: &str, target: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: lookupd:4161\r\nContent-Length: 0\r\n\r\n")
}

/// Sends bytes of an HTTP client, and goes on until all is answered.
fn ask(app: &mut Static, bytes: &[u8], cost: &mut Cost) {
    let mut connection = Connection::<Routed>::new(address(0), NOW);
    drive(bytes, cost, |input, output, work| {
        connection.on_input(input, NOW, output, OUTPUT, work, app)
    });
}
