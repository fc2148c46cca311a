//! The actors that are HTTP clients, and the one that opens connections.
//!
//! Must not: outlast the attack.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::attack::note;
use super::link::{BURST, Link, Session};
use crate::actors::io::Port;

/// A client reads the answers to a burst for so long.
const READS_FOR: Duration = Duration::from_secs(3);
/// A slow reader takes so little at once, and waits so long.
const SLOW_BYTES: usize = 1000;
const SLOW_PAUSE: Duration = Duration::from_millis(200);
/// How long it does.
const SLOW_ROUNDS: usize = 50;
/// Connections that are open at once.
pub(super) const CONNECTIONS: usize = 256;
/// Clients that begin to read together, and the requests of each.
pub(super) const READERS: usize = 330;
const REQUESTS: usize = 6;
/// Channels of the topic that they ask for.
const CHANNELS: usize = 16_000;
/// They read so long after they have asked.
const READS_AFTER: Duration = Duration::from_secs(1);
/// Clients that send a burst each.
pub(super) const BURSTS: usize = 2000;
/// Whoever reads from many connections waits so long when nothing has come to any.
const NOTHING_CAME: Duration = Duration::from_millis(1);

/// Pipelines as many requests for that path as fit into a burst, and reads for some time.
pub(crate) fn burst(session: &mut Session<'_>, path: &str) -> Option<()> {
    let mut link = session.open(Port::Http)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let count = BURST / request.len();
    link.send(request.repeat(count).as_bytes(), count as u64)?;
    let clock = &session.attack.clock;
    let (until, mut left) = (clock.now() + READS_FOR, count as u64);
    while left > 0 && clock.now() < until {
        left = left.saturating_sub(link.read()?.0);
    }
    link.reset();
    Some(())
}

/// Many clients pipeline requests for a topic with many channels, and begin to read together.
pub(crate) fn read_together(session: &mut Session<'_>) -> Option<()> {
    let mut nsqd = session.nsqd("hostile-read-all", "hostile-read-all")?;
    let channels = 0..CHANNELS;
    nsqd.exchange_all(channels.map(|number| format!("REGISTER hostile-read-all {number:x<60}\n")))?;
    let request = "GET /channels?topic=hostile-read-all HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut links = send_all(session, READERS, &request.repeat(REQUESTS), REQUESTS)?;
    session.attack.wait(READS_AFTER)?;
    read_all(session, &mut links)?;
    links.into_iter().for_each(Link::reset);
    nsqd.reset();
    Some(())
}

/// Many clients send a burst of small requests at once, and read the answers.
pub(crate) fn burst_together(session: &mut Session<'_>) -> Option<()> {
    let request = "GET /ping HTTP/1.1\r\nHost: x\r\n\r\n";
    let count = BURST / request.len();
    let mut links = send_all(session, BURSTS, &request.repeat(count), count)?;
    read_all(session, &mut links)?;
    links.into_iter().for_each(Link::reset);
    Some(())
}

/// Opens so many connections, and then sends the same requests on each.
fn send_all<'a>(
    session: &Session<'a>,
    connections: usize,
    bytes: &str,
    requests: usize,
) -> Option<Vec<Link<'a>>> {
    let mut links: Vec<_> = (0..connections).filter_map(|_| session.open(Port::Http)).collect();
    links.retain_mut(|link| link.send(bytes.as_bytes(), requests as u64).is_some());
    (!links.is_empty()).then_some(links)
}

/// Reads what comes on any of these connections, for some time.
fn read_all(session: &Session<'_>, links: &mut Vec<Link<'_>>) -> Option<()> {
    links.iter().for_each(Link::wait_no_longer);
    let clock = &session.attack.clock;
    let until = clock.now() + READS_FOR;
    while clock.now() < until && !links.is_empty() {
        let mut bytes = 0;
        links.retain_mut(|link| link.read().map(|(_, count)| bytes += count).is_some());
        if bytes == 0 {
            session.attack.wait(NOTHING_CAME)?;
        }
    }
    Some(())
}

/// Makes names, and when all are made the same ones again.
pub(crate) fn create(session: &mut Session<'_>) -> Option<()> {
    let names = (session.attack.names / 2).max(1);
    let mut link = session.open(Port::Http)?;
    for _ in 0..100 {
        let numbers = session.attack.next_name.fetch_add(1000, Relaxed)..;
        link.exchange_all(numbers.take(1000).map(|number| {
            let number = number % names;
            format!("POST /topic/create?topic=hostile-made-{number} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        }))?;
    }
    Some(())
}

/// Asks for `/debug` and takes little of it now and then.
pub(crate) fn slow_read(session: &mut Session<'_>) -> Option<()> {
    let mut link = session.open(Port::Http)?;
    link.read_at_most(SLOW_BYTES);
    link.send(b"GET /debug HTTP/1.1\r\nHost: x\r\n\r\n", 1)?;
    for _ in 0..SLOW_ROUNDS {
        link.read()?;
        session.attack.wait(SLOW_PAUSE)?;
    }
    link.reset();
    Some(())
}

/// Requests, and commands, that are refused, each of which the target may log.
pub(crate) fn bad_requests(session: &mut Session<'_>) -> Option<()> {
    let mut link = session.open(Port::Http)?;
    link.exchange(&b"GET /%0a HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1000), 1000)?;
    link.reset();
    for _ in 0..20 {
        let mut link = session.open(Port::Tcp)?;
        // It is closed, with a reply or without.
        let _ = link.exchange(b"  V1REGISTER no/topic\n", 1);
        link.reset();
    }
    Some(())
}

/// Opens connections to both ports and resets them.
pub(crate) fn connect(session: &mut Session<'_>) -> Option<()> {
    let mut links = Vec::new();
    for number in 0..CONNECTIONS {
        let port = if number % 2 == 0 { Port::Tcp } else { Port::Http };
        links.extend(session.open(port));
        session.attack.wait(Duration::ZERO)?;
    }
    links.into_iter().for_each(Link::reset);
    Some(())
}

/// Deletes a topic as a page of another site would, which must be refused.
pub(crate) fn cross_site(session: &mut Session<'_>) -> Option<()> {
    let mut link = session.open(Port::Http)?;
    link.exchange(
        b"POST /topic/create?topic=hostile-site HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
        1,
    )?;
    for _ in 0..50 {
        let before = refused(session);
        link.exchange(
            b"POST /topic/delete?topic=hostile-site HTTP/1.1\r\nHost: x\r\nOrigin: https://evil.example\r\nSec-Fetch-Site: cross-site\r\nContent-Length: 0\r\n\r\n",
            1,
        )?;
        if refused(session) == before {
            note(session.tally, |tally| tally.wrong += 1);
        }
        session.attack.wait(Duration::from_millis(20))?;
    }
    Some(())
}

/// How many 403 the actor has got.
fn refused(session: &Session<'_>) -> u64 {
    let mut count = 0;
    note(session.tally, |tally| count = tally.answers.get("403").copied().unwrap_or(0));
    count
}
