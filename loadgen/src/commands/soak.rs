//! A soak test: scenarios in turn for a given time, each followed by a rest without load. In the
//! rest the target must use the same resources as before the load; no response may be wrong.
//!
//! Must not: be run against a musterd that others use; their resources would count as a leak.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, Timestamp};

use super::process::{Process, get, request};
use super::run::{ProgressView, RunSpec, run};
use crate::input::human_duration::show;
use crate::input::scenario::Scenario;
use crate::input::{Error, fail};
use crate::measure::footprint::Footprint;
use crate::measure::growth::{Growth, MIN_POINTS};
use crate::measure::ops::Count;
use crate::measure::results::Results;

/// How long what is left after the load may stay the same: the target does not release it.
const UNCHANGED: Duration = Duration::from_secs(60);
/// How long it may take in all, however it changes.
const REST: Duration = Duration::from_secs(600);
/// The time between the end of the load and a sample, and between two samples.
const PAUSE: Duration = Duration::from_millis(300);
/// How often the first samples are asked for.
const TRIES: usize = 10;
/// Samples that must equal the one before, until the target has started whole.
const STABLE: usize = 5;
/// The allowed growth of resident memory at rest: this share of it, and at least so many bytes.
const MEMORY_SHARE: f64 = 0.05;
const MEMORY: f64 = 2.0 * 1_048_576.0;
/// How long a scenario's fleet may take to start, and a killed producer may be listed.
const LIMIT: Duration = Duration::from_secs(300);
/// Errors that a busy machine causes: an answer that came too late.
const SLOW: [Count; 2] = [Count::Timeouts, Count::Unanswered];
/// The allowed growth of values that wait to be freed, at rest.
const WAITING: f64 = 512.0;

/// The parameters of a soak.
pub(crate) struct Soak {
    /// Run in turn.
    pub(crate) scenarios: Vec<(String, Scenario)>,
    /// The minimal duration; it also lasts as many cycles as the growth check needs.
    pub(crate) length: Duration,
    /// The interval of the samples.
    pub(crate) every: Duration,
}

/// One sample of the target's resources.
#[derive(Clone, Debug)]
pub(crate) struct FootprintSample {
    /// Seconds since the start of the soak.
    pub(crate) at: f64,
    pub(crate) cycle: usize,
    /// The scenario that ran, or `rest`.
    pub(crate) stage: String,
    pub(crate) footprint: Footprint,
}

/// The growth of one figure over all rests.
#[derive(Clone, Debug)]
pub(crate) struct GrowthCheck {
    pub(crate) name: &'static str,
    pub(crate) growth: Growth,
    pub(crate) allowed: f64,
}

/// The result of a soak.
#[derive(Clone, Debug, Default)]
pub(crate) struct SoakResult {
    pub(crate) arguments: Vec<String>,
    pub(crate) length: Duration,
    pub(crate) before: Footprint,
    pub(crate) samples: Vec<FootprintSample>,
    /// The last sample of each cycle.
    pub(crate) rests: Vec<FootprintSample>,
    pub(crate) growth_checks: Vec<GrowthCheck>,
    pub(crate) answered: u64,
    pub(crate) checked: u64,
    pub(crate) wrong: u64,
    /// Commands answered with an error, and requests with an unexpected status.
    pub(crate) refused: u64,
    /// Connections that the target closed, and requests that timed out.
    pub(crate) lost: u64,
    pub(crate) late: u64,
    /// The reasons why it failed.
    pub(crate) failures: Vec<String>,
    /// What happened and is no failure.
    pub(crate) notes: Vec<String>,
}

impl SoakResult {
    /// The exit code: 0 passed, 4 resources grew or were not released, 5 wrong answers.
    pub(crate) fn exit(&self) -> u8 {
        match (self.wrong, self.failures.is_empty()) {
            (1.., _) => 5,
            (_, false) => 4,
            (_, true) => 0,
        }
    }
}

/// Samples the target's resources; one sample at a time, since each needs a connection.
struct Monitor {
    pid: u32,
    http: SocketAddr,
    clock: Clock,
    started: Timestamp,
    state: Mutex<MonitorState>,
    stopped: AtomicBool,
}

#[derive(Default)]
struct MonitorState {
    cycle: usize,
    stage: String,
    samples: Vec<FootprintSample>,
}

impl Monitor {
    fn state(&self) -> std::sync::MutexGuard<'_, MonitorState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_stage(&self, cycle: usize, stage: &str) {
        let mut state = self.state();
        state.cycle = cycle;
        stage.clone_into(&mut state.stage);
    }

    /// Takes a sample; `None` when the target does not respond.
    fn sample(&self) -> Option<FootprintSample> {
        let mut state = self.state();
        let footprint = Footprint::of(self.pid, || get(self.http, "/metrics"))?;
        let at = self.clock.now().since(self.started).as_secs_f64();
        let sample =
            FootprintSample { at, cycle: state.cycle, stage: state.stage.clone(), footprint };
        state.samples.push(sample.clone());
        Some(sample)
    }

    /// Waits until several samples in a row have the same descriptors and threads: a target that has
    /// just started may answer before all its threads have theirs, and the connection of an earlier
    /// request may still be open.
    fn wait_until_stable(&self) {
        let (mut last, mut equal) = (None, 0);
        for _ in 0..200 {
            std::thread::sleep(PAUSE);
            let sample = self.sample();
            let now = sample.map(|sample| (sample.footprint.descriptors, sample.footprint.threads));
            let same = now.is_some() && std::mem::replace(&mut last, now) == now;
            equal = if same { equal + 1 } else { 0 };
            if equal == STABLE {
                return;
            }
        }
    }

    /// Samples at the interval until the soak is over.
    fn run(&self, every: Duration) {
        let mut due = self.started + every;
        while !self.stopped.load(Relaxed) {
            std::thread::sleep(Duration::from_millis(50));
            if self.clock.now() >= due {
                // A busy target may miss a sample; one that has ended is found in the rest.
                let _ = self.sample();
                due = self.clock.now() + every;
            }
        }
    }
}

/// Runs the soak; `say` gets a line for every cycle.
///
/// # Errors
/// One line, when the target cannot be sampled or loaded.
pub(crate) fn soak(
    spec: &mut RunSpec,
    soak: &Soak,
    view: &mut dyn ProgressView,
    mut say: impl FnMut(&str) -> Result<(), Error>,
) -> Result<SoakResult, Error> {
    let Some(pid) = spec.process.as_ref().map_or(spec.pid, Process::pid) else {
        return fail(
            "a soak reads the target's process; give --server-cmd 'musterd --tcp-address={tcp} --http-address={http}' or --server-pid",
        );
    };
    let clock = Clock::system();
    let http = spec.target.http;
    let (state, stopped) = (Mutex::default(), AtomicBool::new(false));
    let monitor = Monitor { pid, http, started: clock.now(), clock, state, stopped };
    monitor.set_stage(0, "before");
    monitor.wait_until_stable();
    // Each has a time limit, which a busy machine may exceed.
    let nodes = (0..TRIES).find_map(|_| get(http, "/nodes"));
    std::thread::sleep(PAUSE);
    let before = (0..TRIES).find_map(|_| monitor.sample()).map(|sample| sample.footprint);
    let (Some(before), Some(nodes)) = (before, nodes) else {
        return fail(format!(
            "http://{http}/metrics or /proc/{pid} lacks what a soak reads; is the target a musterd, and --server-pid its process?"
        ));
    };
    if before.names + before.tcp > 0 {
        return fail(format!(
            "the musterd at {http} is in use: {} names, {} TCP connections; a soak deletes all topics; give it a musterd that nothing else uses",
            before.names, before.tcp
        ));
    }
    let result = SoakResult {
        arguments: std::env::args().skip(1).collect(),
        before,
        ..SoakResult::default()
    };
    let mut soak_run = SoakRun { spec, soak, monitor: &monitor, nodes, result };
    let finished = std::thread::scope(|scope| {
        scope.spawn(|| monitor.run(soak.every));
        let finished = soak_run.run(view, &mut say);
        monitor.stopped.store(true, Relaxed);
        finished
    });
    let mut result = soak_run.result;
    result.length = monitor.clock.now().since(monitor.started);
    result.samples = std::mem::take(&mut monitor.state().samples);
    result.check_growth();
    finished.map(|()| result)
}

/// A soak in progress.
struct SoakRun<'a> {
    spec: &'a mut RunSpec,
    soak: &'a Soak,
    monitor: &'a Monitor,
    /// The response to /nodes before the load.
    nodes: String,
    result: SoakResult,
}

impl SoakRun<'_> {
    fn run(
        &mut self,
        view: &mut dyn ProgressView,
        say: &mut impl FnMut(&str) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let end = self.monitor.started + self.soak.length;
        for cycle in 1.. {
            let mut rest = None;
            for (name, scenario) in &self.soak.scenarios {
                self.monitor.set_stage(cycle, name);
                self.spec.name.clone_from(name);
                self.spec.scenario = scenario.clone();
                self.spec.scenario.seed += cycle as u64;
                allow_time(&mut self.spec.scenario);
                let results = match run(self.spec, view) {
                    // Interrupted before anything was measured: the cycles before are reported.
                    Err(_) if self.spec.stop.load(Relaxed) => return Ok(()),
                    results => results?,
                };
                self.count(cycle, name, &results);
                self.monitor.set_stage(cycle, "rest");
                rest = self.rest(&format!("cycle {cycle}, after {name}"));
            }
            let Some(rest) = rest else {
                self.result
                    .failures
                    .push(format!("cycle {cycle}: the target does not respond any more"));
                return Ok(());
            };
            say(&self.line(&rest))?;
            self.result.rests.push(rest);
            let enough = self.result.rests.len() > MIN_POINTS && self.monitor.clock.now() >= end;
            if enough || self.spec.stop.load(Relaxed) {
                break;
            }
        }
        Ok(())
    }

    fn count(&mut self, cycle: usize, name: &str, results: &Results) {
        let count = |kind| results.total.counted(kind) + results.before.counted(kind);
        let (wrong, refused) = (results.wrong_answers(), count(Count::ErrorReplies));
        let result = &mut self.result;
        result.answered += count(Count::Answered);
        result.checked += count(Count::Checked);
        result.lost += count(Count::Lost);
        result.late += count(Count::Timeouts);
        result.wrong += wrong;
        result.refused += refused;
        if wrong + refused > 0 {
            result.failures.push(format!(
                "cycle {cycle}, {name}: {wrong} wrong answers, {refused} commands refused"
            ));
        }
        if results.too_many_errors() {
            let (errors, requests) = results.errors();
            let line = format!("cycle {cycle}, {name}: {errors} of {requests} requests failed");
            let health = &results.generator_health;
            if health.of_target() || results.too_many_errors_but(&SLOW) {
                result.failures.push(line);
            } else {
                result.notes.push(format!("{line}, while {}", health.outcome.text()));
            }
        }
    }

    /// Deletes all topics, which remain after their nsqds, until nothing is left and the target's
    /// resources are the same as before the load. It gives up when what is left does not change any
    /// more, and adds a failure for each difference. `None` when the target does not respond.
    fn rest(&mut self, when: &str) -> Option<FootprintSample> {
        let mut wait = RestWait::new(self.monitor.clock.now());
        loop {
            std::thread::sleep(PAUSE);
            // Each time: a REGISTER that was still on its way brings its names back. A target that
            // does not respond is found below.
            let _ = request(self.monitor.http, "POST", "/topic/delete?topic=*");
            std::thread::sleep(PAUSE);
            let sample = self.monitor.sample();
            let mut left = sample.as_ref().map_or_else(
                || vec!["it does not respond".to_owned()],
                |sample| sample.footprint.left_since(&self.result.before),
            );
            if left.is_empty() && get(self.monitor.http, "/nodes").as_ref() != Some(&self.nodes) {
                left.push("/nodes differs from before the load".to_owned());
            }
            if left.is_empty() || self.spec.stop.load(Relaxed) {
                return sample;
            }
            if wait.is_over(&left, self.monitor.clock.now()) {
                let failures = left.iter().map(|what| format!("{when}: {what}"));
                self.result.failures.extend(failures);
                return sample;
            }
        }
    }

    fn line(&self, rest: &FootprintSample) -> String {
        let Footprint { descriptors, tcp, http, registrations, waiting, .. } = rest.footprint;
        let SoakResult { checked, wrong, .. } = &self.result;
        format!(
            "cycle {:>3} at {:>9}: {:>6.2} MiB, {descriptors} descriptors, {} connections, {registrations} registrations, {waiting} values wait to be freed; {checked} responses checked, {wrong} wrong",
            rest.cycle,
            show(Duration::from_secs_f64(rest.at)),
            rest.footprint.resident as f64 / 1_048_576.0,
            tcp + http
        )
    }
}

/// Allows a scenario the time that it may take on a busy machine.
fn allow_time(scenario: &mut Scenario) {
    for limit in [&mut scenario.staleness, &mut scenario.setup_limit] {
        limit.0 = limit.0.max(LIMIT);
    }
}

/// The wait until nothing is left. A busy machine makes it longer: it goes on while there is
/// progress.
struct RestWait {
    began: Timestamp,
    changed: Timestamp,
    left: Vec<String>,
}

impl RestWait {
    fn new(now: Timestamp) -> Self {
        Self { began: now, changed: now, left: Vec::new() }
    }

    /// Whether what is left now has stayed the same too long.
    fn is_over(&mut self, left: &[String], now: Timestamp) -> bool {
        if self.left != left {
            left.clone_into(&mut self.left);
            self.changed = now;
        }
        now.since(self.changed) >= UNCHANGED || now.since(self.began) >= REST
    }
}

impl SoakResult {
    /// Checks the growth over the rests of all cycles, of figures that vary a little.
    fn check_growth(&mut self) {
        type Figure = fn(&Footprint) -> u64;
        let points = |figure: Figure| -> Vec<_> {
            self.rests.iter().map(|rest| (rest.at, figure(&rest.footprint) as f64)).collect()
        };
        let figures: [(_, Figure, f64, f64); 2] = [
            ("resident bytes", |footprint| footprint.resident, MEMORY_SHARE, MEMORY),
            ("published values that wait", |footprint| footprint.waiting, 0.0, WAITING),
        ];
        for (name, figure, share, least) in figures {
            let Some(growth) = Growth::of(&points(figure)) else {
                let cycles = self.rests.len();
                self.failures.push(format!(
                    "{name}: {cycles} cycles are too few to check its growth, {} are needed; do not interrupt the soak",
                    MIN_POINTS + 1
                ));
                continue;
            };
            let allowed = least.max(growth.first * share);
            if growth.exceeds(allowed) {
                self.failures.push(format!(
                    "{name} grew from {:.0} to {:.0} (trend {:+.0}), allowed: {allowed:.0}",
                    growth.first, growth.last, growth.trend
                ));
            }
            self.growth_checks.push(GrowthCheck { name, growth, allowed });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rest_goes_on_while_what_is_left_changes() {
        let at = |second: u64| Timestamp::from_unix_nanos(0) + Duration::from_secs(second);
        let left = |names: u64| vec![format!("{names} names")];
        let mut wait = RestWait::new(at(0));
        for round in 0..11 {
            assert!(!wait.is_over(&left(100 - round), at(round * 50)), "{round}");
        }
        assert!(!wait.is_over(&left(90), at(559)));
        assert!(wait.is_over(&left(90), at(560)), "it has not changed for a minute");
        let mut endless = RestWait::new(at(0));
        assert!((0..20).any(|round| endless.is_over(&left(round), at(round * 50))));
    }
}
