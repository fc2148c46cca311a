//! How other threads reach an event loop: a lock-free queue and an eventfd in the loop's epoll.
//!
//! Must not: block or lose a message. A [`LoopHandle`] is used by any thread,
//! [`LoopHandle::next`] only by the one that runs the loop.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam::queue::SegQueue;
use rustix::event::{EventfdFlags, eventfd};

use crate::clock::Timestamp;
use crate::handler::Token;
use crate::listener::Incoming;

/// A message to an event loop.
#[derive(Debug)]
pub enum LoopMessage {
    /// A connection was accepted, counted as open, and is this loop's now.
    Open(Incoming),
    /// Call the handler of a connection that it holds (see
    /// [`Next::Hold`](crate::handler::Next::Hold)). Nothing happens if that connection is gone or
    /// not held.
    Wake(Token),
    /// Stop accepting, close what is idle, finish what is in flight, and end the rest at
    /// `deadline`. Then [`Progress::Drained`](super::Progress::Drained). A second one moves the
    /// deadline.
    Stop {
        /// The moment every connection is closed, whatever its peer does.
        deadline: Timestamp,
    },
}

/// The sending end of a loop's message queue.
#[derive(Clone)]
pub struct LoopHandle(Arc<MessageQueue>);

struct MessageQueue {
    queue: SegQueue<LoopMessage>,
    /// The waker was written to and the loop has not seen it yet: many messages cost one system
    /// call.
    woken: AtomicBool,
    waker: OwnedFd,
}

impl LoopHandle {
    pub(super) fn new() -> io::Result<Self> {
        let waker = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let queue = SegQueue::new();
        Ok(Self(Arc::new(MessageQueue { queue, woken: AtomicBool::new(false), waker })))
    }

    /// Queues `message` and wakes the loop. A message to a loop that is gone is dropped with the
    /// last handle.
    pub fn send(&self, message: LoopMessage) {
        self.0.queue.push(message);
        self.ping();
    }

    /// Has the handler of a connection called that it holds; see [`LoopMessage::Wake`].
    pub fn wake(&self, token: Token) {
        self.send(LoopMessage::Wake(token));
    }

    /// Wakes the loop for one iteration: the clock was set, or it has to show that it responds.
    pub fn ping(&self) {
        // AcqRel: pairs with the swap in `acknowledge`. Whoever finds `woken` set has pushed before
        // the loop's swap, so that the loop's walk through the queue sees the message.
        if !self.0.woken.swap(true, Ordering::AcqRel) {
            // It cannot fail: the counter would have to reach 2^64 - 1.
            let _ = rustix::io::write(&self.0.waker, &1u64.to_ne_bytes());
        }
    }

    /// Whether the loop has seen the waker since it was last written to.
    #[must_use]
    pub fn is_responsive(&self) -> bool {
        !self.0.woken.load(Ordering::Acquire)
    }

    /// The loop has seen the waker and will now take every message: the next one wakes it again.
    pub(crate) fn acknowledge(&self) {
        self.0.woken.swap(false, Ordering::AcqRel);
    }

    /// The oldest message.
    pub(super) fn next(&self) -> Option<LoopMessage> {
        self.0.queue.pop()
    }

    pub(super) fn waker(&self) -> BorrowedFd<'_> {
        self.0.waker.as_fd()
    }
}
