//! An nsqd's side of its connection: what it has written, how far it arrived, and what the replies
//! must be.
//!
//! Must not: decode with musterd's decoder; what a command means is known from when it was written.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::Range;

use musterd::clock::Timestamp;
use musterd::session::Session;
use testkit::wire;

use crate::script::Say;
use crate::truth::Id;
use crate::web::Nsqd;

/// How far a dialogue has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Magic,
    Stranger,
    Identified,
    /// It was refused: nothing more is read.
    Over,
}

/// What carrying out something said comes to.
#[derive(Debug)]
pub(crate) enum Outcome {
    Greeting(usize),
    Pong,
    Register(&'static str, Option<&'static str>),
    Unregister(&'static str, Option<&'static str>),
    Refused(&'static str),
}

/// An open connection.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) id: Id,
    pub(crate) shard: usize,
    pub(crate) address: SocketAddr,
    pub(crate) session: Session,
    pub(crate) stage: Stage,
    /// All it has written, and how much of that has arrived and was consumed.
    pub(crate) outbox: Vec<u8>,
    pub(crate) delivered: usize,
    pub(crate) consumed: usize,
    /// It has closed its sending side.
    pub(crate) ended: bool,
    /// Its last reply waits for a commit; then it is closed.
    pub(crate) closing: bool,
    pub(crate) opened: Timestamp,
    /// Since when a command has been incomplete.
    pub(crate) partial: Option<Timestamp>,
    pub(crate) deadline: Timestamp,
    /// What it has said and has no reply to, and where in `outbox` that stands.
    said: VecDeque<(Say, Range<usize>)>,
    is_v1: bool,
}

const IDENTIFY: usize = "IDENTIFY\n".len();
const LENGTH: usize = 4;
/// Bytes without a newline that are refused; see `limits::COMMAND_LINE`.
const LONG_LINE: usize = 4096;

impl Line {
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
            outbox: magic.as_bytes().to_vec(),
            delivered: 0,
            consumed: 0,
            ended: false,
            closing: false,
            opened: now,
            partial: None,
            deadline,
            said: VecDeque::new(),
            is_v1: magic == "  V1",
        }
    }

    /// Writes what it means to say, or what a planted bug makes of that.
    pub(crate) fn say(&mut self, meant: &Say, sent: &Say) {
        let start = self.outbox.len();
        self.outbox.extend(sent.bytes(self.id));
        self.said.push_back((meant.clone(), start..self.outbox.len()));
    }

    /// The reply that must come next, if what has arrived says so; the magic has none.
    pub(crate) fn next_outcome(&mut self) -> Option<Outcome> {
        if self.stage == Stage::Magic {
            if self.delivered < 4 {
                return None;
            }
            if !self.is_v1 {
                return Some(Outcome::Refused("E_BAD_PROTOCOL"));
            }
            self.stage = Stage::Stranger;
            self.partial = None;
        }
        let (say, place) = self.said.front()?;
        let arrived = self.delivered.saturating_sub(place.start);
        if arrived >= say.decided(self.stage, place.len()) {
            return Some(say.outcome(self.stage));
        }
        let is_body = matches!(say, Say::Identify(_) | Say::WrongBody(..) | Say::NegativeBody);
        match arrived.checked_sub(IDENTIFY) {
            Some(body) if is_body && self.ended && self.stage == Stage::Stranger => {
                let what = ["E_BAD_BODY IDENTIFY failed to read body size", CUT]
                    [usize::from(body >= LENGTH)];
                Some(Outcome::Refused(what))
            }
            _ => None,
        }
    }

    /// What is next has had its reply.
    pub(crate) fn replied(&mut self) {
        self.said.pop_front();
        self.partial = None;
    }

    /// Where what it has no reply to begins.
    pub(crate) fn answered_up_to(&self) -> usize {
        match self.stage {
            Stage::Magic => 0,
            _ => self.said.front().map_or(self.outbox.len(), |(_, place)| place.start),
        }
    }
}

const CUT: &str = "E_BAD_BODY IDENTIFY failed to read body";

impl Say {
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

    /// From how many of its bytes on its outcome is certain.
    fn decided(&self, stage: Stage, length: usize) -> usize {
        match self {
            Self::Identify(_) | Self::WrongBody(..) if stage == Stage::Identified => IDENTIFY,
            Self::NegativeBody if stage == Stage::Identified => IDENTIFY,
            Self::LongLine => LONG_LINE,
            _ => length,
        }
    }

    fn outcome(&self, stage: Stage) -> Outcome {
        const AGAIN: &str = "E_INVALID cannot IDENTIFY again";
        const STRANGER: &str = "E_INVALID client must IDENTIFY";
        let is_identified = stage == Stage::Identified;
        match *self {
            Self::Identify(_) | Self::WrongBody(..) | Self::NegativeBody if is_identified => {
                Outcome::Refused(AGAIN)
            }
            Self::Identify(node) => Outcome::Greeting(node),
            Self::WrongBody(_, refusal) => Outcome::Refused(refusal),
            Self::NegativeBody => Outcome::Refused("E_BAD_BODY IDENTIFY invalid body size -2"),
            Self::Ping => Outcome::Pong,
            Self::Register(..) | Self::Unregister(..) if !is_identified => {
                Outcome::Refused(STRANGER)
            }
            Self::Register(topic, channel) => Outcome::Register(topic, channel),
            Self::Unregister(topic, channel) => Outcome::Unregister(topic, channel),
            Self::Wrong(_, stranger, identified) => {
                Outcome::Refused(if is_identified { identified } else { stranger })
            }
            Self::LongLine => Outcome::Refused("E_INVALID command line longer than 4096 bytes"),
        }
    }
}
