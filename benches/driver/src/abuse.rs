//! Input that breaks servers: endless lines, bodies and heads, negative lengths, one byte a second,
//! responses that are not read. All of it is bounded here, in case the server does not bound it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::nsqd::connect;
use crate::{print, ready, wait_for_line};

/// The kind of input.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum How {
    /// An IDENTIFY whose length is -1: 17 bytes.
    MinusOne,
    /// A command line without an end.
    Line,
    /// A POST body of `--bytes`.
    Body,
    /// A request head without an end.
    Head,
    /// `--peers` connections send one byte a second and never complete a command.
    Drip,
    /// Pipelined requests whose responses are not read.
    Unread,
}

/// Sends input that breaks servers.
#[derive(Debug, clap::Args)]
pub(crate) struct Abuse {
    /// What to do.
    #[arg(long)]
    how: How,
    /// The server: its TCP address for `minus-one`, `line` and `drip`, else its HTTP address.
    #[arg(long)]
    to: SocketAddr,
    /// Bytes to send at most.
    #[arg(long, default_value_t = 1 << 30)]
    bytes: u64,
    /// Connections of `drip`, requests of `unread`.
    #[arg(long, default_value_t = 5_000)]
    peers: usize,
    /// Seconds of `drip`.
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    /// The target of `unread`.
    #[arg(long, default_value = "/lookup?topic=t0")]
    target: String,
}

impl Abuse {
    pub(crate) fn run(self) -> io::Result<()> {
        ready()?;
        let mut held = Vec::new();
        let sent = match self.how {
            How::MinusOne => {
                let mut stream = connect(self.to)?;
                stream.write_all(b"  V1IDENTIFY\n\xff\xff\xff\xff")?;
                stream.set_read_timeout(Some(Duration::from_secs(2)))?;
                let answer = stream.read(&mut [0; 128]).unwrap_or(0);
                held.push(stream);
                answer as u64
            }
            How::Line => self.flood(b"  V1", &mut held)?,
            How::Body => {
                let length = self.bytes;
                let head = format!(
                    "POST /topic/create?topic=t HTTP/1.1\r\nHost: l\r\nContent-Length: {length}\r\n\r\n"
                );
                self.flood(head.as_bytes(), &mut held)?
            }
            How::Head => self.flood(b"GET /ping HTTP/1.1\r\nHost: l\r\nX: ", &mut held)?,
            How::Drip => self.drip(&mut held)?,
            How::Unread => self.never_read(&mut held)?,
        };
        print(&format!("{{\"sent\":{sent},\"open\":{}}}", held.len()));
        wait_for_line()
    }

    /// Sends `head` and then `bytes` times the same letter, unless the server closes.
    fn flood(&self, head: &[u8], held: &mut Vec<TcpStream>) -> io::Result<u64> {
        let mut stream = connect(self.to)?;
        stream.set_write_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(head)?;
        let piece = [b'a'; 64 * 1024];
        let mut sent = 0;
        while sent < self.bytes {
            match stream.write(&piece) {
                Ok(taken) => sent += taken as u64,
                Err(_) => return Ok(sent),
            }
        }
        held.push(stream);
        Ok(sent)
    }

    /// The number of bytes sent; the connections that are still open are kept.
    fn drip(&self, held: &mut Vec<TcpStream>) -> io::Result<u64> {
        for _ in 0..self.peers {
            let stream = connect(self.to)?;
            stream.set_nonblocking(true)?;
            held.push(stream);
        }
        let drops = b"  V1PING PING PING PING PING PING PING PING PING PING PING PING";
        let mut sent = 0;
        for second in 0..self.seconds {
            held.retain_mut(|stream| {
                let closed = matches!(stream.read(&mut [0; 64]), Ok(0));
                let drop = drops.get(usize::try_from(second).unwrap_or(0)).unwrap_or(&b'x');
                let written = stream.write(&[*drop]);
                sent += u64::from(written.is_ok());
                !closed && written.is_ok()
            });
            std::thread::sleep(Duration::from_secs(1));
        }
        held.retain_mut(|stream| match stream.read(&mut [0; 64]) {
            Ok(read) => read > 0,
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        });
        Ok(sent)
    }

    fn never_read(&self, held: &mut Vec<TcpStream>) -> io::Result<u64> {
        let mut stream = connect(self.to)?;
        stream.set_write_timeout(Some(Duration::from_secs(2)))?;
        let request = format!("GET {} HTTP/1.1\r\nHost: l\r\n\r\n", self.target);
        let mut sent = 0;
        for _ in 0..self.peers {
            match stream.write_all(request.as_bytes()) {
                Ok(()) => sent += 1,
                Err(_) => break,
            }
        }
        held.push(stream);
        Ok(sent)
    }
}
