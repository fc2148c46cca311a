//! Planted faults are found, and a fleet that is answered well is not accused.

use std::time::Duration;

use super::fake::{DROPPED, Fault, start};
use crate::actors::world::World;
use crate::input::scenario::Scenario;
use crate::measure::interval::Micros;
use crate::measure::ops::{Count, Op, Span};
use crate::measure::results::Results;
use crate::modes::collect::Collected;
use crate::modes::play::{Phase, Piece, View, play};

/// Nobody looks.
pub(super) struct Unseen;

impl View for Unseen {
    fn second(&mut self, _: &World, _: &Collected, _: Phase, _: f64) {}
    fn over(&mut self) {}
}

/// A small fleet with probes that come and go, and consumers that notice.
pub(super) const FLEET: &str = r#"
about = "a test"
duration = "2500ms"
staleness = "400ms"
max_lag = "60s"
[topics]
count = 2
channels = 1
[[nsqds]]
count = 8
topics = 1
ping = "200ms"
recreate = "300ms"
[[consumers]]
count = 8
poll = "50ms"
fresh = 0.5
[probes]
count = 1
stay = "700ms"
every = "2ms"
"#;

/// The results of that scenario against a lookupd with that fault.
pub(super) fn run(fault: Fault, scenario: &str) -> Results {
    let scenario = Scenario::parse("test", scenario).expect("a good scenario");
    let mut piece = Piece::new("test", scenario, start(fault), 2);
    play(&mut piece, &mut Unseen).expect("the fake lookupd answers")
}

/// Runs the fleet; `found` is what the oracle must count, and nothing else.
fn check(fault: Fault, found: &[Count]) {
    let results = run(fault, FLEET);
    assert!(results.total.counted(Count::Checked) > 50, "{fault:?}: too few answers to judge by");
    for kind in [Count::Missing, Count::Stale, Count::Extra, Count::Garbled] {
        let count = results.total.counted(kind);
        assert_eq!(count > 0, found.contains(&kind), "{fault:?}: {count} {}", kind.name());
    }
    assert_eq!(results.exit(), if found.is_empty() { 0 } else { 5 }, "{fault:?}");
}

#[test]
fn a_true_lookupd_is_not_accused_and_its_changes_are_measured() {
    let results = run(Fault::None, FLEET);
    assert_eq!((results.wrong_answers(), results.exit()), (0, 0));
    assert!(results.span(Span::Appeared).is_some() && results.span(Span::Vanished).is_some());
    assert!(results.total.latencies.contains_key(&Op::Unregister));
}

#[test]
fn a_dropped_producer_is_missing() {
    check(Fault::Drops(DROPPED), &[Count::Missing]);
}

#[test]
fn a_registration_that_shows_late_is_missing() {
    check(Fault::ShowsLate(Duration::from_millis(200)), &[Count::Missing]);
}

#[test]
fn a_producer_that_shows_past_the_bound_is_stale() {
    check(Fault::ForgetsLate(Duration::from_secs(60)), &[Count::Stale, Count::Extra]);
}

#[test]
fn an_invented_producer_is_extra() {
    check(Fault::Invents, &[Count::Extra]);
}

#[test]
fn wrong_ports_are_garbled() {
    check(Fault::Garbles, &[Count::Garbled]);
}

#[test]
fn nsqds_whose_links_break_come_back_and_nobody_is_accused() {
    let results = run(Fault::HangsUp, FLEET);
    assert!(results.total.counted(Count::Lost) > 0);
    assert!(results.total.latencies.contains_key(&Op::Identify), "they come back");
    assert_eq!(results.wrong_answers(), 0);
}

/// Lookups that took at least that long.
fn slow(histogram: &Micros, millis: u64) -> u64 {
    histogram.count_between(millis * 1000, u64::MAX)
}

#[test]
fn a_paused_target_shows_in_the_corrected_latencies() {
    let open_loop = r#"
about = "a test"
duration = "2s"
max_lag = "60s"
[topics]
count = 1
channels = 1
[[nsqds]]
count = 1
topics = 1
[[arrivals]]
connections = 4
rate = [["0s", 200.0]]
"#;
    let results = run(Fault::Pauses(100, Duration::from_millis(600)), open_loop);
    let lookup = &results.total.latencies[&Op::Lookup];
    // 400 ms before its end and earlier, 80 lookups were due; four were under way, on as many
    // connections. A generator that waits for its answers would have seen those four.
    let (corrected, raw) = (slow(&lookup.corrected, 200), slow(&lookup.raw, 200));
    assert!(corrected >= 60, "only {corrected} corrected latencies show the pause");
    assert!(raw * 4 <= corrected, "{raw} raw latencies against {corrected} corrected ones");
    assert!(results.total.counted(Count::Late) >= 60);
    assert!(!results.verdict.bottleneck, "the pause is the target's: {:?}", results.verdict);
}

#[test]
fn what_never_is_answered_counts_with_the_time_it_waited() {
    let never = "about = 'a test'\nduration = '1s'\ndrain = '100ms'\n[topics]\ncount = 1\n[[arrivals]]\nconnections = 2\nrate = [['0s', 50.0]]\n";
    let results = run(Fault::Pauses(10, Duration::from_secs(30)), never);
    assert_eq!(results.total.counted(Count::Unanswered), 2);
    let lookup = &results.total.latencies[&Op::Lookup];
    assert!(slow(&lookup.corrected, 500) >= 2, "the wait is in the latencies");
}
