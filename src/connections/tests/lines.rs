//! A handler of lines: each is answered, and there are verbs for everything that an event loop has
//! to withstand.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::clock::{Clock, Timestamp};
use crate::handler::{CloseReason, ConnectionHandler, Handled, Input, Next, Token};
use crate::work::{UNITS_PER_LOOK, Work};

/// From accept to the first line, and from a line's first byte to its last.
pub(crate) const LINE: Duration = Duration::from_secs(10);
/// Without a line.
pub(crate) const SILENCE: Duration = Duration::from_secs(60);

/// How long a line that asks for it is held.
pub(crate) const HOLD: Duration = Duration::from_secs(20);

/// After a line that asks for a nap.
pub(crate) const NAP: Duration = Duration::from_millis(300);

/// What happened to all connections of a handler.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) endings: Mutex<Vec<CloseReason>>,
    pub(crate) commits: AtomicU64,
    /// The most bytes of other replies that a call has found before its own.
    pub(crate) most_waiting: AtomicUsize,
    poisoned: AtomicBool,
    /// A peer that must have read nothing new when a commit begins.
    pub(crate) watched: Mutex<Option<TcpStream>>,
    pub(crate) read_early: AtomicU64,
    /// The connections that were held, in order.
    pub(crate) held: Mutex<Vec<Token>>,
    /// What those are answered once they are called again.
    pub(crate) answer: Mutex<Option<&'static str>>,
    /// The clock, and by how much each line, each slice and each write of what waits moves it.
    pub(crate) takes: Mutex<Option<(Clock, Duration)>>,
    /// Slices done, of which line or connection, in order.
    pub(crate) slices: Mutex<Vec<String>>,
    /// Slices of a connection's end still to be done, for those that asked for it.
    pub(crate) to_leave: AtomicUsize,
    /// How many deadlines may pass before a silent peer is closed.
    pub(crate) waits: AtomicUsize,
    /// How much output waited for the last peer of which that has changed.
    pub(crate) queued: AtomicUsize,
    /// Calls that had no answer for a held connection.
    pub(crate) held_calls: AtomicUsize,
    /// Who has connected.
    pub(crate) peers: Mutex<Vec<SocketAddr>>,
    /// Whether a line that asks for it blocks worker 0; whether one does.
    pub(crate) blocks: AtomicBool,
    pub(crate) is_blocked: AtomicBool,
}

impl Log {
    /// Makes the next commit panic, which no connection can be blamed for.
    pub(crate) fn poison(&self) {
        self.poisoned.store(true, Ordering::SeqCst);
    }

    /// Notes when the watched peer can read a reply whose effect is not published.
    fn check_watched(&self) {
        if let Some(peer) = &*self.watched.lock().unwrap() {
            peer.set_nonblocking(true).unwrap();
            let is_early = peer.peek(&mut [0]).is_ok();
            peer.set_nonblocking(false).unwrap();
            self.read_early.fetch_add(u64::from(is_early), Ordering::SeqCst);
        }
    }

    /// Some work is done, which takes as long as the test wants.
    fn work(&self, work: &mut Work) {
        if let Some((clock, span)) = &*self.takes.lock().unwrap() {
            clock.set(clock.now() + *span);
            work.spend(UNITS_PER_LOOK);
        }
        work.spend(1);
    }

    pub(crate) fn endings(&self) -> Vec<CloseReason> {
        self.endings.lock().unwrap().clone()
    }
}

pub(crate) struct Lines {
    log: Arc<Log>,
    worker: usize,
    applied: u64,
}

pub(crate) struct Connection {
    token: Token,
    waiting_since: Timestamp,
    limit: Duration,
    held_until: Option<Timestamp>,
    /// The word to be answered after so many more slices.
    long: Option<(String, u32)>,
    /// Its end takes slices.
    leaves_slowly: bool,
}

impl Lines {
    pub(crate) fn new(log: Arc<Log>) -> Self {
        Self::of_worker(0, log)
    }

    pub(crate) fn of_worker(worker: usize, log: Arc<Log>) -> Self {
        Self { log, worker, applied: 0 }
    }

    /// Keeps worker 0 from everything else, as long as the test wants.
    fn block(&self) {
        while self.worker == 0 && self.log.blocks.load(Ordering::SeqCst) {
            self.log.is_blocked.store(true, Ordering::SeqCst);
            std::thread::yield_now();
        }
    }

    /// Answers a held connection, if there is an answer now.
    fn answer_held(&self, connection: &mut Connection, output: &mut Vec<u8>) -> Option<Next> {
        let deadline = connection.held_until?;
        let Some(answer) = *self.log.answer.lock().unwrap() else {
            self.log.held_calls.fetch_add(1, Ordering::SeqCst);
            return Some(Next::Hold { deadline });
        };
        output.extend_from_slice(answer.as_bytes());
        connection.held_until = None;
        None
    }

    /// Does a slice of a long line, if there is one; what comes next, unless it is done.
    fn slice(
        &self,
        connection: &mut Connection,
        output: &mut Vec<u8>,
        work: &mut Work,
    ) -> Option<Next> {
        let (word, left) = connection.long.as_mut()?;
        self.log.slices.lock().unwrap().push(word.clone());
        assert_ne!(word, "panic", "as the test asked");
        self.log.work(work);
        *left -= 1;
        if *left > 0 {
            return Some(Next::Continue);
        }
        output.extend_from_slice(format!("{word}\n").as_bytes());
        connection.long = None;
        None
    }

    /// Answers one line; whether the connection goes on.
    fn answer(&mut self, line: &[u8], output: &mut Vec<u8>) -> bool {
        self.applied += 1;
        let text = std::str::from_utf8(line).unwrap();
        let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
        match verb {
            "echo" => output.extend_from_slice(format!("{rest}\n").as_bytes()),
            "big" => output.extend_from_slice(&vec![b'x'; rest.parse().unwrap()]),
            "applied" => output.extend_from_slice(format!("{}\n", self.applied).as_bytes()),
            "quiet" | "nap" | "hold" | "long" | "slow" => {}
            "half" => {
                output.extend_from_slice(b"half a rep");
                panic!("as the test asked");
            }
            "block" => {
                self.block();
                output.extend_from_slice(b"on\n");
            }
            "quit" => output.extend_from_slice(b"bye\n"),
            other => panic!("no verb {other}"),
        }
        verb != "quit"
    }
}

impl ConnectionHandler for Lines {
    type Connection = Connection;

    fn on_open(
        &mut self,
        peer: SocketAddr,
        token: Token,
        now: Timestamp,
    ) -> (Connection, Timestamp) {
        self.log.peers.lock().unwrap().push(peer);
        (
            Connection {
                token,
                waiting_since: now,
                limit: LINE,
                held_until: None,
                long: None,
                leaves_slowly: false,
            },
            now + LINE,
        )
    }

    fn on_input(
        &mut self,
        connection: &mut Connection,
        input: Input<'_>,
        now: Timestamp,
        output: &mut Vec<u8>,
        budget: usize,
        work: &mut Work,
    ) -> Handled {
        let (start, mut consumed) = (output.len(), 0);
        self.log.most_waiting.fetch_max(start, Ordering::SeqCst);
        if let Some(next) = self.answer_held(connection, output) {
            return Handled { consumed, next };
        }
        if let Some(next) = self.slice(connection, output, work) {
            return Handled { consumed, next };
        }
        while let Some(length) = input.bytes[consumed..].iter().position(|&byte| byte == b'\n') {
            if output.len() - start >= budget {
                return Handled { consumed, next: Next::Write };
            }
            if work.is_over() {
                return Handled { consumed, next: Next::Continue };
            }
            let line = &input.bytes[consumed..consumed + length];
            consumed += length + 1;
            let limit = if line == b"nap" { NAP } else { SILENCE };
            (connection.waiting_since, connection.limit) = (now, limit);
            self.log.work(work);
            if !self.answer(line, output) {
                return Handled { consumed, next: Next::Close };
            }
            if let Some(rest) = line.strip_prefix(b"long ") {
                let text = std::str::from_utf8(rest).unwrap();
                let (word, slices) = text.split_once(' ').unwrap();
                connection.long = Some((word.to_owned(), slices.parse().unwrap()));
                return Handled { consumed, next: Next::Continue };
            }
            connection.leaves_slowly |= line == b"slow";
            if line == b"hold" {
                self.log.held.lock().unwrap().push(connection.token);
                connection.held_until = Some(now + HOLD);
            }
            if let Some(next) = self.answer_held(connection, output) {
                return Handled { consumed, next };
            }
        }
        if consumed < input.bytes.len() && connection.limit == SILENCE {
            (connection.waiting_since, connection.limit) = (now, LINE);
        }
        let deadline = connection.waiting_since + connection.limit;
        Handled { consumed, next: Next::Read { deadline } }
    }

    fn on_silence(&mut self, _: &mut Connection, now: Timestamp) -> Option<Timestamp> {
        let one_less = |waits: usize| waits.checked_sub(1);
        let waits = self.log.waits.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less);
        waits.ok().map(|_| now + LINE)
    }

    fn on_timeout(&mut self, _: &mut Connection, output: &mut Vec<u8>) {
        self.log.work(&mut Work::unlimited());
        output.extend_from_slice(b"late\n");
    }

    fn commit(&mut self) {
        assert!(!self.log.poisoned.load(Ordering::SeqCst), "as the test asked");
        self.log.check_watched();
        self.log.commits.fetch_add(1, Ordering::SeqCst);
    }

    fn on_queued(&mut self, _: &mut Connection, bytes: usize) {
        self.log.queued.store(bytes, Ordering::SeqCst);
        if let Some((clock, span)) = &*self.log.takes.lock().unwrap() {
            clock.set(clock.now() + *span);
        }
    }

    fn on_close(&mut self, connection: &mut Connection, reason: CloseReason, _: &mut Work) -> bool {
        let left = &self.log.to_leave;
        if connection.leaves_slowly && left.load(Ordering::SeqCst) > 0 {
            left.fetch_sub(1, Ordering::SeqCst);
            self.log.slices.lock().unwrap().push("leave".to_owned());
            return false;
        }
        self.log.endings.lock().unwrap().push(reason);
        true
    }
}
