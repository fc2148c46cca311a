//! The output that all turns of a tick share, until it is committed and written.
//!
//! Must not: grow past its bound by more than one turn's output. Belongs to the thread that runs
//! the table.

use std::mem;
use std::ops::Range;

use super::slab::Token;

/// Output of one tick, in bytes, at which it is committed and written before more turns are
/// taken: replies to thousands of peers share a commit, and a burst of large ones is still in the
/// CPU's cache when the kernel copies it.
const TICK_BYTES: usize = 64 * 1024;
/// The most bytes of buffer that are kept from tick to tick.
const SPARE_BYTES: usize = 1024 * 1024;

/// Replies that wait for the tick's commit.
#[derive(Default)]
pub(super) struct Output {
    /// Where every turn appends.
    pub(super) bytes: Vec<u8>,
    replies: Vec<Reply>,
}

/// What one turn has to say to one slot.
pub(super) struct Reply {
    pub(super) token: Token,
    pub(super) range: Range<usize>,
    /// Nothing that is still to be written follows in the buffer.
    pub(super) last: bool,
}

impl Output {
    /// What was appended since `start` goes to `token`.
    pub(super) fn reply(&mut self, token: Token, start: usize) {
        let range = start..self.bytes.len();
        if !range.is_empty() {
            self.replies.push(Reply { token, range, last: false });
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= TICK_BYTES
    }

    /// Takes the bytes and the replies cut from them, to be given back by [`Output::recycle`].
    pub(super) fn take(&mut self) -> (Vec<u8>, Vec<Reply>) {
        if let Some(reply) = self.replies.last_mut() {
            reply.last = true;
        }
        (mem::take(&mut self.bytes), mem::take(&mut self.replies))
    }

    /// Keeps the buffers for the next tick, unless they have grown large.
    pub(super) fn recycle(&mut self, mut bytes: Vec<u8>, mut replies: Vec<Reply>) {
        bytes.clear();
        replies.clear();
        if bytes.capacity() <= SPARE_BYTES {
            self.bytes = bytes;
        }
        self.replies = replies;
    }
}
