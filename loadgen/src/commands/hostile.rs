//! Attacks a target with what is valid and costs much, beside a small fleet and bystanders: names are
//! prepared, the bystanders are measured alone, then the actors play until their time is over.
//!
//! Must not: attack anything but loopback, or print.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering::Acquire, Ordering::Release};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::collector::Collector;
use super::environment;
use super::process::{Process, get};
use super::run::{Phase, ProgressView, RunSpec, run};
use crate::actors::shared::Shared;
use crate::clock::Clock;
use crate::hostile::attack::{Attack, Tally};
use crate::hostile::bystanders::{Kind, NAME, Seen, watch};
use crate::hostile::iterations::Iterations;
use crate::hostile::link::Session;
use crate::hostile::tcp::prepare;
use crate::hostile::{ACTORS, Actor};
use crate::input::human_duration::HumanDuration;
use crate::input::scenario::Scenario;
use crate::input::target::Target;
use crate::input::{Error, fail};
use crate::measure::results::Results;

/// The fleet beside the attack.
const SCENARIO: &str = include_str!("../../scenarios/bystanders.toml");
/// The bystanders are measured for so long before the attack.
const ALONE: Duration = Duration::from_secs(2);
/// How long the preparation may take.
const PREPARATION: Duration = Duration::from_secs(120);
/// The longest attack: the target closes nsqds that are silent for longer than twice that.
const LONGEST: Duration = Duration::from_secs(240);
/// Sockets of the fleet, the bystanders and the preparation, at most.
const SOCKETS: usize = 600;
/// How often it is checked that the target's process lives.
const CHECK: Duration = Duration::from_millis(200);

/// The parameters of an attack.
pub(crate) struct Hostile {
    pub(crate) actors: Vec<&'static Actor>,
    pub(crate) names: usize,
    pub(crate) length: Duration,
    /// The bounds of the bystanders' latencies: the 99th percentile and the longest.
    pub(crate) p99: Duration,
    pub(crate) max: Duration,
    /// From one request of a bystander to its next.
    pub(crate) every: Duration,
}

/// What an attack did.
#[derive(Debug, Default)]
pub(crate) struct Conducted {
    /// Names that nsqds made before, and how long that took.
    pub(crate) prepared: u64,
    pub(crate) preparation: Duration,
    /// The actors have played.
    pub(crate) attacked: bool,
    pub(crate) actors: Vec<(&'static str, Tally)>,
    pub(crate) seen: Vec<Seen>,
    /// The target's iterations in the attack, if it counts them.
    pub(crate) iterations: Option<Iterations>,
    /// The target does not answer any more.
    pub(crate) gone: bool,
}

/// The result of an attack.
#[derive(Debug)]
pub(crate) struct HostileResult {
    /// Of the fleet.
    pub(crate) fleet: Results,
    pub(crate) attack: Conducted,
    pub(crate) p99: Duration,
    pub(crate) max: Duration,
}

impl HostileResult {
    /// Wrong answers that bystanders and actors got.
    pub(crate) fn wrong(&self) -> u64 {
        let seen: u64 = self.attack.seen.iter().map(|seen| seen.wrong).sum();
        seen + self.attack.actors.iter().map(|(_, tally)| tally.wrong).sum::<u64>()
    }

    /// Whether an actor has done nothing, so that the attack shows nothing of it.
    pub(crate) fn idle(&self) -> bool {
        self.attack.actors.iter().any(|(_, tally)| tally.connections == 0)
    }

    /// Whether a bystander waited too long, or got no answer too often.
    pub(crate) fn missed(&self, seen: &Seen) -> bool {
        let (limit, longest) = (crate::num::micros(self.p99), crate::num::micros(self.max));
        let requests = seen.errors + seen.alone.len() + seen.attacked.len();
        seen.attacked.value_at_quantile(0.99) > limit
            || seen.attacked.max() > longest
            || seen.errors as f64 > self.fleet.error_budget * requests as f64
    }

    /// The exit code: 6 the target is gone, else 5 wrong answers, else 4 somebody waited too long or got
    /// no answer, or an actor did nothing, else that of the fleet's run.
    pub(crate) fn exit(&self) -> u8 {
        if self.attack.gone {
            6
        } else if self.wrong() > 0 || self.fleet.wrong_answers() > 0 {
            5
        } else if self.idle() || self.attack.seen.iter().any(|seen| self.missed(seen)) {
            4
        } else {
            self.fleet.exit()
        }
    }
}

/// The actors of these names, or all.
///
/// # Errors
/// One line with all names, when one is unknown.
pub(crate) fn choose(names: &[String]) -> Result<Vec<&'static Actor>, Error> {
    if names.is_empty() {
        return Ok(ACTORS.iter().collect());
    }
    let find = |name: &String| ACTORS.iter().find(|actor| actor.name == name.trim());
    names
        .iter()
        .map(|name| {
            find(name).ok_or_else(|| {
                let all: Vec<_> = ACTORS.iter().map(|actor| actor.name).collect();
                Error(format!("no actor `{name}`; there are {}", all.join(", ")))
            })
        })
        .collect()
}

/// Refuses targets beyond loopback, whoever owns them.
///
/// # Errors
/// One line.
pub(crate) fn check_loopback(target: Target) -> Result<(), Error> {
    match [target.tcp, target.http].iter().find(|address| !address.ip().is_loopback()) {
        Some(address) => fail(format!(
            "{address}: loadgen hostile attacks loopback addresses only; run it on the target's own machine, with --server-cmd"
        )),
        None => Ok(()),
    }
}

/// The fleet for an attack of that length.
///
/// # Errors
/// When the attack is too long.
pub(crate) fn scenario(length: Duration) -> Result<Scenario, Error> {
    if length.is_zero() || length > LONGEST {
        return fail("--duration: above 0, at most 4m");
    }
    let mut scenario = Scenario::parse("bystanders", SCENARIO)?;
    // The run is ended when the attack is over.
    scenario.duration = HumanDuration(length + PREPARATION + ALONE);
    Ok(scenario)
}

/// Informs the attack that the fleet is complete.
struct StartView<'a> {
    view: &'a mut dyn ProgressView,
    began: &'a AtomicBool,
}

impl ProgressView for StartView<'_> {
    fn second(&mut self, shared: &Shared, collector: &Collector, phase: Phase, done: f64) {
        if phase == Phase::Main {
            self.began.store(true, Release);
        }
        self.view.second(shared, collector, phase, done);
    }

    fn finished(&mut self) {
        self.view.finished();
    }
}

/// Runs the attack.
///
/// # Errors
/// When the fleet's run fails, or a thread panics.
pub(crate) fn hostile(
    spec: &mut RunSpec,
    parameters: &Hostile,
    view: &mut dyn ProgressView,
) -> Result<HostileResult, Error> {
    check_loopback(spec.target)?;
    let of_actors: usize = parameters.actors.iter().map(|actor| actor.sockets()).sum();
    environment::descriptors(SOCKETS + of_actors)?;
    let attack = Attack::new(spec.target, Clock::system(), parameters.names, parameters.every);
    let (began, stop) = (AtomicBool::new(false), Arc::clone(&spec.stop));
    let pid = spec.process.as_ref().map_or(spec.pid, Process::pid);
    let (fleet, conducted) = std::thread::scope(|scope| {
        let conductor = scope.spawn(|| {
            let conducted = conduct(parameters, &attack, &began, &stop, pid);
            stop.store(true, Release);
            conducted
        });
        let fleet = run(spec, &mut StartView { view, began: &began });
        attack.stop();
        (fleet, conductor.join())
    });
    let conducted =
        conducted.or_else(|_| fail("a thread of the attack panicked; please report this"))?;
    let Hostile { p99, max, .. } = *parameters;
    let fleet = fleet?;
    if !conducted.attacked && !conducted.gone {
        return fail(format!(
            "no attack: it was interrupted, or {} names were not made in {} s; lower --names",
            parameters.names,
            PREPARATION.as_secs()
        ));
    }
    Ok(HostileResult { fleet, attack: conducted, p99, max })
}

/// Prepares, measures the bystanders alone, attacks.
fn conduct(
    parameters: &Hostile,
    attack: &Attack,
    began: &AtomicBool,
    stop: &AtomicBool,
    pid: Option<u32>,
) -> Conducted {
    while !began.load(Acquire) {
        if attack.wait(CHECK).is_none() {
            return Conducted::default();
        }
    }
    let from = attack.clock.now();
    let tally: Mutex<Tally> = Mutex::default();
    let session = Session { attack, tally: &tally, source: Ipv4Addr::new(127, 66, 0, 1), round: 0 };
    let links = prepare(&session);
    let prepared = tally.lock().unwrap_or_else(PoisonError::into_inner).answers.get("OK").copied();
    let preparation = attack.clock.now().since(from);
    let attacked = AtomicBool::new(false);
    let metrics = || get(attack.target.http, "/metrics").and_then(|page| Iterations::of(&page));
    let (before, seen, actors) = std::thread::scope(|scope| {
        let start = |kind| {
            scope.spawn({
                let attacked = &attacked;
                move || watch(kind, attack, attacked)
            })
        };
        let mut watching = vec![start(Kind::NsqdPing)];
        while get(attack.target.http, &format!("/lookup?topic={NAME}")).is_none()
            && attack.wait(CHECK).is_some()
        {}
        watching.extend(Kind::ALL.iter().skip(1).map(|kind| start(*kind)));
        // What follows is bounded by the attack, so an early end shows there.
        let alone = attack.wait(ALONE);
        let before = metrics();
        attacked.store(alone.is_some(), Release);
        let actors = play_all(parameters, attack, stop, pid);
        let seen = watching.into_iter().filter_map(|thread| thread.join().ok()).collect();
        (before, seen, actors)
    });
    let alive = || get(attack.target.http, "/ping").is_some();
    let pause = || {
        std::thread::sleep(CHECK);
        false
    };
    let gone = pid.is_some_and(has_ended) || !(0..10).any(|_| alive() || pause());
    let iterations = before.zip(metrics()).map(|(before, after)| after.since(&before));
    drop(links);
    let (prepared, attacked) = (prepared.unwrap_or(0), attacked.into_inner());
    Conducted { prepared, preparation, attacked, actors, seen, iterations, gone }
}

/// Plays all actors until their time is over, the run is stopped or the target has ended.
fn play_all(
    parameters: &Hostile,
    attack: &Attack,
    stop: &AtomicBool,
    pid: Option<u32>,
) -> Vec<(&'static str, Tally)> {
    let tallies: Vec<_> = parameters.actors.iter().map(|_| Mutex::new(Tally::default())).collect();
    std::thread::scope(|scope| {
        for (number, (actor, tally)) in (0..).zip(parameters.actors.iter().zip(&tallies)) {
            for thread in 0..actor.threads {
                let source = Ipv4Addr::new(127, 66, 1 + number, 1 + thread);
                scope.spawn(move || {
                    let mut session = Session { attack, tally, source, round: 0 };
                    while !attack.stopped() {
                        if actor.play(&mut session).is_none() {
                            // The target may need time; nothing is lost if the attack is over.
                            let _ = attack.wait(Duration::from_millis(50));
                        }
                        session.round += 1;
                    }
                });
            }
        }
        let until = attack.clock.now() + parameters.length;
        while attack.clock.now() < until && !stop.load(Acquire) && !pid.is_some_and(has_ended) {
            if attack.wait(CHECK.min(until.since(attack.clock.now()))).is_none() {
                break;
            }
        }
        attack.stop();
    });
    let done =
        tallies.into_iter().map(|tally| tally.into_inner().unwrap_or_else(PoisonError::into_inner));
    parameters.actors.iter().map(|actor| actor.name).zip(done).collect()
}

/// Whether a process has ended; one that this program started is a zombie then.
fn has_ended(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().next());
    matches!(state, None | Some("Z" | "X"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::interval::histogram;
    use crate::measure::ops::Count;

    /// A result whose only bystander waited so long, in microseconds.
    fn result(waited: u64) -> HostileResult {
        let (kind, alone, mut attacked) = (Kind::Ping, histogram(), histogram());
        attacked.record(waited).expect("in range");
        let seen =
            vec![Seen { kind, alone, attacked, errors: 0, wrong: 0, example: String::new() }];
        let tally = Tally { connections: 1, ..Tally::default() };
        let attack = Conducted { actors: vec![("nodes", tally)], seen, ..Conducted::default() };
        let (p99, max) = (Duration::from_millis(50), Duration::from_millis(250));
        HostileResult { fleet: Results::default(), attack, p99, max }
    }

    #[test]
    fn gone_target_comes_before_wrong_answers_before_late_ones() {
        assert_eq!(result(1_000).exit(), 0);
        assert_eq!(result(51_000).exit(), 4);
        let mut idle = result(1_000);
        idle.attack.actors[0].1.connections = 0;
        assert_eq!(idle.exit(), 4);
        let mut wrong = result(51_000);
        wrong.attack.actors[0].1.wrong = 1;
        assert_eq!(wrong.exit(), 5);
        let mut fleet = result(51_000);
        fleet.fleet.total.count(Count::WrongAnswers, 1);
        assert_eq!(fleet.exit(), 5);
        fleet.attack.gone = true;
        assert_eq!(fleet.exit(), 6);
        let mut unanswered = result(1_000);
        unanswered.attack.seen[0].errors = 1;
        assert_eq!(unanswered.exit(), 4);
    }

    #[test]
    fn process_that_has_ended_is_noticed() {
        assert!(!has_ended(std::process::id()));
        let mut child = std::process::Command::new("true").spawn().expect("it starts");
        let pid = child.id();
        while !has_ended(pid) {
            std::thread::yield_now();
        }
        child.wait().expect("it has ended");
    }

    #[test]
    fn actors_are_chosen_by_name_and_targets_beyond_loopback_refused() {
        assert_eq!(choose(&[]).expect("all").len(), ACTORS.len());
        let two = choose(&["nodes".to_owned(), "create".to_owned()]).expect("both exist");
        assert_eq!([two[0].name, two[1].name], ["nodes", "create"]);
        let error = choose(&["node".to_owned()]).expect_err("no such actor").to_string();
        assert!(error.contains("unregister, leave"), "{error}");
        let target = |tcp| Target::new(tcp, "127.0.0.1:2", true).expect("an address");
        assert_eq!(check_loopback(target("127.0.0.1:1")), Ok(()));
        assert!(check_loopback(target("192.0.2.1:1")).is_err());
        assert!(scenario(Duration::from_secs(241)).is_err());
    }
}
