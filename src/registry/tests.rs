//! The registry against a plain model: what the snapshots show after each commit.

mod shares;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;
use crate::limits;
use crate::memory::Memory;
use crate::work::Work;

type Addresses = BTreeSet<SocketAddr>;
type Seen = testkit::model::Seen<SocketAddr>;
type Model = testkit::model::Model<SocketAddr>;

fn published(snapshots: &Snapshots) -> BTreeMap<String, Seen> {
    let addresses = |producers: &crate::cow_set::CowSet<Arc<Producer>>| {
        producers.iter().map(|producer| producer.address()).collect::<Addresses>()
    };
    let mut topics = BTreeMap::new();
    snapshots.each_topic(|name, topic| {
        let channels = topic.channels().iter();
        let tombstoned = topic
            .producers()
            .iter()
            .filter_map(|peer| Some((peer.address(), topic.tombstoned_at(peer)?.unix_nanos())));
        let seen = Seen {
            producers: addresses(topic.producers()),
            channels: channels.map(|c| (c.name().to_string(), addresses(c.producers()))).collect(),
            tombstoned: tombstoned.collect(),
        };
        assert!(topics.insert(name.to_string(), seen).is_none(), "{name} is listed twice");
    });
    topics
}

fn peer_info(number: u16) -> PeerInfo {
    PeerInfo::sample("", &format!("node-{number}"))
}

fn address(number: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 1000 + number))
}

#[derive(Clone, Debug)]
enum Step {
    Register(u16, String, Option<String>),
    Unregister(u16, String, Option<String>),
    Leave(u16),
    Create(String, Option<String>),
    DeleteTopic(String),
    DeleteChannel(String, String),
    Tombstone(String, u16),
    Commit,
}

fn step() -> impl Strategy<Value = Step> {
    let peer = 0u16..70;
    let topic = prop::sample::select(vec!["a", "b", "c#ephemeral", "d"]).prop_map(str::to_owned);
    let channel = prop::sample::select(vec!["x", "y#ephemeral", "z"]).prop_map(str::to_owned);
    let some = prop::option::of(channel.clone());
    prop_oneof![
        12 => (peer.clone(), topic.clone(), some.clone()).prop_map(|(p, t, c)| Step::Register(p, t, c)),
        4 => (peer.clone(), topic.clone(), some.clone()).prop_map(|(p, t, c)| Step::Unregister(p, t, c)),
        2 => peer.clone().prop_map(Step::Leave),
        1 => (topic.clone(), some).prop_map(|(t, c)| Step::Create(t, c)),
        1 => prop_oneof![9 => topic.clone(), 1 => Just("*".to_owned())].prop_map(Step::DeleteTopic),
        1 => (topic.clone(), channel).prop_map(|(t, c)| Step::DeleteChannel(t, c)),
        1 => (prop_oneof![topic, Just("*".to_owned())], peer).prop_map(|(t, p)| Step::Tombstone(t, p)),
        4 => Just(Step::Commit),
    ]
}

/// The registry and the model, which are given the same steps.
struct Pair {
    registry: Registry,
    changes: PendingChanges,
    clients: BTreeMap<u16, Client>,
    model: Model,
    now: Timestamp,
}

impl Pair {
    fn new() -> Self {
        let snapshots = Arc::new(Snapshots::default());
        Self {
            registry: Registry::new(snapshots, Capacity::default()),
            changes: PendingChanges::default(),
            clients: BTreeMap::new(),
            model: Model::default(),
            now: Timestamp::from_unix_nanos(1),
        }
    }

    fn client(&mut self, number: u16) -> &mut Client {
        let Self { registry, changes, clients, model, now } = self;
        clients.entry(number).or_insert_with(|| {
            model.clients.insert(address(number));
            registry.identify(changes, address(number), peer_info(number), *now)
        })
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Register(peer, topic, channel) => {
                self.client(*peer);
                let client = self.clients.get_mut(peer).expect("just made");
                let done =
                    self.registry.register(&mut self.changes, client, topic, channel.as_deref());
                done.expect("far from full");
                self.model.register(address(*peer), topic, channel.as_deref());
            }
            Step::Unregister(peer, topic, channel) => {
                self.client(*peer);
                let client = self.clients.get_mut(peer).expect("just made");
                let (registry, changes) = (&self.registry, &mut self.changes);
                match channel.as_deref() {
                    Some(channel) => {
                        registry.unregister_channel(changes, client, topic, channel);
                    }
                    None => unregister(registry, changes, client, topic, &mut Work::unlimited()),
                }
                self.model.unregister(address(*peer), topic, channel.as_deref());
            }
            Step::Leave(peer) => {
                if let Some(mut client) = self.clients.remove(peer) {
                    let work = &mut Work::unlimited();
                    assert!(self.registry.leave(&mut self.changes, &mut client, work, |_, _| {}));
                    self.model.leave(address(*peer));
                }
            }
            Step::Commit => self.registry.commit(&mut self.changes),
            admin => self.administrate(admin),
        }
    }

    /// An admin's changes. They apply to published topics, so everything is committed first.
    fn administrate(&mut self, step: &Step) {
        self.registry.commit(&mut self.changes);
        match step {
            Step::Create(topic, channel) => {
                let name = TopicName::new(topic).expect("valid");
                match channel.as_deref().and_then(ChannelName::new) {
                    None => self.registry.create_topic(&name),
                    Some(channel) => self.registry.create_channel(&name, &channel),
                }
                .expect("far from full");
                self.model.create(topic, channel.as_deref());
            }
            Step::DeleteTopic(topic) => {
                self.for_each_named(topic, |registry, model, name| {
                    registry.delete_topic(name);
                    model.delete_topic(name);
                });
            }
            Step::DeleteChannel(topic, channel) => {
                let found = self.model.delete_channel(topic, channel);
                assert_eq!(self.registry.delete_channel(topic, channel), found);
            }
            Step::Tombstone(topic, peer) => {
                self.now = self.now + std::time::Duration::from_secs(1);
                let (node, now, text) = (address(*peer), self.now, format!("node-{peer}:4151"));
                self.for_each_named(topic, |registry, model, name| {
                    registry.tombstone(name, &text, now);
                    model.tombstone(name, |peer| peer == node, now.unix_nanos());
                });
            }
            _ => unreachable!("not an admin's step"),
        }
    }

    /// Changes the topic of that name, or every topic by `*`.
    fn for_each_named(&mut self, topic: &str, change: impl Fn(&Registry, &mut Model, &str)) {
        let names: Vec<_> = self.model.topics.keys().cloned().collect();
        for name in names.iter().filter(|name| topic == "*" || topic == *name) {
            change(&self.registry, &mut self.model, name);
        }
    }

    fn check(&mut self) {
        self.registry.commit(&mut self.changes);
        assert_eq!(published(self.registry.snapshots()), self.model.topics);
        let mut clients = Addresses::new();
        self.registry.snapshots().each_node(|peer| assert!(clients.insert(peer.address())));
        assert_eq!(clients, self.model.clients);
        assert_eq!(self.registry.topics() + self.registry.channels(), self.model.names());
        let held = self.clients.values().map(Client::registrations).sum::<usize>();
        assert_eq!(self.registry.registrations(), held);
    }
}

proptest! {
    #[test]
    fn snapshots_match_the_model(steps in prop::collection::vec(step(), 1..400)) {
        let mut pair = Pair::new();
        for step in &steps {
            pair.apply(step);
            if matches!(step, Step::Commit) {
                pair.check();
            }
        }
        pair.check();
        for peer in 0..70 {
            pair.apply(&Step::Leave(peer));
        }
        pair.check();
        assert_eq!(pair.registry.registrations(), 0);
    }
}

fn unregister(
    registry: &Registry,
    changes: &mut PendingChanges,
    client: &mut Client,
    topic: &str,
    work: &mut Work,
) {
    assert!(registry.unregister_topic(changes, client, topic, work, |_| {}), "it has time");
}

/// Two nsqds with `count` channels of one topic, some of them ephemeral, and a topic each.
fn wide_pair(count: usize) -> Pair {
    let mut pair = Pair::new();
    for peer in [1, 2] {
        for number in 0..count {
            let end = if number % 3 == 0 { "#ephemeral" } else { "" };
            let of_one = if number % 2 == 0 { String::new() } else { peer.to_string() };
            let channel = format!("c{number}{of_one}{end}");
            pair.apply(&Step::Register(peer, "wide".into(), Some(channel)));
        }
        pair.apply(&Step::Register(peer, format!("own{peer}"), None));
    }
    pair.check();
    pair
}

/// Calls `slice` until it is done, and commits behind each call: how many calls that took. Each
/// removes about as many registrations as are removed at once; none of the other nsqd is touched.
fn in_slices(
    pair: &mut Pair,
    mut slice: impl FnMut(&mut Pair, &mut Client, &mut Work) -> bool,
) -> usize {
    let mut client = pair.clients.remove(&1).expect("it is there");
    for calls in 1.. {
        let (before, other) = (client.registrations(), pair.clients[&2].registrations());
        // One slice spends all of it.
        let is_done = slice(pair, &mut client, &mut Work::units(1));
        pair.registry.commit(&mut pair.changes);
        assert!(before - client.registrations() < 2 * AT_ONCE);
        let seen = &published(pair.registry.snapshots())["wide"];
        let channels_of = |peer| seen.channels.values().filter(|all| all.contains(&peer)).count();
        assert!(channels_of(address(1)) <= client.registrations(), "it is listed as it was");
        assert_eq!(channels_of(address(2)), other - 2);
        if is_done {
            pair.clients.insert(1, client);
            return calls;
        }
    }
    unreachable!()
}

#[test]
fn topic_with_many_channels_is_unregistered_in_slices() {
    let mut pair = wide_pair(10 * AT_ONCE);
    let calls = in_slices(&mut pair, |pair, client, work| {
        pair.registry.unregister_topic(&mut pair.changes, client, "wide", work, |_| {})
    });
    assert!(calls >= 8, "{calls}");
    pair.model.unregister(address(1), "wide", None);
    pair.check();
    // What the nsqd registers again is there again.
    pair.apply(&Step::Register(1, "wide".into(), Some("x".into())));
    pair.check();
}

#[test]
fn nsqd_with_many_registrations_leaves_in_slices() {
    let mut pair = wide_pair(10 * AT_ONCE);
    let mut left = BTreeSet::new();
    let calls = in_slices(&mut pair, |pair, client, work| {
        pair.registry.leave(&mut pair.changes, client, work, |topic, channel| {
            assert!(left.insert((topic.to_string(), channel.map(ToString::to_string))));
        })
    });
    assert!(calls >= 8, "{calls}");
    assert_eq!(left.len(), 10 * AT_ONCE + 2);
    assert_eq!(pair.clients.remove(&1).map(|client| client.registrations()), Some(0));
    pair.model.leave(address(1));
    pair.check();
}

#[test]
fn a_change_is_visible_after_the_commit_and_not_before() {
    let mut pair = Pair::new();
    pair.apply(&Step::Register(1, "a".into(), Some("x".into())));
    assert!(published(pair.registry.snapshots()).is_empty());
    pair.check();
    assert_eq!(
        pair.registry.register(
            &mut pair.changes,
            pair.clients.get_mut(&1).expect("made"),
            "a",
            Some("x")
        ),
        Ok(RegistrationChange::default())
    );
    assert!(pair.changes.topics.is_empty(), "a known REGISTER publishes nothing");
}

#[test]
fn many_changes_of_one_topic_are_one_publication() {
    let mut pair = Pair::new();
    (0..60).for_each(|peer| pair.apply(&Step::Register(peer, "a".into(), None)));
    assert_eq!(pair.changes.topics.len(), 1);
    pair.check();
}

#[test]
fn registry_takes_no_more_memory_than_its_part() {
    let memory = Arc::new(Memory::new(Some(2 * limits::MEMORY_RESERVE)));
    let registry = Registry::new(Arc::new(Snapshots::default()), Capacity::default());
    let registry = registry.within(Arc::clone(&memory));
    let mut changes = PendingChanges::default();
    let identify = || {
        let mut changes = PendingChanges::default();
        registry.identify(&mut changes, address(1), peer_info(1), Timestamp::default())
    };
    let (mut client, mut clients) = (identify(), Vec::new());
    let mut names = (0..).map(|number| format!("t{number}"));
    let refused = names.find_map(|name| {
        // No nsqd has so many that shares count.
        if client.registrations() == limits::REGISTRATIONS_UNSHARED {
            clients.push(std::mem::replace(&mut client, identify()));
        }
        let done = registry.register(&mut changes, &mut client, &name, Some("c"));
        done.err().map(|limit| (name, limit))
    });
    let (name, limit) = refused.expect("memory is limited");
    assert_eq!(limit, LimitReached::Memory);
    let (topics, used) = (registry.topics(), memory.used());
    let part = memory.part(limits::MEMORY_OF_REGISTRY);
    // What a REGISTER adds is checked in parts.
    assert!(used.abs_diff(part) < 2000, "{used} of {part}");
    assert!(topics > 10_000, "{topics}");
    let topic = TopicName::new(&name).expect("valid");
    let smaller: Vec<_> = ["x", "y", "z"].map(|name| TopicName::new(name).expect("valid")).into();
    let created = smaller.iter().map(|name| registry.create_topic(name)).collect::<Vec<_>>();
    assert_eq!(created.last(), Some(&Err(LimitReached::Memory)), "{created:?}");
    smaller.iter().for_each(|name| registry.delete_topic(name.as_str()));
    assert_eq!(registry.topics(), topics, "a refusal changes nothing");
    let mut known = (0..topics).map(|number| format!("t{number}"));
    known.by_ref().take(5).for_each(|name| registry.delete_topic(&name));
    registry.create_topic(&topic).expect("there is room again");
    registry.delete_topic(name.as_str());
    known.for_each(|name| registry.delete_topic(&name));
    let leave = |_: &TopicName, _: Option<&ChannelName>| {};
    clients.push(client);
    for client in &mut clients {
        assert!(registry.leave(&mut changes, client, &mut Work::unlimited(), leave));
    }
    assert_eq!(memory.used(), 0, "all is given back");
}

#[test]
fn a_full_registry_refuses_a_change_without_side_effects() {
    let check = |capacity: Capacity, want: LimitReached, refused: (&str, Option<&str>)| {
        let registry = Registry::new(Arc::new(Snapshots::default()), capacity);
        let mut changes = PendingChanges::default();
        let mut client =
            registry.identify(&mut changes, address(1), peer_info(1), Timestamp::default());
        let mut register =
            |topic, channel| registry.register(&mut changes, &mut client, topic, channel);
        register("a", Some("x")).expect("two registrations fit");
        assert_eq!(register(refused.0, refused.1), Err(want), "{refused:?}");
        assert_eq!(register("a", Some("x")), Ok(RegistrationChange::default()));
        registry.commit(&mut changes);
        let topics = published(registry.snapshots());
        assert_eq!(topics.keys().collect::<Vec<_>>(), ["a"]);
        assert_eq!((registry.topics(), registry.channels(), registry.registrations()), (1, 1, 2));
        if want == LimitReached::Registry {
            let names =
                (TopicName::new("b").expect("valid"), ChannelName::new("y").expect("valid"));
            assert_eq!(registry.create_channel(&names.0, &names.1), Err(LimitReached::Registry));
            assert_eq!(registry.create_topic(&names.0), Err(LimitReached::Registry));
            assert_eq!((registry.topics(), registry.channels()), (1, 1));
            assert_eq!(published(registry.snapshots()), topics);
        }
    };
    // No name is new, but it is one registration more than the capacity.
    let capacity = Capacity { registrations: 2, ..Capacity::default() };
    let registry = Registry::new(Arc::new(Snapshots::default()), capacity);
    let mut changes = PendingChanges::default();
    let mut identify =
        |n| registry.identify(&mut changes, address(n), peer_info(n), Timestamp::default());
    let [mut first, mut second] = [identify(1), identify(2)];
    registry.register(&mut changes, &mut first, "a", Some("x")).expect("two registrations fit");
    assert_eq!(
        registry.register(&mut changes, &mut second, "a", None),
        Err(LimitReached::Registry)
    );
    assert_eq!(registry.registrations(), 2);
    for refused in [("b", None), ("a", Some("y")), ("b", Some("y"))] {
        check(
            Capacity { per_nsqd: 2, registrations: 100, ..Capacity::default() },
            LimitReached::Nsqd,
            refused,
        );
        check(
            Capacity { per_nsqd: 100, registrations: 2, ..Capacity::default() },
            LimitReached::Registry,
            refused,
        );
    }
}

#[test]
fn refused_names_of_all_nsqds_are_bounded_and_released() {
    let capacity = Capacity { registrations: 1, ..Capacity::default() };
    let registry = Registry::new(Arc::new(Snapshots::default()), capacity);
    let mut changes = PendingChanges::default();
    let nsqds = limits::REFUSED / limits::REFUSED_PER_NSQD + 1;
    let mut clients: Vec<_> = (0..u16::try_from(nsqds).expect("few"))
        .map(|n| registry.identify(&mut changes, address(n), peer_info(n), Timestamp::default()))
        .collect();
    registry.register(&mut changes, &mut clients[0], "only", None).expect("one fits");
    for client in &mut clients {
        for number in 0..limits::REFUSED_PER_NSQD {
            let topic = format!("t{number}");
            let done = registry.register(&mut changes, client, &topic, None);
            assert_eq!(done, Err(LimitReached::Registry));
        }
    }
    assert_eq!((registry.refused(), registry.topics()), (limits::REFUSED, 1));
    let mut names = 0;
    for mut client in clients {
        names += client.refused();
        let work = &mut Work::unlimited();
        registry.unregister_channel(&mut changes, &mut client, "t1", "unknown");
        registry.unregister_topic(&mut changes, &mut client, "t2", work, |_| {});
        assert!(registry.leave(&mut changes, &mut client, work, |_, _| {}));
    }
    assert_eq!((names, registry.refused()), (limits::REFUSED, 0));
}
