//! The limits of all connections together: memory, and unread output.

use super::*;
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

#[test]
fn output_of_all_peers_together_is_bounded() {
    let bound = limits::QUEUED_OUTPUT + 1000;
    let mut test = TestLoop::with(Options { max_queued_output: bound, ..OPTIONS });
    let mut first = test.peer();
    let size = test.shrink_buffers(&first);
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
