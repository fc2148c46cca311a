//! The connection handler of nsqds: the sans-I/O state machine of one nsqd's connection (magic,
//! IDENTIFY, commands), which changes the registry.
//!
//! Must not: read a clock, log, or name a runtime; what happened is reported to an [`Observer`].
//! Runs on the thread of the event loop that calls it. Source: nsq `nsqlookupd/tcp.go` and
//! `lookup_protocol_v1.go`.

mod silence;
#[cfg(test)]
mod tests;
mod timeouts;

use std::mem;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::access::{NsqdAddresses, PerIpPermit};
use crate::clock::Timestamp;
use crate::handler::{Announced, CloseReason, ConnectionHandler, Handled, Input, Next, Token};
use crate::protocol::decode::{Command, CommandError, decode};
use crate::protocol::peer_info::PeerInfo;
use crate::protocol::{MAGIC, encode};
use crate::registry::{
    AT_ONCE, Client, LimitReached, PendingChanges, RegistrationChange, Registry,
};
use crate::snapshots::Producer;
use crate::work::Work;
pub use silence::SilentLinks;
use silence::{CHECK, SilentLink};
pub use timeouts::Timeouts;

/// What happens in a session, for the log and the counters.
#[derive(Clone, Copy, Debug)]
pub enum SessionEvent<'a> {
    /// The peer connected.
    Connected,
    /// It sent these four bytes: the magic, or something that ends the session.
    Magic(&'a [u8]),
    /// It identified itself.
    Identified(&'a Producer),
    /// It pinged, this long after its last PING or its IDENTIFY.
    Pinged(Duration),
    /// It registered a topic, or a channel of it.
    Registered(&'a str, Option<&'a str>, RegistrationChange),
    /// It unregistered a topic, or a channel of it, by command.
    Unregistered(&'a str, Option<&'a str>, RegistrationChange),
    /// It was unregistered from a topic or a channel because its connection ended.
    Left(&'a str, Option<&'a str>),
    /// Its command was refused; the connection closes.
    Refused(&'a CommandError),
    /// Its REGISTER was refused: a limit is reached. The connection stays. The flag: it is worth a
    /// line in the log; there was none for this nsqd in the last minute.
    LimitReached(LimitReached, bool),
    /// The connection ended. The flag: it had identified itself.
    Closed(CloseReason, bool),
}

/// Logs and counts what happens in sessions.
pub trait Observer {
    /// Something happened to the peer at `address`.
    fn observe(&mut self, address: SocketAddr, event: SessionEvent<'_>);
}

/// How often the log says at most that a limit refuses the REGISTERs of an nsqd.
const LOG_REFUSALS: Duration = Duration::from_secs(60);

/// What the sessions of one event loop share; their connection handler.
#[derive(Debug)]
pub struct Sessions<O> {
    registry: Arc<Registry>,
    /// What is published by the next commit.
    pending: PendingChanges,
    timeouts: Timeouts,
    /// The response to IDENTIFY, framed.
    identify_response: Arc<[u8]>,
    observer: O,
    /// Where the addresses of nsqds are noted, if anybody asks for them.
    addresses: Option<NsqdAddresses>,
    /// Which silent links make room when connections run out; none do without it.
    silent: Option<Arc<SilentLinks>>,
}

/// One nsqd's connection.
#[derive(Debug)]
pub struct Session {
    address: SocketAddr,
    /// When the handshake must be over.
    handshake: Timestamp,
    /// When the command that has begun must be complete; never if none has begun.
    command: Timestamp,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The magic is yet to come.
    Magic,
    /// IDENTIFY is yet to come.
    Unidentified,
    Identified(Box<Identified>),
    /// The connection is over, and its nsqd is being removed from what it registered.
    Leaving(Box<Client>),
}

#[derive(Debug)]
struct Identified {
    client: Client,
    /// The UNREGISTER of a topic that is being carried out.
    unregistering: Option<Unregistering>,
    /// From when on a refused REGISTER is worth a line in the log.
    log_refusals_from: Timestamp,
    /// When it last spoke.
    heard: Timestamp,
    /// It has been silent for longer than the inactive timeout.
    silent: Option<SilentLink>,
    /// Its address counts as that of an nsqd as long as this is here.
    _address: Option<PerIpPermit>,
}

#[derive(Debug)]
struct Unregistering {
    topic: Box<str>,
    /// What it has changed so far.
    change: RegistrationChange,
}

/// What became of a command.
enum Done {
    Replied,
    /// It is done by [`Sessions::unregister`], which replies.
    Begun,
}

/// What became of the first bytes of the input.
enum Step {
    Consumed(usize),
    Incomplete,
    /// The command of this many bytes takes long: it has begun, and nothing was replied.
    Begun(usize),
    Close,
}

impl<O: Observer> Sessions<O> {
    /// Sessions that change `registry` and answer IDENTIFY with `identify_response` (see
    /// [`encode::identify_response`]).
    pub fn new(
        registry: Arc<Registry>,
        timeouts: Timeouts,
        identify_response: Arc<[u8]>,
        observer: O,
    ) -> Self {
        let (pending, addresses, silent) = (PendingChanges::default(), None, None);
        Self { registry, pending, timeouts, identify_response, observer, addresses, silent }
    }

    /// The same, which note the addresses of their nsqds in `addresses`, from IDENTIFY to the end of
    /// the connection.
    #[must_use]
    pub fn noting(self, addresses: Option<NsqdAddresses>) -> Self {
        Self { addresses, ..self }
    }

    /// The same, whose links make room when they are silent and `links` says so.
    #[must_use]
    pub fn making_room(self, links: Arc<SilentLinks>) -> Self {
        Self { silent: Some(links), ..self }
    }

    fn step(
        &mut self,
        session: &mut Session,
        input: Input<'_>,
        now: Timestamp,
        output: &mut Vec<u8>,
        work: &mut Work,
    ) -> Step {
        let identified = match session.state {
            State::Magic => return self.magic(session, input.bytes, output),
            State::Unidentified => false,
            State::Identified(_) | State::Leaving(_) => true,
        };
        let done = match decode(input.bytes, identified, input.end) {
            Ok(None) => return Step::Incomplete,
            Ok(Some((command, taken))) => {
                work.spend(units(&command));
                self.execute(session, command, now, output, work).map(|done| (done, taken))
            }
            Err(refusal) => Err(refusal),
        };
        match done {
            Ok((Done::Replied, taken)) => Step::Consumed(taken),
            Ok((Done::Begun, taken)) => Step::Begun(taken),
            Err(refusal) => {
                self.observer.observe(session.address, SessionEvent::Refused(&refusal));
                encode::frame(&refusal.message(), output);
                Step::Close
            }
        }
    }

    fn magic(&mut self, session: &mut Session, bytes: &[u8], output: &mut Vec<u8>) -> Step {
        let Some(magic) = bytes.first_chunk::<{ MAGIC.len() }>() else { return Step::Incomplete };
        self.observer.observe(session.address, SessionEvent::Magic(magic));
        if magic != MAGIC {
            encode::frame(b"E_BAD_PROTOCOL", output);
            return Step::Close;
        }
        session.state = State::Unidentified;
        Step::Consumed(MAGIC.len())
    }

    fn execute(
        &mut self,
        session: &mut Session,
        command: Command<'_>,
        now: Timestamp,
        output: &mut Vec<u8>,
        work: &mut Work,
    ) -> Result<Done, CommandError> {
        let address = session.address;
        match (command, &mut session.state) {
            (Command::Ping, State::Identified(identified)) => {
                let peer = identified.client.producer();
                self.observer.observe(address, SessionEvent::Pinged(now.since(peer.last_update())));
                peer.update(now);
                if identified.client.refused() > 0 {
                    self.retry(address, &mut identified.client, work);
                }
            }
            (Command::Identify(body), State::Unidentified) => {
                self.identify(session, body, now, output)?;
                return Ok(Done::Replied);
            }
            (Command::Register(topic, channel), State::Identified(identified)) => {
                let client = &mut identified.client;
                match self.registry.register(&mut self.pending, client, topic, channel) {
                    Ok(changed) => {
                        let event = SessionEvent::Registered(topic, channel, changed);
                        self.observer.observe(address, event);
                    }
                    Err(limit) => {
                        self.refuse(address, identified, limit, now, output);
                        return Ok(Done::Replied);
                    }
                }
            }
            (Command::Unregister(topic, Some(channel)), State::Identified(identified)) => {
                let (pending, client) = (&mut self.pending, &mut identified.client);
                let removed = self.registry.unregister_channel(pending, client, topic, channel);
                let change = RegistrationChange { channels: removed.into(), topic: false };
                let event = SessionEvent::Unregistered(topic, Some(channel), change);
                self.observer.observe(address, event);
            }
            (Command::Unregister(topic, None), State::Identified(identified)) => {
                let change = RegistrationChange::default();
                identified.unregistering = Some(Unregistering { topic: topic.into(), change });
                return Ok(Done::Begun);
            }
            // A PING before IDENTIFY; the decoder refuses all other commands before it.
            _ => {}
        }
        output.extend_from_slice(encode::OK);
        Ok(Done::Replied)
    }

    /// Not inlined: a PING would pay for its variables.
    #[inline(never)]
    fn identify(
        &mut self,
        session: &mut Session,
        body: &[u8],
        now: Timestamp,
        output: &mut Vec<u8>,
    ) -> Result<(), CommandError> {
        let identity = PeerInfo::decode(body)?;
        let client = self.registry.identify(&mut self.pending, session.address, identity, now);
        self.observer.observe(session.address, SessionEvent::Identified(client.producer()));
        let (unregistering, log_refusals_from) = (None, now);
        let enter = |addresses: &NsqdAddresses| addresses.enter(session.address.ip());
        let _address = self.addresses.as_ref().and_then(enter);
        let (heard, silent) = (now, None);
        let identified =
            Identified { client, unregistering, log_refusals_from, heard, silent, _address };
        session.state = State::Identified(Box::new(identified));
        output.extend_from_slice(&self.identify_response);
        Ok(())
    }

    /// Goes on with an UNREGISTER of a topic that has begun, and replies once it is done. Returns
    /// whether there is none any longer.
    #[inline(never)]
    fn unregister(&mut self, session: &mut Session, output: &mut Vec<u8>, work: &mut Work) -> bool {
        let State::Identified(identified) = &mut session.state else { return true };
        let Identified { client, unregistering, .. } = &mut **identified;
        let Some(Unregistering { topic, change }) = unregistering else { return true };
        let left = |channel: Option<&_>| match channel {
            Some(_) => change.channels += 1,
            None => change.topic = true,
        };
        if !self.registry.unregister_topic(&mut self.pending, client, topic, work, left) {
            return false;
        }
        let event = SessionEvent::Unregistered(topic, None, *change);
        self.observer.observe(session.address, event);
        *unregistering = None;
        output.extend_from_slice(encode::OK);
        true
    }

    /// Replies to a REGISTER that a limit refuses. Divergence from every other error: the connection
    /// stays, since a real nsqd would repeat all its REGISTERs and be refused for ever.
    #[cold]
    #[inline(never)]
    fn refuse(
        &mut self,
        address: SocketAddr,
        identified: &mut Identified,
        limit: LimitReached,
        now: Timestamp,
        output: &mut Vec<u8>,
    ) {
        let log = now >= identified.log_refusals_from;
        if log {
            identified.log_refusals_from = now + LOG_REFUSALS;
        }
        self.observer.observe(address, SessionEvent::LimitReached(limit, log));
        let reply: &[u8] = match limit {
            LimitReached::Nsqd => b"E_INVALID REGISTER too many registrations of this nsqd",
            LimitReached::Registry
            | LimitReached::Memory
            | LimitReached::Share
            | LimitReached::HttpNames => b"E_INVALID REGISTER too many registrations in all",
        };
        encode::frame(reply, output);
    }

    /// Registers what was refused before, as far as there is room now.
    #[cold]
    #[inline(never)]
    fn retry(&mut self, address: SocketAddr, client: &mut Client, work: &mut Work) {
        let observer = &mut self.observer;
        self.registry.retry(&mut self.pending, client, work, |topic, channel, changed| {
            observer.observe(address, SessionEvent::Registered(topic, channel, changed));
        });
    }

    fn commit_if_full(&mut self) {
        if self.pending.is_full() {
            self.commit();
        }
    }

    /// What the session waits for, with `left` bytes of an incomplete command at hand.
    fn deadline(&self, session: &mut Session, now: Timestamp) -> Timestamp {
        let idle = match &mut session.state {
            State::Identified(identified) => {
                (identified.heard, identified.silent) = (now, None);
                let Timeouts { inactive, silence, .. } = self.timeouts;
                now + if self.silent.is_some() { inactive } else { silence }
            }
            State::Magic | State::Unidentified | State::Leaving(_) => session.handshake,
        };
        idle.min(session.command)
    }
}

impl<O: Observer> ConnectionHandler for Sessions<O> {
    type Connection = Session;

    fn on_open(&mut self, address: SocketAddr, _: Token, now: Timestamp) -> (Session, Timestamp) {
        self.observer.observe(address, SessionEvent::Connected);
        let handshake = now + self.timeouts.handshake;
        let session =
            Session { address, handshake, command: Timestamp::NEVER, state: State::Magic };
        (session, handshake)
    }

    fn on_input(
        &mut self,
        session: &mut Session,
        input: Input<'_>,
        now: Timestamp,
        output: &mut Vec<u8>,
        budget: usize,
        work: &mut Work,
    ) -> Handled {
        self.commit_if_full();
        let full = output.len() + budget;
        let mut consumed = 0;
        if session.is_unregistering() && !self.unregister(session, output, work) {
            return Handled { consumed, next: Next::Continue };
        }
        loop {
            if output.len() >= full {
                return Handled { consumed, next: Next::Write };
            }
            let rest = Input { bytes: &input.bytes[consumed..], end: input.end };
            match self.step(session, rest, now, output, work) {
                Step::Consumed(taken) => {
                    consumed += taken;
                    session.command = Timestamp::NEVER;
                    if work.is_over() && consumed < input.bytes.len() {
                        return Handled { consumed, next: Next::Continue };
                    }
                }
                Step::Begun(taken) => {
                    consumed += taken;
                    session.command = Timestamp::NEVER;
                    if session.is_long() || !self.unregister(session, output, work) {
                        return Handled { consumed, next: Next::Continue };
                    }
                }
                Step::Incomplete if input.end => return Handled { consumed, next: Next::Close },
                Step::Incomplete => break,
                Step::Close => return Handled { consumed: input.bytes.len(), next: Next::Close },
            }
        }
        if consumed < input.bytes.len() {
            session.command = session.command.min(now + self.timeouts.command);
        }
        Handled { consumed, next: Next::Read { deadline: self.deadline(session, now) } }
    }

    fn announced<'a>(&self, session: &'a Session) -> Option<Announced<'a>> {
        let State::Identified(identified) = &session.state else { return None };
        let PeerInfo { broadcast_address, tcp_port, http_port, .. } =
            identified.client.producer().peer_info();
        let (tcp_port, http_port) = (*tcp_port, *http_port);
        Some(Announced { address: broadcast_address, tcp_port, http_port })
    }

    fn on_silence(&mut self, session: &mut Session, now: Timestamp) -> Option<Timestamp> {
        let State::Identified(identified) = &mut session.state else { return None };
        let links = self.silent.as_ref()?;
        let until = session.command.min(identified.heard + self.timeouts.silence);
        if until <= now {
            return None;
        }
        let heard = identified.heard;
        let link = identified.silent.get_or_insert_with(|| links.enter(heard));
        (!link.must_close(now)).then(|| until.min(now + CHECK))
    }

    fn on_timeout(&mut self, _session: &mut Session, _output: &mut Vec<u8>) {}

    fn commit(&mut self) {
        self.registry.commit(&mut self.pending);
    }

    fn on_close(&mut self, session: &mut Session, reason: CloseReason, work: &mut Work) -> bool {
        self.commit_if_full();
        let address = session.address;
        if !matches!(session.state, State::Leaving(_)) {
            let state = mem::replace(&mut session.state, State::Magic);
            let is_identified = matches!(state, State::Identified(_));
            self.observer.observe(address, SessionEvent::Closed(reason, is_identified));
            let State::Identified(identified) = state else { return true };
            let is_long = identified.client.registrations() > AT_ONCE;
            session.state = State::Leaving(Box::new(identified.client));
            if is_long {
                return false;
            }
        }
        let State::Leaving(client) = &mut session.state else { return true };
        let observer = &mut self.observer;
        self.registry.leave(&mut self.pending, client, work, |topic, channel| {
            let channel = channel.map(|channel| channel.as_str());
            observer.observe(address, SessionEvent::Left(topic.as_str(), channel));
        })
    }
}

impl Session {
    fn is_unregistering(&self) -> bool {
        matches!(&self.state, State::Identified(nsqd) if nsqd.unregistering.is_some())
    }

    /// Whether the command that has begun is better done in slices, behind other connections.
    fn is_long(&self) -> bool {
        let State::Identified(identified) = &self.state else { return false };
        let Some(Unregistering { topic, .. }) = &identified.unregistering else { return false };
        identified.client.has_more_channels_than(topic, AT_ONCE)
    }
}

/// The [`Work`] of a command, its part of the commit included.
fn units(command: &Command<'_>) -> u32 {
    match command {
        Command::Ping => 1,
        Command::Register(..) | Command::Unregister(..) => 20,
        Command::Identify(_) => 50,
    }
}
