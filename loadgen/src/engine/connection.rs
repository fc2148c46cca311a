//! One actor's connection: a non-blocking socket and its unsent bytes. Idle connections hold no
//! buffer.
//!
//! Must not: know what the bytes mean.

use std::net::{Ipv4Addr, SocketAddr};

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, connect, getpeername,
    getsockname, recv, send, socket_with, sockopt,
};

/// The state of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    #[default]
    Closed,
    Connecting,
    Open,
    /// Open, and never read again.
    NotReading,
}

/// One connection.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    pub(crate) socket: Option<OwnedFd>,
    pub(crate) state: State,
    /// Counts the sockets, so that an event of an earlier one is recognised.
    pub(crate) generation: u32,
    unsent: Vec<u8>,
}

/// The result of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    Bytes(usize),
    WouldBlock,
    Closed,
}

impl Connection {
    /// Starts to connect, from `source` when given.
    ///
    /// # Errors
    /// When no descriptor or no port is left, or the connect fails at once.
    pub(crate) fn open(&mut self, to: SocketAddr, source: Option<Ipv4Addr>) -> Result<(), Errno> {
        self.close();
        let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(family, SocketType::STREAM, flags, None)?;
        sockopt::set_tcp_nodelay(&socket, true)?;
        if let Some(address) = source {
            bind(&socket, &SocketAddr::from((address, 0)))?;
        }
        match connect(&socket, &to) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error),
        }
        self.socket = Some(socket);
        self.state = State::Connecting;
        self.generation = self.generation.wrapping_add(1);
        Ok(())
    }

    /// Closes at once.
    pub(crate) fn close(&mut self) {
        self.socket = None;
        self.state = State::Closed;
        self.unsent = Vec::new();
    }

    /// A connecting socket became writable: true when the connection is established.
    pub(crate) fn finish_connect(&mut self) -> bool {
        let socket = self.socket.as_ref();
        let connected =
            socket.is_some_and(|socket| matches!(sockopt::socket_error(socket), Ok(Ok(()))));
        self.state = if connected { State::Open } else { State::Closed };
        connected
    }

    /// This end's address.
    pub(crate) fn local(&self) -> Option<SocketAddr> {
        SocketAddr::try_from(getsockname(self.socket.as_ref()?).ok()?).ok()
    }

    /// Whether a connecting socket is connected already.
    pub(crate) fn is_connected(&self) -> bool {
        self.socket.as_ref().is_some_and(|socket| matches!(getpeername(socket), Ok(Some(_))))
    }

    /// Writes `bytes` in separate writes that begin at `splits`; stores what the socket does not
    /// accept. Returns false when the connection is broken.
    pub(crate) fn write(&mut self, bytes: &[u8], splits: &[usize]) -> bool {
        let mut from = 0;
        for end in splits.iter().copied().chain([bytes.len()]) {
            if end > from && !self.write_part(&bytes[from..end]) {
                return false;
            }
            from = end.max(from);
        }
        true
    }

    fn write_part(&mut self, bytes: &[u8]) -> bool {
        if !self.unsent.is_empty() {
            self.unsent.extend_from_slice(bytes);
            return true;
        }
        match self.send(bytes) {
            Ok(sent) => {
                self.unsent.extend_from_slice(&bytes[sent..]);
                true
            }
            Err(_) => false,
        }
    }

    /// Writes the unsent bytes. Returns false when the connection is broken.
    pub(crate) fn flush(&mut self) -> bool {
        if self.unsent.is_empty() {
            return true;
        }
        let unsent = std::mem::take(&mut self.unsent);
        self.write_part(&unsent)
    }

    fn send(&self, bytes: &[u8]) -> Result<usize, Errno> {
        let Some(socket) = &self.socket else { return Err(Errno::NOTCONN) };
        let mut sent = 0;
        while sent < bytes.len() {
            match send(socket, &bytes[sent..], SendFlags::NOSIGNAL) {
                Ok(count) => sent += count,
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(sent)
    }

    /// Reads into `buffer`.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> Read {
        let Some(socket) = &self.socket else { return Read::WouldBlock };
        loop {
            match recv(socket, &mut *buffer, RecvFlags::empty()) {
                Ok((_, 0)) => return Read::Closed,
                Ok((_, count)) => return Read::Bytes(count),
                Err(Errno::AGAIN) => return Read::WouldBlock,
                Err(Errno::INTR) => {}
                Err(_) => return Read::Closed,
            }
        }
    }
}
