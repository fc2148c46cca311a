//! Parses HTTP/1 responses incrementally: with Content-Length, chunked, or until the close.
//!
//! Must not: touch a socket. After an error the caller closes the connection.

/// Header lines of one response; nsqlookupd sends five.
const MAX_HEADERS: usize = 32;
/// The longest head, in bytes.
const MAX_HEAD: usize = 16 * 1024;
/// The longest body, in bytes: 100,000 producers are 20 MB.
const MAX_BODY: usize = 256 * 1024 * 1024;

/// The part of the response that is expected next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Head,
    /// This many bytes of the body.
    Length(usize),
    /// A chunk's size line.
    ChunkSize,
    /// This many bytes of the chunk and its line end.
    Chunk(usize),
    /// Lines after the last chunk, until an empty one.
    Trailer,
    UntilClose,
    Done,
}

/// The bytes are no HTTP/1 response, or it exceeds a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InvalidResponse;

/// One response, parsed as its bytes arrive.
#[derive(Debug)]
pub(crate) struct Response {
    phase: Phase,
    /// An incomplete head or line.
    pending: Vec<u8>,
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    /// The server closes after this response.
    pub(crate) closes: bool,
    /// It has the headers of nsqlookupd's JSON answers.
    pub(crate) json: bool,
    /// It has the header that nsqlookupd puts into every answer.
    pub(crate) nsq: bool,
    /// Its length is known: a body that ends with the connection may be cut.
    pub(crate) framed: bool,
    /// Bytes followed it that no request asked for.
    pub(crate) trailing: bool,
}

impl Response {
    /// A response of which nothing has arrived.
    pub(crate) const fn new() -> Self {
        Self {
            phase: Phase::Head,
            pending: Vec::new(),
            status: 0,
            body: Vec::new(),
            closes: false,
            json: false,
            nsq: false,
            framed: false,
            trailing: false,
        }
    }

    /// Consumes bytes. Returns `None` until the response is complete, then the bytes after its end,
    /// which belong to the next one.
    ///
    /// # Errors
    /// When it is no HTTP/1 response, or exceeds a limit.
    pub(crate) fn feed<'a>(
        &mut self,
        bytes: &'a [u8],
    ) -> Result<Option<&'a [u8]>, InvalidResponse> {
        let mut rest = bytes;
        while self.phase != Phase::Done {
            let before = (self.phase, rest.len());
            rest = self.step(rest)?;
            if (self.phase, rest.len()) == before || (rest.is_empty() && self.needs_bytes()) {
                break;
            }
        }
        if self.body.len() > MAX_BODY {
            return Err(InvalidResponse);
        }
        Ok((self.phase == Phase::Done).then_some(rest))
    }

    /// The connection was closed; true when the response is complete.
    pub(crate) fn close(&mut self) -> bool {
        if self.phase == Phase::UntilClose {
            self.phase = Phase::Done;
        }
        self.phase == Phase::Done
    }

    /// Nothing of it has arrived.
    pub(crate) fn is_empty(&self) -> bool {
        self.phase == Phase::Head && self.pending.is_empty()
    }

    fn needs_bytes(&self) -> bool {
        !matches!(self.phase, Phase::Length(0) | Phase::Chunk(0))
    }

    fn step<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], InvalidResponse> {
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
                // The chunk's line end is not part of the body.
                let content = left.saturating_sub(2).min(taken.len());
                self.body.extend_from_slice(&taken[..content]);
                let end = &b"\r\n"[2 - (left - content).min(2)..];
                if !end.starts_with(&taken[content..]) {
                    return Err(InvalidResponse);
                }
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

    fn next<'a>(&mut self, phase: Phase, rest: &'a [u8]) -> Result<&'a [u8], InvalidResponse> {
        self.phase = phase;
        Ok(rest)
    }

    /// Consumes a line, which may arrive in parts; `read` returns the phase that follows it.
    fn line<'a>(
        &mut self,
        bytes: &'a [u8],
        read: impl FnOnce(&[u8]) -> Result<Phase, InvalidResponse>,
    ) -> Result<&'a [u8], InvalidResponse> {
        let Some(end) = memchr::memchr(b'\n', bytes) else {
            self.pending.extend_from_slice(bytes);
            return if self.pending.len() > MAX_HEAD { Err(InvalidResponse) } else { Ok(&[]) };
        };
        self.pending.extend_from_slice(&bytes[..end]);
        let line = std::mem::take(&mut self.pending);
        self.phase = read(line.strip_suffix(b"\r").unwrap_or(&line))?;
        Ok(&bytes[end + 1..])
    }

    fn chunk_size(line: &[u8]) -> Result<Phase, InvalidResponse> {
        let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
        let text = std::str::from_utf8(digits).map_err(|_| InvalidResponse)?;
        match usize::from_str_radix(text.trim(), 16).map_err(|_| InvalidResponse)? {
            0 => Ok(Phase::Trailer),
            size if size > MAX_BODY => Err(InvalidResponse),
            size => Ok(Phase::Chunk(size + 2)),
        }
    }

    fn head<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], InvalidResponse> {
        let earlier = self.pending.len();
        if earlier == 0 {
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
            Some(length) => Ok(&bytes[length - earlier..]),
            None => {
                self.pending = all;
                Ok(&[])
            }
        }
    }

    fn parse_head(&mut self, bytes: &[u8]) -> Result<Option<usize>, InvalidResponse> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let length = match response.parse(bytes).map_err(|_| InvalidResponse)? {
            httparse::Status::Partial if bytes.len() > MAX_HEAD => return Err(InvalidResponse),
            httparse::Status::Partial => return Ok(None),
            httparse::Status::Complete(length) => length,
        };
        self.status = response.code.unwrap_or(0);
        self.closes = response.version == Some(0);
        self.phase =
            if matches!(self.status, 204 | 304) { Phase::Length(0) } else { Phase::UntilClose };
        for header in response.headers.iter() {
            let value = std::str::from_utf8(header.value).map_err(|_| InvalidResponse)?;
            let name = |other| header.name.eq_ignore_ascii_case(other);
            let (length, chunked) = (name("content-length"), name("transfer-encoding"));
            if (length || chunked) && std::mem::replace(&mut self.framed, true) {
                return Err(InvalidResponse);
            }
            self.json |= name("content-type") && value == "application/json; charset=utf-8";
            self.nsq |= name("x-nsq-content-type") && value == "nsq; version=1.0";
            if length {
                self.phase = Phase::Length(value.trim().parse().map_err(|_| InvalidResponse)?);
            } else if chunked && value.eq_ignore_ascii_case("chunked") {
                self.phase = Phase::ChunkSize;
            } else if chunked {
                return Err(InvalidResponse);
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

    /// Parses the response whole, in every pair of parts, and byte by byte.
    fn check(bytes: &[u8], status: u16, body: &[u8]) {
        let splits = (1..bytes.len()).map(|at| vec![&bytes[..at], &bytes[at..]]);
        let all = splits.chain([vec![bytes], bytes.chunks(1).collect()]);
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
    fn responses_with_a_length_and_in_chunks_are_parsed() {
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
    fn bytes_after_the_end_belong_to_the_next_response() {
        let two = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOKHTTP/1.1 404";
        assert_eq!(Response::new().feed(two), Ok(Some(&b"HTTP/1.1 404"[..])));
    }

    #[test]
    fn body_without_a_length_ends_with_the_connection() {
        let mut response = Response::new();
        assert_eq!(response.feed(b"HTTP/1.0 200 OK\r\n\r\nhello"), Ok(None));
        assert!(response.closes && response.close());
        assert_eq!(response.body, b"hello");
    }

    #[test]
    fn invalid_responses_are_errors() {
        for bytes in [
            &b"NOT HTTP AT ALL\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
        ] {
            assert_eq!(Response::new().feed(bytes), Err(InvalidResponse));
        }
    }
}
