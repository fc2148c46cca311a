//! How connections end: by panics, resets, a last reply under unread input, and the stop.

use super::*;
use crate::handler::CloseReason;
use crate::limits;
use rustix::net::sockopt;
use std::net::Shutdown;

#[test]
fn a_panic_costs_its_connection_only() {
    let mut bench = Bench::new();
    let (mut bad, mut good) = (bench.peer(), bench.peer());
    // Both are served in one turn, so that the panic happens beside an unwritten reply.
    good.write_all(b"echo one\n").unwrap();
    bad.write_all(b"echo fine\nhalf\n").unwrap();
    bench.expect(&mut good, b"one\n");
    assert_eq!(bench.until_end(&mut bad), b"", "not half a reply");
    bench.send(&mut good, b"echo two\n");
    bench.expect(&mut good, b"two\n");
    assert_eq!(bench.log.endings(), [CloseReason::Panicked]);
    assert_eq!((bench.counters.closed(CloseReason::Panicked), bench.counters.open()), (1, 1));
}

#[test]
fn a_reset_is_told_from_an_end() {
    for sent in [&b""[..], b"echo half", b"echo one\n", LARGE] {
        let mut bench = Bench::new();
        let mut peer = bench.peer();
        bench.send(&mut peer, sent);
        sockopt::set_socket_linger(&peer, Some(Duration::ZERO)).unwrap();
        drop(peer);
        bench.until("gone", |bench| bench.table.is_empty());
        assert_eq!(bench.log.endings(), [CloseReason::Broken], "{sent:?}");
        assert_eq!((bench.counters.open(), bench.counters.queued_output()), (0, 0));
    }
}

#[test]
fn the_last_reply_is_read_even_when_input_was_not() {
    let mut bench = Bench::new();
    let mut peer = bench.peer();
    peer.write_all(b"quit\n").unwrap();
    peer.write_all(&b"echo more\n".repeat(50_000)).unwrap();
    assert_eq!(bench.until_end(&mut peer), b"bye\n");
    drop(peer);
    bench.until("gone", |bench| bench.table.is_empty());
    assert_eq!(bench.log.endings(), [CloseReason::Finished]);
}

#[test]
fn a_stop_ends_what_is_idle_and_finishes_what_is_not() {
    let mut bench = Bench::new();
    let (mut silent, mut half_line) = (bench.peer(), bench.peer());
    let (half_open, mut unheard) = (bench.peer(), bench.peer());
    let mut busy = bench.peer();
    bench.send(&mut half_line, b"echo hal");
    half_open.shutdown(Shutdown::Read).unwrap();
    bench.send(&mut busy, LARGE);
    unheard.write_all(b"echo just sent\n").unwrap();
    bench.stop_in(limits::DRAIN);
    assert_eq!(bench.until_end(&mut silent), b"");
    assert_eq!(bench.until_end(&mut unheard), b"just sent\n");
    bench.settle();
    assert_eq!(bench.table.len(), 2, "half a line and a large acknowledge are in flight");
    bench.send(&mut half_line, b"f\n");
    assert_eq!(bench.until_end(&mut half_line), b"half\n");
    assert_eq!(bench.until_end(&mut busy).len(), LARGE_SIZE);
    assert_eq!(bench.table.turn(Duration::ZERO).unwrap(), Progress::Drained);
    assert_eq!(bench.log.endings(), [CloseReason::Shutdown; 5]);
    assert!(TcpStream::connect(bench.address).is_err(), "it still listens");
}

#[test]
fn a_stop_ends_what_does_not_finish_in_time() {
    let mut bench = Bench::new();
    let mut peers: Vec<_> = (0..3).map(|_| bench.peer()).collect();
    bench.send(&mut peers[0], b"echo hal");
    bench.send(&mut peers[1], LARGE);
    bench.send(&mut peers[2], b"quit\n"); // and keeps its own side open
    bench.stop_in(Duration::from_secs(1));
    bench.settle();
    assert_eq!(bench.table.len(), 3);
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.table.turn(Duration::ZERO).unwrap(), Progress::Drained);
    assert_eq!(
        bench.log.endings(),
        [CloseReason::Finished, CloseReason::Shutdown, CloseReason::Shutdown]
    );
    assert_eq!((bench.counters.open(), bench.counters.queued_output()), (0, 0));
}

#[test]
fn an_empty_table_drains_at_once() {
    let mut bench = Bench::new();
    bench.stop_in(limits::DRAIN);
    assert_eq!(bench.table.turn(WAIT).unwrap(), Progress::Drained);
}

#[test]
fn a_connection_handed_over_after_the_stop_is_closed() {
    let mut bench = Bench::new();
    let outside = listener();
    let mut peer = TcpStream::connect(outside.local_addr().unwrap()).unwrap();
    let (socket, address) = outside.accept().unwrap();
    assert!(bench.counters.enter(1));
    bench.stop_in(limits::DRAIN);
    bench.table.handle().send(LoopMessage::Open(Arrival {
        socket: socket.into(),
        peer: address,
        place: None,
    }));
    bench.settle();
    assert_eq!(bench.until_end(&mut peer), b"");
    assert_eq!(bench.counters.open(), 0);
}
