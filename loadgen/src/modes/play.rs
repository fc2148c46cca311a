//! Plays one scenario against one target: the fleet arrives, the main part runs its time, what is
//! in flight is read, and the results are drawn up.
//!
//! Must not: print; a [`View`] is told each second. Runs on the main thread; the actors have
//! threads of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use musterd::clock::{Clock, Timestamp};

use super::collect::Collected;
use super::environment;
use super::process::Process;
use crate::actors::world::World;
use crate::engine::worker::Worker;
use crate::input::scenario::Scenario;
use crate::input::target::Target;
use crate::input::{Refused, refuse};
use crate::measure::interval::Interval;
use crate::measure::ops::{Count, Op};
use crate::measure::results::{Recovery, Results};
use crate::measure::slo::Slo;
use crate::measure::verdict::verdict;
use crate::model::plan::Plan;

/// How often the run is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// The main part begins on a whole second at least this far away, so that every thread knows.
const NOTICE: Duration = Duration::from_millis(200);

/// What is played, and against whom.
pub(crate) struct Piece {
    pub(crate) name: String,
    pub(crate) scenario: Scenario,
    pub(crate) target: Target,
    pub(crate) threads: usize,
    /// The target's process, when this program started it.
    pub(crate) process: Option<Process>,
    /// Its id, when somebody else did.
    pub(crate) pid: Option<u32>,
    pub(crate) command: Option<String>,
    /// Set from outside to end the run early.
    pub(crate) stop: Arc<AtomicBool>,
}

impl Piece {
    /// A piece against a target whose process is nobody's.
    pub(crate) fn new(name: &str, scenario: Scenario, target: Target, threads: usize) -> Self {
        Self {
            name: name.to_owned(),
            scenario,
            target,
            threads,
            process: None,
            pid: None,
            command: None,
            stop: Arc::default(),
        }
    }
}

/// What the run is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Arriving,
    Main,
    Draining,
}

/// Who is told about the run while it lasts.
pub(crate) trait View {
    /// A second has passed. `done` is the share of the main part that is over.
    fn second(&mut self, world: &World, collected: &Collected, phase: Phase, done: f64);
    /// The run is over.
    fn over(&mut self);
}

/// A run under way.
struct Run<'a> {
    piece: &'a mut Piece,
    world: Arc<World>,
    collected: Collected,
    clock: Clock,
    seconds: usize,
    killed: Option<Timestamp>,
    started_again: bool,
}

/// Plays the piece to its end.
///
/// # Errors
/// One line, when the target refuses, descriptors are too few, a threshold is no threshold, or
/// the fleet does not come up.
pub(crate) fn play(piece: &mut Piece, view: &mut dyn View) -> Result<Results, Refused> {
    let scenario = piece.scenario.clone();
    let slos = scenario.slo.iter().map(|text| Slo::parse(text)).collect::<Result<Vec<_>, _>>()?;
    if scenario.restart.is_some() && piece.process.is_none() {
        return refuse(format!(
            "{} restarts the target; give --server-cmd 'COMMAND {{tcp}} {{http}}'",
            piece.name
        ));
    }
    let plan = Plan::draw(&scenario);
    environment::descriptors(plan.sockets())?;
    environment::reachable(piece.target)?;
    let described = environment::describe(piece.target, piece.threads, piece.command.as_deref());
    let clock = Clock::system();
    let system = |error: std::io::Error| {
        Refused(format!("the system refuses: {error}; lower --threads or --scale"))
    };
    let world = World::new(plan, piece.target, clock.clone(), piece.threads).map_err(system)?;
    let world = Arc::new(world);
    let (sender, reports) = mpsc::channel();
    let threads: Vec<_> = (0..piece.threads)
        .map(|number| spawn(Arc::clone(&world), number, sender.clone()))
        .collect::<std::io::Result<_>>()
        .map_err(system)?;
    drop(sender);
    let mut run = Run {
        piece,
        world,
        collected: Collected::new(reports),
        clock,
        seconds: 0,
        killed: None,
        started_again: false,
    };
    let played = run.conduct(view);
    run.world.end();
    let ended = join(threads);
    view.over();
    run.collected.take();
    let main = played?;
    ended?;
    let mut results = run.results(main);
    results.environment = described;
    let recovery = results.recovery.as_ref();
    results.slo = slos.iter().map(|slo| slo.check(&results.total, recovery)).collect();
    Ok(results)
}

fn spawn(
    world: Arc<World>,
    number: usize,
    reports: mpsc::Sender<crate::engine::worker::Report>,
) -> std::io::Result<JoinHandle<std::io::Result<()>>> {
    let name = format!("loadgen-{number}");
    std::thread::Builder::new().name(name).spawn(move || Worker::new(world, number, reports)?.run())
}

fn join(threads: Vec<JoinHandle<std::io::Result<()>>>) -> Result<(), Refused> {
    for thread in threads {
        match thread.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                return refuse(format!("a thread of the generator failed: {error}; lower --scale"));
            }
            Err(_) => {
                return refuse("a thread of the generator panicked: a bug; the seed replays it");
            }
        }
    }
    Ok(())
}

impl Run<'_> {
    /// Leads the run through its phases; returns when the main part began.
    fn conduct(&mut self, view: &mut dyn View) -> Result<Timestamp, Refused> {
        self.arrive(view)?;
        let now = self.clock.now();
        let whole = (now + NOTICE).since(self.world.began).as_secs() + 1;
        let main = self.world.began + Duration::from_secs(whole);
        self.world.begin_main(main);
        let length = self.world.plan.scenario.duration.0;
        let end = main + length;
        while self.clock.now() < end && !self.piece.stop.load(Relaxed) {
            self.restart(main)?;
            let done = self.clock.now().since(main).as_secs_f64() / length.as_secs_f64();
            self.look(view, Phase::Main, done);
        }
        self.world.drain();
        let limit = self.clock.now() + self.world.plan.scenario.drain.0;
        while self.clock.now() < limit && self.world.gauges.in_flight.load(Relaxed) > 0 {
            self.look(view, Phase::Draining, 1.0);
        }
        Ok(main)
    }

    /// Waits until those who arrive first have registered all they have.
    fn arrive(&mut self, view: &mut dyn View) -> Result<(), Refused> {
        let wanted = self.world.plan.setup_nsqds() as u64;
        let limit = self.world.began + self.world.plan.scenario.setup_limit.0;
        while self.world.gauges.complete.load(Relaxed) < wanted {
            let complete = self.world.gauges.complete.load(Relaxed);
            if self.piece.stop.load(Relaxed) {
                return refuse("interrupted before the fleet was complete; nothing was measured");
            }
            if self.clock.now() > limit {
                return refuse(self.incomplete(complete, wanted));
            }
            self.look(view, Phase::Arriving, 0.0);
        }
        Ok(())
    }

    fn incomplete(&self, complete: u64, wanted: u64) -> String {
        let (_, sum) = self.collected.sums(0);
        let [lost, refused, late] =
            [Count::Lost, Count::Refused, Count::Timeouts].map(|kind| sum.counted(kind));
        format!(
            "only {complete} of {wanted} nsqds had registered after {} ({lost} links ended by the target, {refused} refused, {late} not answered in time); raise the target's connection limit, or lower --scale",
            crate::input::span::show(self.world.plan.scenario.setup_limit.0)
        )
    }

    fn look(&mut self, view: &mut dyn View, phase: Phase, done: f64) {
        std::thread::sleep(LOOK);
        self.collected.take();
        let seconds = self.clock.now().since(self.world.began).as_secs();
        let seconds = usize::try_from(seconds).unwrap_or(usize::MAX);
        if seconds > self.seconds {
            let server = self.piece.process.as_ref().map_or(self.piece.pid, Process::pid);
            self.collected.look(seconds - 1, &self.world, server);
            self.seconds = seconds;
            view.second(&self.world, &self.collected, phase, done);
        }
    }

    /// Kills the target when the scenario says so, and starts it again.
    fn restart(&mut self, main: Timestamp) -> Result<(), Refused> {
        let Some(restart) = &self.world.plan.scenario.restart else { return Ok(()) };
        let Some(process) = &mut self.piece.process else { return Ok(()) };
        let now = self.clock.now();
        if self.killed.is_none() && now >= main + restart.at.0 {
            self.collected.server_ends(process.pid());
            self.world.truth.target_killed(now);
            process.kill();
            self.killed = Some(now);
        }
        if let Some(killed) = self.killed
            && !self.started_again
            && now >= killed + restart.down.0
        {
            self.started_again = true;
            process.spawn_again()?;
        }
        Ok(())
    }

    fn results(&mut self, main: Timestamp) -> Results {
        let scenario = &self.world.plan.scenario;
        let second = usize::try_from(main.since(self.world.began).as_secs()).unwrap_or(usize::MAX);
        let span = self.clock.now().since(main);
        let (before, total) = self.collected.sums(second);
        let measured = self.collected.intervals.get(second..).unwrap_or_default();
        let whole = usize::try_from(scenario.duration.0.as_secs()).unwrap_or(usize::MAX);
        let max_lag = scenario.closed.is_none().then_some(scenario.max_lag.0);
        let verdict = verdict(&measured[..whole.min(measured.len())], &total, max_lag);
        let (server, generator) = self.collected.usage(second, span);
        let plan = &self.world.plan;
        Results {
            scenario: self.piece.name.clone(),
            about: scenario.about.clone(),
            seed: scenario.seed,
            duration: scenario.duration.0.min(span),
            setup: main.since(self.world.began),
            recovery: self.recovery(main),
            knee: scenario.knee.and_then(|limit| knee(measured, limit.0)),
            series: self.collected.series(second),
            intervals: std::mem::take(&mut self.collected.intervals),
            total,
            before,
            server,
            generator,
            actors: plan.nsqds.len() + plan.askers.len() + plan.rogues.len() + plan.pumps,
            verdict,
            ..Results::default()
        }
    }

    /// How the fleet came back, when there was something to come back from.
    fn recovery(&self, main: Timestamp) -> Option<Recovery> {
        let scenario = &self.world.plan.scenario;
        let arrival = scenario.nsqds.iter().find_map(|group| group.arrive);
        let leave = scenario.nsqds.iter().find_map(|group| group.leave);
        let (event, from) = match (self.killed, arrival, leave) {
            (Some(killed), ..) => ("the daemon was killed", killed),
            (_, Some(arrival), _) => ("the herd arrived", main + arrival.0),
            (.., Some(leave)) => ("the fleet vanished", main + leave.0),
            _ => return None,
        };
        let gauges = &self.world.gauges;
        let load = |at: &std::sync::atomic::AtomicI64| Timestamp::from_unix_nanos(at.load(Relaxed));
        let complete = gauges.complete.load(Relaxed) >= gauges.wanted.load(Relaxed);
        let settled = complete && gauges.unsettled.load(Relaxed) == 0;
        let since = |at: Timestamp| at.since(from).as_secs_f64();
        let registers = event != "the fleet vanished";
        Some(Recovery {
            event,
            registered: (complete && registers).then(|| since(load(&gauges.completed_at))),
            shown: settled.then(|| since(load(&gauges.settled_at))),
            watched: self.world.plan.watched.iter().filter(|watched| **watched).count(),
        })
    }
}

/// The highest rate of answered lookups up to the second that breaks the limit for good: the
/// first of two in a row whose corrected p99 exceeds it.
fn knee(seconds: &[Interval], limit: Duration) -> Option<f64> {
    let limit = crate::num::micros(limit);
    let figures: Vec<_> = seconds
        .iter()
        .filter_map(|second| second.latencies.get(&Op::Lookup))
        .map(|lookup| (lookup.corrected.len(), lookup.corrected.value_at_quantile(0.99) > limit))
        .collect();
    let broken = figures.windows(2).position(|pair| pair[0].1 && pair[1].1);
    let good = &figures[..broken.unwrap_or(figures.len())];
    good.iter().filter(|(_, over)| !over).map(|(count, _)| *count as f64).reduce(f64::max)
}
