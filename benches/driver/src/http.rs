//! A plain HTTP client, one request at a time: it measures, so it does nothing else.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use hdrhistogram::Histogram;
use musterd::clock::Clock;

use crate::crowd::{Tally, histogram, micros};
use crate::nsqd::connect;
use crate::{heard, ready, say};

/// How long an answer may take before the server counts as not answering.
const PATIENCE: Duration = Duration::from_secs(60);

/// A keep-alive connection.
#[derive(Debug)]
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Connects.
    pub(crate) fn connect(server: SocketAddr) -> io::Result<Self> {
        let stream = connect(server)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::with_capacity(64 * 1024, stream) })
    }

    /// The body of a GET, whatever its status.
    pub(crate) fn get(&mut self, target: &str) -> io::Result<Vec<u8>> {
        let request = format!("GET {target} HTTP/1.1\r\nHost: lookupd\r\n\r\n");
        self.stream.get_mut().write_all(request.as_bytes())?;
        let (mut length, mut chunked) = (0, false);
        loop {
            let line = self.line()?.to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
            chunked |= line.starts_with("transfer-encoding:");
        }
        let mut body = Vec::new();
        if !chunked {
            self.piece(length, &mut body)?;
        }
        while chunked {
            let size = self.line()?;
            let size = u64::from_str_radix(&size, 16).map_err(io::Error::other)?;
            self.piece(size, &mut body)?;
            self.line()?;
            chunked = size > 0;
        }
        Ok(body)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }

    fn piece(&mut self, length: u64, body: &mut Vec<u8>) -> io::Result<()> {
        let read = self.stream.by_ref().take(length).read_to_end(body)? as u64;
        if read < length { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }
}

/// Asks one /lookup after the other, with pauses.
#[derive(Debug, clap::Args)]
pub(crate) struct Probe {
    /// The lookupd's HTTP address.
    #[arg(long)]
    http: SocketAddr,
    /// What to get.
    #[arg(long, default_value = "/lookup?topic=t0")]
    target: String,
    /// Seconds.
    #[arg(long)]
    seconds: f64,
    /// Milliseconds between two requests.
    #[arg(long, default_value_t = 1)]
    pause: u64,
}

impl Probe {
    pub(crate) fn run(self) -> io::Result<()> {
        let mut client = Client::connect(self.http)?;
        let clock = Clock::system();
        client.get(&self.target)?;
        ready()?;
        let start = clock.now();
        let end = start + Duration::from_secs_f64(self.seconds);
        let mut latency = histogram();
        while clock.now() < end {
            timed(&mut client, &self.target, &clock, &mut latency)?;
            std::thread::sleep(Duration::from_millis(self.pause));
        }
        let operations = usize::try_from(latency.len()).unwrap_or(usize::MAX);
        let tally = Tally { operations, elapsed: clock.now().since(start), latency };
        say(&tally.json());
        heard()
    }
}

/// Whether an error means that no answer came in time.
pub(crate) fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// One GET, its time recorded, whether it was answered or not.
pub(crate) fn timed(
    client: &mut Client,
    target: &str,
    clock: &Clock,
    latency: &mut Histogram<u64>,
) -> io::Result<Vec<u8>> {
    let start = clock.now();
    let answer = client.get(target);
    latency.saturating_record(micros(clock.now().since(start)));
    answer
}

/// Opens keep-alive HTTP connections and holds them.
#[derive(Debug, clap::Args)]
pub(crate) struct Idle {
    /// The lookupd's HTTP address.
    #[arg(long)]
    http: SocketAddr,
    /// How many.
    #[arg(long, default_value_t = 10_000)]
    connections: usize,
}

impl Idle {
    pub(crate) fn run(self) -> io::Result<()> {
        ready()?;
        let mut clients = Vec::new();
        for _ in 0..self.connections {
            let mut client = Client::connect(self.http)?;
            client.get("/ping")?;
            // The buffer would cost more than ten servers' connections.
            clients.push(client.stream.into_inner());
        }
        say("{\"idle\":true}");
        heard()
    }
}
