//! One nsqd on a non-blocking socket: its output, and how many commands are unanswered.
//!
//! Must not: choose what to send, or wait.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use testkit::wire;

/// An nsqd that is connected.
#[derive(Debug)]
pub(crate) struct Nsqd {
    stream: TcpStream,
    output: Vec<u8>,
    /// The start of a reply that has not come whole.
    input: Vec<u8>,
    /// Commands sent and not answered.
    pub(crate) unanswered: usize,
}

impl Nsqd {
    /// Connects, and queues the magic and an IDENTIFY that names it `number`.
    pub(crate) fn connect(lookupd: SocketAddr, number: usize) -> io::Result<Self> {
        let stream = connect(lookupd)?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let mut output = wire::MAGIC.to_vec();
        let name = format!("nsqd-{number:05}.example");
        wire::identify(&wire::peer_info(&name, &name), &mut output);
        Ok(Self { stream, output, input: Vec::new(), unanswered: 1 })
    }

    /// Queues one command; `encode` appends it.
    pub(crate) fn queue(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        encode(&mut self.output);
        self.unanswered += 1;
    }

    /// Sends what is queued, as far as the socket takes it.
    pub(crate) fn send(&mut self) -> io::Result<()> {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(sent) => drop(self.output.drain(..sent)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads what has come; how many replies that completed.
    ///
    /// # Errors
    /// Those of the socket, its end, and a reply that is an error.
    pub(crate) fn receive(&mut self, scratch: &mut [u8]) -> io::Result<usize> {
        let mut replies = 0;
        loop {
            let read = match self.stream.read(scratch) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            replies += self.take(&scratch[..read])?;
            if read < scratch.len() {
                break;
            }
        }
        self.unanswered -= replies;
        Ok(replies)
    }

    fn take(&mut self, fresh: &[u8]) -> io::Result<usize> {
        let mut kept = std::mem::take(&mut self.input);
        let bytes = if kept.is_empty() {
            fresh
        } else {
            kept.extend_from_slice(fresh);
            &kept
        };
        let (mut at, mut replies) = (0, 0);
        while let Some((payload, taken)) = wire::take_frame(&bytes[at..]) {
            if payload.starts_with(b"E_") {
                return Err(io::Error::other(String::from_utf8_lossy(payload).into_owned()));
            }
            at += taken;
            replies += 1;
        }
        self.input = bytes[at..].to_vec();
        Ok(replies)
    }
}

impl AsFd for Nsqd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Connects from a loopback address that only this process uses: ten thousand connections a run, and
/// those in TIME-WAIT of the run before, would use up the ports of one address.
pub(crate) fn connect(server: SocketAddr) -> io::Result<TcpStream> {
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    let [high, low, ..] = std::process::id().to_le_bytes();
    let source = Ipv4Addr::new(127, 1, low, high);
    rustix::net::bind(&socket, &SocketAddr::from((source, 0)))?;
    rustix::net::connect(&socket, &server)?;
    Ok(socket.into())
}
