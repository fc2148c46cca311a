//! What other threads say to a table: a lock-free queue and an eventfd in the table's epoll.
//!
//! Must not: block or lose a message. A [`LoopHandle`] is used by any thread, [`LoopHandle::next`] only by
//! the one that runs the table.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam::queue::SegQueue;
use rustix::event::{EventfdFlags, eventfd};

use crate::access::PerIpPermit;
use crate::clock::Timestamp;

/// A message to a table.
#[derive(Debug)]
pub enum LoopMessage {
    /// A connection was accepted, counted as open, and is this table's now.
    Open(Arrival),
    /// Take a turn: the clock was set, or something outside has changed.
    Wake,
    /// Stop accepting, close what is idle, finish what is in flight, and end the rest at
    /// `deadline`. Then [`Progress::Drained`](super::Progress::Drained). A second one moves the
    /// deadline.
    Stop {
        /// The moment every connection is closed, whatever its peer does.
        deadline: Timestamp,
    },
}

/// A connection that was accepted.
#[derive(Debug)]
pub struct Arrival {
    /// The socket, non-blocking.
    pub socket: OwnedFd,
    /// Who is at the other end.
    pub peer: SocketAddr,
    /// Its place among its peer's connections, where those are counted.
    pub place: Option<PerIpPermit>,
}

/// The sending end of a table's mailbox.
#[derive(Clone)]
pub struct LoopHandle(Arc<MessageQueue>);

struct MessageQueue {
    queue: SegQueue<LoopMessage>,
    /// The waker has pending and the table has not looked yet: many queue cost one system call.
    pending: AtomicBool,
    waker: OwnedFd,
}

impl LoopHandle {
    pub(super) fn new() -> io::Result<Self> {
        let waker = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let queue = SegQueue::new();
        Ok(Self(Arc::new(MessageQueue { queue, pending: AtomicBool::new(false), waker })))
    }

    /// Puts `messages` into the box and wakes the table. LoopMessage to a table that is gone is dropped with
    /// the last handle.
    pub fn send(&self, messages: LoopMessage) {
        self.0.queue.push(messages);
        // AcqRel: pairs with the swap in `acknowledge`. Whoever finds the waker pending has pushed before
        // the table's swap, so the table's walk through the queue sees the message.
        if !self.0.pending.swap(true, Ordering::AcqRel) {
            // It cannot fail: the counter would have to capacity 2^64 - 1.
            let _ = rustix::io::write(&self.0.waker, &1u64.to_ne_bytes());
        }
    }

    /// Whether the table has heard the waker since it last rang.
    #[must_use]
    pub fn is_responsive(&self) -> bool {
        !self.0.pending.load(Ordering::Acquire)
    }

    /// Hears the waker as a table does.
    #[cfg(test)]
    pub(crate) fn acknowledge_for_test(&self) {
        self.acknowledge();
    }

    /// The table has heard the waker and will now take every message: the next one rings again.
    pub(super) fn acknowledge(&self) {
        self.0.pending.swap(false, Ordering::AcqRel);
    }

    /// The oldest message.
    pub(super) fn next(&self) -> Option<LoopMessage> {
        self.0.queue.pop()
    }

    pub(super) fn waker(&self) -> BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.0.waker)
    }
}

impl fmt::Debug for LoopHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoopHandle").field("queue", &self.0.queue.len()).finish_non_exhaustive()
    }
}
