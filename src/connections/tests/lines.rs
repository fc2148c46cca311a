//! A small conversation: lines in, lines out, and verbs that misbehave in every way a table has
//! to stand.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::handler::{CloseReason, ConnectionHandler, Handled, Input, Next};

/// From accept to the first line, and from a line's first byte to its last.
pub(crate) const LINE: Duration = Duration::from_secs(10);
/// Without a line.
pub(crate) const SILENCE: Duration = Duration::from_secs(60);

/// After a line that asks for a nap.
pub(crate) const NAP: Duration = Duration::from_millis(300);

/// What happened to all connections of a service.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) endings: Mutex<Vec<CloseReason>>,
    pub(crate) commits: AtomicU64,
    /// The most bytes of other replies that a turn has found before its own.
    pub(crate) most_waiting: AtomicUsize,
    poisoned: AtomicBool,
    /// A peer that must have read nothing new when a commit begins.
    pub(crate) watched: Mutex<Option<TcpStream>>,
    pub(crate) told_early: AtomicU64,
}

impl Log {
    /// Makes the next commit panic, which no connection can be blamed for.
    pub(crate) fn poison(&self) {
        self.poisoned.store(true, Ordering::SeqCst);
    }

    /// Notes when the watched peer can read a reply whose effect is not published.
    fn look(&self) {
        if let Some(peer) = &*self.watched.lock().unwrap() {
            peer.set_nonblocking(true).unwrap();
            let told = peer.peek(&mut [0]).is_ok();
            peer.set_nonblocking(false).unwrap();
            self.told_early.fetch_add(u64::from(told), Ordering::SeqCst);
        }
    }

    pub(crate) fn endings(&self) -> Vec<CloseReason> {
        self.endings.lock().unwrap().clone()
    }
}

pub(crate) struct Lines {
    log: Arc<Log>,
    applied: u64,
}

pub(crate) struct Dialogue {
    waiting_since: Timestamp,
    limit: Duration,
}

impl Lines {
    pub(crate) fn new(log: Arc<Log>) -> Self {
        Self { log, applied: 0 }
    }

    /// Answers one line; whether the connection goes on.
    fn acknowledge(&mut self, line: &[u8], output: &mut Vec<u8>) -> bool {
        self.applied += 1;
        let text = std::str::from_utf8(line).unwrap();
        let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
        match verb {
            "echo" => output.extend_from_slice(format!("{rest}\n").as_bytes()),
            "big" => output.extend_from_slice(&vec![b'x'; rest.parse().unwrap()]),
            "applied" => output.extend_from_slice(format!("{}\n", self.applied).as_bytes()),
            "mute" | "nap" => {}
            "half" => {
                output.extend_from_slice(b"half a rep");
                panic!("as the test asked");
            }
            "quit" => output.extend_from_slice(b"bye\n"),
            other => panic!("no verb {other}"),
        }
        verb != "quit"
    }
}

impl ConnectionHandler for Lines {
    type Connection = Dialogue;

    fn on_open(&mut self, _: SocketAddr, now: Timestamp) -> (Dialogue, Timestamp) {
        (Dialogue { waiting_since: now, limit: LINE }, now + LINE)
    }

    fn on_input(
        &mut self,
        dialogue: &mut Dialogue,
        input: Input<'_>,
        now: Timestamp,
        output: &mut Vec<u8>,
        budget: usize,
    ) -> Handled {
        let (start, mut consumed) = (output.len(), 0);
        self.log.most_waiting.fetch_max(start, Ordering::SeqCst);
        while let Some(length) = input.bytes[consumed..].iter().position(|&byte| byte == b'\n') {
            if output.len() - start >= budget {
                return Handled { consumed, next: Next::Write };
            }
            let line = &input.bytes[consumed..consumed + length];
            consumed += length + 1;
            let limit = if line == b"nap" { NAP } else { SILENCE };
            (dialogue.waiting_since, dialogue.limit) = (now, limit);
            if !self.acknowledge(line, output) {
                return Handled { consumed, next: Next::Close };
            }
        }
        if consumed < input.bytes.len() && dialogue.limit == SILENCE {
            (dialogue.waiting_since, dialogue.limit) = (now, LINE);
        }
        Handled { consumed, next: Next::Read { deadline: dialogue.waiting_since + dialogue.limit } }
    }

    fn on_timeout(&mut self, _: &mut Dialogue, _: Timestamp, output: &mut Vec<u8>) {
        output.extend_from_slice(b"late\n");
    }

    fn commit(&mut self, _: Timestamp) {
        assert!(!self.log.poisoned.load(Ordering::SeqCst), "as the test asked");
        self.log.look();
        self.log.commits.fetch_add(1, Ordering::SeqCst);
    }

    fn on_close(&mut self, _: Dialogue, why: CloseReason, _: Timestamp) {
        self.log.endings.lock().unwrap().push(why);
    }
}
