//! [`Memory`]: the memory that peers may cause to be used, as one number (`--max-memory`).
//!
//! A ledger, in bytes. Whoever stores something for peers adds its bytes and removes them again;
//! whoever is about to store more asks first whether there is room. What comes first to its limit is
//! what is easiest to do without: long listings, then new connections, then everything that is new.
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
    /// What long listings collect, and what cached responses may take.
    Listings,
}

impl Use {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Registry, Self::Connections, Self::Buffers, Self::Listings];

    /// Its label in `/metrics`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Registry => "registry",
            Self::Connections => "connections",
            Self::Buffers => "buffers",
            Self::Listings => "listings",
        }
    }

    /// Up to how much in use, in per cent, it is given more: of all, and of its own.
    fn most(self) -> (usize, usize) {
        match self {
            Self::Registry => (100, limits::MEMORY_OF_REGISTRY),
            Self::Connections => (95, 100),
            Self::Buffers => (100, 100),
            Self::Listings => (85, 100),
        }
    }
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
        self.used.iter().map(|pool| pool.load(Ordering::Relaxed)).sum()
    }

    /// Whether so many bytes more may be used for that; if not, that is counted.
    #[must_use]
    pub fn has_room(&self, what: Use, bytes: usize) -> bool {
        let (of_all, of_own) = self.most[what as usize];
        let own = self.used[what as usize].load(Ordering::Relaxed);
        let has_room =
            self.used().saturating_add(bytes) <= of_all && own.saturating_add(bytes) <= of_own;
        if !has_room {
            self.refused[what as usize].inc();
        }
        has_room
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
            let used = move || memory.used[what as usize].load(Ordering::Relaxed);
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
        let open = |memory: &Memory| Use::ALL.map(|what| memory.has_room(what, 0));
        let steps = [
            (0, [true, true, true, true]),
            (84, [true, true, true, true]),
            (86, [true, true, true, false]),
            (96, [true, false, true, false]),
            (101, [false, false, false, false]),
        ];
        for (per_cent, want) in steps {
            let bytes = all / 100 * per_cent;
            memory.add(Use::Buffers, bytes);
            assert_eq!(open(&memory), want, "{per_cent} %");
            memory.remove(Use::Buffers, bytes);
        }
        memory.add(Use::Registry, all / 100 * 76);
        assert_eq!(open(&memory), [false, true, true, true], "the registry has its part");
        assert!(Memory::default().has_room(Use::Buffers, usize::MAX), "without a limit");
    }
}
