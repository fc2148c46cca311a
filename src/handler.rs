//! What a sans-I/O conversation and its host say to each other: bytes in, a [`Handled`] out.
//!
//! Must not: know a protocol, a socket or a runtime. Shared by `session`, `http1` and
//! `connections`, so that none of them has to import another.

use std::net::SocketAddr;

use crate::clock::Timestamp;

/// What has arrived on a connection and was not consumed yet.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The unconsumed bytes, oldest first.
    pub bytes: &'a [u8],
    /// The peer has closed its sending side: nothing follows `bytes`.
    pub end: bool,
}

/// What one turn did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handled {
    /// How many bytes of the input are dealt with; the host keeps the rest and offers it again.
    pub consumed: usize,
    /// What the host does next.
    pub next: Next,
}

/// What a connection waits for after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// More input, by `deadline`; past it the host calls [`ConnectionHandler::on_timeout`] and closes.
    Read {
        /// The moment the wait ends.
        deadline: Timestamp,
    },
    /// Its output to drain: the budget was used up with input left. The host offers the rest of
    /// the input again, new bytes or not, once the output is written.
    Write,
    /// Nothing: the host writes the output and closes the connection.
    Close,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The conversation asked for it ([`Next::Close`]), or the peer closed and all was answered.
    Finished,
    /// A deadline passed: silence, or a handshake, command or request not finished in time.
    Expired,
    /// The peer did not read: output made no progress for the write limit.
    Stalled,
    /// The socket failed: reset, unreachable, timed out.
    Broken,
    /// The daemon is stopping.
    Shutdown,
    /// The conversation panicked; it cost this connection only.
    Panicked,
}

impl CloseReason {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Finished,
        Self::Expired,
        Self::Stalled,
        Self::Broken,
        Self::Shutdown,
        Self::Panicked,
    ];

    /// Its label in `/metrics`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Expired => "timeout",
            Self::Stalled => "write_timeout",
            Self::Broken => "error",
            Self::Shutdown => "shutdown",
            Self::Panicked => "panic",
        }
    }
}

/// One kind of conversation, pumped by a table of connections. All calls come from one thread
/// at a time, and none may block or yield.
pub trait ConnectionHandler {
    /// What one connection's conversation remembers between turns.
    type Connection;

    /// A peer has connected. The deadline is that of its first turn.
    fn on_open(&mut self, peer: SocketAddr, now: Timestamp) -> (Self::Connection, Timestamp);

    /// Deals with `input`, appending its replies to `output` and touching none of the bytes that
    /// stand there already. Stops with [`Next::Write`] once it has appended `budget` bytes or more.
    ///
    /// The host may offer what was offered before, or nothing at all: output that had to wait for
    /// the peer is written now, and the deadline, which did not count meanwhile, is asked again;
    /// or a deadline has passed and the host makes sure.
    fn on_input(
        &mut self,
        connection: &mut Self::Connection,
        input: Input<'_>,
        now: Timestamp,
        output: &mut Vec<u8>,
        budget: usize,
    ) -> Handled;

    /// The deadline has passed; a last reply may be appended, then the connection closes.
    fn on_timeout(
        &mut self,
        connection: &mut Self::Connection,
        now: Timestamp,
        output: &mut Vec<u8>,
    );

    /// Makes the effects of all turns since the last commit visible. The host calls it after the
    /// turns of a tick and before it writes any of their replies: published before replied.
    fn commit(&mut self, now: Timestamp);

    /// The connection is gone.
    fn on_close(&mut self, connection: Self::Connection, why: CloseReason, now: Timestamp);
}
