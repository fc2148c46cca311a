//! One blocking connection of an actor. Nothing it does outlasts the attack, whatever the target does.
//!
//! Must not: keep what it reads, beyond the start of an answer that is not complete.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Mutex;
use std::time::Duration;

use memchr::memmem;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with, sockopt};
use testkit::wire;

use super::attack::{Attack, Tally, note};
use crate::actors::io::Port;

/// The longest wait for a socket before the end of the attack is looked for.
const WAIT: Duration = Duration::from_millis(100);
/// So much is sent at once: what a target reads in one go.
pub(crate) const BURST: usize = 64 * 1024;
/// The first line of an HTTP response begins so, and has its status behind.
const STATUS: &[u8] = b"HTTP/1.1 ";

/// One thread of an actor.
pub(crate) struct Session<'a> {
    pub(crate) attack: &'a Attack,
    pub(crate) tally: &'a Mutex<Tally>,
    /// The address that it connects from: each actor has its own.
    pub(crate) source: Ipv4Addr,
    /// How often it has been played.
    pub(crate) round: usize,
}

/// One connection.
pub(crate) struct Link<'a> {
    stream: TcpStream,
    attack: &'a Attack,
    tally: &'a Mutex<Tally>,
    http: bool,
    /// The start of an incomplete reply, or the last bytes of what was read.
    unparsed: Vec<u8>,
    buffer: Vec<u8>,
}

impl<'a> Session<'a> {
    /// Connects; `None` when that fails or the attack is over.
    pub(crate) fn open(&self, port: Port) -> Option<Link<'a>> {
        let (attack, tally) = (self.attack, self.tally);
        if attack.stopped() {
            return None;
        }
        let to = if port == Port::Tcp { attack.target.tcp } else { attack.target.http };
        let stream = connect_from(self.source, to).ok();
        note(tally, |tally| match stream {
            Some(_) => tally.connections += 1,
            None => tally.refused += 1,
        });
        let (http, unparsed) = (port == Port::Http, Vec::new());
        Some(Link { stream: stream?, attack, tally, http, unparsed, buffer: vec![0; BURST] })
    }

    /// Connects as an nsqd with that identity; `None` also when it is refused.
    pub(crate) fn nsqd(&self, hostname: &str, address: &str) -> Option<Link<'a>> {
        let mut link = self.open(Port::Tcp)?;
        let mut out = wire::MAGIC.to_vec();
        wire::identify(&wire::peer_info(hostname, address), &mut out);
        link.exchange(&out, 1)?;
        Some(link)
    }
}

/// Connects from that address of loopback.
fn connect_from(source: Ipv4Addr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    if to.is_ipv4() {
        bind(&socket, &SocketAddr::from((source, 0)))?;
    }
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(Duration::from_secs(2)))?;
    connect(&socket, &to)?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(WAIT))?;
    stream.set_write_timeout(Some(WAIT))?;
    Ok(stream)
}

impl Link<'_> {
    /// Sends so many requests or commands; reads meanwhile if the target does not. `None` when the
    /// target has ended the connection or the attack is over.
    pub(crate) fn send(&mut self, mut bytes: &[u8], requests: u64) -> Option<()> {
        let length = bytes.len() as u64;
        while !bytes.is_empty() && !self.attack.stopped() {
            match self.stream.write(bytes) {
                Ok(0) => return self.ended(),
                Ok(count) => bytes = &bytes[count..],
                Err(error) if is_timeout(error.kind()) => drop(self.read()?),
                Err(_) => return self.ended(),
            }
        }
        note(self.tally, |tally| {
            tally.sent += requests;
            tally.bytes_out += length;
        });
        bytes.is_empty().then_some(())
    }

    /// Reads once, and returns how many answers began or were complete, and how many bytes came.
    pub(crate) fn read(&mut self) -> Option<(u64, usize)> {
        if self.attack.stopped() {
            return None;
        }
        match self.stream.read(&mut self.buffer) {
            Ok(0) => self.ended().map(|()| (0, 0)),
            Ok(count) => {
                self.unparsed.extend_from_slice(&self.buffer[..count]);
                let answers = if self.http { self.statuses() } else { self.replies() };
                note(self.tally, |tally| tally.bytes_in += count as u64);
                Some((answers, count))
            }
            Err(error) if is_timeout(error.kind()) => Some((0, 0)),
            Err(_) => self.ended().map(|()| (0, 0)),
        }
    }

    /// Sends requests and waits until as many answers have begun.
    pub(crate) fn exchange(&mut self, bytes: &[u8], requests: u64) -> Option<()> {
        self.send(bytes, requests)?;
        let mut left = requests;
        while left > 0 {
            left = left.saturating_sub(self.read()?.0);
        }
        Some(())
    }

    /// Sends each of these commands or requests, in bursts, and waits for the answers.
    pub(crate) fn exchange_all(&mut self, all: impl Iterator<Item = String>) -> Option<()> {
        let (mut burst, mut requests) = (Vec::new(), 0);
        for one in all {
            burst.extend_from_slice(one.as_bytes());
            requests += 1;
            if burst.len() + one.len() > BURST {
                self.exchange(&burst, requests)?;
                burst.clear();
                requests = 0;
            }
        }
        self.exchange(&burst, requests)
    }

    /// From now on reads at most so many bytes at once, and the kernel keeps little more.
    pub(crate) fn read_at_most(&mut self, bytes: usize) {
        self.buffer.truncate(bytes);
        // If it fails, the kernel's default remains.
        let _ = sockopt::set_socket_recv_buffer_size(&self.stream, bytes);
    }

    /// From now on reads only what is there.
    pub(crate) fn wait_no_longer(&self) {
        // If it fails, each read waits as before.
        let _ = self.stream.set_nonblocking(true);
    }

    /// Closes it with a reset, so that no port waits.
    pub(crate) fn reset(self) {
        // If it fails, the port is free a minute later.
        let _ = sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO));
    }

    fn ended(&self) -> Option<()> {
        note(self.tally, |tally| tally.ended += 1);
        None
    }

    /// Counts the replies to an nsqd.
    fn replies(&mut self) -> u64 {
        let (mut read, mut count) = (0, 0);
        while let Some((reply, length)) = wire::take_frame(&self.unparsed[read..]) {
            let word = if reply.starts_with(b"{") { &b"identified"[..] } else { reply };
            let word = word.split(|byte| *byte == b' ').next().unwrap_or_default();
            let word = String::from_utf8_lossy(word).into_owned();
            note(self.tally, |tally| *tally.answers.entry(word).or_default() += 1);
            (read, count) = (read + length, count + 1);
        }
        self.unparsed.drain(..read);
        count
    }

    /// Counts the status lines; the rest of the answers is not looked at.
    fn statuses(&mut self) -> u64 {
        let (mut count, mut last) = (0, 0);
        for at in memmem::find_iter(&self.unparsed, STATUS) {
            let Some(status) = self.unparsed.get(at + STATUS.len()..at + STATUS.len() + 3) else {
                break;
            };
            let status = String::from_utf8_lossy(status).into_owned();
            note(self.tally, |tally| *tally.answers.entry(status).or_default() += 1);
            (count, last) = (count + 1, at + 1);
        }
        let kept = self.unparsed.len().saturating_sub(STATUS.len() + 2);
        self.unparsed.drain(..kept.max(last));
        count
    }
}

fn is_timeout(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
