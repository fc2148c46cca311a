//! The actors of `loadgen hostile`: each sends what is valid and small and costs the target much.
//! Beside them bystanders measure what others get. Both use blocking sockets, on a thread of their
//! own each, and end when the attack does.
//!
//! Must not: connect to anything but loopback.

pub(crate) mod attack;
pub(crate) mod bystanders;
pub(crate) mod http;
pub(crate) mod iterations;
pub(crate) mod link;
pub(crate) mod tcp;

use link::Session;

/// One kind of actor.
#[derive(Debug)]
pub(crate) struct Actor {
    pub(crate) name: &'static str,
    about: &'static str,
    /// How many of it there are.
    pub(crate) threads: u8,
    /// Sockets that each may have open at once.
    sockets: usize,
    play: Play,
}

/// What an actor does, again and again; `None` when its connection ended early.
#[derive(Debug)]
enum Play {
    /// Pipelines 64 KiB of GET of that path.
    Burst(&'static str),
    With(fn(&mut Session<'_>) -> Option<()>),
}

impl Actor {
    const fn new(
        name: &'static str,
        about: &'static str,
        play: fn(&mut Session<'_>) -> Option<()>,
    ) -> Self {
        Self { name, about, threads: 1, sockets: 1, play: Play::With(play) }
    }

    const fn burst(name: &'static str, path: &'static str, threads: u8) -> Self {
        let about = "64 KiB of pipelined GET";
        Self { name, about, threads, sockets: 1, play: Play::Burst(path) }
    }

    const fn with_sockets(self, sockets: usize) -> Self {
        Self { sockets, ..self }
    }

    const fn with_threads(self, threads: u8) -> Self {
        Self { threads, ..self }
    }

    /// Plays it once.
    pub(crate) fn play(&self, session: &mut Session<'_>) -> Option<()> {
        match self.play {
            Play::Burst(path) => http::burst(session, path),
            Play::With(play) => play(session),
        }
    }

    /// Sockets that all of it may have open at once.
    pub(crate) fn sockets(&self) -> usize {
        usize::from(self.threads) * self.sockets
    }
}

/// What each actor does, a line each.
pub(crate) fn help() -> String {
    let line = |actor: &Actor| match actor.play {
        Play::Burst(path) => format!("\n  {:<13} {} {path}", actor.name, actor.about),
        Play::With(_) => format!("\n  {:<13} {}", actor.name, actor.about),
    };
    format!("Actors:{}", ACTORS.iter().map(line).collect::<String>())
}

/// All actors.
pub(crate) const ACTORS: [Actor; 19] = [
    Actor::new(
        "unregister",
        "an nsqd with 99,999 channels of one topic pipelines 64 KiB of UNREGISTERs of it",
        tcp::unregister,
    ),
    Actor::new("leave", "an nsqd with 100,000 registrations leaves and returns", tcp::leave),
    Actor::new(
        "leave-all",
        "2,000 nsqds connect, register, and leave at once",
        tcp::leave_together,
    )
    .with_sockets(tcp::LEAVING),
    Actor::new(
        "identity",
        "nsqds with identities full of `<`, which are escaped: as long as allowed, and too long",
        tcp::identity,
    )
    .with_sockets(tcp::IDENTITIES + 1),
    Actor::new(
        "half-identify",
        "256 nsqds that send all of an IDENTIFY of 60 KiB but its last byte, and wait",
        tcp::half_identify,
    )
    .with_threads(4)
    .with_sockets(tcp::HALVES),
    Actor::new(
        "ephemeral",
        "five nsqds that register 80,000 ephemeral topics once, and stay",
        tcp::ephemeral,
    )
    .with_threads(4)
    .with_sockets(tcp::ONCE),
    Actor::burst("nodes", "/nodes", 2),
    Actor::burst("topics", "/topics", 2),
    Actor::burst("channels", "/channels?topic=*", 4),
    Actor::burst("debug", "/debug", 2),
    Actor::burst("lookup", "/lookup?topic=*", 2),
    Actor::new(
        "wide-lookup",
        "pipelined GET /lookup of a topic with 2,000 nsqds of long identities, which changes",
        tcp::wide_lookup,
    )
    .with_sockets(tcp::WIDE + 1),
    Actor::new(
        "read-all",
        "330 clients pipeline GET /channels of a topic with 16,000 and begin to read together",
        http::read_together,
    )
    .with_sockets(http::READERS + 1),
    Actor::new(
        "burst-all",
        "2,000 clients send 60 KB of pipelined GET /ping each, one right after the other",
        http::burst_together,
    )
    .with_sockets(http::BURSTS),
    Actor::new("create", "pipelined POST /topic/create, of half of --names in turn", http::create),
    Actor::new("slow-read", "GET /debug, read at 5 KB/s", http::slow_read).with_threads(8),
    Actor::new(
        "bad-requests",
        "requests and commands that are refused and logged",
        http::bad_requests,
    )
    .with_sockets(2),
    Actor::new(
        "connect",
        "connections to both ports, opened and reset in a loop, 256 at a time",
        http::connect,
    )
    .with_sockets(http::CONNECTIONS),
    Actor::new(
        "cross-site",
        "POST /topic/delete by a page of another site, which must get 403",
        http::cross_site,
    ),
];
