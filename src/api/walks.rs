//! The pieces that long responses are made of: walks over all topics, over the channels of a topic,
//! over producers.
//!
//! A walk does little in each step and holds no snapshot between two: it remembers names, and looks
//! them up again. What is there from its first step to its last is visited once; what comes or goes
//! meanwhile may be visited or not. Must not: know requests or responses. Any thread.

use std::sync::Arc;

use crate::cow_set::CowSet;
use crate::protocol::names::{ChannelName, TopicName};
use crate::snapshots::{Channel, Producer, Snapshots, TopicCursor};
use crate::work::Work;

/// Channels or producers visited in one step.
const AT_ONCE: usize = 32;
/// Units of [`Work`] of a step; each item costs one more.
const STEP: u32 = 4;

/// Which topics are walked.
#[derive(Debug)]
pub(super) enum Topics {
    /// All of them: the names found and not given yet, and where the walk goes on behind them.
    All(Vec<TopicName>, Option<TopicCursor>),
    /// One, until it is given.
    One(Option<TopicName>),
}

impl Topics {
    pub(super) fn all() -> Self {
        Self::All(Vec::new(), Some(TopicCursor::default()))
    }

    pub(super) fn one(name: TopicName) -> Self {
        Self::One(Some(name))
    }

    /// The next topic. Of few topics in large tables, the work may be over before one is found.
    pub(super) fn next(&mut self, snapshots: &Snapshots, work: &mut Work) -> Next {
        let (names, cursor) = match self {
            Self::One(name) => return name.take().map_or(Next::End, Next::Topic),
            Self::All(names, cursor) => (names, cursor),
        };
        loop {
            if let Some(name) = names.pop() {
                return Next::Topic(name);
            }
            let Some(at) = cursor else { return Next::End };
            work.spend(STEP);
            if work.is_over() {
                return Next::Later;
            }
            if !snapshots.names_from(at, names) {
                *cursor = None;
            }
        }
    }
}

/// What [`Topics::next`] gives.
pub(super) enum Next {
    Topic(TopicName),
    /// None now: the work is over.
    Later,
    End,
}

/// A topic whose channels are walked.
#[derive(Debug)]
pub(super) struct ChannelsOf {
    pub(super) topic: TopicName,
    last: Option<ChannelName>,
    /// Nothing is behind it.
    is_over: bool,
}

impl ChannelsOf {
    pub(super) fn new(topic: TopicName) -> Self {
        Self { topic, last: None, is_over: false }
    }

    /// Visits the next channels, in the order of their names; whether that was the last of them.
    pub(super) fn step(
        &mut self,
        snapshots: &Snapshots,
        work: &mut Work,
        mut visit: impl FnMut(&Channel),
    ) -> bool {
        if self.is_over {
            return true;
        }
        let (last, mut count) = (self.last.take(), 0);
        snapshots.topic(self.topic.as_str(), |found| {
            let Some((topic, _)) = found else { return };
            for channel in topic.channels_after(last.as_ref()).take(AT_ONCE) {
                visit(channel);
                count += 1;
                if count == AT_ONCE {
                    self.last = Some(channel.name().clone());
                }
            }
        });
        spend(work, count);
        self.is_over = count < AT_ONCE;
        self.is_over
    }
}

/// The producers of a topic or a channel, or the connected nsqds, that are walked.
#[derive(Debug, Default)]
pub(super) struct Producers {
    /// The place of the last one in the order of such sets.
    last: usize,
}

impl Producers {
    /// Visits the next of `set`, which may have changed since the last step; whether that was the
    /// last of them.
    pub(super) fn step(
        &mut self,
        set: &CowSet<Arc<Producer>>,
        work: &mut Work,
        mut visit: impl FnMut(&Arc<Producer>),
    ) -> bool {
        let (last, mut count) = (self.last, 0);
        let behind = |producer: &Arc<Producer>| Arc::as_ptr(producer).addr().cmp(&(last + 1));
        for producer in set.iter_from(behind).take(AT_ONCE) {
            visit(producer);
            self.last = Arc::as_ptr(producer).addr();
            count += 1;
        }
        spend(work, count);
        count < AT_ONCE
    }
}

/// Spends the work of a step that has visited so many.
fn spend(work: &mut Work, count: usize) {
    work.spend(STEP + u32::try_from(count).unwrap_or(u32::MAX));
}
