//! The connection handler of nsqds: the sans-I/O state machine of one nsqd's connection (magic,
//! IDENTIFY, commands), which changes the registry.
//!
//! Must not: read a clock, log, or name a runtime; what happened is reported to an [`Observer`].
//! Runs on the thread of the event loop that calls it. Source: nsq `nsqlookupd/tcp.go` and
//! `lookup_protocol_v1.go`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::handler::{CloseReason, ConnectionHandler, Handled, Input, Next, Token, Work};
use crate::limits;
use crate::protocol::decode::{Command, CommandError, ErrorCode, decode};
use crate::protocol::peer_info::PeerInfo;
use crate::protocol::{MAGIC, encode};
use crate::registry::{Client, LimitReached, PendingChanges, RegistrationChange, Registry};
use crate::snapshots::Producer;

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
    /// Its REGISTER was refused: a limit is reached. [`SessionEvent::Refused`] follows.
    LimitReached(LimitReached),
    /// The connection ended. The flag: it had identified itself.
    Closed(CloseReason, bool),
}

/// Logs and counts what happens in sessions.
pub trait Observer {
    /// Something happened to the peer at `address`.
    fn observe(&mut self, address: SocketAddr, event: SessionEvent<'_>);
}

/// Session timeouts.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// From connect to a complete IDENTIFY.
    pub handshake: Duration,
    /// From a command's first byte to its last.
    pub command: Duration,
    /// Between two commands of an identified nsqd.
    pub silence: Duration,
}

impl Timeouts {
    /// The limits' timeouts, for an inactive-producer-timeout of `inactive`.
    #[must_use]
    pub fn with_inactive_timeout(inactive: Duration) -> Self {
        Self {
            handshake: limits::HANDSHAKE,
            command: limits::COMMAND,
            silence: inactive.saturating_mul(limits::SILENCE_TIMEOUTS),
        }
    }
}

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
    Identified(Box<Client>),
}

/// What became of the first bytes of the input.
enum Step {
    Consumed(usize),
    Incomplete,
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
        Self { registry, pending: PendingChanges::default(), timeouts, identify_response, observer }
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
            State::Identified(_) => true,
        };
        let done = match decode(input.bytes, identified, input.end) {
            Ok(None) => return Step::Incomplete,
            Ok(Some((command, taken))) => {
                work.spend(units(&command));
                self.execute(session, command, now, output).map(|()| taken)
            }
            Err(refusal) => Err(refusal),
        };
        match done {
            Ok(taken) => Step::Consumed(taken),
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
    ) -> Result<(), CommandError> {
        let address = session.address;
        match (command, &mut session.state) {
            (Command::Ping, State::Identified(client)) => {
                let peer = client.producer();
                self.observer.observe(address, SessionEvent::Pinged(now.since(peer.last_update())));
                peer.update(now);
            }
            (Command::Identify(body), state @ State::Unidentified) => {
                let identity = PeerInfo::decode(body)?;
                let client = self.registry.identify(&mut self.pending, address, identity, now);
                self.observer.observe(address, SessionEvent::Identified(client.producer()));
                *state = State::Identified(Box::new(client));
                output.extend_from_slice(&self.identify_response);
                return Ok(());
            }
            (Command::Register(topic, channel), State::Identified(client)) => {
                let done = self.registry.register(&mut self.pending, client, topic, channel);
                let changed = done.map_err(|full| self.refuse_full(address, full))?;
                self.observer.observe(address, SessionEvent::Registered(topic, channel, changed));
            }
            (Command::Unregister(topic, channel), State::Identified(client)) => {
                let changed = self.registry.unregister(&mut self.pending, client, topic, channel);
                self.observer.observe(address, SessionEvent::Unregistered(topic, channel, changed));
            }
            // A PING before IDENTIFY; the decoder refuses all other commands before it.
            _ => {}
        }
        output.extend_from_slice(encode::OK);
        Ok(())
    }

    fn refuse_full(&mut self, address: SocketAddr, full: LimitReached) -> CommandError {
        self.observer.observe(address, SessionEvent::LimitReached(full));
        let text = match full {
            LimitReached::Nsqd => "REGISTER too many registrations of this nsqd",
            LimitReached::Registry => "REGISTER too many registrations in all",
        };
        CommandError::new(ErrorCode::Invalid, text)
    }

    /// What the session waits for, with `left` bytes of an incomplete command at hand.
    fn deadline(&self, session: &Session, now: Timestamp) -> Timestamp {
        let idle = match session.state {
            State::Identified(_) => now + self.timeouts.silence,
            State::Magic | State::Unidentified => session.handshake,
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
        let full = output.len() + budget;
        let mut consumed = 0;
        loop {
            if output.len() >= full {
                return Handled { consumed, next: Next::Write };
            }
            if work.is_over() {
                return Handled { consumed, next: Next::Continue };
            }
            let rest = Input { bytes: &input.bytes[consumed..], end: input.end };
            match self.step(session, rest, now, output, work) {
                Step::Consumed(taken) => {
                    consumed += taken;
                    session.command = Timestamp::NEVER;
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

    fn on_timeout(&mut self, _session: &mut Session, _output: &mut Vec<u8>) {}

    fn commit(&mut self) {
        self.registry.commit(&mut self.pending);
    }

    fn on_close(&mut self, session: &mut Session, reason: CloseReason, _: &mut Work) -> bool {
        let address = session.address;
        let identified = matches!(session.state, State::Identified(_));
        self.observer.observe(address, SessionEvent::Closed(reason, identified));
        if let State::Identified(client) = std::mem::replace(&mut session.state, State::Magic) {
            let observer = &mut self.observer;
            self.registry.leave(&mut self.pending, *client, |topic, channel| {
                let channel = channel.map(|channel| channel.as_str());
                observer.observe(address, SessionEvent::Left(topic.as_str(), channel));
            });
        }
        true
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Capacity;
    use crate::snapshots::Snapshots;

    const IDENTIFY_RESPONSE: &[u8] = b"\0\0\0\x02HI";
    const IDENTIFY: &[u8] = b"IDENTIFY\n\0\0\0\x44{\"broadcast_address\":\"b\",\"tcp_port\":1,\"http_port\":2,\"version\":\"1.3\"}";

    /// Records every event as a short text.
    #[derive(Debug, Default)]
    struct Recorder(Vec<String>);

    impl Observer for Recorder {
        fn observe(&mut self, _address: SocketAddr, event: SessionEvent<'_>) {
            self.0.push(match event {
                SessionEvent::Identified(peer) => {
                    format!("Identified({})", peer.peer_info().version)
                }
                SessionEvent::Refused(refusal) => refusal.to_string(),
                other => format!("{other:?}"),
            });
        }
    }

    fn sessions(capacity: Capacity) -> Sessions<Recorder> {
        let registry = Arc::new(Registry::new(Arc::new(Snapshots::default()), capacity));
        let timeouts = Timeouts::with_inactive_timeout(Duration::from_secs(300));
        Sessions::new(registry, timeouts, IDENTIFY_RESPONSE.into(), Recorder::default())
    }

    fn second(number: i64) -> Timestamp {
        Timestamp::from_unix_nanos(number * 1_000_000_000)
    }

    fn open(sessions: &mut Sessions<Recorder>) -> Session {
        sessions.on_open(([127, 0, 0, 1], 5).into(), Token::default(), second(0)).0
    }

    /// Sends `bytes` in pieces of `step`, offering again what is not consumed, as an event loop does.
    fn send(bytes: &[u8], step: usize, end: bool) -> (Vec<u8>, Next) {
        let mut sessions = sessions(Capacity::default());
        let mut session = open(&mut sessions);
        let (mut output, mut unconsumed) = (Vec::new(), Vec::new());
        let mut next = Next::Read { deadline: second(10) };
        let pieces = bytes.chunks(step).map(|piece| (piece, false));
        for (piece, end) in pieces.chain(end.then_some((&[][..], true))) {
            unconsumed.extend_from_slice(piece);
            let input = Input { bytes: &unconsumed, end };
            let handled = sessions.on_input(
                &mut session,
                input,
                second(1),
                &mut output,
                usize::MAX / 2,
                &mut Work::unlimited(),
            );
            unconsumed.drain(..handled.consumed);
            next = handled.next;
            if next == Next::Close {
                break;
            }
        }
        (output, next)
    }

    #[test]
    fn replies_are_the_same_for_every_split() {
        let hello = [b"  V1", IDENTIFY].concat();
        let ok = [IDENTIFY_RESPONSE, encode::OK, encode::OK, encode::OK].concat();
        let script = [&hello[..], b"REGISTER t c\nPING\nUNREGISTER t\n"].concat();
        let quiet = Next::Read { deadline: second(601) };
        let refused = [IDENTIFY_RESPONSE, b"\0\0\0\x1fE_INVALID cannot IDENTIFY again"].concat();
        let cases: &[(&[u8], bool, &[u8], Next)] = &[
            (&script, false, &ok, quiet),
            (&script, true, &ok, Next::Close),
            (
                b"  V1PING\nPING\n",
                false,
                b"\0\0\0\x02OK\0\0\0\x02OK",
                Next::Read { deadline: second(10) },
            ),
            (b"  V2", false, b"\0\0\0\x0eE_BAD_PROTOCOL", Next::Close),
            (b"  V", true, b"", Next::Close),
            (&[&hello[..], IDENTIFY].concat(), false, &refused, Next::Close),
            (
                b"  V1IDENTIFY\n\xff\xff\xff\xff",
                false,
                b"\0\0\0\x28E_BAD_BODY IDENTIFY invalid body size -1",
                Next::Close,
            ),
        ];
        for (bytes, end, want, next) in cases {
            for step in [1, 2, 7, 1000] {
                let (output, got) = send(bytes, step, *end);
                let shown = String::from_utf8_lossy(bytes);
                assert_eq!(
                    String::from_utf8_lossy(&output),
                    String::from_utf8_lossy(want),
                    "{shown}"
                );
                assert_eq!(got, *next, "{shown} in steps of {step}");
            }
        }
    }

    #[test]
    fn deadline_is_that_of_the_handshake_the_command_or_the_silence() {
        let mut sessions = sessions(Capacity::default());
        let mut session = open(&mut sessions);
        let mut next = |bytes: &[u8], at: i64| {
            let input = Input { bytes, end: false };
            sessions
                .on_input(
                    &mut session,
                    input,
                    second(at),
                    &mut Vec::new(),
                    1000,
                    &mut Work::unlimited(),
                )
                .next
        };
        let until = |at| Next::Read { deadline: second(at) };
        assert_eq!(next(b"  V1PING\n", 3), until(10));
        assert_eq!(next(b"IDEN", 4), until(10));
        assert_eq!(next(IDENTIFY, 5), until(605));
        assert_eq!(next(b"REG", 20), until(30));
        assert_eq!(next(b"REGI", 25), until(30), "more bytes of it do not move the deadline");
        assert_eq!(next(b"REGISTER t\n", 26), until(626));
        assert_eq!(next(b"PING\nPI", 27), until(37));
    }

    #[test]
    fn it_stops_at_the_budget_and_continues_later() {
        let mut sessions = sessions(Capacity::default());
        let mut session = open(&mut sessions);
        let input = [b"  V1", &b"PING\n".repeat(10)[..]].concat();
        let mut output = b"of others".to_vec();
        let input = Input { bytes: &input, end: false };
        let handled = sessions.on_input(
            &mut session,
            input,
            second(0),
            &mut output,
            10,
            &mut Work::unlimited(),
        );
        assert_eq!((handled.consumed, handled.next, output.len()), (14, Next::Write, 9 + 12));
    }

    #[test]
    fn closed_connection_leaves_every_topic_and_the_observer_is_told() {
        let mut sessions = sessions(Capacity { registrations: 100, per_nsqd: 3 });
        let mut session = open(&mut sessions);
        let input = [b"  V1", IDENTIFY, b"REGISTER t c\nREGISTER u\nREGISTER v\nPING\n"].concat();
        let mut output = Vec::new();
        let input = Input { bytes: &input, end: false };
        let handled = sessions.on_input(
            &mut session,
            input,
            second(2),
            &mut output,
            1000,
            &mut Work::unlimited(),
        );
        assert_eq!(handled.next, Next::Close);
        sessions.commit();
        let snapshots = Arc::clone(sessions.registry.snapshots());
        let producers = || snapshots.topic("t", |t| t.map_or(9, |(t, _)| t.producers().len()));
        assert_eq!((producers(), sessions.registry.registrations()), (1, 3));
        sessions.on_close(&mut session, CloseReason::Finished, &mut Work::unlimited());
        sessions.commit();
        assert_eq!((producers(), sessions.registry.registrations()), (0, 0));
        let mut events = sessions.observer.0;
        events[7..].sort();
        assert_eq!(events[5], "LimitReached(Nsqd)");
        assert_eq!(events[6], "E_INVALID REGISTER too many registrations of this nsqd");
        let left = [
            "Closed(Finished, true)",
            "Left(\"t\", None)",
            "Left(\"t\", Some(\"c\"))",
            "Left(\"u\", None)",
        ];
        assert_eq!(events[7..], left);
    }
}
