//! The topics of which nsqds that went have left something behind: the topic itself, or channels.
//!
//! NSQ keeps such names. When the registry is full they make room for new ones, the oldest first, and
//! no more of them than what is new needs, once it is in.
//! The queue locks no topic, since its callers have one
//! locked. Must not: walk; remove a name that has producers, or that an HTTP client created. Any
//! thread.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::entry::TopicEntry;
use super::{Client, LimitReached, PendingChanges, RegistrationChange, Registry, Room};
use crate::memory;
use crate::protocol::names::TopicName;

/// How often one REGISTER or one POST removes something to make room: a topic and a channel with their
/// registrations take as much memory as five channels.
const REMOVED_AT_ONCE: usize = 8;
/// Topics in the order in which the first of their names was left behind.
#[derive(Debug, Default)]
pub(super) struct LeftBehind {
    topics: Mutex<Topics>,
    /// Held by who makes room, so that two do not count on the same names.
    making_room: Mutex<()>,
}

#[derive(Debug, Default)]
struct Topics {
    /// The number that was given last.
    last: u64,
    by_number: BTreeMap<u64, TopicName>,
}

/// What names take.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    names: usize,
    bytes: usize,
}

impl Size {
    /// That of a topic, or none, and so many channels.
    fn of(topic: bool, channels: usize) -> Self {
        let topics = usize::from(topic);
        Self {
            names: topics + channels,
            bytes: topics * memory::TOPIC + channels * memory::CHANNEL,
        }
    }

    fn is_covered(self) -> bool {
        self.names == 0 && self.bytes == 0
    }

    /// Subtracts what is removed for it.
    fn cover(&mut self, removed: Self) {
        self.names = self.names.saturating_sub(removed.names);
        self.bytes = self.bytes.saturating_sub(removed.bytes);
    }
}

impl LeftBehind {
    fn topics(&self) -> MutexGuard<'_, Topics> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A name of the topic may have lost or got its producers. Called under the topic's lock.
    #[inline(never)]
    pub(super) fn update(&self, entry: &mut TopicEntry) {
        let is_any = entry.is_left_behind() || entry.first_left_behind().is_some();
        if is_any && entry.left_behind == 0 {
            let mut topics = self.topics();
            topics.last += 1;
            entry.left_behind = topics.last;
            let number = topics.last;
            topics.by_number.insert(number, entry.name.clone());
        } else if !is_any {
            self.remove(entry);
            entry.forget_origins();
        }
    }

    /// The topic is removed, or nothing of it is left behind any longer. Called under its lock.
    pub(super) fn remove(&self, entry: &mut TopicEntry) {
        let number = std::mem::take(&mut entry.left_behind);
        if number > 0 {
            self.topics().by_number.remove(&number);
        }
    }

    /// The `count` oldest, but not the one called `topic`.
    fn oldest_but(&self, topic: &str, count: usize) -> Vec<TopicName> {
        let topics = self.topics();
        let others = topics.by_number.values().filter(|name| name.as_str() != topic);
        others.take(count).cloned().collect()
    }

    /// Whether there is any.
    pub(super) fn is_any(&self) -> bool {
        !self.topics().by_number.is_empty()
    }
}

impl Registry {
    /// Registers what did not fit, if names that nsqds left behind can make room for it.
    #[cold]
    #[inline(never)]
    pub(super) fn register_with_room(
        &self,
        limit: LimitReached,
        changes: &mut PendingChanges,
        client: &mut Client,
        topic: &str,
        channel: Option<&str>,
    ) -> Result<RegistrationChange, LimitReached> {
        let new = client.count_new(topic, channel);
        self.counts.check_registrations(client.registrations(), new, Room::Made)?;
        self.with_room(limit, (topic, channel), new, |room| {
            self.register_if_it_fits(changes, client, topic, channel, room)
        })
    }

    /// Calls `make`, which was refused for `limit` and makes a topic, a channel and so many
    /// registrations, if there are names that nsqds left behind; then those are removed, until there
    /// is as much room as before. `make` must hold no lock when it returns.
    pub(super) fn with_room<T>(
        &self,
        limit: LimitReached,
        (topic, channel): (&str, Option<&str>),
        registrations: usize,
        make: impl FnOnce(Room) -> Result<T, LimitReached>,
    ) -> Result<T, LimitReached> {
        let making_room = &self.left_behind.making_room;
        let _one_at_a_time = making_room.lock().unwrap_or_else(PoisonError::into_inner);
        let mut needed = self.size_of_new(topic, channel);
        needed.bytes += registrations * memory::REGISTRATION;
        if limit == LimitReached::Memory {
            needed.names = 0;
        } else {
            let names = needed.names.saturating_sub(self.counts.free_names());
            needed = Size { names: names.max(1), bytes: 0 };
        }
        if !self.can_make_room(topic, needed) {
            return Err(limit);
        }
        let made = make(Room::Made)?;
        for _ in 0..REMOVED_AT_ONCE {
            let is_more_needed = !needed.is_covered();
            let Some(removed) = is_more_needed.then(|| self.make_room(topic)).flatten() else {
                break;
            };
            needed.cover(removed);
        }
        Ok(made)
    }

    /// Whether so much is left behind, in a few names.
    fn can_make_room(&self, topic: &str, mut needed: Size) -> bool {
        let mut removals = REMOVED_AT_ONCE;
        for oldest in self.left_behind.oldest_but(topic, REMOVED_AT_ONCE) {
            let Some(entry) = self.topics.get(&oldest) else { continue };
            let is_whole = entry.is_left_behind();
            let channels =
                if is_whole { entry.channels } else { entry.count_left_behind(removals) };
            needed.cover(Size::of(is_whole, channels));
            removals = removals.saturating_sub(if is_whole { 1 } else { channels });
            if needed.is_covered() || removals == 0 {
                break;
            }
        }
        needed.is_covered()
    }

    /// What a topic and a channel would add that are not there yet.
    fn size_of_new(&self, topic: &str, channel: Option<&str>) -> Size {
        let entry = self.topics.get(topic);
        let is_new =
            |channel| entry.as_ref().is_none_or(|entry| entry.topic.channel(channel).is_none());
        Size::of(entry.is_none(), usize::from(channel.is_some_and(is_new)))
    }

    /// Removes the topic that nsqds left behind first, or a channel of it if only channels were left
    /// behind; never of `topic`, which is registered. Returns what was removed; none if there is
    /// no such name.
    fn make_room(&self, topic: &str) -> Option<Size> {
        let oldest = self.left_behind.oldest_but(topic, 1).pop()?;
        let mut removed = Size::default();
        self.remove_if(oldest.as_str(), |entry| {
            // An nsqd may have registered it meanwhile.
            if entry.left_behind == 0 {
                return false;
            }
            if entry.is_left_behind() {
                removed = Size::of(true, entry.channels);
                return true;
            }
            if let Some(channel) = entry.first_left_behind() {
                removed = Size::of(false, 1);
                self.remove_channel(entry, channel.as_str(), false);
                entry.publish(&self.snapshots);
                self.left_behind.update(entry);
            }
            false
        });
        self.counts.count_removed(removed.names);
        Some(removed)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::clock::Timestamp;
    use crate::limits;
    use crate::memory::{Memory, Use};
    use crate::protocol::names::{ChannelName, TopicName};
    use crate::protocol::peer_info::PeerInfo;
    use crate::registry::{Capacity, Client, LimitReached, PendingChanges, Registry};
    use crate::snapshots::Snapshots;
    use crate::work::Work;

    const CAPACITY: Capacity = Capacity { registrations: 8, per_nsqd: 8, http_names: 3 };

    /// A registry with nsqds that wait for nothing: each change is committed.
    struct Fixture(Registry);

    impl Fixture {
        fn new(capacity: Capacity) -> Self {
            Self(Registry::new(Arc::new(Snapshots::default()), capacity))
        }

        fn identify(&self) -> Client {
            let info = PeerInfo::sample("", "node");
            let (address, now) = (([127, 0, 0, 1], 1).into(), Timestamp::default());
            let mut changes = PendingChanges::default();
            let client = self.0.identify(&mut changes, address, info, now);
            self.0.commit(&mut changes);
            client
        }

        /// Registers `topic`, or `topic channel`.
        fn register(&self, client: &mut Client, name: &str) -> Result<(), LimitReached> {
            let (topic, channel) = parts(name);
            let mut changes = PendingChanges::default();
            let done = self.0.register(&mut changes, client, topic, channel);
            self.0.commit(&mut changes);
            done.map(drop)
        }

        /// An nsqd that has registered these.
        fn nsqd(&self, names: &[&str]) -> Client {
            let mut client = self.identify();
            names.iter().for_each(|name| self.register(&mut client, name).expect("it fits"));
            client
        }

        fn leave(&self, mut client: Client) {
            let mut changes = PendingChanges::default();
            assert!(self.0.leave(&mut changes, &mut client, &mut Work::unlimited(), |_, _| {}));
            self.0.commit(&mut changes);
        }

        fn create(&self, name: &str) -> Result<(), LimitReached> {
            let (topic, channel) = parts(name);
            let topic = TopicName::new(topic).expect("valid");
            match channel.and_then(ChannelName::new) {
                None => self.0.create_topic(&topic),
                Some(channel) => self.0.create_channel(&topic, &channel),
            }
        }

        /// Checks which names readers see, that they are counted, and how many count as HTTP clients'.
        fn check(&self, names: &[&str], http_names: usize) {
            let mut seen = Vec::new();
            self.0.snapshots().each_topic(|topic, value| {
                seen.push(topic.to_string());
                seen.extend(value.channels().iter().map(|c| format!("{topic} {}", c.name())));
            });
            seen.sort();
            assert_eq!(seen, names);
            assert_eq!(self.0.topics() + self.0.channels(), names.len());
            assert_eq!(self.0.counts.http_names(), http_names, "{names:?}");
        }
    }

    fn parts(name: &str) -> (&str, Option<&str>) {
        name.split_once(' ').map_or((name, None), |(topic, channel)| (topic, Some(channel)))
    }

    #[test]
    fn what_nsqds_left_behind_makes_room_the_oldest_first() {
        let all = Fixture::new(CAPACITY);
        for topic in ["first a", "second", "third b"] {
            all.leave(all.nsqd(&[topic]));
        }
        let mut stays = all.nsqd(&["x", "y", "z"]);
        all.check(&["first", "first a", "second", "third", "third b", "x", "y", "z"], 0);
        assert_eq!(all.0.removed(), 0, "it fits");
        all.register(&mut stays, "new").expect("the first topic makes room");
        all.check(&["new", "second", "third", "third b", "x", "y", "z"], 0);
        // An nsqd has come back: what it has registered is not left behind any longer.
        let back = all.nsqd(&["second"]);
        all.register(&mut stays, "x c").expect("there was room for one");
        all.register(&mut stays, "x d").expect("the third topic makes room");
        all.check(&["new", "second", "x", "x c", "x d", "y", "z"], 0);
        assert_eq!(all.0.removed(), 4);
        drop(back);
    }

    #[test]
    fn what_nsqds_left_behind_makes_room_when_memory_is_short() {
        let memory = Arc::new(Memory::new(Some(2 * limits::MEMORY_RESERVE)));
        let all = Fixture(Fixture::new(Capacity::default()).0.within(memory));
        let mut first = all.identify();
        let mut names = (0..).map(|number| format!("first{number}"));
        assert!(names.any(|name| all.register(&mut first, &name).is_err()));
        all.leave(first);
        let mut second = all.identify();
        for number in 0..10_000 {
            all.register(&mut second, &format!("second{number}")).expect("others make room");
        }
        assert!(all.0.removed() > 0);
        // What HTTP clients may create is a part of what fits.
        assert!(all.0.counts.capacity.http_names < 10_000);
    }

    #[test]
    fn no_name_is_lost_for_one_that_is_refused() {
        // Registrations are full, and no name makes room for one.
        let all = Fixture::new(CAPACITY);
        all.leave(all.nsqd(&["left a"]));
        let _others = [(); 2].map(|()| all.nsqd(&["t a", "t b"]));
        let mut stays = all.nsqd(&["t"]);
        all.register(&mut stays, "t a").expect("the eighth");
        assert_eq!(all.register(&mut stays, "t b"), Err(LimitReached::Registry));
        all.check(&["left", "left a", "t", "t a", "t b"], 0);
        // The part of HTTP clients is full, and the names too.
        let all = Fixture::new(Capacity { http_names: 1, ..CAPACITY });
        all.leave(all.nsqd(&["left a", "left b"]));
        let _stays = all.nsqd(&["u", "v", "w", "x"]);
        all.create("made").expect("the eighth");
        assert_eq!(all.create("more"), Err(LimitReached::HttpNames));
        all.check(&["left", "left a", "left b", "made", "u", "v", "w", "x"], 1);
    }

    #[test]
    fn what_is_free_and_what_was_left_behind_make_room_together() {
        let all = Fixture::new(CAPACITY);
        let mut stays = all.nsqd(&["a", "b", "c", "d", "e"]);
        all.leave(all.nsqd(&["e left"]));
        all.create("made").expect("the seventh");
        all.register(&mut stays, "t new").expect("the eighth, and one makes room");
        all.check(&["a", "b", "c", "d", "e", "made", "t", "t new"], 1);
    }

    #[test]
    fn as_many_names_are_lost_as_the_new_one_needs() {
        let memory = Arc::new(Memory::new(Some(2 * limits::MEMORY_RESERVE)));
        let all = Fixture(Fixture::new(Capacity::default()).0.within(Arc::clone(&memory)));
        let mut stays = all.nsqd(&["t a"]);
        let channels: Vec<_> = (0..20).map(|number| format!("t x{number}")).collect();
        all.leave(all.nsqd(&channels.iter().map(String::as_str).collect::<Vec<_>>()));
        // Whatever takes the memory: what is left behind makes as much room as what is new takes.
        memory.add(Use::Listings, memory.part(100) - memory.used());
        let used = memory.used();
        all.register(&mut stays, "u b").expect("five channels make room");
        assert_eq!((all.0.removed(), all.0.channels()), (5, 17));
        assert!(memory.used() <= used, "{} of {used}", memory.used());
        all.register(&mut stays, "u c").expect("two channels make room");
        assert_eq!(all.0.removed(), 7);
        for number in 0.. {
            if all.register(&mut stays, &format!("u d{number}")).is_err() {
                break;
            }
        }
        let used = memory.used();
        assert!(used <= memory.part(100), "{used}");
        // Less is left behind than one needs: that stays.
        assert_eq!(all.0.removed(), 19, "nothing is lost in vain");
    }

    #[test]
    fn channels_that_were_left_behind_make_room_without_their_topic() {
        let all = Fixture::new(CAPACITY);
        let mut stays = all.nsqd(&["t a", "t b"]);
        let gone = all.nsqd(&["t c", "t d", "t e", "t f"]);
        let mut changes = PendingChanges::default();
        assert!(all.0.unregister_channel(&mut changes, &mut stays, "t", "b"));
        all.0.commit(&mut changes);
        all.leave(gone);
        all.register(&mut stays, "u").expect("it fits");
        all.register(&mut stays, "u a").expect("a channel makes room");
        all.register(&mut stays, "u b").expect("a channel makes room");
        all.check(&["t", "t a", "t d", "t e", "t f", "u", "u a", "u b"], 0);
        // Of the topic that is to be registered, nothing makes room.
        assert_eq!(all.register(&mut stays, "t x"), Err(LimitReached::Registry));
        all.register(&mut stays, "t d").expect("it is there");
        all.register(&mut stays, "u c").expect("a channel makes room");
        all.check(&["t", "t a", "t d", "t f", "u", "u a", "u b", "u c"], 0);
    }

    #[test]
    fn names_with_producers_and_names_of_http_clients_never_make_room() {
        let all = Fixture::new(CAPACITY);
        all.create("created a").expect("it fits");
        // It is registered, and the nsqd goes: it is the HTTP clients' again.
        all.leave(all.nsqd(&["created a"]));
        let mut stays = all.nsqd(&["t", "t a", "t b", "t c", "t d"]);
        assert_eq!(all.0.tombstone("t", "node:4151", Timestamp::default()), 1);
        all.check(&["created", "created a", "t", "t a", "t b", "t c", "t d"], 2);
        all.leave(all.nsqd(&["left"]));
        let full = ["created", "created a", "left", "t", "t a", "t b", "t c", "t d"];
        all.check(&full, 2);
        all.register(&mut stays, "t e").expect("what was left behind makes room");
        assert_eq!(all.register(&mut stays, "t f"), Err(LimitReached::Registry));
        assert_eq!(all.create("other"), Err(LimitReached::Registry));
        all.check(&["created", "created a", "t", "t a", "t b", "t c", "t d", "t e"], 2);
        // What was deleted is nobody's.
        assert!(all.0.delete_channel("created", "a"));
        all.0.delete_topic("created");
        all.check(&["t", "t a", "t b", "t c", "t d", "t e"], 0);
    }

    #[test]
    fn http_clients_have_a_part_of_the_names_and_nsqds_all_of_them() {
        let all = Fixture::new(CAPACITY);
        for name in ["a", "b c"] {
            all.create(name).expect("three fit");
        }
        assert_eq!(all.create("d"), Err(LimitReached::HttpNames));
        assert_eq!(all.create("a x"), Err(LimitReached::HttpNames));
        all.create("b c").expect("it is there");
        // What an nsqd registers is in the HTTP clients' part no longer.
        let nsqd = all.nsqd(&["b", "e", "f", "g", "h"]);
        all.check(&["a", "b", "b c", "e", "f", "g", "h"], 2);
        all.create("d").expect("the nsqd has made room");
        all.check(&["a", "b", "b c", "d", "e", "f", "g", "h"], 3);
        // Nothing makes room for a name that is refused for another reason.
        all.leave(nsqd);
        assert_eq!(all.create("i"), Err(LimitReached::HttpNames));
        all.check(&["a", "b", "b c", "d", "e", "f", "g", "h"], 3);
        // There was no room in that part for `b` again, so that it was left behind like the others. Its
        // channel was created and never registered: the topic stays with it.
        let more = all.nsqd(&["j", "k", "l", "m"]);
        all.check(&["a", "b", "b c", "d", "j", "k", "l", "m"], 3);
        drop(more);
    }

    #[test]
    fn topic_that_was_deleted_and_made_again_is_left_behind_once() {
        let all = Fixture::new(CAPACITY);
        for _ in 0..100 {
            all.leave(all.nsqd(&["t a"]));
            all.0.delete_topic("t");
            all.leave(all.nsqd(&["u#ephemeral"]));
            all.leave(all.nsqd(&["v a"]));
        }
        assert_eq!(all.0.left_behind.topics().by_number.len(), 1);
        all.check(&["v", "v a"], 0);
    }
}
