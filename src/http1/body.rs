//! A request's body: where it ends. Its bytes are discarded as they come; no route reads them.
//!
//! Must not: keep bytes, or know requests. Pure; any thread. Source: Go `net/http/transfer.go` and
//! `net/http/internal/chunked.go`, and as strict as those about line ends.

use crate::limits;

/// The longest line with a chunk's size and its extensions, in bytes. Go's bound.
const CHUNK_LINE: usize = 4096;
/// The longest trailer, in bytes. Go's bound, its reader's buffer.
const TRAILER: usize = 4096;
/// Fields of a trailer.
const TRAILER_FIELDS: usize = 16;
/// How many more bytes the lines of chunks may have than a sender of small chunks needs. Go's
/// bound.
const EXCESS: u64 = 16 * 1024;

/// Why a body is not read to its end. The connection closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// The chunks or the trailer are malformed.
    Malformed,
    /// It is longer than [`limits::HTTP_BODY`]; the framing of chunks counts.
    TooLarge,
}

/// A body on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Body {
    state: State,
    /// How many more bytes the peer may send.
    allowance: u64,
    /// By how much the lines of chunks have outgrown what they announce.
    excess: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// This many bytes are left of a body of known length.
    Length(u64),
    /// A chunk's size comes next.
    Size,
    /// This many bytes are left of a chunk.
    Chunk(u64),
    /// The line end behind a chunk comes next.
    ChunkEnd,
    /// The last chunk is through.
    Trailer,
    Done,
}

impl Body {
    /// The body that a head announces: of this many bytes, often none, or without a length, chunks
    /// and then a trailer.
    ///
    /// # Errors
    /// [`BodyError::TooLarge`] when the announced length is.
    pub fn new(length: Option<u64>) -> Result<Self, BodyError> {
        let allowance = limits::HTTP_BODY as u64;
        let state = match length {
            Some(0) => State::Done,
            Some(length) if length > allowance => return Err(BodyError::TooLarge),
            Some(length) => State::Length(length),
            None => State::Size,
        };
        Ok(Self { state, allowance, excess: 0 })
    }

    /// How many bytes are left of it; `None` when chunks are.
    #[must_use]
    pub fn remaining(&self) -> Option<u64> {
        match self.state {
            State::Length(left) => Some(left),
            State::Done => Some(0),
            _ => None,
        }
    }

    /// Whether nothing more belongs to it.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Discards what belongs to the body at the start of `input`: how many bytes that is.
    ///
    /// # Errors
    /// The first [`BodyError`].
    pub fn drain(&mut self, input: &[u8]) -> Result<usize, BodyError> {
        let mut used = 0;
        while !self.is_done() {
            let taken = self.step(&input[used..])?;
            if taken == 0 {
                break;
            }
            self.allowance = self.allowance.checked_sub(taken as u64).ok_or(BodyError::TooLarge)?;
            used += taken;
        }
        Ok(used)
    }

    /// Takes the next piece off `input`; zero bytes when it is not all there.
    fn step(&mut self, input: &[u8]) -> Result<usize, BodyError> {
        match self.state {
            State::Length(left) => Ok(self.take(input, left, State::Length, State::Done)),
            State::Chunk(left) => Ok(self.take(input, left, State::Chunk, State::ChunkEnd)),
            State::Size => self.size(input),
            State::ChunkEnd => match input {
                [b'\r', b'\n', ..] => {
                    self.state = State::Size;
                    Ok(2)
                }
                [] | [b'\r'] => Ok(0),
                _ => Err(BodyError::Malformed),
            },
            State::Trailer => self.trailer(input),
            State::Done => Ok(0),
        }
    }

    /// Takes up to `left` bytes.
    fn take(&mut self, input: &[u8], left: u64, more: fn(u64) -> State, then: State) -> usize {
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        let left = left - taken as u64;
        self.state = if left == 0 { then } else { more(left) };
        taken
    }

    /// Takes a chunk's size line: hexadecimal digits, perhaps `;` and extensions.
    fn size(&mut self, input: &[u8]) -> Result<usize, BodyError> {
        let window = &input[..input.len().min(CHUNK_LINE)];
        let Some(newline) = memchr::memchr(b'\n', window) else {
            return if window.len() == CHUNK_LINE { Err(BodyError::Malformed) } else { Ok(0) };
        };
        let line = window[..newline].strip_suffix(b"\r").ok_or(BodyError::Malformed)?;
        let size = chunk_size(line).ok_or(BodyError::Malformed)?;
        if size > self.allowance {
            return Err(BodyError::TooLarge);
        }
        let spent = self.excess + line.len() as u64 + 2;
        self.excess = spent.saturating_sub(16 + 2 * size);
        if self.excess > EXCESS {
            return Err(BodyError::Malformed);
        }
        self.state = if size == 0 { State::Trailer } else { State::Chunk(size) };
        Ok(newline + 1)
    }

    /// Takes the trailer, whole: an empty line, or fields that nobody reads before one.
    fn trailer(&mut self, input: &[u8]) -> Result<usize, BodyError> {
        let window = &input[..input.len().min(TRAILER)];
        let length = match window {
            [b'\r', b'\n', ..] => 2,
            [] | [b'\r'] => return Ok(0),
            _ => match memchr::memmem::find(window, b"\r\n\r\n") {
                Some(at) => at + 4,
                None if window.len() == TRAILER => return Err(BodyError::Malformed),
                None => return Ok(0),
            },
        };
        let mut fields = [httparse::EMPTY_HEADER; TRAILER_FIELDS];
        match httparse::parse_headers(&window[..length], &mut fields) {
            Ok(httparse::Status::Complete((parsed, _))) if parsed == length => {
                self.state = State::Done;
                Ok(length)
            }
            _ => Err(BodyError::Malformed),
        }
    }
}

/// The size in a chunk's line, if it is well formed.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let end = line.iter().rposition(|byte| !b" \t".contains(byte)).map_or(0, |at| at + 1);
    let digits = line[..end].split(|&byte| byte == b';').next()?;
    // A sign would pass `from_str_radix`; a CR inside is the mark of a smuggler.
    if digits.len() > 16 || line.contains(&b'\r') || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Drains `input` whole and byte by byte; both must see the same.
    fn check(length: Option<u64>, input: &str, want: Result<(usize, bool), BodyError>) {
        let mut body = Body::new(length).expect("small");
        let whole = body.drain(input.as_bytes()).map(|used| (used, body.is_done()));
        assert_eq!(whole, want, "{input:?}");
        let mut body = Body::new(length).expect("small");
        let mut used = 0;
        for end in 0..=input.len() {
            match body.drain(&input.as_bytes()[used..end]) {
                Ok(taken) => used += taken,
                Err(fault) => return assert_eq!(Err(fault), want, "{input:?}, byte by byte"),
            }
        }
        assert_eq!(Ok((used, body.is_done())), want, "{input:?}, byte by byte");
    }

    #[test]
    fn bodies_end_where_they_say() {
        check(Some(0), "GET", Ok((0, true)));
        check(Some(3), "abcGET", Ok((3, true)));
        check(Some(3), "ab", Ok((2, false)));
        check(None, "0\r\n\r\nGET", Ok((5, true)));
        check(None, "3\r\nabc\r\n0\r\n\r\nGET", Ok((13, true)));
        check(None, "3;name=value \t\r\nabc\r\n00\r\n\r\n", Ok((27, true)));
        check(None, "A\r\n0123456789\r\n0\r\nX: y\r\nZ:\r\n\r\n", Ok((30, true)));
        check(None, "3\r\nabc", Ok((6, false)));
        check(None, "0\r\nX: y\r\n", Ok((3, false)));
    }

    #[test]
    fn malformed_chunks_are_refused() {
        let bodies = [
            "\r\n",
            "3\nabc",
            "x\r\n",
            "-1\r\n",
            "+3\r\nabc\r\n",
            "0x3\r\nabc\r\n",
            "3 ;a\r\nabc\r\n",
            " 3\r\nabc\r\n",
            "3\r\nabcd\r\n",
            "3\r\nabc\n0\r\n\r\n",
            "3\r\r\nabc",
            "3;\r;\r\nabc",
            "00000000000000003\r\nabc\r\n",
            "0\r\nno colon\r\n\r\n",
            "0\r\n folded: x\r\n\r\n",
            "0\r\nX : y\r\n\r\n",
            "0\r\nX: \0\r\n\r\n",
            "0\r\nA: b\nno\n\nC: d\r\n\r\n",
            ";a\r\n\r\n\r\n",
        ];
        for body in bodies {
            check(None, body, Err(BodyError::Malformed));
        }
        let fields = "X: y\r\n".repeat(TRAILER_FIELDS + 1);
        check(None, &format!("0\r\n{fields}\r\n"), Err(BodyError::Malformed));
        check(None, &format!("0\r\nX: {}", "y".repeat(TRAILER)), Err(BodyError::Malformed));
        check(None, &format!("3;{}", "y".repeat(CHUNK_LINE)), Err(BodyError::Malformed));
        // A chunk may cost 16 bytes and twice its data; these cost 75 more.
        let wordy = |times| format!("1;{}\r\nx\r\n", "y".repeat(89)).repeat(times);
        check(None, &wordy(218), Ok((218 * 96, false)));
        check(None, &wordy(219), Err(BodyError::Malformed));
    }

    #[test]
    fn bodies_are_bounded() {
        let limit = limits::HTTP_BODY;
        assert!(Body::new(Some(limit as u64)).is_ok());
        assert_eq!(Body::new(Some(limit as u64 + 1)), Err(BodyError::TooLarge));
        check(None, "7fffffffffffffff\r\n", Err(BodyError::TooLarge));
        check(None, "ffffffffffffffff\r\n", Err(BodyError::TooLarge));
        // One byte a chunk: the framing counts, so that it cannot go on for ever.
        let mut body = Body::new(None).expect("of unknown length");
        assert_eq!(
            body.drain("1\r\nx\r\n".repeat(limit / 6 + 1).as_bytes()),
            Err(BodyError::TooLarge)
        );
    }
}
