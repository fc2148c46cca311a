//! `/nodes`: every active nsqd, with its topics, and whether it is tombstoned there.
//!
//! Nobody publishes what one nsqd carries: the nsqds are collected first, then one walk over all
//! topics finds the topics of each, then they are written. What is collected takes about 16 bytes for
//! each topic and 8 for each registration of one. An nsqd's two arrays come from one look at each of
//! its topics. Any thread. Source: nsq `nsqlookupd/http.go` `doNodes`.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use ahash::RandomState;

use super::listings::{Context, Listing};
use super::response::JsonArray;
use super::walks::{Next, Producers, Topics};
use crate::handler::reserve;
use crate::protocol::names::TopicName;
use crate::reclaim;
use crate::registry::Registry;
use crate::snapshots::Producer;
use crate::work::Work;

/// Topics of an nsqd written in one step.
const AT_ONCE: usize = 32;
/// Units of [`Work`] of that.
const WRITE: u32 = 36;

#[derive(Debug)]
pub(super) struct NodesListing {
    array: JsonArray,
    stage: Stage,
    nodes: Vec<Node>,
    /// The place of each in `nodes`, by its address in memory, which it keeps.
    places: HashMap<usize, u32, RandomState>,
    topics: Topics,
    /// The topics seen so far; those of an nsqd are indices into this.
    names: Vec<TopicName>,
    expected_topics: usize,
}

#[derive(Debug)]
enum Stage {
    /// The nsqds are collected: this part of them is next.
    Collect(usize),
    /// The producers of the last of the names are looked at, if there is one.
    Look(Option<Producers>),
    /// The nsqd at this place is written: its array of tombstones, then that of topics, from this
    /// index on.
    Write { place: usize, writes: Writes, index: usize, array: JsonArray },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writes {
    Tombstones,
    Topics,
}

/// One producer of `/nodes`.
#[derive(Debug)]
struct Node {
    producer: Arc<Producer>,
    /// Its topics, as indices into their names, and whether it is tombstoned there.
    topics: Vec<(u32, bool)>,
}

impl NodesListing {
    pub(super) fn new(expected_topics: usize) -> Self {
        Self {
            array: JsonArray::default(),
            stage: Stage::Collect(0),
            nodes: Vec::new(),
            places: HashMap::default(),
            topics: Topics::all(),
            names: Vec::new(),
            expected_topics,
        }
    }

    /// Collects the active nsqds of one part; what comes next.
    fn collect(&mut self, part: usize, context: &Context<'_>, work: &mut Work) -> Stage {
        let inactive = context.visibility.inactive_producer_timeout;
        for producer in context.snapshots.nodes_of(part).iter() {
            work.spend(2);
            if producer.is_active(context.now, inactive) {
                let place = u32::try_from(self.nodes.len()).expect("far fewer nsqds than this");
                self.places.insert(Arc::as_ptr(producer).addr(), place);
                self.nodes.push(Node { producer: Arc::clone(producer), topics: Vec::new() });
            }
        }
        let next = part + 1;
        if next < context.snapshots.node_parts() {
            return Stage::Collect(next);
        }
        // One that grows would be copied, all of it in one step.
        reserve(&mut self.names, self.expected_topics + self.expected_topics / 8);
        Stage::Look(None)
    }

    /// Looks at some producers of a topic, or begins the next; what comes next.
    fn look(
        &mut self,
        producers: Option<Producers>,
        context: &Context<'_>,
        work: &mut Work,
    ) -> Stage {
        let Some(mut producers) = producers else {
            return match self.topics.next(context.snapshots, work) {
                Next::Topic(name) => {
                    self.names.push(name);
                    Stage::Look(Some(Producers::default()))
                }
                Next::Later => Stage::Look(None),
                Next::End => self.write_from(0),
            };
        };
        let Some(name) = self.names.last() else { return Stage::Look(None) };
        let index = u32::try_from(self.names.len() - 1).expect("far fewer names than this");
        let (places, nodes) = (&self.places, &mut self.nodes);
        let is_last = context.snapshots.topic(name.as_str(), |found| {
            let Some((topic, _)) = found else { return true };
            producers.step(topic.producers(), work, |producer| {
                if let Some(&place) = places.get(&Arc::as_ptr(producer).addr()) {
                    let lifetime = context.visibility.tombstone_lifetime;
                    let hidden = topic.is_tombstoned(producer, context.now, lifetime);
                    nodes[place as usize].topics.push((index, hidden));
                }
            })
        });
        Stage::Look(if is_last { None } else { Some(producers) })
    }

    fn write_from(&self, place: usize) -> Stage {
        Stage::Write { place, writes: Writes::Tombstones, index: 0, array: JsonArray::default() }
    }
}

impl Listing for NodesListing {
    fn bytes(&self, registry: &Registry) -> usize {
        16 * registry.topics() + 8 * registry.registrations()
    }

    fn step(&mut self, context: &Context<'_>, work: &mut Work, out: &mut Vec<u8>) -> bool {
        let (place, writes, index, array) = match &mut self.stage {
            &mut Stage::Collect(part) => {
                self.stage = self.collect(part, context, work);
                return false;
            }
            Stage::Look(producers) => {
                let producers = producers.take();
                self.stage = self.look(producers, context, work);
                return false;
            }
            Stage::Write { place, writes, index, array } => (place, writes, index, array),
        };
        let Some(node) = self.nodes.get_mut(*place) else { return true };
        work.spend(WRITE);
        if (*writes, *index) == (Writes::Tombstones, 0) {
            self.array.next(out);
            out.extend_from_slice(node.producer.json());
            out.extend_from_slice(b",\"tombstones\":[");
        }
        let until = node.topics.len().min(*index + AT_ONCE);
        for &(name, hidden) in &node.topics[*index..until] {
            match writes {
                Writes::Tombstones => {
                    array.next(out);
                    out.extend_from_slice(if hidden { b"true" } else { b"false" });
                }
                Writes::Topics => array.name(self.names[name as usize].as_str(), out),
            }
        }
        *index = until;
        if until < node.topics.len() {
            return false;
        }
        (*index, *array) = (0, JsonArray::default());
        if mem::replace(writes, Writes::Topics) == Writes::Tombstones {
            out.extend_from_slice(b"],\"topics\":[");
            return false;
        }
        out.extend_from_slice(b"]}");
        node.topics = Vec::new();
        (*place, *writes) = (*place + 1, Writes::Tombstones);
        false
    }
}

impl Drop for NodesListing {
    /// Also when the client goes in the middle.
    fn drop(&mut self) {
        if self.names.len().max(self.nodes.len()) > reclaim::LARGE {
            reclaim::free(mem::take(&mut self.names));
            reclaim::free(mem::take(&mut self.nodes));
        }
    }
}
