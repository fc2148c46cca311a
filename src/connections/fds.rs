//! The descriptors of an event loop, which exist before its thread does.
//!
//! Must not: read or wait. Made on the thread that starts the daemon.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::deadlines::Deadlines;
use super::epoll::{Epoll, Source};
use super::messages::LoopHandle;

/// The descriptors of an event loop, opened before any thread is started.
pub(crate) struct LoopFds {
    pub(super) epoll: Epoll,
    pub(super) deadlines: Deadlines,
    /// What other threads reach the loop by.
    pub(crate) handle: LoopHandle,
}

impl LoopFds {
    /// Opens an epoll, an eventfd and a timerfd.
    ///
    /// # Errors
    /// When the process has no descriptors left.
    pub(crate) fn new() -> io::Result<Self> {
        let (epoll, deadlines, handle) = (Epoll::new()?, Deadlines::new()?, LoopHandle::new()?);
        epoll.watch_waker(handle.waker(), Source::MessageQueue)?;
        epoll.watch_waker(&deadlines, Source::Timer)?;
        Ok(Self { epoll, deadlines, handle })
    }
}

impl AsFd for LoopFds {
    /// The epoll of the loop.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}
