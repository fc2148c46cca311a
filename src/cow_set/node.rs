//! The nodes of a [`CowSet`](super::CowSet) that is a tree.
//!
//! Must not: change a node that another clone shares. It is a value; threads share clones.

use std::cmp::Ordering;
use std::sync::Arc;

use arrayvec::ArrayVec;

/// The most items or children of one node. A change copies about log(n) / log(`FANOUT`) nodes, and a
/// copy increments the reference count of every item in them, each in a cache line of its own: small
/// nodes are faster although there are more of them. A set of at most this size is one slice.
pub(super) const FANOUT: usize = 16;

/// A few items in order.
pub type Chunk<T> = ArrayVec<T, FANOUT>;

pub(super) type Items<T> = Chunk<T>;

/// A node of a B+ tree. No node is empty, and all leaves have the same depth.
#[derive(Clone, Debug)]
pub(super) enum Node<T> {
    Leaf(Items<T>),
    Inner(Items<Arc<Self>>),
}

/// What an insertion did to a node.
pub(super) enum Inserted<T> {
    /// It replaced an equal item.
    Replaced,
    Added,
    /// The node was full: this is its right half now.
    Split(Arc<Node<T>>),
}

/// Inserts `item` at `at`. A full node is split in half first, and its right half returned: items
/// are inserted in no order, so that both halves will be filled.
pub(super) fn insert_or_split<T>(items: &mut Items<T>, at: usize, item: T) -> Option<Items<T>> {
    if !items.is_full() {
        items.insert(at, item);
        return None;
    }
    let mut right: Items<T> = items.drain(FANOUT / 2..).collect();
    match at.checked_sub(FANOUT / 2) {
        Some(at @ 1..) => right.insert(at, item),
        Some(0) | None => items.insert(at, item),
    }
    Some(right)
}

impl<T: Clone> Node<T> {
    /// A parent of two nodes.
    pub(super) fn parent(left: Arc<Self>, right: Arc<Self>) -> Arc<Self> {
        Arc::new(Self::Inner([left, right].into_iter().collect()))
    }

    /// The smallest item of the subtree.
    pub(super) fn first(&self) -> &T {
        match self {
            Self::Leaf(items) => &items[0],
            Self::Inner(children) => children[0].first(),
        }
    }

    /// The leaf that contains the sought item, or would.
    pub(super) fn leaf_for(&self, order: &mut impl FnMut(&T) -> Ordering) -> &[T] {
        match self {
            Self::Leaf(items) => items,
            Self::Inner(children) => children[child_for(children, order)].leaf_for(order),
        }
    }

    pub(super) fn leaf_for_mut<'a>(
        this: &'a mut Arc<Self>,
        order: &mut impl FnMut(&T) -> Ordering,
    ) -> &'a mut [T] {
        match Arc::make_mut(this) {
            Self::Leaf(items) => items,
            Self::Inner(children) => {
                let at = child_for(children, order);
                Self::leaf_for_mut(&mut children[at], order)
            }
        }
    }

    pub(super) fn insert(
        this: &mut Arc<Self>,
        item: T,
        order: &mut impl FnMut(&T) -> Ordering,
    ) -> Inserted<T> {
        let split = match Arc::make_mut(this) {
            Self::Leaf(items) => match items.binary_search_by(order) {
                Ok(at) => {
                    items[at] = item;
                    return Inserted::Replaced;
                }
                Err(at) => insert_or_split(items, at, item).map(Self::Leaf),
            },
            Self::Inner(children) => {
                let at = child_for(children, order);
                match Self::insert(&mut children[at], item, order) {
                    Inserted::Split(right) => {
                        insert_or_split(children, at + 1, right).map(Self::Inner)
                    }
                    done => return done,
                }
            }
        };
        split.map_or(Inserted::Added, |right| Inserted::Split(Arc::new(right)))
    }

    /// Removes an item that the tree contains. May leave an inner root with one child.
    pub(super) fn remove(this: &mut Arc<Self>, order: &mut impl FnMut(&T) -> Ordering) {
        match Arc::make_mut(this) {
            Self::Leaf(items) => {
                let at =
                    items.binary_search_by(order).expect("the caller has checked that it is there");
                items.remove(at);
            }
            Self::Inner(children) => {
                let at = child_for(children, order);
                Self::remove(&mut children[at], order);
                rebalance(children, at);
            }
        }
    }

    /// Removes the first leaf of an inner node. May leave an inner root with one child.
    pub(super) fn take_first_leaf(this: &mut Arc<Self>) -> Items<T> {
        let Self::Inner(children) = Arc::make_mut(this) else { unreachable!("no root is a leaf") };
        if let Self::Leaf(items) = &*children[0] {
            let items = items.clone();
            children.remove(0);
            return items;
        }
        let items = Self::take_first_leaf(&mut children[0]);
        if children[0].len() == 0 {
            children.remove(0);
        }
        items
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Leaf(items) => items.len(),
            Self::Inner(children) => children.len(),
        }
    }

    /// Appends everything of the right neighbour.
    pub(super) fn join(&mut self, right: &Self) {
        match (self, right) {
            (Self::Leaf(items), Self::Leaf(more)) => items.extend(more.iter().cloned()),
            (Self::Inner(children), Self::Inner(more)) => children.extend(more.iter().cloned()),
            _ => unreachable!("all leaves have the same depth"),
        }
    }
}

/// The index of the child whose subtree contains the sought item, or would.
pub(super) fn child_for<T: Clone>(
    children: &[Arc<Node<T>>],
    order: &mut impl FnMut(&T) -> Ordering,
) -> usize {
    children.partition_point(|child| order(child.first()).is_le()).saturating_sub(1)
}

/// Keeps nodes from becoming small after a removal below the child at `at`: removes that child if it
/// is empty, joins it with a neighbour if both are small.
pub(super) fn rebalance<T: Clone>(children: &mut Items<Arc<Node<T>>>, at: usize) {
    if children[at].len() > FANOUT / 4 {
        return;
    }
    if children[at].len() == 0 {
        children.remove(at);
        return;
    }
    let left = if at + 1 < children.len() { at } else { at.saturating_sub(1) };
    let Some(right) = children.get(left + 1) else { return };
    if children[left].len() + right.len() <= FANOUT * 3 / 4 {
        let right = children.remove(left + 1);
        Arc::make_mut(&mut children[left]).join(&right);
    }
}
