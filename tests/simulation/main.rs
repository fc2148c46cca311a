//! Deterministic simulation of everything between the sockets: sessions of several shards, admins
//! and readers over one registry, stepped by a script that a seed draws.
//!
//! After every step each route's answer must be the plain model's, and what readers see must be a
//! state that they may see: nothing older than what was replied, or than what they saw before.
//! `SIMULATION_SEEDS` sets how many seeds are run, `SIMULATION_FROM` the first.

#![expect(clippy::print_stderr, reason = "a run says how far it went and what replays it")]

mod nsqd;
mod plant;
mod script;
mod truth;
mod web;
mod window;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use musterd::registry::Capacity;

use plant::{PLANTS, Plant};
use script::{Admin, Jump, Say, Script, Step, shrink};
use world::{Tally, World};

/// Seeds of an ordinary `cargo test`.
const SEEDS: u64 = 150;
/// Within so many seeds every planted bug must be found.
const PLANTED_SEEDS: u64 = 60;
/// A planted bug needs no more steps than this to be shown.
const SHORT: usize = 12;

/// Runs a script to its end; what went wrong, and at which step.
fn run(script: &Script, plant: Plant) -> Result<Tally, String> {
    let run = || {
        let mut world = World::new(script, plant);
        for (at, step) in script.steps.iter().enumerate() {
            world.step(step).map_err(|what| format!("step {at}, {step:?}: {what}"))?;
        }
        world.finish().map_err(|what| format!("at the end: {what}"))?;
        Ok(world.tally)
    };
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        Err(format!("panicked: {}", text.or(panic.downcast_ref().copied()).unwrap_or("?")))
    })
}

/// A failure with the shortest script that shows it.
fn report(seed: Option<u64>, script: &Script, plant: Plant) -> String {
    let shortest = shrink(script, |script| run(script, plant).is_err());
    let what = run(&shortest, plant).expect_err("it failed before");
    format!("seed {seed:?}: {what}\nshortest script: {}", shortest.list())
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

/// Runs the seeds on as many threads as there are, and sums up.
fn sweep(from: u64, seeds: u64) -> Tally {
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    std::thread::scope(|scope| {
        let share = |thread: u64| {
            move || {
                let mut sum = Tally::default();
                for seed in
                    (from + thread..from + seeds).step_by(usize::try_from(threads).expect("few"))
                {
                    let script = Script::draw(seed);
                    match run(&script, Plant::Nothing) {
                        Ok(tally) => sum += tally,
                        Err(_) => panic!("{}", report(Some(seed), &script, Plant::Nothing)),
                    }
                }
                sum
            }
        };
        let workers: Vec<_> = (0..threads).map(|thread| scope.spawn(share(thread))).collect();
        let mut sum = Tally::default();
        for worker in workers {
            sum += worker.join().expect("a seed failed; see above");
        }
        sum
    })
}

#[test]
fn every_interleaving_agrees_with_the_model() {
    let (from, seeds) = (number("SIMULATION_FROM", 0), number("SIMULATION_SEEDS", SEEDS));
    let tally = sweep(from, seeds);
    let wanted = usize::try_from(seeds).expect("few");
    assert!(tally.replies > wanted && tally.answers > 10 * wanted, "it did nothing: {tally:?}");
    eprintln!("{seeds} seeds from {from}: {tally:?}");
}

#[test]
fn a_planted_bug_is_caught_and_shown_in_few_steps() {
    for plant in PLANTS {
        let caught = (0..PLANTED_SEEDS).find(|&seed| run(&Script::draw(seed), plant).is_err());
        let seed =
            caught.unwrap_or_else(|| panic!("{plant:?} was not seen in {PLANTED_SEEDS} seeds"));
        let shortest = shrink(&Script::draw(seed), |script| run(script, plant).is_err());
        let what = run(&shortest, plant).expect_err("it failed before");
        eprintln!("{plant:?}: seed {seed}, {} steps: {what}", shortest.steps.len());
        assert!(shortest.steps.len() <= SHORT, "{plant:?}: {}", shortest.list());
    }
}

/// What seeds have found, in the shortest form.
#[test]
fn what_was_found_once_stays_found() {
    for (what, registrations, steps) in found() {
        let capacity = Capacity { registrations, ..Capacity::default() };
        let script = Script { shards: 2, capacity, steps };
        if run(&script, Plant::Nothing).is_err() {
            panic!("{what}: {}", report(None, &script, Plant::Nothing));
        }
    }
}

/// An nsqd that connects to a shard and says something, all of it delivered.
fn nsqd(shard: usize, node: usize, says: &[Say]) -> Vec<Step> {
    let nsqd = usize::MAX;
    let mut steps = vec![
        Step::Connect { shard, address: shard, magic: "  V1" },
        Step::Say { nsqd, say: Say::Identify(node) },
    ];
    steps.extend(says.iter().map(|say| Step::Say { nsqd, say: say.clone() }));
    steps.push(Step::Deliver { nsqd, bytes: usize::MAX, budget: usize::MAX / 2 });
    steps
}

/// What was wrong, how many registrations fit, and the steps.
fn found() -> Vec<(&'static str, usize, Vec<Step>)> {
    let commits = [Step::Commit { shard: 0 }, Step::Commit { shard: 1 }];
    let after = |mut steps: Vec<Step>, more: &[Step]| {
        steps.extend_from_slice(more);
        steps
    };
    let ephemeral = nsqd(0, 0, &[Say::Register("a", Some("y#ephemeral"))]);
    let gone = Say::Unregister("a", Some("y#ephemeral"));
    let unregister = [
        Step::Commit { shard: 0 },
        Step::Say { nsqd: 0, say: gone },
        Step::Deliver { nsqd: 0, bytes: usize::MAX, budget: usize::MAX / 2 },
    ];
    vec![
        (
            "an admin is told that a channel is gone that readers still see",
            100,
            after(
                after(ephemeral, &unregister),
                &[Step::Ask(Admin::DeleteChannel("a", "y#ephemeral"))],
            ),
        ),
        (
            "a refused REGISTER took an ephemeral topic along that nobody had registered yet",
            2,
            after(
                vec![Step::Ask(Admin::Create("c#ephemeral", Some("x")))],
                &nsqd(0, 0, &[Say::Register("c#ephemeral", Some("z"))]),
            ),
        ),
        (
            "a refused channel took an ephemeral topic along that nobody had registered yet",
            2,
            vec![
                Step::Ask(Admin::Create("c#ephemeral", Some("x"))),
                Step::Ask(Admin::Create("c#ephemeral", Some("z"))),
            ],
        ),
        (
            "a topic that was deleted is held by an nsqd that has unregistered it since",
            100,
            after(
                nsqd(0, 0, &[Say::Register("a", Some("x"))]),
                &[
                    commits[0].clone(),
                    Step::Ask(Admin::DeleteTopic("a")),
                    Step::Say { nsqd: 0, say: Say::Unregister("a", None) },
                    Step::Deliver { nsqd: 0, bytes: usize::MAX, budget: usize::MAX / 2 },
                    commits[0].clone(),
                    Step::Jump(Jump::By(Duration::from_secs(1))),
                ],
            ),
        ),
    ]
}
