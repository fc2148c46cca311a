//! Sessions byte by byte: replies, deadlines, events, and what is left when they end.

use super::*;
use crate::registry::Capacity;
use crate::snapshots::Snapshots;

const IDENTIFY_RESPONSE: &[u8] = b"\0\0\0\x02HI";
const IDENTIFY: &[u8] = b"IDENTIFY\n\0\0\0\x44{\"broadcast_address\":\"b\",\"tcp_port\":1,\"http_port\":2,\"version\":\"1.3\"}";

/// Records every event as a short text.
#[derive(Debug, Default)]
struct Recorder(Vec<String>);

impl Observer for Recorder {
    fn observe(&mut self, _address: SocketAddr, event: SessionEvent<'_>) {
        self.0.push(match event {
            SessionEvent::Identified(peer) => {
                format!("Identified({})", peer.peer_info().version)
            }
            SessionEvent::Refused(refusal) => refusal.to_string(),
            other => format!("{other:?}"),
        });
    }
}

fn sessions(capacity: Capacity) -> Sessions<Recorder> {
    let registry = Arc::new(Registry::new(Arc::new(Snapshots::default()), capacity));
    let timeouts = Timeouts::with_inactive_timeout(Duration::from_secs(300));
    Sessions::new(registry, timeouts, IDENTIFY_RESPONSE.into(), Recorder::default())
}

fn second(number: i64) -> Timestamp {
    Timestamp::from_unix_nanos(number * 1_000_000_000)
}

fn open(sessions: &mut Sessions<Recorder>) -> Session {
    sessions.on_open(([127, 0, 0, 1], 5).into(), Token::default(), second(0)).0
}

/// Sends `bytes` in pieces of `step`, offering again what is not consumed, as an event loop does.
fn send(bytes: &[u8], step: usize, end: bool) -> (Vec<u8>, Next) {
    let mut sessions = sessions(Capacity::default());
    let mut session = open(&mut sessions);
    let (mut output, mut unconsumed) = (Vec::new(), Vec::new());
    let mut next = Next::Read { deadline: second(10) };
    let pieces = bytes.chunks(step).map(|piece| (piece, false));
    for (piece, end) in pieces.chain(end.then_some((&[][..], true))) {
        unconsumed.extend_from_slice(piece);
        let input = Input { bytes: &unconsumed, end };
        let handled = sessions.on_input(
            &mut session,
            input,
            second(1),
            &mut output,
            usize::MAX / 2,
            &mut Work::unlimited(),
        );
        unconsumed.drain(..handled.consumed);
        next = handled.next;
        if next == Next::Close {
            break;
        }
    }
    (output, next)
}

#[test]
fn replies_are_the_same_for_every_split() {
    let hello = [b"  V1", IDENTIFY].concat();
    let ok = [IDENTIFY_RESPONSE, encode::OK, encode::OK, encode::OK].concat();
    let script = [&hello[..], b"REGISTER t c\nPING\nUNREGISTER t\n"].concat();
    let quiet = Next::Read { deadline: second(601) };
    let refused = [IDENTIFY_RESPONSE, b"\0\0\0\x1fE_INVALID cannot IDENTIFY again"].concat();
    let cases: &[(&[u8], bool, &[u8], Next)] = &[
        (&script, false, &ok, quiet),
        (&script, true, &ok, Next::Close),
        (
            b"  V1PING\nPING\n",
            false,
            b"\0\0\0\x02OK\0\0\0\x02OK",
            Next::Read { deadline: second(10) },
        ),
        (b"  V2", false, b"\0\0\0\x0eE_BAD_PROTOCOL", Next::Close),
        (b"  V", true, b"", Next::Close),
        (&[&hello[..], IDENTIFY].concat(), false, &refused, Next::Close),
        (
            b"  V1IDENTIFY\n\xff\xff\xff\xff",
            false,
            b"\0\0\0\x28E_BAD_BODY IDENTIFY invalid body size -1",
            Next::Close,
        ),
    ];
    for (bytes, end, want, next) in cases {
        for step in [1, 2, 7, 1000] {
            let (output, got) = send(bytes, step, *end);
            let shown = String::from_utf8_lossy(bytes);
            assert_eq!(String::from_utf8_lossy(&output), String::from_utf8_lossy(want), "{shown}");
            assert_eq!(got, *next, "{shown} in steps of {step}");
        }
    }
}

#[test]
fn deadline_is_that_of_the_handshake_the_command_or_the_silence() {
    let mut sessions = sessions(Capacity::default());
    let mut session = open(&mut sessions);
    let mut next = |bytes: &[u8], at: i64| {
        let input = Input { bytes, end: false };
        sessions
            .on_input(
                &mut session,
                input,
                second(at),
                &mut Vec::new(),
                1000,
                &mut Work::unlimited(),
            )
            .next
    };
    let until = |at| Next::Read { deadline: second(at) };
    assert_eq!(next(b"  V1PING\n", 3), until(10));
    assert_eq!(next(b"IDEN", 4), until(10));
    assert_eq!(next(IDENTIFY, 5), until(605));
    assert_eq!(next(b"REG", 20), until(30));
    assert_eq!(next(b"REGI", 25), until(30), "more bytes of it do not move the deadline");
    assert_eq!(next(b"REGISTER t\n", 26), until(626));
    assert_eq!(next(b"PING\nPI", 27), until(37));
}

#[test]
fn silence_is_the_longer_of_two_timeouts_and_ten_minutes() {
    for (inactive, silence) in [(1, 600), (300, 600), (301, 602), (3600, 7200)] {
        let timeouts = Timeouts::with_inactive_timeout(Duration::from_secs(inactive));
        assert_eq!(timeouts.silence, Duration::from_secs(silence), "{inactive}");
    }
}

#[test]
fn silent_link_stays_unless_it_has_to_make_room() {
    use std::sync::atomic::{AtomicUsize, Ordering};

    let needed = Arc::new(AtomicUsize::new(0));
    let asked = Arc::clone(&needed);
    let links = SilentLinks::new(move || asked.load(Ordering::Relaxed));
    let mut sessions = sessions(Capacity::default()).making_room(links);
    let mut open_at = |at| {
        let mut session = open(&mut sessions);
        let bytes = &[b"  V1", IDENTIFY].concat();
        let (input, work) = (Input { bytes, end: false }, &mut Work::unlimited());
        let handled =
            sessions.on_input(&mut session, input, second(at), &mut Vec::new(), 1000, work);
        assert_eq!(handled.next, Next::Read { deadline: second(at + 300) });
        session
    };
    let (mut first, mut later) = (open_at(0), open_at(1));
    assert_eq!(sessions.on_silence(&mut later, second(301)), Some(second(306)));
    assert_eq!(sessions.on_silence(&mut first, second(302)), Some(second(307)));
    needed.store(1, Ordering::Relaxed);
    assert_eq!(sessions.on_silence(&mut later, second(306)), Some(second(311)));
    assert_eq!(
        sessions.on_silence(&mut first, second(307)),
        None,
        "it has been silent for longest"
    );
    assert!(sessions.on_close(&mut first, CloseReason::Expired, &mut Work::unlimited()));
    drop(first);
    needed.store(0, Ordering::Relaxed);
    assert_eq!(sessions.on_silence(&mut later, second(311)), Some(second(316)), "there is room");
    assert_eq!(sessions.on_silence(&mut later, second(598)), Some(second(601)));
    assert_eq!(sessions.on_silence(&mut later, second(601)), None, "nobody is silent for longer");
    let input = Input { bytes: b"PI", end: false };
    let work = &mut Work::unlimited();
    let next = sessions.on_input(&mut later, input, second(600), &mut Vec::new(), 9, work).next;
    assert_eq!(next, Next::Read { deadline: second(610) });
    assert_eq!(sessions.on_silence(&mut later, second(610)), None, "its command takes too long");
    let mut third = open(&mut sessions);
    assert_eq!(sessions.on_silence(&mut third, second(10)), None, "it has not identified");
}

#[test]
fn it_stops_at_the_budget_and_continues_later() {
    let mut sessions = sessions(Capacity::default());
    let mut session = open(&mut sessions);
    let input = [b"  V1", &b"PING\n".repeat(10)[..]].concat();
    let mut output = b"of others".to_vec();
    let input = Input { bytes: &input, end: false };
    let handled =
        sessions.on_input(&mut session, input, second(0), &mut output, 10, &mut Work::unlimited());
    assert_eq!((handled.consumed, handled.next, output.len()), (14, Next::Write, 9 + 12));
}

#[test]
fn closed_connection_leaves_every_topic_and_the_observer_is_told() {
    let mut sessions =
        sessions(Capacity { registrations: 100, per_nsqd: 3, ..Capacity::default() });
    let mut session = open(&mut sessions);
    let input = [b"  V1", IDENTIFY, b"REGISTER t c\nREGISTER u\nREGISTER v\nPING\n"].concat();
    let mut output = Vec::new();
    let input = Input { bytes: &input, end: false };
    let handled = sessions.on_input(
        &mut session,
        input,
        second(2),
        &mut output,
        1000,
        &mut Work::unlimited(),
    );
    assert!(matches!(handled.next, Next::Read { .. }));
    sessions.commit();
    let snapshots = Arc::clone(sessions.registry.snapshots());
    let producers = || snapshots.topic("t", |t| t.map_or(9, |(t, _)| t.producers().len()));
    assert_eq!((producers(), sessions.registry.registrations()), (1, 3));
    sessions.on_close(&mut session, CloseReason::Finished, &mut Work::unlimited());
    sessions.commit();
    assert_eq!((producers(), sessions.registry.registrations()), (0, 0));
    let mut events = sessions.observer.0;
    events[7..].sort();
    assert_eq!(events[5], "LimitReached(Nsqd, true)");
    assert!(events[6].starts_with("Pinged"));
    let left = [
        "Closed(Finished, true)",
        "Left(\"t\", None)",
        "Left(\"t\", Some(\"c\"))",
        "Left(\"u\", None)",
    ];
    assert_eq!(events[7..], left);
}

#[test]
fn refused_register_keeps_its_connection_and_is_done_once_there_is_room() {
    let mut sessions =
        sessions(Capacity { registrations: 100, per_nsqd: 3, ..Capacity::default() });
    let mut session = open(&mut sessions);
    let registry = Arc::clone(&sessions.registry);
    let mut send = |script: &[u8], at: i64| {
        let (input, mut output) = (Input { bytes: script, end: false }, Vec::new());
        let work = &mut Work::unlimited();
        let handled = sessions.on_input(&mut session, input, second(at), &mut output, 10_000, work);
        assert_eq!(handled.consumed, script.len());
        sessions.commit();
        output
    };
    let mut refused = Vec::new();
    encode::frame(b"E_INVALID REGISTER too many registrations of this nsqd", &mut refused);
    send(&[b"  V1", IDENTIFY, b"REGISTER t c\nREGISTER u\n"].concat(), 0);
    let mut topics = |script: &str, at, want_output: &[u8], want: &[&str]| {
        assert_eq!(send(script.as_bytes(), at), want_output, "{script}");
        let mut shown = Vec::new();
        registry.snapshots().each_topic(|name, topic| {
            if !topic.producers().is_empty() {
                shown.push(name.to_string());
            }
        });
        shown.sort();
        assert_eq!(shown, want, "{script}");
    };
    let twice = refused.repeat(2);
    topics("REGISTER v\nREGISTER w x\n", 1, &twice, &["t", "u"]);
    topics("PING\n", 2, encode::OK, &["t", "u"]);
    topics("UNREGISTER u\n", 3, encode::OK, &["t"]);
    topics("PING\n", 4, encode::OK, &["t", "v"]);
    // It needs room for two.
    topics("UNREGISTER t c\nPING\n", 5, &encode::OK.repeat(2), &["t", "v"]);
    topics("UNREGISTER w\nUNREGISTER t\nPING\n", 6, &encode::OK.repeat(3), &["v"]);
    assert_eq!(registry.refused(), 0, "an UNREGISTER takes it out");
    topics("REGISTER a b\nREGISTER t\n", 62, &[encode::OK, &refused].concat(), &["a", "v"]);
    assert_eq!(registry.refused(), 1);
    sessions.on_close(&mut session, CloseReason::Finished, &mut Work::unlimited());
    assert_eq!((registry.refused(), registry.registrations()), (0, 0));
    let lines =
        ["LimitReached(Nsqd, true)", "LimitReached(Nsqd, false)", "LimitReached(Nsqd, true)"];
    let events = sessions.observer.0.iter().filter(|event| event.starts_with("LimitReached"));
    assert_eq!(events.collect::<Vec<_>>(), lines, "a line a minute");
}

/// A session with `count` channels of the topic "wide".
fn wide(sessions: &mut Sessions<Recorder>, count: usize) -> Session {
    let mut session = open(sessions);
    let mut script = [b"  V1", IDENTIFY].concat();
    (0..count).for_each(|number| script.extend(format!("REGISTER wide c{number}\n").bytes()));
    let input = Input { bytes: &script, end: false };
    let work = &mut Work::unlimited();
    let handled =
        sessions.on_input(&mut session, input, second(0), &mut Vec::new(), usize::MAX / 2, work);
    assert_eq!(handled.consumed, script.len());
    session
}

/// The registrations that are left after each call: the first call begins only, so that all slices
/// are done behind other connections, and each of them is a small one.
fn check_slices(left: &[usize]) {
    assert_eq!(left[0], 3 * AT_ONCE + 1, "{left:?}");
    assert!(left.len() >= 3, "{left:?}");
    assert!(left.windows(2).all(|calls| calls[0] - calls[1] < 2 * AT_ONCE), "{left:?}");
}

#[test]
fn long_unregister_is_replied_to_after_its_last_slice() {
    let mut sessions = sessions(Capacity::default());
    let mut session = wide(&mut sessions, 3 * AT_ONCE);
    let script = b"UNREGISTER wide\nPING\nREGISTER wide c\n";
    let (mut output, mut consumed) = (Vec::new(), 0);
    let registry = Arc::clone(&sessions.registry);
    let mut left = Vec::new();
    loop {
        let input = Input { bytes: &script[consumed..], end: false };
        let work = &mut Work::units(1);
        let handled =
            sessions.on_input(&mut session, input, second(1), &mut output, 1_000_000, work);
        consumed += handled.consumed;
        left.push(registry.registrations());
        match handled.next {
            Next::Continue if output.is_empty() => {
                assert_eq!(consumed, "UNREGISTER wide\n".len());
            }
            Next::Continue => {}
            next => {
                assert!(matches!(next, Next::Read { .. }));
                break;
            }
        }
    }
    check_slices(&left[..left.len() - 2]);
    assert_eq!(output, encode::OK.repeat(3));
    assert_eq!(registry.registrations(), 2, "what stands behind it is done after it");
    let events = sessions.observer.0.concat();
    let whole = "Unregistered(\"wide\", None, RegistrationChange { topic: true, channels: 192 })";
    assert!(events.contains(whole), "{events}");
}

#[test]
fn nsqd_with_many_registrations_leaves_behind_other_connections() {
    let mut sessions = sessions(Capacity::default());
    let mut session = wide(&mut sessions, 3 * AT_ONCE);
    let mut left = Vec::new();
    while !sessions.on_close(&mut session, CloseReason::Broken, &mut Work::units(1)) {
        left.push(sessions.registry.registrations());
    }
    check_slices(&left);
    assert_eq!(sessions.registry.registrations(), 0);
    let closed = |event: &&String| event.starts_with("Closed");
    assert_eq!(sessions.observer.0.iter().filter(closed).count(), 1);
    assert_eq!(sessions.observer.0.iter().filter(|event| event.starts_with("Left")).count(), 193);
}

#[test]
fn many_changes_are_published_before_more_are_made() {
    let mut sessions = sessions(Capacity::default());
    let mut session = open(&mut sessions);
    let mut offer = |bytes: &[u8]| {
        let (input, mut output) = (Input { bytes, end: false }, Vec::new());
        let work = &mut Work::unlimited();
        sessions.on_input(&mut session, input, second(1), &mut output, usize::MAX / 2, work);
        let mut listed = 0;
        sessions.registry.snapshots().each_topic(|_, _| listed += 1);
        listed
    };
    offer(&[b"  V1", IDENTIFY].concat());
    let commands = |from: usize| {
        (from..from + 63).map(|name| format!("REGISTER t{name}\n")).collect::<String>()
    };
    assert_eq!(offer(commands(0).as_bytes()), 0);
    assert_eq!(offer(commands(63).as_bytes()), 0);
    assert_eq!(offer(commands(126).as_bytes()), 126);
}
