//! Connections of proxies: nothing happens before the header, and then it is the real peer's.

use super::*;
use crate::access::{AllowList, Denials, DenyReason, Rejection};
use crate::limits;
use std::num::NonZeroUsize;

const TIMEOUT: Duration = Duration::from_secs(7);

/// A policy for which every peer of these tests is a proxy.
fn policy(denials: &Arc<Denials>) -> AcceptPolicy {
    let proxies = AllowList::from(vec!["127.0.0.1".parse().unwrap()]);
    let policy = AcceptPolicy::new(Arc::clone(denials));
    policy.behind_proxies(&proxies, DenyReason::TcpProxy, TIMEOUT)
}

fn behind_proxy() -> (TestLoop, Arc<Denials>) {
    let denials = Arc::new(Denials::default());
    (TestLoop::behind(OPTIONS, policy(&denials)), denials)
}

fn v1(ip: &str) -> Vec<u8> {
    format!("PROXY TCP4 {ip} 127.0.0.1 4000 4160\r\n").into_bytes()
}

/// A version 2 header for `[2001:db8::1]:4000`.
fn v2() -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24".to_vec();
    header.extend(
        ["2001:db8::1", "::1"]
            .map(|ip| ip.parse::<std::net::Ipv6Addr>().unwrap().octets())
            .concat(),
    );
    header.extend([0x0f, 0xa0, 0x10, 0x40]);
    header
}

#[test]
fn header_names_the_peer_however_it_is_cut() {
    let v1_peer: SocketAddr = "10.1.2.3:4000".parse().unwrap();
    for (header, peer) in [(v1("10.1.2.3"), v1_peer), (v2(), "[2001:db8::1]:4000".parse().unwrap())]
    {
        let sent = [&header[..], b"echo one\necho two\n"].concat();
        for pieces in [1, 2, 7, sent.len()] {
            let (mut test, _) = behind_proxy();
            let mut proxy = test.peer();
            for piece in sent.chunks(sent.len().div_ceil(pieces)) {
                proxy.write_all(piece).unwrap();
                test.settle();
            }
            test.expect(&mut proxy, b"one\ntwo\n");
            test.send(&mut proxy, b"echo three\n");
            test.expect(&mut proxy, b"three\n");
            assert_eq!(*test.log.peers.lock().unwrap(), [peer], "{pieces}");
        }
    }
}

#[test]
fn proxy_that_names_nobody_is_the_peer() {
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    for header in [&b"PROXY UNKNOWN\r\n"[..], local] {
        let (mut test, _) = behind_proxy();
        let mut proxy = test.peer();
        test.send(&mut proxy, header);
        test.send(&mut proxy, b"echo in\n");
        test.expect(&mut proxy, b"in\n");
        assert_eq!(*test.log.peers.lock().unwrap(), [proxy.local_addr().unwrap()]);
    }
}

#[test]
fn missing_or_wrong_header_closes_and_is_counted() {
    let (mut test, denials) = behind_proxy();
    let wrong: [&[u8]; 4] = [
        b"echo in\n",
        b"PROXY TCP4 here\r\necho in\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\0",
        b"PROXY",
    ];
    for (number, sent) in (1..).zip(wrong) {
        let mut proxy = test.peer();
        proxy.write_all(sent).unwrap();
        proxy.shutdown(std::net::Shutdown::Write).unwrap();
        test.until("gone", |test| test.counters.open() == 0);
        assert!(matches!(proxy.read(&mut [0]), Ok(0) | Err(_)), "it is told nothing");
        assert_eq!(denials.get(DenyReason::TcpProxy).count, number, "{sent:?}");
    }
    assert!(test.log.peers.lock().unwrap().is_empty() && test.log.endings().is_empty());
}

#[test]
fn header_must_be_whole_in_time() {
    let (mut test, denials) = behind_proxy();
    let mut proxy = test.peer();
    for byte in &v1("10.1.2.3")[..6] {
        proxy.write_all(&[*byte]).unwrap();
        test.settle();
        test.pass(TIMEOUT / 7);
    }
    assert_eq!(test.counters.open(), 1);
    test.pass(TIMEOUT / 7 + Duration::from_millis(500));
    assert_eq!((test.counters.open(), denials.get(DenyReason::TcpProxy).count), (0, 1));
    // One whose header has come while the process was stopped is not late.
    let mut proxy = test.peer();
    proxy.write_all(&[&v1("10.1.2.3")[..], b"echo in\n"].concat()).unwrap();
    test.pass(2 * TIMEOUT);
    test.expect(&mut proxy, b"in\n");
}

#[test]
fn rules_and_shares_see_the_real_peer() {
    let denials = Arc::new(Denials::default());
    let rejection = |reason, message| Rejection { reason, message };
    let networks = AllowList::from(vec!["10.0.0.0/8".parse().unwrap()]);
    let policy = policy(&denials)
        .allow_only(&networks, rejection(DenyReason::TcpAllow, b"outside\n"))
        .limit_per_ip(NonZeroUsize::new(4), rejection(DenyReason::TcpPerIp, b"too many\n"))
        .share(5, rejection(DenyReason::TcpShare, b"share\n"));
    let mut test = TestLoop::behind(Options { max_connections: 6, ..OPTIONS }, policy);
    let connect = |test: &mut TestLoop, ip: &str, want: &[u8]| {
        let mut proxy = test.peer();
        proxy.write_all(&[&v1(ip)[..], b"echo in\n"].concat()).unwrap();
        test.expect(&mut proxy, want);
        proxy
    };
    let mut denied = connect(&mut test, "192.0.2.1", b"outside\n");
    assert_eq!(test.until_end(&mut denied), b"");
    drop(denied);
    test.until("gone", |test| test.event_loop.is_empty());
    let mut peers: Vec<_> = (0..4).map(|_| connect(&mut test, "10.0.0.1", b"in\n")).collect();
    drop(connect(&mut test, "10.0.0.1", b"too many\n"));
    test.until("gone", |test| test.counters.open() == 4);
    peers.push(connect(&mut test, "10.0.0.2", b"in\n"));
    drop(connect(&mut test, "10.0.0.3", b"share\n"));
    let counts =
        [DenyReason::TcpAllow, DenyReason::TcpPerIp, DenyReason::TcpShare, DenyReason::TcpProxy];
    assert_eq!(counts.map(|reason| denials.get(reason).count), [1, 1, 1, 0]);
    drop(peers);
    test.until("gone", |test| test.counters.open() == 0);
    assert!(test.event_loop.permits.is_empty());
    let _again = connect(&mut test, "10.0.0.1", b"in\n");
}

#[test]
fn peers_that_are_denied_behind_a_proxy_are_bounded_and_take_no_slot() {
    let denied = Rejection { reason: DenyReason::TcpAllow, message: b"outside\n" };
    let elsewhere = AllowList::from(vec!["10.0.0.0/8".parse().unwrap()]);
    let policy = policy(&Arc::default()).allow_only(&elsewhere, denied);
    let mut test = TestLoop::behind(OPTIONS, policy);
    let mut proxies: Vec<_> = (0..200).map(|_| test.peer()).collect();
    for proxy in &mut proxies {
        test.send(proxy, &v1("192.0.2.1"));
    }
    assert!((1..=crate::access::REJECTED).contains(&test.event_loop.len()));
    assert_eq!(test.counters.open(), 0);
    test.pass(limits::LINGER + Duration::from_secs(1));
    assert!(test.event_loop.is_empty(), "a denied peer cannot stay");
}

#[test]
fn stop_and_cap_count_those_that_wait_for_a_header() {
    let denials = Arc::new(Denials::default());
    let mut test = TestLoop::behind(Options { max_connections: 1, ..OPTIONS }, policy(&denials));
    let mut waiting = test.peer();
    let mut over = test.peer();
    assert_eq!(test.until_end(&mut over), b"full\n");
    drop(over);
    test.stop_in(limits::DRAIN);
    test.until("drained", |test| test.event_loop.is_empty());
    assert_eq!(test.until_end(&mut waiting), b"");
    assert_eq!((test.counters.open(), denials.get(DenyReason::TcpProxy).count), (0, 0));
}
