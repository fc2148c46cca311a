//! The PROXY protocol's header without sockets, versions 1 and 2: who the real peer of a proxy's
//! connection is.
//!
//! Must not: know who may send one, or read past the header. Any thread. Source: HAProxy's
//! `doc/proxy-protocol.txt`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use crate::limits;

/// How a version 1 header begins, and the longest one with its line end, in bytes.
const V1: &[u8] = b"PROXY ";
const V1_LONGEST: usize = 107;
/// How a version 2 header begins; the version and the command, the family, and the length of what
/// follows take four bytes more.
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_FIXED: usize = V2.len() + 4;

/// A whole header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The real peer; none if the proxy speaks for itself (LOCAL), or does not know an IP address
    /// (UNKNOWN).
    pub(crate) source: Option<SocketAddr>,
    /// How many bytes the header has.
    pub(crate) length: usize,
}

/// What came is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Reads the header that `bytes` begin with; none while it is incomplete.
///
/// # Errors
/// When no more bytes would make it one, or when it is longer than [`limits::PROXY_HEADER`].
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<Header>, Malformed> {
    let begins = |with: &[u8]| bytes.iter().zip(with).all(|(byte, want)| byte == want);
    if bytes.is_empty() {
        Ok(None)
    } else if begins(V1) {
        parse_v1(bytes)
    } else if begins(V2) {
        parse_v2(bytes)
    } else {
        Err(Malformed)
    }
}

fn parse_v1(bytes: &[u8]) -> Result<Option<Header>, Malformed> {
    let shown = &bytes[..bytes.len().min(V1_LONGEST)];
    let Some(end) = shown.windows(2).position(|pair| pair == b"\r\n") else {
        return if shown.len() < V1_LONGEST { Ok(None) } else { Err(Malformed) };
    };
    let line = shown.get(V1.len()..end).ok_or(Malformed)?;
    let line = str::from_utf8(line).map_err(|_| Malformed)?;
    let words: Vec<_> = line.split(' ').collect();
    let source = match words[..] {
        ["UNKNOWN", ..] => None,
        ["TCP4", from, to, from_port, to_port] => {
            let (from, _): (Ipv4Addr, Ipv4Addr) = (read(from)?, read(to)?);
            Some((IpAddr::from(from), [port(from_port)?, port(to_port)?]))
        }
        ["TCP6", from, to, from_port, to_port] => {
            let (from, _): (Ipv6Addr, Ipv6Addr) = (read(from)?, read(to)?);
            Some((IpAddr::from(from), [port(from_port)?, port(to_port)?]))
        }
        _ => return Err(Malformed),
    };
    let source = source.map(|(from, [port, _])| SocketAddr::new(from.to_canonical(), port));
    Ok(Some(Header { source, length: end + 2 }))
}

fn read<A: FromStr>(text: &str) -> Result<A, Malformed> {
    text.parse().map_err(|_| Malformed)
}

fn port(text: &str) -> Result<u16, Malformed> {
    let has_digits_only = text.bytes().all(|byte| byte.is_ascii_digit());
    let is_plain = has_digits_only && (text == "0" || !text.starts_with('0'));
    if is_plain { read(text) } else { Err(Malformed) }
}

fn parse_v2(bytes: &[u8]) -> Result<Option<Header>, Malformed> {
    let Some(&[command, family, high, low]) = bytes.get(V2.len()..V2_FIXED) else {
        return Ok(None);
    };
    let length = V2_FIXED + usize::from(u16::from_be_bytes([high, low]));
    // Two addresses and two ports come first, then what we do not need.
    let least = match (command, family) {
        (0x21, 0x11) => 12,
        (0x21, 0x21) => 36,
        // LOCAL, an address that is not known, a UNIX stream: whatever is in it is to be ignored.
        (0x20, _) | (0x21, 0x00 | 0x31) => 0,
        _ => return Err(Malformed),
    };
    if length > limits::PROXY_HEADER || length < V2_FIXED + least {
        return Err(Malformed);
    }
    let Some(body) = bytes.get(V2_FIXED..length) else { return Ok(None) };
    let port = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
    let source = match (least, body.first_chunk::<4>(), body.first_chunk::<16>()) {
        (12, Some(&from), _) => Some(SocketAddr::new(IpAddr::from(from), port(8))),
        (36, _, Some(&from)) => Some(SocketAddr::new(IpAddr::from(from).to_canonical(), port(32))),
        _ => None,
    };
    Ok(Some(Header { source, length }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn v1(text: &str) -> Result<Option<Header>, Malformed> {
        parse(format!("PROXY {text}\r\n").as_bytes())
    }

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [V2, &[command, family], &length, body].concat()
    }

    /// A version 2 header for `source`, with `more` behind its addresses.
    fn v2_of(source: SocketAddr, more: &[u8]) -> Vec<u8> {
        let ports = [source.port().to_be_bytes(), [0x10, 0x40]].concat();
        match source.ip() {
            IpAddr::V4(ip) => v2(0x21, 0x11, &[&ip.octets(), &[7; 4], &ports[..], more].concat()),
            IpAddr::V6(ip) => v2(0x21, 0x21, &[&ip.octets(), &[7; 16], &ports[..], more].concat()),
        }
    }

    fn v1_of(source: SocketAddr) -> Vec<u8> {
        let (family, to) = if source.is_ipv4() { ("TCP4", "127.0.0.1") } else { ("TCP6", "::1") };
        format!("PROXY {family} {} {to} {} 4160\r\n", source.ip(), source.port()).into_bytes()
    }

    #[test]
    fn proxy_that_knows_no_address_has_a_header_too() {
        let none = |length| Ok(Some(Header { source: None, length }));
        assert_eq!(v1("UNKNOWN"), none(15));
        assert_eq!(v1("UNKNOWN ffff:f...f:ffff ffff 65535 65535"), none(48));
        for (command, family) in [(0x20, 0x00), (0x20, 0x11), (0x21, 0x00), (0x21, 0x31)] {
            assert_eq!(parse(&v2(command, family, b"")), none(16));
            assert_eq!(parse(&v2(command, family, &[1; 300])), none(316));
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        for text in [
            "",
            "TCP4",
            "TCP4 10.0.0.1 10.0.0.2 1",
            "TCP4 10.0.0.1 10.0.0.2 1 2 3",
            "TCP4  10.0.0.1 10.0.0.2 1 2",
            "TCP4 10.0.0.01 10.0.0.2 1 2",
            "TCP4 10.0.0.1 10.0.0 1 2",
            "TCP4 ::1 ::1 1 2",
            "TCP6 10.0.0.1 10.0.0.2 1 2",
            "TCP4 10.0.0.1 10.0.0.2 65536 2",
            "TCP4 10.0.0.1 10.0.0.2 1 65536",
            "TCP4 10.0.0.1 10.0.0.2 +1 2",
            "TCP4 10.0.0.1 10.0.0.2 01 2",
            "TCP4 10.0.0.1 10.0.0.2 1 ",
            "tcp4 10.0.0.1 10.0.0.2 1 2",
            "UDP4 10.0.0.1 10.0.0.2 1 2",
        ] {
            assert_eq!(v1(text), Err(Malformed), "{text}");
        }
        for (command, family, size) in [
            (0x21, 0x11, 11),
            (0x21, 0x21, 35),
            (0x21, 0x12, 12),
            (0x21, 0x22, 36),
            (0x22, 0x11, 12),
            (0x11, 0x11, 12),
            (0x01, 0x11, 12),
        ] {
            let bytes = v2(command, family, &vec![1; size]);
            assert_eq!(parse(&bytes), Err(Malformed), "{command:x} {family:x} {size}");
        }
        for bytes in [&b"  V1"[..], b"GET / HTTP/1.1", b"PROXIES", b"\r\n\r\nx", b"\0"] {
            assert_eq!(parse(bytes), Err(Malformed), "{bytes:?}");
        }
    }

    #[test]
    fn header_is_bounded() {
        let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(V1_LONGEST - 16));
        assert_eq!(parse(longest.as_bytes()).map(|header| header.unwrap().length), Ok(V1_LONGEST));
        assert_eq!(parse(longest.replace("x\r", "xx\r").as_bytes()), Err(Malformed));
        assert_eq!(parse(format!("PROXY {}", "x".repeat(V1_LONGEST)).as_bytes()), Err(Malformed));
        let with = |size: usize| v2(0x20, 0, &vec![0; size - V2_FIXED]);
        assert!(matches!(parse(&with(limits::PROXY_HEADER)), Ok(Some(_))));
        assert_eq!(parse(&with(limits::PROXY_HEADER + 1)), Err(Malformed));
        assert_eq!(parse(&with(limits::PROXY_HEADER + 1)[..V2_FIXED]), Err(Malformed), "at once");
    }

    #[test]
    fn mapped_address_is_an_ipv4_address() {
        let mapped: SocketAddr = "[::ffff:10.1.2.3]:99".parse().unwrap();
        for bytes in [v1_of(mapped), v2_of(mapped, b"")] {
            let header = parse(&bytes).unwrap().unwrap();
            assert_eq!(header.source, Some("10.1.2.3:99".parse().unwrap()));
        }
    }

    prop_compose! {
        fn any_source()(ip: IpAddr, port: u16) -> SocketAddr {
            SocketAddr::new(ip.to_canonical(), port)
        }
    }

    proptest! {
        #[test]
        fn header_is_read_back_and_what_follows_is_left(
            source in any_source(),
            more in prop::collection::vec(any::<u8>(), 0..100),
            behind in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            for header in [v1_of(source), v2_of(source, &more)] {
                for end in 0..header.len() {
                    prop_assert_eq!(parse(&header[..end]), Ok(None), "{}", end);
                }
                let want = Header { source: Some(source), length: header.len() };
                prop_assert_eq!(parse(&[&header[..], &behind].concat()), Ok(Some(want)));
            }
        }

        /// Once it is decided, more bytes change nothing.
        #[test]
        fn result_is_final(
            start in prop::sample::select(vec![&b""[..], V1, V2, b"PROXY TCP4 10.0.0.1 ", b"PROXY UNKNOWN"]),
            rest in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let bytes = [start, &rest].concat();
            let whole = parse(&bytes);
            if whole == Ok(None) {
                prop_assert!(bytes.len() < limits::PROXY_HEADER);
            }
            for end in 0..bytes.len() {
                let early = parse(&bytes[..end]);
                prop_assert!(early == Ok(None) || early == whole, "{} {:?} {:?}", end, early, whole);
            }
        }
    }
}
