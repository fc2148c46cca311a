//! A scenario: what the fleet does and when, as its TOML file says it.
//!
//! Must not: draw anything at random (that is `model::plan`) or know a target.

use std::time::Duration;

use serde::Deserialize;

use super::span::Span;
use super::{Refused, refuse};
use crate::num::whole;

/// Bounds on what one run may do to a machine, whatever its file says.
const MOST_ACTORS: usize = 200_000;
const MOST_TOPICS: usize = 2_000_000;
const LONGEST: Duration = Duration::from_secs(3600);

/// One scenario. Times count from the start of the main part, unless they say otherwise.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// One line for `loadgen list` and the report's head.
    pub(crate) about: String,
    /// How long the main part lasts.
    pub(crate) duration: Span,
    /// What makes the run repeatable.
    #[serde(default = "one")]
    pub(crate) seed: u64,
    /// How long the fleet may take to arrive before the main part begins.
    #[serde(default = "minute")]
    pub(crate) setup_limit: Span,
    /// How long a producer whose socket was killed may still be shown.
    #[serde(default = "five_seconds")]
    pub(crate) staleness: Span,
    /// Scheduling lag, 99th percentile, past which the generator was the bottleneck.
    #[serde(default = "ten_millis")]
    pub(crate) max_lag: Span,
    /// How long a consumer waits for an answer.
    #[serde(default = "minute")]
    pub(crate) timeout: Span,
    /// How long the end of the run waits for answers in flight.
    #[serde(default = "two_seconds")]
    pub(crate) drain: Span,
    /// Thresholds that set the exit code.
    #[serde(default)]
    pub(crate) slo: Vec<String>,
    /// The corrected lookup p99 that a `ramp` may not exceed below its knee.
    pub(crate) knee: Option<Span>,
    /// The topics that nsqds of no names of their own share.
    #[serde(default)]
    pub(crate) topics: Topics,
    /// Groups of nsqds.
    #[serde(default)]
    pub(crate) nsqds: Vec<Nsqds>,
    /// Groups of polling consumers.
    #[serde(default)]
    pub(crate) consumers: Vec<Consumers>,
    /// Lookups at a rate of their own, however long the answers take.
    #[serde(default)]
    pub(crate) arrivals: Vec<Arrivals>,
    /// Lone nsqds that come and go on a topic each, watched closely: the propagation measure.
    pub(crate) probes: Option<Probes>,
    /// Topics polled until they show what is true.
    pub(crate) watch: Option<Watch>,
    /// An nsqadmin.
    pub(crate) admin: Option<Admin>,
    /// Peers that do not play by the rules.
    pub(crate) hostile: Option<Hostile>,
    /// The daemon is killed and started again.
    pub(crate) restart: Option<Restart>,
    /// Connections that ask again as soon as they are answered.
    pub(crate) closed: Option<Closed>,
    /// The target is no lookupd and its answers mean nothing: for `calibrate`.
    #[serde(default)]
    pub(crate) unchecked: bool,
}

/// A closed loop: each connection keeps `depth` requests in flight.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Closed {
    pub(crate) connections: usize,
    pub(crate) depth: usize,
    pub(crate) op: ClosedOp,
}

/// What a closed loop asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ClosedOp {
    Ping,
    Register,
    Lookup,
}

/// The shared topics.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Topics {
    pub(crate) count: usize,
    /// Channels of each topic; none: nsqds register the topic alone.
    #[serde(default)]
    pub(crate) channels: usize,
    /// Zipf's exponent of their popularity; 0 is uniform.
    #[serde(default)]
    pub(crate) skew: f64,
}

/// A group of nsqds that live the same way.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nsqds {
    pub(crate) count: usize,
    /// Topics each one registers.
    pub(crate) topics: usize,
    /// Their topics are theirs alone, instead of shared ones.
    #[serde(default)]
    pub(crate) own: bool,
    /// When they arrive; absent: before the main part begins.
    pub(crate) arrive: Option<Span>,
    /// Over how long they arrive.
    #[serde(default)]
    pub(crate) over: Span,
    /// When they are killed.
    pub(crate) leave: Option<Span>,
    /// Over how long they are killed.
    #[serde(default)]
    pub(crate) leave_over: Span,
    /// A rolling deploy: each is killed in turn and returns after `down`.
    pub(crate) roll: Option<Roll>,
    /// Each deletes one of its topics (UNREGISTER) and registers it again, about this often.
    pub(crate) recreate: Option<Span>,
    /// The heartbeat.
    #[serde(default = "fifteen_seconds")]
    pub(crate) ping: Span,
}

/// A rolling deploy.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Roll {
    pub(crate) every: Span,
    pub(crate) down: Span,
}

/// A group of consumers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Consumers {
    pub(crate) count: usize,
    #[serde(default = "minute")]
    pub(crate) poll: Span,
    /// Each interval is `poll` ± this share of it.
    #[serde(default = "third")]
    pub(crate) jitter: f64,
    /// The share of them that opens a new connection for each request.
    #[serde(default)]
    pub(crate) fresh: f64,
    /// They ask for topics that nobody registers.
    #[serde(default)]
    pub(crate) missing: bool,
}

/// Lookups at a given rate.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Arrivals {
    pub(crate) connections: usize,
    /// Points of the rate over all connections, in lookups a second; straight lines between.
    pub(crate) rate: Vec<(Span, f64)>,
    /// Intended requests that may wait on one connection; what exceeds it is dropped and counted.
    #[serde(default = "hundred")]
    pub(crate) queue: u32,
    #[serde(default)]
    pub(crate) missing: bool,
}

/// Probes of propagation.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Probes {
    pub(crate) count: usize,
    /// How long each one stays, and stays away.
    pub(crate) stay: Span,
    /// How often the topic is asked for while a change is awaited: the measure's resolution.
    pub(crate) every: Span,
}

/// Topics watched until they show what is true.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Watch {
    pub(crate) topics: usize,
    pub(crate) every: Span,
}

/// An nsqadmin's traffic.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Admin {
    /// Requests a second.
    pub(crate) rate: f64,
}

/// Peers that do not play by the rules, by kind.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hostile {
    /// Send bytes that are no protocol, on both ports.
    pub(crate) garbage: usize,
    /// Send one byte of a command a second.
    pub(crate) dripping: usize,
    /// Ask for answers and never read them.
    pub(crate) deaf: usize,
}

/// The daemon is killed and started again.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Restart {
    pub(crate) at: Span,
    pub(crate) down: Span,
}

/// What the command line changes of a scenario.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overrides {
    /// Multiplies every count and rate.
    pub(crate) scale: Option<f64>,
    /// Replaces the duration; the times of events shrink or grow with it.
    pub(crate) duration: Option<Duration>,
    pub(crate) seed: Option<u64>,
    pub(crate) slo: Vec<String>,
}

impl Scenario {
    /// Reads a scenario's text; `name` is for the error.
    ///
    /// # Errors
    /// One line: the place in the TOML, or the bound that is broken.
    pub(crate) fn parse(name: &str, text: &str) -> Result<Self, Refused> {
        let scenario: Self = toml::from_str(text).map_err(|error| {
            let place = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
            let what = error.message().replace('\n', " ");
            Refused(format!(
                "scenario {name}, line {place}: {what}; see loadgen/scenarios/ for the form"
            ))
        })?;
        scenario.check(name)?;
        Ok(scenario)
    }

    /// Applies the command line's changes and checks the bounds again.
    ///
    /// # Errors
    /// When a bound is broken.
    pub(crate) fn with(mut self, name: &str, changes: &Overrides) -> Result<Self, Refused> {
        if let Some(scale) = changes.scale {
            if !(scale > 0.0 && scale <= 100.0) {
                return refuse(format!("--scale {scale}: give a factor above 0, at most 100"));
            }
            self.scale(scale);
            self.about.push_str(&format!(" (at scale {scale})"));
        }
        if let Some(duration) = changes.duration {
            self.stretch(duration);
        }
        if let Some(seed) = changes.seed {
            self.seed = seed;
        }
        self.slo.extend(changes.slo.iter().cloned());
        self.check(name)?;
        Ok(self)
    }

    /// Producers of all groups, the probes among them.
    pub(crate) fn producers(&self) -> usize {
        self.nsqds.iter().map(|group| group.count).sum::<usize>()
            + self.probes.as_ref().map_or(0, |probes| probes.count)
    }

    fn check(&self, name: &str) -> Result<(), Refused> {
        let own: usize =
            self.nsqds.iter().filter(|g| g.own).map(|g| g.count.saturating_mul(g.topics)).sum();
        let askers: usize = self.consumers.iter().map(|group| group.count).sum::<usize>()
            + self.arrivals.iter().map(|group| group.connections).sum::<usize>();
        let shares = self.nsqds.iter().any(|group| !group.own && group.topics > self.topics.count);
        let bad_rate = self.arrivals.iter().any(|group| {
            group.rate.is_empty()
                || group.connections == 0
                || group.rate.iter().any(|(_, rate)| !(0.0..=10_000_000.0).contains(rate))
                || group.rate.windows(2).any(|pair| pair[0].0 > pair[1].0)
        });
        let wrong = [
            (
                self.duration.0 > LONGEST || self.duration.0.is_zero(),
                "duration: above 0, at most 1h",
            ),
            (
                self.producers() + askers > MOST_ACTORS,
                "at most 200,000 actors; lower a count or --scale",
            ),
            (own + self.topics.count > MOST_TOPICS, "at most 2,000,000 topics; lower topics.count"),
            (self.topics.count + own == 0, "topics.count: at least one topic"),
            (shares, "nsqds.topics is more than topics.count; raise topics.count"),
            (
                self.closed.as_ref().is_some_and(|c| {
                    c.depth == 0 || c.connections.saturating_mul(c.depth) > 1_000_000
                }),
                "closed: depth at least 1, connections × depth at most 1,000,000",
            ),
            (
                bad_rate,
                "arrivals: at least one connection, and rate points [\"0s\", 100.0] in order",
            ),
            (
                self.nsqds.iter().any(|g| g.ping.0 < Duration::from_millis(100)),
                "nsqds.ping: at least 100ms",
            ),
            (
                self.consumers.iter().any(|g| g.poll.0 < Duration::from_millis(1)),
                "consumers.poll: at least 1ms",
            ),
        ];
        match wrong.iter().find(|(broken, _)| *broken) {
            Some((_, remedy)) => refuse(format!("scenario {name}: {remedy}")),
            None => Ok(()),
        }
    }

    fn scale(&mut self, factor: f64) {
        let scaled = |count: &mut usize| {
            if *count > 0 {
                *count =
                    usize::try_from(whole(*count as f64 * factor).max(1)).unwrap_or(usize::MAX);
            }
        };
        let least = self.nsqds.iter().filter(|group| !group.own).map(|group| group.topics).max();
        scaled(&mut self.topics.count);
        self.topics.count = self.topics.count.max(least.unwrap_or(0));
        self.nsqds.iter_mut().for_each(|group| scaled(&mut group.count));
        self.consumers.iter_mut().for_each(|group| scaled(&mut group.count));
        for group in &mut self.arrivals {
            scaled(&mut group.connections);
            group.rate.iter_mut().for_each(|(_, rate)| *rate *= factor);
        }
        if let Some(hostile) = &mut self.hostile {
            [&mut hostile.garbage, &mut hostile.dripping, &mut hostile.deaf]
                .into_iter()
                .for_each(scaled);
        }
    }

    fn stretch(&mut self, duration: Duration) {
        let factor = duration.as_secs_f64() / self.duration.0.as_secs_f64();
        let stretched = |span: &mut Span| span.0 = span.0.mul_f64(factor);
        self.duration = Span(duration);
        for group in &mut self.nsqds {
            [&mut group.arrive, &mut group.leave].into_iter().flatten().for_each(stretched);
            [&mut group.over, &mut group.leave_over].into_iter().for_each(stretched);
            if let Some(roll) = &mut group.roll {
                [&mut roll.every, &mut roll.down].into_iter().for_each(stretched);
            }
        }
        let rates = self.arrivals.iter_mut().flat_map(|group| &mut group.rate);
        rates.for_each(|(at, _)| stretched(at));
        if let Some(restart) = &mut self.restart {
            [&mut restart.at, &mut restart.down].into_iter().for_each(stretched);
        }
    }
}

fn one() -> u64 {
    1
}
fn hundred() -> u32 {
    100
}
fn third() -> f64 {
    0.3
}
fn minute() -> Span {
    Span(Duration::from_secs(60))
}
fn fifteen_seconds() -> Span {
    Span(Duration::from_secs(15))
}
fn five_seconds() -> Span {
    Span(Duration::from_secs(5))
}
fn two_seconds() -> Span {
    Span(Duration::from_secs(2))
}
fn ten_millis() -> Span {
    Span(Duration::from_millis(10))
}
