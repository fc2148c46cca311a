//! The oracle: what the actors have registered, and whether the answer to a lookup or a listing
//! agrees with it.
//!
//! Every registration has four times: REGISTER sent, OK read, from when it may be gone (UNREGISTER
//! sent, socket killed, or the last answered command before a connection broke), from when it must
//! be gone. A response describes the target at some time between the sending of its request and its
//! receipt. So a producer must be listed if it was registered throughout, must not be listed if it
//! was gone throughout, and both are correct if the request overlaps a change. The nodes are kept
//! like the producers of one more topic: IDENTIFY is their REGISTER. Topics and channels are names
//! (`names`): they stay when their producers leave.
//!
//! Must not: know a protocol, a socket or a clock. Any thread may call it; one lock per topic.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::names::{Name, Names};
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

/// The missing findings of one answer that can still be excused, and one more if it has others.
type OpenFindings = Arc<AtomicU32>;

/// A missing finding that is taken back if the producer's connection proves to have been broken.
#[derive(Debug)]
struct Excusable {
    producer: u32,
    received: Timestamp,
    answer: OpenFindings,
}

/// What a broken connection takes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Excused {
    pub(crate) findings: u64,
    /// Answers that have no other finding.
    pub(crate) answers: u64,
}

/// From where an nsqd last connected, and until when its earlier connection may be shown.
#[derive(Clone, Copy, Debug)]
struct Remote {
    address: Option<SocketAddr>,
    previous_gone: Timestamp,
}

/// The registrations of one topic.
#[derive(Debug)]
struct Topic {
    /// The producers that ever register it, by id, in order.
    producers: Vec<u32>,
    registrations: Vec<Registration>,
    excusable: Vec<Excusable>,
    names: Names,
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
#[derive(Clone, Debug, Default)]
pub(crate) struct Findings {
    /// Producers that must be listed and are not.
    pub(crate) missing: u32,
    /// Producers that must be gone and are listed.
    pub(crate) stale: u32,
    /// Producers that never registered this topic, or are listed twice.
    pub(crate) extra: u32,
    /// Other faults of the answer.
    pub(crate) garbled: u32,
    /// The longest time that a listed producer had been gone, tolerated or not.
    pub(crate) stalest: Duration,
    /// It lists exactly the producers that are registered now.
    pub(crate) up_to_date: bool,
    /// REGISTER sent → listed for the first time.
    pub(crate) appeared: Vec<Duration>,
    /// Killed → not listed for the first time.
    pub(crate) vanished: Vec<Duration>,
    /// Set by the first missing finding that can be excused.
    open: Option<OpenFindings>,
    excusable: u32,
}

impl Findings {
    /// So many faults that concern no producer.
    pub(crate) fn garbled(number: u32) -> Self {
        Self { garbled: number, ..Self::default() }
    }

    /// Whether the answer is wrong. Called once, when its check is complete: what broken connections
    /// excuse from then on makes it right.
    pub(crate) fn is_wrong(&self) -> bool {
        let all = self.missing + self.stale + self.extra + self.garbled;
        match &self.open {
            // This entry stood for the check itself.
            Some(open) if all == self.excusable => open.fetch_sub(1, Ordering::AcqRel) > 1,
            _ => all > 0,
        }
    }

    fn missing(&mut self, producer: u32, received: Timestamp, excusable: &mut Vec<Excusable>) {
        self.missing += 1;
        if excusable.len() < MAX_EXCUSABLE {
            self.excusable += 1;
            let answer = Arc::clone(self.open.get_or_insert_with(|| Arc::new(AtomicU32::new(1))));
            answer.fetch_add(1, Ordering::AcqRel);
            excusable.push(Excusable { producer, received, answer });
        }
    }
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
    /// The topics, and last the nodes.
    topics: Vec<Mutex<Topic>>,
    /// By nsqd.
    remotes: Vec<Mutex<Remote>>,
    /// nsqadmin's own topics.
    admin: Mutex<Vec<(u32, Name)>>,
    /// How long a killed producer may still be listed.
    max_staleness: Duration,
}

impl Oracle {
    /// Nothing is registered; `producers[t]` are the producers that ever register topic `t`, which
    /// has so many channels. There are `nsqds` of them.
    pub(crate) fn new(
        producers: &[Vec<u32>],
        channels: usize,
        nsqds: usize,
        max_staleness: Duration,
    ) -> Self {
        let topic = |producers: Vec<u32>, channels| {
            let registrations = vec![NEVER_REGISTERED; producers.len()];
            let names = Names::new(channels);
            Mutex::new(Topic { producers, registrations, excusable: Vec::new(), names })
        };
        let mut topics: Vec<_> = producers.iter().map(|all| topic(all.clone(), channels)).collect();
        topics.push(topic((0..crate::num::index(nsqds)).collect(), 0));
        let remote = || Mutex::new(Remote { address: None, previous_gone: LONG_AGO });
        let remotes = (0..nsqds).map(|_| remote()).collect();
        Self { topics, remotes, admin: Mutex::default(), max_staleness }
    }

    /// The number under which the nodes are kept, as if they were the producers of a topic.
    pub(crate) fn nodes(&self) -> u32 {
        crate::num::index(self.topics.len() - 1)
    }

    /// `producer` has connected from that address, which is unknown if the target may see another.
    pub(crate) fn connected(&self, producer: u32, address: Option<SocketAddr>, now: Timestamp) {
        let previous_gone = now + self.max_staleness;
        let mut remote = self.remote(producer);
        let first = remote.address.is_none();
        *remote = Remote { address, previous_gone: if first { LONG_AGO } else { previous_gone } };
    }

    /// Whether an answer to a request sent then may show this remote address of a producer.
    pub(crate) fn is_remote(&self, producer: u32, shown: SocketAddr, sent: Timestamp) -> bool {
        let Remote { address, previous_gone } = *self.remote(producer);
        address.is_none_or(|address| address == shown) || sent < previous_gone
    }

    fn remote(&self, producer: u32) -> MutexGuard<'_, Remote> {
        self.remotes[producer as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `change` with the names of a topic.
    pub(crate) fn names<T>(&self, topic: u32, change: impl FnOnce(&mut Names) -> T) -> T {
        change(&mut self.topic(topic).names)
    }

    /// Calls `change` with nsqadmin's own topics, by number.
    pub(crate) fn admin<T>(&self, change: impl FnOnce(&mut Vec<(u32, Name)>) -> T) -> T {
        change(&mut self.admin.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The number of topics.
    pub(crate) fn topics(&self) -> u32 {
        self.nodes()
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
    ) -> Excused {
        let max_staleness = self.max_staleness;
        let mut topic = self.topic(topic);
        let Ok(slot) = topic.producers.binary_search(&producer) else {
            return Excused::default();
        };
        let entry = &mut topic.registrations[slot];
        if entry.is_active() {
            entry.end(last_answered.max(entry.sent), now + max_staleness, true);
        }
        let from = entry.may_be_gone;
        let mut excused = Excused::default();
        topic.excusable.retain(|finding| {
            let stays = finding.producer != producer || finding.received < from;
            if !stays {
                excused.findings += 1;
                let last = finding.answer.fetch_sub(1, Ordering::AcqRel) == 1;
                excused.answers += u64::from(last);
            }
            stays
        });
        excused
    }

    /// The target is about to be killed, or has just been: until they are made again, registrations and
    /// names may be listed or not. Both are told, since what is acknowledged between them is lost.
    pub(crate) fn target_killed(&self, now: Timestamp) {
        for topic in &self.topics {
            let mut topic = topic.lock().unwrap_or_else(PoisonError::into_inner);
            topic.names.target_killed(now);
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
        let Topic { producers, registrations, excusable, .. } = &mut *topic;
        let mut known = 0;
        let mut duplicates_tolerated = false;
        for (producer, entry) in producers.iter().zip(registrations.iter_mut()) {
            let is_listed = listed.contains(*producer);
            known += u32::from(is_listed);
            found.up_to_date &= is_listed == entry.is_active();
            duplicates_tolerated |= sent < entry.previous_gone;
            observe(entry, is_listed, window, &mut found);
            if !is_listed && entry.must_be_listed(window) {
                found.missing(*producer, received, excusable);
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

impl Oracle {
    /// Checks whether one producer is listed in a topic, for an answer that lists topics by producer.
    pub(crate) fn check_one(
        &self,
        window: LookupWindow,
        producer: u32,
        is_listed: bool,
        found: &mut Findings,
    ) {
        let mut topic = self.topic(window.topic);
        let Ok(slot) = topic.producers.binary_search(&producer) else {
            found.extra += u32::from(is_listed);
            return;
        };
        let entry = topic.registrations[slot];
        if !is_listed && entry.must_be_listed(window) {
            found.missing(producer, window.received, &mut topic.excusable);
        }
        found.stale += u32::from(is_listed && entry.must_not_be_listed(window));
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
mod tests;
