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
    pub(crate) about: &'static str,
    /// How many of it there are.
    pub(crate) threads: u8,
    /// Plays it once; `None` when its connection ended early. It is played again and again.
    pub(crate) play: fn(&mut Session<'_>) -> Option<()>,
}

/// What each actor does, a line each.
pub(crate) fn help() -> String {
    let line = |actor: &Actor| format!("\n  {:<13} {}", actor.name, actor.about);
    format!("Actors:{}", ACTORS.iter().map(line).collect::<String>())
}

/// All actors.
pub(crate) const ACTORS: [Actor; 15] = [
    Actor {
        name: "unregister",
        about: "an nsqd with 99,999 channels of one topic pipelines 64 KiB of UNREGISTERs of it",
        threads: 1,
        play: tcp::unregister,
    },
    Actor {
        name: "leave",
        about: "an nsqd with 100,000 registrations leaves and returns",
        threads: 1,
        play: tcp::leave,
    },
    Actor {
        name: "identity",
        about: "nsqds with identities full of `<`, which are escaped: as long as allowed, and too long",
        threads: 1,
        play: tcp::identity,
    },
    Actor {
        name: "half-identify",
        about: "256 nsqds that send all of an IDENTIFY of 60 KiB but its last byte, and wait",
        threads: 4,
        play: tcp::half_identify,
    },
    Actor {
        name: "ephemeral",
        about: "five nsqds that register 80,000 ephemeral topics once, and stay",
        threads: 4,
        play: tcp::ephemeral,
    },
    Actor {
        name: "nodes",
        about: "64 KiB of pipelined GET /nodes",
        threads: 2,
        play: |session| http::burst(session, "/nodes"),
    },
    Actor {
        name: "topics",
        about: "64 KiB of pipelined GET /topics",
        threads: 2,
        play: |session| http::burst(session, "/topics"),
    },
    Actor {
        name: "channels",
        about: "64 KiB of pipelined GET /channels?topic=*",
        threads: 4,
        play: |session| http::burst(session, "/channels?topic=*"),
    },
    Actor {
        name: "debug",
        about: "64 KiB of pipelined GET /debug",
        threads: 2,
        play: |session| http::burst(session, "/debug"),
    },
    Actor {
        name: "lookup",
        about: "64 KiB of pipelined GET /lookup?topic=*",
        threads: 2,
        play: |session| http::burst(session, "/lookup?topic=*"),
    },
    Actor {
        name: "create",
        about: "pipelined POST /topic/create, of half of --names in turn",
        threads: 1,
        play: http::create,
    },
    Actor {
        name: "slow-read",
        about: "GET /debug, read at 5 KB/s",
        threads: 8,
        play: http::slow_read,
    },
    Actor {
        name: "bad-requests",
        about: "requests and commands that are refused and logged",
        threads: 1,
        play: http::bad_requests,
    },
    Actor {
        name: "connect",
        about: "connections to both ports, opened and reset in a loop, 256 at a time",
        threads: 1,
        play: http::connect,
    },
    Actor {
        name: "cross-site",
        about: "POST /topic/delete by a page of another site, which must get 403",
        threads: 1,
        play: http::cross_site,
    },
];
