//! Bytes in, bytes out: splits, pipelining, half-closes, and what is published when.

use super::*;
use crate::handler::CloseReason;
use crate::limits;
use std::net::Shutdown;
use std::sync::atomic::Ordering;

#[test]
fn a_conversation_is_the_same_however_it_is_split() {
    let sent = b"echo one\necho two\nmute\necho three\n";
    let mut bench = Bench::new();
    for split in 0..=sent.len() {
        let mut peer = bench.peer();
        let (first, second) = sent.split_at(split);
        bench.send(&mut peer, first);
        bench.send(&mut peer, second);
        bench.expect(&mut peer, b"one\ntwo\nthree\n");
    }
}

#[test]
fn a_conversation_survives_single_bytes() {
    let mut bench = Bench::new();
    let mut peer = bench.peer();
    for byte in b"echo slow\n" {
        bench.send(&mut peer, &[*byte]);
    }
    bench.expect(&mut peer, b"slow\n");
}

#[test]
fn a_flood_is_answered_in_order_whatever_the_budget() {
    let mut bench = Bench::new();
    let mut peer = bench.peer();
    let reply = 1000;
    let lines = 5 * limits::QUEUED_OUTPUT / reply;
    let mut sender = peer.try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        // At once: the turns that a test may take are not for a writer that comes off its core.
        let line = |line| format!("echo {line:0width$}\n", width = reply - 1);
        sender.write_all((0..lines).map(line).collect::<String>().as_bytes()).unwrap();
    });
    let mut got = Vec::new();
    bench.until("all replies", |_| {
        read_some(&mut peer, &mut got, usize::MAX);
        got.len() >= lines * reply
    });
    writer.join().unwrap();
    let numbers = got.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    let numbers = numbers.map(|line| std::str::from_utf8(line).unwrap().parse::<usize>().unwrap());
    assert!(numbers.eq(0..lines), "a reply is missing, doubled or out of order");
}

#[test]
fn a_half_closing_peer_gets_every_answer() {
    let mut bench = Bench::new();
    for (sent, expected) in [
        (&b"echo one\necho two\n"[..], &b"one\ntwo\n"[..]),
        (b"echo whole\necho hal", b"whole\n"),
        (b"quit\n", b"bye\n"),
        (b"", b""),
    ] {
        let mut peer = TcpStream::connect(bench.address).unwrap();
        peer.write_all(sent).unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        assert_eq!(bench.until_end(&mut peer), expected);
    }
    bench.until("all closed", |bench| bench.table.is_empty());
    assert_eq!(bench.log.endings(), [CloseReason::Finished; 4]);
    assert_eq!(bench.counters.open(), 0);
}

#[test]
fn effects_are_published_before_a_reply_can_be_read() {
    let mut bench = Bench::new();
    let mut peer = bench.peer();
    *bench.log.watched.lock().unwrap() = Some(peer.try_clone().unwrap());
    for round in 0..50 {
        let before = bench.log.commits.load(Ordering::SeqCst);
        bench.send(&mut peer, b"applied\n");
        assert!(bench.log.commits.load(Ordering::SeqCst) > before, "nothing was published");
        bench.expect(&mut peer, format!("{}\n", round + 1).as_bytes());
    }
    assert_eq!(bench.log.told_early.load(Ordering::SeqCst), 0);
}

#[test]
fn the_end_is_published_before_it_can_be_seen() {
    let mut bench = Bench::new();
    let mut peer = bench.peer();
    *bench.log.watched.lock().unwrap() = Some(peer.try_clone().unwrap());
    peer.shutdown(Shutdown::Write).unwrap();
    assert_eq!(bench.until_end(&mut peer), b"");
    assert_eq!(bench.log.commits.load(Ordering::SeqCst), 1, "that it left was not published");
    assert_eq!(bench.log.told_early.load(Ordering::SeqCst), 0);
}

#[test]
fn peers_of_one_turn_share_a_commit() {
    let mut bench = Bench::new();
    let mut peers: Vec<_> = (0..50).map(|_| bench.peer()).collect();
    let before = bench.log.commits.load(Ordering::SeqCst);
    for peer in &mut peers {
        peer.write_all(b"echo together\n").unwrap();
    }
    for peer in &mut peers {
        bench.expect(peer, b"together\n");
    }
    let commits = bench.log.commits.load(Ordering::SeqCst) - before;
    assert!(commits < peers.len() as u64, "{commits} commits");
}

#[test]
fn a_slot_that_is_used_again_hears_nothing_of_its_last_tenant() {
    let mut bench = Bench::new();
    for round in 0..100 {
        let mut first = bench.peer();
        bench.send(&mut first, b"echo tail");
        drop(first);
        let mut second = bench.peer();
        bench.send(&mut second, format!("echo {round}\n").as_bytes());
        bench.expect(&mut second, format!("{round}\n").as_bytes());
        drop(second);
        bench.until("both closed", |bench| bench.table.is_empty());
    }
    assert_eq!(bench.table.slots.capacity(), 2, "two slots were enough");
}
