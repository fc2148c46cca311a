//! Slots with names that are never used twice: an index and the generation of what stands there.
//!
//! Must not: know what it holds. Belongs to the thread that runs the table.

/// The name of one slot for as long as its value lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Token {
    generation: u32,
    index: u32,
}

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

/// A growing array of slots; a freed one is used again under another name.
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

    /// The name of the value at `index`, when there is one.
    pub(super) fn token_at(&self, index: usize) -> Option<Token> {
        let entry = self.entries.get(index)?;
        entry.value.as_ref()?;
        Some(Token { generation: entry.generation, index: index_of(index) })
    }

    pub(super) fn insert(&mut self, value: T) -> Token {
        if let Some(index) = self.free.pop() {
            let entry = &mut self.entries[index as usize];
            entry.value = Some(value);
            return Token { generation: entry.generation, index };
        }
        let index = index_of(self.entries.len());
        self.entries.push(Entry { generation: 0, value: Some(value) });
        Token { generation: 0, index }
    }

    /// The value of that name; none when it is gone, whoever lives there now.
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

/// Slots are sockets, and a process cannot have four thousand million of those.
fn index_of(position: usize) -> u32 {
    u32::try_from(position).expect("fewer slots than u32 counts")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_outlives_its_tenant_without_naming_the_next() {
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
