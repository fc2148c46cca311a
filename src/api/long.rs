//! Requests that take long in a large registry: listings and changes of all topics, made in slices.
//!
//! Must not: let more of them at a time than [`limits::WALKS`]; the others are told to come again. Any
//! thread; each belongs to a connection.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::handlers::{Answered, Api, Exchange};
use super::listings::{Context, Part};
use super::response::{ApiError, JSON, NSQ, json};
use super::walks::{Next, Topics};
use crate::access::{self, Holding, Pool};
use crate::clock::Timestamp;
use crate::http1::{Response, Task};
use crate::limits;
use crate::memory::{Memory, Use};
use crate::metrics::{Families, StripedCounter};
use crate::work::Work;

/// Units of [`Work`] of the removal of a topic, and of a search for the nsqd to tombstone.
const CHANGE: u32 = 20;

/// Bytes that count as one place among those who collect.
const COLLECTED: usize = 1024 * 1024;

/// From so many bytes on, an address that collects as much as any other gets no more.
const SHARED_FROM: usize = limits::shared_from(limits::NODES_INDEX);

/// The long requests that are being answered.
#[derive(Debug)]
pub struct Walks {
    pool: Arc<Pool>,
    /// Bytes that they may collect.
    bytes: AtomicUsize,
    /// Who may collect them.
    collecting: Arc<Pool>,
    memory: Arc<Memory>,
    refused: StripedCounter,
}

/// The place of one of them; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    walks: Arc<Walks>,
    _place: access::Place,
    bytes: usize,
    _collects: Holding,
}

impl Default for Walks {
    fn default() -> Self {
        let (bytes, refused) = (AtomicUsize::new(0), StripedCounter::default());
        let (pool, collecting) =
            (Pool::new(limits::WALKS), Pool::new(limits::NODES_INDEX / COLLECTED));
        Self { pool, bytes, collecting, memory: Arc::default(), refused }
    }
}

impl Walks {
    /// The same, as far as `memory` has room.
    #[must_use]
    pub fn within(self, memory: Arc<Memory>) -> Self {
        Self { memory, ..self }
    }

    /// A place for a request of `peer` that may collect so many bytes.
    pub(super) fn enter(self: &Arc<Self>, peer: IpAddr, bytes: usize) -> Result<Place, ApiError> {
        let has_room = self.memory.has_room(Use::Listings, bytes);
        let place = has_room.then(|| self.pool.acquire(peer)).flatten();
        let place = place.filter(|_| self.reserve(peer, bytes));
        let Some(place) = place else {
            self.refused.inc();
            return Err(ApiError::BUSY);
        };
        let mut collects = self.collecting.hold(peer);
        collects.set(bytes.div_ceil(COLLECTED));
        self.memory.add(Use::Listings, bytes);
        Ok(Place { walks: Arc::clone(self), _place: place, bytes, _collects: collects })
    }

    /// Whether `peer` may collect so many bytes more, which are counted then.
    fn reserve(&self, peer: IpAddr, bytes: usize) -> bool {
        let is_behind = bytes > 0 && self.collecting.is_behind(peer);
        let most = if is_behind { limits::NODES_INDEX } else { SHARED_FROM };
        let add = |all| {
            let fits = bytes == 0 || all == 0 || all + bytes <= most;
            fits.then_some(all + bytes)
        };
        self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
    }

    /// Registers the families of long requests.
    pub fn register_metrics(self: &Arc<Self>, families: &mut Families) {
        let (walks, help) = (Arc::clone(self), "Long HTTP requests that are being answered.");
        let running = move || walks.pool.taken_places() as u64;
        families.gauge("musterd_http_long_requests", help, &[], running);
        let help = "The most long HTTP requests at a time.";
        families.gauge("musterd_http_long_requests_max", help, &[], || limits::WALKS as u64);
        let (walks, help) = (Arc::clone(self), "Long HTTP requests that were told to come again.");
        let refused = move || walks.refused.get();
        families.counter("musterd_http_long_requests_refused_total", help, &[], refused);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.walks.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.walks.memory.remove(Use::Listings, self.bytes);
    }
}

impl Exchange<'_, '_> {
    /// Answers with a listing of everything: at once in a small registry.
    pub(super) fn list(self, parts: Vec<Part>) -> Answered {
        let is_short = self.api.registry.is_small();
        self.list_at_once(is_short, parts)
    }

    /// The same, where it is known whether it is short.
    pub(super) fn list_at_once(self, is_short: bool, parts: Vec<Part>) -> Answered {
        if !is_short {
            if self.response.is_head_only() {
                return self.stream(parts, None);
            }
            let bytes = parts.iter().map(|part| part.bytes(&self.api.registry)).sum();
            let place = self.api.walks.enter(self.request.peer.ip(), bytes)?;
            return self.stream(parts, Some(place));
        }
        let out = json(self.response, 1000);
        let (mut listing, mut work) = (LongListing::new(self.api, parts, None), Work::unlimited());
        while !listing.write(self.now, out, usize::MAX, &mut work) {}
        self.response.costs(usize::try_from(work.spent()).unwrap_or(usize::MAX));
        Ok(None)
    }

    /// Answers with a listing in slices; a HEAD at once, without its length.
    pub(super) fn stream(self, parts: Vec<Part>, place: Option<Place>) -> Answered {
        self.response.start_streamed(200, &[JSON, NSQ]);
        if self.response.is_head_only() {
            return Ok(None);
        }
        Ok(Some(Box::new(LongListing::new(self.api, parts, place))))
    }

    /// Changes every topic: at once in a small registry.
    pub(super) fn change_all(self, change: Change) -> Answered {
        let (api, topics) = (self.api.clone(), Topics::all());
        let mut task = LongChange { api, topics, change, at: self.now, _place: None };
        if self.api.registry.is_small() {
            self.response.costs(CHANGE as usize * self.api.registry.size());
            while !task.resume(self.now, self.response, usize::MAX, &mut Work::unlimited()) {}
            return Ok(None);
        }
        task._place = Some(self.api.walks.enter(self.request.peer.ip(), 0)?);
        Ok(Some(Box::new(task)))
    }
}

/// A listing that is being written.
#[derive(Debug)]
struct LongListing {
    api: Api,
    /// What is left, the next one last.
    parts: Vec<Part>,
    _place: Option<Place>,
}

impl LongListing {
    fn new(api: &Api, mut parts: Vec<Part>, place: Option<Place>) -> Self {
        parts.reverse();
        Self { api: api.clone(), parts, _place: place }
    }

    fn write(&mut self, now: Timestamp, out: &mut Vec<u8>, most: usize, work: &mut Work) -> bool {
        let full = out.len().saturating_add(most);
        let (snapshots, visibility) = (self.api.snapshots(), &self.api.visibility);
        let context = Context { snapshots, visibility, now };
        while let Some(part) = self.parts.last_mut() {
            if part.step(&context, work, out) {
                self.parts.pop();
            }
            if work.is_over() || out.len() >= full {
                break;
            }
        }
        self.parts.is_empty()
    }
}

impl Task for LongListing {
    fn resume(
        &mut self,
        now: Timestamp,
        response: &mut Response<'_>,
        most: usize,
        work: &mut Work,
    ) -> bool {
        self.write(now, response.rest(), most, work)
    }
}

/// What is done to every topic.
#[derive(Debug)]
pub(super) enum Change {
    Delete,
    /// The node.
    Tombstone(String),
}

/// A change of every topic that is being made.
#[derive(Debug)]
struct LongChange {
    api: Api,
    topics: Topics,
    change: Change,
    /// When it was asked for.
    at: Timestamp,
    _place: Option<Place>,
}

impl Task for LongChange {
    fn resume(
        &mut self,
        _: Timestamp,
        response: &mut Response<'_>,
        _: usize,
        work: &mut Work,
    ) -> bool {
        let registry = &self.api.registry;
        loop {
            match self.topics.next(registry.snapshots(), work) {
                Next::Topic(name) => match &self.change {
                    Change::Delete => registry.delete_topic(name.as_str()),
                    Change::Tombstone(node) => {
                        let seen = registry.tombstone(name.as_str(), node, self.at);
                        work.spend(u32::try_from(seen).unwrap_or(u32::MAX));
                    }
                },
                Next::Later => {}
                Next::End => break,
            }
            work.spend(CHANGE);
            if work.is_over() {
                return false;
            }
        }
        response.start(200, &[NSQ], 0);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn long_requests_are_refused_when_there_is_little_memory() {
        let memory = Arc::new(Memory::new(Some(2 * limits::MEMORY_RESERVE)));
        let walks = Arc::new(Walks::default().within(Arc::clone(&memory)));
        let peer = IpAddr::from([127, 0, 0, 1]);
        let place = walks.enter(peer, memory.part(50)).expect("there is room");
        assert_eq!(memory.used(), memory.part(50));
        assert_eq!(walks.enter(peer, memory.part(50)).err(), Some(ApiError::BUSY));
        drop(place);
        assert_eq!(memory.used(), 0);
        memory.add(Use::Buffers, memory.part(91));
        assert_eq!(
            walks.enter(peer, 0).err(),
            Some(ApiError::BUSY),
            "not even one that collects nothing"
        );
    }

    #[test]
    fn what_long_requests_collect_is_bounded() {
        let walks = Arc::new(Walks::default());
        let enter = |last, bytes| walks.enter(address(last), bytes);
        let first = enter(1, limits::NODES_INDEX + 1).expect("one is always allowed");
        assert_eq!(enter(2, 1).err(), Some(ApiError::BUSY));
        let _second = enter(2, 0).expect("it collects nothing");
        drop(first);
        let _third = enter(1, limits::NODES_INDEX - 1).expect("there is room");
        let _fourth = enter(2, 1).expect("just enough");
        assert_eq!(enter(3, 1).err(), Some(ApiError::BUSY));
        assert_eq!(walks.refused.get(), 2);
    }

    #[test]
    fn one_address_cannot_collect_all() {
        let walks = Arc::new(Walks::default());
        let tenth = limits::NODES_INDEX / 10;
        let take = |last| {
            let places = std::iter::from_fn(|| walks.enter(address(last), tenth).ok());
            places.take(100).collect::<Vec<_>>()
        };
        let greedy = take(1);
        assert_eq!(greedy.len(), 7, "up to four fifths");
        assert!(walks.enter(address(1), 0).is_ok(), "it collects nothing");
        assert_eq!(take(2).len(), 3, "and the rest is for others");
        drop(greedy);
        assert!(walks.enter(address(1), tenth).is_ok());
        assert!(!walks.collecting.has_any(address(1)));
    }

    #[test]
    fn one_address_cannot_take_every_place() {
        let walks = Arc::new(Walks::default());
        let take = |from: IpAddr| {
            let places = std::iter::from_fn(|| walks.enter(from, 0).ok());
            places.take(1000).collect::<Vec<_>>()
        };
        let greedy = take("2001:db8::1".parse().expect("an address"));
        let shared_from = greedy.len();
        assert_eq!(shared_from, (limits::WALKS * limits::SHARED_FROM).div_ceil(100));
        assert!(walks.enter("2001:db8::ffff".parse().expect("an address"), 0).is_err());
        let others = [take(address(1)), take(address(2))];
        // The second comes when the first has taken what was left; a place that is given back is
        // for those who have least.
        assert_eq!(others.each_ref().map(Vec::len), [limits::WALKS - shared_from, 0]);
        drop(greedy);
        let mut late: Vec<_> = (3..13).map(|last| walks.enter(address(last), 0)).collect();
        assert!(late.iter().all(Result::is_ok), "each gets one");
        late.clear();
        drop(others);
        assert_eq!(walks.pool.taken_places(), 0);
    }
}
