//! Hosts and ports as text, compared by what they mean and not by their spelling.
//!
//! Must not: ask a resolver. Pure; any thread.

use std::net::IpAddr;

/// An address or a name. `[::1]`, `::1` and `0:0::1` are equal; so are an IPv4 address and the same
/// mapped to IPv6, and names that differ in case or in the dot at the end.
#[derive(Clone, Copy, Debug)]
pub enum Host<'a> {
    /// An address, canonical.
    Address(IpAddr),
    /// Anything else.
    Name(&'a str),
}

impl<'a> Host<'a> {
    /// The host that `text` means, which may be an address in brackets.
    #[must_use]
    pub fn new(text: &'a str) -> Self {
        let bare = text.trim_start_matches('[').trim_end_matches(']');
        match bare.parse::<IpAddr>() {
            Ok(address) => Self::Address(address.to_canonical()),
            Err(_) => Self::Name(text.strip_suffix('.').unwrap_or(text)),
        }
    }

    /// Takes `host`, `host:port` or an IPv6 address without brackets apart. `None`: it is none of
    /// these.
    #[must_use]
    pub fn with_port(text: &'a str) -> Option<(Self, Option<u16>)> {
        let colons = text.bytes().filter(|&byte| byte == b':').count();
        let (host, port) = match text.rfind(']') {
            Some(end) => text.split_at(end + 1),
            None if colons == 1 => text.split_at(text.find(':')?),
            None => (text, ""),
        };
        let port = match port {
            "" | ":" => None,
            _ => Some(port.strip_prefix(':').filter(|port| is_number(port))?.parse().ok()?),
        };
        (!host.is_empty()).then(|| (Self::new(host), port))
    }
}

impl PartialEq for Host<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Address(one), Self::Address(two)) => one == two,
            (Self::Name(one), Self::Name(two)) => one.eq_ignore_ascii_case(two),
            _ => false,
        }
    }
}

/// An nsqd, as a tombstone request names it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Node<'a> {
    host: Host<'a>,
    /// As in [`PeerInfo`](super::peer_info::PeerInfo), which may be no valid port.
    http_port: i64,
}

impl<'a> Node<'a> {
    /// The nsqd with this broadcast address and HTTP port.
    #[must_use]
    pub fn new(broadcast_address: &'a str, http_port: i64) -> Self {
        Self { host: Host::new(broadcast_address), http_port }
    }

    /// The nsqd that `text` names: `address:port` as nsqlookupd joins them (`::1:4151`), or as
    /// nsqadmin does (`[::1]:4151`). `None`: none has such a name.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let is_port = is_number(port.strip_prefix('-').unwrap_or(port));
        is_port.then(|| port.parse().ok()).flatten().map(|port| Self::new(host, port))
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_is_named_in_any_spelling() {
        for (address, port, node, want) in [
            ("::1", 4151, "[::1]:4151", true),
            ("::1", 4151, "::1:4151", true),
            ("::1", 4151, "[0:0::0001]:4151", true),
            ("[::1]", 4151, "[::1]:4151", true),
            // nsqadmin puts brackets around all that has a colon.
            ("[::1]", 4151, "[[::1]]:4151", true),
            ("2001:DB8::1", 4151, "[2001:db8:0::1]:4151", true),
            ("::ffff:10.0.0.1", 4151, "10.0.0.1:4151", true),
            ("10.0.0.1", 4151, "[::ffff:a00:1]:4151", true),
            ("fe80::1%eth0", 4151, "fe80::1%eth0:4151", true),
            ("nsqd.example", 4151, "NSQD.example:4151", true),
            ("nsqd.example.", 4151, "nsqd.example:4151", true),
            ("nsqd.example", 4151, "nsqd.example:04151", true),
            ("n", -1, "n:-1", true),
            ("::1", 4151, "[::2]:4151", false),
            ("::1", 4151, "[::1]:4150", false),
            ("::1", 4151, "::1", false),
            ("nsqd.example", 4151, "nsqd.example", false),
            ("nsqd.example", 4151, "nsqd.example:", false),
            ("nsqd.example", 4151, "nsqd.example:+4151", false),
            ("nsqd.example", 4151, "nsqd.example:99999999999999999999", false),
            ("nsqd.example", 4151, "sqd.example:4151", false),
            ("nsqd.example", 4151, "[nsqd.example]:4151", false),
            ("n", 1, "", false),
        ] {
            let is_it = Node::parse(node) == Some(Node::new(address, port));
            assert_eq!(is_it, want, "{address} {port} {node}");
        }
    }

    #[test]
    fn hosts_are_taken_apart() {
        let lookupd = Host::Name("lookupd");
        let loopback = Host::Address(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]));
        for (text, want) in [
            ("lookupd", Some((lookupd, None))),
            ("LookUpd.:4161", Some((lookupd, Some(4161)))),
            ("lookupd:", Some((lookupd, None))),
            ("::1", Some((loopback, None))),
            ("[::1]", Some((loopback, None))),
            ("[::1]:80", Some((loopback, Some(80)))),
            ("[::1]x", None),
            ("lookupd:x", None),
            ("lookupd:+1", None),
            ("lookupd:65536", None),
            (":80", None),
            ("", None),
        ] {
            assert_eq!(Host::with_port(text), want, "{text}");
        }
    }
}
