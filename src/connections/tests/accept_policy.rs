//! Access rules at accept: denied peers take no slot of others, and permits are always released.

use super::*;
use crate::access::{AllowList, Denials, DenyReason, PerIpLimiter, Permit, Rejection};
use crate::limits;
use rustix::net::sockopt;
use std::net::IpAddr;
use std::num::NonZeroUsize;

const NOT_ALLOWED: Rejection = Rejection { reason: DenyReason::TcpAllow, message: b"denied\n" };
const TOO_MANY: Rejection = Rejection { reason: DenyReason::TcpPerIp, message: b"too many\n" };

fn at_most(each: usize) -> AcceptPolicy {
    AcceptPolicy::new(Arc::default()).limit_per_ip(NonZeroUsize::new(each), TOO_MANY)
}

#[test]
fn denied_peer_is_told_why_and_takes_no_slot() {
    let denials = Arc::new(Denials::default());
    let elsewhere = AllowList::from(vec!["192.0.2.0/24".parse().unwrap()]);
    let policy = AcceptPolicy::new(Arc::clone(&denials)).allow_only(&elsewhere, NOT_ALLOWED);
    let mut test = TestLoop::behind(Options { max_connections: 1, ..OPTIONS }, policy);
    for round in 1..=3 {
        let mut peer = test.peer();
        // It has written already: the message must not be lost to a reset.
        peer.write_all(b"echo hello\n").unwrap();
        assert_eq!(test.until_end(&mut peer), b"denied\n");
        assert_eq!(denials.get(DenyReason::TcpAllow).count, round);
    }
    let counters = &test.counters;
    assert_eq!((counters.accepted.get(), counters.refused.get(), counters.open()), (3, 0, 0));
    assert_eq!(test.log.endings(), [], "no handler was called");
    test.until("gone", |test| test.event_loop.is_empty());
}

#[test]
fn denied_peers_that_stay_are_bounded() {
    let elsewhere = AllowList::from(vec!["192.0.2.0/24".parse().unwrap()]);
    let policy = AcceptPolicy::new(Arc::default()).allow_only(&elsewhere, NOT_ALLOWED);
    let mut test = TestLoop::behind(OPTIONS, policy);
    let peers: Vec<_> = (0..200).map(|_| TcpStream::connect(test.address).unwrap()).collect();
    test.until("all denied", |test| test.counters.accepted.get() == 200);
    assert!(test.event_loop.len() <= crate::access::REJECTED);
    test.pass(limits::LINGER + Duration::from_secs(1));
    assert!(test.event_loop.is_empty(), "a denied peer cannot stay");
    drop(peers);
}

/// Takes the only permit, ends its connection by `end`, and takes the permit again.
fn check_release(what: &str, options: Options, end: impl FnOnce(&mut TestLoop, TcpStream)) {
    let mut test = TestLoop::behind(options, at_most(1));
    let mut first = test.peer();
    test.send(&mut first, b"echo in\n");
    test.expect(&mut first, b"in\n");
    let mut second = test.peer();
    assert_eq!(test.until_end(&mut second), b"too many\n", "{what}");
    end(&mut test, first);
    test.until(what, |test| test.counters.open() == 0);
    assert!(test.event_loop.permits.is_empty(), "{what}");
    let mut third = test.peer();
    test.send(&mut third, b"echo again\n");
    test.expect(&mut third, b"again\n");
}

#[test]
fn per_ip_permit_is_released_on_every_close_path() {
    check_release("closed", OPTIONS, |_, peer| drop(peer));
    check_release("reset", OPTIONS, |_, peer| {
        sockopt::set_socket_linger(&peer, Some(Duration::ZERO)).unwrap();
    });
    check_release("ended by its handler", OPTIONS, |test, mut peer| {
        peer.write_all(b"quit\n").unwrap();
        assert_eq!(test.until_end(&mut peer), b"bye\n");
    });
    check_release("panicked", OPTIONS, |test, mut peer| {
        peer.write_all(b"half\n").unwrap();
        test.until_end(&mut peer);
    });
    check_release("silent", OPTIONS, |test, mut peer| {
        test.pass(Duration::from_secs(3600));
        test.until_end(&mut peer);
    });
}

/// A limiter of one connection, and its permit.
fn full_limiter() -> (Arc<PerIpLimiter>, Permit) {
    let limiter = PerIpLimiter::new(NonZeroUsize::MIN);
    let permit = limiter.acquire(IpAddr::from([127, 0, 0, 1])).unwrap();
    assert!(is_full(&limiter));
    let mut all = Permit::default();
    all.per_ip = Some(Box::new(permit));
    (limiter, all)
}

fn is_full(limiter: &Arc<PerIpLimiter>) -> bool {
    limiter.acquire(IpAddr::from([127, 0, 0, 1])).is_none()
}

/// A connection with `permit`, and its peer.
fn incoming(permit: Permit) -> (Incoming, TcpStream) {
    let outside = listener();
    let end = TcpStream::connect(outside.local_addr().unwrap()).unwrap();
    let (socket, peer) = outside.accept().unwrap();
    socket.set_nonblocking(true).unwrap();
    (Incoming { socket: socket.into(), peer, permit: Some(permit) }, end)
}

#[test]
fn per_ip_permit_is_released_with_the_loop_its_queue_and_its_stop() {
    let (limiter, permit) = full_limiter();
    let mut test = TestLoop::new();
    let (open, _peer) = incoming(permit);
    assert!(test.counters.enter(1));
    test.event_loop.handle().send(LoopMessage::Open(open));
    test.settle();
    assert!(is_full(&limiter), "it is open");
    drop(test);
    assert!(!is_full(&limiter), "the loop is gone, as after a panic of its own");

    let (limiter, permit) = full_limiter();
    let test = TestLoop::new();
    let (unread, _peer) = incoming(permit);
    test.event_loop.handle().send(LoopMessage::Open(unread));
    drop(test);
    assert!(!is_full(&limiter), "the loop is gone before it read its messages");

    let (limiter, permit) = full_limiter();
    let mut test = TestLoop::new();
    test.stop_in(limits::DRAIN);
    test.settle();
    let (late, _peer) = incoming(permit);
    assert!(test.counters.enter(1));
    test.event_loop.handle().send(LoopMessage::Open(late));
    test.settle();
    assert!(!is_full(&limiter), "the loop has stopped");
}

#[test]
fn per_ip_permit_is_released_when_the_cap_rejects() {
    let full = Options { max_connections: 1, ..OPTIONS };
    let mut test = TestLoop::behind(full, at_most(2));
    let first = test.peer();
    for _ in 0..3 {
        let mut over = test.peer();
        assert_eq!(test.until_end(&mut over), b"full\n", "the cap, not the policy");
    }
    drop(first);
    test.until("there is room", |test| test.counters.open() == 0);
    let mut next = test.peer();
    test.send(&mut next, b"echo in\n");
    test.expect(&mut next, b"in\n");
}

#[test]
fn address_that_has_most_is_refused_when_few_places_are_left() {
    let shares = Rejection { reason: DenyReason::HttpShare, message: b"share\n" };
    let denials = Arc::new(Denials::default());
    let policy = AcceptPolicy::new(Arc::clone(&denials)).share(10, shares);
    let mut test = TestLoop::behind(Options { max_connections: 10, ..OPTIONS }, policy);
    let mut peers: Vec<_> = (0..8).map(|_| test.peer()).collect();
    let mut over = test.peer();
    assert_eq!(test.until_end(&mut over), b"share\n");
    assert_eq!(denials.get(DenyReason::HttpShare).count, 1);
    assert_eq!((test.counters.open(), test.counters.refused.get()), (8, 0));
    // Those that are there stay, and a place that is given back is given again.
    for peer in &mut peers {
        test.send(peer, b"echo in\n");
        test.expect(peer, b"in\n");
    }
    drop(peers.pop());
    test.until("a place is free", |test| test.counters.open() == 7);
    let mut next = test.peer();
    test.send(&mut next, b"echo in\n");
    test.expect(&mut next, b"in\n");
}
