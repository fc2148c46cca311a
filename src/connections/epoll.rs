//! The descriptors of an event loop: what epoll watches, and what its events say.
//!
//! Must not: change what is watched for. Each descriptor is registered once, edge-triggered for
//! both directions, so that an iteration costs no `epoll_ctl`. [`LoopFds`] are made on the thread
//! that starts the daemon; then all belongs to the thread that runs the loop.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

use super::deadlines::Deadlines;
use super::messages::LoopHandle;
use crate::clock::Timestamp;
use crate::handler::Token;

/// Events taken by one wait: enough to share one commit among many, few enough that the first
/// reply of an iteration does not wait long for the last.
pub(super) const EVENTS: usize = 512;

/// What is no slot. The highest index is never reached: see `Slab`.
pub(super) const MESSAGES: Token = Token::from_bits(u64::MAX);
pub(super) const TIMER: Token = Token::from_bits(u64::MAX - 1);
pub(super) const LISTENER: Token = Token::from_bits(u64::MAX - 2);

/// What has become possible on a descriptor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Event {
    /// What it is about: a slot, or one of the three above.
    pub(super) token: Token,
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// The peer has closed its side, or the socket has failed: a read tells which.
    pub(super) hangup: bool,
}

/// One epoll and the events of its last wait.
pub(super) struct Epoll {
    fd: OwnedFd,
    events: Vec<Event>,
}

impl Epoll {
    pub(super) fn new() -> io::Result<Self> {
        let fd = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self { fd, events: Vec::with_capacity(EVENTS) })
    }

    /// Watches a socket, both directions, edge-triggered.
    pub(super) fn watch(&self, socket: impl AsFd, token: Token) -> io::Result<()> {
        use epoll::EventFlags as Flags;
        let flags = Flags::IN | Flags::OUT | Flags::RDHUP | Flags::ET;
        self.add(socket, token, flags)
    }

    /// Watches an eventfd or a timerfd; edge-triggered, so that it need not be read.
    pub(super) fn watch_waker(&self, waker: impl AsFd, token: Token) -> io::Result<()> {
        self.add(waker, token, epoll::EventFlags::IN | epoll::EventFlags::ET)
    }

    /// Watches a listener, level-triggered: a batch that leaves some waiting is told again. Exclusive:
    /// of several loops that wait for the same socket the kernel wakes one, and passes over those that
    /// are busy.
    pub(super) fn watch_listener(&self, listener: impl AsFd) -> io::Result<()> {
        self.add(listener, LISTENER, epoll::EventFlags::IN | epoll::EventFlags::EXCLUSIVE)
    }

    /// Stops watching a listener.
    pub(super) fn forget(&self, listener: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.fd, listener)?)
    }

    fn add(&self, fd: impl AsFd, token: Token, flags: epoll::EventFlags) -> io::Result<()> {
        Ok(epoll::add(&self.fd, fd, epoll::EventData::new_u64(token.to_bits()), flags)?)
    }

    /// Waits at most `wait` for events; returns how many [`Epoll::event`] can give.
    pub(super) fn wait(&mut self, wait: Duration) -> io::Result<usize> {
        let timeout = Timespec::try_from(wait).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut room = [MaybeUninit::uninit(); EVENTS];
        self.events.clear();
        match epoll::wait(&self.fd, room.as_mut_slice(), Some(&timeout)) {
            Ok((events, _)) => self.events.extend(events.iter().map(Event::new)),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(self.events.len())
    }

    pub(super) fn event(&self, index: usize) -> Event {
        self.events[index]
    }
}

impl Event {
    fn new(event: &epoll::Event) -> Self {
        use epoll::EventFlags as Flags;
        let epoll::Event { flags, data } = *event;
        let hangup = flags.intersects(Flags::RDHUP | Flags::HUP | Flags::ERR);
        Self {
            token: Token::from_bits(data.u64()),
            readable: hangup || flags.contains(Flags::IN),
            writable: flags.contains(Flags::OUT),
            hangup,
        }
    }
}

impl AsFd for Epoll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The descriptors of an event loop, opened before any thread is started.
pub(crate) struct LoopFds {
    pub(super) epoll: Epoll,
    pub(super) deadlines: Deadlines,
    /// What other threads reach the loop by.
    pub(crate) handle: LoopHandle,
}

impl LoopFds {
    /// Opens an epoll, an eventfd and a timerfd for the loop of this name; deadlines count from `now`
    /// on.
    ///
    /// # Errors
    /// When the process has no descriptors left, or a seccomp profile refuses one of the calls, which
    /// the error names.
    pub(crate) fn new(name: String, now: Timestamp) -> io::Result<Self> {
        let epoll = named("epoll_create1", Epoll::new())?;
        let deadlines = named("timerfd_create", Deadlines::new(now))?;
        let handle = named("eventfd2", LoopHandle::new(name))?;
        epoll.watch_waker(handle.waker(), MESSAGES)?;
        epoll.watch_waker(&deadlines, TIMER)?;
        Ok(Self { epoll, deadlines, handle })
    }
}

/// What `call` has made; its error names it.
fn named<T>(call: &str, made: io::Result<T>) -> io::Result<T> {
    made.map_err(|error| io::Error::new(error.kind(), format!("{call}: {error}")))
}

impl AsFd for LoopFds {
    /// The epoll of the loop.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}
