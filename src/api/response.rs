//! What responses are made of: fields, errors, redirects, and pieces of JSON.
//!
//! Must not: know routes. Pure; any thread. Source: nsq `internal/http_api/api_response.go`.

use crate::http1::{MalformedQuery, RequestHead, Response};
use crate::registry::LimitReached;

pub(super) const JSON: &str = "Content-Type: application/json; charset=utf-8";
pub(super) const HTML: &str = "Content-Type: text/html; charset=utf-8";
pub(super) const TEXT: &str = "Content-Type: text/plain; charset=utf-8";
pub(super) const NSQ: &str = "X-Nsq-Content-Type: nsq; version=1.0";

/// A response that is an error: its status, and the code in its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ApiError(u16, &'static str);

impl ApiError {
    pub(super) const INVALID_REQUEST: Self = Self(400, "INVALID_REQUEST");
    pub(super) const MISSING_ARG_TOPIC: Self = Self(400, "MISSING_ARG_TOPIC");
    pub(super) const MISSING_ARG_CHANNEL: Self = Self(400, "MISSING_ARG_CHANNEL");
    pub(super) const MISSING_ARG_NODE: Self = Self(400, "MISSING_ARG_NODE");
    pub(super) const INVALID_ARG_TOPIC: Self = Self(400, "INVALID_ARG_TOPIC");
    pub(super) const INVALID_ARG_CHANNEL: Self = Self(400, "INVALID_ARG_CHANNEL");
    // Divergence: nsqlookupd lets everyone write.
    pub(super) const FORBIDDEN: Self = Self(403, "FORBIDDEN");
    pub(super) const NOT_FOUND: Self = Self(404, "NOT_FOUND");
    pub(super) const TOPIC_NOT_FOUND: Self = Self(404, "TOPIC_NOT_FOUND");
    pub(super) const CHANNEL_NOT_FOUND: Self = Self(404, "CHANNEL_NOT_FOUND");
    pub(super) const METHOD_NOT_ALLOWED: Self = Self(405, "METHOD_NOT_ALLOWED");
    // Divergence: nsqlookupd's registry is never full.
    pub(super) const REGISTRY_FULL: Self = Self(503, "REGISTRY_FULL");
    // Divergence: nsqlookupd renders for clients that do not read until its memory is gone.
    pub(super) const OVERLOADED: Self = Self(503, "OVERLOADED");
    // Divergence: nsqlookupd serves whatever host it is asked for.
    pub(super) const MISDIRECTED: Self = Self(421, "MISDIRECTED_REQUEST");
    // Divergence: nsqlookupd walks its registry for as many clients as ask.
    pub(super) const BUSY: Self = Self(503, "BUSY");
    // Divergence: there are no Go profiles of a daemon that is not written in Go.
    pub(super) const NO_PROFILES: Self =
        Self(404, "NO_GO_PROFILES: see \\\"profile under perf\\\" in the README");

    pub(super) fn write(self, response: &mut Response<'_>) {
        match self {
            Self::BUSY => self.write_with(&[JSON, NSQ, "Retry-After: 1"], response),
            _ => self.write_with(&[JSON, NSQ], response),
        }
    }

    pub(super) fn write_with(self, fields: &[&str], response: &mut Response<'_>) {
        let Self(status, code) = self;
        let expected = "{\"message\":\"\"}".len() + code.len();
        let out = response.start(status, fields, expected);
        for part in ["{\"message\":\"", code, "\"}"] {
            out.extend_from_slice(part.as_bytes());
        }
    }
}

impl From<MalformedQuery> for ApiError {
    fn from(MalformedQuery: MalformedQuery) -> Self {
        Self::INVALID_REQUEST
    }
}

impl From<LimitReached> for ApiError {
    fn from(_: LimitReached) -> Self {
        Self::REGISTRY_FULL
    }
}

/// The response to a connection over the cap, which is then closed.
pub const TOO_MANY_CONNECTIONS: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    Content-Type: application/json; charset=utf-8\r\nContent-Length: 34\r\n\
    Retry-After: 1\r\nConnection: close\r\n\r\n{\"message\":\"TOO_MANY_CONNECTIONS\"}";

/// The response to a connection of an address with too many, which is then closed.
pub const TOO_MANY_CONNECTIONS_PER_IP: &[u8] = b"HTTP/1.1 403 Forbidden\r\n\
    Content-Type: application/json; charset=utf-8\r\nContent-Length: 41\r\n\
    Connection: close\r\n\r\n{\"message\":\"TOO_MANY_CONNECTIONS_PER_IP\"}";

/// Begins a 200 whose body is JSON of about `expected` bytes.
pub(super) fn json<'r>(response: &'r mut Response<'_>, expected: usize) -> &'r mut Vec<u8> {
    let fields = &[JSON, NSQ];
    response.start(200, fields, expected)
}

/// Sends the client from `target` to `path` with its own query. Source: Go `net/http.Redirect`.
pub(super) fn redirect(head: &RequestHead<'_>, path: &str, response: &mut Response<'_>) {
    let mut origin = head.target.origin.to_vec();
    let scheme = origin.iter().position(|&byte| byte == b':').unwrap_or(0);
    origin[..scheme].make_ascii_lowercase();
    let url = [&origin, path.as_bytes(), head.target.suffix].concat();
    let mut location = "Location: ".to_owned();
    for &byte in &url {
        match byte {
            0..=0x7f => location.push(char::from(byte)),
            _ => location.push_str(&format!("%{byte:x}")),
        }
    }
    if head.method != b"GET" && head.method != b"HEAD" {
        response.start(307, &[&location], 0);
        return;
    }
    let out = response.start(301, &[HTML, &location], url.len() + 35);
    out.extend_from_slice(b"<a href=\"");
    url.iter().for_each(|&byte| write_html(byte, out));
    out.extend_from_slice(b"\">Moved Permanently</a>.\n\n");
}

fn write_html(byte: u8, out: &mut Vec<u8>) {
    match byte {
        b'&' => out.extend_from_slice(b"&amp;"),
        b'<' => out.extend_from_slice(b"&lt;"),
        b'>' => out.extend_from_slice(b"&gt;"),
        b'"' => out.extend_from_slice(b"&#34;"),
        b'\'' => out.extend_from_slice(b"&#39;"),
        byte => out.push(byte),
    }
}

/// Writes the commas between the elements of an array that is written one element at a time.
#[derive(Debug, Default)]
pub(super) struct JsonArray {
    has_elements: bool,
}

impl JsonArray {
    /// An element follows.
    pub(super) fn next(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.has_elements, true) {
            out.push(b',');
        }
    }

    /// Writes a valid name, as an element or a key: none of its characters needs an escape.
    pub(super) fn name(&mut self, name: &str, out: &mut Vec<u8>) {
        self.next(out);
        out.push(b'"');
        out.extend_from_slice(name.as_bytes());
        out.push(b'"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::reason;

    #[test]
    fn constant_responses_have_the_right_length() {
        for (answer, status) in [(TOO_MANY_CONNECTIONS, 503), (TOO_MANY_CONNECTIONS_PER_IP, 403)] {
            let answer = std::str::from_utf8(answer).unwrap();
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with(&format!("HTTP/1.1 {status} {}\r\n", reason(status))));
            assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{answer}");
            assert!(head.ends_with("\r\nConnection: close"), "{answer}");
        }
    }
}
