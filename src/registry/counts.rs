//! How many topics, channels and registrations there are, and how many there may be.
//!
//! All counters are relaxed: they order nothing, and they are exact once no writer is at work.
//! Must not: know what is counted. Any thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::sizes::Sizes;
use crate::limits;
use crate::memory::{self, Memory, Use};

/// How much the registry takes.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    /// Registrations of all nsqds together; also topics and channels together, so that names
    /// created over HTTP are bounded too.
    pub registrations: usize,
    /// Registrations of one nsqd.
    pub per_nsqd: usize,
    /// Topics and channels together that HTTP clients created and no nsqd has registered.
    pub http_names: usize,
}

impl Default for Capacity {
    fn default() -> Self {
        Self {
            registrations: limits::REGISTRATIONS,
            per_nsqd: limits::REGISTRATIONS_PER_NSQD,
            http_names: Self::http_names_among(limits::REGISTRATIONS),
        }
    }
}

impl Capacity {
    /// The HTTP clients' part of so many registrations, if nothing else is asked for.
    #[must_use]
    pub fn http_names_among(registrations: usize) -> usize {
        registrations.div_ceil(limits::HTTP_NAMES_SHARE)
    }
}

/// A change that was refused because a limit of [`Capacity`] is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitReached {
    /// This nsqd has [`Capacity::per_nsqd`] registrations.
    Nsqd,
    /// All nsqds together have [`Capacity::registrations`], or there are as many names.
    Registry,
    /// There is no memory for more.
    Memory,
    /// There is little room for more, and no nsqd has more registrations than this one, which has more
    /// than [`limits::REGISTRATIONS_UNSHARED`].
    Share,
    /// There are [`Capacity::http_names`] that only HTTP clients know.
    HttpNames,
}

impl LimitReached {
    /// Whether it is one that all nsqds and HTTP clients have together.
    pub(super) fn is_of_all(self) -> bool {
        matches!(self, Self::Registry | Self::Memory | Self::Share)
    }
}

/// Where the room for something new is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// Within the limits.
    Left,
    /// Names that nsqds left behind are removed for it.
    Made,
}

/// The registry's counters, checked against its capacity.
#[derive(Debug)]
pub(super) struct Counts {
    pub(super) capacity: Capacity,
    memory: Arc<Memory>,
    /// Topics and channels: one counter, since one limit bounds both together.
    names: AtomicUsize,
    /// The channels among them.
    channels: AtomicUsize,
    registrations: AtomicUsize,
    /// How many registrations the nsqds have.
    sizes: Sizes,
    /// Names that HTTP clients created and no nsqd has registered.
    http_names: AtomicUsize,
    /// Names that nsqds left behind and that were removed to make room, in all.
    removed: AtomicUsize,
    /// Names that nsqds wait to register.
    refused: AtomicUsize,
    /// Connected and identified.
    nsqds: AtomicUsize,
}

impl Counts {
    pub(super) fn new(mut capacity: Capacity, memory: Arc<Memory>) -> Self {
        // The same part of the memory that names may take.
        let bytes = memory.part(limits::MEMORY_OF_REGISTRY) / limits::HTTP_NAMES_SHARE;
        capacity.http_names = capacity.http_names.min(bytes / memory::TOPIC);
        let [names, channels, registrations, http_names, removed, refused, nsqds] =
            [const { AtomicUsize::new(0) }; 7];
        Self {
            capacity,
            memory,
            names,
            channels,
            registrations,
            sizes: Sizes::default(),
            http_names,
            removed,
            refused,
            nsqds,
        }
    }

    pub(super) fn topics(&self) -> usize {
        self.names.load(Ordering::Relaxed).saturating_sub(self.channels())
    }

    pub(super) fn channels(&self) -> usize {
        self.channels.load(Ordering::Relaxed)
    }

    pub(super) fn registrations(&self) -> usize {
        self.registrations.load(Ordering::Relaxed)
    }

    pub(super) fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }

    /// Whether one more refused name may be remembered. Threads that ask at the same time may add
    /// one each.
    pub(super) fn may_remember(&self) -> bool {
        self.refused() < limits::REFUSED && self.memory.has_room(Use::Refused, memory::REFUSED)
    }

    pub(super) fn add_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.memory.add(Use::Refused, memory::REFUSED);
    }

    pub(super) fn remove_refused(&self, count: usize) {
        if count > 0 {
            self.refused.fetch_sub(count, Ordering::Relaxed);
            self.memory.remove(Use::Refused, count * memory::REFUSED);
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a share, not a count")]
    pub(super) fn fill_ratio(&self) -> f64 {
        let used = self.registrations().max(self.names.load(Ordering::Relaxed));
        let ratio = used as f64 / self.capacity.registrations.max(1) as f64;
        ratio.max(self.memory.fill_ratio(Use::Registry))
    }

    /// Whether there is so little of everything that a listing of all of it is short.
    pub(super) fn is_small(&self) -> bool {
        [&self.names, &self.registrations, &self.nsqds]
            .iter()
            .all(|count| count.load(Ordering::Relaxed) <= limits::SMALL_REGISTRY)
    }

    pub(super) fn add_nsqd(&self) {
        self.nsqds.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn remove_nsqd(&self) {
        self.nsqds.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts one more topic, if there is room.
    pub(super) fn add_topic(&self, room: Room) -> Result<(), LimitReached> {
        self.add_name(memory::TOPIC, room)
    }

    /// Counts one more channel, if there is room.
    pub(super) fn add_channel(&self, room: Room) -> Result<(), LimitReached> {
        self.add_name(memory::CHANNEL, room)?;
        self.channels.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// How many more topics and channels there may be.
    pub(super) fn free_names(&self) -> usize {
        self.capacity.registrations.saturating_sub(self.names.load(Ordering::Relaxed))
    }

    fn add_name(&self, bytes: usize, room: Room) -> Result<(), LimitReached> {
        let before = self.names.fetch_add(1, Ordering::Relaxed);
        let limit = match room {
            Room::Left if before >= self.capacity.registrations => Some(LimitReached::Registry),
            Room::Left if !self.memory.has_room(Use::Registry, bytes) => Some(LimitReached::Memory),
            Room::Left | Room::Made => None,
        };
        if let Some(limit) = limit {
            self.names.fetch_sub(1, Ordering::Relaxed);
            return Err(limit);
        }
        self.memory.add(Use::Registry, bytes);
        Ok(())
    }

    /// Names that HTTP clients created and no nsqd has registered.
    pub(super) fn http_names(&self) -> usize {
        self.http_names.load(Ordering::Relaxed)
    }

    /// Counts a name, which is counted as one already, as one of HTTP clients, if it fits.
    pub(super) fn add_http_name(&self) -> Result<(), LimitReached> {
        if self.http_names.fetch_add(1, Ordering::Relaxed) >= self.capacity.http_names {
            self.remove_http_names(1);
            return Err(LimitReached::HttpNames);
        }
        Ok(())
    }

    /// So many of them were removed, or an nsqd has registered them.
    pub(super) fn remove_http_names(&self, count: usize) {
        if count > 0 {
            self.http_names.fetch_sub(count, Ordering::Relaxed);
        }
    }

    /// How many names that nsqds left behind were removed to make room.
    pub(super) fn removed(&self) -> usize {
        self.removed.load(Ordering::Relaxed)
    }

    /// So many more were.
    pub(super) fn count_removed(&self, count: usize) {
        self.removed.fetch_add(count, Ordering::Relaxed);
    }

    /// Counts a removed topic, and so many channels removed with it.
    pub(super) fn remove_topic(&self, channels: usize) {
        self.remove_channels(channels);
        self.names.fetch_sub(1, Ordering::Relaxed);
        self.memory.remove(Use::Registry, memory::TOPIC);
    }

    /// Counts so many removed channels.
    pub(super) fn remove_channels(&self, channels: usize) {
        self.channels.fetch_sub(channels, Ordering::Relaxed);
        self.names.fetch_sub(channels, Ordering::Relaxed);
        self.memory.remove(Use::Registry, channels * memory::CHANNEL);
    }

    /// Whether an nsqd with `has` registrations may have `new` more. Names that are removed make room
    /// in memory, but none for more registrations than there may be.
    pub(super) fn check_registrations(
        &self,
        has: usize,
        new: usize,
        room: Room,
    ) -> Result<(), LimitReached> {
        if new == 0 {
            return Ok(());
        }
        if has + new > self.capacity.per_nsqd {
            return Err(LimitReached::Nsqd);
        }
        let all = self.registrations() + new;
        if all > self.capacity.registrations {
            return Err(LimitReached::Registry);
        }
        if room == Room::Made {
            return Ok(());
        }
        let in_memory = self.memory.room(Use::Registry, new * memory::REGISTRATION);
        if in_memory == memory::Room::None {
            return Err(LimitReached::Memory);
        }
        let shared_from = limits::shared_from(self.capacity.registrations);
        let is_short = in_memory == memory::Room::Little
            || all.max(self.names.load(Ordering::Relaxed)) > shared_from;
        if is_short && has > limits::REGISTRATIONS_UNSHARED && self.sizes.is_most(has) {
            return Err(LimitReached::Share);
        }
        Ok(())
    }

    /// An nsqd has `count` registrations more: `has` now.
    pub(super) fn add_registrations(&self, has: usize, count: usize) {
        self.sizes.resized(has - count, has);
        self.registrations.fetch_add(count, Ordering::Relaxed);
        self.memory.add(Use::Registry, count * memory::REGISTRATION);
    }

    /// An nsqd has `count` registrations less: `has` now.
    pub(super) fn remove_registrations(&self, has: usize, count: usize) {
        self.sizes.resized(has + count, has);
        self.registrations.fetch_sub(count, Ordering::Relaxed);
        self.memory.remove(Use::Registry, count * memory::REGISTRATION);
    }
}
