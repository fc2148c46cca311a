//! Every fault of the lookupd is found, and a correct lookupd has no findings.

use std::time::Duration;

use super::fake_lookupd::{DROPPED, Fault, start};
use crate::actors::shared::Shared;
use crate::commands::collector::Collector;
use crate::commands::run::{Phase, ProgressView, RunSpec, run};
use crate::input::scenario::Scenario;
use crate::measure::interval::Micros;
use crate::measure::ops::{Count, Delay, Op};
use crate::measure::results::Results;

/// Shows nothing.
pub(super) struct NoView;

impl ProgressView for NoView {
    fn second(&mut self, _: &Shared, _: &Collector, _: Phase, _: f64) {}
    fn finished(&mut self) {}
}

/// A small fleet with probes and consumers.
pub(super) const FLEET: &str = r#"
about = "a test"
duration = "2500ms"
staleness = "2s"
max_lag = "60s"
error_budget = 0.5
[topics]
count = 2
channels = 2
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
[admin]
rate = 50.0
"#;

/// The results of that scenario against a lookupd with that fault.
pub(super) fn run_against(fault: Fault, scenario: &str) -> Results {
    let scenario = Scenario::parse("test", scenario).expect("a valid scenario");
    let mut spec = RunSpec::new("test", scenario, start(fault), 2);
    run(&mut spec, &mut NoView).expect("the fake lookupd answers")
}

/// Runs the fleet; the oracle must find exactly the kinds in `found`.
fn check(fault: Fault, found: &[Count]) {
    check_in(FLEET, fault, found);
}

/// [`check`], in another scenario.
fn check_in(scenario: &str, fault: Fault, found: &[Count]) {
    let results = run_against(fault, scenario);
    assert!(results.total.counted(Count::Checked) > 50, "{fault:?}: too few responses");
    for kind in Count::FINDINGS {
        let count = results.total.counted(kind);
        assert_eq!(count > 0, found.contains(&kind), "{fault:?}: {count} {}", kind.name());
    }
    assert_eq!(results.exit(), if found.is_empty() { 0 } else { 5 }, "{fault:?}");
}

#[test]
fn correct_lookupd_has_no_findings_and_its_changes_are_measured() {
    let results = run_against(Fault::None, FLEET);
    assert_eq!((results.wrong_answers(), results.exit()), (0, 0));
    assert!(results.delay(Delay::Appeared).is_some() && results.delay(Delay::Vanished).is_some());
    for op in [Op::Unregister, Op::Listing, Op::Admin] {
        assert!(results.total.latencies.contains_key(&op), "{}", op.name());
    }
}

#[test]
fn dropped_producer_is_missing() {
    check(Fault::Drops(DROPPED), &[Count::Missing]);
}

#[test]
fn registration_that_is_listed_late_is_missing() {
    check(Fault::ShowsLate(Duration::from_millis(200)), &[Count::Missing]);
}

#[test]
fn producer_that_is_listed_too_long_is_stale() {
    // Less than a correct lookupd may need on a busy machine: probes come back soon.
    let scenario = FLEET.replace("staleness = \"2s\"", "staleness = \"400ms\"");
    let fault = Fault::ForgetsLate(Duration::from_secs(60));
    check_in(&scenario, fault, &[Count::Stale, Count::Extra]);
}

#[test]
fn invented_producer_is_extra() {
    check(Fault::Invents, &[Count::Extra]);
}

#[test]
fn wrong_ports_are_garbled() {
    check(Fault::Garbles, &[Count::Garbled]);
}

#[test]
fn empty_lists_are_garbled() {
    check(Fault::Empties, &[Count::Garbled]);
}

#[test]
fn target_that_answers_no_lookup_fails_the_run() {
    let scenario = FLEET.replace("error_budget = 0.5\n", "");
    let results = run_against(Fault::Resets, &scenario);
    assert!(results.total.counted(Count::Lost) > 50);
    assert_eq!((results.wrong_answers(), results.exit()), (0, 4));
    assert!(!results.total.latencies.contains_key(&Op::Lookup), "no percentiles of no answers");
    assert!(crate::report::table::table(&results).contains("lookup lost"));
}

#[test]
fn nsqds_reconnect_after_broken_connections_without_findings() {
    let results = run_against(Fault::HangsUp, FLEET);
    assert!(results.total.counted(Count::Lost) > 0);
    assert!(results.total.latencies.contains_key(&Op::Identify), "they reconnect");
    assert_eq!(results.wrong_answers(), 0);
}

/// Lookups that took at least that long.
fn slow(histogram: &Micros, millis: u64) -> u64 {
    histogram.count_between(millis * 1000, u64::MAX)
}

#[test]
fn paused_target_shows_in_the_corrected_latencies() {
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
    let results = run_against(Fault::Pauses(100, Duration::from_millis(600)), open_loop);
    let lookup = &results.total.latencies[&Op::Lookup];
    // In the first 400 ms of the pause 80 lookups were due, and each of the four connections had one
    // in flight. A closed loop would have recorded only these four.
    let (corrected, raw) = (slow(&lookup.corrected, 200), slow(&lookup.raw, 200));
    assert!(corrected >= 60, "only {corrected} corrected latencies show the pause");
    assert!(raw * 4 <= corrected, "{raw} raw latencies against {corrected} corrected ones");
    assert!(results.total.counted(Count::Late) >= 60);
    assert!(
        results.generator_health.of_target(),
        "the pause is the target's: {:?}",
        results.generator_health
    );
}

#[test]
fn unanswered_request_fails_with_the_time_it_waited() {
    let never = "about = 'a test'\nduration = '3s'\ndrain = '100ms'\n[topics]\ncount = 1\n[[arrivals]]\nconnections = 2\nrate = [['0s', 50.0]]\n";
    let results = run_against(Fault::Pauses(10, Duration::from_secs(30)), never);
    assert_eq!(results.total.counted(Count::Unanswered), 2);
    let failed = &results.total.failures[&(Op::Lookup, Count::Unanswered)];
    assert!(slow(failed, 500) >= 2, "the wait is in the latencies of failures");
    let answered = results.total.latencies[&Op::Lookup].corrected.len();
    assert_eq!(answered, results.total.counted(Count::Answered), "it is not among the answers");
    assert_eq!((results.wrong_answers(), results.exit()), (0, 4));
}
