//! [`Memory`]: the memory that peers may cause to be used, as one number (`--max-memory`).
//!
//! A ledger, in bytes. Whoever stores something for peers adds its bytes and removes them again;
//! whoever is about to store more asks first whether there is room. What comes first to its limit is
//! what is easiest to do without: long listings and large buffers, then new connections, then what is
//! new in the registry; small buffers have the rest, so that what is there goes on.
//! The registry has a part at most, so that there is always room to serve what it holds.
//!
//! It gives out the number less a reserve, for what it does not see: the program itself, the buffers
//! of its threads, old snapshots, and what the allocator loses. The costs of single items are
//! measured: see README.md, "Memory". Must not: free anything. Any thread may call.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::limits;
use crate::metrics::{Families, StripedCounter};

/// A topic and what finds it, in bytes: with a name of 64 bytes, at the worst moment of its tables.
pub const TOPIC: usize = 640;
/// A channel, in bytes.
pub const CHANNEL: usize = 288;
/// A registration of an nsqd, in bytes.
pub const REGISTRATION: usize = 176;
/// A refused registration that is remembered, in bytes.
pub const REFUSED: usize = 256;
/// A connection of an nsqd, in bytes, with an identity of [`limits::IDENTITY`].
pub const NSQD: usize = 3 * 1024;
/// A connection of an HTTP client, in bytes, at rest.
pub const CLIENT: usize = 320;

/// What memory is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Topics, channels, registrations.
    Registry,
    /// Connections: what is stored of each.
    Connections,
    /// Input that is not complete, and output that peers have not read.
    Buffers,
    /// Registrations that were refused and are to be tried again.
    Refused,
    /// What long listings collect, and what cached responses may take.
    Listings,
}

impl Use {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Registry, Self::Connections, Self::Buffers, Self::Refused, Self::Listings];

    /// Its label in `/metrics`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Registry => "registry",
            Self::Connections => "connections",
            Self::Buffers => "buffers",
            Self::Refused => "refused_registrations",
            Self::Listings => "listings",
        }
    }

    /// Up to how much in use, in per cent, it is given more: of all, and of its own. A full registry
    /// and the cached responses are less than what listings and buffers may fill, so that there is
    /// always room for some of those.
    fn most(self) -> (usize, usize) {
        match self {
            Self::Registry => (97, limits::MEMORY_OF_REGISTRY),
            Self::Connections => (95, 100),
            Self::Buffers | Self::Refused | Self::Listings => (90, 100),
        }
    }
}

const _: () = assert!(limits::MEMORY_OF_REGISTRY + limits::MEMORY_OF_CACHE < 90);

/// How much room there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Enough for everybody.
    Enough,
    /// So little, from [`limits::SHARED_FROM`] on, that shares count.
    Little,
    /// None; that is counted.
    None,
}

/// What is used of it, and how much may be.
#[derive(Debug)]
pub struct Memory {
    /// `--max-memory` in bytes; none: not limited.
    max: Option<usize>,
    /// What of it may be given out.
    budget: usize,
    /// Up to how many bytes each use is given more: of all, and of its own.
    most: [(usize, usize); Use::ALL.len()],
    /// Bytes by what they are used for. Relaxed: a bound, exact once nobody is at work.
    used: [AtomicUsize; Use::ALL.len()],
    refused: [StripedCounter; Use::ALL.len()],
}

impl Default for Memory {
    /// Without a limit.
    fn default() -> Self {
        Self::new(None)
    }
}

impl Memory {
    /// Memory of `max` bytes; without a limit if none.
    #[must_use]
    pub fn new(max: Option<usize>) -> Self {
        let reserve = |max: usize| (max / 100 * 15).max(limits::MEMORY_RESERVE);
        let budget = max.map_or(usize::MAX, |max| max.saturating_sub(reserve(max)));
        let mut memory = Self {
            max,
            budget,
            most: Default::default(),
            used: Default::default(),
            refused: Default::default(),
        };
        memory.most = Use::ALL.map(|what| {
            let (of_all, of_own) = what.most();
            (memory.part(of_all), memory.part(of_own))
        });
        memory
    }

    /// A part of what may be given out, in bytes: `usize::MAX` without a limit.
    #[must_use]
    pub fn part(&self, per_cent: usize) -> usize {
        if self.max.is_some() { self.budget / 100 * per_cent } else { usize::MAX }
    }

    /// Bytes in use.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.iter().map(|bytes| bytes.load(Ordering::Relaxed)).sum()
    }

    /// Bytes in use for that.
    #[must_use]
    pub fn used_for(&self, what: Use) -> usize {
        self.used[what as usize].load(Ordering::Relaxed)
    }

    /// Whether so many bytes more may be used for that; if not, that is counted.
    #[must_use]
    pub fn has_room(&self, what: Use, bytes: usize) -> bool {
        self.room(what, bytes) != Room::None
    }

    /// What room there is to use so many bytes more for that.
    #[must_use]
    pub fn room(&self, what: Use, bytes: usize) -> Room {
        let (most, then) = self.most_and_then(what, bytes);
        match most.filter(|&most| then <= most) {
            Some(most) if then <= limits::shared_from(most) => Room::Enough,
            Some(_) => Room::Little,
            None => {
                self.refuse(what);
                Room::None
            }
        }
    }

    /// The same for `more` bytes of the buffers of one connection, which take `all` then. Small ones
    /// have what is left of all memory.
    #[must_use]
    pub fn room_for_buffers(&self, all: usize, more: usize) -> Room {
        if all > limits::SMALL_BUFFERS {
            return self.room(Use::Buffers, more);
        }
        if self.used().saturating_add(more) <= self.part(100) {
            return Room::Enough;
        }
        self.refuse(Use::Buffers);
        Room::None
    }

    /// How full it is for that, from 0 to 1.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share, not a count")]
    pub fn fill_ratio(&self, what: Use) -> f64 {
        let (most, then) = self.most_and_then(what, 0);
        then as f64 / most.unwrap_or(0).max(1) as f64
    }

    /// How many bytes may be used for that, beside what else is in use, if any may; and how many are
    /// with so many more.
    fn most_and_then(&self, what: Use, bytes: usize) -> (Option<usize>, usize) {
        let (of_all, of_own) = self.most[what as usize];
        let own = self.used_for(what);
        let others = self.used().saturating_sub(own);
        (of_all.checked_sub(others).map(|most| most.min(of_own)), own.saturating_add(bytes))
    }

    /// Counts that something was refused.
    pub fn refuse(&self, what: Use) {
        self.refused[what as usize].inc();
    }

    /// So many bytes are used.
    pub fn add(&self, what: Use, bytes: usize) {
        self.used[what as usize].fetch_add(bytes, Ordering::Relaxed);
    }

    /// So many are used no longer.
    pub fn remove(&self, what: Use, bytes: usize) {
        self.used[what as usize].fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Registers the families.
    pub fn register_metrics(self: &Arc<Self>, families: &mut Families) {
        for what in Use::ALL {
            let labels = [("use", what.label())];
            let (memory, help) = (Arc::clone(self), "Memory that is used for peers, as counted.");
            let used = move || memory.used_for(what);
            families.gauge("musterd_memory_used_bytes", help, &labels, used);
            let (memory, help) = (Arc::clone(self), "What was refused for want of memory.");
            let refused = move || memory.refused[what as usize].get();
            families.counter("musterd_memory_refused_total", help, &labels, refused);
        }
        let (memory, help) = (Arc::clone(self), "--max-memory; 0: not limited.");
        families.gauge("musterd_memory_max_bytes", help, &[], move || memory.max.unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn a_reserve_is_not_given_out() {
        assert_eq!(Memory::new(Some(1000 * MIB)).part(100), 850 * MIB / 100 * 100);
        assert_eq!(Memory::new(Some(100 * MIB)).part(100), 68 * MIB / 100 * 100);
        assert_eq!(Memory::new(Some(MIB)).part(100), 0);
        assert_eq!(Memory::default().part(1), usize::MAX);
    }

    #[test]
    fn what_is_easiest_to_do_without_is_refused_first() {
        let memory = Memory::new(Some(200 * MIB));
        let all = memory.part(100);
        let open = |memory: &Memory| Use::ALL.map(|what| memory.has_room(what, 1));
        let small = |memory: &Memory| memory.room_for_buffers(limits::SMALL_BUFFERS, 1);
        let steps = [
            (0, [true, true, true, true, true], Room::Enough),
            (89, [true, true, true, true, true], Room::Enough),
            (91, [true, true, false, false, false], Room::Enough),
            (96, [true, false, false, false, false], Room::Enough),
            (98, [false, false, false, false, false], Room::Enough),
            (101, [false, false, false, false, false], Room::None),
        ];
        for (per_cent, want, want_small) in steps {
            let bytes = all / 100 * per_cent;
            memory.add(Use::Buffers, bytes);
            assert_eq!((open(&memory), small(&memory)), (want, want_small), "{per_cent} %");
            memory.remove(Use::Buffers, bytes);
        }
        memory.add(Use::Registry, all / 100 * 76);
        assert_eq!(
            open(&memory),
            [false, true, true, true, true],
            "the registry has its part, and leaves the others theirs"
        );
        assert!(Memory::default().has_room(Use::Buffers, usize::MAX), "without a limit");
    }

    #[test]
    fn shares_count_when_little_is_left_beside_what_else_is_in_use() {
        let memory = Memory::new(Some(200 * MIB));
        let per_cent = memory.part(1);
        memory.add(Use::Registry, 70 * per_cent);
        let buffers = [(15, Room::Enough), (17, Room::Little), (21, Room::None)];
        for (bytes, want) in buffers {
            assert_eq!(memory.room(Use::Buffers, bytes * per_cent), want, "of 20 %: {bytes}");
        }
        assert_eq!(memory.room(Use::Registry, 1), Room::Little, "70 of 75 %");
        memory.remove(Use::Registry, 70 * per_cent);
        assert_eq!(memory.room(Use::Buffers, 21 * per_cent), Room::Enough);
    }
}
