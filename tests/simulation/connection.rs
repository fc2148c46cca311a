//! An nsqd's side of its connection: the bytes it has written, how many of them have arrived, and
//! which replies must come.
//!
//! Must not: decode with musterd's decoder: the commands are remembered when they are written.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::Range;
use std::rc::Rc;

use musterd::clock::Timestamp;
use musterd::session::{Observer, Session, SessionEvent};
use testkit::wire;

use crate::http::Nsqd;
use crate::oracle::Id;
use crate::script::Command;

/// Remembers in which order an nsqd has left its topics.
#[derive(Clone, Default)]
pub(crate) struct LeftTopics(pub(crate) Rc<RefCell<Vec<String>>>);

impl Observer for LeftTopics {
    fn observe(&mut self, _: SocketAddr, event: SessionEvent<'_>) {
        if let SessionEvent::Left(topic, None) = event {
            self.0.borrow_mut().push(topic.to_owned());
        }
    }
}

/// The state of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Magic,
    Unidentified,
    Identified,
    /// A command was rejected: nothing more is read.
    Rejected,
}

/// The effect of a command.
#[derive(Debug)]
pub(crate) enum Outcome {
    Identified(usize),
    Ping,
    Register(&'static str, Option<&'static str>),
    Unregister(&'static str, Option<&'static str>),
    Rejected(&'static str),
}

/// An open connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) id: Id,
    pub(crate) shard: usize,
    pub(crate) address: SocketAddr,
    pub(crate) session: Session,
    pub(crate) stage: Stage,
    /// All bytes it has written.
    pub(crate) written: Vec<u8>,
    /// How many of them have arrived.
    pub(crate) delivered: usize,
    /// How many of them the session has consumed.
    pub(crate) consumed: usize,
    /// It has closed its sending side.
    pub(crate) ended: bool,
    /// Its last reply waits for a commit; then it is closed.
    pub(crate) closing: bool,
    pub(crate) opened: Timestamp,
    /// Since when a command has been incomplete.
    pub(crate) partial: Option<Timestamp>,
    pub(crate) deadline: Timestamp,
    /// The commands without a reply, and where they are in `written`.
    unanswered: VecDeque<(Command, Range<usize>)>,
    is_v1: bool,
}

const IDENTIFY: usize = "IDENTIFY\n".len();
const LENGTH: usize = 4;
/// Bytes without a newline that are rejected; see `limits::COMMAND_LINE`.
const LONG_LINE: usize = 4096;

impl Connection {
    pub(crate) fn new(
        id: Id,
        shard: usize,
        address: SocketAddr,
        (session, deadline): (Session, Timestamp),
        magic: &'static str,
        now: Timestamp,
    ) -> Self {
        Self {
            id,
            shard,
            address,
            session,
            stage: Stage::Magic,
            written: magic.as_bytes().to_vec(),
            delivered: 0,
            consumed: 0,
            ended: false,
            closing: false,
            opened: now,
            partial: None,
            deadline,
            unanswered: VecDeque::new(),
            is_v1: magic == "  V1",
        }
    }

    /// Writes `sent`, which is `meant` unless a mutation replaces it.
    pub(crate) fn write(&mut self, meant: &Command, sent: &Command) {
        let start = self.written.len();
        self.written.extend(sent.bytes(self.id));
        self.unanswered.push_back((meant.clone(), start..self.written.len()));
    }

    /// The effect of the next command, once enough of it has arrived to decide that.
    pub(crate) fn next_outcome(&mut self) -> Option<Outcome> {
        if self.stage == Stage::Magic {
            if self.delivered < 4 {
                return None;
            }
            if !self.is_v1 {
                return Some(Outcome::Rejected("E_BAD_PROTOCOL"));
            }
            self.stage = Stage::Unidentified;
            self.partial = None;
        }
        let (command, place) = self.unanswered.front()?;
        let arrived = self.delivered.saturating_sub(place.start);
        if arrived >= command.decided_by(self.stage, place.len()) {
            return Some(command.outcome(self.stage));
        }
        let has_body = matches!(
            command,
            Command::Identify(_) | Command::WrongBody(..) | Command::NegativeBody
        );
        match arrived.checked_sub(IDENTIFY) {
            Some(body) if has_body && self.ended && self.stage == Stage::Unidentified => {
                let rejection = ["E_BAD_BODY IDENTIFY failed to read body size", CUT_BODY]
                    [usize::from(body >= LENGTH)];
                Some(Outcome::Rejected(rejection))
            }
            _ => None,
        }
    }

    /// The reply to the next command has come.
    pub(crate) fn replied(&mut self) {
        self.unanswered.pop_front();
        self.partial = None;
    }

    /// How many bytes have been answered.
    pub(crate) fn answered_up_to(&self) -> usize {
        match self.stage {
            Stage::Magic => 0,
            _ => self.unanswered.front().map_or(self.written.len(), |(_, place)| place.start),
        }
    }
}

const CUT_BODY: &str = "E_BAD_BODY IDENTIFY failed to read body";

impl Command {
    fn bytes(&self, id: Id) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Identify(node) => {
                let body = wire::peer_info(&format!("c{id}"), &Nsqd::host(*node));
                wire::identify(&body, &mut out);
            }
            Self::Register(topic, channel) => wire::register(topic, *channel, &mut out),
            Self::Unregister(topic, channel) => wire::unregister(topic, *channel, &mut out),
            Self::Ping => out.extend(b"PING\r\n"),
            Self::Wrong(text, ..) => out.extend(format!("{text}\n").bytes()),
            Self::WrongBody(body, _) => wire::identify(body, &mut out),
            Self::NegativeBody => out.extend(b"IDENTIFY\n\xff\xff\xff\xfe"),
            Self::LongLine => out.resize(LONG_LINE + 3, b'a'),
        }
        out
    }

    /// How many of its bytes decide its outcome.
    fn decided_by(&self, stage: Stage, length: usize) -> usize {
        match self {
            Self::Identify(_) | Self::WrongBody(..) if stage == Stage::Identified => IDENTIFY,
            Self::NegativeBody if stage == Stage::Identified => IDENTIFY,
            Self::LongLine => LONG_LINE,
            _ => length,
        }
    }

    fn outcome(&self, stage: Stage) -> Outcome {
        const AGAIN: &str = "E_INVALID cannot IDENTIFY again";
        const UNIDENTIFIED: &str = "E_INVALID client must IDENTIFY";
        let is_identified = stage == Stage::Identified;
        match *self {
            Self::Identify(_) | Self::WrongBody(..) | Self::NegativeBody if is_identified => {
                Outcome::Rejected(AGAIN)
            }
            Self::Identify(node) => Outcome::Identified(node),
            Self::WrongBody(_, rejection) => Outcome::Rejected(rejection),
            Self::NegativeBody => Outcome::Rejected("E_BAD_BODY IDENTIFY invalid body size -2"),
            Self::Ping => Outcome::Ping,
            Self::Register(..) | Self::Unregister(..) if !is_identified => {
                Outcome::Rejected(UNIDENTIFIED)
            }
            Self::Register(topic, channel) => Outcome::Register(topic, channel),
            Self::Unregister(topic, channel) => Outcome::Unregister(topic, channel),
            Self::Wrong(_, unidentified, identified) => {
                Outcome::Rejected(if is_identified { identified } else { unidentified })
            }
            Self::LongLine => Outcome::Rejected("E_INVALID command line longer than 4096 bytes"),
        }
    }
}
