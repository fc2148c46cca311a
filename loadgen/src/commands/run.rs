//! Runs one scenario against one target: the fleet starts, the main part lasts its time, requests in
//! flight are awaited, and the results are computed. It runs on the main thread; the actors run on
//! the threads of `engine`.
//!
//! Must not: print; a [`ProgressView`] is informed each second.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::clock::{Clock, Timestamp};

use super::collector::Collector;
use super::environment;
use super::process::Process;
use crate::actors::shared::Shared;
use crate::engine::worker::{Report, Worker};
use crate::input::scenario::Scenario;
use crate::input::target::Target;
use crate::input::{Error, fail};
use crate::measure::generator_health::check_generator;
use crate::measure::interval::Interval;
use crate::measure::ops::{Count, Delay, Op};
use crate::measure::recovery::Recovery;
use crate::measure::results::Results;
use crate::measure::second::RunEvent;
use crate::measure::slo::Slo;
use crate::model::plan::Plan;

/// How often the phase of the run is checked.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// The main part begins on a whole second, at least this much later, so that every thread knows it
/// in time.
const MAIN_DELAY: Duration = Duration::from_millis(200);

/// After a restart of the target: errors of connections that broke in it are noticed so late.
const OUTAGE_ENDS: Duration = Duration::from_secs(1);

/// How long the target may take to start again; later errors count.
const RESTART_LIMIT: Duration = Duration::from_secs(10);

/// The specification of a run: a scenario and a target.
pub(crate) struct RunSpec {
    pub(crate) name: String,
    pub(crate) scenario: Scenario,
    pub(crate) target: Target,
    pub(crate) threads: usize,
    /// The target's process, when this program started it.
    pub(crate) process: Option<Process>,
    /// The target's process id, when this program did not start it.
    pub(crate) pid: Option<u32>,
    pub(crate) command: Option<String>,
    /// Set by a signal handler to end the run early.
    pub(crate) stop: Arc<AtomicBool>,
}

impl RunSpec {
    /// A run against a target whose process is unknown.
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

/// The phase of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Starting,
    Main,
    Draining,
}

/// Shows the progress of a run.
pub(crate) trait ProgressView {
    /// Called once a second. `done` is the share of the main part that is over.
    fn second(&mut self, shared: &Shared, collector: &Collector, phase: Phase, done: f64);
    /// The run is over.
    fn finished(&mut self);
}

/// A run in progress.
struct Run<'a> {
    spec: &'a mut RunSpec,
    shared: Arc<Shared>,
    collector: Collector,
    clock: Clock,
    seconds: usize,
    killed: Option<Timestamp>,
    /// Started again after that, and whether it serves again.
    restarted: bool,
    serves: bool,
}

/// Runs the scenario to its end.
///
/// # Errors
/// One line, when the target is not reachable, descriptors are too few, a threshold is invalid, or
/// the fleet does not become complete.
pub(crate) fn run(spec: &mut RunSpec, view: &mut dyn ProgressView) -> Result<Results, Error> {
    let scenario = spec.scenario.clone();
    let slos = scenario.slo.iter().map(|text| Slo::parse(text)).collect::<Result<Vec<_>, _>>()?;
    if scenario.restart.is_some() && spec.process.is_none() {
        return fail(format!(
            "{} restarts the target; give --server-cmd 'COMMAND {{tcp}} {{http}}'",
            spec.name
        ));
    }
    let plan = Plan::generate(&scenario);
    environment::descriptors(plan.sockets())?;
    environment::reachable(spec.target)?;
    let described = environment::describe(spec.target, spec.threads, spec.command.as_deref());
    let clock = Clock::system();
    let system = |error: std::io::Error| {
        Error(format!("a system call failed: {error}; lower --threads or --scale"))
    };
    let mut shared = Shared::new(plan, spec.target, clock.clone(), spec.threads).map_err(system)?;
    shared.owned = spec.process.is_some();
    if !scenario.unchecked {
        shared.inherit(environment::inherited(spec.target)?);
    }
    let shared = Arc::new(shared);
    let (sender, reports) = mpsc::channel();
    let threads: Vec<_> = (0..spec.threads)
        .map(|number| spawn(Arc::clone(&shared), number, sender.clone()))
        .collect::<std::io::Result<_>>()
        .map_err(system)?;
    drop(sender);
    let collector = Collector::new(reports, !spec.target.tcp.ip().is_loopback());
    let mut run = Run {
        spec,
        shared,
        collector,
        clock,
        seconds: 0,
        killed: None,
        restarted: false,
        serves: false,
    };
    let finished = run.run_phases(view);
    run.shared.stop();
    let ended = join(threads);
    view.finished();
    run.collector.take();
    let main = finished?;
    ended?;
    let mut results = run.results(main);
    results.environment = described;
    let recovery = results.recovery.as_ref();
    results.slo = slos.iter().map(|slo| slo.check(&results.total, recovery)).collect();
    Ok(results)
}

fn spawn(
    shared: Arc<Shared>,
    number: usize,
    reports: mpsc::Sender<Report>,
) -> std::io::Result<JoinHandle<std::io::Result<()>>> {
    let thread = std::thread::Builder::new().name(format!("loadgen-{number}"));
    thread.spawn(move || Worker::new(shared, number, reports)?.run())
}

fn join(threads: Vec<JoinHandle<std::io::Result<()>>>) -> Result<(), Error> {
    for thread in threads {
        let ended = thread.join().or_else(|_| {
            fail("a thread of the generator panicked; please report this with the seed")
        })?;
        ended.or_else(|error| {
            fail(format!("a thread of the generator failed: {error}; lower --scale"))
        })?;
    }
    Ok(())
}

impl Run<'_> {
    /// Runs all phases; returns when the main part began.
    fn run_phases(&mut self, view: &mut dyn ProgressView) -> Result<Timestamp, Error> {
        self.start_fleet(view)?;
        let now = self.clock.now();
        let whole = (now + MAIN_DELAY).since(self.shared.started).as_secs() + 1;
        let main = self.shared.started + Duration::from_secs(whole);
        self.shared.begin_main(main);
        let length = self.shared.plan.scenario.duration.0;
        let end = main + length;
        while self.clock.now() < end && !self.spec.stop.load(Relaxed) {
            self.restart_if_due(main)?;
            let done = self.clock.now().since(main).as_secs_f64() / length.as_secs_f64();
            self.poll(view, Phase::Main, done);
        }
        self.shared.drain();
        let limit = self.clock.now() + self.shared.plan.scenario.drain.0;
        while self.clock.now() < limit && self.shared.gauges.in_flight.load(Relaxed) > 0 {
            self.poll(view, Phase::Draining, 1.0);
        }
        Ok(main)
    }

    /// Waits until the nsqds that start before the main part have registered all their topics.
    fn start_fleet(&mut self, view: &mut dyn ProgressView) -> Result<(), Error> {
        let expected = self.shared.plan.setup_nsqds() as u64;
        let limit = self.shared.started + self.shared.plan.scenario.setup_limit.0;
        while self.shared.gauges.complete.load(Relaxed) < expected {
            let complete = self.shared.gauges.complete.load(Relaxed);
            if self.spec.stop.load(Relaxed) {
                return fail("interrupted before the fleet was complete; nothing was measured");
            }
            if self.clock.now() > limit {
                return fail(self.incomplete(complete, expected));
            }
            self.poll(view, Phase::Starting, 0.0);
        }
        Ok(())
    }

    fn incomplete(&self, complete: u64, expected: u64) -> String {
        let (_, sum) = self.collector.sums(0);
        let [lost, refused, late] =
            [Count::Lost, Count::Refused, Count::Timeouts].map(|kind| sum.counted(kind));
        format!(
            "only {complete} of {expected} nsqds had registered after {} ({lost} connections closed by the target, {refused} refused, {late} not answered in time); raise the target's connection limit, or lower --scale",
            crate::input::human_duration::show(self.shared.plan.scenario.setup_limit.0)
        )
    }

    fn poll(&mut self, view: &mut dyn ProgressView, phase: Phase, done: f64) {
        std::thread::sleep(POLL_INTERVAL);
        self.collector.take();
        let seconds = self.clock.now().since(self.shared.started).as_secs();
        let seconds = usize::try_from(seconds).unwrap_or(usize::MAX);
        if seconds > self.seconds {
            let server = self.spec.process.as_ref().map_or(self.spec.pid, Process::pid);
            self.collector.sample(seconds - 1, &self.shared, server);
            self.seconds = seconds;
            view.second(&self.shared, &self.collector, phase, done);
        }
    }

    /// Kills the target and starts it again at the times that the scenario gives.
    fn restart_if_due(&mut self, main: Timestamp) -> Result<(), Error> {
        let Some(restart) = &self.shared.plan.scenario.restart else { return Ok(()) };
        let Some(process) = &mut self.spec.process else { return Ok(()) };
        let now = self.clock.now();
        if self.killed.is_none() && now >= main + restart.at.0 {
            self.collector.server_ends(process.pid());
            self.shared.set_outage(now + restart.down.0 + RESTART_LIMIT);
            self.shared.oracle.target_killed(now);
            process.kill();
            self.shared.oracle.target_killed(self.clock.now());
            self.killed = Some(now);
        }
        if let Some(killed) = self.killed
            && !self.restarted
            && now >= killed + restart.down.0
        {
            self.restarted = true;
            process.spawn_again()?;
        }
        if self.restarted && !self.serves && environment::reachable(self.spec.target).is_ok() {
            self.serves = true;
            self.shared.set_outage(self.clock.now() + OUTAGE_ENDS);
        }
        Ok(())
    }

    fn results(&mut self, main: Timestamp) -> Results {
        let scenario = &self.shared.plan.scenario;
        let second =
            usize::try_from(main.since(self.shared.started).as_secs()).unwrap_or(usize::MAX);
        let elapsed = self.clock.now().since(main);
        let (before, total) = self.collector.sums(second);
        let measured = self.collector.intervals.get(second..).unwrap_or_default();
        let whole = usize::try_from(scenario.duration.0.as_secs()).unwrap_or(usize::MAX);
        let series = self.collector.series(second);
        let main_part: Vec<_> =
            series.iter().filter(|second| second.at >= 0).take(whole).cloned().collect();
        let lag = total.delays.get(&Delay::Lag).map_or(0, |lag| lag.value_at_quantile(0.99));
        let lag = (Duration::from_micros(lag), scenario.max_lag.0);
        let generator_health =
            check_generator(&main_part, scenario.closed.is_none().then_some(lag));
        let (server, generator) = self.collector.usage(second, elapsed);
        let plan = &self.shared.plan;
        Results {
            scenario: self.spec.name.clone(),
            about: scenario.about.clone(),
            seed: scenario.seed,
            duration: scenario.duration.0.min(elapsed),
            setup: main.since(self.shared.started),
            recovery: self.recovery(main),
            error_budget: scenario.error_budget,
            knee: scenario.knee.and_then(|limit| knee(measured, limit.0)),
            series,
            events: self.events(main),
            intervals: std::mem::take(&mut self.collector.intervals),
            total,
            before,
            server,
            generator,
            actors: plan.nsqds.len()
                + plan.http_clients.len()
                + plan.misbehaving.len()
                + plan.closed_loops,
            generator_health,
            ..Results::default()
        }
    }

    /// What the scenario did to the target.
    fn events(&self, main: Timestamp) -> Vec<RunEvent> {
        let scenario = &self.shared.plan.scenario;
        let mut events = Vec::new();
        let mut add = |at: Duration, what: String| {
            events.push(RunEvent { at: at.as_secs_f64(), what });
        };
        for group in &scenario.nsqds {
            let (count, arrive, leave) = (group.count, group.arrive, group.leave);
            arrive.iter().for_each(|at| add(at.0, format!("{count} nsqds arrive")));
            leave.iter().for_each(|at| add(at.0, format!("{count} nsqds are killed")));
        }
        if let (Some(killed), Some(restart)) = (self.killed, &scenario.restart) {
            add(killed.since(main), "the target is killed".to_owned());
            if self.restarted {
                add(killed.since(main) + restart.down.0, "it is started again".to_owned());
            }
        }
        let length = scenario.duration.0.as_secs_f64();
        events.retain(|event| event.at <= length);
        events
    }

    /// How long the fleet took to recover, if the scenario has a restart, an arrival or a removal.
    fn recovery(&self, main: Timestamp) -> Option<Recovery> {
        let scenario = &self.shared.plan.scenario;
        let arrival = scenario.nsqds.iter().find_map(|group| group.arrive);
        let leave = scenario.nsqds.iter().find_map(|group| group.leave);
        let (event, from) = match (self.killed, arrival, leave) {
            (Some(killed), ..) => ("the daemon was killed", killed),
            (_, Some(arrival), _) => ("the herd arrived", main + arrival.0),
            (.., Some(leave)) => ("the fleet vanished", main + leave.0),
            _ => return None,
        };
        let gauges = &self.shared.gauges;
        let load = |at: &std::sync::atomic::AtomicI64| Timestamp::from_unix_nanos(at.load(Relaxed));
        let complete = gauges.complete.load(Relaxed) >= gauges.expected.load(Relaxed);
        let up_to_date = complete && gauges.outdated.load(Relaxed) == 0;
        let since = |at: Timestamp| at.since(from).as_secs_f64();
        let registers = event != "the fleet vanished";
        Some(Recovery {
            event,
            registered: (complete && registers).then(|| since(load(&gauges.completed_at))),
            shown: up_to_date.then(|| since(load(&gauges.up_to_date_at))),
            watched: self.shared.plan.watched.iter().filter(|watched| **watched).count(),
        })
    }
}

/// The highest rate of answered lookups before the limit is exceeded for two seconds in a row,
/// judged by the corrected p99.
fn knee(seconds: &[Interval], limit: Duration) -> Option<f64> {
    let limit = crate::num::micros(limit);
    let figures: Vec<_> = seconds
        .iter()
        .filter_map(|second| second.latencies.get(&Op::Lookup))
        .map(|lookup| (lookup.corrected.len(), lookup.corrected.value_at_quantile(0.99) > limit))
        .collect();
    let broken = figures.windows(2).position(|pair| pair[0].1 && pair[1].1);
    let before = &figures[..broken.unwrap_or(figures.len())];
    before.iter().filter(|(_, over)| !over).map(|(count, _)| *count as f64).reduce(f64::max)
}
