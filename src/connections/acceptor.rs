//! A listening socket: who is let in (see [`access`](crate::access)), which table gets the
//! connection, and what happens when the process has no descriptor left.
//!
//! Must not: block, or spin on an error. Runs on the thread of the table that listens.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with, listen, sockopt};

use super::deadlines::CoarseTime;
use super::messages::{Arrival, LoopHandle, LoopMessage};
use crate::access::{AcceptPolicy, PerIpPermit};
use crate::limits;

/// Connections that wait for an accept; the kernel cuts it to net.core.somaxconn. A fleet that
/// reconnects at once must not meet a full queue, since a lost SYN costs its sender a second.
const BACKLOG: i32 = 4096;
/// Connections accepted in one turn; those accepted before must not wait for a herd.
pub(super) const BATCH: usize = 64;
/// How long the listener rests when there is no descriptor or memory for an accept.
pub(super) const PAUSE: Duration = Duration::from_millis(500);
/// Refused connections that may still read their refusal; more than those are just closed. They
/// stand beside the cap: a process needs that many descriptors to spare.
pub(super) const REFUSALS: usize = 64;

/// Which table a peer's connection belongs to: an index into the handles.
pub type Route = Box<dyn FnMut(SocketAddr) -> usize + Send>;

/// A listener, and the tables that its connections go to.
pub struct Acceptor {
    listener: OwnedFd,
    tables: Vec<LoopHandle>,
    own: usize,
    route: Route,
    /// Asked of every peer, where an operator wants it.
    policy: Option<AcceptPolicy>,
    /// When a listener that is not watched will be again.
    pub(super) paused: Option<CoarseTime>,
    /// Refused connections that linger.
    pub(super) refusals: usize,
}

/// What one accept brought.
pub(super) enum Accepted {
    Connection(OwnedFd, SocketAddr),
    /// Nobody waits.
    Nobody,
    /// Somebody came and is gone, or has no address we know.
    Lost,
    /// The process or the kernel has run out of something: the next try would fail as well.
    Exhausted,
}

impl Acceptor {
    /// Takes over a bound listener. Connections go to `tables[route(peer)]`; `own` is the index of
    /// the table that will be given this acceptor. With `keepalive`, the kernel probes a peer that
    /// was silent for so long.
    ///
    /// # Errors
    /// When the socket refuses an option.
    pub fn new(
        listener: TcpListener,
        tables: Vec<LoopHandle>,
        own: usize,
        route: Route,
        keepalive: Option<Duration>,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        listen(&listener, BACKLOG)?;
        // An accepted socket inherits these, which saves system calls on each.
        sockopt::set_tcp_nodelay(&listener, true)?;
        // While a reply is not acknowledged the kernel does not probe, and would try for 15 minutes.
        let dead = u32::try_from(limits::TCP_USER_TIMEOUT.as_millis()).unwrap_or(u32::MAX);
        sockopt::set_tcp_user_timeout(&listener, dead)?;
        if let Some(silence) = keepalive {
            sockopt::set_socket_keepalive(&listener, true)?;
            sockopt::set_tcp_keepidle(&listener, silence)?;
            sockopt::set_tcp_keepintvl(&listener, limits::KEEPALIVE_INTERVAL)?;
        }
        Ok(Self {
            listener: listener.into(),
            tables,
            own,
            route,
            policy: None,
            paused: None,
            refusals: 0,
        })
    }

    /// Lets in only whom `policy` lets in.
    #[must_use]
    pub fn behind(self, policy: Option<AcceptPolicy>) -> Self {
        Self { policy, ..self }
    }

    /// Lets a peer in, with its place where permits are counted.
    ///
    /// # Errors
    /// What the peer is told that may not come in.
    pub(super) fn admit(&self, peer: SocketAddr) -> Result<Option<PerIpPermit>, &'static [u8]> {
        self.policy.as_ref().map_or(Ok(None), |policy| policy.admit(peer.ip()))
    }

    pub(super) fn accept(&self) -> Accepted {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        match acceptfrom_with(&self.listener, flags) {
            Ok((socket, Some(peer))) => match SocketAddr::try_from(peer) {
                Ok(peer) => Accepted::Connection(socket, peer),
                Err(_) => Accepted::Lost,
            },
            Err(Errno::AGAIN) => Accepted::Nobody,
            // A connection that died in the queue: accept(2).
            Ok((_, None)) | Err(Errno::CONNABORTED | Errno::INTR | Errno::PROTO) => Accepted::Lost,
            // EMFILE, ENFILE, ENOBUFS, ENOMEM, the EPERM of a security module, which leaves the
            // connection in the queue, and whatever else would come back at once.
            Err(_) => Accepted::Exhausted,
        }
    }

    /// Hands a connection to the table it belongs to; gives it back when that is the own one.
    pub(super) fn hand_over(&mut self, arrival: Arrival) -> Option<Arrival> {
        let table = (self.route)(arrival.peer);
        if table == self.own {
            return Some(arrival);
        }
        self.tables[table].send(LoopMessage::Open(arrival));
        None
    }
}

impl AsFd for Acceptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").field("listener", &self.listener).finish_non_exhaustive()
    }
}
