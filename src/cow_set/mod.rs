//! [`CowSet<T>`]: a sorted set with copy-on-write, whose clones share all nodes that are equal.
//!
//! A writer changes its own set and publishes a clone of it. A clone costs one reference count; a
//! change copies at most one path of small nodes, and a second change before the next publication
//! copies nothing twice. Must not: know what it holds. It is a value; threads share clones.

mod node;

use std::cmp::Ordering;
use std::slice;
use std::sync::Arc;

pub use node::Chunk;
use node::{FANOUT, Inserted, Items, Node, child_for, insert_or_split};

/// A sorted set with copy-on-write. The caller chooses the order: every call on one set must be given
/// a comparison by the same order.
#[derive(Clone, Debug)]
pub struct CowSet<T>(Repr<T>);

/// Topics have one producer, a few, or very many, and most have one.
#[derive(Clone, Debug)]
enum Repr<T> {
    Empty,
    One(T),
    Slice(Arc<[T]>),
    /// The root is an inner node with at least two children.
    Tree(Arc<Node<T>>),
}

impl<T> Default for CowSet<T> {
    fn default() -> Self {
        Self(Repr::Empty)
    }
}

impl<T: Clone> CowSet<T> {
    /// How many items there are. Takes time in proportion to the number of leaves.
    #[must_use]
    pub fn len(&self) -> usize {
        self.chunks().map(<[T]>::len).sum()
    }

    /// Whether there are no items.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self.0, Repr::Empty)
    }

    /// Whether there are more than `count` items. Takes time in proportion to `count` at most.
    #[must_use]
    pub fn is_longer_than(&self, count: usize) -> bool {
        let mut left = match &self.0 {
            Repr::Empty => return false,
            Repr::One(_) => return count == 0,
            Repr::Slice(items) => return items.len() > count,
            Repr::Tree(_) => count,
        };
        self.chunks().any(|chunk| match left.checked_sub(chunk.len()) {
            Some(fewer) => {
                left = fewer;
                false
            }
            None => true,
        })
    }

    /// Whether a clone of it may be alive that shares the root of its tree.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(&self.0, Repr::Tree(root) if Arc::strong_count(root) > 1)
    }

    /// The first item.
    #[must_use]
    pub fn first(&self) -> Option<&T> {
        match &self.0 {
            Repr::Empty => None,
            Repr::One(item) => Some(item),
            Repr::Slice(items) => items.first(),
            Repr::Tree(root) => Some(root.first()),
        }
    }

    /// The items in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks().flatten()
    }

    /// The items in order, as slices: one for each leaf.
    pub fn chunks(&self) -> impl Iterator<Item = &[T]> {
        match &self.0 {
            Repr::Empty => Leaves { slice: &[], path: Vec::new() },
            Repr::One(item) => Leaves { slice: slice::from_ref(item), path: Vec::new() },
            Repr::Slice(items) => Leaves { slice: items, path: Vec::new() },
            Repr::Tree(root) => Leaves { slice: &[], path: vec![slice::from_ref(root).iter()] },
        }
    }

    /// The items in order, from the first on that is not below the sought one, by `order` as in
    /// [`CowSet::find`]. Takes logarithmic time to begin.
    pub fn iter_from(&self, mut order: impl FnMut(&T) -> Ordering) -> impl Iterator<Item = &T> {
        let mut leaves = Leaves { slice: &[], path: Vec::new() };
        let items = match &self.0 {
            Repr::Empty => &[][..],
            Repr::One(item) => slice::from_ref(item),
            Repr::Slice(items) => items,
            Repr::Tree(root) => {
                let mut node = &**root;
                loop {
                    match node {
                        Node::Leaf(items) => break items,
                        Node::Inner(children) => {
                            let at = child_for(children, &mut order);
                            leaves.path.push(children[at + 1..].iter());
                            node = &children[at];
                        }
                    }
                }
            }
        };
        leaves.slice = &items[items.partition_point(|item| order(item).is_lt())..];
        leaves.flatten()
    }

    /// As [`CowSet::find`], to change the item, but not its place in the order.
    pub fn get_mut(&mut self, mut order: impl FnMut(&T) -> Ordering) -> Option<&mut T> {
        let items = match &mut self.0 {
            Repr::Empty => return None,
            Repr::One(item) => slice::from_mut(item),
            Repr::Slice(items) => Arc::make_mut(items),
            Repr::Tree(root) => Node::leaf_for_mut(root, &mut order),
        };
        let at = items.binary_search_by(order).ok()?;
        Some(&mut items[at])
    }

    /// The item for which `order`, the item's order relative to the sought one, is `Equal`.
    pub fn find(&self, mut order: impl FnMut(&T) -> Ordering) -> Option<&T> {
        let items = match &self.0 {
            Repr::Empty => return None,
            Repr::One(item) => slice::from_ref(item),
            Repr::Slice(items) => items,
            Repr::Tree(root) => root.leaf_for(&mut order),
        };
        items.binary_search_by(order).ok().map(|at| &items[at])
    }

    /// Inserts `item` by `order`, the order of an item relative to `item`; it replaces an equal one.
    /// Returns whether it is new.
    pub fn insert(&mut self, item: T, mut order: impl FnMut(&T) -> Ordering) -> bool {
        match &mut self.0 {
            Repr::Empty => self.0 = Repr::One(item),
            Repr::One(only) => match order(only) {
                Ordering::Equal => {
                    *only = item;
                    return false;
                }
                Ordering::Less => self.0 = Repr::Slice([only.clone(), item].into()),
                Ordering::Greater => self.0 = Repr::Slice([item, only.clone()].into()),
            },
            Repr::Slice(items) => match items.binary_search_by(order) {
                Ok(at) => {
                    Arc::make_mut(items)[at] = item;
                    return false;
                }
                Err(at) => self.0 = slice_with(items, at, item),
            },
            Repr::Tree(root) => match Node::insert(root, item, &mut order) {
                Inserted::Replaced => return false,
                Inserted::Added => {}
                Inserted::Split(right) => *root = Node::parent(Arc::clone(root), right),
            },
        }
        true
    }

    /// Removes the first items, at most a node of them; none when there are none. To empty a set by
    /// it costs less than to remove its items one by one.
    pub fn take_first_chunk(&mut self) -> Chunk<T> {
        match std::mem::replace(&mut self.0, Repr::Empty) {
            Repr::Empty => Chunk::new(),
            Repr::One(item) => Chunk::from_iter([item]),
            Repr::Slice(items) => items.iter().cloned().collect(),
            Repr::Tree(mut root) => {
                let items = Node::take_first_leaf(&mut root);
                self.0 = flattest(&root);
                items
            }
        }
    }

    /// Removes the item for which `order` is `Equal`. Returns whether there was one.
    pub fn remove(&mut self, mut order: impl FnMut(&T) -> Ordering) -> bool {
        match &mut self.0 {
            Repr::Empty => false,
            Repr::One(only) => {
                let found = order(only).is_eq();
                if found {
                    self.0 = Repr::Empty;
                }
                found
            }
            Repr::Slice(items) => {
                let Ok(at) = items.binary_search_by(order) else { return false };
                self.0 = slice_without(items, at);
                true
            }
            Repr::Tree(root) => {
                let found = root.leaf_for(&mut order).binary_search_by(&mut order).is_ok();
                if found {
                    Node::remove(root, &mut order);
                    self.0 = flattest(root);
                }
                found
            }
        }
    }
}

/// The iterator of [`CowSet::chunks`].
struct Leaves<'a, T> {
    /// The items of a set that is no tree, until they were returned.
    slice: &'a [T],
    /// The nodes left to visit on each level of a tree.
    path: Vec<slice::Iter<'a, Arc<Node<T>>>>,
}

impl<'a, T> Iterator for Leaves<'a, T> {
    type Item = &'a [T];

    fn next(&mut self) -> Option<&'a [T]> {
        if !self.slice.is_empty() {
            return Some(std::mem::take(&mut self.slice));
        }
        loop {
            match self.path.last_mut()?.next().map(|node| &**node) {
                None => drop(self.path.pop()),
                Some(Node::Leaf(items)) => return Some(items),
                Some(Node::Inner(children)) => self.path.push(children.iter()),
            }
        }
    }
}

fn slice_with<T: Clone>(items: &[T], at: usize, item: T) -> Repr<T> {
    if items.len() < FANOUT {
        let (before, after) = items.split_at(at);
        let all = before.iter().cloned().chain(std::iter::once(item)).chain(after.iter().cloned());
        return Repr::Slice(all.collect());
    }
    let mut left: Items<T> = items.iter().cloned().collect();
    let right = insert_or_split(&mut left, at, item).expect("a full node splits");
    Repr::Tree(Node::parent(Arc::new(Node::Leaf(left)), Arc::new(Node::Leaf(right))))
}

fn slice_without<T: Clone>(items: &[T], at: usize) -> Repr<T> {
    let (before, after) = (&items[..at], &items[at + 1..]);
    if let ([only], []) | ([], [only]) = (before, after) {
        return Repr::One(only.clone());
    }
    Repr::Slice(before.iter().chain(after).cloned().collect())
}

/// The representation of a tree whose root may have shrunk: as flat as possible.
fn flattest<T: Clone>(root: &Arc<Node<T>>) -> Repr<T> {
    let mut root = root;
    loop {
        match &**root {
            Node::Leaf(items) => return Repr::Slice(items.as_slice().into()),
            Node::Inner(children) if children.len() == 1 => root = &children[0],
            Node::Inner(_) => return Repr::Tree(Arc::clone(root)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn check(set: &CowSet<u16>, model: &BTreeSet<u16>) {
        assert!(set.iter().eq(model.iter()), "{set:?} is not {model:?}");
        assert_eq!(set.len(), model.len());
        assert_eq!(set.is_empty(), model.is_empty());
        assert!(set.chunks().all(|chunk| !chunk.is_empty() && chunk.len() <= FANOUT));
        assert_eq!(set.first(), model.first());
        let count = model.len();
        assert!(!set.is_longer_than(count) && (count == 0 || set.is_longer_than(count - 1)));
    }

    proptest! {
        /// Against `BTreeSet`, with clones taken on the way that must not change afterwards.
        #[test]
        fn it_is_a_sorted_set_and_clones_never_change(
            steps in prop::collection::vec((0u8..10, 0u16..700), 0..2500),
            growing in any::<bool>(),
        ) {
            let mut set = CowSet::default();
            let mut model = BTreeSet::new();
            let mut clones = Vec::new();
            for (kind, value) in steps {
                let add = if growing { kind < 8 } else { kind < 5 };
                if add {
                    prop_assert_eq!(set.insert(value, |item| item.cmp(&value)), model.insert(value));
                } else {
                    prop_assert_eq!(set.remove(|item| item.cmp(&value)), model.remove(&value));
                }
                prop_assert_eq!(set.find(|item| item.cmp(&value)), model.get(&value));
                let mut shared = set.clone();
                let found = shared.get_mut(|item| item.cmp(&value));
                prop_assert_eq!(found.as_deref(), model.get(&value));
                let from = set.iter_from(|item| item.cmp(&value)).take(40);
                prop_assert!(from.eq(model.range(value..).take(40)), "{value} in {set:?}");
                if value % 64 == 0 {
                    clones.push((set.clone(), model.clone()));
                }
            }
            check(&set, &model);
            for (set, model) in &clones {
                check(set, model);
            }
            let mut emptied = set.clone();
            let mut taken = Vec::new();
            while !emptied.is_empty() {
                let chunk = emptied.take_first_chunk();
                prop_assert!(!chunk.is_empty() && chunk.len() <= FANOUT);
                taken.extend(chunk);
                check(&emptied, &model.iter().copied().skip(taken.len()).collect());
            }
            prop_assert!(taken.iter().eq(model.iter()));
            check(&set, &model);
            for value in model.clone() {
                prop_assert!(set.remove(|item| item.cmp(&value)));
                model.remove(&value);
            }
            check(&set, &model);
        }
    }
}
