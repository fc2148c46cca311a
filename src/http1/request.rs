//! A request, and its head borrowed from the input: judged as Go's server judges it, once and
//! whole.
//!
//! Must not: allocate in the common case, or know routes. Pure; any thread. Source: Go
//! `net/http/request.go` `readRequest`, `server.go` `conn.readRequest`, `transfer.go`
//! `readTransfer`.

use std::net::SocketAddr;

use super::body::Body;
use super::error::RequestError;
use super::target::Target;
use crate::limits;

/// A request as the application gets it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a, R> {
    /// Who sent it.
    pub peer: SocketAddr,
    /// Its head.
    pub head: &'a RequestHead<'a>,
    /// Where its method and path lead.
    pub route: R,
    /// Its body did not come to an end, as far as it was waited for.
    pub body_is_broken: bool,
}

/// A complete head.
#[derive(Clone, Debug)]
pub struct RequestHead<'a> {
    /// The method, a token.
    pub method: &'a [u8],
    /// What is asked for.
    pub target: Target<'a>,
    /// HTTP/1.1 or later; otherwise HTTP/1.0.
    pub is_http11: bool,
    /// The connection stays open for another request.
    pub persistent: bool,
    /// The body that follows.
    pub body: Body,
    /// What the client expects before it sends the body.
    pub expect: Expect,
    /// The value of the `Authorization` field; empty when there are several, or one that is longer
    /// than [`limits::HTTP_AUTHORIZATION`].
    pub authorization: Option<&'a [u8]>,
    /// The value of the first `Accept` field.
    pub accept: Option<&'a [u8]>,
    /// Which site was asked, and whose page has asked.
    pub site: Site<'a>,
    /// Bytes of the head, with the empty line that ends it.
    pub length: usize,
}

/// What a head says about sites.
#[derive(Clone, Copy, Debug, Default)]
pub struct Site<'a> {
    /// The value of `Host`, or the host of an absolute target, which outweighs it (RFC 9112 3.2.2).
    pub host: &'a [u8],
    /// The value of `Origin`; empty when there are several.
    pub origin: Option<&'a [u8]>,
    /// The value of `Sec-Fetch-Site`; empty when there are several.
    pub fetch_site: Option<&'a [u8]>,
}

/// The `Expect` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Nothing.
    Nothing,
    /// `100 Continue` before the body.
    Continue,
    /// Something that nobody knows: 417.
    Unknown,
}

/// How far an incomplete head was looked at, so that one that drips in is looked at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Bytes of the request line with its line end; 0 before that has come.
    line: u16,
    /// Bytes searched for the empty line.
    searched: u16,
}

const _: () = assert!(limits::HTTP_HEAD <= u16::MAX as usize);

/// Takes a head off `input`, `None` when it is not complete. `progress` is that of the same head's
/// earlier calls, with a shorter `input` each.
///
/// # Errors
/// What Go refuses, with its words; and heads past [`limits::HTTP_HEAD`], [`limits::HTTP_HEADERS`]
/// and [`limits::HTTP_URI`]. The connection closes.
#[inline]
pub fn parse<'a>(
    input: &'a [u8],
    progress: &mut Progress,
) -> Result<Option<RequestHead<'a>>, RequestError> {
    let window = &input[..input.len().min(limits::HTTP_HEAD)];
    let searched = usize::from(progress.searched);
    let mut line = None;
    for newline in memchr::memchr_iter(b'\n', &window[searched..]) {
        let end = searched + newline + 1;
        if progress.line == 0 {
            // Judged as soon as it has come: a client that sends no HTTP gets its 400 at once.
            line = Some(RequestLine::parse(&window[..end])?);
            progress.line = short(end);
        } else if window[..end].ends_with(b"\n\n") || window[..end].ends_with(b"\n\r\n") {
            let start = usize::from(progress.line);
            let line = line.map_or_else(|| RequestLine::parse(&window[..start]), Ok)?;
            return fields(&window[start..end])?.judge(line, end).map(Some);
        }
    }
    progress.searched = short(window.len());
    if progress.line == 0 && target_so_far(window).len() > limits::HTTP_URI {
        return Err(RequestError::UriTooLong);
    }
    if window.len() == limits::HTTP_HEAD { Err(RequestError::HeadTooLarge) } else { Ok(None) }
}

/// A position within a head.
fn short(position: usize) -> u16 {
    u16::try_from(position).expect("a head is bounded by limits::HTTP_HEAD")
}

/// The target of a request line that may not be complete.
fn target_so_far(line: &[u8]) -> &[u8] {
    line.splitn(3, |&byte| byte == b' ').nth(1).unwrap_or_default()
}

/// The first line of a head.
#[derive(Clone)]
pub(crate) struct RequestLine<'a> {
    pub(crate) method: &'a [u8],
    pub(crate) target: Target<'a>,
    /// Of the version: 1 of `HTTP/1.0`, and 0.
    pub(crate) major: u8,
    pub(crate) minor: u8,
}

impl<'a> RequestLine<'a> {
    fn parse(line: &'a [u8]) -> Result<Self, RequestError> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let mut words = line.splitn(3, |&byte| byte == b' ');
        let (method, raw) = (words.next(), words.next());
        if raw.is_some_and(|raw| raw.len() > limits::HTTP_URI) {
            return Err(RequestError::UriTooLong);
        }
        let (Some(method), Some(raw), Some(version)) = (method, raw, words.next()) else {
            return Err(RequestError::BAD_REQUEST);
        };
        let [b'H', b'T', b'T', b'P', b'/', major @ b'0'..=b'9', b'.', minor @ b'0'..=b'9'] =
            version
        else {
            return Err(RequestError::BAD_REQUEST);
        };
        if method.is_empty() || !method.iter().all(|&byte| is_token(byte)) {
            return Err(RequestError::BAD_REQUEST);
        }
        let target = Target::parse(method, raw).ok_or(RequestError::BAD_REQUEST)?;
        Ok(Self { method, target, major: major - b'0', minor: minor - b'0' })
    }

    /// `PRI * HTTP/2.0`, with which an HTTP/2 client finds out that this is none.
    fn is_http2_preface(&self) -> bool {
        (self.major, self.minor, self.method, self.target.raw) == (2, 0, b"PRI", b"*")
    }
}

/// Notes a value of which there should be one: two could be taken for either.
#[cold]
fn only<'a>(field: &mut Option<&'a [u8]>, value: &'a [u8]) {
    *field = Some(if field.is_none() { value } else { b"" });
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// What a head's fields say about the connection. All others are ignored.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fields<'a> {
    hosts: usize,
    site: Site<'a>,
    lengths: usize,
    length: &'a [u8],
    lengths_differ: bool,
    encodings: usize,
    encoding: &'a [u8],
    close: bool,
    /// Whether the first `Connection` field has `keep-alive`; Go looks at no other.
    keep_alive: Option<bool>,
    expect: Option<&'a [u8]>,
    trailer_is_bad: bool,
    authorization: Option<&'a [u8]>,
    accept: Option<&'a [u8]>,
}

/// Most requests have fewer fields than this; those with more are parsed again.
const USUAL_FIELDS: usize = 24;

/// Reads the lines behind the request line.
#[inline]
fn fields(lines: &[u8]) -> Result<Fields<'_>, RequestError> {
    match parse_fields::<USUAL_FIELDS>(lines) {
        Err(httparse::Error::TooManyHeaders) => {}
        result => return result.map_err(|_| fault_in_fields(lines)),
    }
    parse_fields::<{ limits::HTTP_HEADERS }>(lines).map_err(|error| match error {
        httparse::Error::TooManyHeaders => RequestError::HeadTooLarge,
        _ => fault_in_fields(lines),
    })
}

fn parse_fields<const N: usize>(lines: &[u8]) -> Result<Fields<'_>, httparse::Error> {
    let mut headers = [httparse::EMPTY_HEADER; N];
    match httparse::parse_headers(lines, &mut headers)? {
        httparse::Status::Complete((length, headers)) if length == lines.len() => {
            let mut fields = Fields::default();
            for header in headers {
                fields.add(header.name.as_bytes(), header.value);
            }
            Ok(fields)
        }
        // The caller found the empty line where it must be.
        _ => Err(httparse::Error::NewLine),
    }
}

/// Which 400 a malformed field deserves. Go has words of its own for a space in a name.
/// Divergence: a line that starts with white space (obs-fold) is refused, Go joins it to the last.
fn fault_in_fields(lines: &[u8]) -> RequestError {
    let unspaced = |line: &[u8]| {
        let name = line.iter().position(|&byte| byte == b':').unwrap_or(0);
        let mut unspaced = line[..name].to_vec();
        unspaced.retain(|&byte| byte != b' ');
        unspaced.extend_from_slice(&line[name..]);
        unspaced
    };
    let is_good = |line: &[u8]| {
        let mut header = [httparse::EMPTY_HEADER; 1];
        let line = [line, b"\n\n"].concat();
        httparse::parse_headers(&line, &mut header).is_ok_and(|status| status.is_complete())
    };
    let mut lines = lines.split(|&byte| byte == b'\n');
    if lines.all(|line| !line.starts_with(b" ") && is_good(&unspaced(line))) {
        RequestError::BadRequest(Some("invalid header name"))
    } else {
        RequestError::BAD_REQUEST
    }
}

impl<'a> Fields<'a> {
    /// Looks at one field, in the order in which they came.
    pub(crate) fn add(&mut self, name: &[u8], value: &'a [u8]) {
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                self.hosts += 1;
                self.site.host = value;
            }
            6 if name.eq_ignore_ascii_case(b"expect") => {
                self.expect.get_or_insert(value);
            }
            6 if name.eq_ignore_ascii_case(b"accept") => {
                self.accept.get_or_insert(value);
            }
            6 if name.eq_ignore_ascii_case(b"origin") => only(&mut self.site.origin, value),
            7 if name.eq_ignore_ascii_case(b"trailer") => {
                let bad = ["transfer-encoding", "trailer", "content-length"];
                self.trailer_is_bad |= bad.iter().any(|bad| has_token(value, bad));
            }
            10 if name.eq_ignore_ascii_case(b"connection") => {
                self.close |= has_token(value, "close");
                if self.keep_alive.is_none() {
                    self.close |= has_word(value, "close");
                    self.keep_alive = Some(has_word(value, "keep-alive"));
                }
            }
            13 if name.eq_ignore_ascii_case(b"authorization") => self.authorize(value),
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                self.lengths_differ |= self.lengths > 0 && self.length != value;
                self.lengths += 1;
                self.length = value;
            }
            14 if name.eq_ignore_ascii_case(b"sec-fetch-site") => {
                only(&mut self.site.fetch_site, value);
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                self.encodings += 1;
                self.encoding = value;
            }
            _ => {}
        }
    }

    /// Two could be taken for either: they count as a wrong one. Cold, since consumers send none.
    #[cold]
    fn authorize(&mut self, value: &'a [u8]) {
        let fits = value.len() <= limits::HTTP_AUTHORIZATION;
        let first = fits && self.authorization.is_none();
        self.authorization = Some(if first { value } else { b"" });
    }

    /// The head of `length` bytes that these fields and `line` make, in Go's order of checks.
    #[inline]
    pub(crate) fn judge(
        self,
        line: RequestLine<'a>,
        length: usize,
    ) -> Result<RequestHead<'a>, RequestError> {
        if self.hosts > 1 {
            return Err(RequestError::BAD_REQUEST);
        }
        let is_preface = line.is_http2_preface();
        let is_http11 = line.major > 1 || (line.major == 1 && line.minor >= 1);
        let body = self.body_length(is_http11)?;
        if line.major != 1 && !is_preface {
            return Err(RequestError::VersionNotSupported);
        }
        // A preface has no fields: with one, however short, the head is longer.
        let is_bare = is_preface && length <= b"PRI * HTTP/2.0\r\n\r\n".len();
        let needs_host = is_http11 && line.method != b"CONNECT" && !is_bare;
        if needs_host && self.hosts == 0 {
            return Err(RequestError::BadRequest(Some("missing required Host header")));
        }
        if !self.site.host.iter().all(|&byte| is_host_byte(byte)) {
            return Err(RequestError::BadRequest(Some("malformed Host header")));
        }
        let is_ambiguous = self.encodings > 0 && self.lengths > 0;
        let persistent = match is_http11 {
            // Divergence: Go goes on behind a request with a length and an encoding. Another server
            // may see its end elsewhere, so that it is the last (RFC 9112 6.1).
            true => !self.close && !is_bare && !is_ambiguous,
            // Divergence: Go keeps an HTTP/1.0 connection whose request names an encoding that
            // HTTP/1.0 does not know, and then takes the body for the next request.
            false => self.keep_alive == Some(true) && self.encodings == 0,
        };
        let expect = self.expect(is_http11, body);
        let body = Body::new(body).map_err(|_| RequestError::BodyTooLarge)?;
        let host = host_of(line.target.origin).unwrap_or(self.site.host);
        Ok(RequestHead {
            method: line.method,
            target: line.target,
            is_http11,
            persistent,
            body,
            expect,
            authorization: self.authorization,
            accept: self.accept,
            site: Site { host, ..self.site },
            length,
        })
    }

    /// The body's length, `None` when it is chunked. An encoding outweighs a length, which must be
    /// valid all the same.
    #[inline]
    fn body_length(&self, is_http11: bool) -> Result<Option<u64>, RequestError> {
        let is_encoded = is_http11 && self.encodings > 0;
        if is_encoded && (self.encodings > 1 || !self.encoding.eq_ignore_ascii_case(b"chunked")) {
            return Err(RequestError::UnsupportedTransferEncoding);
        }
        let length = match self.lengths {
            0 => 0,
            _ if self.lengths_differ => return Err(RequestError::BAD_REQUEST),
            _ => content_length(self.length).ok_or(RequestError::BAD_REQUEST)?,
        };
        match is_encoded {
            true if self.trailer_is_bad => Err(RequestError::BAD_REQUEST),
            true => Ok(None),
            false => Ok(Some(length)),
        }
    }

    #[inline]
    fn expect(&self, is_http11: bool, body: Option<u64>) -> Expect {
        match self.expect {
            None | Some(b"") => Expect::Nothing,
            Some(value) if !has_word(value, "100-continue") => Expect::Unknown,
            Some(_) if is_http11 && body != Some(0) => Expect::Continue,
            Some(_) => Expect::Nothing,
        }
    }
}

/// The host, with its port, of the `http://host` that an absolute target begins with.
#[inline]
fn host_of(origin: &[u8]) -> Option<&[u8]> {
    if origin.is_empty() {
        return None;
    }
    let start = memchr::memmem::find(origin, b"://")?;
    let authority = &origin[start + 3..];
    let user = memchr::memrchr(b'@', authority).map_or(0, |at| at + 1);
    Some(&authority[user..])
}

/// The value of a `Content-Length`: digits alone, below 2^63.
fn content_length(value: &[u8]) -> Option<u64> {
    if !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let length: i64 = std::str::from_utf8(value).ok()?.parse().ok()?;
    u64::try_from(length).ok()
}

/// Whether the comma-separated list `value` has `token`, in any case.
fn has_token(value: &[u8], token: &str) -> bool {
    let mut elements = value.split(|&byte| byte == b',');
    elements.any(|element| element.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// Whether `token` is a word of `value`, in any case: Go's older rule, which it keeps for `Expect`
/// and the first `Connection`.
fn has_word(value: &[u8], token: &str) -> bool {
    let mut words = value.split(|byte| b" ,\t".contains(byte));
    words.any(|word| word.eq_ignore_ascii_case(token.as_bytes()))
}

/// Go's lenient check of a `Host`: no byte that could not stand in any kind of host.
fn is_host_byte(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'!' | b'$'..=b'.' | b':' | b';' | b'=' | b'[' | b']'
        | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_of_an_absolute_target_outweighs_the_field() {
        for (target, want) in [
            ("/ping", "field:1"),
            ("//other/ping", "field:1"),
            ("http://other/ping", "other"),
            ("HTTP://other:80/ping?a=http://c", "other:80"),
            ("http://field@other/", "other"),
            ("http://[::1]:4161/", "[::1]:4161"),
            ("http:/ping", "field:1"),
        ] {
            let head = format!("GET {target} HTTP/1.1\r\nHost: field:1\r\n\r\n");
            let head = parse(head.as_bytes(), &mut Progress::default());
            let head = head.expect("a good head").expect("a whole one");
            assert_eq!(head.site.host, want.as_bytes(), "{target}");
        }
    }

    #[test]
    fn one_authorization_counts_and_two_do_not() {
        let longest = format!("Authorization: {}\r\n", "a".repeat(limits::HTTP_AUTHORIZATION));
        let longer = format!("Authorization: {}\r\n", "a".repeat(limits::HTTP_AUTHORIZATION + 1));
        for (fields, want) in [
            ("", None),
            ("Authorization: Bearer x\r\n", Some(&b"Bearer x"[..])),
            ("aUTHORIZATION:Bearer x \r\n", Some(b"Bearer x")),
            ("Authorization:\r\n", Some(b"")),
            ("Authorization: Bearer x\r\nAuthorization: Bearer x\r\n", Some(b"")),
            ("Authorization: Bearer x\r\nX: y\r\nauthorization: Basic x\r\n", Some(b"")),
            ("Proxy-Authorization: Bearer x\r\n", None),
            ("Authorizatiom: Bearer x\r\n", None),
            (&longest, Some(&longest.as_bytes()[15..longest.len() - 2])),
            (&longer, Some(b"")),
            (&[&*longer, "Authorization: Bearer x\r\n"].concat(), Some(b"")),
        ] {
            let head = format!("POST /topic/create?topic=t HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
            let head = parse(head.as_bytes(), &mut Progress::default());
            let head = head.expect("a good head").expect("a whole one");
            assert_eq!(head.authorization, want, "{fields}");
        }
    }
}
