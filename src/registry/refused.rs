//! The REGISTERs of one nsqd that were refused because a limit was reached.
//!
//! nsqd sends a REGISTER once and ignores its error, so each is remembered until it fits. Must not:
//! grow past [`limits::REFUSED_PER_NSQD`]. Belongs to the nsqd's [`super::Client`].

use std::collections::BTreeSet;
use std::ops::Bound;

use crate::limits;

/// A topic, or a channel of it.
type Name = (Box<str>, Option<Box<str>>);

/// Refused names.
#[derive(Debug, Default)]
pub(super) struct Refused {
    names: BTreeSet<Name>,
    /// The one that was tried last. The next is the one behind it, so that a name that does not fit
    /// keeps no other from being tried.
    tried: Option<Name>,
}

impl Refused {
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// Adds a name, unless there are too many. Returns whether it is new here.
    pub(super) fn add(&mut self, topic: &str, channel: Option<&str>) -> bool {
        self.len() < limits::REFUSED_PER_NSQD && self.names.insert(name(topic, channel))
    }

    /// Removes a name. Returns how many that were.
    pub(super) fn remove(&mut self, topic: &str, channel: Option<&str>) -> usize {
        usize::from(!self.names.is_empty() && self.names.remove(&name(topic, channel)))
    }

    /// Removes a topic and all its channels. Returns how many names that were.
    pub(super) fn remove_topic(&mut self, topic: &str) -> usize {
        let before = self.len();
        if before > 0 {
            let first = name(topic, None);
            while let Some(name) = self.names.range(&first..).next()
                && *name.0 == *topic
            {
                let name = name.clone();
                self.names.remove(&name);
            }
        }
        before - self.len()
    }

    /// The name to be tried next; each in turn.
    pub(super) fn next(&mut self) -> Option<Name> {
        let behind = self
            .tried
            .as_ref()
            .and_then(|last| self.names.range((Bound::Excluded(last), Bound::Unbounded)).next());
        let next = behind.or_else(|| self.names.first())?.clone();
        self.tried = Some(next.clone());
        Some(next)
    }

    /// Forgets all. Returns how many that were.
    pub(super) fn clear(&mut self) -> usize {
        std::mem::take(self).len()
    }
}

fn name(topic: &str, channel: Option<&str>) -> Name {
    (topic.into(), channel.map(Into::into))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_tried_in_turn_and_removed_with_their_topic() {
        let mut refused = Refused::default();
        assert_eq!(refused.next(), None);
        for (topic, channel) in [("b", Some("x")), ("b", None), ("a", None), ("bb", None)] {
            assert!(refused.add(topic, channel));
        }
        assert!(!refused.add("b", None), "it is there already");
        let mut order = Vec::new();
        for _ in 0..5 {
            let (topic, channel) = refused.next().expect("four are there");
            order.push(format!("{topic} {}", channel.as_deref().unwrap_or_default()));
        }
        assert_eq!(order, ["a ", "b ", "b x", "bb ", "a "]);
        assert_eq!(refused.remove("b", Some("y")), 0);
        assert_eq!(refused.remove_topic("b"), 2);
        assert_eq!(refused.remove("a", None), 1);
        assert_eq!(refused.next(), Some(name("bb", None)), "the last tried is gone");
        assert_eq!((refused.clear(), refused.len()), (1, 0));
    }

    #[test]
    fn only_so_many_names_are_remembered() {
        let mut refused = Refused::default();
        let added =
            (0..2 * limits::REFUSED_PER_NSQD).filter(|at| refused.add(&at.to_string(), None));
        assert_eq!(added.count(), limits::REFUSED_PER_NSQD);
        assert_eq!(refused.remove("0", None), 1);
        assert!(refused.add("again", None));
    }
}
