//! How connections end: by panics, resets, a last reply under unread input, and the stop.

use super::*;
use crate::access::Permit;
use crate::handler::CloseReason;
use crate::limits;
use rustix::net::sockopt;
use std::net::Shutdown;

#[test]
fn panic_closes_its_connection_only() {
    let mut test = TestLoop::new();
    let (mut bad, mut good) = (test.peer(), test.peer());
    // Both are served in one iteration, so that the panic happens beside an unwritten reply.
    good.write_all(b"echo one\n").unwrap();
    bad.write_all(b"echo fine\nhalf\n").unwrap();
    test.expect(&mut good, b"one\n");
    assert_eq!(test.until_end(&mut bad), b"", "not half a reply");
    test.send(&mut good, b"echo two\n");
    test.expect(&mut good, b"two\n");
    assert_eq!(test.log.endings(), [CloseReason::Panicked]);
    assert_eq!((test.counters.closed(CloseReason::Panicked), test.counters.open()), (1, 1));
}

#[test]
fn reset_is_told_from_a_close() {
    for (sent, reason) in [
        (&b""[..], CloseReason::Unused),
        (b"echo half", CloseReason::Broken),
        (b"echo one\n", CloseReason::Broken),
        (LARGE, CloseReason::Broken),
    ] {
        let mut test = TestLoop::new();
        let mut peer = test.peer();
        test.send(&mut peer, sent);
        sockopt::set_socket_linger(&peer, Some(Duration::ZERO)).unwrap();
        drop(peer);
        test.until("gone", |test| test.event_loop.is_empty());
        assert_eq!(test.log.endings(), [reason], "{sent:?}");
        assert_eq!((test.counters.open(), test.counters.queued_output()), (0, 0));
    }
}

#[test]
fn last_reply_arrives_even_with_unread_input() {
    let mut test = TestLoop::new();
    let mut peer = test.peer();
    peer.write_all(b"quit\n").unwrap();
    peer.write_all(&b"echo more\n".repeat(50_000)).unwrap();
    assert_eq!(test.until_end(&mut peer), b"bye\n");
    drop(peer);
    test.until("gone", |test| test.event_loop.is_empty());
    assert_eq!(test.log.endings(), [CloseReason::Finished]);
}

#[test]
fn stop_closes_idle_connections_and_finishes_busy_ones() {
    let mut test = TestLoop::new();
    let (mut silent, mut half_line) = (test.peer(), test.peer());
    let (half_open, mut unread) = (test.peer(), test.peer());
    let mut busy = test.peer();
    test.send(&mut half_line, b"echo hal");
    half_open.shutdown(Shutdown::Read).unwrap();
    test.send(&mut busy, LARGE);
    unread.write_all(b"echo just sent\n").unwrap();
    test.stop_in(limits::DRAIN);
    assert_eq!(test.until_end(&mut silent), b"");
    assert_eq!(test.until_end(&mut unread), b"just sent\n");
    test.settle();
    assert_eq!(test.event_loop.len(), 2, "half a line and a large reply are in flight");
    test.send(&mut half_line, b"f\n");
    assert_eq!(test.until_end(&mut half_line), b"half\n");
    assert_eq!(test.until_end(&mut busy).len(), LARGE_SIZE);
    assert_eq!(test.event_loop.poll_once(Duration::ZERO).unwrap(), Progress::Drained);
    assert_eq!(test.log.endings(), [CloseReason::Shutdown; 5]);
    assert!(TcpStream::connect(test.address).is_err(), "it still listens");
}

#[test]
fn stop_closes_what_is_left_at_its_deadline() {
    let mut test = TestLoop::new();
    let mut peers: Vec<_> = (0..3).map(|_| test.peer()).collect();
    test.send(&mut peers[0], b"echo hal");
    test.send(&mut peers[1], LARGE);
    test.send(&mut peers[2], b"quit\n"); // and keeps its own side open
    test.stop_in(Duration::from_secs(1));
    test.settle();
    assert_eq!(test.event_loop.len(), 3);
    test.pass(Duration::from_secs(2));
    assert_eq!(test.event_loop.poll_once(Duration::ZERO).unwrap(), Progress::Drained);
    assert_eq!(
        test.log.endings(),
        [CloseReason::Finished, CloseReason::Shutdown, CloseReason::Shutdown]
    );
    assert_eq!((test.counters.open(), test.counters.queued_output()), (0, 0));
}

#[test]
fn empty_loop_drains_at_once() {
    let mut test = TestLoop::new();
    test.stop_in(limits::DRAIN);
    assert_eq!(test.event_loop.poll_once(WAIT).unwrap(), Progress::Drained);
}

#[test]
fn connection_handed_over_after_the_stop_is_closed() {
    let mut test = TestLoop::new();
    let outside = listener();
    let mut peer = TcpStream::connect(outside.local_addr().unwrap()).unwrap();
    let (socket, address) = outside.accept().unwrap();
    assert!(test.counters.enter(1));
    test.stop_in(limits::DRAIN);
    test.event_loop.handle().send(LoopMessage::Open(Incoming {
        socket: socket.into(),
        peer: address,
        permit: Some(Permit::default()),
    }));
    test.settle();
    assert_eq!(test.until_end(&mut peer), b"");
    assert_eq!(test.counters.open(), 0);
}
