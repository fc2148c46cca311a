//! Bytes in, bytes out: splits, pipelining, half-closes, and what is published when.

use super::*;
use crate::handler::CloseReason;
use crate::limits;
use std::net::Shutdown;
use std::sync::atomic::Ordering;

#[test]
fn replies_are_the_same_for_every_split() {
    let sent = b"echo one\necho two\nquiet\necho three\n";
    let mut test = TestLoop::new();
    for split in 0..=sent.len() {
        let mut peer = test.peer();
        let (first, second) = sent.split_at(split);
        test.send(&mut peer, first);
        test.send(&mut peer, second);
        test.expect(&mut peer, b"one\ntwo\nthree\n");
    }
}

#[test]
fn single_bytes_are_put_together() {
    let mut test = TestLoop::new();
    let mut peer = test.peer();
    for byte in b"echo slow\n" {
        test.send(&mut peer, &[*byte]);
    }
    test.expect(&mut peer, b"slow\n");
}

#[test]
fn pipelined_input_is_answered_in_order_past_the_budget() {
    let mut test = TestLoop::new();
    let mut peer = test.peer();
    let reply = 1000;
    let lines = 5 * limits::QUEUED_OUTPUT / reply;
    let mut sender = peer.try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        // At once: the iterations that a test may take are not for a writer that loses its core.
        let line = |line| format!("echo {line:0width$}\n", width = reply - 1);
        sender.write_all((0..lines).map(line).collect::<String>().as_bytes()).unwrap();
    });
    let mut got = Vec::new();
    test.until("all replies", |_| {
        read_some(&mut peer, &mut got, usize::MAX);
        got.len() >= lines * reply
    });
    writer.join().unwrap();
    let numbers = got.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    let numbers = numbers.map(|line| std::str::from_utf8(line).unwrap().parse::<usize>().unwrap());
    assert!(numbers.eq(0..lines), "a reply is missing, doubled or out of order");
}

#[test]
fn half_closing_peer_gets_every_reply() {
    let mut test = TestLoop::new();
    for (sent, expected) in [
        (&b"echo one\necho two\n"[..], &b"one\ntwo\n"[..]),
        (b"echo whole\necho hal", b"whole\n"),
        (b"quit\n", b"bye\n"),
        (b"", b""),
    ] {
        let mut peer = TcpStream::connect(test.address).unwrap();
        peer.write_all(sent).unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        assert_eq!(test.until_end(&mut peer), expected);
    }
    test.until("all closed", |test| test.event_loop.is_empty());
    let finished = CloseReason::Finished;
    assert_eq!(test.log.endings(), [finished, finished, finished, CloseReason::Unused]);
    assert_eq!(test.counters.open(), 0);
}

#[test]
fn effects_are_published_before_a_reply_can_be_read() {
    let mut test = TestLoop::new();
    let mut peer = test.peer();
    *test.log.watched.lock().unwrap() = Some(peer.try_clone().unwrap());
    for round in 0..50 {
        let before = test.log.commits.load(Ordering::SeqCst);
        test.send(&mut peer, b"applied\n");
        assert!(test.log.commits.load(Ordering::SeqCst) > before, "nothing was published");
        test.expect(&mut peer, format!("{}\n", round + 1).as_bytes());
    }
    assert_eq!(test.log.read_early.load(Ordering::SeqCst), 0);
}

#[test]
fn close_is_published_before_the_peer_can_see_it() {
    let mut test = TestLoop::new();
    let mut peer = test.peer();
    *test.log.watched.lock().unwrap() = Some(peer.try_clone().unwrap());
    peer.shutdown(Shutdown::Write).unwrap();
    assert_eq!(test.until_end(&mut peer), b"");
    assert_eq!(test.log.commits.load(Ordering::SeqCst), 1, "that it left was not published");
    assert_eq!(test.log.read_early.load(Ordering::SeqCst), 0);
}

#[test]
fn peers_of_one_iteration_share_a_commit() {
    let mut test = TestLoop::new();
    let mut peers: Vec<_> = (0..50).map(|_| test.peer()).collect();
    let before = test.log.commits.load(Ordering::SeqCst);
    for peer in &mut peers {
        peer.write_all(b"echo together\n").unwrap();
    }
    for peer in &mut peers {
        test.expect(peer, b"together\n");
    }
    let commits = test.log.commits.load(Ordering::SeqCst) - before;
    assert!(commits < peers.len() as u64, "{commits} commits");
}

#[test]
fn reused_slot_gets_nothing_of_its_last_connection() {
    let mut test = TestLoop::new();
    for round in 0..100 {
        let mut first = test.peer();
        test.send(&mut first, b"echo tail");
        drop(first);
        let mut second = test.peer();
        test.send(&mut second, format!("echo {round}\n").as_bytes());
        test.expect(&mut second, format!("{round}\n").as_bytes());
        drop(second);
        test.until("both closed", |test| test.event_loop.is_empty());
    }
    assert_eq!(test.event_loop.slots.capacity(), 2, "two slots were enough");
}

#[test]
fn handler_is_told_how_much_output_waits() {
    let mut test = TestLoop::new();
    let mut peer = test.peer();
    test.send(&mut peer, LARGE);
    let told = |test: &TestLoop| test.log.queued.load(Ordering::SeqCst) as u64;
    let queued = test.counters.queued_output();
    assert!(queued > 0);
    assert_eq!(told(&test), queued);
    let mut got = Vec::new();
    test.until("progress", |test| {
        read_some(&mut peer, &mut got, usize::MAX);
        test.counters.queued_output() < queued
    });
    assert_eq!(told(&test), test.counters.queued_output());
    test.until("all", |_| {
        read_some(&mut peer, &mut got, LARGE_SIZE);
        got.len() == LARGE_SIZE
    });
    assert_eq!((told(&test), test.counters.queued_output()), (0, 0));
}
