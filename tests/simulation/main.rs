//! Deterministic simulation of the daemon without sockets: the sessions of several shards, admins and
//! readers share one registry, and a script that is drawn from a seed says what happens.
//!
//! After every step each route's response must be that of the model, and a reader must not see a
//! state older than a reply that was sent, or than what it saw before. `SIMULATION_SEEDS` sets how
//! many seeds are run, `SIMULATION_FROM` the first.

#![expect(clippy::print_stderr, reason = "it reports what was run and what replays a failure")]

mod connection;
mod daemon;
mod http;
mod mutation;
mod oracle;
mod script;
mod window;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use musterd::registry::Capacity;

use daemon::{Daemon, Tally};
use mutation::{MUTATIONS, Mutation};
use script::{Admin, Command, Jump, Script, Step, shrink};

/// Seeds of an ordinary `cargo test`.
const SEEDS: u64 = 150;
/// Every mutation must be found within so many seeds.
const MUTATION_SEEDS: u64 = 60;
/// A shrunk script that finds a mutation has no more steps.
const MAX_STEPS: usize = 12;

/// Runs a script to its end. The error says what was wrong, and at which step.
fn run(script: &Script, mutation: Mutation) -> Result<Tally, String> {
    let run = || {
        let mut daemon = Daemon::new(script, mutation);
        for (at, step) in script.steps.iter().enumerate() {
            daemon.step(step).map_err(|what| format!("step {at}, {step:?}: {what}"))?;
        }
        daemon.finish().map_err(|what| format!("at the end: {what}"))?;
        Ok(daemon.tally)
    };
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        Err(format!("panicked: {}", text.or(panic.downcast_ref().copied()).unwrap_or("?")))
    })
}

/// A failure with the shortest script that was found for it.
fn report(seed: Option<u64>, script: &Script, mutation: Mutation) -> String {
    let shortest = shrink(script, |script| run(script, mutation).is_err());
    let what = run(&shortest, mutation).expect_err("it failed before");
    format!("seed {seed:?}: {what}\nshortest script: {}", shortest.list())
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

/// Runs the seeds on all cores; the sum of what they did.
fn run_seeds(from: u64, seeds: u64) -> Tally {
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    std::thread::scope(|scope| {
        let share = |thread: u64| {
            move || {
                let mut sum = Tally::default();
                for seed in
                    (from + thread..from + seeds).step_by(usize::try_from(threads).expect("few"))
                {
                    let script = Script::draw(seed);
                    match run(&script, Mutation::None) {
                        Ok(tally) => sum += tally,
                        Err(_) => panic!("{}", report(Some(seed), &script, Mutation::None)),
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
    let tally = run_seeds(from, seeds);
    let wanted = usize::try_from(seeds).expect("few");
    assert!(
        tally.replies > wanted && tally.answers > 10 * wanted,
        "too little was compared: {tally:?}"
    );
    eprintln!("{seeds} seeds from {from}: {tally:?}");
}

#[test]
fn every_mutation_is_found_by_a_short_script() {
    for mutation in MUTATIONS {
        let found = (0..MUTATION_SEEDS).find(|&seed| run(&Script::draw(seed), mutation).is_err());
        let seed =
            found.unwrap_or_else(|| panic!("{mutation:?} was not found in {MUTATION_SEEDS} seeds"));
        let shortest = shrink(&Script::draw(seed), |script| run(script, mutation).is_err());
        let what = run(&shortest, mutation).expect_err("it failed before");
        eprintln!("{mutation:?}: seed {seed}, {} steps: {what}", shortest.steps.len());
        assert!(shortest.steps.len() <= MAX_STEPS, "{mutation:?}: {}", shortest.list());
    }
}

/// The bugs that seeds have found, each with its shortest script.
#[test]
fn scripts_that_found_a_bug_pass() {
    for (what, registrations, steps) in scripts_that_found_a_bug() {
        let capacity = Capacity { registrations, ..Capacity::default() };
        let script = Script { shards: 2, capacity, steps };
        if run(&script, Mutation::None).is_err() {
            panic!("{what}: {}", report(None, &script, Mutation::None));
        }
    }
}

/// An nsqd connects to a shard and sends commands, which all arrive.
fn nsqd(shard: usize, node: usize, commands: &[Command]) -> Vec<Step> {
    let nsqd = usize::MAX;
    let mut steps = vec![
        Step::Connect { shard, address: shard, magic: "  V1" },
        Step::Command { nsqd, command: Command::Identify(node) },
    ];
    steps.extend(commands.iter().map(|command| Step::Command { nsqd, command: command.clone() }));
    steps.push(Step::Deliver { nsqd, bytes: usize::MAX, budget: usize::MAX / 2 });
    steps
}

/// The bug, the registration limit, and the steps.
fn scripts_that_found_a_bug() -> Vec<(&'static str, usize, Vec<Step>)> {
    let commits = [Step::Commit { shard: 0 }, Step::Commit { shard: 1 }];
    let after = |mut steps: Vec<Step>, more: &[Step]| {
        steps.extend_from_slice(more);
        steps
    };
    let ephemeral = nsqd(0, 0, &[Command::Register("a", Some("y#ephemeral"))]);
    let command = Command::Unregister("a", Some("y#ephemeral"));
    let unregister = [
        Step::Commit { shard: 0 },
        Step::Command { nsqd: 0, command },
        Step::Deliver { nsqd: 0, bytes: usize::MAX, budget: usize::MAX / 2 },
    ];
    vec![
        (
            "an admin was told that a channel is deleted while readers still saw it",
            100,
            after(
                after(ephemeral, &unregister),
                &[Step::Admin(Admin::DeleteChannel("a", "y#ephemeral"))],
            ),
        ),
        (
            "a rejected REGISTER deleted an ephemeral topic that had no producer yet",
            2,
            after(
                vec![Step::Admin(Admin::Create("c#ephemeral", Some("x")))],
                &nsqd(0, 0, &[Command::Register("c#ephemeral", Some("z"))]),
            ),
        ),
        (
            "a rejected channel deleted an ephemeral topic that had no producer yet",
            2,
            vec![
                Step::Admin(Admin::Create("c#ephemeral", Some("x"))),
                Step::Admin(Admin::Create("c#ephemeral", Some("z"))),
            ],
        ),
        (
            "a deleted topic was still counted for an nsqd that unregistered it later",
            100,
            after(
                nsqd(0, 0, &[Command::Register("a", Some("x"))]),
                &[
                    commits[0].clone(),
                    Step::Admin(Admin::DeleteTopic("a")),
                    Step::Command { nsqd: 0, command: Command::Unregister("a", None) },
                    Step::Deliver { nsqd: 0, bytes: usize::MAX, budget: usize::MAX / 2 },
                    commits[0].clone(),
                    Step::Jump(Jump::By(Duration::from_secs(1))),
                ],
            ),
        ),
    ]
}
