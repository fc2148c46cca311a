//! The oracle: what the actors know they registered, and whether an answer agrees with it.
//!
//! Every registration is a life with four moments: REGISTER sent, OK read, taken back (UNREGISTER
//! sent, socket killed, or the last command known to be served before a link broke), surely gone.
//! An answer whose request was sent at `asked` and read at `got` was true at some moment between.
//! So a producer must be shown when it was there throughout, must not be when it was away
//! throughout, and may show either when the request overlaps a change.
//!
//! Must not: know a protocol, a socket or a clock. Any thread may ask; one lock per topic.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use musterd::clock::Timestamp;

/// Later than anything: it has not happened.
const NOT_YET: Timestamp = Timestamp::NEVER;
/// Earlier than anything.
const EVER: Timestamp = Timestamp::from_unix_nanos(i64::MIN);
/// Missing producers remembered per topic until the run ends; further ones are counted at once.
const SUSPECTS: usize = 4096;

/// One producer's registration of one topic, its latest life.
#[derive(Clone, Copy, Debug)]
struct Life {
    /// REGISTER was sent.
    sent: Timestamp,
    /// Its OK was read: every later lookup shows it.
    known: Timestamp,
    /// From here on it may be gone.
    leaving: Timestamp,
    /// From here on it must be.
    gone: Timestamp,
    /// The life before this one must be gone from here on.
    former: Timestamp,
    /// A lookup has shown this life, or its end.
    observed: bool,
}

const UNBORN: Life =
    Life { sent: NOT_YET, known: NOT_YET, leaving: EVER, gone: EVER, former: EVER, observed: true };

impl Life {
    fn wanted(&self) -> bool {
        self.leaving == NOT_YET
    }

    fn must_show(&self, asked: Timestamp, got: Timestamp) -> bool {
        self.known <= asked && got < self.leaving
    }

    fn must_not_show(&self, asked: Timestamp, got: Timestamp) -> bool {
        self.gone <= asked || (got < self.sent && self.former <= asked)
    }
}

/// What is true of one topic.
#[derive(Debug, Default)]
struct Topic {
    /// The producers that register it at any time, by id, in order.
    members: Vec<u32>,
    lives: Vec<Life>,
    /// Missing so far, excused when the link turns out to have been broken: member, `got`.
    suspects: Vec<(u32, Timestamp)>,
}

/// A lookup's answer with the moments between which it was true.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    pub(crate) topic: u32,
    pub(crate) asked: Timestamp,
    pub(crate) got: Timestamp,
    /// Changes from here on are measured: how long until an answer shows them.
    pub(crate) measured: Timestamp,
}

/// What an answer's check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Judgement {
    /// Producers that had to be there and are not.
    pub(crate) missing: u32,
    /// Producers that were gone for longer than the bound and are shown.
    pub(crate) stale: u32,
    /// Producers that never registered this topic, or are listed twice.
    pub(crate) extra: u32,
    /// The longest that a shown producer had been gone, tolerated or not.
    pub(crate) stalest: Duration,
    /// It shows exactly what the actors want to be true now.
    pub(crate) settled: bool,
    /// REGISTER sent → shown for the first time.
    pub(crate) appeared: Vec<Duration>,
    /// Killed → missing for the first time.
    pub(crate) vanished: Vec<Duration>,
}

/// Which producers one answer lists. A thread has one and reuses it.
#[derive(Debug)]
pub(crate) struct Shown {
    stamps: Vec<u32>,
    stamp: u32,
    distinct: u32,
    /// Listed again, or unknown to this run.
    odd: u32,
}

impl Shown {
    /// Room for producers `0..producers`.
    pub(crate) fn new(producers: usize) -> Self {
        Self { stamps: vec![0; producers], stamp: 0, distinct: 0, odd: 0 }
    }

    /// Forgets the last answer.
    pub(crate) fn clear(&mut self) {
        if self.stamp == u32::MAX {
            self.stamps.fill(0);
            self.stamp = 0;
        }
        self.stamp += 1;
        (self.distinct, self.odd) = (0, 0);
    }

    /// The answer lists this producer; `None`: one that is not of this run.
    pub(crate) fn add(&mut self, producer: Option<u32>) {
        match producer.and_then(|id| self.stamps.get_mut(id as usize)) {
            Some(stamp) if *stamp != self.stamp => {
                *stamp = self.stamp;
                self.distinct += 1;
            }
            _ => self.odd += 1,
        }
    }

    fn has(&self, producer: u32) -> bool {
        self.stamps.get(producer as usize) == Some(&self.stamp)
    }
}

/// What is true of all topics.
#[derive(Debug)]
pub(crate) struct Truth {
    topics: Vec<Mutex<Topic>>,
    /// How long a killed producer may still be shown.
    bound: Duration,
}

impl Truth {
    /// Nothing is registered; `members[t]` are the producers that ever register topic `t`.
    pub(crate) fn new(members: &[Vec<u32>], bound: Duration) -> Self {
        let topic = |members: &Vec<u32>| {
            let lives = vec![UNBORN; members.len()];
            Mutex::new(Topic { members: members.clone(), lives, suspects: Vec::new() })
        };
        Self { topics: members.iter().map(topic).collect(), bound }
    }

    fn topic(&self, topic: u32) -> MutexGuard<'_, Topic> {
        self.topics[topic as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `producer` is about to send the first REGISTER of `topic` on a new link, or again.
    pub(crate) fn registering(&self, topic: u32, producer: u32, now: Timestamp) {
        let bound = self.bound;
        self.change(topic, producer, |life| {
            let former = match (life.sent, life.gone) {
                (NOT_YET, _) => EVER,
                (_, NOT_YET) => now + bound,
                (_, gone) => gone,
            };
            *life = Life {
                sent: now,
                known: NOT_YET,
                leaving: NOT_YET,
                gone: NOT_YET,
                former,
                observed: false,
            };
        });
    }

    /// `producer` has read the OK of its first REGISTER of `topic`.
    pub(crate) fn registered(&self, topic: u32, producer: u32, now: Timestamp) {
        self.change(topic, producer, |life| {
            if life.wanted() {
                life.known = now;
            }
        });
    }

    /// `producer` is about to send UNREGISTER; [`Truth::unregistered`] ends the doubt.
    pub(crate) fn unregistering(&self, topic: u32, producer: u32, now: Timestamp) {
        self.change(topic, producer, |life| {
            (life.leaving, life.gone, life.observed) = (now, NOT_YET, false);
        });
    }

    /// `producer` has read the OK of its UNREGISTER.
    pub(crate) fn unregistered(&self, topic: u32, producer: u32, now: Timestamp) {
        self.change(topic, producer, |life| life.gone = now);
    }

    /// `producer` is about to close its socket.
    pub(crate) fn killed(&self, topic: u32, producer: u32, now: Timestamp) {
        let bound = self.bound;
        self.change(topic, producer, |life| {
            if life.wanted() {
                (life.leaving, life.gone, life.observed) = (now, now + bound, false);
            }
        });
    }

    /// The link broke without being asked to; the last command that was surely served was sent
    /// at `served`. Returns how many missing findings that excuses.
    pub(crate) fn broken(
        &self,
        topic: u32,
        producer: u32,
        served: Timestamp,
        now: Timestamp,
    ) -> u64 {
        let bound = self.bound;
        let mut topic = self.topic(topic);
        let Ok(slot) = topic.members.binary_search(&producer) else { return 0 };
        let life = &mut topic.lives[slot];
        if life.wanted() {
            (life.leaving, life.gone, life.observed) = (served.max(life.sent), now + bound, true);
        }
        let from = life.leaving;
        let before = topic.suspects.len();
        topic.suspects.retain(|(member, got)| *member != producer || *got < from);
        (before - topic.suspects.len()) as u64
    }

    /// The daemon is about to be killed: nothing is certain until it is registered again.
    pub(crate) fn target_killed(&self, now: Timestamp) {
        for topic in &self.topics {
            let mut topic = topic.lock().unwrap_or_else(PoisonError::into_inner);
            for life in topic.lives.iter_mut().filter(|life| life.sent != NOT_YET) {
                life.leaving = life.leaving.min(now);
                life.gone = NOT_YET;
                life.observed = true;
            }
        }
    }

    fn change(&self, topic: u32, producer: u32, change: impl FnOnce(&mut Life)) {
        let mut topic = self.topic(topic);
        if let Ok(slot) = topic.members.binary_search(&producer) {
            change(&mut topic.lives[slot]);
        }
    }

    /// Checks an answer that lists `shown`. Findings that a broken link may yet excuse are
    /// counted now and taken back by [`Truth::broken`].
    pub(crate) fn judge(&self, answer: Answer, shown: &Shown) -> Judgement {
        let Answer { asked, got, .. } = answer;
        let mut found = Judgement { settled: true, ..Judgement::default() };
        let mut topic = self.topic(answer.topic);
        let Topic { members, lives, suspects } = &mut *topic;
        let mut ours = 0;
        let mut duplicates_tolerated = false;
        for (member, life) in members.iter().zip(lives.iter_mut()) {
            let here = shown.has(*member);
            ours += u32::from(here);
            found.settled &= here == life.wanted();
            duplicates_tolerated |= asked < life.former;
            observe(life, here, answer, &mut found);
            if !here && life.must_show(asked, got) {
                found.missing += 1;
                if suspects.len() < SUSPECTS {
                    suspects.push((*member, got));
                }
            } else if here {
                let left = if life.wanted() { NOT_YET } else { life.leaving };
                found.stalest = found.stalest.max(asked.since(left));
                found.stale += u32::from(life.must_not_show(asked, got));
            }
        }
        found.extra = shown.distinct - ours + if duplicates_tolerated { 0 } else { shown.odd };
        found
    }
}

/// Notes the first answer that shows a life or its end.
fn observe(life: &mut Life, here: bool, answer: Answer, found: &mut Judgement) {
    if life.observed || here != life.wanted() {
        return;
    }
    if life.wanted() && answer.measured <= life.sent {
        found.appeared.push(answer.got.since(life.sent));
        life.observed = true;
    } else if !life.wanted() && answer.measured <= life.leaving && answer.asked >= life.leaving {
        found.vanished.push(answer.got.since(life.leaving));
        life.observed = true;
    }
}
