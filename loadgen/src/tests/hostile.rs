//! A short attack on a small lookupd, which does what a page of another site asks for.

use std::time::Duration;

use super::fake_lookupd::{Fault, start};
use super::oracle::NoView;
use crate::commands::hostile::{Hostile, HostileResult, choose, hostile, scenario};
use crate::commands::run::RunSpec;

/// The result of three seconds of these actors.
fn attack(names: &[&str]) -> HostileResult {
    let length = Duration::from_secs(3);
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let actors = choose(&names).expect("they exist");
    let (p99, max) = (Duration::from_secs(60), Duration::from_secs(60));
    let every = Duration::from_millis(10);
    let parameters = Hostile { actors, names: 20, length, p99, max, every };
    let mut scenario = scenario(length).expect("short");
    scenario.error_budget = 0.5;
    let mut spec = RunSpec::new("bystanders", scenario, start(Fault::None), 1);
    hostile(&mut spec, &parameters, &mut NoView).expect("the fake lookupd answers")
}

#[test]
fn attack_ends_by_itself_and_counts_what_was_sent_and_got() {
    let result = attack(&["create", "topics", "connect"]);
    assert_eq!((result.wrong(), result.fleet.wrong_answers(), result.attack.gone), (0, 0, false));
    assert_eq!(result.attack.prepared, 10);
    assert!(result.attack.iterations.is_none() && !result.idle());
    for (name, tally) in &result.attack.actors {
        assert!(tally.connections > 0, "{name}: {tally:?}");
        assert!(*name == "connect" || tally.answers["200"] > 0, "{name}: {tally:?}");
    }
    for seen in &result.attack.seen {
        let name = seen.kind.name();
        let counts = (seen.alone.len(), seen.attacked.len());
        assert!(counts.0 > 0 && counts.1 > 0, "{name}: {counts:?}");
    }
    let text = crate::report::hostile::text(&result);
    assert!(text.contains("10 names made by nsqds before"), "{text}");
}

#[test]
fn target_that_obeys_another_site_fails() {
    let result = attack(&["cross-site"]);
    assert!(result.wrong() > 0);
    assert_eq!(result.exit(), 5);
}
