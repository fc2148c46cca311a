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
    /// What HTTP clients created.
    created: BTreeSet<Name>,
    /// The topics of which nsqds have left something behind, the oldest first.
    left_behind: Vec<String>,
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

/// How many producers a topic or a channel of it has; none if there is none of that name.
fn producers(model: &Model<Id>, topic: &str, channel: Option<&str>) -> Option<usize> {
    let seen = model.topics.get(topic)?;
    Some(channel.map_or(Some(&seen.producers), |channel| seen.channels.get(channel))?.len())
}

impl Oracle {
    pub(crate) fn new(shards: usize, capacity: Capacity) -> Self {
        Self {
            model: Model::default(),
            capacity,
            held: BTreeMap::new(),
            refused: BTreeMap::new(),
            created: BTreeSet::new(),
            left_behind: Vec::new(),
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
        let refused = self.check_capacity(id, topic, channel).and_then(|()| {
            let is_new =
                [self.is_new(topic, None), channel.is_some() && self.is_new(topic, channel)];
            self.with_room(topic, |names, _, capacity| {
                let needed = is_new.into_iter().filter(|&is_new| is_new).count();
                if names + needed > capacity.registrations {
                    Err(LimitReached::Registry)
                } else {
                    Ok(())
                }
            })
        });
        let names = &mut self.refused.entry(id).or_default().names;
        match refused {
            Ok(()) => names.remove(&name),
            Err(_) => names.insert(name),
        };
        refused?;
        let before = self.model.clone();
        self.model.register(id, topic, channel);
        self.settle(&before, &[topic]);
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
        Ok(())
    }

    fn is_new(&self, topic: &str, channel: Option<&str>) -> bool {
        producers(&self.model, topic, channel).is_none()
    }

    /// Calls `fits` with how many names there are, and how many of them only HTTP clients know; as
    /// long as the registry is full, what nsqds left behind makes room. Nothing of that is removed
    /// for what does not fit in the end.
    fn with_room(
        &mut self,
        topic: &str,
        fits: impl Fn(usize, usize, &Capacity) -> Result<(), LimitReached>,
    ) -> Result<(), LimitReached> {
        let before = (self.model.clone(), self.created.clone(), self.left_behind.clone());
        let mut removed = Vec::new();
        loop {
            let done = fits(self.model.names(), self.http_names(), &self.capacity);
            let oldest = self.left_behind.iter().find(|oldest| *oldest != topic).cloned();
            match (done, oldest) {
                (Err(LimitReached::Registry), Some(oldest)) => {
                    self.remove_left_behind(&oldest);
                    removed.push(oldest);
                }
                (Err(_), _) => {
                    (self.model, self.created, self.left_behind) = before;
                    return done;
                }
                (Ok(()), _) => break,
            }
        }
        removed.iter().for_each(|topic| self.show(topic));
        Ok(())
    }

    fn remove_left_behind(&mut self, topic: &str) {
        let before = self.model.clone();
        let channel = self.channels_left_behind(topic).next();
        if self.is_left_behind(topic) {
            self.model.delete_topic(topic);
        } else {
            self.model.delete_channel(topic, &channel.expect("something is left behind"));
        }
        self.settle(&before, &[topic]);
    }

    /// Whether all of a topic was left behind.
    fn is_left_behind(&self, topic: &str) -> bool {
        producers(&self.model, topic, None) == Some(0)
            && !self.created.iter().any(|(of, _)| of == topic)
    }

    fn channels_left_behind(&self, topic: &str) -> impl Iterator<Item = String> {
        let channels = self.model.topics.get(topic).map(|seen| seen.channels.clone());
        let unused = channels.unwrap_or_default().into_iter().filter(|(_, all)| all.is_empty());
        unused
            .map(|(name, _)| name)
            .filter(|name| !self.created.contains(&(topic.to_owned(), Some(name.clone()))))
    }

    /// How many names without producers HTTP clients created.
    fn http_names(&self) -> usize {
        let is_unused =
            |(topic, channel): &&Name| producers(&self.model, topic, channel.as_deref()) == Some(0);
        self.created.iter().filter(is_unused).count()
    }

    /// The model was changed: what has lost its last producer belongs to the HTTP clients again, or is
    /// left behind, in the order of `topics`.
    fn settle(&mut self, before: &Model<Id>, topics: &[&str]) {
        let count = |model, (topic, channel): &Name| producers(model, topic, channel.as_deref());
        self.created.retain(|name| count(&self.model, name).is_some());
        let has_left = |name: &Name| {
            count(before, name).is_some_and(|before| before > 0)
                && count(&self.model, name) == Some(0)
        };
        let left: BTreeSet<_> =
            self.created.iter().filter(|name| has_left(name)).cloned().collect();
        self.created.retain(|name| !left.contains(name));
        for topic in topics {
            // The channels first.
            let of_topic = left.iter().rev().filter(|(of, _)| of == topic);
            let (topics, channels): (Vec<_>, Vec<_>) = of_topic.partition(|(_, c)| c.is_none());
            for name in channels.into_iter().rev().chain(topics) {
                if self.http_names() < self.capacity.http_names {
                    self.created.insert(name.clone());
                }
            }
        }
        let mut queue = std::mem::take(&mut self.left_behind);
        queue.extend(topics.iter().map(|topic| (*topic).to_owned()));
        for topic in queue {
            let is_any =
                self.is_left_behind(&topic) || self.channels_left_behind(&topic).next().is_some();
            if is_any && !self.left_behind.contains(&topic) {
                self.left_behind.push(topic);
            }
        }
    }

    pub(crate) fn unregister(&mut self, shard: usize, id: Id, topic: &str, channel: Option<&str>) {
        let before = self.model.clone();
        self.model.unregister(id, topic, channel);
        self.settle(&before, &[topic]);
        let held = self.held.get_mut(&id).expect("it has identified");
        held.retain(|(of, name)| {
            of != topic || channel.is_some_and(|channel| name.as_deref() != Some(channel))
        });
        self.refused.entry(id).or_default().names.retain(|(of, name)| {
            of != topic || channel.is_some_and(|channel| name.as_deref() != Some(channel))
        });
        self.changed(shard, topic);
    }

    /// The connection ended, and the nsqd has left `topics`, in this order.
    pub(crate) fn leave(&mut self, shard: usize, id: Id, topics: &[&str]) {
        let before = self.model.clone();
        self.model.leave(id);
        self.settle(&before, topics);
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
        let new: Vec<_> = [None, channel]
            .into_iter()
            .take(1 + usize::from(channel.is_some()))
            .filter(|&channel| self.is_new(topic, channel))
            .collect();
        let fits = self.with_room(topic, |names, http_names, capacity| {
            let (has_room, is_topic) = (names < capacity.registrations, new.first() == Some(&None));
            for added in 0..new.len() {
                let is_full = http_names + added >= capacity.http_names;
                // The first of a topic's checks is whether the topic fits.
                if is_topic && !has_room {
                    return Err(if is_full {
                        LimitReached::HttpNames
                    } else {
                        LimitReached::Registry
                    });
                }
                if is_full {
                    return Err(LimitReached::HttpNames);
                }
                if names + added >= capacity.registrations {
                    return Err(LimitReached::Registry);
                }
            }
            Ok(())
        });
        if fits.is_err() {
            return false;
        }
        let name = |channel: Option<&str>| (topic.to_owned(), channel.map(str::to_owned));
        self.created.extend(new.into_iter().map(name));
        let before = self.model.clone();
        self.model.create(topic, channel);
        self.settle(&before, &[topic]);
        self.show(topic);
        true
    }

    /// An admin's change of a topic, visible when it returns.
    pub(crate) fn administrate<R>(
        &mut self,
        topic: &str,
        change: impl FnOnce(&mut Model<Id>) -> R,
    ) -> R {
        let before = self.model.clone();
        let result = change(&mut self.model);
        self.settle(&before, &[topic]);
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
