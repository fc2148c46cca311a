//! HTTP clients that send one request at a time and measure it, and idle connections.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use hdrhistogram::Histogram;
use musterd::clock::Clock;
use testkit::{HttpClient, Response};

use crate::connections::{Summary, histogram, micros};
use crate::nsqd::connect;
use crate::{print, ready, wait_for_line};

/// How long an answer may take before the server counts as not answering.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A keep-alive connection.
pub(crate) fn connect_http(server: SocketAddr) -> io::Result<HttpClient> {
    let stream = connect(server)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    Ok(HttpClient::over(stream))
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
        let mut client = connect_http(self.http)?;
        let clock = Clock::system();
        client.try_request("GET", &self.target)?;
        ready()?;
        let start = clock.now();
        let end = start + Duration::from_secs_f64(self.seconds);
        let mut latency = histogram();
        while clock.now() < end {
            timed(&mut client, &self.target, &clock, &mut latency)?;
            std::thread::sleep(Duration::from_millis(self.pause));
        }
        let operations = usize::try_from(latency.len()).unwrap_or(usize::MAX);
        let summary = Summary { operations, elapsed: clock.now().since(start), latency };
        print(&summary.json());
        wait_for_line()
    }
}

/// Whether an error means that no answer came in time.
pub(crate) fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// One GET, its time recorded, whether it was answered or not.
pub(crate) fn timed(
    client: &mut HttpClient,
    target: &str,
    clock: &Clock,
    latency: &mut Histogram<u64>,
) -> io::Result<Response> {
    let start = clock.now();
    let response = client.try_request("GET", target);
    latency.saturating_record(micros(clock.now().since(start)));
    response
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
            let mut client = connect_http(self.http)?;
            client.try_request("GET", "/ping")?;
            // The buffer would cost more than ten servers' connections.
            clients.push(client.into_stream());
        }
        print("{\"idle\":true}");
        wait_for_line()
    }
}
