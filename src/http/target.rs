//! A request's target, taken apart as Go's `url.ParseRequestURI` does.
//!
//! Must not: know routes. Pure; any thread.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use super::percent::{Plus, unescape};

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// The target as it came.
    pub raw: &'a [u8],
    /// `http://host` of an absolute target; empty for the usual `/path`.
    pub origin: &'a [u8],
    /// The path with its escapes undone. Empty or `*` for targets without one.
    pub path: Cow<'a, [u8]>,
    /// From the `?` to the end; empty without a `?`.
    pub suffix: &'a [u8],
}

impl<'a> Target<'a> {
    /// Takes `raw` apart; `None` when Go refuses it. A CONNECT may name an authority alone.
    #[must_use]
    pub fn parse(method: &[u8], raw: &'a [u8]) -> Option<Self> {
        let is_missing = raw.is_empty() && method != b"CONNECT";
        if is_missing || raw.iter().any(u8::is_ascii_control) {
            return None;
        }
        if raw == b"*" && method != b"CONNECT" {
            return Some(Self { raw, origin: b"", path: Cow::Borrowed(raw), suffix: b"" });
        }
        let question = raw.iter().position(|&byte| byte == b'?').unwrap_or(raw.len());
        let (before, suffix) = raw.split_at(question);
        let origin = match origin_length(method, before)? {
            Some(length) => &before[..length],
            // `mailto:x`, which has no path.
            None => before,
        };
        let path = unescape(&before[origin.len()..], Plus::Itself)?;
        Some(Self { raw, origin, path, suffix })
    }

    /// The query string, without its `?`.
    #[must_use]
    pub fn query(&self) -> &'a [u8] {
        self.suffix.get(1..).unwrap_or_default()
    }
}

/// How much of `before` (a target without its query) stands before the path: nothing of `/path`,
/// `http://host` of `http://host/path`; `Some(None)` when there is no path, `None` when Go refuses.
#[expect(clippy::option_option, reason = "refused, without a path, with one")]
fn origin_length(method: &[u8], before: &[u8]) -> Option<Option<usize>> {
    if before.starts_with(b"/") {
        return Some(Some(0));
    }
    if method == b"CONNECT" {
        return authority_length(before).map(Some);
    }
    let colon = scheme_length(before)?;
    let (scheme, rest) = (&before[..colon], &before[colon + 1..]);
    match rest {
        [b'/', b'/', authority @ ..] => Some(Some(scheme.len() + 3 + authority_length(authority)?)),
        [b'/', ..] => Some(Some(scheme.len() + 1)),
        _ => Some(None),
    }
}

/// The length of the scheme that `target` starts with, if a `:` follows it.
fn scheme_length(target: &[u8]) -> Option<usize> {
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    let length = target.iter().position(|byte| !inner(byte))?;
    (target[length] == b':' && target[0].is_ascii_alphabetic()).then_some(length)
}

/// The length of the authority that `text` starts with, if Go takes it.
fn authority_length(text: &[u8]) -> Option<usize> {
    let length = text.iter().position(|&byte| byte == b'/').unwrap_or(text.len());
    let authority = &text[..length];
    let (user, host) = match authority.iter().rposition(|&byte| byte == b'@') {
        Some(at) => (&authority[..at], &authority[at + 1..]),
        None => (&b""[..], authority),
    };
    (is_user(user) && is_host(host)).then_some(length)
}

fn is_user(user: &[u8]) -> bool {
    let valid = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(byte);
    user.iter().all(valid) && unescape(user, Plus::Itself).is_some()
}

/// Whether `host` is `name`, `name:port`, `[v6]` or `[v6]:port`, each with an empty port too.
fn is_host(host: &[u8]) -> bool {
    let port_at = match host.first() {
        Some(b'[') => match host.iter().rposition(|&byte| byte == b']') {
            Some(close) => close + 1,
            None => return false,
        },
        // The last colon: the Go that nsqlookupd v1.3.0 asks for takes an IPv6 address without brackets.
        _ => host.iter().rposition(|&byte| byte == b':').unwrap_or(host.len()),
    };
    let (name, port) = host.split_at(port_at);
    let is_port = match port.split_first() {
        None => true,
        Some((&first, digits)) => first == b':' && digits.iter().all(u8::is_ascii_digit),
    };
    is_port
        && match name {
            [b'[', address @ .., b']'] => is_v6(address),
            name => is_name(name),
        }
}

/// Whether `address` is an IPv6 address; a zone may follow behind `%25`.
fn is_v6(address: &[u8]) -> bool {
    let zone = address.windows(3).position(|window| window == b"%25");
    let (address, zone) = address.split_at(zone.unwrap_or(address.len()));
    let address = std::str::from_utf8(address).unwrap_or_default();
    address.parse::<Ipv6Addr>().is_ok() && zone.len() != 3 && is_name(zone)
}

/// Go lets a host name escape only what is no ASCII, and `%` itself.
fn is_name(name: &[u8]) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:<>\"".contains(&byte);
    let mut rest = name;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = match (byte, tail) {
            (b'%', [b'2', b'5', tail @ ..]) => tail,
            (b'%', [b'8'..=b'9' | b'a'..=b'f' | b'A'..=b'F', low, tail @ ..])
                if low.is_ascii_hexdigit() =>
            {
                tail
            }
            (0x80.., tail) => tail,
            (byte, tail) if plain(byte) => tail,
            _ => return false,
        };
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: &str, raw: &str, want: Option<(&str, &str, &str)>) {
        let got = Target::parse(method.as_bytes(), raw.as_bytes());
        let got = got.as_ref().map(|target| (target.origin, &*target.path, target.suffix));
        let want = want
            .map(|(origin, path, suffix)| (origin.as_bytes(), path.as_bytes(), suffix.as_bytes()));
        assert_eq!(got, want, "{method} {raw}");
    }

    #[test]
    fn forms_of_a_target() {
        check("GET", "/ping", Some(("", "/ping", "")));
        check("GET", "/p%69ng?", Some(("", "/ping", "?")));
        check("GET", "/a?b?c/d", Some(("", "/a", "?b?c/d")));
        check("GET", "//x/ping", Some(("", "//x/ping", "")));
        check("OPTIONS", "*", Some(("", "*", "")));
        check("GET", "http://x/ping?a", Some(("http://x", "/ping", "?a")));
        check("GET", "HTTP://u:p@x:80/ping", Some(("HTTP://u:p@x:80", "/ping", "")));
        check("GET", "http://[::1%25eth0]:1/p", Some(("http://[::1%25eth0]:1", "/p", "")));
        check("GET", "http://x?a/b", Some(("http://x", "", "?a/b")));
        check("GET", "http:/ping", Some(("http:", "/ping", "")));
        check("GET", "mailto:x", Some(("mailto:x", "", "")));
        check("GET", "http://::1/p", Some(("http://::1", "/p", "")));
        check("CONNECT", "x:80", Some(("x:80", "", "")));
        check("CONNECT", "", Some(("", "", "")));
        check("CONNECT", "*", Some(("*", "", "")));
        check("CONNECT", "/ping", Some(("", "/ping", "")));
        check("GET", "/caf\u{e9}", Some(("", "/caf\u{e9}", "")));
    }

    #[test]
    fn targets_that_go_refuses() {
        let targets = [
            "",
            "ping",
            "?topic=a",
            "/a%zz",
            "/a\x01",
            "/a\x7f",
            ":/x",
            "1http://x/",
            "http://x:port/",
            "http://[::1/",
            "http://[1.2.3.4]/",
            "http://a b/",
            "http://a%41/",
            "http://x[/",
            "%2Fping",
            "http://u ser@x/",
            "http://[::1]x/",
            "http://[::1%25]/",
        ];
        for target in targets {
            check("GET", target, None);
        }
    }
}
