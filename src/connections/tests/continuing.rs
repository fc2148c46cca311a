//! What takes long goes on in slices, behind everything else: long lines, and ends of connections.

use super::*;
use crate::connections::event_loop::CLOSED_AT_ONCE;
use crate::handler::CloseReason;
use crate::limits;
use std::sync::atomic::Ordering;

impl TestLoop {
    fn slices(&self) -> Vec<String> {
        self.log.slices.lock().unwrap().clone()
    }

    /// Sends without iterating.
    fn write(&self, peer: &mut TcpStream, bytes: &[u8]) {
        peer.write_all(bytes).unwrap();
        // Loopback delivers before the call returns; the loop has not been told yet.
        assert!(peer.peer_addr().is_ok());
    }

    fn iterate(&mut self) {
        self.event_loop.poll_once(Duration::ZERO).unwrap();
    }

    /// From here on each line and each slice takes `span` by the test's clock.
    fn each_takes(&self, span: Duration) {
        *self.log.takes.lock().unwrap() = Some((self.clock.clone(), span));
    }

    fn commits(&self) -> u64 {
        self.log.commits.load(Ordering::SeqCst)
    }
}

#[test]
fn long_line_is_answered_after_its_last_slice_and_before_what_is_behind_it() {
    let mut test = TestLoop::new();
    let mut peer = test.peer();
    test.write(&mut peer, b"echo before\nlong three 3\necho behind\n");
    test.expect(&mut peer, b"before\nthree\nbehind\n");
    assert_eq!(test.slices(), ["three"; 3]);
    test.send(&mut peer, b"echo after\n");
    test.expect(&mut peer, b"after\n");
    assert_eq!(test.log.endings(), []);
}

#[test]
fn other_connections_are_served_between_two_slices() {
    let mut test = TestLoop::new();
    let (mut long, mut other) = (test.peer(), test.peer());
    test.write(&mut long, b"long a 1000000\n");
    test.until("a slice", |test| !test.slices().is_empty());
    for _ in 0..3 {
        other.write_all(b"echo x\n").unwrap();
        test.expect(&mut other, b"x\n");
    }
    let slices = test.slices().len();
    assert!(slices < 10_000, "it was not finished first: {slices}");
    drop(long);
}

#[test]
fn long_lines_take_slices_in_order() {
    let mut test = TestLoop::new();
    let mut peers = ["a", "b", "c"].map(|word| (word, test.peer()));
    for (word, peer) in &mut peers {
        peer.write_all(format!("long {word} 3\n").as_bytes()).unwrap();
    }
    test.until("done", |test| test.slices().len() == 9);
    let slices = test.slices();
    for round in slices.chunks(3) {
        let mut round = round.to_vec();
        round.sort();
        assert_eq!(round, ["a", "b", "c"], "{slices:?}");
    }
}

#[test]
fn input_that_comes_during_a_long_line_waits_for_it() {
    let mut test = TestLoop::new();
    let mut peer = test.peer();
    test.write(&mut peer, b"long a 5\n");
    test.until("a slice", |test| !test.slices().is_empty());
    peer.write_all(b"echo one\n").unwrap();
    test.iterate();
    peer.write_all(b"echo two\n").unwrap();
    test.expect(&mut peer, b"a\none\ntwo\n");
}

#[test]
fn peer_that_leaves_during_a_long_line_costs_no_other() {
    let mut test = TestLoop::new();
    let (mut long, mut other) = (test.peer(), test.peer());
    test.write(&mut long, b"long a 4\necho never read\n");
    test.until("a slice", |test| !test.slices().is_empty());
    drop(long);
    test.until("closed", |test| test.event_loop.len() == 1);
    test.send(&mut other, b"echo x\n");
    test.expect(&mut other, b"x\n");
}

#[test]
fn panic_in_a_slice_costs_its_connection_only() {
    let mut test = TestLoop::new();
    let (mut long, mut other) = (test.peer(), test.peer());
    test.write(&mut long, b"long panic 4\n");
    test.until("closed", |test| test.event_loop.len() == 1);
    assert_eq!(test.log.endings(), [CloseReason::Panicked]);
    test.send(&mut other, b"echo x\n");
    test.expect(&mut other, b"x\n");
}

#[test]
fn socket_closes_after_the_last_slice_of_the_end_is_committed() {
    let mut test = TestLoop::new();
    let (mut peer, mut other) = (test.peer(), test.peer());
    test.log.to_leave.store(5, Ordering::SeqCst);
    test.send(&mut peer, b"slow\n");
    test.write(&mut peer, b"quit\n");
    test.until("a slice", |test| !test.slices().is_empty());
    let mut got = Vec::new();
    while test.log.to_leave.load(Ordering::SeqCst) > 0 {
        assert!(!read_some(&mut peer, &mut got, usize::MAX), "the end came too early");
        assert_eq!(test.log.endings(), []);
        test.iterate();
    }
    let commits = test.commits();
    assert_eq!(test.until_end(&mut peer), b"");
    assert_eq!(got, b"bye\n");
    assert_eq!(test.log.endings(), [CloseReason::Finished]);
    assert!(test.commits() >= commits);
    drop(peer);
    test.until("closed", |test| test.event_loop.len() == 1);
    test.send(&mut other, b"echo x\n");
    test.expect(&mut other, b"x\n");
}

#[test]
fn peer_that_resets_while_its_end_goes_on_is_removed_after_it() {
    let mut test = TestLoop::new();
    let mut peer = test.peer();
    test.log.to_leave.store(5, Ordering::SeqCst);
    test.send(&mut peer, b"slow\n");
    test.write(&mut peer, b"quit\n");
    test.until("a slice", |test| !test.slices().is_empty());
    rustix::net::sockopt::set_socket_linger(&peer, Some(Duration::ZERO)).unwrap();
    drop(peer);
    test.until("closed", |test| test.event_loop.is_empty());
    assert_eq!(test.slices().len(), 5);
    assert_eq!(test.log.endings(), [CloseReason::Finished]);
    assert_eq!(test.counters.open(), 0);
}

#[test]
fn stop_lets_what_is_long_finish_and_gives_it_up_at_the_deadline() {
    for (slices, ends) in [(50, true), (1_000_000, false)] {
        let mut test = TestLoop::new();
        let mut peer = test.peer();
        let to_leave = if ends { 3 } else { usize::MAX };
        test.log.to_leave.store(to_leave, Ordering::SeqCst);
        test.send(&mut peer, b"slow\n");
        test.write(&mut peer, format!("long a {slices}\n").as_bytes());
        test.until("a slice", |test| !test.slices().is_empty());
        test.stop_in(Duration::from_secs(3));
        if ends {
            test.expect(&mut peer, b"a\n");
        } else {
            test.iterate();
            test.clock.set(test.clock.now() + Duration::from_secs(4));
            test.event_loop.handle().ping();
        }
        test.until("drained", |test| {
            test.event_loop.poll_once(Duration::ZERO).unwrap() == Progress::Drained
        });
        assert_eq!(test.counters.closed(CloseReason::Shutdown), 1);
        assert_eq!(test.log.endings().len(), usize::from(ends), "the handler was told all of it");
    }
}

/// The lines that were answered, by the connection that sent them.
fn answered(peers: &mut [TcpStream]) -> Vec<usize> {
    let lines = |peer: &mut TcpStream| {
        let mut got = Vec::new();
        read_some(peer, &mut got, usize::MAX);
        got.iter().filter(|&&byte| byte == b'\n').count()
    };
    peers.iter_mut().map(lines).collect()
}

#[test]
fn iteration_ends_when_its_time_is_over_and_the_next_begins_with_the_rest() {
    let mut test = TestLoop::new();
    let mut peers: Vec<_> = (0..3).map(|_| test.peer()).collect();
    for peer in &mut peers {
        peer.write_all(b"echo x\n").unwrap();
    }
    test.each_takes(limits::ITERATION * 2 / 3);
    test.iterate();
    assert_eq!(answered(&mut peers).iter().sum::<usize>(), 2);
    // Those that are ready by then stand behind the one that was left.
    peers[0].write_all(b"echo x\necho x\n").unwrap();
    peers[1].write_all(b"echo x\necho x\n").unwrap();
    test.each_takes(limits::ITERATION);
    test.iterate();
    assert_eq!(answered(&mut peers), [0, 0, 1]);
    test.until("answered", |_| answered(&mut peers)[..2].iter().sum::<usize>() > 0);
    test.settle();
}

#[test]
fn one_connection_s_commands_fill_no_more_than_an_iteration() {
    let mut test = TestLoop::new();
    let (mut busy, other) = (test.peer(), test.peer());
    let mut peers = [busy.try_clone().unwrap(), other];
    busy.write_all(&b"echo x\n".repeat(10)).unwrap();
    test.each_takes(limits::ITERATION / 2);
    test.iterate();
    // Two fill the iteration, one more is the slice that follows in it.
    assert_eq!(answered(&mut peers), [3, 0]);
    // The rest goes on in slices, behind the other.
    test.each_takes(limits::SLICES);
    peers[1].write_all(b"echo x\n").unwrap();
    test.iterate();
    assert_eq!(answered(&mut peers), [1, 1]);
    for _ in 0..6 {
        test.iterate();
        assert_eq!(answered(&mut peers), [1, 0]);
    }
    test.settle();
    assert_eq!(answered(&mut peers), [0, 0]);
}

#[test]
fn one_call_does_only_so_much_whatever_time_it_takes() {
    let mut test = TestLoop::new();
    let mut peers = [test.peer(), test.peer()];
    peers[0].write_all(&b"echo x\n".repeat(10)).unwrap();
    peers[1].write_all(b"echo x\n").unwrap();
    test.each_takes(Duration::ZERO);
    // A line is a look at the clock and more, and time stands still.
    let per_call = limits::CALL.div_ceil(crate::work::UNITS_PER_LOOK as usize + 1);
    test.iterate();
    assert_eq!(answered(&mut peers), [2 * per_call, 1], "as ready, and in a slice");
    test.iterate();
    assert_eq!(answered(&mut peers), [per_call, 0]);
    test.settle();
    assert_eq!(answered(&mut peers), [10 - 3 * per_call, 0]);
}

#[test]
fn slices_share_their_part_of_an_iteration() {
    let mut test = TestLoop::new();
    let mut peers = ["a", "b", "c"].map(|word| (word, test.peer()));
    for (word, peer) in &mut peers {
        peer.write_all(format!("long {word} 2\n").as_bytes()).unwrap();
    }
    test.until("begun", |test| test.slices().len() >= 3);
    test.each_takes(limits::SLICES);
    while test.slices().len() < 6 {
        let before = test.slices().len();
        test.iterate();
        assert_eq!(test.slices().len(), before + 1, "one is due, whatever it takes");
    }
}

#[test]
fn sweep_of_the_deadlines_goes_on_where_its_iteration_ended() {
    let mut test = TestLoop::new();
    let mut peers: Vec<_> = (0..100).map(|_| test.peer()).collect();
    test.each_takes(limits::ITERATION);
    test.clock.set(test.clock.now() + lines::LINE + Duration::from_secs(1));
    test.event_loop.handle().ping();
    let mut iterations = 0;
    test.until("ended", |test| {
        iterations += 1;
        test.log.endings().len() == 100
    });
    assert!(iterations > 2, "{iterations}");
    for peer in &mut peers {
        assert_eq!(test.until_end(peer), b"late\n");
    }
}

#[test]
fn deadlines_pass_beside_work_that_never_ends() {
    let mut test = TestLoop::new();
    let (mut silent, mut busy) = (test.peer(), test.peer());
    busy.write_all(b"long a 1000000\n").unwrap();
    test.until("begun", |test| !test.slices().is_empty());
    // Each slice takes all that slices have.
    test.each_takes(limits::SLICES);
    test.clock.set(test.clock.now() + lines::LINE);
    test.until("ended", |test| test.log.endings() == [CloseReason::Unused]);
    assert_eq!(test.until_end(&mut silent), b"late\n");
    drop(busy);
}

#[test]
fn what_waits_for_its_peers_is_written_in_a_part_of_an_iteration() {
    let mut test = TestLoop::new();
    let mut peers: Vec<_> = (0..16).map(|_| test.peer()).collect();
    peers.iter_mut().for_each(|peer| test.send(peer, LARGE));
    // Each write takes all the time that writes have, which is looked at now and then.
    test.each_takes(limits::SLICES);
    let queued = |test: &mut TestLoop| -> Vec<usize> {
        let slots = &mut test.event_loop.slots;
        let tokens: Vec<_> = (0..16).filter_map(|index| slots.token_at(index)).collect();
        tokens.into_iter().map(|token| slots.get_mut(token).unwrap().queued()).collect()
    };
    for _ in 0..3 {
        let mut got = Vec::new();
        peers.iter_mut().for_each(|peer| assert!(!read_some(peer, &mut got, usize::MAX)));
        let before = queued(&mut test);
        test.until("something is written", |test| queued(test) != before);
        let after = queued(&mut test);
        let written = before.iter().zip(&after).filter(|(before, after)| before != after).count();
        assert!(written <= 8, "{written} at once");
    }
}

#[test]
fn those_that_are_ready_together_are_read_a_little_each() {
    let mut test = TestLoop::new();
    let mut peers: Vec<_> = (0..200).map(|_| test.peer()).collect();
    let lines = b"quiet\n".repeat(limits::READ_BUFFER / 6);
    peers.iter_mut().for_each(|peer| test.write(peer, &lines));
    let most = limits::READ_BUFFER * crate::work::part_of_round(peers.len()) / limits::CALL;
    test.iterate();
    let received = test.counters.received.get();
    assert!(most < limits::READ_BUFFER && received == (peers.len() * most) as u64, "{received}");
    test.settle();
    assert_eq!(test.counters.received.get(), (peers.len() * lines.len()) as u64);
}

#[test]
fn many_connections_that_end_at_once_are_closed_a_part_at_a_time() {
    let mut test = TestLoop::new();
    let peers: Vec<_> = (0..3 * CLOSED_AT_ONCE).map(|_| test.peer()).collect();
    let before = test.commits();
    drop(peers);
    test.iterate();
    assert!(test.event_loop.is_empty());
    assert_eq!(test.commits(), before + 3, "committed before each part is closed");
}

#[test]
fn stop_is_seen_behind_more_messages_than_fit_into_an_iteration() {
    let mut test = TestLoop::new();
    let mut peer = test.peer();
    let token = test.event_loop.slots.token_at(0).unwrap();
    for _ in 0..1000 {
        test.event_loop.handle().wake(token);
    }
    test.stop_in(Duration::from_secs(1));
    test.until("drained", |test| test.event_loop.is_empty());
    assert_eq!(test.until_end(&mut peer), b"");
}
