//! The interface between a sans-I/O connection handler and the event loop that runs it.
//!
//! Must not: know a protocol, a socket or a runtime. Shared by `session`, `http1` and
//! `connections`, so that none of them has to import another.
//!
//! For each connection the loop calls, in this order:
//! 1. [`on_open`](ConnectionHandler::on_open), once;
//! 2. [`on_input`](ConnectionHandler::on_input), any number of times, until it answers
//!    [`Next::Close`] or the connection ends;
//! 3. [`on_silence`](ConnectionHandler::on_silence) whenever the deadline has passed and a call of
//!    `on_input` has changed nothing about it; if it gives no other deadline,
//!    [`on_timeout`](ConnectionHandler::on_timeout), once; then the connection closes;
//! 4. [`on_close`](ConnectionHandler::on_close), whatever the reason, until it says that it is
//!    done; nothing after it.
//!
//! Calls share one thread with those of all other connections, so that each does little: what takes
//! long is done in slices, one a call, and [`Work`] says when a slice is over.
//!
//! [`commit`](ConnectionHandler::commit) belongs to no connection: it follows any of these calls
//! before a reply is written or a socket closed. A handler that panics in one of them loses that
//! connection only, and is told by `on_close`.

use std::net::SocketAddr;

use crate::clock::Timestamp;
use crate::work::Work;

/// Names one connection of one event loop, and no other after it: what a handler remembers to have
/// that connection woken from another thread. To the loop it is an index and its generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Token {
    pub(crate) generation: u32,
    pub(crate) index: u32,
}

/// What has arrived on a connection and was not consumed yet.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The unconsumed bytes, oldest first.
    pub bytes: &'a [u8],
    /// The peer has closed its sending side: nothing follows `bytes`.
    pub end: bool,
}

/// What one call of [`ConnectionHandler::on_input`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handled {
    /// How many bytes of the input are dealt with; the loop keeps the rest and offers it again.
    pub consumed: usize,
    /// What the loop does next.
    pub next: Next,
}

/// What a connection waits for after a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// More input, by `deadline`; past it the loop calls [`ConnectionHandler::on_timeout`] and
    /// closes.
    Read {
        /// The moment the wait ends.
        deadline: Timestamp,
    },
    /// Its output to be written: the budget was used up with input left. The loop offers the rest
    /// of the input again, new bytes or not, once the output is written.
    Write,
    /// Itself: the work was used up, or something long has begun. The loop calls again in a later
    /// iteration, behind other connections, with what is unconsumed; nothing is read meanwhile. A
    /// handler begins something long with this, so that all of it is done in slices.
    Continue,
    /// Another thread, by `deadline`: the handler will answer later. Nothing is read meanwhile, so
    /// that input behind this request waits in the kernel; the loop only notices that the peer
    /// closes its side, which ends the connection. A wake by the connection's [`Token`] has the
    /// loop call `on_input` again; so has a deadline that passes or a stop of the loop, and if the
    /// answer is `Hold` again, [`ConnectionHandler::on_timeout`] and the end follow. A wake is not
    /// remembered: before it answers `Hold`, a handler looks whether what it waits for is there.
    Hold {
        /// The moment the wait ends.
        deadline: Timestamp,
    },
    /// Nothing: the loop writes the output and closes the connection.
    Close,
}

/// Makes room in `to` for `more` elements, where a peer decides how many.
///
/// # Panics
/// When there is no memory for them, with their size: that costs the connection whose call it is. A
/// vector that grows by itself would end the process.
pub fn reserve<T>(to: &mut Vec<T>, more: usize) {
    let bytes = more.saturating_mul(size_of::<T>());
    assert!(to.try_reserve(more).is_ok(), "no memory for {bytes} bytes");
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The handler asked for it ([`Next::Close`]), or the peer closed: all was answered, or it
    /// was held ([`Next::Hold`]) and does not wait any longer.
    Finished,
    /// The peer has sent nothing at all, and closed, or the socket failed, or a deadline passed: a
    /// health check.
    Unused,
    /// A deadline passed: silence, or a handshake, command or request not finished in time.
    Expired,
    /// The peer did not read: output made no progress for the write limit.
    Stalled,
    /// The socket failed: reset, unreachable, timed out.
    Broken,
    /// There was no room for what it sent and was not complete, or for output that it had not read:
    /// a limit of all connections together.
    NoRoom,
    /// The daemon is stopping.
    Shutdown,
    /// The handler panicked; it cost this connection only.
    Panicked,
}

impl CloseReason {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Finished,
        Self::Unused,
        Self::Expired,
        Self::Stalled,
        Self::Broken,
        Self::NoRoom,
        Self::Shutdown,
        Self::Panicked,
    ];

    /// Its label in `/metrics`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Unused => "unused",
            Self::Expired => "timeout",
            Self::Stalled => "write_timeout",
            Self::Broken => "error",
            Self::NoRoom => "no_room",
            Self::Shutdown => "shutdown",
            Self::Panicked => "panic",
        }
    }
}

/// What an nsqd says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Announced<'a> {
    /// Where consumers are to connect: a host name or an address.
    pub address: &'a str,
    /// Its port for them.
    pub tcp_port: i64,
    /// Its port for HTTP.
    pub http_port: i64,
}

/// The protocol side of many connections, called by an event loop in the order that the head of
/// this file gives. All calls come from one thread at a time, and none may block or yield.
pub trait ConnectionHandler {
    /// What the handler remembers of one connection between calls.
    type Connection;

    /// A peer has connected. `peer` is canonical: an IPv4 peer of a listener on every address is
    /// an IPv4 address. The deadline is that of the first input.
    fn on_open(
        &mut self,
        peer: SocketAddr,
        token: Token,
        now: Timestamp,
    ) -> (Self::Connection, Timestamp);

    /// Deals with `input`, appending its replies to `output` and touching none of the bytes that
    /// stand there already. Stops with [`Next::Write`] once it has appended `budget` bytes or more,
    /// and with [`Next::Continue`] between two commands or slices once `work` is over.
    ///
    /// The loop may offer what was offered before, or nothing at all: the connection goes on; it
    /// was held and is woken; or output that had to wait for the peer is written now, and the
    /// deadline, which did not count meanwhile, is asked again; or a deadline has passed and the
    /// loop makes sure.
    fn on_input(
        &mut self,
        connection: &mut Self::Connection,
        input: Input<'_>,
        now: Timestamp,
        output: &mut Vec<u8>,
        budget: usize,
        work: &mut Work,
    ) -> Handled;

    /// Whose connection it is, once that is known. From then on it counts in the share of that nsqd,
    /// and no longer in that of its address, which a whole fleet may have. The loop asks after each
    /// call until it knows.
    fn announced<'a>(&self, _: &'a Self::Connection) -> Option<Announced<'a>> {
        None
    }

    /// The deadline has passed and nothing has come: until when the connection may wait all the same;
    /// `None`: no longer.
    fn on_silence(&mut self, _: &mut Self::Connection, _now: Timestamp) -> Option<Timestamp> {
        None
    }

    /// The deadline has passed, or the loop stops while it holds the connection; a last reply may
    /// be appended, then the connection closes.
    fn on_timeout(&mut self, connection: &mut Self::Connection, output: &mut Vec<u8>);

    /// The loop is told to stop: what it has is finished, and nothing else begins.
    fn on_stop(&mut self) {}

    /// Makes the effects of all calls since the last commit visible. The loop calls it after the
    /// calls of an iteration and before it writes any of their replies: published before replied.
    fn commit(&mut self);

    /// So much of the output waits for the peer now. Called when that has changed, but for the end.
    fn on_queued(&mut self, _connection: &mut Self::Connection, _bytes: usize) {}

    /// The connection is over. Returns whether that is dealt with; if not, because `work` was over,
    /// the loop calls again in a later iteration. The socket is closed after the commit that follows
    /// the last call.
    fn on_close(
        &mut self,
        connection: &mut Self::Connection,
        reason: CloseReason,
        work: &mut Work,
    ) -> bool;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_not_there_is_a_panic_with_its_size() {
        let mut numbers = vec![1_u64];
        reserve(&mut numbers, 100);
        assert!(numbers.capacity() > 100);
        // The system has no address for as many.
        let panic = std::panic::catch_unwind(move || reserve(&mut numbers, 1 << 57));
        let panic = panic.expect_err("no memory");
        let text = panic.downcast_ref::<String>().expect("a message");
        assert_eq!(text, "no memory for 1152921504606846976 bytes");
    }
}
