//! The replies of an iteration in one buffer, until they are committed and written.
//!
//! Must not: grow past its bound by more than the output of one call. Belongs to the thread that
//! runs the loop.

use std::mem;
use std::ops::Range;

use crate::handler::Token;

/// Output, in bytes, at which it is committed and written before the handler is called again:
/// replies to thousands of peers share a commit, and a burst of large ones is still in the CPU's
/// cache when the kernel copies it.
const FULL_BYTES: usize = 64 * 1024;
/// Replies at which they are committed and written as well: the time that this takes counts towards
/// the iteration's, like that of the calls.
const FULL_REPLIES: usize = 64;
/// The largest buffer, in bytes, that is used again in the next iteration.
const SPARE_BYTES: usize = 1024 * 1024;

/// Replies that wait for the commit.
#[derive(Default)]
pub(super) struct Output {
    /// Where every call appends.
    pub(super) bytes: Vec<u8>,
    replies: Vec<Reply>,
}

/// What one slot has to be sent.
pub(super) struct Reply {
    pub(super) token: Token,
    pub(super) range: Range<usize>,
    /// Nothing that is still to be written follows in the buffer.
    pub(super) last: bool,
}

impl Output {
    /// What was appended since `start` goes to `token`; whether there is any. Behind a reply to
    /// the same slot it is one with that, so that no slot takes part of it for all.
    pub(super) fn reply(&mut self, token: Token, start: usize) -> bool {
        let range = start..self.bytes.len();
        let replied = !range.is_empty();
        match self.replies.last_mut() {
            Some(reply) if reply.token == token => reply.range.end = range.end,
            _ if replied => self.replies.push(Reply { token, range, last: false }),
            _ => {}
        }
        replied
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= FULL_BYTES || self.replies.len() >= FULL_REPLIES
    }

    /// Takes the bytes and the replies cut from them, to be given back by [`Output::recycle`].
    pub(super) fn take(&mut self) -> (Vec<u8>, Vec<Reply>) {
        if let Some(reply) = self.replies.last_mut() {
            reply.last = true;
        }
        (mem::take(&mut self.bytes), mem::take(&mut self.replies))
    }

    /// Keeps the buffers for the next replies, unless they have grown large.
    pub(super) fn recycle(&mut self, mut bytes: Vec<u8>, mut replies: Vec<Reply>) {
        bytes.clear();
        replies.clear();
        if bytes.capacity() <= SPARE_BYTES {
            self.bytes = bytes;
        }
        self.replies = replies;
    }
}
