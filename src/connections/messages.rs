//! How other threads reach an event loop: a lock-free queue and an eventfd in the loop's epoll.
//!
//! Must not: block or lose a message. A [`LoopHandle`] is used by any thread,
//! [`LoopHandle::next`] only by the one that runs the loop.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};

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
    /// What the log calls the loop.
    name: String,
    queue: SegQueue<LoopMessage>,
    /// The waker was written to and the loop has not seen it yet: many messages cost one system
    /// call.
    woken: AtomicBool,
    waker: OwnedFd,
    /// Calls of the handler and batches of accepts that the loop has made. Relaxed, as `stage`: for the
    /// watchdog.
    calls: AtomicU64,
    stage: AtomicU8,
    connections: AtomicUsize,
}

/// What a loop is doing, for the watchdog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Waiting for events, or between two iterations.
    Wait,
    /// Looking at what has come: messages, new connections, sockets.
    Events,
    /// Serving connections that are ready.
    Serve,
    /// Going on with what takes long.
    Slices,
    /// Sweeping the deadlines.
    Timeouts,
    /// Publishing changes and writing replies.
    Commit,
}

impl Stage {
    const ALL: [Self; 6] =
        [Self::Wait, Self::Events, Self::Serve, Self::Slices, Self::Timeouts, Self::Commit];

    /// For a log line: the loop was …
    #[must_use]
    pub fn doing(self) -> &'static str {
        match self {
            Self::Wait => "waiting for events",
            Self::Events => "looking at events",
            Self::Serve => "serving connections",
            Self::Slices => "going on with long requests",
            Self::Timeouts => "sweeping deadlines",
            Self::Commit => "publishing and writing",
        }
    }
}

impl LoopHandle {
    pub(super) fn new(name: String) -> io::Result<Self> {
        let waker = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let queue = SegQueue::new();
        let (woken, calls, stage) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU8::new(0));
        let connections = AtomicUsize::new(0);
        let queue = MessageQueue { name, queue, woken, waker, calls, stage, connections };
        Ok(Self(Arc::new(queue)))
    }

    /// What the log calls the loop: `worker 0`, or `acceptor`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
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

    /// How many calls of its handler, and batches of accepts, the loop has made.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.0.calls.load(Ordering::Relaxed)
    }

    /// What the loop is doing.
    #[must_use]
    pub fn stage(&self) -> Stage {
        Stage::ALL[usize::from(self.0.stage.load(Ordering::Relaxed)) % Stage::ALL.len()]
    }

    /// How many connections the loop has, those on their way to it included.
    pub(crate) fn connections(&self) -> usize {
        self.0.connections.load(Ordering::Relaxed)
    }

    /// The loop is to have one more.
    pub(super) fn entered(&self) {
        self.0.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// The loop has one less.
    pub(super) fn left(&self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// The loop has made one more call. Only the loop calls this.
    pub(crate) fn called(&self) {
        let calls = self.0.calls.load(Ordering::Relaxed);
        self.0.calls.store(calls + 1, Ordering::Relaxed);
    }

    /// The loop begins to do this.
    pub(crate) fn begin(&self, stage: Stage) {
        self.0.stage.store(stage as u8, Ordering::Relaxed);
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
