//! The plan of a run, generated from a scenario and its seed: which nsqd registers which topics,
//! which client sends which requests, and when. The same scenario and seed give the same plan on
//! every machine.
//!
//! Must not: read a clock; times are offsets from the start of the run or of its main part.

use std::time::Duration;

use super::rng::{Popularity, Rng};
use crate::input::scenario::{Consumers, Nsqds, Scenario};
use crate::num::index;

/// A start or a kill of one nsqd in the main part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Transition {
    /// After the start of the main part.
    pub(crate) at: Duration,
    /// It starts; otherwise it is killed.
    pub(crate) start: bool,
}

/// One nsqd.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NsqdPlan {
    /// Topics by index, each once.
    pub(crate) topics: Vec<u32>,
    /// Starts before the main part, this long after the start of the run.
    pub(crate) setup: Option<Duration>,
    /// Its starts and kills in the main part, in order.
    pub(crate) transitions: Vec<Transition>,
    /// The interval of its heartbeats.
    pub(crate) ping: Duration,
    /// The first heartbeat after a start, as a share of `ping`.
    pub(crate) phase: f64,
    /// How often it deletes a topic or registers it again.
    pub(crate) recreate: Option<Duration>,
}

/// The requests of an HTTP client, and how often it sends them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Workload {
    /// A consumer of one topic.
    Poll { topic: u32, every: Duration, jitter: f64, first: Duration },
    /// One connection of the group `arrivals[group]`; `phase` is its share of the interval by which
    /// it starts later than the first one.
    Rate { group: usize, phase: f64 },
    /// Polls a topic until the response matches the oracle, after every change.
    Watch { topic: u32, every: Duration },
    /// nsqadmin.
    Admin { every: Duration },
}

/// One HTTP client.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HttpClientPlan {
    pub(crate) workload: Workload,
    /// Opens a connection for each request.
    pub(crate) fresh: bool,
    /// Asks for topics that no nsqd registers.
    pub(crate) missing: bool,
}

/// How a misbehaving peer behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misbehaviour {
    /// Sends random bytes.
    GarbageTcp,
    GarbageHttp,
    /// Sends one byte a second.
    SlowlorisTcp,
    SlowlorisHttp,
    /// Sends requests and never reads the responses.
    NeverReads,
}

/// The plan of a run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) scenario: Scenario,
    /// By topic, the producers that ever register it, by id, in order.
    pub(crate) producers: Vec<Vec<u32>>,
    /// By topic, whether it is watched.
    pub(crate) watched: Vec<bool>,
    pub(crate) nsqds: Vec<NsqdPlan>,
    pub(crate) http_clients: Vec<HttpClientPlan>,
    pub(crate) misbehaving: Vec<Misbehaviour>,
    /// Connections of a closed loop.
    pub(crate) closed_loops: usize,
    pub(crate) popularity: Popularity,
}

impl Plan {
    /// Generates the plan of a checked scenario.
    pub(crate) fn generate(scenario: &Scenario) -> Self {
        let shared = scenario.topics.count;
        let mut plan = Self {
            scenario: scenario.clone(),
            producers: vec![Vec::new(); shared],
            watched: Vec::new(),
            nsqds: Vec::new(),
            http_clients: Vec::new(),
            misbehaving: Vec::new(),
            closed_loops: scenario.closed.as_ref().map_or(0, |closed| closed.connections),
            popularity: Popularity::new(shared.max(1), scenario.topics.skew),
        };
        let mut rng = Rng::new(scenario.seed, u64::MAX);
        for group in &scenario.nsqds {
            plan.add_nsqds(group, &mut rng);
        }
        let fleet_topics = plan.producers.len();
        plan.add_probes();
        plan.watched = vec![false; plan.producers.len()];
        plan.add_watchers(fleet_topics, &mut rng);
        for group in &scenario.consumers {
            plan.add_consumers(group, &mut rng);
        }
        plan.add_arrivals();
        plan.add_admin();
        plan.add_misbehaving();
        plan
    }

    /// A topic's name on the wire.
    pub(crate) fn topic(topic: u32) -> String {
        format!("topic-{topic:07}")
    }

    /// The name of a topic's channel number `channel`.
    pub(crate) fn channel(channel: usize) -> String {
        format!("channel-{channel}")
    }

    /// The name of nsqadmin's own topic of that number.
    pub(crate) fn admin_topic(number: u32) -> String {
        format!("admin-{number:07}")
    }

    /// The number of a name that [`Plan::topic`] made.
    pub(crate) fn topic_number(name: &str) -> Option<u32> {
        number(name.strip_prefix("topic-")?, 7)
    }

    /// The number of a name that [`Plan::channel`] made.
    pub(crate) fn channel_number(name: &str) -> Option<usize> {
        number(name.strip_prefix("channel-")?, 1).map(|number| number as usize)
    }

    /// The number of a name that [`Plan::admin_topic`] made.
    pub(crate) fn admin_number(name: &str) -> Option<u32> {
        number(name.strip_prefix("admin-")?, 7)
    }

    /// A producer's host name and broadcast address.
    pub(crate) fn host(producer: u32) -> String {
        format!("nsqd-{producer:07}.fleet")
    }

    /// The producer of a broadcast address that [`Plan::host`] made.
    pub(crate) fn producer(host: &str) -> Option<u32> {
        number(host.strip_prefix("nsqd-")?.strip_suffix(".fleet")?, 7)
    }

    /// How many nsqds must be complete before the main part begins.
    pub(crate) fn setup_nsqds(&self) -> usize {
        self.nsqds.iter().filter(|nsqd| nsqd.setup.is_some()).count()
    }

    /// Sockets that may be open at once.
    pub(crate) fn sockets(&self) -> usize {
        let keep_alive = self.http_clients.iter().filter(|client| !client.fresh).count();
        // Clients that open a connection for each request rarely do so together, unless a producer
        // is removed.
        let fresh = (self.http_clients.len() - keep_alive) / 8;
        self.nsqds.len() + keep_alive + fresh + self.misbehaving.len() + self.closed_loops
    }

    fn add_nsqds(&mut self, group: &Nsqds, rng: &mut Rng) {
        for number in 0..group.count {
            let id = index(self.nsqds.len());
            let (own, count) = (group.own, group.topics);
            let topics = if own { self.own_topics(count) } else { self.shared_topics(count, rng) };
            for topic in &topics {
                self.producers[*topic as usize].push(id);
            }
            let share = number as f64 / group.count as f64;
            let arrival = group.over.0.mul_f64(share);
            self.nsqds.push(NsqdPlan {
                topics,
                setup: group.arrive.is_none().then_some(arrival),
                transitions: transitions(group, number, share, self.scenario.duration.0),
                ping: group.ping.0,
                phase: rng.unit(),
                recreate: group.recreate.map(|span| span.0),
            });
        }
    }

    fn own_topics(&mut self, count: usize) -> Vec<u32> {
        let first = self.producers.len();
        self.producers.resize(first + count, Vec::new());
        (first..first + count).map(index).collect()
    }

    /// Distinct shared topics by popularity; when the same one is picked again, the next free one.
    fn shared_topics(&self, count: usize, rng: &mut Rng) -> Vec<u32> {
        let all = self.scenario.topics.count;
        let mut topics = Vec::with_capacity(count);
        while topics.len() < count {
            let mut pick = self.popularity.pick(rng);
            while topics.contains(&index(pick)) {
                pick = (pick + 1) % all;
            }
            topics.push(index(pick));
        }
        topics
    }

    /// Each probe is started and killed in turn, every `stay`; the first starts of the probes are
    /// spread evenly over that time.
    fn add_probes(&mut self) {
        let Some(probes) = self.scenario.probes.clone() else { return };
        for number in 0..probes.count {
            let id = index(self.nsqds.len());
            let topics = self.own_topics(1);
            self.producers[topics[0] as usize].push(id);
            let first = probes.stay.0.mul_f64(number as f64 / probes.count as f64);
            let times = (0..).map(|round| first + probes.stay.0 * round);
            let transitions = times
                .take_while(|at| *at < self.scenario.duration.0)
                .zip([true, false].into_iter().cycle())
                .map(|(at, start)| Transition { at, start })
                .collect();
            let (ping, phase, setup, recreate) = (Duration::from_secs(15), 1.0, None, None);
            self.nsqds.push(NsqdPlan { topics, setup, transitions, ping, phase, recreate });
        }
    }

    fn add_watchers(&mut self, fleet_topics: usize, rng: &mut Rng) {
        if let Some(watch) = self.scenario.watch.clone() {
            let count = watch.topics.min(fleet_topics);
            let step = fleet_topics / count.max(1);
            let first = rng.below(step);
            (0..count).for_each(|number| self.watch(first + number * step, watch.every.0));
        }
        if let Some(probes) = self.scenario.probes.clone() {
            let probed = fleet_topics..self.producers.len();
            probed.for_each(|topic| self.watch(topic, probes.every.0));
        }
    }

    fn watch(&mut self, topic: usize, every: Duration) {
        self.watched[topic] = true;
        let workload = Workload::Watch { topic: index(topic), every };
        self.add_client(workload, false, false);
    }

    fn add_client(&mut self, workload: Workload, fresh: bool, missing: bool) {
        self.http_clients.push(HttpClientPlan { workload, fresh, missing });
    }

    fn add_consumers(&mut self, group: &Consumers, rng: &mut Rng) {
        for number in 0..group.count {
            let workload = Workload::Poll {
                topic: index(self.popularity.pick(rng)),
                every: group.poll.0,
                jitter: group.jitter.clamp(0.0, 1.0),
                first: group.poll.0.mul_f64(rng.unit()),
            };
            let fresh = (number as f64 + 0.5) / (group.count as f64) < group.fresh;
            self.add_client(workload, fresh, group.missing);
        }
    }

    fn add_arrivals(&mut self) {
        for (number, group) in self.scenario.arrivals.clone().iter().enumerate() {
            for connection in 0..group.connections {
                let phase = connection as f64 / group.connections as f64;
                self.add_client(Workload::Rate { group: number, phase }, false, group.missing);
            }
        }
    }

    fn add_admin(&mut self) {
        let Some(admin) = &self.scenario.admin else { return };
        if admin.rate > 0.0 {
            let workload = Workload::Admin { every: Duration::from_secs_f64(1.0 / admin.rate) };
            self.add_client(workload, false, false);
        }
    }

    fn add_misbehaving(&mut self) {
        let Some(hostile) = &self.scenario.hostile else { return };
        for (count, kinds) in [
            (hostile.garbage, [Misbehaviour::GarbageTcp, Misbehaviour::GarbageHttp]),
            (hostile.slowloris, [Misbehaviour::SlowlorisTcp, Misbehaviour::SlowlorisHttp]),
            (hostile.never_reading, [Misbehaviour::NeverReads; 2]),
        ] {
            self.misbehaving.extend(kinds.into_iter().cycle().take(count));
        }
    }
}

/// A number as the names have it: with leading zeros up to `width` digits, and no others.
fn number(digits: &str, width: usize) -> Option<u32> {
    let long = digits.len() > width;
    let right = digits.len() >= width && !(long && digits.starts_with('0'));
    let digits = digits.bytes().all(|byte| byte.is_ascii_digit()).then_some(digits)?;
    right.then(|| digits.parse().ok()).flatten()
}

/// The starts and kills of nsqd number `number` of a group in the main part.
fn transitions(group: &Nsqds, number: usize, share: f64, end: Duration) -> Vec<Transition> {
    let mut transitions = Vec::new();
    if let Some(arrive) = group.arrive {
        transitions.push(Transition { at: arrive.0 + group.over.0.mul_f64(share), start: true });
    }
    if let Some(roll) = &group.roll {
        let at = roll.every.0.saturating_mul(index(number));
        transitions.push(Transition { at, start: false });
        transitions.push(Transition { at: at + roll.down.0, start: true });
    }
    if let Some(leave) = group.leave {
        let at = leave.0 + group.leave_over.0.mul_f64(share);
        transitions.push(Transition { at, start: false });
    }
    transitions.retain(|transition| transition.at < end);
    transitions.sort_by_key(|transition| transition.at);
    transitions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::builtin;
    use crate::input::scenario::Overrides;

    #[test]
    fn same_seed_gives_the_same_plan_and_another_seed_another() {
        for (name, _) in builtin::ALL {
            let generate = |seed| {
                let changes =
                    Overrides { scale: Some(0.02), seed: Some(seed), ..Overrides::default() };
                Plan::generate(
                    &builtin::load(name).expect(name).with_overrides(name, &changes).expect(name),
                )
            };
            let (one, same, other) = (generate(1), generate(1), generate(2));
            assert_eq!(
                (&one.nsqds, &one.http_clients),
                (&same.nsqds, &same.http_clients),
                "{name}"
            );
            assert_ne!(
                (&one.nsqds, &one.http_clients),
                (&other.nsqds, &other.http_clients),
                "{name}"
            );
        }
    }

    #[test]
    fn host_name_gives_the_producer() {
        assert_eq!(Plan::producer(&Plan::host(70_123)), Some(70_123));
        assert_eq!(Plan::producer(&Plan::host(12_345_678)), Some(12_345_678));
        let wrong = ["nsqd-1.elsewhere", "nsqd-0000001.elsewhere", "nsqd--000001.fleet"];
        for host in wrong.into_iter().chain(["nsqd-1.fleet", "nsqd-00000001.fleet"]) {
            assert_eq!(Plan::producer(host), None, "{host}");
        }
    }

    #[test]
    fn producers_are_in_order_and_register_each_topic_once() {
        let plan = Plan::generate(&builtin::load("steady").expect("shipped"));
        assert!(plan.producers.iter().all(|producers| producers.is_sorted_by(|a, b| a < b)));
        let registrations: usize = plan.producers.iter().map(Vec::len).sum();
        assert_eq!(registrations, plan.nsqds.iter().map(|nsqd| nsqd.topics.len()).sum::<usize>());
    }
}
