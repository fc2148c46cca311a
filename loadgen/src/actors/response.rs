//! Reads HTTP/1 responses from bytes as they come: with a length, in chunks, or until the close.
//!
//! Must not: touch a socket. What is no response is an error; the connection is then given up.

/// Header lines of one response; nsqlookupd sends five.
const HEADERS: usize = 32;
/// The longest head, in bytes.
const HEAD: usize = 16 * 1024;
/// The longest body, in bytes: 100,000 producers are 20 MB.
const BODY: usize = 256 * 1024 * 1024;

/// How far the body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Head,
    /// This many bytes are to come.
    Length(usize),
    /// A chunk's size line comes next.
    ChunkSize,
    /// This many bytes of the chunk and its line end are to come.
    Chunk(usize),
    /// After the last chunk: lines until an empty one.
    Trailer,
    UntilClose,
    Done,
}

/// Bytes that are no response, or too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoResponse;

/// One response in the making.
#[derive(Debug)]
pub(crate) struct Response {
    phase: Phase,
    pending: Vec<u8>,
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    /// The server closes after this response.
    pub(crate) closes: bool,
}

impl Response {
    /// Nothing yet.
    pub(crate) const fn new() -> Self {
        Self { phase: Phase::Head, pending: Vec::new(), status: 0, body: Vec::new(), closes: false }
    }

    /// Takes bytes; once the response is complete, the bytes after its end, which belong to the
    /// next one.
    ///
    /// # Errors
    /// When it is no HTTP/1 response, or larger than any lookupd's.
    pub(crate) fn feed<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<&'a [u8]>, NoResponse> {
        let mut rest = bytes;
        while self.phase != Phase::Done {
            let before = (self.phase, rest.len());
            rest = self.step(rest)?;
            if (self.phase, rest.len()) == before || (rest.is_empty() && self.waits()) {
                break;
            }
        }
        if self.body.len() > BODY {
            return Err(NoResponse);
        }
        Ok((self.phase == Phase::Done).then_some(rest))
    }

    /// The connection has closed; true when that completes the response.
    pub(crate) fn close(&mut self) -> bool {
        if self.phase == Phase::UntilClose {
            self.phase = Phase::Done;
        }
        self.phase == Phase::Done
    }

    /// Nothing of it has arrived.
    pub(crate) fn untouched(&self) -> bool {
        self.phase == Phase::Head && self.pending.is_empty()
    }

    fn waits(&self) -> bool {
        !matches!(self.phase, Phase::Length(0) | Phase::Chunk(0))
    }

    fn step<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], NoResponse> {
        match self.phase {
            Phase::Head => self.head(bytes),
            Phase::Length(0) => self.next(Phase::Done, bytes),
            Phase::Length(left) => {
                let (taken, rest) = bytes.split_at(left.min(bytes.len()));
                self.body.extend_from_slice(taken);
                self.next(Phase::Length(left - taken.len()), rest)
            }
            Phase::ChunkSize => self.line(bytes, Self::chunk_size),
            Phase::Chunk(0) => self.next(Phase::ChunkSize, bytes),
            Phase::Chunk(left) => {
                let (taken, rest) = bytes.split_at(left.min(bytes.len()));
                // The chunk's line end is no part of the body.
                let content = left.saturating_sub(2).min(taken.len());
                self.body.extend_from_slice(&taken[..content]);
                self.next(Phase::Chunk(left - taken.len()), rest)
            }
            Phase::Trailer => self
                .line(bytes, |line| Ok(if line.is_empty() { Phase::Done } else { Phase::Trailer })),
            Phase::UntilClose => {
                self.body.extend_from_slice(bytes);
                self.next(Phase::UntilClose, &[])
            }
            Phase::Done => Ok(bytes),
        }
    }

    fn next<'a>(&mut self, phase: Phase, rest: &'a [u8]) -> Result<&'a [u8], NoResponse> {
        self.phase = phase;
        Ok(rest)
    }

    /// Takes a line, which may arrive in parts, and the phase that follows from it.
    fn line<'a>(
        &mut self,
        bytes: &'a [u8],
        read: impl FnOnce(&[u8]) -> Result<Phase, NoResponse>,
    ) -> Result<&'a [u8], NoResponse> {
        let Some(end) = memchr::memchr(b'\n', bytes) else {
            self.pending.extend_from_slice(bytes);
            return if self.pending.len() > HEAD { Err(NoResponse) } else { Ok(&[]) };
        };
        self.pending.extend_from_slice(&bytes[..end]);
        let line = std::mem::take(&mut self.pending);
        self.phase = read(line.strip_suffix(b"\r").unwrap_or(&line))?;
        Ok(&bytes[end + 1..])
    }

    fn chunk_size(line: &[u8]) -> Result<Phase, NoResponse> {
        let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
        let text = std::str::from_utf8(digits).map_err(|_| NoResponse)?;
        match usize::from_str_radix(text.trim(), 16).map_err(|_| NoResponse)? {
            0 => Ok(Phase::Trailer),
            size if size > BODY => Err(NoResponse),
            size => Ok(Phase::Chunk(size + 2)),
        }
    }

    fn head<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], NoResponse> {
        let held = self.pending.len();
        if held == 0 {
            return match self.parse_head(bytes)? {
                Some(length) => Ok(&bytes[length..]),
                None => {
                    self.pending.extend_from_slice(bytes);
                    Ok(&[])
                }
            };
        }
        self.pending.extend_from_slice(bytes);
        let all = std::mem::take(&mut self.pending);
        match self.parse_head(&all)? {
            Some(length) => Ok(&bytes[length - held..]),
            None => {
                self.pending = all;
                Ok(&[])
            }
        }
    }

    fn parse_head(&mut self, bytes: &[u8]) -> Result<Option<usize>, NoResponse> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let length = match response.parse(bytes).map_err(|_| NoResponse)? {
            httparse::Status::Partial if bytes.len() > HEAD => return Err(NoResponse),
            httparse::Status::Partial => return Ok(None),
            httparse::Status::Complete(length) => length,
        };
        self.status = response.code.unwrap_or(0);
        self.closes = response.version == Some(0);
        self.phase =
            if matches!(self.status, 204 | 304) { Phase::Length(0) } else { Phase::UntilClose };
        for header in response.headers.iter() {
            let value = std::str::from_utf8(header.value).map_err(|_| NoResponse)?;
            if header.name.eq_ignore_ascii_case("content-length") {
                self.phase = Phase::Length(value.trim().parse().map_err(|_| NoResponse)?);
            } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
                self.phase = Phase::ChunkSize;
            } else if header.name.eq_ignore_ascii_case("connection") {
                self.closes |= value.eq_ignore_ascii_case("close");
            }
        }
        self.closes |= self.phase == Phase::UntilClose;
        Ok(Some(length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The response arrives whole, and in every pair of parts, and byte by byte.
    fn check(bytes: &[u8], status: u16, body: &[u8]) {
        let cuts = (1..bytes.len()).map(|at| vec![&bytes[..at], &bytes[at..]]);
        let all = cuts.chain([vec![bytes], bytes.chunks(1).collect()]);
        for parts in all {
            let mut response = Response::new();
            let done: Vec<_> = parts.iter().map(|part| response.feed(part)).collect();
            let (last, early) = done.split_last().expect("at least one part");
            assert!(early.iter().all(|done| *done == Ok(None)), "done early in {parts:?}");
            assert_eq!((*last, response.status), (Ok(Some(&b""[..])), status));
            assert_eq!(response.body, body);
        }
    }

    #[test]
    fn responses() {
        check(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK", 200, b"OK");
        check(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 200, b"");
        check(
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
            404,
            b"{}",
        );
        check(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n",
            200,
            b"abc0123456789",
        );
    }

    #[test]
    fn what_follows_belongs_to_the_next() {
        let two = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOKHTTP/1.1 404";
        assert_eq!(Response::new().feed(two), Ok(Some(&b"HTTP/1.1 404"[..])));
    }

    #[test]
    fn a_body_without_a_length_ends_with_the_connection() {
        let mut response = Response::new();
        assert_eq!(response.feed(b"HTTP/1.0 200 OK\r\n\r\nhello"), Ok(None));
        assert!(response.closes && response.close());
        assert_eq!(response.body, b"hello");
    }

    #[test]
    fn what_is_no_response_is_refused() {
        for bytes in [
            &b"NOT HTTP AT ALL\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        ] {
            assert_eq!(Response::new().feed(bytes), Err(NoResponse));
        }
    }
}
