//! What a peer can make the loop keep: unread output, rejected connections, slots at rest.

use super::lines::Connection;
use super::*;
use crate::connections::deadlines::CoarseTime;
use crate::connections::slot::Slot;
use crate::handler::CloseReason;
use crate::limits;
use std::sync::atomic::Ordering;

#[test]
fn peer_that_does_not_read_is_not_read() {
    let mut test = TestLoop::new();
    let mut peer = test.peer();
    peer.set_nonblocking(true).unwrap();
    // Each chunk asks for 4 MB, so that the kernel's buffers are full after a few; the loop gets
    // an event for each of the others and must not read it.
    let chunk = b"big 4000\n".repeat(1000);
    let mut sent = 0;
    for _ in 0..200 {
        match peer.write(&chunk) {
            Ok(bytes) => sent += bytes,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        test.event_loop.poll_once(Duration::ZERO).unwrap();
    }
    test.settle();
    let most = (limits::QUEUED_OUTPUT + 4000) as u64;
    assert!(test.counters.queued_output() > 0);
    assert!(test.counters.queued_output() <= most, "{:?}", test.counters);
    assert!(test.counters.received.get() < sent as u64, "the loop reads what it cannot answer");
    drop(peer);
    test.until("gone", |test| test.event_loop.is_empty());
    assert_eq!(test.counters.queued_output(), 0);
}

#[test]
fn peer_with_a_large_unread_reply_is_not_read() {
    let mut test = TestLoop::new();
    let mut peer = test.peer();
    test.send(&mut peer, LARGE);
    let read = test.counters.received.get();
    peer.write_all(b"echo more\n").unwrap();
    test.settle();
    assert_eq!(test.counters.received.get(), read, "it waits in the kernel");
    test.expect(&mut peer, &[&vec![b'x'; LARGE_SIZE][..], b"more\n"].concat());
}

#[test]
fn large_reply_reaches_a_slow_reader_whole() {
    let mut test = TestLoop::new();
    let mut peer = test.peer();
    let size = LARGE_SIZE;
    test.send(&mut peer, &[b"echo first\n", LARGE].concat());
    assert!(test.counters.queued_output() > 0, "it does not fit the kernel's buffers");
    test.expect(&mut peer, b"first\n");
    let mut got = 0;
    test.until("the whole reply", |_| {
        let mut chunk = Vec::new();
        read_some(&mut peer, &mut chunk, 4 * 1024 * 1024);
        assert!(chunk == vec![b'x'; chunk.len()]);
        got += chunk.len();
        got >= size
    });
    test.send(&mut peer, b"echo after\n");
    test.expect(&mut peer, b"after\n");
    assert_eq!((got, test.counters.queued_output()), (size, 0));
    let idle = test.event_loop.output.bytes.capacity();
    assert!(idle <= 1024 * 1024, "the loop keeps a buffer of {idle} bytes");
}

#[test]
fn large_replies_of_one_iteration_are_written_early() {
    let mut test = TestLoop::new();
    let mut peers: Vec<_> = (0..40).map(|_| test.peer()).collect();
    for peer in &mut peers {
        peer.write_all(b"big 30000\n").unwrap();
    }
    for peer in &mut peers {
        test.expect(peer, &[b'x'; 30_000]);
    }
    let most = test.log.most_waiting.load(Ordering::SeqCst);
    assert!((30_000..64 * 1024).contains(&most), "{most} bytes waited for one commit");
    assert!(test.event_loop.output.bytes.capacity() <= 1024 * 1024);
}

#[test]
fn connection_over_the_cap_is_told_and_closed() {
    let mut test = TestLoop::with(Options { max_connections: 2, ..OPTIONS });
    let mut first = test.peer();
    let second = test.peer();
    let mut third = test.peer();
    // It has written its request already: the refusal must not be lost to a reset.
    third.write_all(b"echo hello\n").unwrap();
    assert_eq!(test.until_end(&mut third), b"full\n");
    assert_eq!((test.counters.refused.get(), test.counters.open()), (1, 2));
    drop(second);
    test.until("room", |test| test.counters.open() == 1);
    let mut fourth = test.peer();
    for peer in [&mut first, &mut fourth] {
        test.send(peer, b"echo in\n");
        test.expect(peer, b"in\n");
    }
    drop(third);
    test.until("the refused one is gone", |test| test.event_loop.len() == 2);
}

#[test]
fn rejected_connections_that_stay_are_bounded() {
    let mut test = TestLoop::with(Options { max_connections: 0, ..OPTIONS });
    let peers: Vec<_> = (0..200).map(|_| TcpStream::connect(test.address).unwrap()).collect();
    test.until("all refused", |test| test.counters.refused.get() == 200);
    assert!(test.event_loop.len() <= crate::access::REJECTED);
    test.pass(limits::LINGER + Duration::from_secs(1));
    assert!(test.event_loop.is_empty(), "a refused peer cannot stay");
    drop(peers);
}

#[test]
fn slot_at_rest_is_small_and_owns_no_buffers() {
    assert!(size_of::<Slot<Connection>>() <= 32 + size_of::<Connection>() + 8);
    let mut test = TestLoop::new();
    let mut peer = test.peer();
    test.send(&mut peer, b"echo one\necho tw");
    let token = test.event_loop.slots.token_at(0).unwrap();
    assert!(!test.event_loop.slots.get_mut(token).unwrap().is_at_rest());
    test.send(&mut peer, b"o\n");
    test.expect(&mut peer, b"one\ntwo\n");
    assert!(test.event_loop.slots.get_mut(token).unwrap().is_at_rest(), "its buffers are gone");
}

#[test]
fn accepted_sockets_inherit_the_options_of_the_listener() {
    let mut test = TestLoop::with(Options { keepalive: Some(Duration::from_secs(15)), ..OPTIONS });
    let _peer = test.peer();
    let token = test.event_loop.slots.token_at(0).unwrap();
    let socket = &test.event_loop.slots.get_mut(token).unwrap().socket;
    use rustix::net::sockopt;
    assert!(sockopt::tcp_nodelay(socket).unwrap());
    assert_eq!(
        u128::from(sockopt::tcp_user_timeout(socket).unwrap()),
        limits::TCP_USER_TIMEOUT.as_millis()
    );
    // The kernel takes twice as much memory for it.
    assert_eq!(sockopt::socket_send_buffer_size(socket).unwrap(), 2 * limits::SEND_BUFFER);
    assert!(sockopt::socket_keepalive(socket).unwrap());
    assert_eq!(sockopt::tcp_keepidle(socket).unwrap(), Duration::from_secs(15));
    assert_eq!(sockopt::tcp_keepintvl(socket).unwrap(), limits::KEEPALIVE_INTERVAL);
    assert!(
        limits::KEEPALIVE + 5 * limits::KEEPALIVE_INTERVAL <= limits::TCP_USER_TIMEOUT,
        "five must be lost"
    );
}

/// The name of the test that another one runs in a process of its own.
const STARVED: &str = "connections::tests::limits::without_descriptors";

#[test]
fn running_out_of_descriptors_costs_neither_peers_nor_cpu() {
    let run = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", STARVED, "--ignored", "--test-threads=1"])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && told.contains("1 passed"), "{told}");
}

#[test]
#[ignore = "lowers RLIMIT_NOFILE: run in a process of its own by the test above"]
fn without_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let mut test = TestLoop::new();
    let mut before = test.peer();
    let mut waiting = TcpStream::connect(test.address).unwrap();
    waiting.write_all(b"echo at last\n").unwrap();
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(3), maximum: limit.maximum }).unwrap();
    test.until("an accept fails", |test| test.counters.accept_errors.get() == 1);
    test.settle(); // which a listener that is still watched would not let it
    test.send(&mut before, b"echo still here\n");
    test.expect(&mut before, b"still here\n");
    assert_eq!(test.counters.accept_errors.get(), 1);
    test.pass(Duration::from_secs(1));
    assert_eq!(test.counters.accept_errors.get(), 2, "it tries again, once");
    setrlimit(Resource::Nofile, limit).unwrap();
    test.pass(Duration::from_secs(1));
    test.expect(&mut waiting, b"at last\n");
}

#[test]
fn listener_that_cannot_be_watched_again_costs_no_cpu() {
    let mut test = TestLoop::new();
    // It is still watched, so that to watch it again fails, as in a kernel without memory.
    let now = test.clock.now();
    let until = test.event_loop.acceptor.as_mut().unwrap().listener.pause(now);
    test.event_loop.deadlines.note(until);
    test.clock.set(test.clock.now() + Duration::from_secs(1));
    test.event_loop.handle().ping();
    test.settle();
    for _ in 0..3 {
        // A timer that is set for a moment that has passed fires at once.
        assert_eq!(test.event_loop.poll_once(WAIT).unwrap(), Progress::Quiet);
    }
    assert_ne!(test.event_loop.deadlines.armed, CoarseTime::NEVER, "it is tried again");
}

#[test]
fn handler_that_leaves_too_much_input_loses_that_connection_only() {
    let mut test = TestLoop::new();
    let (mut flood, mut other) = (test.peer(), test.peer());
    // A line without an end: this handler sets itself no bound, so the loop's must hold.
    let chunk = vec![b'a'; 60 * 1024];
    for _ in 0..3 {
        flood.write_all(&chunk).unwrap();
        test.settle();
    }
    test.until("ended", |test| test.log.endings() == [CloseReason::Panicked]);
    test.send(&mut other, b"echo fine\n");
    test.expect(&mut other, b"fine\n");
}
