//! The daemon without its sockets: the sessions of each shard, one registry, the routes and a clock
//! that the script sets. After every step all routes are read and compared. One thread.
//!
//! Must not: decide anything at random; the script says what happens.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use musterd::api::Api;
use musterd::clock::Timestamp;
use musterd::handler::{CloseReason, ConnectionHandler, Handled, Input, Next, Token};
use musterd::registry::{LimitReached, Registry};
use musterd::session::{Sessions, Timeouts};
use musterd::snapshots::{Producer, Snapshots, Visibility};
use musterd::work::Work;

use testkit::wire::{HTTP_PORT, frames};

use crate::connection::{Connection, LeftTopics, Outcome, Stage};
use crate::http::{Context, Http, Nsqd, canonical};
use crate::mutation::Mutation;
use crate::oracle::{Id, Oracle, Topic, View};
use crate::script::{ADDRESSES, Admin, Jump, Script, Step, TOPICS};

const START: Timestamp = Timestamp::from_unix_nanos(1_700_000_000_000_000_000);
const INACTIVE: Duration = Duration::from_secs(300);
const TOMBSTONE: Duration = Duration::from_secs(45);
const HANDSHAKE: Duration = Duration::from_secs(10);
const COMMAND: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_secs(600);
const IDENTIFY_RESPONSE: &[u8] = b"\0\0\0\x05hello";

/// How much a run has done.
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

pub(crate) struct Daemon {
    pub(crate) tally: Tally,
    now: Timestamp,
    registry: Arc<Registry>,
    shards: Vec<Sessions<LeftTopics>>,
    left: LeftTopics,
    http: Http,
    oracle: Oracle,
    open: Vec<Connection>,
    nsqds: BTreeMap<Id, Nsqd>,
    connected: usize,
    last_tombstone: Option<Timestamp>,
    mutation: Mutation,
    /// What readers saw before this step, and when; for mutations.
    before: (View, Timestamp),
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

impl Daemon {
    pub(crate) fn new(script: &Script, mutation: Mutation) -> Self {
        let snapshots = Arc::new(Snapshots::default());
        let registry = Arc::new(Registry::new(snapshots, script.capacity));
        let left = LeftTopics::default();
        let sessions = || {
            let timeouts = Timeouts::with_inactive_timeout(INACTIVE);
            let (registry, left) = (Arc::clone(&registry), left.clone());
            Sessions::new(registry, timeouts, IDENTIFY_RESPONSE.into(), left)
        };
        let api = Api {
            registry: Arc::clone(&registry),
            visibility: Visibility {
                inactive_producer_timeout: INACTIVE
                    + mutation.late(Mutation::InactiveOneNanosecondLate),
                tombstone_lifetime: TOMBSTONE + mutation.late(Mutation::TombstoneOneNanosecondLong),
            },
            cache_from: 1,
            walks: Arc::default(),
            metrics: Arc::default(),
        };
        Self {
            tally: Tally::default(),
            now: START,
            shards: std::iter::repeat_with(sessions).take(script.shards).collect(),
            left,
            http: Http::new(api, START),
            oracle: Oracle::new(script.shards, script.capacity),
            registry,
            open: Vec::new(),
            nsqds: BTreeMap::new(),
            connected: 0,
            last_tombstone: None,
            mutation,
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
            Step::Admin(admin) => self.administrate(admin)?,
            Step::Jump(jump) => self.jump(*jump),
            Step::Command { nsqd, command } => {
                if let Some(at) = self.index(*nsqd) {
                    let sent = self.mutation.replacement(command);
                    self.open[at].write(command, sent.as_ref().unwrap_or(command));
                }
            }
            Step::Deliver { nsqd, bytes, budget } => self.deliver(*nsqd, *bytes, *budget, false)?,
            Step::End { nsqd, bytes } => self.deliver(*nsqd, *bytes, usize::MAX / 2, true)?,
            Step::Reset { nsqd } => {
                if let Some(at) = self.index(*nsqd) {
                    self.close(at, CloseReason::Broken);
                }
            }
        }
        self.check()
    }

    /// All connections close; no registration may be left.
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
        ensure(view.topics == self.oracle.model.topics, || format!("not all is visible: {view:?}"))
    }

    /// The open connection that a step means; `usize::MAX` is the newest.
    fn index(&self, nsqd: usize) -> Option<usize> {
        let count = self.open.len();
        (count > 0).then(|| if nsqd == usize::MAX { count - 1 } else { nsqd % count })
    }

    fn connect(&mut self, shard: usize, address: usize, magic: &'static str) {
        let peer: SocketAddr = ADDRESSES[address].parse().expect("an address");
        // As the listener gives it to a handler.
        let canonical = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let session = self.shards[shard].on_open(canonical, Token::default(), self.now);
        let connection = Connection::new(self.connected, shard, peer, session, magic, self.now);
        self.connected += 1;
        self.open.push(connection);
    }

    fn deliver(
        &mut self,
        nsqd: usize,
        bytes: usize,
        budget: usize,
        end: bool,
    ) -> Result<(), String> {
        let Some(at) = self.index(nsqd) else { return Ok(()) };
        let connection = &mut self.open[at];
        if connection.closing {
            return Ok(());
        }
        if !connection.ended {
            connection.delivered =
                connection.written.len().min(connection.delivered.saturating_add(bytes));
            connection.ended = end;
        }
        let bytes = &connection.written[connection.consumed..connection.delivered];
        let input = Input { bytes, end: connection.ended };
        let mut output = b"other output".to_vec();
        let handled = self.shards[connection.shard].on_input(
            &mut connection.session,
            input,
            self.now,
            &mut output,
            budget,
            &mut Work::units(u32::try_from(budget).unwrap_or(u32::MAX)),
        );
        ensure(handled.consumed <= bytes.len(), || {
            format!("{handled:?} of {} bytes", bytes.len())
        })?;
        connection.consumed += handled.consumed;
        let output = output
            .strip_prefix(b"other output")
            .ok_or("the output of other connections was changed")?;
        let replies = frames(output).ok_or_else(|| format!("half a reply: {output:?}"))?;
        for reply in replies {
            self.tally.replies += 1;
            self.replied(at, reply)?;
        }
        self.check_handled(at, handled, output.len(), budget)
    }

    /// A reply has come: the command was carried out, and is in the oracle too.
    fn replied(&mut self, at: usize, reply: &[u8]) -> Result<(), String> {
        let connection = &mut self.open[at];
        let Some(outcome) = connection.next_outcome() else {
            return Err(format!("a reply to nothing: {}", String::from_utf8_lossy(reply)));
        };
        let want = match outcome {
            Outcome::Rejected(rejection) => self.rejected(at, rejection),
            Outcome::Identified(node) => {
                let connection = &mut self.open[at];
                connection.stage = Stage::Identified;
                let address = SocketAddr::new(
                    connection.address.ip().to_canonical(),
                    connection.address.port(),
                );
                let last_update = self.now.unix_nanos();
                let nsqd = Nsqd { address: address.to_string(), node, last_update };
                self.nsqds.insert(connection.id, nsqd);
                self.oracle.identify(connection.shard, connection.id);
                "hello"
            }
            Outcome::Ping => {
                self.pinged(at);
                "OK"
            }
            Outcome::Register(topic, channel) => {
                match self.oracle.register(connection.shard, connection.id, topic, channel) {
                    Ok(()) => "OK",
                    Err(LimitReached::Nsqd) => {
                        "E_INVALID REGISTER too many registrations of this nsqd"
                    }
                    Err(_) => "E_INVALID REGISTER too many registrations in all",
                }
            }
            Outcome::Unregister(topic, channel) => {
                self.oracle.unregister(connection.shard, connection.id, topic, channel);
                "OK"
            }
        };
        self.open[at].replied();
        let got = String::from_utf8_lossy(reply);
        ensure(got == want, || format!("replied {got:?} instead of {want:?}"))
    }

    fn pinged(&mut self, at: usize) {
        let connection = &self.open[at];
        let Some(nsqd) = self.nsqds.get_mut(&connection.id) else { return };
        if self.mutation == Mutation::IgnoresPing {
            let then = Timestamp::from_unix_nanos(nsqd.last_update);
            let is_it = |peer: &Arc<Producer>| number(peer) == connection.id;
            self.registry.snapshots().each_node(|peer| {
                if is_it(peer) {
                    peer.update(then);
                }
            });
        }
        nsqd.last_update = self.now.unix_nanos();
        self.oracle.retry(connection.shard, connection.id);
    }

    fn rejected(&mut self, at: usize, rejection: &'static str) -> &'static str {
        self.open[at].stage = Stage::Rejected;
        rejection
    }

    /// What the session wants next must follow from what it was given.
    fn check_handled(
        &mut self,
        at: usize,
        handled: Handled,
        written: usize,
        budget: usize,
    ) -> Result<(), String> {
        let now = self.now;
        let connection = &mut self.open[at];
        let is_rejected = connection.stage == Stage::Rejected;
        let more = if is_rejected { None } else { connection.next_outcome() };
        match handled.next {
            Next::Write => return ensure(written >= budget, || format!("{handled:?} too early")),
            Next::Continue => return ensure(budget < 100, || format!("{handled:?} too early")),
            Next::Hold { .. } => return Err("a session holds nothing".to_owned()),
            Next::Close => connection.closing = true,
            Next::Read { deadline } => {
                let left = connection.delivered > connection.answered_up_to();
                if left {
                    connection.partial.get_or_insert(now);
                }
                let idle = match connection.stage {
                    Stage::Identified => now + SILENCE,
                    _ => connection.opened + HANDSHAKE,
                };
                let want = connection.partial.map_or(idle, |since| idle.min(since + COMMAND));
                connection.deadline = deadline;
                ensure(deadline == want, || format!("waits until {deadline:?}, not {want:?}"))?;
            }
        }
        let may_close = is_rejected || connection.ended;
        ensure(connection.closing == may_close, || {
            format!("{handled:?} when rejected: {is_rejected}")
        })?;
        ensure(more.is_none(), || format!("no reply to a complete command: {more:?}"))?;
        let (consumed, want) =
            (connection.consumed, connection.answered_up_to().min(connection.delivered));
        ensure(connection.closing || consumed == want, || {
            format!("consumed {consumed}, not {want}")
        })
    }

    fn close(&mut self, at: usize, why: CloseReason) {
        let mut connection = self.open.remove(at);
        let is_known = self.nsqds.contains_key(&connection.id);
        if self.mutation != Mutation::ForgetsBrokenConnections || why != CloseReason::Broken {
            let work = &mut Work::unlimited();
            self.shards[connection.shard].on_close(&mut connection.session, why, work);
        }
        if is_known {
            let topics = self.left.0.take();
            let topics: Vec<_> = topics.iter().map(String::as_str).collect();
            self.oracle.leave(connection.shard, connection.id, &topics);
        }
    }

    fn commit(&mut self, shard: usize) {
        if self.mutation != Mutation::RepliesBeforeCommit {
            self.shards[shard].commit();
        }
        self.oracle.commit(shard);
        while let Some(at) =
            self.open.iter().position(|connection| connection.shard == shard && connection.closing)
        {
            self.close(at, CloseReason::Finished);
        }
    }

    fn sweep(&mut self, shard: usize) -> Result<(), String> {
        let now = self.now;
        let due = |connection: &Connection| {
            connection.shard == shard && !connection.closing && connection.deadline <= now
        };
        while let Some(at) = self.open.iter().position(due) {
            let mut output = Vec::new();
            self.shards[shard].on_timeout(&mut self.open[at].session, &mut output);
            ensure(output.is_empty(), || "output that nsqd does not expect".to_owned())?;
            self.close(at, CloseReason::Expired);
        }
        Ok(())
    }

    fn administrate(&mut self, admin: &Admin) -> Result<(), String> {
        let escape = |name: &str| name.replace('#', "%23");
        let now = self.now.unix_nanos();
        let (target, want) = match *admin {
            Admin::Create(topic, channel) => {
                let status = if self.oracle.create(topic, channel) { 200 } else { 503 };
                let topic = escape(topic);
                match channel.map(escape) {
                    None => (format!("/topic/create?topic={topic}"), status),
                    Some(name) => (format!("/channel/create?topic={topic}&channel={name}"), status),
                }
            }
            Admin::DeleteTopic(topic) => {
                for name in self.named(topic) {
                    self.oracle.administrate(&name, |model| model.delete_topic(&name));
                }
                (format!("/topic/delete?topic={}", escape(topic)), 200)
            }
            Admin::DeleteChannel(topic, channel) => {
                let found =
                    self.oracle.administrate(topic, |model| model.delete_channel(topic, channel));
                let (topic, channel) = (escape(topic), escape(channel));
                let target = format!("/channel/delete?topic={topic}&channel={channel}");
                (target, if found { 200 } else { 404 })
            }
            Admin::Tombstone(topic, node) => {
                self.last_tombstone = Some(self.now);
                let nsqds = &self.nsqds;
                for name in self.named(topic) {
                    let hit = |id: Id| nsqds[&id].node == node;
                    self.oracle.administrate(&name, |model| model.tombstone(&name, hit, now));
                }
                let host = Nsqd::host(node);
                let topic = escape(topic);
                (format!("/topic/tombstone?topic={topic}&node={host}:{HTTP_PORT}"), 200)
            }
        };
        let (status, body) = self.http.post(&target, self.now)?;
        ensure(status == want, || format!("{target}: {status} {body}, not {want}"))
    }

    fn named(&self, topic: &str) -> Vec<String> {
        if topic == "*" { self.oracle.listed() } else { vec![topic.to_owned()] }
    }

    fn jump(&mut self, jump: Jump) {
        let to = match jump {
            Jump::By(span) => Some(self.now + span),
            Jump::Inactive { nsqd, past } => self.index(nsqd).and_then(|at| {
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
                self.index(nsqd).map(|at| self.open[at].deadline + Duration::from_nanos(past))
            }
        };
        self.now = to.map_or(self.now, |to| to.max(self.now));
    }

    /// Reads all routes and compares.
    fn check(&mut self) -> Result<(), String> {
        let fresh = self.view()?;
        let view = self.mutation.cached(&self.before.0, &fresh).clone();
        self.before.0 = fresh;
        self.oracle.observe(&view)?;
        let counted =
            (self.registry.topics() + self.registry.channels(), self.registry.registrations());
        let want = (self.oracle.model.names(), self.oracle.registrations());
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
        let now = self.mutation.clock(self.before.1, self.now);
        let answers = self.http.get(&targets, now)?;
        self.tally.answers += answers.len();
        for ((target, want), (status, body)) in expected.into_iter().zip(answers) {
            let got = (status, canonical(body));
            ensure(got == want, || format!("{target} answers {got:?}, not {want:?}"))?;
        }
        Ok(())
    }

    /// The content of the snapshots.
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
    id.expect("Command::Identify names it so")
}
