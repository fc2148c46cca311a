//! [`CowSet<T>`]: a cow_set set that is cheap to copy and shares what a copy did not change.
//!
//! A writer changes its own copy and publishes a clone of it: a clone is one reference count,
//! a change copies at most one path of small nodes, and a second change before the next
//! publication copies nothing twice. Must not: know what it holds. It is a value; threads share
//! clones.

use std::cmp::Ordering;
use std::slice;
use std::sync::Arc;

use arrayvec::ArrayVec;

/// The most items or children of one node. A change copies about log(n) / log(`FAN`) nodes, and a
/// copy touches every item in them, each a cache line elsewhere: few and small beats fewer but
/// large. With a set of this size or less being one flat slice without spare room.
const FAN: usize = 16;

/// A persistent cow_set set. The order is the caller's: every call of one set must be given a
/// comparison that agrees with it.
#[derive(Clone, Debug)]
pub struct CowSet<T>(Shape<T>);

/// What most sets of a fleet are, first: topics have one producer, a few, or a great many.
#[derive(Clone, Debug)]
enum Shape<T> {
    Empty,
    One(T),
    Few(Arc<[T]>),
    /// An inner node with at least two children.
    Many(Arc<Node<T>>),
}

type Run<T> = ArrayVec<T, FAN>;

/// A node of a B+ tree. No node is empty, and all leaves are equally deep.
#[derive(Clone, Debug)]
enum Node<T> {
    Leaf(Run<T>),
    Inner(Run<Arc<Self>>),
}

/// What an insertion did to a node.
enum Inserted<T> {
    /// Nothing new: an equal item has made room.
    Instead,
    New,
    /// The node was full: this is its right half now.
    Split(Arc<Node<T>>),
}

impl<T> Default for CowSet<T> {
    fn default() -> Self {
        Self(Shape::Empty)
    }
}

impl<T: Clone> CowSet<T> {
    /// How many items there are; counts leaves, not items.
    #[must_use]
    pub fn len(&self) -> usize {
        self.chunks().map(<[T]>::len).sum()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self.0, Shape::Empty)
    }

    /// The items in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks().flatten()
    }

    /// The items in order, as runs of neighbours in memory.
    pub fn chunks(&self) -> impl Iterator<Item = &[T]> {
        match &self.0 {
            Shape::Empty => Chunks { flat: &[], above: Vec::new() },
            Shape::One(item) => Chunks { flat: slice::from_ref(item), above: Vec::new() },
            Shape::Few(items) => Chunks { flat: items, above: Vec::new() },
            Shape::Many(root) => Chunks { flat: &[], above: vec![slice::from_ref(root).iter()] },
        }
    }

    /// The item for which `order` (of the item against the one that is sought) is `Equal`.
    pub fn find(&self, mut order: impl FnMut(&T) -> Ordering) -> Option<&T> {
        let run = match &self.0 {
            Shape::Empty => return None,
            Shape::One(item) => slice::from_ref(item),
            Shape::Few(items) => items,
            Shape::Many(root) => root.leaf_for(&mut order),
        };
        run.binary_search_by(order).ok().map(|at| &run[at])
    }

    /// Puts `item` in its place by `order` (of an item against `item`), instead of an equal one.
    /// Returns whether it is new.
    pub fn insert(&mut self, item: T, mut order: impl FnMut(&T) -> Ordering) -> bool {
        match &mut self.0 {
            Shape::Empty => self.0 = Shape::One(item),
            Shape::One(only) => match order(only) {
                Ordering::Equal => {
                    *only = item;
                    return false;
                }
                Ordering::Less => self.0 = Shape::Few([only.clone(), item].into()),
                Ordering::Greater => self.0 = Shape::Few([item, only.clone()].into()),
            },
            Shape::Few(items) => match items.binary_search_by(order) {
                Ok(at) => {
                    Arc::make_mut(items)[at] = item;
                    return false;
                }
                Err(at) => self.0 = few_with(items, at, item),
            },
            Shape::Many(root) => match Node::insert(root, item, &mut order) {
                Inserted::Instead => return false,
                Inserted::New => {}
                Inserted::Split(right) => *root = Node::above(Arc::clone(root), right),
            },
        }
        true
    }

    /// Takes out the item for which `order` is `Equal`. Returns whether there was one.
    pub fn remove(&mut self, mut order: impl FnMut(&T) -> Ordering) -> bool {
        match &mut self.0 {
            Shape::Empty => false,
            Shape::One(only) => {
                let found = order(only).is_eq();
                if found {
                    self.0 = Shape::Empty;
                }
                found
            }
            Shape::Few(items) => {
                let Ok(at) = items.binary_search_by(order) else { return false };
                self.0 = few_without(items, at);
                true
            }
            Shape::Many(root) => {
                let found = root.leaf_for(&mut order).binary_search_by(&mut order).is_ok();
                if found {
                    Node::remove(root, &mut order);
                    self.0 = lowered(root);
                }
                found
            }
        }
    }
}

/// A walk over the leaves.
struct Chunks<'a, T> {
    /// The only run of a flat set, once.
    flat: &'a [T],
    /// What is left to visit on each level of a tree.
    above: Vec<slice::Iter<'a, Arc<Node<T>>>>,
}

impl<'a, T> Iterator for Chunks<'a, T> {
    type Item = &'a [T];

    fn next(&mut self) -> Option<&'a [T]> {
        if !self.flat.is_empty() {
            return Some(std::mem::take(&mut self.flat));
        }
        loop {
            match self.above.last_mut()?.next().map(|node| &**node) {
                None => drop(self.above.pop()),
                Some(Node::Leaf(items)) => return Some(items),
                Some(Node::Inner(children)) => self.above.push(children.iter()),
            }
        }
    }
}

fn few_with<T: Clone>(items: &[T], at: usize, item: T) -> Shape<T> {
    if items.len() < FAN {
        let (before, after) = items.split_at(at);
        let all = before.iter().cloned().chain(std::iter::once(item)).chain(after.iter().cloned());
        return Shape::Few(all.collect());
    }
    let mut left: Run<T> = items.iter().cloned().collect();
    let right = put(&mut left, at, item).expect("a full run splits");
    Shape::Many(Node::above(Arc::new(Node::Leaf(left)), Arc::new(Node::Leaf(right))))
}

fn few_without<T: Clone>(items: &[T], at: usize) -> Shape<T> {
    let (before, after) = (&items[..at], &items[at + 1..]);
    if let ([only], []) | ([], [only]) = (before, after) {
        return Shape::One(only.clone());
    }
    Shape::Few(before.iter().chain(after).cloned().collect())
}

/// The flattest shape of a tree that has shrunk.
fn lowered<T: Clone>(root: &Arc<Node<T>>) -> Shape<T> {
    let mut root = root;
    loop {
        match &**root {
            Node::Leaf(items) => return Shape::Few(items.as_slice().into()),
            Node::Inner(children) if children.len() == 1 => root = &children[0],
            Node::Inner(_) => return Shape::Many(Arc::clone(root)),
        }
    }
}

/// Puts `item` at `at`. A full run is cut in half first, and its right half returned: items come
/// in no order, so that halves stay useful on both sides.
fn put<T>(run: &mut Run<T>, at: usize, item: T) -> Option<Run<T>> {
    if !run.is_full() {
        run.insert(at, item);
        return None;
    }
    let mut right: Run<T> = run.drain(FAN / 2..).collect();
    match at.checked_sub(FAN / 2) {
        Some(at @ 1..) => right.insert(at, item),
        Some(0) | None => run.insert(at, item),
    }
    Some(right)
}

impl<T: Clone> Node<T> {
    /// A root above two nodes.
    fn above(left: Arc<Self>, right: Arc<Self>) -> Arc<Self> {
        Arc::new(Self::Inner([left, right].into_iter().collect()))
    }

    /// The smallest item below.
    fn first(&self) -> &T {
        match self {
            Self::Leaf(items) => &items[0],
            Self::Inner(children) => children[0].first(),
        }
    }

    /// The leaf in which the sought item is, or would be put.
    fn leaf_for(&self, order: &mut impl FnMut(&T) -> Ordering) -> &[T] {
        match self {
            Self::Leaf(items) => items,
            Self::Inner(children) => children[child_for(children, order)].leaf_for(order),
        }
    }

    fn insert(
        this: &mut Arc<Self>,
        item: T,
        order: &mut impl FnMut(&T) -> Ordering,
    ) -> Inserted<T> {
        let split = match Arc::make_mut(this) {
            Self::Leaf(items) => match items.binary_search_by(order) {
                Ok(at) => {
                    items[at] = item;
                    return Inserted::Instead;
                }
                Err(at) => put(items, at, item).map(Self::Leaf),
            },
            Self::Inner(children) => {
                let at = child_for(children, order);
                match Self::insert(&mut children[at], item, order) {
                    Inserted::Split(right) => put(children, at + 1, right).map(Self::Inner),
                    done => return done,
                }
            }
        };
        split.map_or(Inserted::New, |right| Inserted::Split(Arc::new(right)))
    }

    /// Takes out an item that is there. May leave an inner root with one child.
    fn remove(this: &mut Arc<Self>, order: &mut impl FnMut(&T) -> Ordering) {
        match Arc::make_mut(this) {
            Self::Leaf(items) => {
                let at = items.binary_search_by(order).expect("the caller has found it");
                items.remove(at);
            }
            Self::Inner(children) => {
                let at = child_for(children, order);
                Self::remove(&mut children[at], order);
                rebalance(children, at);
            }
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Leaf(items) => items.len(),
            Self::Inner(children) => children.len(),
        }
    }

    /// Takes over all of the right neighbour.
    fn join(&mut self, right: &Self) {
        match (self, right) {
            (Self::Leaf(items), Self::Leaf(more)) => items.extend(more.iter().cloned()),
            (Self::Inner(children), Self::Inner(more)) => children.extend(more.iter().cloned()),
            _ => unreachable!("all leaves are equally deep"),
        }
    }
}

/// The child below which the sought item is, or would be put.
fn child_for<T: Clone>(children: &[Arc<Node<T>>], order: &mut impl FnMut(&T) -> Ordering) -> usize {
    children.partition_point(|child| order(child.first()).is_le()).saturating_sub(1)
}

/// Keeps nodes from dwindling after a removal below the child at `at`: drops that child when it
/// is empty, joins it with a neighbour when both are small.
fn rebalance<T: Clone>(children: &mut Run<Arc<Node<T>>>, at: usize) {
    if children[at].len() > FAN / 4 {
        return;
    }
    if children[at].len() == 0 {
        children.remove(at);
        return;
    }
    let left = if at + 1 < children.len() { at } else { at.saturating_sub(1) };
    let Some(right) = children.get(left + 1) else { return };
    if children[left].len() + right.len() <= FAN * 3 / 4 {
        let right = children.remove(left + 1);
        Arc::make_mut(&mut children[left]).join(&right);
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
        assert!(set.chunks().all(|chunk| !chunk.is_empty() && chunk.len() <= FAN));
    }

    proptest! {
        /// Against `BTreeSet`, with clones taken on the way that must not change afterwards.
        #[test]
        fn it_is_a_sorted_set_and_its_clones_stand_still(
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
                if value % 64 == 0 {
                    clones.push((set.clone(), model.clone()));
                }
            }
            check(&set, &model);
            for (set, model) in &clones {
                check(set, model);
            }
            for value in model.clone() {
                prop_assert!(set.remove(|item| item.cmp(&value)));
                model.remove(&value);
            }
            check(&set, &model);
        }
    }
}
