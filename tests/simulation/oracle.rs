//! The model with its history: the state of the registry, which states readers must see, and which
//! they may see. A change is applied when a reply shows that the command was carried out; the next
//! commit of the shard that replied makes it visible, at the latest.
//!
//! Must not: read anything from musterd.

use std::collections::{BTreeMap, BTreeSet};

use musterd::registry::{Capacity, LimitReached};
use testkit::model::{Model, Seen};

use crate::window::Window;

/// An nsqd's connection, numbered as they came.
pub(crate) type Id = usize;
pub(crate) type Topic = Seen<Id>;

/// What a reader sees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) topics: BTreeMap<String, Topic>,
    pub(crate) clients: BTreeSet<Id>,
}

/// What an nsqd has registered and not unregistered; admins cannot change that.
type Held = BTreeSet<Name>;

/// A topic, or a channel of it.
type Name = (String, Option<String>);

/// What was refused to an nsqd, and which of it was tried last.
#[derive(Debug, Default)]
struct Refused {
    names: Held,
    tried: Option<Name>,
}

#[derive(Debug)]
pub(crate) struct Oracle {
    pub(crate) model: Model<Id>,
    capacity: Capacity,
    held: BTreeMap<Id, Held>,
    refused: BTreeMap<Id, Refused>,
    topics: BTreeMap<String, Window<Option<Topic>>>,
    clients: BTreeMap<Id, Window<bool>>,
    /// By shard: the states that its next commit makes visible.
    pending: Vec<Pending>,
}

#[derive(Clone, Debug, Default)]
struct Pending {
    topics: BTreeMap<String, usize>,
    clients: BTreeMap<Id, usize>,
}

impl Oracle {
    pub(crate) fn new(shards: usize, capacity: Capacity) -> Self {
        Self {
            model: Model::default(),
            capacity,
            held: BTreeMap::new(),
            refused: BTreeMap::new(),
            topics: BTreeMap::new(),
            clients: BTreeMap::new(),
            pending: vec![Pending::default(); shards],
        }
    }

    /// How many registrations all nsqds hold.
    pub(crate) fn registrations(&self) -> usize {
        self.held.values().map(BTreeSet::len).sum()
    }

    pub(crate) fn identify(&mut self, shard: usize, id: Id) {
        self.model.clients.insert(id);
        self.held.insert(id, Held::new());
        let window = self.clients.entry(id).or_insert_with(|| Window::new(false));
        self.pending[shard].clients.insert(id, window.push(true));
    }

    pub(crate) fn register(
        &mut self,
        shard: usize,
        id: Id,
        topic: &str,
        channel: Option<&str>,
    ) -> Result<(), LimitReached> {
        let name = (topic.to_owned(), channel.map(str::to_owned));
        let refused = self.check_capacity(id, topic, channel);
        let names = &mut self.refused.entry(id).or_default().names;
        match refused {
            Ok(()) => names.remove(&name),
            Err(_) => names.insert(name),
        };
        refused?;
        self.model.register(id, topic, channel);
        let held = self.held.get_mut(&id).expect("it has identified");
        held.insert((topic.to_owned(), None));
        if let Some(channel) = channel {
            held.insert((topic.to_owned(), Some(channel.to_owned())));
        }
        self.changed(shard, topic);
        Ok(())
    }

    /// A PING: what was refused is registered, each in turn, up to the first that does not fit.
    pub(crate) fn retry(&mut self, shard: usize, id: Id) {
        loop {
            let is_full = self.held[&id].len() >= self.capacity.per_nsqd
                || self.registrations() >= self.capacity.registrations;
            let Refused { names, tried } = self.refused.entry(id).or_default();
            let behind = names.iter().find(|name| tried.as_ref().is_some_and(|last| *name > last));
            let Some((topic, channel)) = behind.or_else(|| names.first()).cloned() else { return };
            if is_full {
                return;
            }
            *tried = Some((topic.clone(), channel.clone()));
            if self.register(shard, id, &topic, channel.as_deref()).is_err() {
                return;
            }
        }
    }

    fn check_capacity(
        &self,
        id: Id,
        topic: &str,
        channel: Option<&str>,
    ) -> Result<(), LimitReached> {
        let known = self.model.topics.get(topic);
        let names = self.model.names() + usize::from(known.is_none());
        if known.is_none() && names > self.capacity.registrations {
            return Err(LimitReached::Registry);
        }
        let held = &self.held[&id];
        let wanted = [Some(None), channel.map(|channel| Some(channel.to_owned()))];
        let is_new =
            |channel: &Option<String>| !held.contains(&(topic.to_owned(), channel.clone()));
        let new = wanted.iter().flatten().filter(|channel| is_new(channel)).count();
        if new > 0 && held.len() + new > self.capacity.per_nsqd {
            return Err(LimitReached::Nsqd);
        }
        if new > 0 && self.registrations() + new > self.capacity.registrations {
            return Err(LimitReached::Registry);
        }
        let unknown = channel
            .is_some_and(|channel| !known.is_some_and(|seen| seen.channels.contains_key(channel)));
        if unknown && names + 1 > self.capacity.registrations {
            return Err(LimitReached::Registry);
        }
        Ok(())
    }

    pub(crate) fn unregister(&mut self, shard: usize, id: Id, topic: &str, channel: Option<&str>) {
        self.model.unregister(id, topic, channel);
        let held = self.held.get_mut(&id).expect("it has identified");
        held.retain(|(of, name)| {
            of != topic || channel.is_some_and(|channel| name.as_deref() != Some(channel))
        });
        self.refused.entry(id).or_default().names.retain(|(of, name)| {
            of != topic || channel.is_some_and(|channel| name.as_deref() != Some(channel))
        });
        self.changed(shard, topic);
    }

    pub(crate) fn leave(&mut self, shard: usize, id: Id) {
        self.model.leave(id);
        self.held.remove(&id);
        self.refused.remove(&id);
        for topic in self.names() {
            self.changed(shard, &topic);
        }
        if let Some(window) = self.clients.get_mut(&id) {
            self.pending[shard].clients.insert(id, window.push(false));
        }
    }

    /// Creates a topic or a channel; whether the limit allows it.
    pub(crate) fn create(&mut self, topic: &str, channel: Option<&str>) -> bool {
        let before = self.model.clone();
        self.model.create(topic, channel);
        let fits = self.model.names() == before.names()
            || self.model.names() <= self.capacity.registrations;
        if fits {
            self.show(topic);
        } else {
            self.model = before;
        }
        fits
    }

    /// An admin's change of a topic, visible when it returns.
    pub(crate) fn administrate<R>(
        &mut self,
        topic: &str,
        change: impl FnOnce(&mut Model<Id>) -> R,
    ) -> R {
        let result = change(&mut self.model);
        self.show(topic);
        result
    }

    /// The topics that readers see: those that `*` stands for.
    pub(crate) fn listed(&self) -> Vec<String> {
        let seen = self.topics.iter().filter(|(_, window)| window.seen().is_some());
        seen.map(|(name, _)| name.clone()).collect()
    }

    /// The shard publishes: all that it has replied to is visible.
    pub(crate) fn commit(&mut self, shard: usize) {
        let pending = std::mem::take(&mut self.pending[shard]);
        for (topic, state) in pending.topics {
            self.topics.get_mut(&topic).expect("it was recorded").require(state);
        }
        for (client, state) in pending.clients {
            self.clients.get_mut(&client).expect("it was recorded").require(state);
        }
    }

    /// A reader sees this.
    pub(crate) fn observe(&mut self, view: &View) -> Result<(), String> {
        if let Some(unknown) = view.topics.keys().find(|name| !self.topics.contains_key(*name)) {
            return Err(format!("topic {unknown} never was"));
        }
        for (name, window) in &mut self.topics {
            let seen = view.topics.get(name).cloned();
            if !window.observe(&seen) {
                return Err(format!("topic {name} is seen as {seen:?}; may be {window:?}"));
            }
        }
        if let Some(unknown) = view.clients.iter().find(|id| !self.clients.contains_key(id)) {
            return Err(format!("client {unknown} never was"));
        }
        for (id, window) in &mut self.clients {
            if !window.observe(&view.clients.contains(id)) {
                return Err(format!("client {id} is seen as the opposite of {window:?}"));
            }
        }
        Ok(())
    }

    fn names(&self) -> Vec<String> {
        self.topics.keys().cloned().collect()
    }

    fn window(&mut self, topic: &str) -> &mut Window<Option<Topic>> {
        self.topics.entry(topic.to_owned()).or_insert_with(|| Window::new(None))
    }

    fn record(&mut self, topic: &str) -> usize {
        let state = self.model.topics.get(topic).cloned();
        self.window(topic).push(state)
    }

    /// A shard may have changed a topic.
    fn changed(&mut self, shard: usize, topic: &str) {
        let before = self.window(topic).newest();
        let state = self.record(topic);
        if state > before {
            self.pending[shard].topics.insert(topic.to_owned(), state);
        }
    }

    /// An admin has been answered: from now on readers must see this state of the topic.
    fn show(&mut self, topic: &str) {
        let state = self.record(topic);
        self.window(topic).require(state);
    }
}
