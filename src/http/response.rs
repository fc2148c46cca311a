//! A response's bytes, in Go's order: the head first, its length patched in once the body stands.
//!
//! Must not: render anything twice, or touch what stood in the output before. Each response
//! belongs to one thread. Source: Go `net/http/server.go` `chunkWriter.writeHeader`, `conn.serve`.

use std::time::{Duration, UNIX_EPOCH};

/// The head of an answer, as a route gives it.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The status code.
    pub status: u16,
    /// `Name: value` lines, in the order of their names, as Go writes those of a handler.
    pub fields: &'a [&'a str],
    /// A `Name: value` line that Go's server works out from the body, and puts after its length.
    pub sniffed: Option<&'a str>,
    /// About how many bytes the body will have; a good guess saves moving it.
    pub expected: usize,
}

/// An engine's side of one answer.
pub trait Respond {
    /// Begins the answer, once for each request; the body is appended to what this returns.
    fn start(&mut self, head: Head<'_>) -> &mut Vec<u8>;
}

/// A request that is refused before it has a route: Go's own words, then the connection closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 400: malformed, perhaps with a reason.
    BadRequest(Option<&'static str>),
    /// 408: not complete within [`crate::limits::HTTP_REQUEST`].
    Timeout,
    /// 413: the body is longer than [`crate::limits::HTTP_BODY`].
    BodyTooLarge,
    /// 414: the target is longer than [`crate::limits::HTTP_URI`].
    UriTooLong,
    /// 431: the head is longer than [`crate::limits::HTTP_HEAD`] or has more than
    /// [`crate::limits::HTTP_HEADERS`] fields.
    HeadTooLarge,
    /// 501: an encoding of the body other than `chunked`.
    UnsupportedTransferEncoding,
    /// 505: not HTTP/1.
    VersionNotSupported,
}

impl Refusal {
    /// 400 without a reason.
    pub const BAD_REQUEST: Self = Self::BadRequest(None);

    /// The status code.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::BadRequest(_) => 400,
            Self::Timeout => 408,
            Self::BodyTooLarge => 413,
            Self::UriTooLong => 414,
            Self::HeadTooLarge => 431,
            Self::UnsupportedTransferEncoding => 501,
            Self::VersionNotSupported => 505,
        }
    }

    /// The status line without the version.
    fn line(self) -> String {
        let line = format!("{} {}", self.status(), reason(self.status()));
        match self {
            Self::BadRequest(Some(detail)) => format!("{line}: {detail}"),
            Self::VersionNotSupported => format!("{line}: unsupported protocol version"),
            _ => line,
        }
    }

    /// The body, plain text: the status line's, nearly always.
    #[must_use]
    pub fn body(self) -> String {
        match self {
            Self::UnsupportedTransferEncoding => "Unsupported transfer encoding".to_owned(),
            _ => self.line(),
        }
    }

    /// Appends the response: without a date or a length.
    pub fn write(self, out: &mut Vec<u8>) {
        for part in ["HTTP/1.1 ", &self.line(), REFUSAL_FIELDS, &self.body()] {
            out.extend_from_slice(part.as_bytes());
        }
    }
}

const REFUSAL_FIELDS: &str =
    "\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n";

/// Divergence: nsqlookupd renders for clients that do not read until its memory is gone.
pub(super) fn overloaded(response: &mut impl Respond) {
    let fields = &["Content-Type: application/json; charset=utf-8", "Retry-After: 1"];
    let body = br#"{"message":"OVERLOADED"}"#;
    let head = Head { status: 503, fields, sniffed: None, expected: body.len() };
    response.start(head).extend_from_slice(body);
}

/// What a connection over the cap is told before it is closed.
pub const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    Content-Type: application/json; charset=utf-8\r\nContent-Length: 34\r\n\
    Retry-After: 1\r\nConnection: close\r\n\r\n{\"message\":\"TOO_MANY_CONNECTIONS\"}";

/// What a connection of an address with too many is told before it is closed.
pub const CROWDED: &[u8] = b"HTTP/1.1 403 Forbidden\r\n\
    Content-Type: application/json; charset=utf-8\r\nContent-Length: 41\r\n\
    Connection: close\r\n\r\n{\"message\":\"TOO_MANY_CONNECTIONS_PER_IP\"}";

/// The words behind a status code.
#[must_use]
pub fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        200 => "OK",
        301 => "Moved Permanently",
        307 => "Temporary Redirect",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Request Entity Too Large",
        414 => "Request URI Too Long",
        417 => "Expectation Failed",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Unknown",
    }
}

/// What about an answer is the connection's, not the route's.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// The client speaks HTTP/1.1 or later.
    pub is_http11: bool,
    /// The connection is kept.
    pub persistent: bool,
    /// The client asked with HEAD and gets no body.
    pub head_only: bool,
    /// The time of the answer.
    pub date: Date,
}

/// One answer being appended to a connection's output.
#[derive(Debug)]
pub struct Response<'o> {
    output: &'o mut Vec<u8>,
    frame: Frame,
    started: Option<Started>,
}

#[derive(Clone, Copy, Debug)]
struct Started {
    status: u16,
    /// Where the digits of the length stand, and how many were written.
    length_at: usize,
    digits: usize,
    body_at: usize,
}

impl<'o> Response<'o> {
    /// An answer that will stand at the end of `output`.
    #[must_use]
    pub fn new(output: &'o mut Vec<u8>, frame: Frame) -> Self {
        Self { output, frame, started: None }
    }

    /// Completes the answer: its status.
    ///
    /// # Panics
    /// When it was never started: every route answers.
    #[must_use]
    pub fn finish(self) -> u16 {
        let Started { status, length_at, digits, body_at } =
            self.started.expect("every route answers every request");
        let mut buffer = itoa::Buffer::new();
        let length = buffer.format(self.output.len() - body_at).as_bytes();
        if self.frame.head_only {
            self.output.truncate(body_at);
        }
        if length.len() == digits {
            self.output[length_at..length_at + digits].copy_from_slice(length);
        } else {
            drop(self.output.splice(length_at..length_at + digits, length.iter().copied()));
        }
        status
    }

    fn line(&mut self, parts: &[&[u8]]) {
        for part in parts {
            self.output.extend_from_slice(part);
        }
        self.output.extend_from_slice(b"\r\n");
    }
}

impl Respond for Response<'_> {
    fn start(&mut self, head: Head<'_>) -> &mut Vec<u8> {
        debug_assert!(self.started.is_none(), "an answer starts once");
        let mut buffer = itoa::Buffer::new();
        let version: &[u8] = if self.frame.is_http11 { b"HTTP/1.1 " } else { b"HTTP/1.0 " };
        let status = buffer.format(head.status).as_bytes();
        self.line(&[version, status, b" ", reason(head.status).as_bytes()]);
        for field in head.fields {
            self.line(&[field.as_bytes()]);
        }
        let date = self.frame.date;
        self.line(&[b"Date: ", date.as_bytes()]);
        let mut buffer = itoa::Buffer::new();
        let expected = buffer.format(head.expected).as_bytes();
        self.line(&[b"Content-Length: ", expected]);
        let length_at = self.output.len() - expected.len() - b"\r\n".len();
        if let Some(field) = head.sniffed {
            self.line(&[field.as_bytes()]);
        }
        let closes = head.fields.contains(&CLOSE);
        match (self.frame.is_http11, self.frame.persistent) {
            (true, false) if !closes => self.line(&[CLOSE.as_bytes()]),
            (false, true) => self.line(&[b"Connection: keep-alive"]),
            _ => {}
        }
        self.line(&[]);
        let (digits, body_at) = (expected.len(), self.output.len());
        self.started = Some(Started { status: head.status, length_at, digits, body_at });
        self.output
    }
}

/// The field that ends a connection.
pub(super) const CLOSE: &str = "Connection: close";

/// The value of a `Date` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date([u8; 29]);

impl Date {
    /// The date of a moment, in whole seconds since 1970-01-01 UTC. Costs about as much as a
    /// small answer: make one a second.
    #[must_use]
    pub fn new(unix_seconds: u64) -> Self {
        // What httpdate can tell ends with the year 9999.
        let seconds = unix_seconds.min(253_402_300_799);
        let text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds));
        Self(text.as_bytes().try_into().expect("an HTTP date has 29 characters"))
    }

    /// `Sun, 06 Nov 1994 08:49:37 GMT`
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 29] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(frame: Frame, expected: usize, body: &str, want: &str) {
        let mut output = b"before".to_vec();
        let mut response = Response::new(&mut output, frame);
        let fields = &["Allow: GET", "X: y"];
        let head = Head { status: 404, fields, sniffed: Some("Content-Type: z"), expected };
        response.start(head).extend_from_slice(body.as_bytes());
        assert_eq!(response.finish(), 404);
        assert_eq!(String::from_utf8_lossy(&output), format!("before{want}"));
    }

    #[test]
    fn the_length_is_exact_whatever_was_expected() {
        let date = Date::new(784_111_777);
        let frame = Frame { is_http11: true, persistent: true, head_only: false, date };
        let head = "HTTP/1.1 404 Not Found\r\nAllow: GET\r\nX: y\r\n\
                    Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: ";
        for expected in [0, 9, 10, 100_000] {
            let want = format!("{head}12\r\nContent-Type: z\r\n\r\nhello, world");
            check(frame, expected, "hello, world", &want);
            check(frame, expected, "", &format!("{head}0\r\nContent-Type: z\r\n\r\n"));
            let want = format!("{head}12\r\nContent-Type: z\r\n\r\n");
            check(Frame { head_only: true, ..frame }, expected, "hello, world", &want);
        }
        let want = format!("{head}1\r\nContent-Type: z\r\nConnection: close\r\n\r\na");
        check(Frame { persistent: false, ..frame }, 1, "a", &want);
        let old = Frame { is_http11: false, ..frame };
        let head = head.replace("1.1", "1.0");
        let want = format!("{head}1\r\nContent-Type: z\r\nConnection: keep-alive\r\n\r\na");
        check(old, 1, "a", &want);
        let want = format!("{head}1\r\nContent-Type: z\r\n\r\na");
        check(Frame { persistent: false, ..old }, 1, "a", &want);
    }

    #[test]
    fn what_is_written_by_hand_has_its_length() {
        for (answer, status) in [(BUSY, 503), (CROWDED, 403)] {
            let answer = std::str::from_utf8(answer).unwrap();
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with(&format!("HTTP/1.1 {status} {}\r\n", reason(status))));
            assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{answer}");
            assert!(head.ends_with("\r\nConnection: close"), "{answer}");
        }
    }

    #[test]
    fn a_date_has_one_width() {
        assert_eq!(Date::new(0).as_bytes(), b"Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(Date::new(u64::MAX).as_bytes(), b"Fri, 31 Dec 9999 23:59:59 GMT");
    }
}
