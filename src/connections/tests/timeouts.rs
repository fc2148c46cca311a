//! What the clock ends: silence, dripping, unread output, lingering.

use super::lines::{LINE, SILENCE};
use super::*;
use crate::connections::deadlines::CoarseTime;
use crate::connections::epoll::EVENTS;
use crate::handler::CloseReason;
use crate::limits;

/// More than the resolution of deadlines, by which they may be late.
const LATE: Duration = Duration::from_millis(300);

#[test]
fn silent_peer_is_told_and_closed_at_its_deadline() {
    let expired = CloseReason::Expired;
    for (sent, reply, limit, reason) in [
        (&b""[..], &b""[..], LINE, CloseReason::Unused),
        (b"echo ha", b"", LINE, expired),
        (b"echo one\n", b"one\n", SILENCE, expired),
        (b"echo one\necho tw", b"one\n", LINE, expired),
    ] {
        let mut test = TestLoop::new();
        let mut peer = test.peer();
        test.send(&mut peer, sent);
        test.expect(&mut peer, reply);
        test.pass(limit - LATE);
        assert_eq!(test.log.endings(), [], "{sent:?}: too early");
        test.pass(2 * LATE);
        assert_eq!(test.log.endings(), [reason], "{sent:?}");
        assert_eq!(test.counters.closed(reason), 1, "{sent:?}");
        assert_eq!(test.until_end(&mut peer), b"late\n");
    }
}

#[test]
fn handler_may_let_a_silent_peer_wait_on() {
    let mut test = TestLoop::new();
    let mut peer = test.peer();
    test.send(&mut peer, b"quiet\n");
    test.log.waits.store(2, std::sync::atomic::Ordering::SeqCst);
    test.pass(SILENCE + LATE);
    test.pass(LINE + LATE);
    assert_eq!(test.log.endings(), []);
    test.send(&mut peer, b"echo here\n");
    test.expect(&mut peer, b"here\n");
    test.pass(SILENCE + LATE);
    assert_eq!(test.log.endings(), [CloseReason::Expired]);
    assert_eq!(test.until_end(&mut peer), b"late\n");
}

#[test]
fn single_bytes_do_not_move_the_deadline() {
    let mut test = TestLoop::new();
    let mut peer = test.peer();
    for _ in 0..9 {
        test.send(&mut peer, b"a");
        test.pass(LINE / 9);
    }
    test.pass(LATE);
    assert_eq!(test.log.endings(), [CloseReason::Expired]);
    assert_eq!(test.until_end(&mut peer), b"late\n");
}

#[test]
fn stopped_process_does_not_time_out_peers_that_spoke_meanwhile() {
    let mut test = TestLoop::new();
    // More than one wait reports, so that a sweep comes before the last of them is read.
    let mut peers: Vec<_> = (0..EVENTS + 100).map(|_| test.peer()).collect();
    for peer in &mut peers {
        test.send(peer, b"quiet\n");
    }
    // While the process stood still, the clock went on and every peer but one spoke.
    test.clock.set(test.clock.now() + SILENCE + LATE);
    for peer in &mut peers[1..] {
        peer.write_all(b"echo here\n").unwrap();
    }
    test.settle();
    for peer in &mut peers[1..] {
        test.expect(peer, b"here\n");
    }
    assert_eq!(test.log.endings(), [CloseReason::Expired]);
    assert_eq!(test.until_end(&mut peers[0]), b"late\n");
}

#[test]
fn write_timeout_comes_before_the_read_timeout() {
    let mut test = TestLoop::new();
    let mut peer = test.peer();
    test.send(&mut peer, LARGE);
    test.pass(limits::WRITE_STALL - LATE);
    assert_eq!(test.log.endings(), []);
    test.pass(2 * LATE);
    assert_eq!(test.log.endings(), [CloseReason::Stalled]);
}

#[test]
fn output_without_progress_closes_the_connection() {
    let mut test = TestLoop::new();
    let mut peer = test.peer();
    test.send(&mut peer, b"big 80000000\n");
    // Progress keeps it, even past the deadline that the handler has asked for.
    for _ in 0..3 {
        test.pass(limits::WRITE_STALL - LATE);
        let (queued, mut got) = (test.counters.queued_output(), Vec::new());
        test.until("progress", |test| {
            read_some(&mut peer, &mut got, usize::MAX);
            got.clear();
            test.counters.queued_output() < queued
        });
        test.settle();
        assert_eq!(test.log.endings(), []);
    }
    assert!(test.counters.queued_output() > 0);
    test.pass(limits::WRITE_STALL + LATE);
    assert_eq!(test.log.endings(), [CloseReason::Stalled]);
    assert_eq!((test.counters.queued_output(), test.counters.open()), (0, 0));
}

#[test]
fn output_that_is_read_too_slowly_closes_the_connection() {
    let mut test = TestLoop::new();
    let mut peer = test.peer();
    let size = test.shrink_buffers(&peer, 0);
    test.send(&mut peer, format!("big {size}\n").as_bytes());
    let queued = test.counters.queued_output();
    let rate = limits::READ_RATE as u64;
    let limit = limits::WRITE_STALL + Duration::from_micros(queued * 1_000_000 / rate);
    let mut read_a_little = |test: &mut TestLoop| {
        let (queued, mut got) = (test.counters.queued_output(), Vec::new());
        test.until("progress", |test| {
            let most = got.len() + 1000;
            read_some(&mut peer, &mut got, most);
            test.counters.queued_output() < queued
        });
        assert!(test.counters.queued_output() > 0);
    };
    test.pass(Duration::from_secs(20));
    read_a_little(&mut test);
    test.pass(limit - Duration::from_secs(20) - LATE);
    read_a_little(&mut test);
    assert_eq!(test.log.endings(), []);
    test.pass(2 * LATE);
    assert_eq!(test.log.endings(), [CloseReason::Stalled]);
    assert_eq!((test.counters.queued_output(), test.counters.open()), (0, 0));
}

#[test]
fn half_closed_peer_that_does_not_read_is_closed_too() {
    let mut test = TestLoop::new();
    let mut peer = test.peer();
    let size = test.shrink_buffers(&peer, 0);
    test.send(&mut peer, format!("big {size}\n").as_bytes());
    peer.shutdown(std::net::Shutdown::Write).unwrap();
    test.settle();
    assert!(test.counters.queued_output() > 0);
    test.pass(limits::WRITE_STALL + LATE);
    assert_eq!(test.log.endings(), [CloseReason::Stalled]);
    assert_eq!((test.counters.queued_output(), test.counters.open()), (0, 0));
}

#[test]
fn read_deadline_counts_again_once_the_output_is_written() {
    let mut test = TestLoop::new();
    let mut peer = test.peer();
    let size = LARGE_SIZE;
    test.send(&mut peer, LARGE);
    test.expect(&mut peer, &vec![b'x'; size]);
    test.pass(SILENCE + LATE);
    assert_eq!(test.log.endings(), [CloseReason::Expired]);
}

#[test]
fn half_closed_connection_is_removed_after_the_linger_time() {
    let mut test = TestLoop::new();
    let mut peer = test.peer();
    test.send(&mut peer, b"quit\n");
    test.expect(&mut peer, b"bye\n");
    assert_eq!((test.log.endings(), test.event_loop.len()), (vec![CloseReason::Finished], 1));
    test.pass(limits::LINGER + LATE);
    assert!(test.event_loop.is_empty());
    assert_eq!(test.counters.open(), 0);
}

#[test]
fn half_closed_connection_that_floods_is_removed_as_well() {
    let mut test = TestLoop::with(Options { max_connections: 1, refusal: b"full\n", ..OPTIONS });
    let mut over = test.peer();
    test.send(&mut over, b"quit\n");
    test.expect(&mut over, b"bye\n");
    let mut refused = test.peer();
    test.expect(&mut refused, b"full\n");
    assert_eq!(test.event_loop.len(), 2);
    // More than one call reads is there whenever the loop checks its deadlines.
    let mut flood = |test: &mut TestLoop| {
        for peer in [&mut over, &mut refused] {
            peer.set_nonblocking(true).unwrap();
            while peer.write(&[b'x'; 256 * 1024]).is_ok() {}
        }
        test.event_loop.poll_once(Duration::ZERO).unwrap();
    };
    (0..3).for_each(|_| flood(&mut test));
    assert_eq!(test.event_loop.len(), 2);
    test.clock.set(test.clock.now() + limits::LINGER + LATE);
    (0..3).for_each(|_| flood(&mut test));
    assert!(test.event_loop.is_empty(), "who never stops sending never goes");
    assert_eq!(test.counters.open(), 0);
}

#[test]
fn loop_without_deadlines_sets_no_timer() {
    let mut test = TestLoop::new();
    let peer = test.peer();
    drop(peer);
    test.until("closed", |test| test.event_loop.is_empty());
    test.pass(10 * SILENCE);
    assert_eq!(test.event_loop.deadlines.armed, CoarseTime::NEVER, "nothing is left to wake for");
}
