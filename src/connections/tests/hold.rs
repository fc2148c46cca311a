//! Held connections: woken from another thread, timed out, left by their peer, stopped, and what
//! is sent behind the held request.

use super::lines::HOLD;
use super::*;
use crate::handler::{CloseReason, Token};
use crate::limits;
use rustix::net::sockopt;
use std::net::Shutdown;
use std::sync::atomic::Ordering;

/// More than the resolution of deadlines.
const LATE: Duration = Duration::from_millis(300);

impl TestLoop {
    /// Sends `bytes`, of which one line is "hold"; the token of the connection that is held.
    fn hold(&mut self, peer: &mut TcpStream, bytes: &[u8]) -> Token {
        let held = self.log.held.lock().unwrap().len();
        self.send(peer, bytes);
        let tokens = self.log.held.lock().unwrap();
        assert_eq!(tokens.len(), held + 1);
        tokens[held]
    }

    fn answer(&self, answer: &'static str) {
        *self.log.answer.lock().unwrap() = Some(answer);
    }

    fn held_calls(&self) -> usize {
        self.log.held_calls.load(Ordering::SeqCst)
    }
}

#[test]
fn held_connection_is_answered_once_another_thread_wakes_it() {
    let mut test = TestLoop::new();
    let (mut peer, mut other) = (test.peer(), test.peer());
    let token = test.hold(&mut peer, b"echo before\nhold\necho behind\n");
    let other_token = test.hold(&mut other, b"hold\n");
    assert_ne!(token, other_token);
    test.expect(&mut peer, b"before\n");
    let calls = test.held_calls();
    // Awake without an answer: it is held again.
    test.event_loop.handle().wake(token);
    test.settle();
    assert_eq!(test.held_calls(), calls + 1, "only the one that was woken is called");
    test.answer("now\n");
    let handle = test.event_loop.handle().clone();
    std::thread::spawn(move || handle.wake(token)).join().unwrap();
    test.expect(&mut peer, b"now\nbehind\n");
    test.send(&mut peer, b"echo after\n");
    test.expect(&mut peer, b"after\n");
    assert!(read_nothing(&mut other), "nobody has woken it");
    test.event_loop.handle().wake(other_token);
    test.expect(&mut other, b"now\n");
    assert_eq!(test.log.endings(), []);
}

/// Whether nothing is there to be read.
fn read_nothing(peer: &mut TcpStream) -> bool {
    let mut got = Vec::new();
    !read_some(peer, &mut got, usize::MAX) && got.is_empty()
}

#[test]
fn answer_to_a_held_request_is_written_after_its_commit() {
    let mut test = TestLoop::new();
    let mut peer = test.peer();
    let token = test.hold(&mut peer, b"hold\n");
    *test.log.watched.lock().unwrap() = Some(peer.try_clone().unwrap());
    let commits = test.log.commits.load(Ordering::SeqCst);
    test.answer("now\n");
    test.event_loop.handle().wake(token);
    test.expect(&mut peer, b"now\n");
    assert!(test.log.commits.load(Ordering::SeqCst) > commits);
    assert_eq!(test.log.read_early.load(Ordering::SeqCst), 0);
}

#[test]
fn wake_of_a_closed_or_unheld_connection_is_ignored() {
    let mut test = TestLoop::new();
    let mut first = test.peer();
    let stale = test.hold(&mut first, b"hold\n");
    drop(first);
    test.until("closed", |test| test.event_loop.is_empty());
    let mut second = test.peer();
    let token = test.hold(&mut second, b"hold\n");
    test.answer("now\n");
    test.event_loop.handle().wake(stale);
    test.settle();
    assert!(read_nothing(&mut second), "the slot is the same, the connection is not");
    test.event_loop.handle().wake(token);
    test.expect(&mut second, b"now\n");
    // It is not held any longer.
    let calls = test.log.commits.load(Ordering::SeqCst);
    test.event_loop.handle().wake(token);
    test.settle();
    assert_eq!(test.log.commits.load(Ordering::SeqCst), calls, "no call, no commit");
    test.send(&mut second, b"echo after\n");
    test.expect(&mut second, b"after\n");
}

#[test]
fn held_connection_times_out_at_its_deadline() {
    let mut test = TestLoop::new();
    let mut peer = test.peer();
    test.hold(&mut peer, b"echo before\nhold\n");
    test.pass(HOLD - LATE);
    assert_eq!(test.log.endings(), []);
    test.pass(2 * LATE);
    assert_eq!(test.log.endings(), [CloseReason::Expired]);
    assert_eq!(test.until_end(&mut peer), b"before\nlate\n");
}

#[test]
fn held_connection_may_still_be_answered_at_its_deadline() {
    let mut test = TestLoop::new();
    let mut peer = test.peer();
    test.hold(&mut peer, b"hold\n");
    test.answer("just in time\n");
    test.pass(HOLD + LATE);
    test.expect(&mut peer, b"just in time\n");
    assert_eq!(test.log.endings(), []);
}

#[test]
fn held_connection_ends_when_its_peer_closes_or_resets_it() {
    for (behind, is_reset) in [(&b""[..], false), (b"echo behind\n", false), (b"", true)] {
        for sent in [&b"hold\n"[..], b"echo before\nhold\n"] {
            let mut test = TestLoop::new();
            let mut peer = test.peer();
            test.hold(&mut peer, &[sent, behind].concat());
            assert_eq!(test.log.endings(), []);
            if is_reset {
                sockopt::set_socket_linger(&peer, Some(Duration::ZERO)).unwrap();
            }
            drop(peer);
            test.until("gone", |test| test.event_loop.is_empty());
            let unread = sent.len() > 5; // a close with unread input is a reset, too
            let reasons = test.log.endings();
            assert_eq!(reasons.len(), 1, "the handler is told once");
            assert!(
                reasons == [CloseReason::Broken] || !is_reset && reasons == [CloseReason::Finished]
            );
            assert!(unread || is_reset || reasons == [CloseReason::Finished], "{reasons:?}");
            assert_eq!((test.counters.open(), test.counters.queued_output()), (0, 0));
        }
    }
}

#[test]
fn held_connection_ends_when_its_peer_closes_one_side() {
    for at_once in [false, true] {
        let mut test = TestLoop::new();
        let mut peer = test.peer();
        peer.write_all(b"echo before\nhold\n").unwrap();
        if !at_once {
            test.expect(&mut peer, b"before\n");
        }
        peer.shutdown(Shutdown::Write).unwrap();
        let rest = test.until_end(&mut peer);
        assert_eq!(rest, if at_once { &b"before\n"[..] } else { b"" });
        test.until("gone", |test| test.event_loop.is_empty());
        assert_eq!(test.log.endings(), [CloseReason::Finished]);
    }
}

#[test]
fn input_behind_a_held_request_is_not_read() {
    let mut test = TestLoop::new();
    let mut peer = test.peer();
    let token = test.hold(&mut peer, b"hold\necho behind\n");
    let read = test.counters.received.get();
    peer.set_nonblocking(true).unwrap();
    let lines = b"echo more\n".repeat(100_000);
    let mut sent = 0;
    for _ in 0..50 {
        sent += peer.write(&lines[sent..]).unwrap_or(0);
        test.settle();
    }
    assert!(sent > 2 * limits::UNCONSUMED_INPUT);
    assert_eq!(test.counters.received.get(), read, "it waits in the kernel");
    test.answer("now\n");
    test.event_loop.handle().wake(token);
    let whole = &lines[..sent / 10 * 10];
    let replies = b"more\n".repeat(whole.len() / 10);
    test.expect(&mut peer, &[&b"now\nbehind\n"[..], &replies].concat());
}

#[test]
fn held_connection_whose_output_is_queued_is_called_once_that_is_written() {
    let mut test = TestLoop::new();
    let mut peer = test.peer();
    let size = test.shrink_buffers(&peer, 0);
    let token = test.hold(&mut peer, format!("big {size}\nhold\n").as_bytes());
    assert!(test.counters.queued_output() > 0);
    let calls = test.held_calls();
    test.answer("now\n");
    test.event_loop.handle().wake(token);
    test.settle();
    assert_eq!(test.held_calls(), calls, "the peer has to read first");
    let mut expected = vec![b'x'; size];
    expected.extend_from_slice(b"now\n");
    test.expect(&mut peer, &expected);
}

#[test]
fn stop_asks_a_held_connection_once_and_ends_it() {
    for (sent, answer, expected) in [
        (&b"hold\n"[..], None, &b"late\n"[..]),
        (b"echo before\nhold\n", None, b"before\nlate\n"),
        (b"hold\necho behind\n", Some("now\n"), b"now\nbehind\n"),
    ] {
        let mut test = TestLoop::new();
        let mut peer = test.peer();
        test.hold(&mut peer, sent);
        let calls = test.held_calls();
        *test.log.answer.lock().unwrap() = answer;
        test.stop_in(limits::DRAIN);
        assert_eq!(test.until_end(&mut peer), expected);
        assert_eq!(test.held_calls(), calls + usize::from(answer.is_none()));
        assert_eq!(test.log.endings(), [CloseReason::Shutdown]);
        drop(peer);
        test.until("drained", |test| test.event_loop.is_empty());
    }
}

#[test]
fn request_that_is_held_during_a_stop_ends_too() {
    let mut test = TestLoop::new();
    let mut peer = test.peer();
    test.send(&mut peer, b"echo before\nhol");
    test.stop_in(limits::DRAIN);
    test.settle();
    test.hold(&mut peer, b"d\n");
    assert_eq!(test.until_end(&mut peer), b"before\nlate\n");
    assert_eq!(test.log.endings(), [CloseReason::Shutdown]);
    drop(peer);
    test.until("drained", |test| test.event_loop.is_empty());
}

#[test]
fn panic_while_held_closes_that_connection_only() {
    let mut test = TestLoop::new();
    let (mut bad, mut good) = (test.peer(), test.peer());
    let token = test.hold(&mut bad, b"hold\nhalf\n");
    test.answer("now\n");
    test.event_loop.handle().wake(token);
    assert_eq!(test.until_end(&mut bad), b"", "not half a reply");
    test.send(&mut good, b"echo fine\n");
    test.expect(&mut good, b"fine\n");
    assert_eq!(test.log.endings(), [CloseReason::Panicked]);
}
