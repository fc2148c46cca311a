//! The event loop on real sockets: driven one iteration at a time on the test's own thread, with
//! the test's clock.

mod accept_policy;
mod behind_proxy;
mod closing;
mod continuing;
mod hold;
mod input_output;
mod limits;
pub(crate) mod lines;
mod memory;
mod timeouts;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::access::AcceptPolicy;
use crate::clock::{Clock, Timestamp};
use crate::handler::ConnectionHandler;
use crate::listener::{Incoming, Listener};
use lines::{Lines, Log};

/// Iterations before a test gives up; each waits at most [`WAIT`].
const ITERATIONS: usize = 500;
const WAIT: Duration = Duration::from_millis(50);
const OPTIONS: Options = Options {
    max_connections: 100_000,
    refusal: b"full\n",
    max_queued_output: usize::MAX,
    keepalive: None,
};
/// Asks for more than the kernel buffers between two peers, on any usual machine.
const LARGE: &[u8] = b"big 30000000\n";
const LARGE_SIZE: usize = 30_000_000;

/// An event loop that listens, its clock, and what its handler has noted.
struct TestLoop {
    event_loop: EventLoop<Lines>,
    clock: Clock,
    address: SocketAddr,
    counters: Arc<ConnectionCounters>,
    log: Arc<Log>,
}

impl<H: ConnectionHandler> EventLoop<H> {
    /// How many connections the loop has, those that are half closed or rejected included.
    fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether the loop has no connection.
    fn is_empty(&self) -> bool {
        self.slots.len() == 0
    }
}

fn listener() -> TcpListener {
    crate::listener::bind(([127, 0, 0, 1], 0).into()).unwrap()
}

impl TestLoop {
    fn new() -> Self {
        Self::with(OPTIONS)
    }

    fn with(options: Options) -> Self {
        Self::behind(options, AcceptPolicy::new(Arc::default()))
    }

    fn behind(options: Options, policy: AcceptPolicy) -> Self {
        Self::build(options, policy, ConnectionCounters::default())
    }

    fn build(options: Options, policy: AcceptPolicy, counters: ConnectionCounters) -> Self {
        let clock = Clock::manual(Timestamp::from_unix_nanos(1_700_000_000_000_000_000));
        let (counters, log) = (Arc::new(counters), Arc::new(Log::default()));
        let fds = LoopFds::new("worker 0".to_owned(), clock.now()).unwrap();
        let listener = listener();
        let address = listener.local_addr().unwrap();
        let listener = Listener::new(listener, options.keepalive).unwrap();
        let acceptor = Acceptor { listener, targets: Targets::Fewest(Vec::new()) };
        let handler = Lines::new(Arc::clone(&log));
        let mut event_loop = EventLoop::new(
            fds,
            handler,
            options,
            policy.into(),
            Arc::clone(&counters),
            clock.clone(),
        );
        event_loop.listen(acceptor).unwrap();
        Self { event_loop, clock, address, counters, log }
    }

    /// Iterates until `done`.
    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        for _ in 0..ITERATIONS {
            if done(self) {
                return;
            }
            // Waits only when there is nothing to do and nothing new to see.
            let idle = self.event_loop.poll_once(Duration::ZERO).unwrap() != Progress::Busy;
            if idle && !done(self) {
                self.event_loop.poll_once(WAIT).unwrap();
            }
        }
        panic!("never: {what}; {:?}", self.counters);
    }

    /// Iterates until the loop has nothing to do.
    fn settle(&mut self) {
        for _ in 0..ITERATIONS {
            if self.event_loop.poll_once(Duration::ZERO).unwrap() != Progress::Busy {
                return;
            }
        }
        panic!("the loop never comes to rest");
    }

    /// A peer whose connection the loop has accepted.
    fn peer(&mut self) -> TcpStream {
        let accepted = self.counters.accepted.get();
        let peer = TcpStream::connect(self.address).unwrap();
        peer.set_nodelay(true).unwrap();
        self.until("accepted", |test| test.counters.accepted.get() > accepted);
        self.settle();
        peer
    }

    /// The same, of a peer at this address.
    fn peer_from(&mut self, address: [u8; 4]) -> TcpStream {
        use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
        let accepted = self.counters.accepted.get();
        let peer = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&peer, &SocketAddr::from((address, 0))).unwrap();
        connect(&peer, &self.address).unwrap();
        self.until("accepted", |test| test.counters.accepted.get() > accepted);
        self.settle();
        peer.into()
    }

    /// Makes the kernel buffer little between the connection at `index` and its `peer`; how much output
    /// is then queued in part, and yet less than the budget of one call.
    fn shrink_buffers(&mut self, peer: &TcpStream, index: usize) -> usize {
        rustix::net::sockopt::set_socket_recv_buffer_size(peer, 4096).unwrap();
        let token = self.event_loop.slots.token_at(index).unwrap();
        let socket = &self.event_loop.slots.get_mut(token).unwrap().socket;
        rustix::net::sockopt::set_socket_send_buffer_size(socket, 4096).unwrap();
        crate::limits::QUEUED_OUTPUT - 1000
    }

    /// Sends `bytes` and iterates until the loop has read them.
    fn send(&mut self, peer: &mut TcpStream, bytes: &[u8]) {
        let before = self.counters.received.get();
        peer.write_all(bytes).unwrap();
        self.until("received", |test| test.counters.received.get() >= before + bytes.len() as u64);
        self.settle();
    }

    /// Iterates until the peer has read exactly `expected`.
    fn expect(&mut self, peer: &mut TcpStream, expected: &[u8]) {
        let mut got = Vec::new();
        self.until("read", |_| {
            read_some(peer, &mut got, expected.len());
            got.len() >= expected.len()
        });
        assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(expected));
    }

    /// Iterates until the peer meets the end of the input; what it read until then.
    fn until_end(&mut self, peer: &mut TcpStream) -> Vec<u8> {
        let mut got = Vec::new();
        self.until("the end", |_| read_some(peer, &mut got, usize::MAX));
        got
    }

    /// Moves the clock by `span` and lets the loop see it.
    fn pass(&mut self, span: Duration) {
        self.clock.set(self.clock.now() + span);
        self.event_loop.handle().ping();
        self.settle();
    }

    fn stop_in(&mut self, span: Duration) {
        let deadline = self.clock.now() + span;
        self.event_loop.handle().send(LoopMessage::Stop { deadline });
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
