//! One actor's connection: a non-blocking socket, what is unsent, and nothing else.
//!
//! Must not: know what is said. Idle connections hold no buffer.

use std::net::{Ipv4Addr, SocketAddr};

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, connect, getpeername, recv,
    send, socket_with, sockopt,
};

/// How a connection stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    #[default]
    Closed,
    Connecting,
    Open,
    /// Open, and never read.
    Deaf,
}

/// One connection.
#[derive(Debug, Default)]
pub(crate) struct Link {
    pub(crate) socket: Option<OwnedFd>,
    pub(crate) state: State,
    /// Counts connections, so that an event of an earlier one is known.
    pub(crate) generation: u32,
    unsent: Vec<u8>,
}

/// What became of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    Bytes(usize),
    Later,
    End,
}

impl Link {
    /// Begins to connect, from `source` when given.
    ///
    /// # Errors
    /// When the system has no descriptor or no port left, or refuses at once.
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

    /// A connecting socket became writable: true when the connection stands.
    pub(crate) fn established(&mut self) -> bool {
        let socket = self.socket.as_ref();
        let good = socket.is_some_and(|socket| matches!(sockopt::socket_error(socket), Ok(Ok(()))));
        self.state = if good { State::Open } else { State::Closed };
        good
    }

    /// A connecting socket has its peer already.
    pub(crate) fn stands(&self) -> bool {
        self.socket.as_ref().is_some_and(|socket| matches!(getpeername(socket), Ok(Some(_))))
    }

    /// Writes `bytes`, cut into the pieces that begin at `cuts`; what the socket does not take is
    /// kept. Returns false when the connection is broken.
    pub(crate) fn write(&mut self, bytes: &[u8], cuts: &[usize]) -> bool {
        let mut from = 0;
        for end in cuts.iter().copied().chain([bytes.len()]) {
            if end > from && !self.piece(&bytes[from..end]) {
                return false;
            }
            from = end.max(from);
        }
        true
    }

    fn piece(&mut self, bytes: &[u8]) -> bool {
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

    /// Writes what is unsent. Returns false when the connection is broken.
    pub(crate) fn flush(&mut self) -> bool {
        if self.unsent.is_empty() {
            return true;
        }
        let unsent = std::mem::take(&mut self.unsent);
        self.piece(&unsent)
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

    /// Reads into `scratch`.
    pub(crate) fn read(&self, scratch: &mut [u8]) -> Read {
        let Some(socket) = &self.socket else { return Read::Later };
        loop {
            match recv(socket, &mut *scratch, RecvFlags::empty()) {
                Ok((_, 0)) => return Read::End,
                Ok((_, count)) => return Read::Bytes(count),
                Err(Errno::AGAIN) => return Read::Later,
                Err(Errno::INTR) => {}
                Err(_) => return Read::End,
            }
        }
    }
}
