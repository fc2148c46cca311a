//! What the clock ends: silence, dripping, unread output, lingering.

use super::lines::{LINE, SILENCE};
use super::*;
use crate::connections::epoll::EVENTS;
use crate::handler::CloseReason;
use crate::limits;

/// More than a tick: a deadline is kept late by less than one.
const TICK: Duration = Duration::from_millis(300);

#[test]
fn a_silent_peer_is_told_and_closed_at_its_deadline() {
    for (sent, acknowledge, limit) in [
        (&b""[..], &b""[..], LINE),
        (b"echo ha", b"", LINE),
        (b"echo one\n", b"one\n", SILENCE),
        (b"echo one\necho tw", b"one\n", LINE),
    ] {
        let mut bench = Bench::new();
        let mut peer = bench.peer();
        bench.send(&mut peer, sent);
        bench.expect(&mut peer, acknowledge);
        bench.pass(limit - TICK);
        assert_eq!(bench.log.endings(), [], "{sent:?}: too early");
        bench.pass(2 * TICK);
        assert_eq!(bench.log.endings(), [CloseReason::Expired], "{sent:?}");
        assert_eq!(bench.until_end(&mut peer), b"late\n");
    }
}

#[test]
fn a_dripping_peer_does_not_move_its_deadline() {
    let mut bench = Bench::new();
    let mut peer = bench.peer();
    for _ in 0..9 {
        bench.send(&mut peer, b"a");
        bench.pass(LINE / 9);
    }
    bench.pass(TICK);
    assert_eq!(bench.log.endings(), [CloseReason::Expired]);
    assert_eq!(bench.until_end(&mut peer), b"late\n");
}

#[test]
fn a_stopped_process_does_not_take_its_own_sleep_for_silence() {
    let mut bench = Bench::new();
    // More than one wait reports, so that a sweep comes before the last of them is heard.
    let mut peers: Vec<_> = (0..EVENTS + 100).map(|_| bench.peer()).collect();
    for peer in &mut peers {
        bench.send(peer, b"mute\n");
    }
    // While the process stood still, the clock went on and every peer but one spoke.
    bench.clock.set(bench.clock.now() + SILENCE + TICK);
    for peer in &mut peers[1..] {
        peer.write_all(b"echo here\n").unwrap();
    }
    bench.settle();
    for peer in &mut peers[1..] {
        bench.expect(peer, b"here\n");
    }
    assert_eq!(bench.log.endings(), [CloseReason::Expired]);
    assert_eq!(bench.until_end(&mut peers[0]), b"late\n");
}

#[test]
fn a_peer_that_never_reads_is_closed_before_it_is_silent() {
    let mut bench = Bench::new();
    let mut peer = bench.peer();
    bench.send(&mut peer, LARGE);
    bench.pass(limits::WRITE_STALL - TICK);
    assert_eq!(bench.log.endings(), []);
    bench.pass(2 * TICK);
    assert_eq!(bench.log.endings(), [CloseReason::Stalled]);
}

#[test]
fn output_without_progress_ends_its_connection() {
    let mut bench = Bench::new();
    let mut peer = bench.peer();
    bench.send(&mut peer, b"big 80000000\n");
    // Progress keeps it, even past what the conversation itself would have waited.
    for _ in 0..3 {
        bench.pass(limits::WRITE_STALL - TICK);
        let (queued, mut got) = (bench.counters.queued_output(), Vec::new());
        bench.until("progress", |bench| {
            read_some(&mut peer, &mut got, usize::MAX);
            got.clear();
            bench.counters.queued_output() < queued
        });
        bench.settle();
        assert_eq!(bench.log.endings(), []);
    }
    assert!(bench.counters.queued_output() > 0);
    bench.pass(limits::WRITE_STALL + TICK);
    assert_eq!(bench.log.endings(), [CloseReason::Stalled]);
    assert_eq!((bench.counters.queued_output(), bench.counters.open()), (0, 0));
}

#[test]
fn a_deadline_counts_again_once_the_output_is_read() {
    let mut bench = Bench::new();
    let mut peer = bench.peer();
    let size = LARGE_SIZE;
    bench.send(&mut peer, LARGE);
    bench.expect(&mut peer, &vec![b'x'; size]);
    bench.pass(SILENCE + TICK);
    assert_eq!(bench.log.endings(), [CloseReason::Expired]);
}

#[test]
fn a_peer_that_keeps_its_side_open_lingers_only_so_long() {
    let mut bench = Bench::new();
    let mut peer = bench.peer();
    bench.send(&mut peer, b"quit\n");
    bench.expect(&mut peer, b"bye\n");
    assert_eq!((bench.log.endings(), bench.table.len()), (vec![CloseReason::Finished], 1));
    bench.pass(limits::LINGER + TICK);
    assert!(bench.table.is_empty());
    assert_eq!(bench.counters.open(), 0);
}

#[test]
fn a_peer_that_floods_lingers_no_longer() {
    let mut bench = Bench::with(Options { max_connections: 1, refusal: b"full\n", ..OPTIONS });
    let mut over = bench.peer();
    bench.send(&mut over, b"quit\n");
    bench.expect(&mut over, b"bye\n");
    let mut refused = bench.peer();
    bench.expect(&mut refused, b"full\n");
    assert_eq!(bench.table.len(), 2);
    // More than a turn reads is there whenever the table looks at its deadlines.
    let mut flood = |bench: &mut Bench| {
        for peer in [&mut over, &mut refused] {
            peer.set_nonblocking(true).unwrap();
            while peer.write(&[b'x'; 256 * 1024]).is_ok() {}
        }
        bench.table.turn(Duration::ZERO).unwrap();
    };
    (0..3).for_each(|_| flood(&mut bench));
    assert_eq!(bench.table.len(), 2);
    bench.clock.set(bench.clock.now() + limits::LINGER + TICK);
    (0..3).for_each(|_| flood(&mut bench));
    assert!(bench.table.is_empty(), "who never stops sending never goes");
    assert_eq!(bench.counters.open(), 0);
}

#[test]
fn a_table_without_deadlines_sets_no_timer() {
    let mut bench = Bench::new();
    let peer = bench.peer();
    drop(peer);
    bench.until("closed", |bench| bench.table.is_empty());
    bench.pass(10 * SILENCE);
    assert!(!bench.table.deadlines.is_armed(), "nothing is left to wake for");
}
