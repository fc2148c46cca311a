//! A listening socket: bound once, with the options that accepted sockets inherit; what a rejected
//! connection is told; and what happens when the process has no descriptor left.
//!
//! Must not: know an event loop, block, or spin on an error. [`bind`] runs on the main thread, a
//! [`Listener`] on the thread of the loop that owns it; several loops may have the same socket.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    AddressFamily, SendFlags, Shutdown, SocketFlags, SocketType, acceptfrom_with, listen, send,
    shutdown, sockopt,
};

use crate::access::Permit;
use crate::clock::Timestamp;
use crate::limits;

/// Connections that wait for an accept; the kernel cuts it to `net.core.somaxconn`. A whole fleet
/// that reconnects at once must not meet a full queue, since a lost SYN costs its sender a second.
const BACKLOG: i32 = 65_535;
/// Connections accepted in one iteration of a loop: those accepted before must not wait for a burst,
/// and other loops with the same socket take their part of it. As many failures in a row pause the
/// listener: it would go on at once.
pub(crate) const BATCH: usize = 16;
/// How long the listener pauses when there is no descriptor or memory for an accept.
const PAUSE: Duration = Duration::from_millis(500);

/// A connection that was accepted and let in.
#[derive(Debug)]
pub struct Incoming {
    /// The socket, non-blocking.
    pub socket: OwnedFd,
    /// Who is at the other end, [`canonical`].
    pub peer: SocketAddr,
    /// What it has of what its address may have; none of that of a proxy, which is to say who the peer
    /// is.
    pub permit: Option<Permit>,
}

/// What one accept brought.
pub(crate) enum Accepted {
    /// A connection, non-blocking, and who is at the other end, [`canonical`].
    Connection(OwnedFd, SocketAddr),
    /// Nobody waits.
    Nobody,
    /// Somebody came and is gone, or has no address we know.
    Lost,
    /// The process or the kernel has run out of something, or connections are lost one after
    /// another: the next try would fail as well.
    Exhausted,
}

/// A listening socket as one event loop has it.
pub(crate) struct Listener {
    socket: Arc<OwnedFd>,
    /// Connections lost since one was accepted.
    lost: usize,
    /// When it accepts again; reset by its owner, who watches it again then.
    pub(crate) paused_until: Option<Timestamp>,
}

/// Binds `address` and listens. Either family's "every address" means both, as in Go; IPv4 alone
/// where the host has no IPv6. The socket blocks, and closes on exec.
///
/// # Errors
/// The system's reason.
pub(crate) fn bind(address: SocketAddr) -> Result<TcpListener, Errno> {
    if !address.ip().is_unspecified() {
        return bind_exactly(address);
    }
    match bind_exactly(SocketAddr::from((Ipv6Addr::UNSPECIFIED, address.port()))) {
        Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) => {
            bind_exactly(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())))
        }
        bound => bound,
    }
}

/// Without SO_REUSEPORT: with it a second daemon on the port would not fail.
fn bind_exactly(address: SocketAddr) -> Result<TcpListener, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, !address.ip().is_unspecified())?;
    }
    rustix::net::bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

/// A peer as access rules, handlers and logs see it: an IPv4 peer of a listener on every address is
/// an IPv4 peer.
#[must_use]
pub(crate) fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

/// Tells a connection why it may not come in, and closes our side; whether the peer is to have time to
/// read that.
pub(crate) fn reject(socket: &OwnedFd, message: &[u8]) -> bool {
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    let is_told = !message.is_empty() && retry_on_intr(|| send(socket, message, flags)).is_ok();
    is_told && shutdown(socket, Shutdown::Write).is_ok()
}

impl Listener {
    /// Takes over a socket that listens. With `keepalive`, the kernel probes a peer that was
    /// silent for so long.
    ///
    /// # Errors
    /// When the socket refuses an option.
    pub(crate) fn new(socket: TcpListener, keepalive: Option<Duration>) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        // An accepted socket inherits these, which saves system calls on each.
        sockopt::set_tcp_nodelay(&socket, true)?;
        // While a reply is not acknowledged the kernel does not probe, and would try for 15 minutes.
        let dead = u32::try_from(limits::TCP_USER_TIMEOUT.as_millis()).unwrap_or(u32::MAX);
        sockopt::set_tcp_user_timeout(&socket, dead)?;
        sockopt::set_socket_send_buffer_size(&socket, limits::SEND_BUFFER)?;
        if let Some(silence) = keepalive {
            sockopt::set_socket_keepalive(&socket, true)?;
            sockopt::set_tcp_keepidle(&socket, silence)?;
            sockopt::set_tcp_keepintvl(&socket, limits::KEEPALIVE_INTERVAL)?;
        }
        Ok(Self { socket: Arc::new(socket.into()), lost: 0, paused_until: None })
    }

    /// The same socket, for another event loop.
    pub(crate) fn share(&self) -> Self {
        Self { socket: Arc::clone(&self.socket), lost: 0, paused_until: None }
    }

    /// Accepts one connection, if one waits.
    pub(crate) fn accept(&mut self) -> Accepted {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (socket, peer) = match acceptfrom_with(&self.socket, flags) {
            Ok((socket, Some(peer))) => match SocketAddr::try_from(peer) {
                Ok(peer) => (socket, peer),
                Err(_) => return self.lost(),
            },
            Err(Errno::AGAIN) => return Accepted::Nobody,
            // A connection that died in the queue: accept(2).
            Ok((_, None)) | Err(Errno::CONNABORTED | Errno::INTR | Errno::PROTO) => {
                return self.lost();
            }
            // EMFILE, ENFILE, ENOBUFS, ENOMEM, the EPERM of a security module, which leaves the
            // connection in the queue, and whatever else would come back at once.
            Err(_) => return Accepted::Exhausted,
        };
        self.lost = 0;
        Accepted::Connection(socket, canonical(peer))
    }

    fn lost(&mut self) -> Accepted {
        self.lost += 1;
        if self.lost.is_multiple_of(BATCH) { Accepted::Exhausted } else { Accepted::Lost }
    }

    /// Accepts nothing for a while from `now` on; returns until when. Its owner stops watching it.
    pub(crate) fn pause(&mut self, now: Timestamp) -> Timestamp {
        let until = now + PAUSE;
        self.paused_until = Some(until);
        until
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    fn loopback(port: u16) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    }

    /// Accepts until a connection comes.
    fn accept(listener: &mut Listener) -> Accepted {
        for _ in 0..1000 {
            match listener.accept() {
                Accepted::Nobody => std::thread::yield_now(),
                accepted => return accepted,
            }
        }
        panic!("nobody came");
    }

    #[test]
    fn bound_port_stays_taken_while_it_listens() {
        let ours = bind(loopback(0)).unwrap();
        assert_eq!(bind(ours.local_addr().unwrap()).unwrap_err(), Errno::ADDRINUSE);
    }

    #[test]
    fn unspecified_address_of_either_family_means_both() {
        for address in ["0.0.0.0:0", "[::]:0"] {
            let listener = bind(address.parse().unwrap()).unwrap();
            let port = listener.local_addr().unwrap().port();
            TcpStream::connect(loopback(port)).unwrap();
            if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
                TcpStream::connect((Ipv6Addr::LOCALHOST, port)).unwrap();
            }
        }
    }

    /// More than the backlog of a `listen` that names none of its own, as far as the kernel allows.
    #[test]
    fn queue_of_new_connections_holds_a_burst() {
        let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
        let burst = most.trim().parse::<usize>().unwrap().min(250);
        let socket = bind(loopback(0)).unwrap();
        let address = socket.local_addr().unwrap();
        let mut listener = Listener::new(socket, None).unwrap();
        // With a full queue a SYN is dropped: no error, but a wait for the next.
        let connect = |_| TcpStream::connect_timeout(&address, Duration::from_secs(10)).unwrap();
        let _peers: Vec<_> = (0..burst).map(connect).collect();
        for _ in 0..burst {
            assert!(matches!(accept(&mut listener), Accepted::Connection(..)));
        }
    }

    #[test]
    fn ipv4_peer_of_a_listener_on_every_address_is_an_ipv4_peer() {
        let socket = bind("0.0.0.0:0".parse().unwrap()).unwrap();
        let address = loopback(socket.local_addr().unwrap().port());
        let mut listener = Listener::new(socket, None).unwrap();
        let peer = TcpStream::connect(address).unwrap();
        let Accepted::Connection(_, seen) = accept(&mut listener) else { panic!("no connection") };
        assert_eq!(seen, peer.local_addr().unwrap());
    }

    #[test]
    fn connections_lost_one_after_another_pause_the_listener() {
        let mut listener = Listener::new(bind(loopback(0)).unwrap(), None).unwrap();
        for round in 1..=2 * BATCH {
            let is_paused = matches!(listener.lost(), Accepted::Exhausted);
            assert_eq!(is_paused, round % BATCH == 0, "{round}");
        }
        listener.lost();
        let _peer = TcpStream::connect({
            let socket = TcpListener::from(listener.socket.try_clone().unwrap());
            socket.local_addr().unwrap()
        });
        assert!(matches!(accept(&mut listener), Accepted::Connection(..)));
        assert_eq!(listener.lost, 0, "it counts those in a row");
    }
}
