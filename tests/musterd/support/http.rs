//! A consumer's side of a connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::PATIENCE;

/// A keep-alive connection to the HTTP port.
pub(crate) struct Http {
    reader: BufReader<TcpStream>,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// `HTTP/1.1 200 OK`.
    pub(crate) status: String,
    /// Name and value, in order, without `Date` and what frames the body.
    pub(crate) headers: Vec<(String, String)>,
    /// The body, without its framing.
    pub(crate) body: String,
}

impl Http {
    /// Connects.
    pub(crate) fn connect(http: SocketAddr) -> Self {
        let stream = TcpStream::connect(http).expect("the daemon accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        Self::over(stream)
    }

    /// Talks over a stream that is connected.
    pub(crate) fn over(stream: TcpStream) -> Self {
        Self { reader: BufReader::new(stream) }
    }

    /// The socket.
    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        self.reader.get_mut()
    }

    /// Gives the socket away.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.reader.into_inner()
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream().write_all(bytes).expect("the daemon reads");
    }

    /// Asks, and waits for the answer.
    pub(crate) fn ask(&mut self, method: &str, target: &str) -> Answer {
        self.send(format!("{method} {target} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
        self.answer(method == "HEAD")
    }

    /// `GET`, and the body of a 200.
    pub(crate) fn get(&mut self, target: &str) -> String {
        let answer = self.ask("GET", target);
        assert_eq!(answer.status, "HTTP/1.1 200 OK", "{target}: {}", answer.body);
        answer.body
    }

    /// One figure of `/metrics`.
    pub(crate) fn metric(&mut self, name: &str) -> u64 {
        let page = self.get("/metrics");
        let figure = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        figure.unwrap_or_else(|| panic!("{name} is not in {page}")).parse().expect("a number")
    }

    /// Reads one answer; `bodiless`: to a HEAD.
    pub(crate) fn answer(&mut self, bodiless: bool) -> Answer {
        Answer::read(&mut self.reader, bodiless).expect("an answer")
    }

    /// Reads one answer, if one comes before the connection ends.
    pub(crate) fn try_answer(&mut self, bodiless: bool) -> Option<Answer> {
        Answer::read(&mut self.reader, bodiless).ok().filter(|answer| !answer.status.is_empty())
    }

    /// Everything until the daemon closes or resets.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.reader.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("the daemon neither sends nor closes: {error}"),
        }
        rest
    }
}

impl Answer {
    /// Reads one answer. A body without length ends with the connection.
    pub(crate) fn read(from: &mut impl BufRead, bodiless: bool) -> std::io::Result<Self> {
        let status = line(from)?;
        let mut headers = Vec::new();
        loop {
            let line = line(from)?;
            let Some((name, value)) = line.split_once(": ") else { break };
            headers.push((name.to_owned(), value.to_owned()));
        }
        let framing = |name: &str| {
            headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.clone())
        };
        let mut body = Vec::new();
        let informational = status.contains(" 100 ");
        if bodiless || informational {
        } else if let Some(length) = framing("Content-Length") {
            body.resize(length.parse().expect("a number"), 0);
            from.read_exact(&mut body)?;
        } else if framing("Transfer-Encoding").is_some() {
            read_chunks(from, &mut body)?;
        } else {
            from.read_to_end(&mut body)?;
        }
        headers.retain(|(name, _)| {
            !["Date", "Content-Length", "Transfer-Encoding"].contains(&name.as_str())
        });
        Ok(Self { status, headers, body: String::from_utf8_lossy(&body).into_owned() })
    }
}

fn line(from: &mut impl BufRead) -> std::io::Result<String> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    Ok(line.trim_end_matches("\r\n").to_owned())
}

fn read_chunks(from: &mut impl BufRead, body: &mut Vec<u8>) -> std::io::Result<()> {
    loop {
        let length = usize::from_str_radix(&line(from)?, 16).expect("a chunk's length");
        let start = body.len();
        body.resize(start + length, 0);
        from.read_exact(&mut body[start..])?;
        line(from)?;
        if length == 0 {
            return Ok(());
        }
    }
}
