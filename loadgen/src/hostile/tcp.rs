//! The actors that are nsqds.
//!
//! Must not: outlast the attack.

use std::time::Duration;

use testkit::wire;

use super::link::{BURST, Link, Session};
use crate::actors::io::Port;

/// What one nsqd may register.
const REGISTRATIONS: usize = 100_000;
/// Connected at once with the longest identities.
pub(super) const IDENTITIES: usize = 64;
/// nsqds that leave at once.
pub(super) const LEAVING: usize = 2000;
/// nsqds of a topic that is looked up, the bytes of each of their names, and how often one more
/// channel of it is registered.
pub(super) const WIDE: usize = 2000;
const WIDE_NAME: usize = 240;
const CHANGES: usize = 20;
/// `<` is six bytes in an answer: the most that each text field of an identity may have.
const LONGEST: usize = 42;
/// Connections with half an IDENTIFY that one thread holds, and how long.
pub(super) const HALVES: usize = 256;
const HALVES_FOR: Duration = Duration::from_secs(3);
/// nsqds that stay connected after they have registered and unregistered so many topics.
pub(super) const ONCE: usize = 5;
const ONCE_TOPICS: usize = 80_000;

/// An nsqd registers all channels of a topic and pipelines UNREGISTERs of the topic.
pub(crate) fn unregister(session: &mut Session<'_>) -> Option<()> {
    let mut link = session.nsqd("hostile-unregister", "hostile-unregister")?;
    let channels = 0..REGISTRATIONS - 1;
    link.exchange_all(channels.map(|number| format!("REGISTER hostile-channels c{number}\n")))?;
    let command = b"UNREGISTER hostile-channels\n";
    let count = BURST / command.len();
    link.exchange(&command.repeat(count), count as u64)?;
    link.reset();
    Some(())
}

/// An nsqd with as many registrations as allowed leaves.
pub(crate) fn leave(session: &mut Session<'_>) -> Option<()> {
    let mut link = session.nsqd("hostile-leave", "hostile-leave")?;
    let topics = 0..REGISTRATIONS;
    link.exchange_all(topics.map(|number| format!("REGISTER hostile-leave-{number}\n")))
}

/// Many nsqds leave at once.
pub(crate) fn leave_together(session: &mut Session<'_>) -> Option<()> {
    let links = nsqds(session, LEAVING, "hostile-leave-all", "hostile-leave-all");
    session.attack.wait(Duration::from_millis(200))?;
    links.into_iter().for_each(Link::reset);
    Some(())
}

/// So many nsqds of this name that have registered that topic.
fn nsqds<'a>(session: &Session<'a>, count: usize, name: &str, topic: &str) -> Vec<Link<'a>> {
    let register = format!("REGISTER {topic}\n");
    let links = (0..count).map_while(|_| {
        let mut link = session.nsqd(name, name)?;
        link.exchange(register.as_bytes(), 1)?;
        Some(link)
    });
    links.collect()
}

/// A topic of many nsqds with long identities is looked up while it changes.
pub(crate) fn wide_lookup(session: &mut Session<'_>) -> Option<()> {
    let mut links = nsqds(session, WIDE, &"x".repeat(WIDE_NAME), "hostile-wide");
    let request = b"GET /lookup?topic=hostile-wide HTTP/1.1\r\nHost: x\r\n\r\n";
    for number in 0..CHANGES {
        let mut asked = session.open(Port::Http)?;
        asked.exchange(&request.repeat(20), 20)?;
        asked.reset();
        let change = format!("REGISTER hostile-wide c{number}\n");
        links.first_mut()?.exchange(change.as_bytes(), 1)?;
    }
    links.into_iter().for_each(Link::reset);
    Some(())
}

/// nsqds with the longest identities that a target takes, and one that is too long.
pub(crate) fn identity(session: &mut Session<'_>) -> Option<()> {
    let long = "<".repeat(60 * 1024);
    if let Some(mut link) = session.open(Port::Tcp) {
        let mut out = wire::MAGIC.to_vec();
        wire::identify(&wire::peer_info(&long, "hostile"), &mut out);
        // It is refused, and the connection closed.
        let _ = link.exchange(&out, 1);
    }
    let name = "<".repeat(LONGEST);
    let mut links = Vec::new();
    for _ in 0..IDENTITIES {
        let mut link = session.nsqd(&name, &name)?;
        let topics = 0..200;
        link.exchange_all(topics.map(|number| format!("REGISTER hostile-identity-{number}\n")))?;
        links.push(link);
    }
    for _ in 0..10 {
        let mut asked = session.open(Port::Http)?;
        asked.exchange(b"GET /lookup?topic=hostile-identity-1 HTTP/1.1\r\nHost: x\r\n\r\n", 1)?;
        asked.reset();
    }
    links.into_iter().for_each(Link::reset);
    Some(())
}

/// nsqds that send all of an IDENTIFY but its last byte, and wait.
pub(crate) fn half_identify(session: &mut Session<'_>) -> Option<()> {
    let mut out = wire::MAGIC.to_vec();
    wire::identify(&" ".repeat(60 * 1024), &mut out);
    out.pop();
    let mut links = Vec::new();
    for _ in 0..HALVES {
        // A target with little memory left refuses it, or closes.
        links
            .extend(session.open(Port::Tcp).and_then(|mut link| link.send(&out, 1).map(|()| link)));
        session.attack.wait(Duration::ZERO)?;
    }
    session.attack.wait(HALVES_FOR)?;
    links.into_iter().for_each(Link::reset);
    Some(())
}

/// nsqds that register many topics once, unregister them, and stay.
pub(crate) fn ephemeral(session: &mut Session<'_>) -> Option<()> {
    let mut links = Vec::new();
    for _ in 0..ONCE {
        let mut link = session.nsqd("hostile-once", "hostile-once")?;
        for verb in ["REGISTER", "UNREGISTER"] {
            let topics = 0..ONCE_TOPICS;
            let command = |number| format!("{verb} hostile-once-{number}#ephemeral\n");
            link.exchange_all(topics.map(command))?;
        }
        links.push(link);
    }
    links.into_iter().for_each(Link::reset);
    Some(())
}

/// Registers half of the names of the attack, as many for each nsqd as allowed; they stay until the
/// connections are dropped.
pub(crate) fn prepare<'a>(session: &Session<'a>) -> Vec<Link<'a>> {
    let names = session.attack.names / 2;
    let mut links = Vec::new();
    for first in (0..names).step_by(REGISTRATIONS) {
        let host = format!("hostile-{first}");
        let Some(mut link) = session.nsqd(&host, &host) else { break };
        let numbers = first..names.min(first + REGISTRATIONS);
        let done =
            link.exchange_all(numbers.map(|number| format!("REGISTER hostile-name-{number}\n")));
        links.push(link);
        if done.is_none() {
            break;
        }
    }
    links
}
