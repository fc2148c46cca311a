//! A request's target, taken apart as Go's `url.ParseRequestURI` does: path, query, escapes.
//!
//! Must not: know routes, or which parameters mean what. Pure; any thread.

use std::borrow::Cow;
use std::net::Ipv6Addr;

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
        let path = unescape(&before[origin.len()..], b'+')?;
        Some(Self { raw, origin, path, suffix })
    }

    /// The first value of each of `names` in the query, `None` for a name that does not occur: as
    /// Go's `url.ParseQuery` and NSQ's `ReqParams` see it.
    ///
    /// # Errors
    /// [`MalformedQuery`], also when the fault is in a pair nobody asked for.
    pub fn parameters<const N: usize>(
        &self,
        names: [&str; N],
    ) -> Result<[Option<Cow<'a, [u8]>>; N], MalformedQuery> {
        let query = self.suffix.get(1..).unwrap_or_default();
        let mut found = [const { None }; N];
        for pair in query.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty()) {
            if pair.contains(&b';') {
                return Err(MalformedQuery);
            }
            let equals = pair.iter().position(|&byte| byte == b'=').unwrap_or(pair.len());
            let value = pair.get(equals + 1..).unwrap_or_default();
            let key = unescape(&pair[..equals], b' ').ok_or(MalformedQuery)?;
            let value = unescape(value, b' ').ok_or(MalformedQuery)?;
            if let Some(at) = names.iter().position(|name| name.as_bytes() == &*key) {
                found[at].get_or_insert(value);
            }
        }
        Ok(found)
    }
}

/// A query that Go's `url.ParseQuery` refuses, wherever the fault stands: a malformed escape or a
/// `;`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedQuery;

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
    user.iter().all(valid) && unescape(user, b'+').is_some()
}

/// Whether `host` is `name`, `name:port`, `[v6]` or `[v6]:port`, each with an empty port too.
fn is_host(host: &[u8]) -> bool {
    let port_at = match host.first() {
        Some(b'[') => match host.iter().rposition(|&byte| byte == b']') {
            Some(close) => close + 1,
            None => return false,
        },
        // The last colon: the Go that nsqlookupd v1.3.0 asks for takes an IPv6 address without
        // brackets.
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

/// Undoes the escapes of `text`, borrowing it when there are none; `None` when one is malformed. A
/// `+` stands for `plus`: itself in a path, a space in a query.
fn unescape(text: &[u8], plus: u8) -> Option<Cow<'_, [u8]>> {
    let special = |byte: &u8| *byte == b'%' || (*byte == b'+' && plus != b'+');
    let Some(first) = text.iter().position(special) else {
        return Some(Cow::Borrowed(text));
    };
    let mut plain = text[..first].to_vec();
    let mut rest = &text[first..];
    while let Some((&byte, tail)) = rest.split_first() {
        let (byte, tail) = match byte {
            b'%' => {
                let ([high, low], tail) = tail.split_first_chunk()?;
                (digit(*high)? << 4 | digit(*low)?, tail)
            }
            b'+' => (plus, tail),
            byte => (byte, tail),
        };
        plain.push(byte);
        rest = tail;
    }
    Some(Cow::Owned(plain))
}

/// The value of one hexadecimal digit.
fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
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
    fn each_form_of_target_is_parsed() {
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
    fn targets_that_go_refuses_are_refused() {
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

    fn check_query(query: &str, want: Result<Option<&str>, MalformedQuery>) {
        let target = format!("/?{query}");
        let target = Target::parse(b"GET", target.as_bytes()).expect("the path is good");
        let got = target.parameters(["topic"]).map(|[topic]| topic);
        let got = got.map(|topic| topic.map(|topic| String::from_utf8_lossy(&topic).into_owned()));
        assert_eq!(got, want.map(|topic| topic.map(str::to_owned)), "{query}");
    }

    #[test]
    fn queries_are_parsed_as_go_parses_them() {
        check_query("", Ok(None));
        check_query("topic", Ok(Some("")));
        check_query("topic=", Ok(Some("")));
        check_query("topic=a&topic=b", Ok(Some("a")));
        check_query("x=1&&topic=a=b&y", Ok(Some("a=b")));
        check_query("Topic=a", Ok(None));
        check_query("=a&topic=b", Ok(Some("b")));
        check_query("to%70ic=t%23ephemeral", Ok(Some("t#ephemeral")));
        check_query("topic=a+b%2Bc", Ok(Some("a b+c")));
        check_query("topic=%C3%A9", Ok(Some("é")));
        check_query("topic=a?b#c", Ok(Some("a?b#c")));
    }

    #[test]
    fn a_malformed_pair_makes_the_query_malformed() {
        for query in ["topic=%zz", "topic=a;b", "topic=a&;", "x=%&topic=a", "topic=a&%4=b"] {
            check_query(query, Err(MalformedQuery));
        }
    }

    #[test]
    fn several_parameters_are_found_in_one_pass() {
        let target = Target::parse(b"GET", b"/?node=n&channel=c&topic=t").expect("well formed");
        let found = target.parameters(["topic", "channel", "missing"]);
        let [topic, channel, missing] = found.expect("well formed");
        assert_eq!((topic.as_deref(), channel.as_deref()), (Some(&b"t"[..]), Some(&b"c"[..])));
        assert_eq!(missing, None);
    }

    fn check_escapes(text: &str, plus: u8, want: Option<&[u8]>) {
        assert_eq!(unescape(text.as_bytes(), plus).as_deref(), want, "{text}");
    }

    #[test]
    fn escapes_are_undone_as_go_undoes_them() {
        check_escapes("", b' ', Some(b""));
        check_escapes("a+b", b'+', Some(b"a+b"));
        check_escapes("a+b", b' ', Some(b"a b"));
        check_escapes("%41%2b%fF%00", b' ', Some(b"A+\xff\0"));
        check_escapes("t%23ephemeral", b'+', Some(b"t#ephemeral"));
        for broken in ["%", "%4", "a%zz", "%4g", "%%41", "%+1"] {
            check_escapes(broken, b'+', None);
        }
    }
}
