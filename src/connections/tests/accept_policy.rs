//! Who is let in: peers that a policy sends away cost nothing, and permits always come back.

use super::*;
use crate::access::{AllowList, Denials, DenyReason, PerIpLimiter, PerIpPermit, Rejection};
use crate::limits;
use rustix::net::sockopt;
use std::net::IpAddr;
use std::num::NonZeroUsize;

const STRANGER: Rejection = Rejection { reason: DenyReason::TcpAllow, message: b"stranger\n" };
const CROWDED: Rejection = Rejection { reason: DenyReason::TcpPerIp, message: b"crowded\n" };

fn at_most(each: usize) -> Option<AcceptPolicy> {
    AcceptPolicy::new(Arc::default()).limit_per_ip(NonZeroUsize::new(each), CROWDED).if_any_rule()
}

#[test]
fn a_stranger_is_told_and_takes_nobody_s_room() {
    let refusals = Arc::new(Denials::default());
    let elsewhere = AllowList::from(vec!["192.0.2.0/24".parse().unwrap()]);
    let policy =
        AcceptPolicy::new(Arc::clone(&refusals)).allow_only(&elsewhere, STRANGER).if_any_rule();
    let mut bench = Bench::behind(Options { max_connections: 1, ..OPTIONS }, policy);
    for round in 1..=3 {
        let mut peer = bench.peer();
        // It has written already: the refusal must not be lost to a reset.
        peer.write_all(b"echo hello\n").unwrap();
        assert_eq!(bench.until_end(&mut peer), b"stranger\n");
        assert_eq!(refusals.get(DenyReason::TcpAllow).count, round);
    }
    let counters = &bench.counters;
    assert_eq!((counters.accepted.get(), counters.refused.get(), counters.open()), (3, 0, 0));
    assert_eq!(bench.log.endings(), [], "no conversation has begun");
    bench.until("gone", |bench| bench.table.is_empty());
}

#[test]
fn strangers_that_stay_are_bounded() {
    let elsewhere = AllowList::from(vec!["192.0.2.0/24".parse().unwrap()]);
    let policy = AcceptPolicy::new(Arc::default()).allow_only(&elsewhere, STRANGER).if_any_rule();
    let mut bench = Bench::behind(OPTIONS, policy);
    let peers: Vec<_> = (0..200).map(|_| TcpStream::connect(bench.address).unwrap()).collect();
    bench.until("all refused", |bench| bench.counters.accepted.get() == 200);
    assert!(bench.table.len() <= crate::connections::acceptor::REFUSALS);
    bench.pass(limits::LINGER + Duration::from_secs(1));
    assert!(bench.table.is_empty(), "a stranger cannot stay");
    drop(peers);
}

/// Fills the only place, ends its connection by `end`, and takes the place again.
fn comes_back(what: &str, options: Options, end: impl FnOnce(&mut Bench, TcpStream)) {
    let mut bench = Bench::behind(options, at_most(1));
    let mut first = bench.peer();
    bench.send(&mut first, b"echo in\n");
    bench.expect(&mut first, b"in\n");
    let mut second = bench.peer();
    assert_eq!(bench.until_end(&mut second), b"crowded\n", "{what}");
    end(&mut bench, first);
    bench.until(what, |bench| bench.counters.open() == 0);
    assert!(bench.table.permits.is_empty(), "{what}");
    let mut third = bench.peer();
    bench.send(&mut third, b"echo again\n");
    bench.expect(&mut third, b"again\n");
}

#[test]
fn a_place_comes_back_however_its_connection_ends() {
    comes_back("closed", OPTIONS, |_, peer| drop(peer));
    comes_back("reset", OPTIONS, |_, peer| {
        sockopt::set_socket_linger(&peer, Some(Duration::ZERO)).unwrap();
    });
    comes_back("ended by its conversation", OPTIONS, |bench, mut peer| {
        peer.write_all(b"quit\n").unwrap();
        assert_eq!(bench.until_end(&mut peer), b"bye\n");
    });
    comes_back("panicked", OPTIONS, |bench, mut peer| {
        peer.write_all(b"half\n").unwrap();
        bench.until_end(&mut peer);
    });
    comes_back("silent", OPTIONS, |bench, mut peer| {
        bench.pass(Duration::from_secs(3600));
        bench.until_end(&mut peer);
    });
}

/// A limiter of one place, and that place.
fn taken() -> (Arc<PerIpLimiter>, PerIpPermit) {
    let limiter = PerIpLimiter::new(NonZeroUsize::MIN);
    let place = limiter.acquire(IpAddr::from([127, 0, 0, 1])).unwrap();
    assert!(is_full(&limiter));
    (limiter, place)
}

fn is_full(limiter: &Arc<PerIpLimiter>) -> bool {
    limiter.acquire(IpAddr::from([127, 0, 0, 1])).is_none()
}

/// A connection that brings `place` along, and its peer.
fn arrival(place: PerIpPermit) -> (Arrival, TcpStream) {
    let outside = listener();
    let end = TcpStream::connect(outside.local_addr().unwrap()).unwrap();
    let (socket, peer) = outside.accept().unwrap();
    socket.set_nonblocking(true).unwrap();
    (Arrival { socket: socket.into(), peer, place: Some(place) }, end)
}

#[test]
fn a_place_comes_back_with_the_table_its_mail_and_its_stop() {
    let (limiter, place) = taken();
    let mut bench = Bench::new();
    let (open, _peer) = arrival(place);
    assert!(bench.counters.enter(1));
    bench.table.handle().send(LoopMessage::Open(open));
    bench.settle();
    assert!(is_full(&limiter), "it is open");
    drop(bench);
    assert!(!is_full(&limiter), "the table is gone, as after a panic of its own");

    let (limiter, place) = taken();
    let bench = Bench::new();
    let (unread, _peer) = arrival(place);
    bench.table.handle().send(LoopMessage::Open(unread));
    drop(bench);
    assert!(!is_full(&limiter), "the table is gone before it read its messages");

    let (limiter, place) = taken();
    let mut bench = Bench::new();
    bench.stop_in(limits::DRAIN);
    bench.settle();
    let (late, _peer) = arrival(place);
    assert!(bench.counters.enter(1));
    bench.table.handle().send(LoopMessage::Open(late));
    bench.settle();
    assert!(!is_full(&limiter), "the table has stopped");
}

#[test]
fn a_place_comes_back_when_the_cap_refuses() {
    let full = Options { max_connections: 1, ..OPTIONS };
    let mut bench = Bench::behind(full, at_most(2));
    let first = bench.peer();
    for _ in 0..3 {
        let mut over = bench.peer();
        assert_eq!(bench.until_end(&mut over), b"full\n", "the cap, not the policy");
    }
    drop(first);
    bench.until("there is room", |bench| bench.counters.open() == 0);
    let mut next = bench.peer();
    bench.send(&mut next, b"echo in\n");
    bench.expect(&mut next, b"in\n");
}
