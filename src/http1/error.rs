//! The errors that refuse a request without its route.
//!
//! Must not: know routes. Pure; any thread. Source: Go `net/http/server.go` `conn.serve`.

use super::response::reason;

/// Why a request is refused without asking its route: answered in Go's own words, then the
/// connection closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestError {
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

impl RequestError {
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
    fn body(self) -> String {
        match self {
            Self::UnsupportedTransferEncoding => "Unsupported transfer encoding".to_owned(),
            _ => self.line(),
        }
    }

    /// Appends the response: without a date or a length.
    pub fn write(self, out: &mut Vec<u8>) {
        for part in ["HTTP/1.1 ", &self.line(), FIELDS, &self.body()] {
            out.extend_from_slice(part.as_bytes());
        }
    }
}

const FIELDS: &str = "\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n";
