//! The daemon without its sockets: shards, one registry, the routes, and a clock in hand.
//!
//! Must not: decide anything by chance; a script says all. After every step everything that can be
//! read is read and compared. One thread.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use musterd::clock::Timestamp;
use musterd::handler::{CloseReason, ConnectionHandler, Handled, Input, Next};
use musterd::http::Routes;
use musterd::registry::{LimitReached, Registry};
use musterd::session::{Observer, SessionEvent, Sessions, Timeouts};
use musterd::snapshots::{Producer, Snapshots};

use testkit::wire::{HTTP_PORT, frames};

use crate::nsqd::{Line, Outcome, Stage};
use crate::plant::Plant;
use crate::script::{ADDRESSES, Admin, Jump, Script, Step, TOPICS};
use crate::truth::{Id, Topic, Truth, View};
use crate::web::{Context, Nsqd, Web, canonical};

const START: Timestamp = Timestamp::from_unix_nanos(1_700_000_000_000_000_000);
const INACTIVE: Duration = Duration::from_secs(300);
const TOMBSTONE: Duration = Duration::from_secs(45);
const HANDSHAKE: Duration = Duration::from_secs(10);
const COMMAND: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_secs(600);
const GREETING: &[u8] = b"\0\0\0\x05hello";

/// What a run has done, for the record.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) steps: usize,
    pub(crate) replies: usize,
    pub(crate) answers: usize,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, more: Self) {
        self.steps += more.steps;
        self.replies += more.replies;
        self.answers += more.answers;
    }
}

struct NullObserver;

impl Observer for NullObserver {
    fn observe(&mut self, _: SocketAddr, _: SessionEvent<'_>) {}
}

pub(crate) struct World {
    pub(crate) tally: Tally,
    now: Timestamp,
    registry: Arc<Registry>,
    shards: Vec<Sessions<NullObserver>>,
    web: Web,
    truth: Truth,
    open: Vec<Line>,
    nsqds: BTreeMap<Id, Nsqd>,
    connected: usize,
    last_tombstone: Option<Timestamp>,
    plant: Plant,
    /// What readers saw before this step, and when; for plants.
    before: (View, Timestamp),
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

impl World {
    pub(crate) fn new(script: &Script, plant: Plant) -> Self {
        let snapshots = Arc::new(Snapshots::default());
        let registry = Arc::new(Registry::new(snapshots, script.capacity));
        let sessions = || {
            let timeouts = Timeouts::with_inactive_timeout(INACTIVE);
            Sessions::new(Arc::clone(&registry), timeouts, GREETING.into(), NullObserver)
        };
        let routes = Routes {
            registry: Arc::clone(&registry),
            inactive_producer_timeout: INACTIVE + plant.late(Plant::InactiveOneTooLate),
            tombstone_lifetime: TOMBSTONE + plant.late(Plant::TombstoneOneTooLong),
            keep_from: 1,
            metrics: std::sync::Arc::default(),
        };
        Self {
            tally: Tally::default(),
            now: START,
            shards: std::iter::repeat_with(sessions).take(script.shards).collect(),
            web: Web::new(routes, START),
            truth: Truth::new(script.shards, script.capacity),
            registry,
            open: Vec::new(),
            nsqds: BTreeMap::new(),
            connected: 0,
            last_tombstone: None,
            plant,
            before: (View::default(), START),
        }
    }

    /// Carries out one step and reads everything.
    pub(crate) fn step(&mut self, step: &Step) -> Result<(), String> {
        self.tally.steps += 1;
        self.before.1 = self.now;
        match step {
            Step::Connect { shard, address, magic } => self.connect(*shard, *address, magic),
            Step::Commit { shard } => self.commit(*shard),
            Step::Sweep { shard } => self.sweep(*shard)?,
            Step::Ask(admin) => self.ask(admin)?,
            Step::Jump(jump) => self.jump(*jump),
            Step::Say { nsqd, say } => {
                if let Some(at) = self.at(*nsqd) {
                    let sent = self.plant.garble(say);
                    self.open[at].say(say, sent.as_ref().unwrap_or(say));
                }
            }
            Step::Deliver { nsqd, bytes, budget } => self.deliver(*nsqd, *bytes, *budget, false)?,
            Step::End { nsqd, bytes } => self.deliver(*nsqd, *bytes, usize::MAX / 2, true)?,
            Step::Reset { nsqd } => {
                if let Some(at) = self.at(*nsqd) {
                    self.close(at, CloseReason::Broken);
                }
            }
        }
        self.check()
    }

    /// Everybody goes; nothing may be left.
    pub(crate) fn finish(&mut self) -> Result<(), String> {
        while !self.open.is_empty() {
            self.close(0, CloseReason::Shutdown);
        }
        (0..self.shards.len()).for_each(|shard| self.commit(shard));
        self.check()?;
        let view = self.view()?;
        let left = (view.clients.len(), self.registry.registrations());
        ensure(left == (0, 0), || format!("clients and registrations left: {left:?}"))?;
        let producers = view.topics.values().map(|topic| topic.producers.len()).sum::<usize>();
        ensure(producers == 0, || format!("{producers} producers left"))?;
        ensure(view.topics == self.truth.model.topics, || format!("not all is visible: {view:?}"))
    }

    /// The open connection that a step means; `usize::MAX` is the newest.
    fn at(&self, nsqd: usize) -> Option<usize> {
        let count = self.open.len();
        (count > 0).then(|| if nsqd == usize::MAX { count - 1 } else { nsqd % count })
    }

    fn connect(&mut self, shard: usize, address: usize, magic: &'static str) {
        let peer: SocketAddr = ADDRESSES[address].parse().expect("an address");
        let session = self.shards[shard].on_open(peer, self.now);
        let line = Line::new(self.connected, shard, peer, session, magic, self.now);
        self.connected += 1;
        self.open.push(line);
    }

    fn deliver(
        &mut self,
        nsqd: usize,
        bytes: usize,
        budget: usize,
        end: bool,
    ) -> Result<(), String> {
        let Some(at) = self.at(nsqd) else { return Ok(()) };
        let line = &mut self.open[at];
        if line.closing {
            return Ok(());
        }
        if !line.ended {
            line.delivered = line.outbox.len().min(line.delivered.saturating_add(bytes));
            line.ended = end;
        }
        let bytes = &line.outbox[line.consumed..line.delivered];
        let input = Input { bytes, end: line.ended };
        let mut output = b"of others".to_vec();
        let turn = self.shards[line.shard].on_input(
            &mut line.session,
            input,
            self.now,
            &mut output,
            budget,
        );
        ensure(turn.consumed <= bytes.len(), || format!("{turn:?} of {} bytes", bytes.len()))?;
        line.consumed += turn.consumed;
        let output = output.strip_prefix(b"of others").ok_or("a turn spoilt others' output")?;
        let replies = frames(output).ok_or_else(|| format!("half a reply: {output:?}"))?;
        for reply in replies {
            self.tally.replies += 1;
            self.replied(at, reply)?;
        }
        self.turned(at, turn, output.len(), budget)
    }

    /// A reply came: the command is carried out, and in the model too.
    fn replied(&mut self, at: usize, reply: &[u8]) -> Result<(), String> {
        let line = &mut self.open[at];
        let Some(outcome) = line.next_outcome() else {
            return Err(format!("a reply to nothing: {}", String::from_utf8_lossy(reply)));
        };
        let want = match outcome {
            Outcome::Refused(refusal) => self.refused(at, refusal),
            Outcome::Greeting(node) => {
                let line = &mut self.open[at];
                line.stage = Stage::Identified;
                let address =
                    SocketAddr::new(line.address.ip().to_canonical(), line.address.port());
                let last_update = self.now.unix_nanos();
                let nsqd = Nsqd { address: address.to_string(), node, last_update };
                self.nsqds.insert(line.id, nsqd);
                self.truth.identify(line.shard, line.id);
                "hello"
            }
            Outcome::Pong => {
                self.ponged(at);
                "OK"
            }
            Outcome::Register(topic, channel) => {
                match self.truth.register(line.shard, line.id, topic, channel) {
                    Ok(()) => "OK",
                    Err(LimitReached::Producer) => {
                        self.refused(at, "E_INVALID REGISTER too many registrations of this nsqd")
                    }
                    Err(LimitReached::Registry) => {
                        self.refused(at, "E_INVALID REGISTER too many registrations in all")
                    }
                }
            }
            Outcome::Unregister(topic, channel) => {
                self.truth.unregister(line.shard, line.id, topic, channel);
                "OK"
            }
        };
        self.open[at].replied();
        let got = String::from_utf8_lossy(reply);
        ensure(got == want, || format!("replied {got:?} instead of {want:?}"))
    }

    fn ponged(&mut self, at: usize) {
        let line = &self.open[at];
        let Some(nsqd) = self.nsqds.get_mut(&line.id) else { return };
        if self.plant == Plant::DeafToPing {
            let then = Timestamp::from_unix_nanos(nsqd.last_update);
            let deaf = |peer: &Arc<Producer>| number(peer) == line.id;
            self.registry.snapshots().each_node(|peer| {
                if deaf(peer) {
                    peer.update(then);
                }
            });
        }
        nsqd.last_update = self.now.unix_nanos();
    }

    fn refused(&mut self, at: usize, refusal: &'static str) -> &'static str {
        self.open[at].stage = Stage::Over;
        refusal
    }

    /// What the turn says of itself must follow from what it was given.
    fn turned(
        &mut self,
        at: usize,
        turn: Handled,
        written: usize,
        budget: usize,
    ) -> Result<(), String> {
        let now = self.now;
        let line = &mut self.open[at];
        let is_over = line.stage == Stage::Over;
        let more = if is_over { None } else { line.next_outcome() };
        match turn.next {
            Next::Write => return ensure(written >= budget, || format!("{turn:?} too early")),
            Next::Close => line.closing = true,
            Next::Read { deadline } => {
                let left = line.delivered > line.answered_up_to();
                if left {
                    line.partial.get_or_insert(now);
                }
                let idle = match line.stage {
                    Stage::Identified => now + SILENCE,
                    _ => line.opened + HANDSHAKE,
                };
                let want = line.partial.map_or(idle, |since| idle.min(since + COMMAND));
                line.deadline = deadline;
                ensure(deadline == want, || format!("waits until {deadline:?}, not {want:?}"))?;
            }
        }
        let may_close = is_over || line.ended;
        ensure(line.closing == may_close, || format!("{turn:?} when over: {is_over}"))?;
        ensure(more.is_none(), || format!("no reply to a complete command: {more:?}"))?;
        let (consumed, want) = (line.consumed, line.answered_up_to().min(line.delivered));
        ensure(line.closing || consumed == want, || format!("consumed {consumed}, not {want}"))
    }

    fn close(&mut self, at: usize, why: CloseReason) {
        let line = self.open.remove(at);
        let is_known = self.nsqds.contains_key(&line.id);
        if self.plant != Plant::ForgetsTheLost || why != CloseReason::Broken {
            self.shards[line.shard].on_close(line.session, why, self.now);
        }
        if is_known {
            self.truth.leave(line.shard, line.id);
        }
    }

    fn commit(&mut self, shard: usize) {
        if self.plant != Plant::RepliesBeforeCommit {
            self.shards[shard].commit(self.now);
        }
        self.truth.commit(shard);
        while let Some(at) = self.open.iter().position(|line| line.shard == shard && line.closing) {
            self.close(at, CloseReason::Finished);
        }
    }

    fn sweep(&mut self, shard: usize) -> Result<(), String> {
        let now = self.now;
        let due = |line: &Line| line.shard == shard && !line.closing && line.deadline <= now;
        while let Some(at) = self.open.iter().position(due) {
            let mut output = Vec::new();
            self.shards[shard].on_timeout(&mut self.open[at].session, now, &mut output);
            ensure(output.is_empty(), || "last words that nsqd does not expect".to_owned())?;
            self.close(at, CloseReason::Expired);
        }
        Ok(())
    }

    fn ask(&mut self, admin: &Admin) -> Result<(), String> {
        let escape = |name: &str| name.replace('#', "%23");
        let now = self.now.unix_nanos();
        let (target, want) = match *admin {
            Admin::Create(topic, channel) => {
                let status = if self.truth.create(topic, channel) { 200 } else { 503 };
                let topic = escape(topic);
                match channel.map(escape) {
                    None => (format!("/topic/create?topic={topic}"), status),
                    Some(name) => (format!("/channel/create?topic={topic}&channel={name}"), status),
                }
            }
            Admin::DeleteTopic(topic) => {
                for name in self.named(topic) {
                    self.truth.administrate(&name, |model| model.delete_topic(&name));
                }
                (format!("/topic/delete?topic={}", escape(topic)), 200)
            }
            Admin::DeleteChannel(topic, channel) => {
                let found =
                    self.truth.administrate(topic, |model| model.delete_channel(topic, channel));
                let (topic, channel) = (escape(topic), escape(channel));
                let target = format!("/channel/delete?topic={topic}&channel={channel}");
                (target, if found { 200 } else { 404 })
            }
            Admin::Tombstone(topic, node) => {
                self.last_tombstone = Some(self.now);
                let nsqds = &self.nsqds;
                for name in self.named(topic) {
                    let hit = |id: Id| nsqds[&id].node == node;
                    self.truth.administrate(&name, |model| model.tombstone(&name, hit, now));
                }
                let host = Nsqd::host(node);
                let topic = escape(topic);
                (format!("/topic/tombstone?topic={topic}&node={host}:{HTTP_PORT}"), 200)
            }
        };
        let (status, body) = self.web.post(&target, self.now)?;
        ensure(status == want, || format!("{target}: {status} {body}, not {want}"))
    }

    fn named(&self, topic: &str) -> Vec<String> {
        if topic == "*" { self.truth.listed() } else { vec![topic.to_owned()] }
    }

    fn jump(&mut self, jump: Jump) {
        let to = match jump {
            Jump::By(span) => Some(self.now + span),
            Jump::Inactive { nsqd, past } => self.at(nsqd).and_then(|at| {
                let nsqd = self.nsqds.get(&self.open[at].id)?;
                let edge = Timestamp::from_unix_nanos(nsqd.last_update) + INACTIVE;
                Some(edge + Duration::from_nanos(past))
            }),
            Jump::Tombstone { past } => {
                let edge = self.last_tombstone.map(|at| at + TOMBSTONE);
                edge.map(|at| {
                    Timestamp::from_unix_nanos(at.unix_nanos() - 1) + Duration::from_nanos(past)
                })
            }
            Jump::Deadline { nsqd, past } => {
                self.at(nsqd).map(|at| self.open[at].deadline + Duration::from_nanos(past))
            }
        };
        self.now = to.map_or(self.now, |to| to.max(self.now));
    }

    /// Reads everything there is to read.
    fn check(&mut self) -> Result<(), String> {
        let fresh = self.view()?;
        let view = self.plant.cached(&self.before.0, &fresh).clone();
        self.before.0 = fresh;
        self.truth.observe(&view)?;
        let counted = (self.registry.names(), self.registry.registrations());
        let want = (self.truth.model.names(), self.truth.registrations());
        ensure(counted == want, || {
            format!("names and registrations are {want:?}, counted as {counted:?}")
        })?;
        let context = Context {
            view: &view,
            nsqds: &self.nsqds,
            now: self.now.unix_nanos(),
            inactive: INACTIVE,
            tombstone: TOMBSTONE,
        };
        let expected = context.expected(&TOPICS);
        let targets: Vec<_> = expected.iter().map(|(target, _)| target.clone()).collect();
        let now = self.plant.clock(self.before.1, self.now);
        let answers = self.web.get(&targets, now)?;
        self.tally.answers += answers.len();
        for ((target, want), (status, body)) in expected.into_iter().zip(answers) {
            let got = (status, canonical(body));
            ensure(got == want, || format!("{target} says {got:?}, not {want:?}"))?;
        }
        Ok(())
    }

    /// What the snapshots shows.
    fn view(&self) -> Result<View, String> {
        let mut view = View::default();
        let mut twice = None;
        let snapshots = self.registry.snapshots();
        snapshots.each_node(|peer| {
            if !view.clients.insert(number(peer)) {
                twice = Some(format!("client {}", number(peer)));
            }
        });
        snapshots.each_topic(|name, topic| {
            let each = |peers: &musterd::cow_set::CowSet<Arc<Producer>>| -> BTreeSet<Id> {
                peers.iter().map(number).collect()
            };
            let channels = topic.channels().iter();
            let at = |peer: &Arc<Producer>| {
                Some((number(peer), topic.tombstoned_at(peer)?.unix_nanos()))
            };
            let seen = Topic {
                producers: each(topic.producers()),
                channels: channels.map(|c| (c.name().to_string(), each(c.producers()))).collect(),
                tombstoned: topic.producers().iter().filter_map(at).collect(),
            };
            if view.topics.insert(name.to_string(), seen).is_some() {
                twice = Some(format!("topic {name}"));
            }
        });
        twice.map_or(Ok(view), |what| Err(format!("{what} is listed twice")))
    }
}

/// The number of an nsqd's connection.
fn number(peer: &Arc<Producer>) -> Id {
    let id = peer.peer_info().hostname.strip_prefix('c').and_then(|id| id.parse().ok());
    id.expect("it is called so in Say::Identify")
}
