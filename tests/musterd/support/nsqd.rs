//! An nsqd's side of a connection.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use super::PATIENCE;

/// A connected nsqd, or something that pretends to be one.
pub(crate) struct Nsqd {
    /// Its socket.
    pub(crate) stream: TcpStream,
    /// Its own address: its id at the lookupd.
    pub(crate) address: SocketAddr,
}

impl Nsqd {
    /// Connects and says nothing.
    pub(crate) fn connect(tcp: SocketAddr) -> Self {
        let stream = TcpStream::connect(tcp).expect("the daemon accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        Self::over(stream)
    }

    /// Talks over a stream that is connected.
    pub(crate) fn over(stream: TcpStream) -> Self {
        let address = stream.local_addr().expect("connected");
        Self { stream, address }
    }

    /// Connects and identifies as `host-NAME`, `nsqd-NAME.example`.
    pub(crate) fn identified(tcp: SocketAddr, name: &str) -> Self {
        let mut nsqd = Self::connect(tcp);
        nsqd.identify(name);
        nsqd
    }

    /// Identifies as `host-NAME`, `nsqd-NAME.example`.
    pub(crate) fn identify(&mut self, name: &str) {
        let body = format!(
            "{{\"version\":\"1.3.0\",\"tcp_port\":4150,\"http_port\":4151,\"hostname\":\"host-{name}\",\
             \"broadcast_address\":\"nsqd-{name}.example\"}}"
        );
        let length = u32::try_from(body.len()).expect("small").to_be_bytes();
        self.send(&[b"  V1IDENTIFY\n", &length[..], body.as_bytes()].concat());
        let reply = self.reply();
        assert!(reply.starts_with("{\"broadcast_address\":"), "{reply}");
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the daemon reads");
    }

    /// The next reply's payload.
    pub(crate) fn reply(&mut self) -> String {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).expect("a reply's length");
        let mut payload = vec![0; u32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut payload).expect("a reply");
        String::from_utf8_lossy(&payload).into_owned()
    }

    /// Sends one command line and expects `OK`.
    pub(crate) fn command(&mut self, line: &str) {
        self.send(format!("{line}\n").as_bytes());
        assert_eq!(self.reply(), "OK", "{line}");
    }

    /// Closes its sending side.
    pub(crate) fn finish(&self) {
        // The daemon may have closed already.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Everything the daemon still sends until it closes or resets.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("the daemon neither sends nor closes: {error}; got {rest:?}"),
        }
        rest
    }
}
