//! A scenario: what the fleet does and when, parsed from TOML.
//!
//! Must not: choose anything at random (that is `model::plan`) or know a target.

use std::time::Duration;

use serde::Deserialize;

use super::human_duration::HumanDuration;
use super::{Error, fail};
use crate::num::whole;

/// Limits on the load of one run, whatever its file says.
const MAX_ACTORS: usize = 200_000;
const MAX_TOPICS: usize = 2_000_000;
const MAX_DURATION: Duration = Duration::from_secs(3600);
const MIN_DURATION: Duration = Duration::from_millis(100);

/// One scenario. Times count from the start of the main part, unless stated otherwise.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// One line for `loadgen list` and the report's title.
    pub(crate) about: String,
    /// How long the main part lasts.
    pub(crate) duration: HumanDuration,
    /// The seed of all random choices; the same seed gives the same run.
    #[serde(default = "one")]
    pub(crate) seed: u64,
    /// How long the fleet may take to start before the main part begins.
    #[serde(default = "seconds::<60>")]
    pub(crate) setup_limit: HumanDuration,
    /// How long a killed producer may still be listed.
    #[serde(default = "seconds::<5>")]
    pub(crate) staleness: HumanDuration,
    /// The 99th percentile of scheduling lag above which the generator was the bottleneck; from a
    /// minute on the run gets no verdict on the generator and the machine.
    #[serde(default = "ten_millis")]
    pub(crate) max_lag: HumanDuration,
    /// How long a client waits for a response.
    #[serde(default = "seconds::<60>")]
    pub(crate) timeout: HumanDuration,
    /// How long the end of the run waits for requests in flight.
    #[serde(default = "seconds::<2>")]
    pub(crate) drain: HumanDuration,
    /// Thresholds that set the exit code.
    #[serde(default)]
    pub(crate) slo: Vec<String>,
    /// The share of the requests that may fail; more set the exit code.
    #[serde(default = "thousandth")]
    pub(crate) error_budget: f64,
    /// The corrected lookup p99 above which the target is overloaded: the rate before is the knee.
    pub(crate) knee: Option<HumanDuration>,
    /// The topics that nsqds share.
    #[serde(default)]
    pub(crate) topics: Topics,
    /// Groups of nsqds.
    #[serde(default)]
    pub(crate) nsqds: Vec<Nsqds>,
    /// Groups of polling consumers.
    #[serde(default)]
    pub(crate) consumers: Vec<Consumers>,
    /// Lookups at a given rate, independent of response times (an open loop).
    #[serde(default)]
    pub(crate) arrivals: Vec<Arrivals>,
    /// nsqds that start and are killed in turn, each with one watched topic: they measure
    /// propagation.
    pub(crate) probes: Option<Probes>,
    /// Topics that are polled until the response matches the oracle.
    pub(crate) watch: Option<WatchedTopics>,
    /// An nsqadmin.
    pub(crate) admin: Option<Admin>,
    /// Misbehaving peers.
    pub(crate) hostile: Option<Misbehaving>,
    /// The target is killed and started again.
    pub(crate) restart: Option<Restart>,
    /// Connections that send the next request as soon as one is answered.
    pub(crate) closed: Option<Closed>,
    /// Responses are not checked: for `calibrate`, whose target is no lookupd.
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

/// The request of a closed loop.
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

/// A group of nsqds that behave alike.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nsqds {
    pub(crate) count: usize,
    /// Topics each one registers.
    pub(crate) topics: usize,
    /// Each has topics of its own instead of shared ones.
    #[serde(default)]
    pub(crate) own: bool,
    /// When they start; absent: before the main part begins.
    pub(crate) arrive: Option<HumanDuration>,
    /// The time over which they start.
    #[serde(default)]
    pub(crate) over: HumanDuration,
    /// When they are killed.
    pub(crate) leave: Option<HumanDuration>,
    /// The time over which they are killed.
    #[serde(default)]
    pub(crate) leave_over: HumanDuration,
    /// A rolling deploy: each is killed in turn and started again after `down`.
    pub(crate) roll: Option<RollingDeploy>,
    /// Each deletes one of its topics (UNREGISTER) or registers it again, about this often.
    pub(crate) recreate: Option<HumanDuration>,
    /// The interval of heartbeats.
    #[serde(default = "seconds::<15>")]
    pub(crate) ping: HumanDuration,
}

/// A rolling deploy.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RollingDeploy {
    pub(crate) every: HumanDuration,
    pub(crate) down: HumanDuration,
}

/// A group of consumers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Consumers {
    pub(crate) count: usize,
    #[serde(default = "seconds::<60>")]
    pub(crate) poll: HumanDuration,
    /// Each interval is `poll` ± this share of it.
    #[serde(default = "third")]
    pub(crate) jitter: f64,
    /// The share of them that opens a new connection for each request.
    #[serde(default)]
    pub(crate) fresh: f64,
    /// They ask for topics that no nsqd registers.
    #[serde(default)]
    pub(crate) missing: bool,
}

/// Lookups at a given rate.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Arrivals {
    pub(crate) connections: usize,
    /// Points of the rate over all connections, in lookups per second; linear between them.
    pub(crate) rate: Vec<(HumanDuration, f64)>,
    /// Requests that may be due on one connection; more are dropped and counted.
    #[serde(default = "hundred")]
    pub(crate) queue: u32,
    #[serde(default)]
    pub(crate) missing: bool,
}

/// The probes of propagation.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Probes {
    pub(crate) count: usize,
    /// How long each one stays, and stays away.
    pub(crate) stay: HumanDuration,
    /// How often the topic is polled after a change: the resolution of the measurement.
    pub(crate) every: HumanDuration,
}

/// The watched topics.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WatchedTopics {
    pub(crate) topics: usize,
    pub(crate) every: HumanDuration,
}

/// An nsqadmin's traffic.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Admin {
    /// Requests per second.
    pub(crate) rate: f64,
}

/// The number of misbehaving peers, by kind.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Misbehaving {
    /// Send random bytes, on both ports.
    pub(crate) garbage: usize,
    /// Send one byte per second.
    #[serde(alias = "dripping")]
    pub(crate) slowloris: usize,
    /// Send requests and never read the responses.
    #[serde(alias = "deaf")]
    pub(crate) never_reading: usize,
}

/// The daemon is killed and started again.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Restart {
    pub(crate) at: HumanDuration,
    pub(crate) down: HumanDuration,
}

/// The flags that change a scenario. Their comments are the help texts.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Overrides {
    /// Multiply every count and rate
    #[arg(long)]
    pub(crate) scale: Option<f64>,
    /// Duration of the main part; the times of its events are scaled with it
    #[arg(long, value_parser = super::human_duration::parse)]
    pub(crate) duration: Option<Duration>,
    /// Seed of all random choices; the same seed gives the same run
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// A threshold, such as 'lookup.p99<5ms' or 'missing<1'; may be repeated
    #[arg(long = "slo")]
    pub(crate) slo: Vec<String>,
    /// The share of the requests that may fail, such as 0.5% [default: 0.1%, or the scenario's]
    #[arg(long, value_parser = parse_share)]
    pub(crate) error_budget: Option<f64>,
}

impl Scenario {
    /// Parses a scenario; `name` is for the error.
    ///
    /// # Errors
    /// One line: the position in the TOML, or the limit that is exceeded.
    pub(crate) fn parse(name: &str, text: &str) -> Result<Self, Error> {
        let scenario: Self = toml::from_str(text).map_err(|error| {
            let place = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
            let what = error.message().replace('\n', " ");
            Error(format!(
                "scenario {name}, line {place}: {what}; see loadgen/scenarios/ for examples"
            ))
        })?;
        scenario.check(name)?;
        Ok(scenario)
    }

    /// Applies the command line's changes and checks the limits again.
    ///
    /// # Errors
    /// When a limit is exceeded.
    pub(crate) fn with_overrides(mut self, name: &str, changes: &Overrides) -> Result<Self, Error> {
        if let Some(scale) = changes.scale {
            if !(scale > 0.0 && scale <= 100.0) {
                return fail(format!("--scale {scale}: give a factor above 0, at most 100"));
            }
            self.scale(scale);
            self.about.push_str(&format!(" (at scale {scale})"));
        }
        if let Some(duration) = changes.duration {
            self.set_duration(duration);
        }
        if let Some(seed) = changes.seed {
            self.seed = seed;
        }
        self.slo.extend(changes.slo.iter().cloned());
        self.error_budget = changes.error_budget.unwrap_or(self.error_budget);
        self.check(name)?;
        Ok(self)
    }

    /// Producers of all groups, the probes among them.
    pub(crate) fn producers(&self) -> usize {
        self.nsqds.iter().map(|group| group.count).sum::<usize>()
            + self.probes.as_ref().map_or(0, |probes| probes.count)
    }

    /// Checks the limits.
    ///
    /// # Errors
    /// One line: the limit that is exceeded.
    pub(crate) fn check(&self, name: &str) -> Result<(), Error> {
        let own: usize =
            self.nsqds.iter().filter(|g| g.own).map(|g| g.count.saturating_mul(g.topics)).sum();
        let http_clients: usize = self.consumers.iter().map(|group| group.count).sum::<usize>()
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
                self.duration.0 > MAX_DURATION || self.duration.0 < MIN_DURATION,
                "duration: at least 100ms, at most 1h",
            ),
            (
                self.producers() + http_clients > MAX_ACTORS,
                "at most 200,000 actors; lower a count or --scale",
            ),
            (own + self.topics.count > MAX_TOPICS, "at most 2,000,000 topics; lower topics.count"),
            (self.topics.count + own == 0, "topics.count: at least one topic"),
            (shares, "nsqds.topics is more than topics.count; raise topics.count"),
            (
                self.closed.as_ref().is_some_and(|c| {
                    c.depth == 0
                        || c.connections == 0
                        || c.connections.saturating_mul(c.depth) > 1_000_000
                }),
                "closed: connections and depth at least 1, connections × depth at most 1,000,000",
            ),
            (
                bad_rate,
                "arrivals: at least one connection, and rate points [\"0s\", 100.0] in order",
            ),
        ];
        match wrong.iter().chain(&self.ranges()).find(|(broken, _)| *broken) {
            Some((_, remedy)) => fail(format!("scenario {name}: {remedy}")),
            None => Ok(()),
        }
    }

    /// Values out of their ranges.
    fn ranges(&self) -> [(bool, &'static str); 7] {
        [
            (!(0.0..=1.0).contains(&self.error_budget), "error_budget: from 0.0 to 1.0"),
            (
                self.admin.as_ref().is_some_and(|admin| !(0.001..=1e6).contains(&admin.rate)),
                "admin.rate: from 0.001 to 1,000,000",
            ),
            (
                self.probes.as_ref().is_some_and(|p| p.every.0.is_zero() || p.stay.0.is_zero())
                    || self.watch.as_ref().is_some_and(|watch| watch.every.0.is_zero()),
                "probes.every, probes.stay and watch.every: above 0",
            ),
            (
                self.consumers
                    .iter()
                    .any(|g| !(0.0..=1.0).contains(&g.jitter) || !(0.0..=1.0).contains(&g.fresh)),
                "consumers.jitter and consumers.fresh: from 0.0 to 1.0",
            ),
            (!(0.0..=10.0).contains(&self.topics.skew), "topics.skew: from 0.0 to 10.0"),
            (
                self.nsqds.iter().any(|g| g.ping.0 < Duration::from_millis(100)),
                "nsqds.ping: at least 100ms",
            ),
            (
                self.consumers.iter().any(|g| g.poll.0 < Duration::from_millis(1)),
                "consumers.poll: at least 1ms",
            ),
        ]
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
            [&mut hostile.garbage, &mut hostile.slowloris, &mut hostile.never_reading]
                .into_iter()
                .for_each(scaled);
        }
    }

    fn set_duration(&mut self, duration: Duration) {
        let factor = duration.as_secs_f64() / self.duration.0.as_secs_f64();
        let scaled_time = |span: &mut HumanDuration| span.0 = span.0.mul_f64(factor);
        self.duration = HumanDuration(duration);
        for group in &mut self.nsqds {
            [&mut group.arrive, &mut group.leave].into_iter().flatten().for_each(scaled_time);
            [&mut group.over, &mut group.leave_over].into_iter().for_each(scaled_time);
            if let Some(roll) = &mut group.roll {
                [&mut roll.every, &mut roll.down].into_iter().for_each(scaled_time);
            }
        }
        let rates = self.arrivals.iter_mut().flat_map(|group| &mut group.rate);
        rates.for_each(|(at, _)| scaled_time(at));
        if let Some(restart) = &mut self.restart {
            [&mut restart.at, &mut restart.down].into_iter().for_each(scaled_time);
        }
    }
}

fn one() -> u64 {
    1
}
fn thousandth() -> f64 {
    0.001
}
/// A share such as `0.5%`.
fn parse_share(text: &str) -> Result<f64, String> {
    let percent = text.strip_suffix('%').and_then(|digits| digits.trim().parse().ok());
    let percent = percent.filter(|percent| (0.0..=100.0).contains(percent));
    percent.map(|percent: f64| percent / 100.0).ok_or_else(|| "write 0.5%, at most 100%".to_owned())
}
fn hundred() -> u32 {
    100
}
fn third() -> f64 {
    0.3
}
fn seconds<const N: u64>() -> HumanDuration {
    HumanDuration(Duration::from_secs(N))
}
fn ten_millis() -> HumanDuration {
    HumanDuration(Duration::from_millis(10))
}
