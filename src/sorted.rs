//! [`Sorted<T>`]: a sorted set that is cheap to copy and shares what a copy did not change.
//!
//! A writer changes its own copy and publishes a clone of it: a clone is one reference count,
//! a change copies at most one chunk and the list of chunks, and a second change before the next
//! publication copies nothing. Must not: know what it holds. It is a value; threads share clones.

use std::cmp::Ordering;
use std::sync::Arc;

/// A set of at most this many items is one flat slice without spare room.
const FEW: usize = 32;
/// The most items in one chunk of a larger set. A change of a set of n items copies up to
/// `CHUNK` items and n / (`CHUNK` / 2) chunk pointers: for 10,000 items that is smallest near 128.
const CHUNK: usize = 128;

/// A persistent sorted set. The order is the caller's: every call of one set must be given a
/// comparison that agrees with it.
#[derive(Clone, Debug)]
pub struct Sorted<T>(Shape<T>);

/// What most sets of a fleet are, first: topics have one producer, a few, or a great many.
#[derive(Clone, Debug)]
enum Shape<T> {
    Empty,
    One(T),
    Few(Arc<[T]>),
    /// Never empty, no chunk empty, at least two chunks.
    Many(Arc<Vec<Arc<Vec<T>>>>),
}

impl<T> Default for Sorted<T> {
    fn default() -> Self {
        Self(Shape::Empty)
    }
}

impl<T: Clone> Sorted<T> {
    /// How many items there are; counts chunks, not items.
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
        let (flat, chunks): (&[T], &[Arc<Vec<T>>]) = match &self.0 {
            Shape::Empty => (&[], &[]),
            Shape::One(item) => (std::slice::from_ref(item), &[]),
            Shape::Few(items) => (items, &[]),
            Shape::Many(chunks) => (&[], chunks),
        };
        let flat = if flat.is_empty() { None } else { Some(flat) };
        flat.into_iter().chain(chunks.iter().map(|chunk| chunk.as_slice()))
    }

    /// The item for which `order` (of the item against the one that is sought) is `Equal`.
    pub fn find(&self, mut order: impl FnMut(&T) -> Ordering) -> Option<&T> {
        let run = match &self.0 {
            Shape::Empty => return None,
            Shape::One(item) => std::slice::from_ref(item),
            Shape::Few(items) => items,
            Shape::Many(chunks) => &chunks[chunk_for(chunks, &mut order)],
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
            Shape::Many(chunks) => return insert_in_chunks(Arc::make_mut(chunks), item, order),
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
            Shape::Many(chunks) => {
                let at = chunk_for(chunks, &mut order);
                let Ok(within) = chunks[at].binary_search_by(order) else { return false };
                let chunks = Arc::make_mut(chunks);
                Arc::make_mut(&mut chunks[at]).remove(within);
                join_small(chunks, at);
                if let [only] = chunks.as_slice() {
                    self.0 = Shape::Few(only.as_slice().into());
                }
                true
            }
        }
    }
}

/// The chunk in which the sought item is, or would be put.
fn chunk_for<T>(chunks: &[Arc<Vec<T>>], order: &mut impl FnMut(&T) -> Ordering) -> usize {
    chunks.partition_point(|chunk| order(&chunk[0]).is_le()).saturating_sub(1)
}

fn few_with<T: Clone>(items: &[T], at: usize, item: T) -> Shape<T> {
    let (before, after) = items.split_at(at);
    let all = before.iter().cloned().chain(std::iter::once(item)).chain(after.iter().cloned());
    if items.len() < FEW {
        return Shape::Few(all.collect());
    }
    let mut first: Vec<T> = all.collect();
    let second = first.split_off(first.len() / 2);
    Shape::Many(Arc::new(vec![Arc::new(first), Arc::new(second)]))
}

fn few_without<T: Clone>(items: &[T], at: usize) -> Shape<T> {
    let mut rest = items[..at].iter().chain(&items[at + 1..]).cloned();
    if items.len() == 2 {
        return rest.next().map_or(Shape::Empty, Shape::One);
    }
    Shape::Few(rest.collect())
}

fn insert_in_chunks<T: Clone>(
    chunks: &mut Vec<Arc<Vec<T>>>,
    item: T,
    mut order: impl FnMut(&T) -> Ordering,
) -> bool {
    let at = chunk_for(chunks, &mut order);
    let place = chunks[at].binary_search_by(order);
    let chunk = Arc::make_mut(&mut chunks[at]);
    match place {
        Ok(within) => chunk[within] = item,
        Err(within) => chunk.insert(within, item),
    }
    if chunk.len() > CHUNK {
        // Producers arrive in no order of their addresses: halves stay useful on both sides.
        let second = chunk.split_off(chunk.len() / 2);
        chunks.insert(at + 1, Arc::new(second));
    }
    place.is_err()
}

/// Keeps chunks from dwindling: drops the one at `at` when it is empty, joins it with a neighbour
/// when both are small.
fn join_small<T: Clone>(chunks: &mut Vec<Arc<Vec<T>>>, at: usize) {
    if chunks[at].is_empty() {
        chunks.remove(at);
        return;
    }
    let left = if at + 1 < chunks.len() { at } else { at.saturating_sub(1) };
    let Some(right) = chunks.get(left + 1) else { return };
    if chunks[left].len() + right.len() <= CHUNK / 2 {
        let right = chunks.remove(left + 1);
        Arc::make_mut(&mut chunks[left]).extend_from_slice(&right);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn check(set: &Sorted<u16>, model: &BTreeSet<u16>) {
        assert!(set.iter().eq(model.iter()), "{set:?} is not {model:?}");
        assert_eq!(set.len(), model.len());
        assert_eq!(set.is_empty(), model.is_empty());
        assert!(set.chunks().all(|chunk| !chunk.is_empty() && chunk.len() <= CHUNK));
    }

    proptest! {
        /// Against `BTreeSet`, with clones taken on the way that must not change afterwards.
        #[test]
        fn it_is_a_sorted_set_and_its_clones_stand_still(
            steps in prop::collection::vec((0u8..10, 0u16..700), 0..2500),
            growing in any::<bool>(),
        ) {
            let mut set = Sorted::default();
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
