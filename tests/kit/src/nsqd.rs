//! A blocking nsqd: one connection to a lookupd's TCP port. It panics where a test should fail.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use crate::{DEADLINE, wire};

/// A connected nsqd, or something that pretends to be one.
#[derive(Debug)]
pub struct Nsqd {
    /// Its socket.
    pub stream: TcpStream,
    /// Its own address: its id at the lookupd.
    pub address: SocketAddr,
}

#[expect(clippy::missing_panics_doc, reason = "a panic is how a test fails")]
impl Nsqd {
    /// Connects and sends nothing.
    #[must_use]
    pub fn connect(tcp: SocketAddr) -> Self {
        let stream = TcpStream::connect(tcp).expect("the daemon accepts");
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        stream.set_write_timeout(Some(DEADLINE)).expect("a timeout");
        Self::over(stream)
    }

    /// Uses a stream that is connected.
    #[must_use]
    pub fn over(stream: TcpStream) -> Self {
        let address = stream.local_addr().expect("connected");
        Self { stream, address }
    }

    /// Connects and identifies as `host-NAME`, `nsqd-NAME.example`.
    #[must_use]
    pub fn identified(tcp: SocketAddr, name: &str) -> Self {
        let mut nsqd = Self::connect(tcp);
        nsqd.identify(name);
        nsqd
    }

    /// Identifies as `host-NAME`, `nsqd-NAME.example`.
    pub fn identify(&mut self, name: &str) {
        assert!(self.try_identify(name), "it is not identified");
    }

    /// [`Nsqd::identify`]; false if the daemon closes or refuses it.
    #[must_use]
    pub fn try_identify(&mut self, name: &str) -> bool {
        let mut bytes = wire::MAGIC.to_vec();
        wire::identify(&peer_info(name), &mut bytes);
        let reply = self.stream.write_all(&bytes).and_then(|()| self.try_reply());
        reply.is_ok_and(|reply| reply.starts_with("{\"broadcast_address\":"))
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the daemon reads");
    }

    /// The next reply's payload.
    #[must_use]
    pub fn reply(&mut self) -> String {
        self.try_reply().expect("a reply")
    }

    fn try_reply(&mut self) -> std::io::Result<String> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let mut payload = vec![0; u32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut payload)?;
        Ok(String::from_utf8_lossy(&payload).into_owned())
    }

    /// Sends one command line and expects `OK`.
    pub fn command(&mut self, line: &str) {
        self.send(format!("{line}\n").as_bytes());
        assert_eq!(self.reply(), "OK", "{line}");
    }

    /// Closes its sending side.
    pub fn finish(&self) {
        // The daemon may have closed already.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Everything the daemon still sends until it closes or resets.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("the daemon neither sends nor closes: {error}; got {rest:?}"),
        }
        rest
    }
}

/// The IDENTIFY body of the nsqd called `name`: `host-NAME`, `nsqd-NAME.example`.
#[must_use]
pub fn peer_info(name: &str) -> String {
    wire::peer_info(&format!("host-{name}"), &format!("nsqd-{name}.example"))
}
