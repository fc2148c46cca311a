//! Tests of the oracle: each time of a registration, and each of a name.

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_unix_nanos(second * 1_000_000_000)
}

/// Producers 1 and 2 share topic 0; staleness up to 5 s is allowed. Producer 1 registers: sent at 10, OK at 12.
fn registered() -> Oracle {
    let oracle = Oracle::new(&[vec![1, 2]], 1, 4, Duration::from_secs(5));
    oracle.registering(0, 1, at(10));
    oracle.registered(0, 1, at(12));
    oracle
}

/// Checks a response that lists `hosts`, sent and received at these seconds; returns `missing`,
/// `stale`, `extra`.
fn check(oracle: &Oracle, sent: i64, received: i64, hosts: &[u32]) -> [u32; 3] {
    let mut listed = ListedProducers::new(4);
    listed.clear();
    hosts.iter().for_each(|host| listed.add((*host < 4).then_some(*host)));
    let window =
        LookupWindow { topic: 0, sent: at(sent), received: at(received), measure_from: at(0) };
    let found = oracle.check(window, &listed);
    [found.missing, found.stale, found.extra]
}

#[test]
fn registration_may_be_listed_once_sent_and_must_be_once_acknowledged() {
    let oracle = registered();
    for (sent, received, lists, want) in [
        (8, 9, false, [0, 0, 0]),
        (8, 9, true, [0, 1, 0]),    // before REGISTER was sent
        (9, 10, true, [0, 0, 0]),   // overlaps the sending
        (11, 13, false, [0, 0, 0]), // overlaps the acknowledgement
        (11, 13, true, [0, 0, 0]),
        (12, 13, false, [1, 0, 0]), // acknowledged before the request
        (12, 13, true, [0, 0, 0]),
    ] {
        let hosts: &[u32] = if lists { &[1] } else { &[] };
        let found = check(&oracle, sent, received, hosts);
        assert_eq!(found, want, "{sent}..{received} lists {lists}");
    }
}

#[test]
fn killed_producer_may_be_listed_for_the_allowed_staleness() {
    let oracle = registered();
    oracle.killed(0, 1, at(20));
    assert_eq!(check(&oracle, 18, 19, &[]), [1, 0, 0]);
    assert_eq!(check(&oracle, 19, 21, &[]), [0, 0, 0]);
    assert_eq!(check(&oracle, 24, 24, &[1]), [0, 0, 0]);
    assert_eq!(check(&oracle, 25, 26, &[1]), [0, 1, 0]);
    assert_eq!(check(&oracle, 25, 26, &[]), [0, 0, 0]);
}

#[test]
fn unregistered_producer_must_be_gone_once_acknowledged() {
    let oracle = registered();
    oracle.unregistering(0, 1, at(20));
    assert_eq!(check(&oracle, 30, 31, &[1]), [0, 0, 0]);
    oracle.unregistered(0, 1, at(22));
    assert_eq!(check(&oracle, 21, 23, &[1]), [0, 0, 0]);
    assert_eq!(check(&oracle, 22, 23, &[1]), [0, 1, 0]);
    oracle.registering(0, 1, at(40));
    assert_eq!(check(&oracle, 38, 39, &[1]), [0, 1, 0]);
    assert_eq!(check(&oracle, 39, 40, &[1]), [0, 0, 0]);
}

#[test]
fn unknown_and_duplicate_producers_are_extra_unless_a_previous_registration_may_remain() {
    let oracle = registered();
    assert_eq!(check(&oracle, 12, 13, &[1, 3]), [0, 0, 1]); // never registers this topic
    assert_eq!(check(&oracle, 12, 13, &[1, 9]), [0, 0, 1]); // no producer of this run
    assert_eq!(check(&oracle, 12, 13, &[1, 1]), [0, 0, 1]);
    oracle.killed(0, 1, at(20));
    oracle.registering(0, 1, at(21));
    oracle.registered(0, 1, at(22));
    assert_eq!(check(&oracle, 23, 23, &[1, 1]), [0, 0, 0]);
    assert_eq!(check(&oracle, 25, 26, &[1, 1]), [0, 0, 1]);
}

#[test]
fn broken_connection_excuses_missing_since_the_last_answered_command() {
    let oracle = registered();
    assert_eq!(check(&oracle, 14, 15, &[]), [1, 0, 0]);
    assert_eq!(check(&oracle, 30, 31, &[]), [1, 0, 0]);
    // The heartbeat sent at 27 was answered, so it was registered until then.
    assert_eq!(oracle.broken(0, 1, at(27), at(40)), Excused { findings: 1, answers: 0 });
    assert_eq!(check(&oracle, 41, 42, &[]), [0, 0, 0]);
    assert_eq!(check(&oracle, 45, 46, &[1]), [0, 1, 0]);
}

#[test]
fn killed_target_may_list_anything_until_registered_again() {
    let oracle = registered();
    oracle.target_killed(at(20));
    assert_eq!(check(&oracle, 21, 22, &[]), [0, 0, 0]);
    assert_eq!(check(&oracle, 60, 61, &[1]), [0, 0, 0]);
    oracle.registering(0, 1, at(62));
    oracle.registered(0, 1, at(63));
    assert_eq!(check(&oracle, 64, 65, &[]), [1, 0, 0]);
}

#[test]
fn first_response_that_shows_a_change_is_measured_once() {
    let oracle = registered();
    let lookup = |second: i64, hosts: &[u32]| {
        let mut listed = ListedProducers::new(4);
        listed.clear();
        hosts.iter().for_each(|host| listed.add(Some(*host)));
        let (sent, received) = (at(second), at(second));
        let window = LookupWindow { topic: 0, sent, received, measure_from: at(0) };
        let found = oracle.check(window, &listed);
        let whole = |spans: Vec<Duration>| spans.iter().map(Duration::as_secs).collect::<Vec<_>>();
        (whole(found.appeared), whole(found.vanished), found.up_to_date)
    };
    assert_eq!(lookup(11, &[]), (vec![], vec![], false));
    assert_eq!(lookup(13, &[1]), (vec![3], vec![], true));
    assert_eq!(lookup(14, &[1]), (vec![], vec![], true));
    oracle.killed(0, 1, at(20));
    assert_eq!(lookup(22, &[1]), (vec![], vec![], false));
    assert_eq!(lookup(24, &[]), (vec![], vec![4], true));
}

/// The answer to a lookup in these seconds that lists nobody.
fn empty(oracle: &Oracle, sent: i64, received: i64) -> Findings {
    let mut listed = ListedProducers::new(4);
    listed.clear();
    let (sent, received) = (at(sent), at(received));
    let window = LookupWindow { topic: 0, sent, received, measure_from: at(0) };
    oracle.check(window, &listed)
}

#[test]
fn answer_is_excused_with_the_last_of_its_findings() {
    let oracle = registered();
    oracle.registering(0, 2, at(10));
    oracle.registered(0, 2, at(12));
    assert!(empty(&oracle, 30, 31).is_wrong());
    let garbled = Findings { garbled: 1, ..empty(&oracle, 32, 33) };
    assert!(garbled.is_wrong());
    let excused = |producer| oracle.broken(0, producer, at(27), at(40));
    assert_eq!(excused(1), Excused { findings: 2, answers: 0 }, "the other is still missing");
    assert_eq!(excused(2), Excused { findings: 2, answers: 1 }, "the garbled one stays wrong");
    assert!(!Findings::default().is_wrong());
}

#[test]
fn finding_that_is_excused_before_the_check_is_complete_makes_no_answer_wrong() {
    let oracle = registered();
    let found = empty(&oracle, 30, 31);
    assert_eq!(oracle.broken(0, 1, at(27), at(40)), Excused { findings: 1, answers: 0 });
    assert!(!found.is_wrong());
}

#[test]
fn topics_of_a_node_are_checked_one_by_one() {
    let oracle = registered();
    let found = |producer, sent, received, is_listed| {
        let window =
            LookupWindow { topic: 0, sent: at(sent), received: at(received), measure_from: at(0) };
        let mut found = Findings::default();
        oracle.check_one(window, producer, is_listed, &mut found);
        [found.missing, found.stale, found.extra]
    };
    assert_eq!(found(1, 12, 13, true), [0, 0, 0]);
    assert_eq!(found(1, 12, 13, false), [1, 0, 0]);
    assert_eq!(found(1, 8, 9, true), [0, 1, 0]);
    assert_eq!(found(3, 12, 13, true), [0, 0, 1], "it never registers this topic");
}

#[test]
fn remote_address_of_an_earlier_connection_is_tolerated_for_the_allowed_staleness() {
    let oracle = registered();
    let (one, two) = ("127.0.0.1:1".parse().expect("valid"), "127.0.0.1:2".parse().expect("valid"));
    assert!(oracle.is_remote(1, two, at(9)), "nothing is known");
    oracle.connected(1, Some(one), at(10));
    assert_eq!([one, two].map(|shown| oracle.is_remote(1, shown, at(11))), [true, false]);
    oracle.connected(1, Some(two), at(20));
    assert_eq!([one, two].map(|shown| oracle.is_remote(1, shown, at(24))), [true, true]);
    assert_eq!([one, two].map(|shown| oracle.is_remote(1, shown, at(25))), [false, true]);
}
