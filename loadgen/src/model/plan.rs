//! A run drawn from a scenario and its seed: who registers what, who asks for what, and when.
//! The same scenario and seed give the same plan, whatever the machine.
//!
//! Must not: read a clock; times are offsets from the start of the run or of its main part.

use std::time::Duration;

use super::rng::{Popularity, Rng};
use crate::input::scenario::{Consumers, Nsqds, Scenario};
use crate::num::index;

/// What one nsqd does at a moment of the main part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) at: Duration,
    /// It comes, or its socket is killed.
    pub(crate) up: bool,
}

/// One nsqd.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NsqdPlan {
    /// Topics by index, each once.
    pub(crate) topics: Vec<u32>,
    /// Arrives before the main part, this long after the start of the run.
    pub(crate) setup: Option<Duration>,
    /// What it does in the main part, in order.
    pub(crate) turns: Vec<Turn>,
    pub(crate) ping: Duration,
    /// The first heartbeat after an arrival: a share of `ping`.
    pub(crate) phase: f64,
    pub(crate) recreate: Option<Duration>,
}

/// What an HTTP client asks for, and how often.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Asking {
    /// A consumer of one topic.
    Poll { topic: u32, every: Duration, jitter: f64, first: Duration },
    /// One connection's share of the group `arrivals[group]`; `phase` is its place in the round.
    Rate { group: usize, phase: f64 },
    /// Asks while what it sees is not what is true.
    Watch { topic: u32, every: Duration },
    /// nsqadmin.
    Admin { every: Duration },
}

/// One HTTP client.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AskerPlan {
    pub(crate) asking: Asking,
    /// Opens a connection for each request.
    pub(crate) fresh: bool,
    /// Asks for topics that nobody registers.
    pub(crate) missing: bool,
}

/// A peer that does not play by the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rogue {
    GarbageTcp,
    GarbageHttp,
    DrippingTcp,
    DrippingHttp,
    Deaf,
}

/// Everything a run plays.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) scenario: Scenario,
    /// Who ever registers each topic, by producer id, in order.
    pub(crate) members: Vec<Vec<u32>>,
    pub(crate) watched: Vec<bool>,
    pub(crate) nsqds: Vec<NsqdPlan>,
    pub(crate) askers: Vec<AskerPlan>,
    pub(crate) rogues: Vec<Rogue>,
    /// Connections of a closed loop.
    pub(crate) pumps: usize,
    pub(crate) popularity: Popularity,
}

impl Plan {
    /// Draws the plan of a checked scenario.
    pub(crate) fn draw(scenario: &Scenario) -> Self {
        let shared = scenario.topics.count;
        let mut plan = Self {
            scenario: scenario.clone(),
            members: vec![Vec::new(); shared],
            watched: Vec::new(),
            nsqds: Vec::new(),
            askers: Vec::new(),
            rogues: Vec::new(),
            pumps: scenario.closed.as_ref().map_or(0, |closed| closed.connections),
            popularity: Popularity::new(shared.max(1), scenario.topics.skew),
        };
        let mut rng = Rng::new(scenario.seed, u64::MAX);
        for group in &scenario.nsqds {
            plan.draw_nsqds(group, &mut rng);
        }
        let fleet_topics = plan.members.len();
        plan.draw_probes();
        plan.watched = vec![false; plan.members.len()];
        plan.draw_watchers(fleet_topics, &mut rng);
        for group in &scenario.consumers {
            plan.draw_consumers(group, &mut rng);
        }
        plan.draw_arrivals();
        plan.draw_admin();
        plan.draw_rogues();
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

    /// A producer's host name and broadcast address.
    pub(crate) fn host(producer: u32) -> String {
        format!("nsqd-{producer:07}.fleet")
    }

    /// The producer of a broadcast address that [`Plan::host`] made.
    pub(crate) fn producer(host: &[u8]) -> Option<u32> {
        let digits = host.strip_prefix(b"nsqd-")?.strip_suffix(b".fleet")?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    }

    /// Nsqds that have to be complete before the main part begins.
    pub(crate) fn setup_nsqds(&self) -> usize {
        self.nsqds.iter().filter(|nsqd| nsqd.setup.is_some()).count()
    }

    /// Sockets that may be open at once.
    pub(crate) fn sockets(&self) -> usize {
        let held = self.askers.iter().filter(|asker| !asker.fresh).count();
        // Those who open a connection per poll are rarely open together, unless a producer goes.
        let fresh = (self.askers.len() - held) / 8;
        self.nsqds.len() + held + fresh + self.rogues.len() + self.pumps
    }

    fn draw_nsqds(&mut self, group: &Nsqds, rng: &mut Rng) {
        for number in 0..group.count {
            let id = index(self.nsqds.len());
            let topics = if group.own {
                self.own_topics(group.topics)
            } else {
                self.shared(group.topics, rng)
            };
            for topic in &topics {
                self.members[*topic as usize].push(id);
            }
            let share = number as f64 / group.count as f64;
            let arrival = group.over.0.mul_f64(share);
            self.nsqds.push(NsqdPlan {
                topics,
                setup: group.arrive.is_none().then_some(arrival),
                turns: turns(group, number, share, self.scenario.duration.0),
                ping: group.ping.0,
                phase: rng.unit(),
                recreate: group.recreate.map(|span| span.0),
            });
        }
    }

    fn own_topics(&mut self, count: usize) -> Vec<u32> {
        let first = self.members.len();
        self.members.resize(first + count, Vec::new());
        (first..first + count).map(index).collect()
    }

    /// Distinct shared topics by popularity; when luck repeats itself, the next free one.
    fn shared(&self, count: usize, rng: &mut Rng) -> Vec<u32> {
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

    /// Probes stay and stay away by turns; each starts at another moment of that round.
    fn draw_probes(&mut self) {
        let Some(probes) = self.scenario.probes.clone() else { return };
        for number in 0..probes.count {
            let id = index(self.nsqds.len());
            let topics = self.own_topics(1);
            self.members[topics[0] as usize].push(id);
            let first = probes.stay.0.mul_f64(number as f64 / probes.count as f64);
            let moments = (0..).map(|round| first + probes.stay.0 * round);
            let turns = moments
                .take_while(|at| *at < self.scenario.duration.0)
                .zip([true, false].into_iter().cycle())
                .map(|(at, up)| Turn { at, up })
                .collect();
            let (ping, phase) = (Duration::from_secs(15), 1.0);
            self.nsqds.push(NsqdPlan { topics, setup: None, turns, ping, phase, recreate: None });
        }
    }

    fn draw_watchers(&mut self, fleet_topics: usize, rng: &mut Rng) {
        if let Some(watch) = self.scenario.watch.clone() {
            let count = watch.topics.min(fleet_topics);
            let (step, first) =
                (fleet_topics / count.max(1), rng.below(fleet_topics / count.max(1)));
            (0..count).for_each(|number| self.watch(first + number * step, watch.every.0));
        }
        if let Some(probes) = self.scenario.probes.clone() {
            (fleet_topics..self.members.len()).for_each(|topic| self.watch(topic, probes.every.0));
        }
    }

    fn watch(&mut self, topic: usize, every: Duration) {
        self.watched[topic] = true;
        let asking = Asking::Watch { topic: index(topic), every };
        self.askers.push(AskerPlan { asking, fresh: false, missing: false });
    }

    fn draw_consumers(&mut self, group: &Consumers, rng: &mut Rng) {
        for number in 0..group.count {
            let asking = Asking::Poll {
                topic: index(self.popularity.pick(rng)),
                every: group.poll.0,
                jitter: group.jitter.clamp(0.0, 1.0),
                first: group.poll.0.mul_f64(rng.unit()),
            };
            let fresh = (number as f64 + 0.5) / (group.count as f64) < group.fresh;
            self.askers.push(AskerPlan { asking, fresh, missing: group.missing });
        }
    }

    fn draw_arrivals(&mut self) {
        for (number, group) in self.scenario.arrivals.iter().enumerate() {
            for lane in 0..group.connections {
                let phase = lane as f64 / group.connections as f64;
                let asking = Asking::Rate { group: number, phase };
                self.askers.push(AskerPlan { asking, fresh: false, missing: group.missing });
            }
        }
    }

    fn draw_admin(&mut self) {
        let Some(admin) = &self.scenario.admin else { return };
        if admin.rate > 0.0 {
            let asking = Asking::Admin { every: Duration::from_secs_f64(1.0 / admin.rate) };
            self.askers.push(AskerPlan { asking, fresh: false, missing: false });
        }
    }

    fn draw_rogues(&mut self) {
        let Some(hostile) = &self.scenario.hostile else { return };
        let pair = |count: usize, tcp, http| {
            (0..count).map(move |number| if number % 2 == 0 { tcp } else { http })
        };
        self.rogues.extend(pair(hostile.garbage, Rogue::GarbageTcp, Rogue::GarbageHttp));
        self.rogues.extend(pair(hostile.dripping, Rogue::DrippingTcp, Rogue::DrippingHttp));
        self.rogues.extend(pair(hostile.deaf, Rogue::Deaf, Rogue::Deaf));
    }
}

/// What nsqd number `number` of a group does in the main part.
fn turns(group: &Nsqds, number: usize, share: f64, end: Duration) -> Vec<Turn> {
    let mut turns = Vec::new();
    if let Some(arrive) = group.arrive {
        turns.push(Turn { at: arrive.0 + group.over.0.mul_f64(share), up: true });
    }
    if let Some(roll) = &group.roll {
        let at = roll.every.0.saturating_mul(index(number));
        turns.push(Turn { at, up: false });
        turns.push(Turn { at: at + roll.down.0, up: true });
    }
    if let Some(leave) = group.leave {
        turns.push(Turn { at: leave.0 + group.leave_over.0.mul_f64(share), up: false });
    }
    turns.retain(|turn| turn.at < end);
    turns.sort_by_key(|turn| turn.at);
    turns
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::scenario::Overrides;
    use crate::input::shipped;

    #[test]
    fn the_same_seed_gives_the_same_plan_and_another_seed_another() {
        for (name, _) in shipped::ALL {
            let draw = |seed| {
                let changes =
                    Overrides { scale: Some(0.02), seed: Some(seed), ..Overrides::default() };
                Plan::draw(&shipped::load(name).expect(name).with(name, &changes).expect(name))
            };
            let (one, same, other) = (draw(1), draw(1), draw(2));
            assert_eq!((&one.nsqds, &one.askers), (&same.nsqds, &same.askers), "{name}");
            assert_ne!((&one.nsqds, &one.askers), (&other.nsqds, &other.askers), "{name}");
        }
    }

    #[test]
    fn a_host_names_its_producer() {
        assert_eq!(Plan::producer(Plan::host(70_123).as_bytes()), Some(70_123));
        assert_eq!(Plan::producer(b"nsqd-1.elsewhere"), None);
        assert_eq!(Plan::producer(b"nsqd--1.fleet"), None);
    }

    #[test]
    fn members_are_in_order_and_pick_each_topic_once() {
        let plan = Plan::draw(&shipped::load("steady").expect("shipped"));
        assert!(plan.members.iter().all(|members| members.is_sorted_by(|a, b| a < b)));
        let registrations: usize = plan.members.iter().map(Vec::len).sum();
        assert_eq!(registrations, plan.nsqds.iter().map(|nsqd| nsqd.topics.len()).sum::<usize>());
    }
}
