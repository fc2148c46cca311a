//! Values by [`Token`]: an index, and a generation that a freed index is used again under.
//!
//! Must not: know what it holds. Belongs to the thread that runs the loop.

use crate::handler::Token;

impl Token {
    /// As an event carries it.
    pub(super) const fn to_bits(self) -> u64 {
        (self.generation as u64) << 32 | self.index as u64
    }

    /// The token that [`Token::to_bits`] was made of.
    #[expect(clippy::cast_possible_truncation, reason = "each half is meant")]
    pub(super) const fn from_bits(bits: u64) -> Self {
        Self { generation: (bits >> 32) as u32, index: bits as u32 }
    }

    fn at(self) -> usize {
        self.index as usize
    }
}

/// A growing array of slots; a freed one is used again under another token.
pub(super) struct Slab<T> {
    entries: Vec<Entry<T>>,
    free: Vec<u32>,
}

struct Entry<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Slab<T> {
    pub(super) const fn new() -> Self {
        Self { entries: Vec::new(), free: Vec::new() }
    }

    /// How many slots are taken.
    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// One more than the highest index ever taken, for a walk with [`Slab::token_at`].
    pub(super) fn capacity(&self) -> usize {
        self.entries.len()
    }

    /// The token of the value at `index`, when there is one.
    pub(super) fn token_at(&self, index: usize) -> Option<Token> {
        let entry = self.entries.get(index)?;
        entry.value.as_ref()?;
        Some(Token { generation: entry.generation, index: index_of(index) })
    }

    /// The token of the next value that is inserted.
    pub(super) fn next_token(&self) -> Token {
        match self.free.last() {
            Some(&index) => Token { generation: self.entries[index as usize].generation, index },
            None => Token { generation: 0, index: index_of(self.entries.len()) },
        }
    }

    pub(super) fn insert(&mut self, value: T) -> Token {
        let token = self.next_token();
        if self.free.pop().is_some() {
            self.entries[token.at()].value = Some(value);
        } else {
            self.entries.push(Entry { generation: 0, value: Some(value) });
        }
        token
    }

    /// The value of that token; none when it is gone, even if the slot was used again.
    pub(super) fn get_mut(&mut self, token: Token) -> Option<&mut T> {
        let entry = self.entries.get_mut(token.at())?;
        if entry.generation == token.generation { entry.value.as_mut() } else { None }
    }

    pub(super) fn remove(&mut self, token: Token) -> Option<T> {
        let entry = self.entries.get_mut(token.at())?;
        if entry.generation != token.generation {
            return None;
        }
        let value = entry.value.take()?;
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(token.index);
        Some(value)
    }
}

/// A slot is a socket, and a process cannot have four thousand million of those.
fn index_of(position: usize) -> u32 {
    u32::try_from(position).expect("fewer slots than u32 counts")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_does_not_reach_the_next_value_of_its_slot() {
        let mut slab = Slab::new();
        let first = slab.insert("first");
        let other = slab.insert("other");
        assert_eq!(slab.remove(first), Some("first"));
        let second = slab.insert("second");
        assert_eq!(first.index, second.index, "the slot is used again");
        assert_eq!(slab.get_mut(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get_mut(second), Some(&mut "second"));
        assert_eq!(slab.get_mut(other), Some(&mut "other"));
        assert_eq!((slab.len(), slab.capacity()), (2, 2));
    }

    #[test]
    fn an_event_carries_a_whole_token() {
        let token = Token { generation: 0xdead_beef, index: 7 };
        assert_eq!(Token::from_bits(token.to_bits()), token);
    }

    #[test]
    fn a_walk_skips_what_is_free() {
        let mut slab = Slab::new();
        let tokens = [slab.insert(0), slab.insert(1), slab.insert(2)];
        slab.remove(tokens[1]);
        let walked: Vec<_> = (0..slab.capacity()).filter_map(|at| slab.token_at(at)).collect();
        assert_eq!(walked, [tokens[0], tokens[2]]);
    }
}
