//! What other threads say to a table: a lock-free queue and an eventfd in the table's epoll.
//!
//! Must not: block or lose a letter. A [`Handle`] is used by any thread, [`Handle::next`] only by
//! the one that runs the table.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam::queue::SegQueue;
use rustix::event::{EventfdFlags, eventfd};

use crate::access::Place;
use crate::clock::Timestamp;

/// A letter to a table.
#[derive(Debug)]
pub enum Mail {
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
    pub place: Option<Place>,
}

/// The sending end of a table's mailbox.
#[derive(Clone)]
pub struct Handle(Arc<Mailbox>);

struct Mailbox {
    letters: SegQueue<Mail>,
    /// The bell has rung and the table has not looked yet: many letters cost one system call.
    rung: AtomicBool,
    bell: OwnedFd,
}

impl Handle {
    pub(super) fn new() -> io::Result<Self> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let letters = SegQueue::new();
        Ok(Self(Arc::new(Mailbox { letters, rung: AtomicBool::new(false), bell })))
    }

    /// Puts `mail` into the box and wakes the table. Mail to a table that is gone is dropped with
    /// the last handle.
    pub fn send(&self, mail: Mail) {
        self.0.letters.push(mail);
        // AcqRel: pairs with the swap in `answer`. Whoever finds the bell rung has pushed before
        // the table's swap, so the table's walk through the queue sees the letter.
        if !self.0.rung.swap(true, Ordering::AcqRel) {
            // It cannot fail: the counter would have to reach 2^64 - 1.
            let _ = rustix::io::write(&self.0.bell, &1u64.to_ne_bytes());
        }
    }

    /// Whether the table has heard the bell since it last rang.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        !self.0.rung.load(Ordering::Acquire)
    }

    /// Hears the bell as a table does.
    #[cfg(test)]
    pub(crate) fn hear(&self) {
        self.answer();
    }

    /// The table has heard the bell and will now take every letter: the next one rings again.
    pub(super) fn answer(&self) {
        self.0.rung.swap(false, Ordering::AcqRel);
    }

    /// The oldest letter.
    pub(super) fn next(&self) -> Option<Mail> {
        self.0.letters.pop()
    }

    pub(super) fn bell(&self) -> BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.0.bell)
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("letters", &self.0.letters.len()).finish_non_exhaustive()
    }
}
