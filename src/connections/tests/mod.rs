//! What a table does to real sockets: driven turn by turn on the test's own thread, with the
//! test's clock; and the same conversations through every host.

mod accept_policy;
mod bounds;
mod deadlines;
mod endings;
pub(crate) mod lines;
mod talk;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::access::AcceptPolicy;
use crate::clock::{Clock, Timestamp};
use lines::{Lines, Log};

/// Turns that a test takes at most before it gives up; each waits at most [`WAIT`].
const TURNS: usize = 500;
const WAIT: Duration = Duration::from_millis(50);
const OPTIONS: Options = Options { max_connections: 100_000, refusal: b"full\n", keepalive: None };
/// Asks for more than the kernel buffers between two peers, on any usual machine.
const LARGE: &[u8] = b"big 30000000\n";
const LARGE_SIZE: usize = 30_000_000;

/// A table that listens, its clock, and what its service has noted.
struct Bench {
    table: EventLoop<Lines>,
    clock: Clock,
    address: SocketAddr,
    counters: Arc<ConnectionCounters>,
    log: Arc<Log>,
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

impl Bench {
    fn new() -> Self {
        Self::with(OPTIONS)
    }

    fn with(options: Options) -> Self {
        Self::behind(options, None)
    }

    fn behind(options: Options, policy: Option<AcceptPolicy>) -> Self {
        let clock = Clock::manual(Timestamp::from_unix_nanos(1_700_000_000_000_000_000));
        let (counters, log) = (Arc::new(ConnectionCounters::default()), Arc::new(Log::default()));
        let fds = LoopFds::new().unwrap();
        let listener = listener();
        let address = listener.local_addr().unwrap();
        let tables = vec![fds.handle()];
        let acceptor =
            Acceptor::new(listener, tables, 0, Box::new(|_| 0), options.keepalive).unwrap();
        let service = Lines::new(Arc::clone(&log));
        let mut table = EventLoop::new(fds, service, options, Arc::clone(&counters), clock.clone());
        table.listen(acceptor.behind(policy)).unwrap();
        Self { table, clock, address, counters, log }
    }

    /// Takes turns until `done`.
    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        for _ in 0..TURNS {
            if done(self) {
                return;
            }
            // Waits only when there is nothing to do and nothing new to see.
            let idle = self.table.turn(Duration::ZERO).unwrap() != Progress::Busy;
            if idle && !done(self) {
                self.table.turn(WAIT).unwrap();
            }
        }
        panic!("never: {what}; {:?}", self.counters);
    }

    /// Takes turns until the table has nothing to do.
    fn settle(&mut self) {
        for _ in 0..TURNS {
            if self.table.turn(Duration::ZERO).unwrap() != Progress::Busy {
                return;
            }
        }
        panic!("the table never comes to rest");
    }

    /// A peer whose connection the table has taken.
    fn peer(&mut self) -> TcpStream {
        let accepted = self.counters.accepted.get();
        let peer = TcpStream::connect(self.address).unwrap();
        peer.set_nodelay(true).unwrap();
        self.until("accepted", |bench| bench.counters.accepted.get() > accepted);
        self.settle();
        peer
    }

    /// Sends `bytes` and takes turns until the table has read them.
    fn send(&mut self, peer: &mut TcpStream, bytes: &[u8]) {
        let before = self.counters.received.get();
        peer.write_all(bytes).unwrap();
        self.until("received", |bench| {
            bench.counters.received.get() >= before + bytes.len() as u64
        });
        self.settle();
    }

    /// Takes turns until the peer has read exactly `expected`.
    fn expect(&mut self, peer: &mut TcpStream, expected: &[u8]) {
        let mut got = Vec::new();
        self.until("read", |_| {
            read_some(peer, &mut got, expected.len());
            got.len() >= expected.len()
        });
        assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(expected));
    }

    /// Takes turns until the peer meets the end of the input; what it read until then.
    fn until_end(&mut self, peer: &mut TcpStream) -> Vec<u8> {
        let mut got = Vec::new();
        self.until("the end", |_| read_some(peer, &mut got, usize::MAX));
        got
    }

    /// Moves the clock by `span` and lets the table see it.
    fn pass(&mut self, span: Duration) {
        self.clock.set(self.clock.now() + span);
        self.table.handle().send(LoopMessage::Wake);
        self.settle();
    }

    fn stop_in(&mut self, span: Duration) {
        let deadline = self.clock.now() + span;
        self.table.handle().send(LoopMessage::Stop { deadline });
    }
}

/// Reads what is there without waiting, up to `most` bytes in all; whether the input has ended.
fn read_some(peer: &mut TcpStream, got: &mut Vec<u8>, most: usize) -> bool {
    peer.set_nonblocking(true).unwrap();
    let mut chunk = vec![0; 64 * 1024];
    let ended = loop {
        let room = chunk.len().min(most - got.len());
        if room == 0 {
            break false;
        }
        match peer.read(&mut chunk[..room]) {
            Ok(0) => break true,
            Ok(bytes) => got.extend_from_slice(&chunk[..bytes]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break false,
            Err(error) => panic!("read: {error}"),
        }
    };
    peer.set_nonblocking(false).unwrap();
    ended
}
