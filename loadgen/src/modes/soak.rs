//! A soak: scenarios by turns for as long as asked, each followed by a rest, in which the target
//! must hold what it held before the load and answer nothing wrong.
//!
//! Must not: be pointed at a musterd that somebody else uses; what they hold is not told from a
//! leak.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use musterd::clock::{Clock, Timestamp};

use super::play::{Piece, View, play};
use super::process::{Process, ask, get};
use crate::input::scenario::Scenario;
use crate::input::span::show;
use crate::input::{Refused, refuse};
use crate::measure::footprint::Footprint;
use crate::measure::growth::{Growth, LEAST};
use crate::measure::ops::Count;
use crate::measure::results::Results;

/// How long the target may take to let go of everything once the load has stopped.
const REST: Duration = Duration::from_secs(15);
/// How long it is left alone before it is looked at.
const PAUSE: Duration = Duration::from_millis(300);
/// Growth of resident memory at rest that is no leak: this share of it, at least so many bytes.
const MEMORY_SHARE: f64 = 0.05;
const MEMORY: f64 = 2.0 * 1_048_576.0;
/// Growth of what waits to be freed at rest that is no leak, in published values.
const WAITING: f64 = 512.0;

/// What is soaked.
pub(crate) struct Soak {
    /// What is played by turns.
    pub(crate) scenarios: Vec<(String, Scenario)>,
    /// For how long, and for as many cycles as a judgement needs.
    pub(crate) length: Duration,
    /// How often it is looked at.
    pub(crate) every: Duration,
}

/// One look at the target.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// Seconds since the beginning.
    pub(crate) at: f64,
    pub(crate) cycle: usize,
    /// The scenario that was played, or `rest`.
    pub(crate) stage: String,
    pub(crate) held: Footprint,
}

/// A figure that is judged over the rests.
#[derive(Clone, Debug)]
pub(crate) struct Judged {
    pub(crate) name: &'static str,
    pub(crate) growth: Growth,
    pub(crate) allowed: f64,
}

/// What a soak came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Course {
    pub(crate) arguments: Vec<String>,
    pub(crate) length: Duration,
    pub(crate) before: Footprint,
    pub(crate) samples: Vec<Sample>,
    /// The last rest of each cycle.
    pub(crate) rests: Vec<Sample>,
    pub(crate) judged: Vec<Judged>,
    pub(crate) answered: u64,
    pub(crate) checked: u64,
    pub(crate) wrong: u64,
    /// Commands of nsqds answered with something else than OK, and requests with another status.
    pub(crate) refused: u64,
    /// Links that the target ended unasked, and answers that came too late.
    pub(crate) lost: u64,
    pub(crate) late: u64,
    /// Why it failed.
    pub(crate) findings: Vec<String>,
}

impl Course {
    /// 0 good, 4 something grew or was left, 5 a wrong answer.
    pub(crate) fn exit(&self) -> u8 {
        match (self.wrong, self.findings.is_empty()) {
            (1.., _) => 5,
            (_, false) => 4,
            (_, true) => 0,
        }
    }
}

/// Looks at the target; one look at a time, since each is a connection.
struct Looks {
    pid: u32,
    http: SocketAddr,
    clock: Clock,
    began: Timestamp,
    notes: Mutex<Notes>,
    over: AtomicBool,
}

#[derive(Default)]
struct Notes {
    cycle: usize,
    stage: String,
    samples: Vec<Sample>,
}

impl Looks {
    fn notes(&self) -> std::sync::MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stage(&self, cycle: usize, stage: &str) {
        let mut notes = self.notes();
        notes.cycle = cycle;
        stage.clone_into(&mut notes.stage);
    }

    /// What it holds now; `None` when it does not answer.
    fn look(&self) -> Option<Sample> {
        let mut notes = self.notes();
        let held = Footprint::of(self.pid, || get(self.http, "/metrics"))?;
        let at = self.clock.now().since(self.began).as_secs_f64();
        let sample = Sample { at, cycle: notes.cycle, stage: notes.stage.clone(), held };
        notes.samples.push(sample.clone());
        Some(sample)
    }

    /// Waits until two looks in a row agree: a target that has just started may answer before all
    /// its threads have what they need, and one that has just been asked may still hold that
    /// connection.
    fn settle(&self) {
        let mut last = None;
        for _ in 0..20 {
            std::thread::sleep(PAUSE);
            let now = self.look().map(|sample| sample.held.descriptors);
            if now.is_some() && std::mem::replace(&mut last, now) == now {
                return;
            }
        }
    }

    /// Looks again and again until the soak is over.
    fn keep_looking(&self, every: Duration) {
        let mut due = self.began + every;
        while !self.over.load(Relaxed) {
            std::thread::sleep(Duration::from_millis(50));
            if self.clock.now() >= due {
                // A target that is too busy is looked at again; one that is gone shows at the rest.
                let _ = self.look();
                due = self.clock.now() + every;
            }
        }
    }
}

/// Plays the soak; `say` is told of every cycle.
///
/// # Errors
/// One line, when the target cannot be looked at or loaded, or the time is too short to judge.
pub(crate) fn soak(
    piece: &mut Piece,
    soak: &Soak,
    view: &mut dyn View,
    mut say: impl FnMut(&str) -> Result<(), Refused>,
) -> Result<Course, Refused> {
    let Some(pid) = piece.process.as_ref().map_or(piece.pid, Process::pid) else {
        return refuse(
            "a soak looks into the target's process; give --server-cmd 'musterd --tcp-address={tcp} --http-address={http}' or --server-pid",
        );
    };
    let clock = Clock::system();
    let http = piece.target.http;
    let looks = Looks {
        pid,
        http,
        began: clock.now(),
        clock,
        notes: Mutex::default(),
        over: AtomicBool::new(false),
    };
    looks.stage(0, "before");
    looks.settle();
    let nodes = get(http, "/nodes");
    std::thread::sleep(PAUSE);
    let before = looks.look().map(|sample| sample.held);
    let (Some(before), Some(nodes)) = (before, nodes) else {
        return refuse(format!(
            "http://{http}/metrics or /proc/{pid} lacks what a soak looks at; is it a musterd, and --server-pid its own?"
        ));
    };
    if before.names + before.tcp > 0 {
        return refuse(format!(
            "the musterd at {http} is in use: {} names, {} TCP connections; a soak deletes what it finds, give it one of its own",
            before.names, before.tcp
        ));
    }
    let course =
        Course { arguments: std::env::args().skip(1).collect(), before, ..Course::default() };
    let mut run = Run { piece, soak, looks: &looks, nodes, course };
    let played = std::thread::scope(|scope| {
        scope.spawn(|| looks.keep_looking(soak.every));
        let played = run.play(view, &mut say);
        looks.over.store(true, Relaxed);
        played
    });
    let mut course = run.course;
    course.length = looks.clock.now().since(looks.began);
    course.samples = std::mem::take(&mut looks.notes().samples);
    course.judge();
    played.map(|()| course)
}

/// A soak under way.
struct Run<'a> {
    piece: &'a mut Piece,
    soak: &'a Soak,
    looks: &'a Looks,
    /// What /nodes said before.
    nodes: String,
    course: Course,
}

impl Run<'_> {
    fn play(
        &mut self,
        view: &mut dyn View,
        say: &mut impl FnMut(&str) -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        let end = self.looks.began + self.soak.length;
        for cycle in 1.. {
            let mut rest = None;
            for (name, scenario) in &self.soak.scenarios {
                self.looks.stage(cycle, name);
                self.piece.name.clone_from(name);
                self.piece.scenario = scenario.clone();
                self.piece.scenario.seed += cycle as u64;
                let results = play(self.piece, view)?;
                self.count(cycle, name, &results);
                self.looks.stage(cycle, "rest");
                rest = self.rest(&format!("cycle {cycle}, after {name}"));
            }
            let Some(rest) = rest else {
                self.course.findings.push(format!("cycle {cycle}: it does not answer any more"));
                return Ok(());
            };
            say(&self.line(&rest))?;
            self.course.rests.push(rest);
            let enough = self.course.rests.len() > LEAST && self.looks.clock.now() >= end;
            if enough || self.piece.stop.load(Relaxed) {
                break;
            }
        }
        Ok(())
    }

    fn count(&mut self, cycle: usize, name: &str, results: &Results) {
        let count = |kind| results.total.counted(kind) + results.before.counted(kind);
        let (wrong, refused) = (results.wrong_answers(), count(Count::Wrong));
        let course = &mut self.course;
        course.answered += count(Count::Answered);
        course.checked += count(Count::Checked);
        course.lost += count(Count::Lost);
        course.late += count(Count::Timeouts);
        course.wrong += wrong;
        course.refused += refused;
        if wrong + refused > 0 {
            course.findings.push(format!(
                "cycle {cycle}, {name}: {wrong} wrong answers, {refused} commands refused"
            ));
        }
    }

    /// Deletes the topics, which outlive their nsqds, and waits until the target holds what it
    /// held before; says what it still holds if it does not. `None` when it does not answer.
    fn rest(&mut self, moment: &str) -> Option<Sample> {
        let limit = self.looks.clock.now() + REST;
        std::thread::sleep(PAUSE);
        // One that does not answer shows below.
        let _ = ask(self.looks.http, "POST", "/topic/delete?topic=*");
        loop {
            std::thread::sleep(PAUSE);
            let sample = self.looks.look();
            let mut left = sample.as_ref().map_or_else(
                || vec!["it does not answer".to_owned()],
                |sample| sample.held.left_since(&self.course.before),
            );
            if left.is_empty() && get(self.looks.http, "/nodes").as_ref() != Some(&self.nodes) {
                left.push("/nodes shows nsqds that are gone".to_owned());
            }
            if left.is_empty() || self.looks.clock.now() >= limit {
                let findings = left.iter().map(|what| format!("{moment}: {what}"));
                self.course.findings.extend(findings);
                return sample;
            }
        }
    }

    fn line(&self, rest: &Sample) -> String {
        let held = &rest.held;
        format!(
            "cycle {:>3} at {:>9}: {:>6.2} MiB, {} descriptors, {} connections, {} registrations, {} values wait; {} answers checked, {} wrong",
            rest.cycle,
            show(Duration::from_secs_f64(rest.at)),
            held.resident as f64 / 1_048_576.0,
            held.descriptors,
            held.tcp + held.http,
            held.registrations,
            held.waiting,
            self.course.checked,
            self.course.wrong
        )
    }
}

impl Course {
    /// Judges what may move a little, over the rests of all cycles.
    fn judge(&mut self) {
        type Figure = fn(&Footprint) -> u64;
        let points = |figure: Figure| -> Vec<_> {
            self.rests.iter().map(|rest| (rest.at, figure(&rest.held) as f64)).collect()
        };
        let figures: [(_, Figure, f64, f64); 2] = [
            ("resident bytes", |held| held.resident, MEMORY_SHARE, MEMORY),
            ("published values that wait", |held| held.waiting, 0.0, WAITING),
        ];
        for (name, figure, share, least) in figures {
            let Some(growth) = Growth::of(&points(figure)) else {
                let cycles = self.rests.len();
                self.findings.push(format!(
                    "{name}: {cycles} cycles are too few to judge, it takes {}; let it play to its end",
                    LEAST + 1
                ));
                continue;
            };
            let allowed = least.max(growth.first * share);
            if growth.exceeds(allowed) {
                self.findings.push(format!(
                    "{name} grew from {:.0} to {:.0} (trend {:+.0}), allowed are {allowed:.0}",
                    growth.first, growth.last, growth.trend
                ));
            }
            self.judged.push(Judged { name, growth, allowed });
        }
    }
}
