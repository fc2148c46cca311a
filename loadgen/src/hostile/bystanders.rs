//! Bystanders of an attack: small requests at a fixed rate, whose answers are checked and whose
//! latencies show what the attack costs others. They are timed from when they were due, so that a
//! pause of the target shows in each request that it delays.
//!
//! Must not: share a thread or a connection with each other.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering::Acquire};
use std::time::Duration;

use testkit::wire;

use super::attack::Attack;
use crate::actors::bodies::Lookup;
use crate::actors::response::Response;
use crate::clock::Timestamp;
use crate::measure::interval::{Micros, histogram};
use crate::num::micros;

/// How long it waits for an answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The topic that one bystander registers and another looks up, and the nsqd's names.
pub(crate) const NAME: &str = "hostile-bystander";

/// What a bystander does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// PING of an nsqd.
    NsqdPing,
    /// GET /ping on a connection that stays open.
    Ping,
    /// GET /lookup of a topic with one producer.
    Lookup,
    /// Connects, and GET /ping.
    NewPing,
}

impl Kind {
    /// All of them; the nsqd must be first, so that the others find it.
    pub(crate) const ALL: [Self; 4] = [Self::NsqdPing, Self::Ping, Self::Lookup, Self::NewPing];

    /// Its name in the report.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::NsqdPing => "PING",
            Self::Ping => "/ping",
            Self::Lookup => "/lookup",
            Self::NewPing => "connect, /ping",
        }
    }
}

/// What one bystander saw.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) kind: Kind,
    /// Latencies before the attack and in it.
    pub(crate) alone: Micros,
    pub(crate) attacked: Micros,
    /// Requests that were not answered.
    pub(crate) errors: u64,
    /// Wrong answers, and the start of the first.
    pub(crate) wrong: u64,
    pub(crate) example: String,
}

/// A request had no answer, or a wrong one.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Failure {
    None,
    Wrong(String),
}

/// So much of a wrong answer is kept.
const EXAMPLE: usize = 300;

fn wrong(status: u16, answer: &[u8]) -> Failure {
    let start = &answer[..answer.len().min(EXAMPLE)];
    Failure::Wrong(format!("{status} {}", start.escape_ascii()))
}

/// The connection of a bystander.
struct Bystander<'a> {
    kind: Kind,
    attack: &'a Attack,
    stream: Option<TcpStream>,
}

/// Watches until the attack is over; it has begun once `attacked` is set.
pub(crate) fn watch(kind: Kind, attack: &Attack, attacked: &AtomicBool) -> Seen {
    let mut seen = Seen {
        kind,
        alone: histogram(),
        attacked: histogram(),
        errors: 0,
        wrong: 0,
        example: String::new(),
    };
    let mut bystander = Bystander { kind, attack, stream: None };
    // The first connection is part of no measurement.
    let _ = bystander.ask();
    let mut due = attack.clock.now();
    loop {
        due = due + attack.every;
        let wait = due.since(attack.clock.now());
        if !wait.is_zero() {
            std::thread::sleep(wait);
        }
        if attack.stopped() {
            return seen;
        }
        // Who had to wait is late by this machine's doing; who had not, by the target's.
        let from = if wait.is_zero() { due } else { attack.clock.now() };
        let answer = bystander.ask();
        if attack.stopped() {
            // The nsqd may have left before it was answered.
            return seen;
        }
        if answer.is_err() {
            bystander.stream = None;
            due = attack.clock.now();
        }
        seen.note(answer, from, attack, attacked.load(Acquire));
    }
}

impl Seen {
    fn note(
        &mut self,
        answer: Result<(), Failure>,
        from: Timestamp,
        attack: &Attack,
        attacked: bool,
    ) {
        let length = micros(attack.clock.now().since(from)).max(1);
        match answer {
            Ok(()) if attacked => self.attacked.saturating_record(length),
            Ok(()) => self.alone.saturating_record(length),
            Err(Failure::None) => self.errors += 1,
            Err(Failure::Wrong(example)) => {
                self.wrong += 1;
                if self.example.is_empty() {
                    self.example = example;
                }
            }
        }
    }
}

impl Bystander<'_> {
    /// Sends one request and reads its answer.
    fn ask(&mut self) -> Result<(), Failure> {
        if self.kind == Kind::NewPing {
            self.stream = None;
        }
        if self.stream.is_none() {
            self.stream = Some(self.connect()?);
        }
        let path = match self.kind {
            Kind::NsqdPing => return self.command(wire::PING, |reply| reply == b"OK"),
            Kind::Ping | Kind::NewPing => "/ping".to_owned(),
            Kind::Lookup => format!("/lookup?topic={NAME}"),
        };
        let body = self.get(&path)?;
        let right = match self.kind {
            Kind::Lookup => serde_json::from_slice(&body).is_ok_and(|body: Lookup<'_>| {
                let own = body.producers.iter().all(|one| one.broadcast_address == NAME);
                own && !body.producers.is_empty()
            }),
            _ => body == b"OK",
        };
        if right { Ok(()) } else { Err(wrong(200, &body)) }
    }

    fn connect(&mut self) -> Result<TcpStream, Failure> {
        let target = self.attack.target;
        let nsqd = self.kind == Kind::NsqdPing;
        let to = if nsqd { target.tcp } else { target.http };
        let stream = TcpStream::connect_timeout(&to, TIMEOUT).map_err(|_| Failure::None)?;
        for set in [TcpStream::set_read_timeout, TcpStream::set_write_timeout] {
            set(&stream, Some(TIMEOUT)).map_err(|_| Failure::None)?;
        }
        stream.set_nodelay(true).map_err(|_| Failure::None)?;
        if nsqd {
            self.stream = Some(stream.try_clone().map_err(|_| Failure::None)?);
            let mut out = wire::MAGIC.to_vec();
            wire::identify(&wire::peer_info(NAME, NAME), &mut out);
            self.command(&out, |reply| reply.starts_with(b"{"))?;
            let mut out = Vec::new();
            wire::register(NAME, None, &mut out);
            self.command(&out, |reply| reply == b"OK")?;
        }
        Ok(stream)
    }

    fn command(&mut self, bytes: &[u8], is_right: fn(&[u8]) -> bool) -> Result<(), Failure> {
        let stream = self.stream.as_mut().ok_or(Failure::None)?;
        stream.write_all(bytes).map_err(|_| Failure::None)?;
        let mut length = [0; 4];
        stream.read_exact(&mut length).map_err(|_| Failure::None)?;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > 65_536 {
            return Err(Failure::Wrong(format!("a reply of {length} bytes")));
        }
        let mut reply = vec![0; length];
        stream.read_exact(&mut reply).map_err(|_| Failure::None)?;
        if is_right(&reply) { Ok(()) } else { Err(wrong(0, &reply)) }
    }

    /// The body, if the status is 200.
    fn get(&mut self, path: &str) -> Result<Vec<u8>, Failure> {
        let http = self.attack.target.http;
        let stream = self.stream.as_mut().ok_or(Failure::None)?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {http}\r\n\r\n");
        stream.write_all(request.as_bytes()).map_err(|_| Failure::None)?;
        let (mut response, mut buffer) = (Response::new(), [0; 4096]);
        loop {
            let count = stream.read(&mut buffer).map_err(|_| Failure::None)?;
            if count == 0 {
                return Err(Failure::None);
            }
            match response.feed(&buffer[..count]) {
                Ok(None) => {}
                // BUSY and OVERLOADED are no wrong answers, but none that helps.
                Ok(Some(_)) if response.status >= 500 => return Err(Failure::None),
                Ok(Some(b"")) if response.status == 200 => return Ok(response.body),
                Ok(Some(_)) => return Err(wrong(response.status, &response.body)),
                Err(_) => return Err(wrong(0, &buffer[..count])),
            }
        }
    }
}
