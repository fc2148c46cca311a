//! The names of topics and channels: from when each may be there, must be there, and must be gone.
//!
//! A name stays when its producers leave, so only nsqadmin's own topics are ever gone.
//!
//! Must not: know a producer.

use std::collections::BTreeSet;

use crate::clock::Timestamp;

/// It has not happened.
const NOT_YET: Timestamp = Timestamp::NEVER;
/// Earlier than anything.
const LONG_AGO: Timestamp = Timestamp::from_unix_nanos(i64::MIN);

/// One name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name {
    may_be_there: Timestamp,
    must_be_there: Timestamp,
    may_be_gone: Timestamp,
    must_be_gone: Timestamp,
}

impl Name {
    /// It was never made.
    pub(crate) const UNUSED: Self = Self {
        may_be_there: NOT_YET,
        must_be_there: NOT_YET,
        may_be_gone: NOT_YET,
        must_be_gone: NOT_YET,
    };
    /// Nobody knows whether it is there.
    pub(crate) const UNKNOWN: Self = Self { may_be_there: LONG_AGO, ..Self::UNUSED };

    /// A command that makes it was sent, and answered if `acknowledged`.
    pub(crate) fn make(&mut self, acknowledged: bool, now: Timestamp) {
        let time = if acknowledged { &mut self.must_be_there } else { &mut self.may_be_there };
        *time = now.min(*time);
    }

    /// A command that removes it was sent, and answered if `acknowledged`.
    pub(crate) fn remove(&mut self, acknowledged: bool, now: Timestamp) {
        let time = if acknowledged { &mut self.must_be_gone } else { &mut self.may_be_gone };
        *time = now;
    }

    /// How many producers of names are missing and extra if an answer to a request sent and received
    /// then shows it so many times.
    pub(crate) fn check(&self, sent: Timestamp, received: Timestamp, shown: u32) -> (u32, u32) {
        let must_be = self.must_be_there <= sent && received < self.may_be_gone;
        let may_be = self.may_be_there <= received && sent < self.must_be_gone;
        (u32::from(must_be && shown == 0), shown.saturating_sub(u32::from(may_be)))
    }
}

/// The names of one topic: its own and those of its channels.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    topic: Name,
    channels: Vec<Name>,
    /// The target was last killed; what was sent before is lost.
    killed: Option<Timestamp>,
}

impl Names {
    /// A topic that nobody has registered, which will have so many channels.
    pub(crate) fn new(channels: usize) -> Self {
        Self { topic: Name::UNUSED, channels: vec![Name::UNUSED; channels], killed: None }
    }

    /// It was there before the run.
    pub(crate) fn inherit(&mut self) {
        self.topic = Name::UNKNOWN;
        self.channels.fill(Name::UNKNOWN);
    }

    /// REGISTER of a channel, or of the topic alone, is sent.
    pub(crate) fn registering(&mut self, channel: Option<usize>, now: Timestamp) {
        self.each(channel, |name| name.make(false, now));
    }

    /// That REGISTER, sent at `sent`, was answered.
    pub(crate) fn registered(&mut self, channel: Option<usize>, sent: Timestamp, now: Timestamp) {
        if self.killed.is_none_or(|killed| killed < sent) {
            self.each(channel, |name| name.make(true, now));
        }
    }

    /// The target was killed: the names may be there or not until they are made again.
    pub(crate) fn target_killed(&mut self, now: Timestamp) {
        self.killed = Some(now);
        self.topic.must_be_there = NOT_YET;
        self.channels.iter_mut().for_each(|name| name.must_be_there = NOT_YET);
    }

    fn each(&mut self, channel: Option<usize>, change: impl Fn(&mut Name)) {
        change(&mut self.topic);
        if let Some(name) = channel.and_then(|channel| self.channels.get_mut(channel)) {
            change(name);
        }
    }

    /// Whether the topic, shown so many times, is missing or extra.
    pub(crate) fn check_topic(
        &self,
        sent: Timestamp,
        received: Timestamp,
        shown: u32,
    ) -> (u32, u32) {
        self.topic.check(sent, received, shown)
    }

    /// How many of its channels are missing and extra, if they are shown so many times.
    pub(crate) fn check_channels(
        &self,
        sent: Timestamp,
        received: Timestamp,
        shown: &[u32],
    ) -> (u32, u32) {
        let times = shown.iter().copied().chain(std::iter::repeat(0));
        let each = self.channels.iter().zip(times).map(|(name, n)| name.check(sent, received, n));
        each.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }
}

/// The names that the target had before the run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inherited {
    pub(crate) topics: BTreeSet<String>,
    pub(crate) channels: BTreeSet<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_unix_nanos(second)
    }

    #[test]
    fn name_must_be_there_once_acknowledged_and_may_be_once_sent() {
        let mut name = Name::UNUSED;
        assert_eq!(name.check(at(1), at(2), 1), (0, 1), "nobody made it");
        name.make(false, at(10));
        name.make(true, at(12));
        for (sent, received, shown, want) in [
            (8, 9, 1, (0, 1)),
            (9, 10, 1, (0, 0)),
            (11, 13, 0, (0, 0)), // overlaps the acknowledgement
            (12, 13, 0, (1, 0)),
            (12, 13, 1, (0, 0)),
            (12, 13, 2, (0, 1)), // twice
        ] {
            assert_eq!(name.check(at(sent), at(received), shown), want, "{sent}..{received}");
        }
        name.make(true, at(20));
        assert_eq!(name.check(at(12), at(13), 0), (1, 0), "the first time counts");
        name.remove(false, at(30));
        assert_eq!(name.check(at(29), at(31), 0), (0, 0));
        assert_eq!(name.check(at(40), at(41), 1), (0, 0), "not acknowledged");
        name.remove(true, at(42));
        assert_eq!(name.check(at(42), at(43), 1), (0, 1));
        assert_eq!(Name::UNKNOWN.check(at(1), at(2), 1), (0, 0));
        assert_eq!(Name::UNKNOWN.check(at(1), at(2), 0), (0, 0));
    }

    #[test]
    fn killed_target_may_have_lost_what_was_sent_before() {
        let mut names = Names::new(2);
        names.registering(Some(0), at(1));
        names.registered(Some(0), at(1), at(2));
        assert_eq!(names.check_topic(at(3), at(4), 0), (1, 0));
        assert_eq!(names.check_channels(at(3), at(4), &[0, 1]), (1, 1));
        names.registering(Some(1), at(5));
        names.target_killed(at(6));
        // The old process has answered, but what it knew is gone.
        names.registered(Some(1), at(5), at(7));
        assert_eq!(names.check_channels(at(8), at(9), &[0, 0]), (0, 0));
        names.registered(Some(1), at(10), at(11));
        assert_eq!(names.check_channels(at(12), at(13), &[0, 0]), (1, 0));
    }
}
