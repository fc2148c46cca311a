//! Checks the response to a lookup against the oracle.
//!
//! Every response is scanned for the producers' addresses, which is cheap; one in 16 is parsed whole
//! and every field compared.
//!
//! Must not: touch a socket.

use memchr::memmem;
use serde::Deserialize;
use std::borrow::Cow;
use std::sync::LazyLock;
use testkit::wire;

use super::io::Io;
use crate::measure::ops::{Count, Delay};
use crate::model::oracle::{Findings, LookupWindow};
use crate::model::plan::Plan;

static ADDRESS: LazyLock<memmem::Finder<'static>> =
    LazyLock::new(|| memmem::Finder::new(b"\"broadcast_address\""));

/// The body of `GET /lookup` as NSQ's clients read it.
#[derive(Deserialize)]
struct Lookup<'a> {
    #[serde(borrow)]
    channels: Vec<Cow<'a, str>>,
    #[serde(borrow)]
    producers: Vec<Producer<'a>>,
}

#[derive(Deserialize)]
struct Producer<'a> {
    #[serde(borrow)]
    hostname: Cow<'a, str>,
    #[serde(borrow)]
    broadcast_address: Cow<'a, str>,
    tcp_port: u16,
    http_port: u16,
    #[serde(borrow)]
    version: Cow<'a, str>,
}

/// Calls `found` with each producer's broadcast address in a lookup's body.
fn addresses<'a>(body: &'a [u8], mut found: impl FnMut(&'a [u8])) {
    for at in ADDRESS.find_iter(body) {
        let rest = body[at + ADDRESS.needle().len()..].trim_ascii_start();
        let value = rest.strip_prefix(b":").unwrap_or(rest).trim_ascii_start();
        let text = value.strip_prefix(b"\"").unwrap_or(value);
        found(&text[..memchr::memchr(b'"', text).unwrap_or(0)]);
    }
}

/// Checks the response to a lookup: 200 with its body, or 404, which lists no producer.
pub(crate) fn lookup(window: LookupWindow, status: u16, body: &[u8], io: &mut Io<'_>) -> Findings {
    io.listed.clear();
    if status == 200 {
        addresses(body, |host| io.listed.add(Plan::producer(host)));
    }
    let found = io.shared.oracle.check(window, io.listed);
    io.stats.count(Count::Checked, 1);
    if io.shared.plan.scenario.unchecked {
        return found;
    }
    io.stats.count(Count::Missing, found.missing.into());
    io.stats.count(Count::Stale, found.stale.into());
    io.stats.count(Count::Extra, found.extra.into());
    if !found.stalest.is_zero() {
        io.stats.delay(Delay::Staleness, found.stalest);
    }
    found.appeared.iter().for_each(|length| io.stats.delay(Delay::Appeared, *length));
    found.vanished.iter().for_each(|length| io.stats.delay(Delay::Vanished, *length));
    if status == 200 && io.stats.counted(Count::Checked) % 16 == 1 {
        let channels = io.shared.plan.scenario.topics.channels;
        io.stats.count(Count::Garbled, u64::from(!fields_match(body, channels)));
    }
    found
}

/// Whether the body parses, each producer has the fields it sent in IDENTIFY, and each channel is
/// one that the fleet registers.
fn fields_match(body: &[u8], channels: usize) -> bool {
    let Ok(lookup) = serde_json::from_slice::<Lookup<'_>>(body) else { return false };
    let producers = lookup.producers.iter().all(|producer| {
        producer.hostname == producer.broadcast_address
            && (producer.tcp_port, producer.http_port) == (wire::TCP_PORT, wire::HTTP_PORT)
            && producer.version == wire::VERSION
    });
    let known = |name: &str| {
        let number = name.strip_prefix("channel-").and_then(|digits| digits.parse::<usize>().ok());
        number.is_some_and(|number| number < channels)
    };
    producers && lookup.channels.iter().all(|name| known(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(host: &str, address: &str, port: u16, channel: &str) -> String {
        format!(
            r#"{{"channels":["{channel}"],"producers":[{{"remote_address":"127.0.0.1:1","hostname":"{host}","broadcast_address": "{address}","tcp_port":{port},"http_port":4151,"version":"1.3.0"}}]}}"#
        )
    }

    #[test]
    fn addresses_are_found_with_and_without_a_space() {
        let one = body("a", "nsqd-0000001.fleet", 4150, "channel-0");
        let two = one.replace("\": \"", "\":\"").replace("0000001", "0000002");
        let mut found = Vec::new();
        addresses(format!("{one}{two}").as_bytes(), |host| found.push(Plan::producer(host)));
        assert_eq!(found, [Some(1), Some(2)]);
    }

    #[test]
    fn fields_and_channels_are_compared() {
        let host = "nsqd-0000001.fleet";
        let check = |body: String| fields_match(body.as_bytes(), 1);
        assert!(check(body(host, host, 4150, "channel-0")));
        assert!(!check(body("nsqd-0000002.fleet", host, 4150, "channel-0")));
        assert!(!check(body(host, host, 4152, "channel-0")));
        assert!(!check(body(host, host, 4150, "channel-1")));
        assert!(!check("{}".to_owned()));
    }
}
