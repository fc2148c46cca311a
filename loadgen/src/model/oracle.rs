//! The oracle: what the actors have registered, and whether the response to a lookup agrees with it.
//!
//! Every registration has four times: REGISTER sent, OK read, from when it may be gone (UNREGISTER
//! sent, socket killed, or the last answered command before a connection broke), from when it must
//! be gone. A response describes the target at some time between the sending of its request and its
//! receipt. So a producer must be listed if it was registered throughout, must not be listed if it
//! was gone throughout, and both are correct if the request overlaps a change.
//!
//! Must not: know a protocol, a socket or a clock. Any thread may call it; one lock per topic.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;

/// Later than anything: it has not happened.
const NOT_YET: Timestamp = Timestamp::NEVER;
/// Earlier than anything.
const LONG_AGO: Timestamp = Timestamp::from_unix_nanos(i64::MIN);
/// Missing findings per topic that can still be excused; further ones stay counted.
const MAX_EXCUSABLE: usize = 4096;

/// One producer's latest registration of one topic.
#[derive(Clone, Copy, Debug)]
struct Registration {
    /// REGISTER was sent.
    sent: Timestamp,
    /// Its OK was read: every later lookup must list it.
    acknowledged: Timestamp,
    /// From here on it may be gone.
    may_be_gone: Timestamp,
    /// From here on it must be gone.
    must_be_gone: Timestamp,
    /// From here on the registration before this one must be gone.
    previous_gone: Timestamp,
    /// The first response that shows this registration, or its end, was seen.
    observed: bool,
}

const NEVER_REGISTERED: Registration = Registration {
    sent: NOT_YET,
    acknowledged: NOT_YET,
    may_be_gone: LONG_AGO,
    must_be_gone: LONG_AGO,
    previous_gone: LONG_AGO,
    observed: true,
};

impl Registration {
    fn end(&mut self, may_be_gone: Timestamp, must_be_gone: Timestamp, observed: bool) {
        *self = Self { may_be_gone, must_be_gone, observed, ..*self };
    }

    fn is_active(&self) -> bool {
        self.may_be_gone == NOT_YET
    }

    fn must_be_listed(&self, window: LookupWindow) -> bool {
        self.acknowledged <= window.sent && window.received < self.may_be_gone
    }

    fn must_not_be_listed(&self, window: LookupWindow) -> bool {
        self.must_be_gone <= window.sent
            || (window.received < self.sent && self.previous_gone <= window.sent)
    }
}

/// The registrations of one topic.
#[derive(Debug, Default)]
struct Topic {
    /// The producers that ever register it, by id, in order.
    producers: Vec<u32>,
    registrations: Vec<Registration>,
    /// Missing findings that are taken back if the producer's connection proves to have been broken:
    /// producer, time of receipt.
    excusable: Vec<(u32, Timestamp)>,
}

/// A lookup of one topic, and the times between which its response was current.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LookupWindow {
    pub(crate) topic: u32,
    pub(crate) sent: Timestamp,
    pub(crate) received: Timestamp,
    /// For changes from here on, the delay until a response shows them is measured.
    pub(crate) measure_from: Timestamp,
}

/// What the check of one response found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// Producers that must be listed and are not.
    pub(crate) missing: u32,
    /// Producers that must be gone and are listed.
    pub(crate) stale: u32,
    /// Producers that never registered this topic, or are listed twice.
    pub(crate) extra: u32,
    /// The longest time that a listed producer had been gone, tolerated or not.
    pub(crate) stalest: Duration,
    /// It lists exactly the producers that are registered now.
    pub(crate) up_to_date: bool,
    /// REGISTER sent → listed for the first time.
    pub(crate) appeared: Vec<Duration>,
    /// Killed → not listed for the first time.
    pub(crate) vanished: Vec<Duration>,
}

/// Which producers one response lists. Each thread reuses one, so that a check allocates nothing.
#[derive(Debug)]
pub(crate) struct ListedProducers {
    /// By producer, the number of the last response that listed it.
    listed_in: Vec<u32>,
    /// The number of this response.
    number: u32,
    distinct: u32,
    duplicates: u32,
    /// Producers that are not of this run.
    unknown: u32,
}

impl ListedProducers {
    /// For producers `0..producers`.
    pub(crate) fn new(producers: usize) -> Self {
        Self { listed_in: vec![0; producers], number: 0, distinct: 0, duplicates: 0, unknown: 0 }
    }

    /// Starts the next response.
    pub(crate) fn clear(&mut self) {
        if self.number == u32::MAX {
            self.listed_in.fill(0);
            self.number = 0;
        }
        self.number += 1;
        (self.distinct, self.duplicates, self.unknown) = (0, 0, 0);
    }

    /// The response lists this producer; `None` for one that is not of this run.
    pub(crate) fn add(&mut self, producer: Option<u32>) {
        match producer.and_then(|id| self.listed_in.get_mut(id as usize)) {
            Some(last) if *last != self.number => {
                *last = self.number;
                self.distinct += 1;
            }
            Some(_) => self.duplicates += 1,
            None => self.unknown += 1,
        }
    }

    fn contains(&self, producer: u32) -> bool {
        self.listed_in.get(producer as usize) == Some(&self.number)
    }
}

/// The registrations of all topics.
#[derive(Debug)]
pub(crate) struct Oracle {
    topics: Vec<Mutex<Topic>>,
    /// How long a killed producer may still be listed.
    max_staleness: Duration,
}

impl Oracle {
    /// Nothing is registered; `producers[t]` are the producers that ever register topic `t`.
    pub(crate) fn new(producers: &[Vec<u32>], max_staleness: Duration) -> Self {
        let topic = |producers: &Vec<u32>| {
            let registrations = vec![NEVER_REGISTERED; producers.len()];
            Mutex::new(Topic { producers: producers.clone(), registrations, excusable: Vec::new() })
        };
        Self { topics: producers.iter().map(topic).collect(), max_staleness }
    }

    fn topic(&self, topic: u32) -> MutexGuard<'_, Topic> {
        self.topics[topic as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `producer` is about to send the first REGISTER of `topic` on a new connection, or again.
    pub(crate) fn registering(&self, topic: u32, producer: u32, now: Timestamp) {
        let max_staleness = self.max_staleness;
        self.change(topic, producer, |entry| {
            let previous_gone = match (entry.sent, entry.must_be_gone) {
                (NOT_YET, _) => LONG_AGO,
                (_, NOT_YET) => now + max_staleness,
                (_, gone) => gone,
            };
            *entry = Registration { sent: now, previous_gone, ..NEVER_REGISTERED };
            entry.end(NOT_YET, NOT_YET, false);
        });
    }

    /// `producer` has read the OK of its first REGISTER of `topic`.
    pub(crate) fn registered(&self, topic: u32, producer: u32, now: Timestamp) {
        self.change(topic, producer, |entry| {
            if entry.is_active() {
                entry.acknowledged = now;
            }
        });
    }

    /// `producer` is about to send UNREGISTER: both answers are correct until
    /// [`Oracle::unregistered`].
    pub(crate) fn unregistering(&self, topic: u32, producer: u32, now: Timestamp) {
        self.change(topic, producer, |entry| {
            entry.end(now, NOT_YET, false);
        });
    }

    /// `producer` has read the OK of its UNREGISTER.
    pub(crate) fn unregistered(&self, topic: u32, producer: u32, now: Timestamp) {
        self.change(topic, producer, |entry| entry.must_be_gone = now);
    }

    /// `producer` is about to close its socket.
    pub(crate) fn killed(&self, topic: u32, producer: u32, now: Timestamp) {
        let max_staleness = self.max_staleness;
        self.change(topic, producer, |entry| {
            if entry.is_active() {
                entry.end(now, now + max_staleness, false);
            }
        });
    }

    /// The connection broke; the last answered command was sent at `last_answered`. Returns how many
    /// missing findings that excuses.
    pub(crate) fn broken(
        &self,
        topic: u32,
        producer: u32,
        last_answered: Timestamp,
        now: Timestamp,
    ) -> u64 {
        let max_staleness = self.max_staleness;
        let mut topic = self.topic(topic);
        let Ok(slot) = topic.producers.binary_search(&producer) else { return 0 };
        let entry = &mut topic.registrations[slot];
        if entry.is_active() {
            entry.end(last_answered.max(entry.sent), now + max_staleness, true);
        }
        let from = entry.may_be_gone;
        let before = topic.excusable.len();
        topic.excusable.retain(|(other, received)| *other != producer || *received < from);
        (before - topic.excusable.len()) as u64
    }

    /// The target is about to be killed: until they are made again, its registrations may be listed
    /// or not.
    pub(crate) fn target_killed(&self, now: Timestamp) {
        for topic in &self.topics {
            let mut topic = topic.lock().unwrap_or_else(PoisonError::into_inner);
            for entry in topic.registrations.iter_mut().filter(|entry| entry.sent != NOT_YET) {
                entry.end(entry.may_be_gone.min(now), NOT_YET, true);
            }
        }
    }

    fn change(&self, topic: u32, producer: u32, change: impl FnOnce(&mut Registration)) {
        let mut topic = self.topic(topic);
        if let Ok(slot) = topic.producers.binary_search(&producer) {
            change(&mut topic.registrations[slot]);
        }
    }

    /// Checks a response that lists `listed`. Missing findings that a broken connection may still
    /// excuse are counted now and taken back by [`Oracle::broken`].
    pub(crate) fn check(&self, window: LookupWindow, listed: &ListedProducers) -> Findings {
        let LookupWindow { sent, received, .. } = window;
        let mut found = Findings { up_to_date: true, ..Findings::default() };
        let mut topic = self.topic(window.topic);
        let Topic { producers, registrations, excusable } = &mut *topic;
        let mut known = 0;
        let mut duplicates_tolerated = false;
        for (producer, entry) in producers.iter().zip(registrations.iter_mut()) {
            let is_listed = listed.contains(*producer);
            known += u32::from(is_listed);
            found.up_to_date &= is_listed == entry.is_active();
            duplicates_tolerated |= sent < entry.previous_gone;
            observe(entry, is_listed, window, &mut found);
            if !is_listed && entry.must_be_listed(window) {
                found.missing += 1;
                if excusable.len() < MAX_EXCUSABLE {
                    excusable.push((*producer, received));
                }
            } else if is_listed {
                // Of an active entry, `may_be_gone` is later than `sent`: the difference is zero.
                found.stalest = found.stalest.max(sent.since(entry.may_be_gone));
                found.stale += u32::from(entry.must_not_be_listed(window));
            }
        }
        found.extra = listed.distinct - known + listed.unknown;
        if !duplicates_tolerated {
            found.extra += listed.duplicates;
        }
        found
    }
}

/// Measures the delay when this is the first response that shows a registration or its end.
fn observe(entry: &mut Registration, is_listed: bool, window: LookupWindow, found: &mut Findings) {
    if entry.observed || is_listed != entry.is_active() {
        return;
    }
    if entry.is_active() && window.measure_from <= entry.sent {
        found.appeared.push(window.received.since(entry.sent));
        entry.observed = true;
    } else if !entry.is_active()
        && window.measure_from <= entry.may_be_gone
        && window.sent >= entry.may_be_gone
    {
        found.vanished.push(window.received.since(entry.may_be_gone));
        entry.observed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_unix_nanos(second * 1_000_000_000)
    }

    /// Producers 1 and 2 share topic 0; staleness up to 5 s is allowed. Producer 1 registers: sent at 10, OK at 12.
    fn registered() -> Oracle {
        let oracle = Oracle::new(&[vec![1, 2]], Duration::from_secs(5));
        oracle.registering(0, 1, at(10));
        oracle.registered(0, 1, at(12));
        oracle
    }

    /// Checks a response that lists `hosts`, sent and received at these seconds; returns `missing`,
    /// `stale`, `extra`.
    fn check(oracle: &Oracle, sent: i64, received: i64, hosts: &[u32]) -> [u32; 3] {
        let mut listed = ListedProducers::new(4);
        listed.clear();
        hosts.iter().for_each(|host| listed.add((*host < 4).then_some(*host)));
        let window =
            LookupWindow { topic: 0, sent: at(sent), received: at(received), measure_from: at(0) };
        let found = oracle.check(window, &listed);
        [found.missing, found.stale, found.extra]
    }

    #[test]
    fn registration_may_be_listed_once_sent_and_must_be_once_acknowledged() {
        let oracle = registered();
        for (sent, received, lists, want) in [
            (8, 9, false, [0, 0, 0]),
            (8, 9, true, [0, 1, 0]),    // before REGISTER was sent
            (9, 10, true, [0, 0, 0]),   // overlaps the sending
            (11, 13, false, [0, 0, 0]), // overlaps the acknowledgement
            (11, 13, true, [0, 0, 0]),
            (12, 13, false, [1, 0, 0]), // acknowledged before the request
            (12, 13, true, [0, 0, 0]),
        ] {
            let hosts: &[u32] = if lists { &[1] } else { &[] };
            let found = check(&oracle, sent, received, hosts);
            assert_eq!(found, want, "{sent}..{received} lists {lists}");
        }
    }

    #[test]
    fn killed_producer_may_be_listed_for_the_allowed_staleness() {
        let oracle = registered();
        oracle.killed(0, 1, at(20));
        assert_eq!(check(&oracle, 18, 19, &[]), [1, 0, 0]);
        assert_eq!(check(&oracle, 19, 21, &[]), [0, 0, 0]);
        assert_eq!(check(&oracle, 24, 24, &[1]), [0, 0, 0]);
        assert_eq!(check(&oracle, 25, 26, &[1]), [0, 1, 0]);
        assert_eq!(check(&oracle, 25, 26, &[]), [0, 0, 0]);
    }

    #[test]
    fn unregistered_producer_must_be_gone_once_acknowledged() {
        let oracle = registered();
        oracle.unregistering(0, 1, at(20));
        assert_eq!(check(&oracle, 30, 31, &[1]), [0, 0, 0]);
        oracle.unregistered(0, 1, at(22));
        assert_eq!(check(&oracle, 21, 23, &[1]), [0, 0, 0]);
        assert_eq!(check(&oracle, 22, 23, &[1]), [0, 1, 0]);
        oracle.registering(0, 1, at(40));
        assert_eq!(check(&oracle, 38, 39, &[1]), [0, 1, 0]);
        assert_eq!(check(&oracle, 39, 40, &[1]), [0, 0, 0]);
    }

    #[test]
    fn unknown_and_duplicate_producers_are_extra_unless_a_previous_registration_may_remain() {
        let oracle = registered();
        assert_eq!(check(&oracle, 12, 13, &[1, 3]), [0, 0, 1]); // never registers this topic
        assert_eq!(check(&oracle, 12, 13, &[1, 9]), [0, 0, 1]); // no producer of this run
        assert_eq!(check(&oracle, 12, 13, &[1, 1]), [0, 0, 1]);
        oracle.killed(0, 1, at(20));
        oracle.registering(0, 1, at(21));
        oracle.registered(0, 1, at(22));
        assert_eq!(check(&oracle, 23, 23, &[1, 1]), [0, 0, 0]);
        assert_eq!(check(&oracle, 25, 26, &[1, 1]), [0, 0, 1]);
    }

    #[test]
    fn broken_connection_excuses_missing_since_the_last_answered_command() {
        let oracle = registered();
        assert_eq!(check(&oracle, 14, 15, &[]), [1, 0, 0]);
        assert_eq!(check(&oracle, 30, 31, &[]), [1, 0, 0]);
        // The heartbeat sent at 27 was answered, so it was registered until then.
        assert_eq!(oracle.broken(0, 1, at(27), at(40)), 1);
        assert_eq!(check(&oracle, 41, 42, &[]), [0, 0, 0]);
        assert_eq!(check(&oracle, 45, 46, &[1]), [0, 1, 0]);
    }

    #[test]
    fn killed_target_may_list_anything_until_registered_again() {
        let oracle = registered();
        oracle.target_killed(at(20));
        assert_eq!(check(&oracle, 21, 22, &[]), [0, 0, 0]);
        assert_eq!(check(&oracle, 60, 61, &[1]), [0, 0, 0]);
        oracle.registering(0, 1, at(62));
        oracle.registered(0, 1, at(63));
        assert_eq!(check(&oracle, 64, 65, &[]), [1, 0, 0]);
    }

    #[test]
    fn first_response_that_shows_a_change_is_measured_once() {
        let oracle = registered();
        let lookup = |second: i64, hosts: &[u32]| {
            let mut listed = ListedProducers::new(4);
            listed.clear();
            hosts.iter().for_each(|host| listed.add(Some(*host)));
            let (sent, received) = (at(second), at(second));
            let window = LookupWindow { topic: 0, sent, received, measure_from: at(0) };
            let found = oracle.check(window, &listed);
            let whole =
                |spans: Vec<Duration>| spans.iter().map(Duration::as_secs).collect::<Vec<_>>();
            (whole(found.appeared), whole(found.vanished), found.up_to_date)
        };
        assert_eq!(lookup(11, &[]), (vec![], vec![], false));
        assert_eq!(lookup(13, &[1]), (vec![3], vec![], true));
        assert_eq!(lookup(14, &[1]), (vec![], vec![], true));
        oracle.killed(0, 1, at(20));
        assert_eq!(lookup(22, &[1]), (vec![], vec![], false));
        assert_eq!(lookup(24, &[]), (vec![], vec![4], true));
    }
}
