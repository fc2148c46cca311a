//! A blocking HTTP client, one keep-alive connection. Methods without a `Result` panic where a test
//! should fail.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::DEADLINE;

/// A keep-alive connection to the HTTP port.
#[derive(Debug)]
pub struct HttpClient {
    reader: BufReader<TcpStream>,
}

/// One response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// `HTTP/1.1 200 OK`.
    pub status: String,
    /// Name and value of each field, in order.
    pub headers: Vec<(String, String)>,
    /// The body, without its framing.
    pub body: String,
}

#[expect(clippy::missing_panics_doc, reason = "a panic is how a test fails")]
impl HttpClient {
    /// Connects.
    #[must_use]
    pub fn connect(http: SocketAddr) -> Self {
        let stream = TcpStream::connect(http).expect("the daemon accepts");
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        stream.set_write_timeout(Some(DEADLINE)).expect("a timeout");
        Self::over(stream)
    }

    /// Uses a stream that is connected.
    #[must_use]
    pub fn over(stream: TcpStream) -> Self {
        Self { reader: BufReader::with_capacity(64 * 1024, stream) }
    }

    /// The socket.
    pub fn stream(&mut self) -> &mut TcpStream {
        self.reader.get_mut()
    }

    /// The socket, without what is buffered.
    #[must_use]
    pub fn into_stream(self) -> TcpStream {
        self.reader.into_inner()
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream().write_all(bytes).expect("the daemon reads");
    }

    /// Sends a request without a body and waits for the response.
    pub fn request(&mut self, method: &str, target: &str) -> Response {
        self.try_request(method, target).expect("a response")
    }

    /// Like [`Self::request`], for a server that may not respond.
    ///
    /// # Errors
    /// Those of the socket, its end, and bytes that are no response.
    pub fn try_request(&mut self, method: &str, target: &str) -> io::Result<Response> {
        let request = format!("{method} {target} HTTP/1.1\r\nHost: x\r\n\r\n");
        self.stream().write_all(request.as_bytes())?;
        Response::read(&mut self.reader, method == "HEAD")
    }

    /// `GET`, and the body of a 200.
    pub fn get(&mut self, target: &str) -> String {
        let response = self.request("GET", target);
        assert_eq!(response.status, "HTTP/1.1 200 OK", "{target}: {}", response.body);
        response.body
    }

    /// One figure of `/metrics`.
    pub fn metric(&mut self, name: &str) -> u64 {
        let page = self.get("/metrics");
        let figure = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        figure.unwrap_or_else(|| panic!("{name} is not in {page}")).parse().expect("a number")
    }

    /// Reads one response; `to_head`: to a HEAD request.
    pub fn response(&mut self, to_head: bool) -> Response {
        Response::read(&mut self.reader, to_head).expect("a response")
    }

    /// Reads one response, if one comes before the connection ends.
    pub fn try_response(&mut self, to_head: bool) -> Option<Response> {
        Response::read(&mut self.reader, to_head).ok()
    }

    /// Everything until the daemon closes or resets.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.reader.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("the daemon neither sends nor closes: {error}"),
        }
        rest
    }
}

impl Response {
    /// Reads one response; `to_head`: to a HEAD request. A body without a length ends with the
    /// connection.
    ///
    /// # Errors
    /// Those of `from`, its end, and bytes that are no response.
    pub fn read(from: &mut impl BufRead, to_head: bool) -> io::Result<Self> {
        let status = line(from)?;
        let mut headers = Vec::new();
        loop {
            let line = line(from)?;
            let Some((name, value)) = line.split_once(": ") else { break };
            headers.push((name.to_owned(), value.to_owned()));
        }
        let mut response = Self { status, headers, body: String::new() };
        let mut body = Vec::new();
        let informational = response.status.contains(" 100 ");
        if to_head || informational {
        } else if let Some(length) = response.header("Content-Length") {
            read_exactly(from, length.parse().map_err(io::Error::other)?, &mut body)?;
        } else if response.header("Transfer-Encoding").is_some() {
            read_chunks(from, &mut body)?;
        } else {
            from.read_to_end(&mut body)?;
        }
        response.body = String::from_utf8(body)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        Ok(response)
    }

    /// The value of a field.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(header, _)| header.eq_ignore_ascii_case(name));
        found.map(|(_, value)| &**value)
    }

    /// The response without the fields that differ between two servers which say the same.
    #[must_use]
    pub fn without_date_and_framing(mut self) -> Self {
        let dropped = ["Date", "Content-Length", "Transfer-Encoding"];
        self.headers.retain(|(name, _)| !dropped.contains(&&**name));
        self
    }
}

fn line(from: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end_matches("\r\n").to_owned())
}

fn read_exactly(from: &mut impl BufRead, length: u64, body: &mut Vec<u8>) -> io::Result<()> {
    let read = from.take(length).read_to_end(body)? as u64;
    if read < length { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

fn read_chunks(from: &mut impl BufRead, body: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let length = u64::from_str_radix(&line(from)?, 16).map_err(io::Error::other)?;
        read_exactly(from, length, body)?;
        line(from)?;
        if length == 0 {
            return Ok(());
        }
    }
}
