//! A response's bytes, in Go's order: the head first, its length patched in once the body stands.
//!
//! Must not: render anything twice, or touch what stood in the output before. Each response
//! belongs to one thread. Source: Go `net/http/server.go` `chunkWriter.writeHeader`.

use std::ops::Range;
use std::time::{Duration, UNIX_EPOCH};

use super::request::RequestHead;
use crate::handler::reserve;

/// One response being appended to a connection's output: begun once, by [`Response::start`], then
/// its body is appended.
#[derive(Debug)]
pub struct Response<'o> {
    output: &'o mut Vec<u8>,
    is_http11: bool,
    persistent: bool,
    /// The request was a HEAD, whose response has no body.
    head_only: bool,
    date: Date,
    /// 0 until the response is started.
    status: u16,
    framing: Framing,
    is_in_one_piece: bool,
    /// Units of work that it took beside writing it.
    cost: u32,
    /// Where the digits of the length stand, and where the body begins; in a chunk the same of that.
    length: Range<usize>,
    body_at: usize,
}

/// How a client knows where the body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// By its length, which is in the head.
    Length,
    /// By its last chunk.
    Chunked,
    /// By the end of the connection.
    UntilClose,
}

/// What stands before a chunk until its size is known.
const CHUNK_HEAD: &[u8] = b"000000\r\n";

/// Bytes from which on a body has its room made before it is written: others are in the buffer.
const LARGE: usize = 64 * 1024;

/// The field that ends a connection.
pub const CLOSE: &str = "Connection: close";

impl<'o> Response<'o> {
    /// The response to `request`, to stand at the end of `output`.
    #[must_use]
    #[inline]
    pub fn new(output: &'o mut Vec<u8>, request: &RequestHead<'_>, date: Date) -> Self {
        let &RequestHead { is_http11, persistent, method, .. } = request;
        let (head_only, length, framing) = (method == b"HEAD", 0..0, Framing::Length);
        Self {
            output,
            is_http11,
            persistent,
            head_only,
            date,
            status: 0,
            framing,
            is_in_one_piece: false,
            cost: 0,
            length,
            body_at: 0,
        }
    }

    /// The same for a caller that frames the body itself, once it is all there.
    pub(super) fn in_one_piece(self) -> Self {
        Self { is_in_one_piece: true, ..self }
    }

    /// Begins the response; its body is appended to what this returns. `fields` are `Name: value`
    /// lines in the order of their names, as Go writes those of a handler; `expected` is about how
    /// many bytes the body will have (a good guess saves moving it).
    #[inline]
    pub fn start(&mut self, status: u16, fields: &[&str], expected: usize) -> &mut Vec<u8> {
        self.start_detected(status, fields, None, expected)
    }

    /// As [`Response::start`], with a `content_type` line that the handler has not set: Go's server
    /// detects it from the body, and puts it after the length.
    #[inline]
    pub fn start_detected(
        &mut self,
        status: u16,
        fields: &[&str],
        content_type: Option<&str>,
        expected: usize,
    ) -> &mut Vec<u8> {
        self.start_line(status, fields);
        if expected >= LARGE {
            reserve(self.output, expected);
        }
        let mut buffer = itoa::Buffer::new();
        let expected = buffer.format(expected).as_bytes();
        self.line(&[b"Content-Length: ", expected]);
        let length_at = self.output.len() - expected.len() - b"\r\n".len();
        if let Some(field) = content_type {
            self.line(&[field.as_bytes()]);
        }
        self.end_head(fields);
        self.length = length_at..length_at + expected.len();
        self.output
    }

    /// Whether the response has no body, so that none needs to be made whose length is not told.
    #[must_use]
    pub fn is_head_only(&self) -> bool {
        self.head_only
    }

    /// Begins a response whose body is written in pieces, by a task: its length is not known.
    pub fn start_streamed(&mut self, status: u16, fields: &[&str]) {
        if self.is_in_one_piece {
            self.start(status, fields, 0);
            return;
        }
        self.framing = if self.is_http11 { Framing::Chunked } else { Framing::UntilClose };
        self.persistent &= self.is_http11;
        self.start_line(status, fields);
        if self.is_http11 {
            self.line(&[b"Transfer-Encoding: chunked"]);
        }
        self.end_head(fields);
    }

    /// Goes on with a response of this status that was begun in an earlier call, if it was.
    pub(super) fn resume(&mut self, status: u16, framing: Framing) {
        (self.status, self.framing) = (status, framing);
        if framing == Framing::Chunked {
            self.output.extend_from_slice(CHUNK_HEAD);
        }
        self.body_at = self.output.len();
    }

    /// The body of a response that was begun in an earlier call, to append to.
    pub fn rest(&mut self) -> &mut Vec<u8> {
        self.output
    }

    /// The end of what one call has appended.
    pub(super) fn end_chunk(&mut self) {
        if self.framing != Framing::Chunked {
            return;
        }
        let (at, size) = (self.body_at - CHUNK_HEAD.len(), self.output.len() - self.body_at);
        if size == 0 {
            return self.output.truncate(at);
        }
        let digits = format!("{size:06x}");
        self.output.splice(at..at + CHUNK_HEAD.len() - b"\r\n".len(), digits.bytes());
        self.output.extend_from_slice(b"\r\n");
    }

    /// It took so many units of [`Work`](crate::work::Work) beside writing it: what was looked at.
    pub fn costs(&mut self, units: usize) {
        self.cost = self.cost.saturating_add(u32::try_from(units).unwrap_or(u32::MAX));
    }

    pub(super) fn cost(&self) -> u32 {
        self.cost
    }

    /// 0 until it is started.
    pub(super) fn status(&self) -> u16 {
        self.status
    }

    pub(super) fn framing(&self) -> Framing {
        self.framing
    }

    #[inline]
    fn start_line(&mut self, status: u16, fields: &[&str]) {
        debug_assert!(self.status == 0, "a response starts once");
        self.status = status;
        let version: &[u8] = if self.is_http11 { b"HTTP/1.1 " } else { b"HTTP/1.0 " };
        let mut buffer = itoa::Buffer::new();
        let code = buffer.format(status).as_bytes();
        self.line(&[version, code, b" ", reason(status).as_bytes()]);
        for field in fields {
            self.line(&[field.as_bytes()]);
        }
        let date = self.date;
        self.line(&[b"Date: ", date.as_bytes()]);
    }

    #[inline]
    fn end_head(&mut self, fields: &[&str]) {
        match (self.is_http11, self.persistent) {
            (true, false) if !fields.contains(&CLOSE) => self.line(&[CLOSE.as_bytes()]),
            (false, true) => self.line(&[b"Connection: keep-alive"]),
            _ => {}
        }
        self.line(&[]);
        self.body_at = self.output.len();
    }

    fn line(&mut self, parts: &[&[u8]]) {
        for part in parts {
            self.output.extend_from_slice(part);
        }
        self.output.extend_from_slice(b"\r\n");
    }

    /// Completes the response: its status.
    ///
    /// # Panics
    /// When it was never started: every handler answers.
    #[must_use]
    #[inline]
    pub fn finish(self) -> u16 {
        assert_ne!(self.status, 0, "every handler answers every request");
        match self.framing {
            Framing::Length => {}
            Framing::Chunked if !self.head_only => {
                self.output.extend_from_slice(b"0\r\n\r\n");
                return self.status;
            }
            Framing::Chunked | Framing::UntilClose => return self.status,
        }
        let mut buffer = itoa::Buffer::new();
        let length = buffer.format(self.output.len() - self.body_at).as_bytes();
        if self.head_only {
            self.output.truncate(self.body_at);
        }
        if length.len() == self.length.len() {
            self.output[self.length].copy_from_slice(length);
        } else {
            drop(self.output.splice(self.length, length.iter().copied()));
        }
        self.status
    }
}

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
        421 => "Misdirected Request",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Unknown",
    }
}

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
    use crate::http1::request::{Progress, parse};

    /// A body of `body` in response to `method` in version 1.`minor` on a connection that goes on
    /// when it is `persistent`.
    fn check(
        (method, minor, persistent): (&str, u8, bool),
        expected: usize,
        body: &str,
        want: &str,
    ) {
        let connection = if persistent { "keep-alive" } else { "close" };
        let head =
            format!("{method} / HTTP/1.{minor}\r\nHost: x\r\nConnection: {connection}\r\n\r\n");
        let head = parse(head.as_bytes(), &mut Progress::default());
        let head = head.expect("a good head").expect("a whole one");
        let mut output = b"before".to_vec();
        let mut response = Response::new(&mut output, &head, Date::new(784_111_777));
        let fields = &["Allow: GET", "X: y"];
        let out = response.start_detected(404, fields, Some("Content-Type: z"), expected);
        out.extend_from_slice(body.as_bytes());
        assert_eq!(response.finish(), 404);
        assert_eq!(String::from_utf8_lossy(&output), format!("before{want}"));
    }

    #[test]
    fn length_is_exact_for_any_expected_length() {
        let get = ("GET", 1, true);
        let head = "HTTP/1.1 404 Not Found\r\nAllow: GET\r\nX: y\r\n\
                    Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: ";
        for expected in [0, 9, 10, 100_000] {
            let want = format!("{head}12\r\nContent-Type: z\r\n\r\nhello, world");
            check(get, expected, "hello, world", &want);
            check(get, expected, "", &format!("{head}0\r\nContent-Type: z\r\n\r\n"));
            let want = format!("{head}12\r\nContent-Type: z\r\n\r\n");
            check(("HEAD", 1, true), expected, "hello, world", &want);
        }
        let want = format!("{head}1\r\nContent-Type: z\r\nConnection: close\r\n\r\na");
        check(("GET", 1, false), 1, "a", &want);
        let head = head.replace("1.1", "1.0");
        let want = format!("{head}1\r\nContent-Type: z\r\nConnection: keep-alive\r\n\r\na");
        check(("GET", 0, true), 1, "a", &want);
        let want = format!("{head}1\r\nContent-Type: z\r\n\r\na");
        check(("GET", 0, false), 1, "a", &want);
    }

    #[test]
    fn a_date_has_one_width() {
        assert_eq!(Date::new(0).as_bytes(), b"Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(Date::new(u64::MAX).as_bytes(), b"Fri, 31 Dec 9999 23:59:59 GMT");
    }
}
