//! Hints for the log: what a peer speaks that is on the wrong port.
//!
//! Must not: decide anything; what is refused is refused without it. Pure; any thread.

use super::MAGIC;

/// How requests begin.
const METHODS: [&[u8]; 9] =
    [b"GET ", b"HEAD", b"POST", b"PUT ", b"DELE", b"OPTI", b"PATC", b"CONN", b"TRAC"];

/// What `magic`, the first four bytes of a peer of the nsqds' port, are the beginning of.
#[must_use]
pub fn on_tcp(magic: &[u8]) -> Option<&'static str> {
    let is_http = METHODS.contains(&magic);
    is_http.then_some("this is HTTP, and HTTP clients belong on --http-address").or(on_any(magic))
}

/// What `sent` is, which came to the HTTP port and is no request.
#[must_use]
pub fn on_http(sent: &[u8]) -> Option<&'static str> {
    let is_nsqd = sent.starts_with(MAGIC);
    is_nsqd.then_some("this is NSQ's protocol, and nsqds belong on --tcp-address").or(on_any(sent))
}

fn on_any(sent: &[u8]) -> Option<&'static str> {
    if sent.starts_with(b"\x16\x03") {
        Some("this is TLS, and there is none on this port")
    } else if sent.starts_with(b"PROX") || sent.starts_with(b"\r\n\r\n") {
        Some("this is a PROXY header, and --proxy-protocol-from does not name its sender")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spoken_on_the_wrong_port_is_named() {
        for (magic, want) in [
            (&b"GET "[..], Some("this is HTTP")),
            (b"POST", Some("this is HTTP")),
            (b"\x16\x03\x01\x02", Some("this is TLS")),
            (b"PROX", Some("this is a PROXY header")),
            (b"\r\n\r\n", Some("this is a PROXY header")),
            (b"  V1", None),
            (b"  V2", None),
            (b"get ", None),
        ] {
            let hint = on_tcp(magic);
            assert_eq!(hint.is_some(), want.is_some(), "{magic:?}");
            assert!(hint.unwrap_or_default().starts_with(want.unwrap_or_default()), "{magic:?}");
        }
        for (sent, want) in [
            (&b"  V1IDENTIFY\n"[..], Some("this is NSQ's protocol")),
            (b"\x16\x03\x01\n", Some("this is TLS")),
            (b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n", Some("this is a PROXY header")),
            (b"\r\n\r\n\0\r\nQUIT\n", Some("this is a PROXY header")),
            (b"GET /ping\r\n", None),
            (b"", None),
        ] {
            let hint = on_http(sent);
            assert_eq!(hint.is_some(), want.is_some(), "{sent:?}");
            assert!(hint.unwrap_or_default().starts_with(want.unwrap_or_default()), "{sent:?}");
        }
    }
}
