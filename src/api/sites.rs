//! Whose requests are served: a web page of another site must not change anything through the
//! browser of somebody who may.
//!
//! A browser says where a request comes from, and no page can change that: `Sec-Fetch-Site`, and
//! `Origin` in older ones. nsqadmin, curl and consumers send neither. Must not: keep what a client
//! sends. Any thread. Source: Fetch Metadata, RFC 6454.

use std::net::IpAddr;
use std::sync::Arc;

use crate::access::{Denials, DenyReason};
use crate::http1::RequestHead;
use crate::logging::Quoted;
use crate::protocol::host::Host;

/// Which sites may change something, and which names of this one are served.
#[derive(Debug, Default)]
pub struct Sites {
    /// `--http-origin-allow`
    origins: Vec<String>,
    /// `--http-host`; all when there are none.
    hosts: Vec<String>,
    denials: Arc<Denials>,
}

impl Sites {
    /// Sites of these origins (`https://admin.example`) may change something; requests for these
    /// hosts, with or without a port, are served. Denials are counted in `denials`.
    #[must_use]
    pub fn new(origins: Vec<String>, hosts: Vec<String>, denials: Arc<Denials>) -> Self {
        Self { origins, hosts, denials }
    }

    /// What the flags name that nothing can match, with what is wrong about it.
    #[must_use]
    pub fn unmatched(&self) -> Vec<String> {
        let is_host =
            |host: &str| !host.contains(['/', '*', '@', ' ']) && Host::with_port(host).is_some();
        let hosts = self.hosts.iter().filter(|host| !is_host(host)).map(|host| {
            format!(
                "--http-host {} is no host and no host:port: no request is for it",
                Quoted(host)
            )
        });
        let is_origin = |origin: &str| {
            let rest = origin.split_once("://").map(|(_, rest)| rest);
            rest.is_some_and(|rest| is_host(rest.strip_suffix('/').unwrap_or(rest)))
        };
        let origins = self.origins.iter().filter(|origin| !is_origin(origin)).map(|origin| {
            let origin = Quoted(origin);
            format!("--http-origin-allow {origin} is no origin (https://host): no page is of it")
        });
        hosts.chain(origins).collect()
    }

    /// Whether nsqds may ask, which do so by the broadcast address and the port of HTTP.
    #[must_use]
    pub fn serves_nsqds(&self, broadcast_address: &str, http_port: u16) -> bool {
        let is_bare_v6 = broadcast_address.contains(':') && !broadcast_address.starts_with('[');
        let host = if is_bare_v6 {
            format!("[{broadcast_address}]:{http_port}")
        } else {
            format!("{broadcast_address}:{http_port}")
        };
        self.serves(host.as_bytes())
    }

    /// Whether a request of `peer` that changes something was meant by whoever sent it; if not, the
    /// denial is counted.
    pub(super) fn is_meant(&self, peer: IpAddr, head: &RequestHead<'_>) -> bool {
        let is_meant = match (head.site.fetch_site, head.site.origin) {
            (Some(site), _) => site == b"same-origin" || site == b"none",
            (None, Some(origin)) => self.is_ours(origin, head.site.host),
            (None, None) => true,
        };
        if !is_meant {
            self.denials.count(DenyReason::WriteOrigin, peer);
        }
        is_meant
    }

    /// Whether the page at `origin` is of this `host`, or of a site that is allowed.
    fn is_ours(&self, origin: &[u8], host: &[u8]) -> bool {
        let (origin, host) = (text(origin), text(host));
        let page = Origin::parse(origin);
        let of_host = page.is_some_and(|page| {
            Host::with_port(host)
                .is_some_and(|(host, port)| page.is_at(host, port.unwrap_or(page.default_port)))
        });
        let is = |allowed: &String| {
            let same = page.zip(Origin::parse(allowed));
            same.map_or(allowed.eq_ignore_ascii_case(origin), |(page, allowed)| {
                page.default_port == allowed.default_port && page.is_at(allowed.host, allowed.port)
            })
        };
        of_host || self.origins.iter().any(is)
    }

    /// Whether requests for `host` are served.
    pub(super) fn serves(&self, host: &[u8]) -> bool {
        if self.hosts.is_empty() {
            return true;
        }
        let Some((host, port)) = Host::with_port(text(host)) else { return false };
        let is = |served: &String| {
            Host::with_port(served)
                .is_some_and(|(name, only)| name == host && (only.is_none() || only == port))
        };
        self.hosts.iter().any(is)
    }
}

/// A field as text; empty, which is no host and no origin, when it is not UTF-8.
fn text(field: &[u8]) -> &str {
    std::str::from_utf8(field).unwrap_or_default()
}

/// Where a web page came from.
#[derive(Clone, Copy)]
struct Origin<'a> {
    /// That of its scheme, http or https, which it stands for.
    default_port: u16,
    host: Host<'a>,
    port: u16,
}

impl<'a> Origin<'a> {
    /// The origin that `text` means; `None`: it has another scheme, or is none.
    fn parse(text: &'a str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let default_port = match () {
            () if scheme.eq_ignore_ascii_case("http") => 80,
            () if scheme.eq_ignore_ascii_case("https") => 443,
            () => return None,
        };
        let (host, port) = Host::with_port(rest.strip_suffix('/').unwrap_or(rest))?;
        Some(Self { default_port, host, port: port.unwrap_or(default_port) })
    }

    fn is_at(&self, host: Host<'_>, port: u16) -> bool {
        self.host == host && self.port == port
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::request::{Progress, parse};

    fn head(fields: &str) -> Vec<u8> {
        format!("POST /topic/delete?topic=t HTTP/1.1\r\n{fields}\r\n").into_bytes()
    }

    #[test]
    fn page_of_another_site_changes_nothing() {
        let denials = Arc::new(Denials::default());
        let origins = ["https://admin.example", "https://b.example:443/", "x-app://c"];
        let origins = origins.map(str::to_owned).into();
        let sites = Sites::new(origins, Vec::new(), Arc::clone(&denials));
        let mut refused = 0;
        for (fields, want) in [
            // nsqadmin, curl, a consumer.
            ("Host: lookupd:4161\r\n", true),
            // A form on another site; one of a sister site; a page of ours; a typed address.
            ("Host: lookupd:4161\r\nSec-Fetch-Site: cross-site\r\n", false),
            ("Host: lookupd:4161\r\nSec-Fetch-Site: same-site\r\n", false),
            ("Host: lookupd:4161\r\nSec-Fetch-Site: same-origin\r\n", true),
            ("Host: lookupd:4161\r\nSec-Fetch-Site: none\r\n", true),
            ("Host: x\r\nSec-Fetch-Site: none\r\nSec-Fetch-Site: cross-site\r\n", false),
            ("Host: x\r\nSec-Fetch-Site: same-origin, cross-site\r\n", false),
            ("Host: x\r\nSec-Fetch-Site: cross-site\r\nOrigin: http://x\r\n", false),
            ("Host: x\r\nSec-Fetch-Site: same-origin\r\nOrigin: http://y\r\n", true),
            // Older browsers.
            ("Host: lookupd:4161\r\nOrigin: http://lookupd:4161\r\n", true),
            ("Host: LOOKUPD:4161\r\nOrigin: http://lookupd:4161\r\n", true),
            ("Host: lookupd:4161\r\nOrigin: https://evil.example\r\n", false),
            ("Host: lookupd:4161\r\nOrigin: http://lookupd\r\n", false),
            ("Host: lookupd:4161\r\nOrigin: http://lookupd:4161.evil.example\r\n", false),
            ("Host: lookupd\r\nOrigin: http://lookupd:80\r\n", true),
            ("Host: lookupd:443\r\nOrigin: https://lookupd\r\n", true),
            ("Host: lookupd:443\r\nOrigin: http://lookupd\r\n", false),
            ("Host: [::1]:4161\r\nOrigin: http://[::1]:4161\r\n", true),
            ("Host: [::1]:4161\r\nOrigin: http://[::2]:4161\r\n", false),
            ("Host: x\r\nOrigin: null\r\n", false),
            ("Host: null\r\nOrigin: null\r\n", false),
            ("Host: x\r\nOrigin: \r\n", false),
            ("Host: x\r\nOrigin: http://x\r\nOrigin: http://y\r\n", false),
            ("Host: x\r\nOrigin: https://admin.example\r\n", true),
            ("Host: x\r\nOrigin: https://Admin.Example\r\n", true),
            ("Host: x\r\nOrigin: https://admin.example:443\r\n", true),
            ("Host: x\r\nOrigin: https://b.example\r\n", true),
            ("Host: x\r\nOrigin: X-App://c\r\n", true),
            ("Host: x\r\nOrigin: http://admin.example\r\n", false),
            ("Host: x\r\nOrigin: http://admin.example:443\r\n", false),
            ("Host: lookupd.:4161\r\nOrigin: http://lookupd:4161\r\n", true),
            ("Host: [0:0::1]:4161\r\nOrigin: http://[::1]:4161\r\n", true),
            ("Host: lookupd:4161\r\nOrigin: HTTP://lookupd:4161\r\n", true),
        ] {
            let bytes = head(fields);
            let parsed = parse(&bytes, &mut Progress::default()).expect("good").expect("whole");
            assert_eq!(sites.is_meant([10, 0, 0, 1].into(), &parsed), want, "{fields}");
            refused += u64::from(!want);
        }
        assert_eq!(denials.get(DenyReason::WriteOrigin).count, refused);
    }

    #[test]
    fn what_nothing_can_match_is_named() {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        let good = ["lookupd", "lookupd.:04161", "::1", "[::1]:1", "10.0.0.1"];
        let origins = ["https://a.example", "http://[::1]:80/", "x-app://c"];
        let sites = Sites::new(owned(&origins), owned(&good), Arc::default());
        assert_eq!(sites.unmatched(), Vec::<String>::new());
        let bad = ["https://lookupd", "*.example", "lookupd:x", "[::1]x", "lookupd/"];
        let origins = ["a.example", "https://a.example/path", "*", "https://*.example", "null"];
        let sites = Sites::new(owned(&origins), owned(&bad), Arc::default());
        let unmatched = sites.unmatched();
        assert_eq!(unmatched.len(), 10, "{unmatched:#?}");
        assert!(unmatched[0].starts_with("--http-host \"https://lookupd\" is no host"));
        assert!(unmatched[5].starts_with("--http-origin-allow \"a.example\" is no origin"));
    }

    #[test]
    fn only_the_named_hosts_are_served() {
        let hosts = ["lookupd.example", "10.0.0.1:4161", "::1"].map(str::to_owned);
        let sites = Sites::new(Vec::new(), hosts.into(), Arc::default());
        for (host, want) in [
            ("lookupd.example", true),
            ("LOOKUPD.example:4161", true),
            ("10.0.0.1:4161", true),
            ("10.0.0.1", false),
            ("10.0.0.1:80", false),
            ("lookupd.example.", true),
            ("[::ffff:10.0.0.1]:4161", true),
            ("[::1]:4161", true),
            ("[::1]", true),
            ("[0:0:0::1]:4161", true),
            ("[::2]", false),
            ("rebound.example", false),
            ("lookupd.example.evil.example", false),
            ("lookupd.example:x", false),
            ("", false),
        ] {
            assert_eq!(sites.serves(host.as_bytes()), want, "{host}");
        }
        assert!(Sites::default().serves(b"anything"));
        for (broadcast, port, want) in [
            ("lookupd.example", 4161, true),
            ("10.0.0.1", 4161, true),
            ("10.0.0.1", 4162, false),
            ("::1", 4161, true),
            ("lookupd", 4161, false),
        ] {
            assert_eq!(sites.serves_nsqds(broadcast, port), want, "{broadcast} {port}");
        }
    }
}
