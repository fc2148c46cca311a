//! What a peer can make the table keep: unread output, refused connections, slots at rest.

use super::lines::Dialogue;
use super::*;
use crate::connections::slot::Slot;
use crate::handler::CloseReason;
use crate::limits;
use std::sync::atomic::Ordering;

#[test]
fn a_peer_that_never_reads_is_not_read() {
    let mut bench = Bench::new();
    let mut peer = bench.peer();
    peer.set_nonblocking(true).unwrap();
    // Each chunk asks for 4 MB, so that the kernel's buffers are full after a few; the table hears
    // of each of the others and must leave it where it is.
    let chunk = b"big 4000\n".repeat(1000);
    let mut sent = 0;
    for _ in 0..200 {
        match peer.write(&chunk) {
            Ok(bytes) => sent += bytes,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        bench.table.turn(Duration::ZERO).unwrap();
    }
    bench.settle();
    let most = (limits::QUEUED_OUTPUT + 4000) as u64;
    assert!(bench.counters.queued_output() > 0);
    assert!(bench.counters.queued_output() <= most, "{:?}", bench.counters);
    assert!(
        bench.counters.received.get() < sent as u64,
        "the table reads what it cannot acknowledge"
    );
    drop(peer);
    bench.until("gone", |bench| bench.table.is_empty());
    assert_eq!(bench.counters.queued_output(), 0);
}

#[test]
fn a_large_answer_arrives_whole_at_a_slow_reader() {
    let mut bench = Bench::new();
    let mut peer = bench.peer();
    let size = LARGE_SIZE;
    bench.send(&mut peer, &[b"echo first\n", LARGE].concat());
    assert!(bench.counters.queued_output() > 0, "it does not fit the kernel's buffers");
    bench.expect(&mut peer, b"first\n");
    let mut got = 0;
    bench.until("the whole acknowledge", |_| {
        let mut chunk = Vec::new();
        read_some(&mut peer, &mut chunk, 4 * 1024 * 1024);
        assert!(chunk == vec![b'x'; chunk.len()]);
        got += chunk.len();
        got >= size
    });
    bench.send(&mut peer, b"echo after\n");
    bench.expect(&mut peer, b"after\n");
    assert_eq!((got, bench.counters.queued_output()), (size, 0));
    let idle = bench.table.output.bytes.capacity();
    assert!(idle <= 1024 * 1024, "the table keeps a buffer of {idle} bytes");
}

#[test]
fn many_large_answers_of_one_turn_are_written_early() {
    let mut bench = Bench::new();
    let mut peers: Vec<_> = (0..40).map(|_| bench.peer()).collect();
    for peer in &mut peers {
        peer.write_all(b"big 30000\n").unwrap();
    }
    for peer in &mut peers {
        bench.expect(peer, &[b'x'; 30_000]);
    }
    let most = bench.log.most_waiting.load(Ordering::SeqCst);
    assert!((30_000..64 * 1024).contains(&most), "{most} bytes waited for one commit");
    assert!(bench.table.output.bytes.capacity() <= 1024 * 1024);
}

#[test]
fn a_connection_over_the_cap_is_told_and_closed() {
    let mut bench = Bench::with(Options { max_connections: 2, ..OPTIONS });
    let mut first = bench.peer();
    let second = bench.peer();
    let mut third = bench.peer();
    // It has written its request already: the refusal must not be lost to a reset.
    third.write_all(b"echo hello\n").unwrap();
    assert_eq!(bench.until_end(&mut third), b"full\n");
    assert_eq!((bench.counters.refused.get(), bench.counters.open()), (1, 2));
    drop(second);
    bench.until("room", |bench| bench.counters.open() == 1);
    let mut fourth = bench.peer();
    for peer in [&mut first, &mut fourth] {
        bench.send(peer, b"echo in\n");
        bench.expect(peer, b"in\n");
    }
    drop(third);
    bench.until("the refused one is gone", |bench| bench.table.len() == 2);
}

#[test]
fn refused_connections_that_stay_are_bounded() {
    let mut bench = Bench::with(Options { max_connections: 0, ..OPTIONS });
    let peers: Vec<_> = (0..200).map(|_| TcpStream::connect(bench.address).unwrap()).collect();
    bench.until("all refused", |bench| bench.counters.refused.get() == 200);
    assert!(bench.table.len() <= crate::connections::acceptor::REFUSALS);
    bench.pass(limits::LINGER + Duration::from_secs(1));
    assert!(bench.table.is_empty(), "a refused peer cannot stay");
    drop(peers);
}

#[test]
fn a_slot_at_rest_is_small_and_owns_nothing() {
    assert!(size_of::<Slot<Dialogue>>() <= 32 + size_of::<Dialogue>() + 8);
    let mut bench = Bench::new();
    let mut peer = bench.peer();
    bench.send(&mut peer, b"echo one\necho tw");
    let token = bench.table.slots.token_at(0).unwrap();
    assert!(!bench.table.slots.get_mut(token).unwrap().is_at_rest());
    bench.send(&mut peer, b"o\n");
    bench.expect(&mut peer, b"one\ntwo\n");
    assert!(bench.table.slots.get_mut(token).unwrap().is_at_rest(), "its buffers are gone");
}

#[test]
fn accepted_sockets_inherit_the_options_of_the_listener() {
    let mut bench = Bench::with(Options { keepalive: Some(Duration::from_secs(15)), ..OPTIONS });
    let _peer = bench.peer();
    let token = bench.table.slots.token_at(0).unwrap();
    let socket = &bench.table.slots.get_mut(token).unwrap().socket;
    use rustix::net::sockopt;
    assert!(sockopt::tcp_nodelay(socket).unwrap());
    assert_eq!(
        u128::from(sockopt::tcp_user_timeout(socket).unwrap()),
        limits::TCP_USER_TIMEOUT.as_millis()
    );
    assert!(sockopt::socket_keepalive(socket).unwrap());
    assert_eq!(sockopt::tcp_keepidle(socket).unwrap(), Duration::from_secs(15));
    assert_eq!(sockopt::tcp_keepintvl(socket).unwrap(), limits::KEEPALIVE_INTERVAL);
    assert!(
        limits::KEEPALIVE + 5 * limits::KEEPALIVE_INTERVAL <= limits::TCP_USER_TIMEOUT,
        "five must be lost"
    );
}

/// The name of the test that another one runs in a process of its own.
const STARVED: &str = "connections::tests::bounds::starved_of_descriptors";

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
fn starved_of_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let mut bench = Bench::new();
    let mut before = bench.peer();
    let mut waiting = TcpStream::connect(bench.address).unwrap();
    waiting.write_all(b"echo at last\n").unwrap();
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(3), maximum: limit.maximum }).unwrap();
    bench.until("an accept fails", |bench| bench.counters.accept_errors.get() == 1);
    bench.settle(); // which a listener that is still watched would not let it
    bench.send(&mut before, b"echo still here\n");
    bench.expect(&mut before, b"still here\n");
    assert_eq!(bench.counters.accept_errors.get(), 1);
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.counters.accept_errors.get(), 2, "it tries again, once");
    setrlimit(Resource::Nofile, limit).unwrap();
    bench.pass(Duration::from_secs(1));
    bench.expect(&mut waiting, b"at last\n");
}

#[test]
fn a_service_that_keeps_too_much_loses_the_connection_only() {
    let mut bench = Bench::new();
    let (mut hoarder, mut other) = (bench.peer(), bench.peer());
    // A line without an end: this service sets itself no bound, so the table's must hold.
    let chunk = vec![b'a'; 60 * 1024];
    for _ in 0..3 {
        hoarder.write_all(&chunk).unwrap();
        bench.settle();
    }
    bench.until("ended", |bench| bench.log.endings() == [CloseReason::Panicked]);
    bench.send(&mut other, b"echo fine\n");
    bench.expect(&mut other, b"fine\n");
}
