//! The descriptors of an event loop, which exist before its thread does.
//!
//! Must not: read or wait. Made on the thread that starts the daemon.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::deadlines::Deadlines;
use super::epoll::{Epoll, MESSAGES, TIMER};
use super::messages::LoopHandle;
use crate::clock::Timestamp;

/// The descriptors of an event loop, opened before any thread is started.
pub(crate) struct LoopFds {
    pub(super) epoll: Epoll,
    pub(super) deadlines: Deadlines,
    /// What other threads reach the loop by.
    pub(crate) handle: LoopHandle,
}

impl LoopFds {
    /// Opens an epoll, an eventfd and a timerfd; deadlines count from `now` on.
    ///
    /// # Errors
    /// When the process has no descriptors left.
    pub(crate) fn new(now: Timestamp) -> io::Result<Self> {
        let (epoll, deadlines, handle) = (Epoll::new()?, Deadlines::new(now)?, LoopHandle::new()?);
        epoll.watch_waker(handle.waker(), MESSAGES)?;
        epoll.watch_waker(&deadlines, TIMER)?;
        Ok(Self { epoll, deadlines, handle })
    }
}

impl AsFd for LoopFds {
    /// The epoll of the loop.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}
