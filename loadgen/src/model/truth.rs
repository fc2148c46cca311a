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
    /// Listed again.
    twice: u32,
    /// Not of this run.
    foreign: u32,
}

impl Shown {
    /// Room for producers `0..producers`.
    pub(crate) fn new(producers: usize) -> Self {
        Self { stamps: vec![0; producers], stamp: 0, distinct: 0, twice: 0, foreign: 0 }
    }

    /// Forgets the last answer.
    pub(crate) fn clear(&mut self) {
        if self.stamp == u32::MAX {
            self.stamps.fill(0);
            self.stamp = 0;
        }
        self.stamp += 1;
        (self.distinct, self.twice, self.foreign) = (0, 0, 0);
    }

    /// The answer lists this producer; `None`: one that is not of this run.
    pub(crate) fn add(&mut self, producer: Option<u32>) {
        match producer.and_then(|id| self.stamps.get_mut(id as usize)) {
            Some(stamp) if *stamp != self.stamp => {
                *stamp = self.stamp;
                self.distinct += 1;
            }
            Some(_) => self.twice += 1,
            None => self.foreign += 1,
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
        found.extra = shown.distinct - ours + shown.foreign;
        if !duplicates_tolerated {
            found.extra += shown.twice;
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_unix_nanos(second * 1_000_000_000)
    }

    /// Producers 1 and 2 share topic 0; the bound is 5 s. Producer 1 registers: sent at 10, OK at 12.
    fn registered() -> Truth {
        let truth = Truth::new(&[vec![1, 2]], Duration::from_secs(5));
        truth.registering(0, 1, at(10));
        truth.registered(0, 1, at(12));
        truth
    }

    /// Judges an answer asked for and got at these seconds that lists `hosts`; what it finds, as
    /// `missing`, `stale`, `extra`.
    fn judge(truth: &Truth, asked: i64, got: i64, hosts: &[u32]) -> [u32; 3] {
        let mut shown = Shown::new(4);
        shown.clear();
        hosts.iter().for_each(|host| shown.add((*host < 4).then_some(*host)));
        let answer = Answer { topic: 0, asked: at(asked), got: at(got), measured: at(0) };
        let found = truth.judge(answer, &shown);
        [found.missing, found.stale, found.extra]
    }

    #[test]
    fn a_registration_may_show_once_sent_and_must_once_acknowledged() {
        let truth = registered();
        for (asked, got, shows, want) in [
            (8, 9, false, [0, 0, 0]),
            (8, 9, true, [0, 1, 0]),    // before REGISTER was sent
            (9, 10, true, [0, 0, 0]),   // overlaps the sending
            (11, 13, false, [0, 0, 0]), // overlaps the acknowledgement
            (11, 13, true, [0, 0, 0]),
            (12, 13, false, [1, 0, 0]), // acknowledged before the question
            (12, 13, true, [0, 0, 0]),
        ] {
            let hosts: &[u32] = if shows { &[1] } else { &[] };
            assert_eq!(judge(&truth, asked, got, hosts), want, "{asked}..{got} shows {shows}");
        }
    }

    #[test]
    fn a_killed_producer_may_show_until_the_bound() {
        let truth = registered();
        truth.killed(0, 1, at(20));
        assert_eq!(judge(&truth, 18, 19, &[]), [1, 0, 0]);
        assert_eq!(judge(&truth, 19, 21, &[]), [0, 0, 0]);
        assert_eq!(judge(&truth, 24, 24, &[1]), [0, 0, 0]);
        assert_eq!(judge(&truth, 25, 26, &[1]), [0, 1, 0]);
        assert_eq!(judge(&truth, 25, 26, &[]), [0, 0, 0]);
    }

    #[test]
    fn an_unregistered_producer_is_gone_once_acknowledged() {
        let truth = registered();
        truth.unregistering(0, 1, at(20));
        assert_eq!(judge(&truth, 30, 31, &[1]), [0, 0, 0]);
        truth.unregistered(0, 1, at(22));
        assert_eq!(judge(&truth, 21, 23, &[1]), [0, 0, 0]);
        assert_eq!(judge(&truth, 22, 23, &[1]), [0, 1, 0]);
        truth.registering(0, 1, at(40));
        assert_eq!(judge(&truth, 38, 39, &[1]), [0, 1, 0]);
        assert_eq!(judge(&truth, 39, 40, &[1]), [0, 0, 0]);
    }

    #[test]
    fn strangers_and_duplicates_are_extra_unless_a_former_life_may_linger() {
        let truth = registered();
        assert_eq!(judge(&truth, 12, 13, &[1, 3]), [0, 0, 1]); // never registers this topic
        assert_eq!(judge(&truth, 12, 13, &[1, 9]), [0, 0, 1]); // no producer of this run
        assert_eq!(judge(&truth, 12, 13, &[1, 1]), [0, 0, 1]);
        truth.killed(0, 1, at(20));
        truth.registering(0, 1, at(21));
        truth.registered(0, 1, at(22));
        assert_eq!(judge(&truth, 23, 23, &[1, 1]), [0, 0, 0]);
        assert_eq!(judge(&truth, 25, 26, &[1, 1]), [0, 0, 1]);
    }

    #[test]
    fn a_broken_link_excuses_what_was_missing_since_the_last_served_command() {
        let truth = registered();
        assert_eq!(judge(&truth, 14, 15, &[]), [1, 0, 0]);
        assert_eq!(judge(&truth, 30, 31, &[]), [1, 0, 0]);
        // The heartbeat sent at 27 was answered, so it was there until then.
        assert_eq!(truth.broken(0, 1, at(27), at(40)), 1);
        assert_eq!(judge(&truth, 41, 42, &[]), [0, 0, 0]);
        assert_eq!(judge(&truth, 45, 46, &[1]), [0, 1, 0]);
    }

    #[test]
    fn after_the_target_was_killed_nothing_is_certain_until_registered_again() {
        let truth = registered();
        truth.target_killed(at(20));
        assert_eq!(judge(&truth, 21, 22, &[]), [0, 0, 0]);
        assert_eq!(judge(&truth, 60, 61, &[1]), [0, 0, 0]);
        truth.registering(0, 1, at(62));
        truth.registered(0, 1, at(63));
        assert_eq!(judge(&truth, 64, 65, &[]), [1, 0, 0]);
    }

    #[test]
    fn the_first_answer_that_shows_a_change_is_measured_once() {
        let truth = registered();
        let look = |asked: i64, hosts: &[u32]| {
            let mut shown = Shown::new(4);
            shown.clear();
            hosts.iter().for_each(|host| shown.add(Some(*host)));
            let answer = Answer { topic: 0, asked: at(asked), got: at(asked), measured: at(0) };
            let found = truth.judge(answer, &shown);
            let whole =
                |spans: Vec<Duration>| spans.iter().map(Duration::as_secs).collect::<Vec<_>>();
            (whole(found.appeared), whole(found.vanished), found.settled)
        };
        assert_eq!(look(11, &[]), (vec![], vec![], false));
        assert_eq!(look(13, &[1]), (vec![3], vec![], true));
        assert_eq!(look(14, &[1]), (vec![], vec![], true));
        truth.killed(0, 1, at(20));
        assert_eq!(look(22, &[1]), (vec![], vec![], false));
        assert_eq!(look(24, &[]), (vec![], vec![4], true));
    }
}
