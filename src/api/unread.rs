//! What clients have not read of their responses, all together, and who is refused for that.
//!
//! Short requests outlast long ones, and an address that reads outlasts one that does not. Must not:
//! take a lock while little is unread. HTTP workers ask before each request, and say how much waits
//! for each connection.

use std::net::IpAddr;
use std::sync::Arc;

use super::routes::Routed;
use super::service::{is_all, topic};
use crate::access::{Holding, Pool};
use crate::http1::Request;
use crate::limits;

/// Bytes that count as one place of the pool.
const PLACE: usize = 64 * 1024;

/// What clients have not read; cheap to clone.
#[derive(Clone)]
pub struct Unread {
    /// How many bytes it is.
    bytes: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// How many there may be: [`limits::HTTP_QUEUED_OUTPUT`], or what memory allows.
    most: u64,
    /// From so many on, shares count.
    shared_from: u64,
    /// Up to so many, those that read are answered whatever they ask for.
    reserved: u64,
    /// Who has left how much.
    pool: Arc<Pool>,
}

/// What is reserved beyond `most` bytes.
fn reserve(most: usize) -> usize {
    const { assert!(limits::HTTP_QUEUED_OUTPUT == 4 * limits::HTTP_RESERVED_OUTPUT) };
    most / 4
}

/// How many places so many bytes of one connection take.
pub(super) fn places(bytes: usize) -> usize {
    bytes.div_ceil(PLACE)
}

impl Unread {
    /// Unread output of as many bytes as `bytes` says, and of `most` as far as all may leave any.
    #[must_use]
    pub fn new(most: usize, bytes: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self {
            bytes: Arc::new(bytes),
            most: most as u64,
            shared_from: limits::shared_from(most) as u64,
            reserved: (most + reserve(most)) as u64,
            pool: Pool::new(most / PLACE),
        }
    }

    /// Up to how many unread bytes a response that is on its way waits for its client: beyond that its
    /// connection closes.
    #[must_use]
    pub fn at_last(&self) -> usize {
        let most = usize::try_from(self.most).unwrap_or(usize::MAX);
        most + 2 * reserve(most)
    }

    /// The part of a connection of `peer`.
    pub(super) fn hold(&self, peer: IpAddr) -> Holding {
        self.pool.hold(peer)
    }

    /// Whether there is room for the response to a request.
    pub(super) fn has_room(&self, request: &Request<'_, Routed>) -> bool {
        let bytes = (self.bytes)();
        bytes <= self.shared_from || self.has_share(request, bytes)
    }

    #[cold]
    fn has_share(&self, request: &Request<'_, Routed>, bytes: u64) -> bool {
        let route = request.route;
        let is_short = route.is_short() && topic(request).is_none_or(|topic| !is_all(&topic));
        let peer = request.peer.ip();
        if bytes > self.reserved {
            is_short && !self.pool.has_any(peer)
        } else if is_short && bytes <= self.most {
            true
        } else {
            self.pool.is_behind(peer)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::api::tests::server::api;
    use crate::api::{ApiService, RequestDurations};
    use crate::clock::{Clock, Timestamp};
    use crate::handler::{ConnectionHandler, Input, Token};
    use crate::work::Work;

    const SHORT: [&str; 4] =
        ["/metrics", "/lookup?topic=t", "/channels?topic=t", "/channels?topic=t&topic=*"];
    const LONG: [&str; 6] =
        ["/topics", "/nodes", "/debug", "/info", "/channels?topic=*", "/lookup?topic=%2A"];

    struct Server {
        service: ApiService,
        clock: Clock,
        bytes: Arc<AtomicU64>,
    }

    impl Server {
        fn new() -> Self {
            let (bytes, clock) = (Arc::new(AtomicU64::new(0)), Clock::manual(Timestamp::default()));
            let read = Arc::clone(&bytes);
            let most = limits::HTTP_QUEUED_OUTPUT;
            let unread = Unread::new(most, move || read.load(Ordering::Relaxed));
            let durations = RequestDurations::default();
            let service = ApiService::new(api(), None, durations, unread, clock.clone());
            Self { service, clock, bytes }
        }

        fn open(&mut self, peer: &str) -> <ApiService as ConnectionHandler>::Connection {
            let peer = std::net::SocketAddr::new(peer.parse().expect("an address"), 1);
            self.service.on_open(peer, Token::default(), self.clock.now()).0
        }

        /// Whether requests of `peer` for all of `paths` are answered, or none of them.
        fn answers(&mut self, peer: &str, paths: &[&str]) -> bool {
            let mut is_answered = |path: &str| {
                let mut client = self.open(peer);
                let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
                let (bytes, mut output) = (request.as_bytes(), Vec::new());
                let input = Input { bytes, end: false };
                let (now, work) = (self.clock.now(), &mut Work::unlimited());
                let handled =
                    self.service.on_input(&mut client, input, now, &mut output, 1000, work);
                assert_eq!(handled.consumed, bytes.len(), "the connection goes on");
                let answer = String::from_utf8(output).expect("text");
                let is_refused = answer.starts_with("HTTP/1.1 503 Service Unavailable");
                assert_eq!(
                    is_refused,
                    answer.ends_with("{\"message\":\"OVERLOADED\"}"),
                    "{answer}"
                );
                !is_refused
            };
            let answered = paths.iter().filter(|path| is_answered(path)).count();
            assert!(answered == 0 || answered == paths.len(), "{peer} {paths:?}: {answered}");
            answered > 0
        }

        /// Sets how much is unread in all, and checks who is answered: for short and long requests,
        /// the address that has left most, one that has left less, and one that reads.
        fn check(&mut self, bytes: u64, short: [bool; 3], long: [bool; 3]) {
            self.bytes.store(bytes, Ordering::Relaxed);
            let peers = ["2001:db8::9", "10.0.0.2", "10.0.0.3"];
            assert_eq!(peers.map(|peer| self.answers(peer, &SHORT)), short, "{bytes}: short");
            assert_eq!(peers.map(|peer| self.answers(peer, &LONG)), long, "{bytes}: long");
            for peer in peers {
                assert!(self.answers(peer, &["/ping", "/livez"]), "{bytes}");
            }
        }
    }

    #[test]
    fn those_who_read_are_answered_and_those_who_have_most_refused_first() {
        let mut server = Server::new();
        let mut unread = Vec::new();
        for (peer, connections) in [("2001:db8::1", 3), ("2001:db8::2", 3), ("10.0.0.2", 5)] {
            for _ in 0..connections {
                let mut client = server.open(peer);
                server.service.on_queued(&mut client, 9 * PLACE);
                server.service.on_queued(&mut client, 3 * PLACE - 1);
                unread.push(client);
            }
        }
        let most = limits::HTTP_QUEUED_OUTPUT as u64;
        let reserved = most + limits::HTTP_RESERVED_OUTPUT as u64;
        let (all, none) = ([true; 3], [false; 3]);
        server.check(most / 100 * 80, all, all);
        server.check(most / 100 * 80 + 1, all, [false, true, true]);
        server.check(most, all, [false, true, true]);
        server.check(most + 1, [false, true, true], [false, true, true]);
        server.check(reserved, [false, true, true], [false, true, true]);
        server.check(reserved + 1, [false, false, true], none);
        // Two of six read all, or are closed: 12 places against 15.
        server.service.on_queued(&mut unread[0], 0);
        drop(unread.remove(1));
        server.check(most, all, [true, false, true]);
        drop(unread);
        server.check(reserved + 1, all, none);
    }
}
