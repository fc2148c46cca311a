//! The limits of all connections together: memory, and unread output.

use super::*;
use crate::access::{BUFFERS, DenyReason, Pool, Rejection};
use crate::handler::CloseReason;
use crate::limits;
use crate::memory::{Memory, Use};

fn limited() -> Arc<Memory> {
    Arc::new(Memory::new(Some(4 * limits::MEMORY_RESERVE)))
}

fn with_memory(memory: &Arc<Memory>) -> TestLoop {
    let counters = ConnectionCounters::default().within(Arc::clone(memory));
    TestLoop::build(OPTIONS, AcceptPolicy::new(Arc::default()), counters)
}

/// Uses memory elsewhere until only so many per cent are left; returns how much.
fn fill(memory: &Memory, left: usize) -> usize {
    let bytes = memory.part(100 - left) - memory.used();
    memory.add(Use::Listings, bytes);
    bytes
}

/// A loop whose buffers have shares, of connections that have some too.
fn with_shares(options: Options, memory: &Arc<Memory>) -> TestLoop {
    let shares = Rejection { reason: DenyReason::TcpShare, message: b"share\n" };
    let policy = AcceptPolicy::new(Arc::default()).share(1000, shares);
    let counters = ConnectionCounters::default()
        .within(Arc::clone(memory))
        .sharing(Pool::new(memory.part(100) / BUFFERS));
    TestLoop::build(options, policy, counters)
}

#[test]
fn output_of_all_peers_together_is_bounded() {
    let bound = limits::QUEUED_OUTPUT + 1000;
    let mut test = TestLoop::with(Options { max_queued_output: bound, ..OPTIONS });
    let mut first = test.peer();
    let size = test.shrink_buffers(&first, 0);
    test.send(&mut first, format!("big {size}\n").as_bytes());
    let queued = test.counters.queued_output();
    assert!(queued > 0, "the first has output that it does not read");
    let mut second = test.peer();
    test.send(&mut second, LARGE);
    test.until("the second is gone", |test| test.counters.open() == 1);
    assert_eq!(test.counters.closed(CloseReason::NoRoom), 1);
    assert_eq!(test.counters.queued_output(), queued, "that of the first stays");
    let mut third = test.peer();
    test.send(&mut third, b"echo in\n");
    test.expect(&mut third, b"in\n");
    test.expect(&mut first, &vec![b'x'; size]);
}

#[test]
fn what_waits_in_buffers_is_bounded_by_the_memory() {
    let memory = limited();
    let mut test = with_memory(&memory);
    let [mut whole, mut half, mut idle] = [(); 3].map(|()| test.peer());
    test.send(&mut half, b"echo ha");
    fill(&memory, 0);
    test.send(&mut whole, b"echo whole\n");
    test.expect(&mut whole, b"whole\n");
    test.send(&mut half, &[b'l'; 5000]);
    test.send(&mut idle, LARGE);
    test.until("both are gone", |test| test.counters.open() == 1);
    assert_eq!(test.counters.closed(CloseReason::NoRoom), 2);
    test.send(&mut whole, b"echo still\n");
    test.expect(&mut whole, b"still\n");
}

#[test]
fn reply_to_a_connection_that_ends_for_want_of_memory_goes_to_no_other() {
    let memory = limited();
    let mut test = with_memory(&memory);
    let [mut other, mut half] = [(); 2].map(|()| test.peer());
    fill(&memory, 0);
    // In one iteration: the first line of one, all of the other, and the rest of the first.
    other.write_all(b"echo one\nlong two 1\n").unwrap();
    half.write_all(b"echo of another\necho ha").unwrap();
    test.expect(&mut other, b"one\ntwo\n");
    assert_eq!(test.until_end(&mut half), b"");
    assert_eq!(test.counters.closed(CloseReason::NoRoom), 1);
}

#[test]
fn no_connection_enters_when_there_is_little_memory() {
    let memory = limited();
    let mut test = with_memory(&memory);
    let mut first = test.peer();
    let bytes = fill(&memory, 4);
    let mut second = test.peer();
    assert_eq!(test.until_end(&mut second), b"full\n");
    test.send(&mut first, b"echo here\n");
    test.expect(&mut first, b"here\n");
    memory.remove(Use::Listings, bytes);
    let mut third = test.peer();
    test.send(&mut third, b"echo in\n");
    test.expect(&mut third, b"in\n");
}

#[test]
fn large_buffers_leave_room_for_small_ones() {
    let memory = limited();
    let mut test = with_memory(&memory);
    let [mut large, mut small] = [(); 2].map(|()| test.peer());
    test.send(&mut large, b"echo la");
    fill(&memory, 9);
    test.send(&mut small, b"echo sm");
    test.send(&mut large, &[b'x'; limits::SMALL_BUFFERS]);
    test.until("the large one is gone", |test| test.counters.open() == 1);
    assert_eq!(test.counters.closed(CloseReason::NoRoom), 1);
    test.send(&mut small, b"all\n");
    test.expect(&mut small, b"small\n");
    let mut new = test.peer();
    test.send(&mut new, b"echo in\n");
    test.expect(&mut new, b"in\n");
}

#[test]
fn address_that_has_most_in_buffers_is_refused_first() {
    let memory = limited();
    let mut test = with_shares(OPTIONS, &memory);
    let half = [&b"echo "[..], &[b'h'; 60_000]].concat();
    // Four fifths of what buffers may have are for anybody.
    fill(&memory, 11);
    let mut greedy: Vec<_> = (0..50).map(|_| test.peer_from([127, 0, 0, 2])).collect();
    greedy.iter_mut().for_each(|peer| test.send(peer, &half));
    let refused = test.counters.closed(CloseReason::NoRoom);
    assert!(refused > 0 && refused < 50, "{refused}");
    // What it has stays, and another address gets as much as it asks for.
    let mut other = test.peer();
    test.send(&mut other, &half);
    test.send(&mut other, b"\n");
    test.expect(&mut other, &[&[b'h'; 60_000][..], b"\n"].concat());
    test.send(&mut greedy[0], b"\n");
    test.expect(&mut greedy[0], &[&[b'h'; 60_000][..], b"\n"].concat());
    assert_eq!(test.counters.closed(CloseReason::NoRoom), refused);
    drop((greedy, other));
    test.until("gone", |test| test.event_loop.is_empty());
    assert_eq!(memory.used(), memory.used_for(Use::Listings));
}

#[test]
fn address_that_leaves_most_unread_is_closed_first() {
    // Two large replies fit.
    let bound = 2 * LARGE_SIZE + LARGE_SIZE / 30;
    let mut test = with_shares(Options { max_queued_output: bound, ..OPTIONS }, &Arc::default());
    let mut small = test.peer();
    let size = test.shrink_buffers(&small, 0);
    let mut greedy: Vec<_> = (0..2).map(|_| test.peer_from([127, 0, 0, 2])).collect();
    for (peer, index) in greedy.iter().zip(1..) {
        test.shrink_buffers(peer, index);
    }
    test.send(&mut greedy[0], LARGE);
    assert_eq!(test.counters.open(), 3, "little is unread");
    greedy[1].write_all(LARGE).unwrap();
    test.until("it is gone", |test| test.counters.open() == 2);
    assert_eq!(test.counters.closed(CloseReason::NoRoom), 1);
    test.send(&mut small, format!("big {size}\n").as_bytes());
    test.expect(&mut small, &vec![b'x'; size]);
    assert_eq!(test.counters.open(), 2, "what it has left unread before stays");
}

#[test]
fn address_that_has_most_connections_is_refused_when_little_memory_is_left() {
    let memory = limited();
    let mut test = with_shares(OPTIONS, &memory);
    // Room for 64 connections.
    let bytes = fill(&memory, 0) - memory.part(5) - 64 * crate::memory::NSQD;
    memory.remove(Use::Listings, memory.used() - bytes);
    let mut greedy: Vec<_> = (0..64).map(|_| test.peer_from([127, 0, 0, 2])).collect();
    let open = test.counters.open();
    assert!((40..60).contains(&open), "{open}");
    let mut other = test.peer();
    test.send(&mut other, b"echo in\n");
    test.expect(&mut other, b"in\n");
    test.send(&mut greedy[0], b"echo here\n");
    test.expect(&mut greedy[0], b"here\n");
}

/// However a connection ends, what it used is given back.
#[test]
fn memory_of_a_connection_is_given_back() {
    let memory = limited();
    let mut test = with_memory(&memory);
    for round in 0..4 {
        let mut peer = test.peer();
        test.send(&mut peer, [&b"echo a"[..], b"echo b\necho c", LARGE, b"panic\n"][round]);
        assert!(memory.used() > 0 || test.event_loop.is_empty());
        drop(peer);
        test.until("gone", |test| test.event_loop.is_empty());
        assert_eq!(memory.used(), 0, "round {round}");
    }
}
