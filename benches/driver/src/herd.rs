//! Many nsqds connect at once and then disconnect at once, while another client looks a topic up.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;
use musterd::clock::Clock;
use testkit::wire;

use crate::connections::{Connections, histogram};
use crate::http::{connect_http, is_silence, timed};
use crate::{Tcp, print, ready, wait_for_line};

/// Many nsqds connect at once, then disconnect at once.
#[derive(Debug, clap::Args)]
pub(crate) struct Herd {
    #[command(flatten)]
    lookupd: Tcp,
    /// The lookupd's HTTP address.
    #[arg(long)]
    http: SocketAddr,
    /// nsqds.
    #[arg(long)]
    nsqds: usize,
    /// Topics of each nsqd, with two channels each.
    #[arg(long)]
    topics: usize,
    /// All register the same topics instead of different ones.
    #[arg(long)]
    shared: bool,
    /// Seconds to wait for the clean-up.
    #[arg(long, default_value_t = 60)]
    wait: u64,
}

const CHANNELS: [&str; 2] = ["c0", "c1"];
/// The lookup that is measured meanwhile.
const ASKED: &str = "/lookup?topic=asked";
/// The pause between two requests.
const PAUSE: Duration = Duration::from_millis(2);
/// Number of topics that are looked up to see whether the clean-up is over.
const SAMPLE: usize = 100;

impl Herd {
    pub(crate) fn run(self) -> io::Result<()> {
        let mut asking = Connections::connect(self.lookupd.tcp, 1)?;
        asking.nsqds[0].queue(|out| wire::register("asked", None, out));
        asking.nsqds[0].send()?;
        asking.wait_for_replies()?;
        ready()?;
        let (arrival, worst) = self.while_asking(|| self.arrive())?;
        let (connections, registered) = arrival?;
        print(&format!("{{\"registered\":{:.3},{}}}", registered.as_secs_f64(), shown(&worst)));
        wait_for_line()?;
        let (cleaned, worst) = self.while_asking(|| self.vanish(connections))?;
        let cleaned =
            cleaned?.map_or_else(|| "null".into(), |span| format!("{:.3}", span.as_secs_f64()));
        print(&format!("{{\"cleaned\":{cleaned},{}}}", shown(&worst)));
        wait_for_line()
    }

    fn topic(&self, nsqd: usize, topic: usize) -> String {
        if self.shared { format!("t{topic}") } else { format!("n{nsqd}-t{topic}") }
    }

    fn arrive(&self) -> io::Result<(Connections, Duration)> {
        let mut connections = Connections::empty()?;
        let start = connections.clock.now();
        for number in 0..self.nsqds {
            connections.join(self.lookupd.tcp, number)?;
        }
        connections.wait_for_replies()?;
        let each = self.topics * CHANNELS.len();
        connections.drive(1, each * self.nsqds, Duration::from_secs(600), |nsqd, count, out| {
            // A fast nsqd may send more than its share: it then repeats its registrations.
            let topic = self.topic(nsqd, count / CHANNELS.len() % self.topics);
            wire::register(&topic, Some(CHANNELS[count % CHANNELS.len()]), out);
        })?;
        let elapsed = connections.clock.now().since(start);
        Ok((connections, elapsed))
    }

    /// Drops all connections; the time until no sampled topic has a producer, or none.
    fn vanish(&self, connections: Connections) -> io::Result<Option<Duration>> {
        let clock = connections.clock.clone();
        let start = clock.now();
        drop(connections);
        let end = start + Duration::from_secs(self.wait);
        let mut client = connect_http(self.http)?;
        for sample in 0..SAMPLE {
            let nsqd = sample * self.nsqds / SAMPLE;
            let target = format!("/lookup?topic={}", self.topic(nsqd, sample % self.topics));
            loop {
                match client.try_request("GET", &target) {
                    Ok(response) if gone(&response.body) => break,
                    Err(error) if !is_silence(&error) => return Err(error),
                    _ if clock.now() > end => return Ok(None),
                    Ok(_) => std::thread::sleep(PAUSE),
                    // The response may still come, and would be read as that of the next request.
                    Err(_) => client = connect_http(self.http)?,
                }
            }
        }
        Ok(Some(clock.now().since(start)))
    }

    /// Runs `work` while another thread sends lookups; its result, and the lookups' latencies.
    fn while_asking<T: Send>(
        &self,
        work: impl FnOnce() -> T + Send,
    ) -> io::Result<(T, Histogram<u64>)> {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| self.ask(&done));
            let result = work();
            done.store(true, Ordering::Relaxed);
            let worst = asking.join().expect("asking does not panic")?;
            Ok((result, worst))
        })
    }

    fn ask(&self, done: &AtomicBool) -> io::Result<Histogram<u64>> {
        let clock = Clock::system();
        let mut client = connect_http(self.http)?;
        let mut latency = histogram();
        while !done.load(Ordering::Relaxed) {
            match timed(&mut client, ASKED, &clock, &mut latency) {
                Ok(_) => std::thread::sleep(PAUSE),
                Err(error) if is_silence(&error) => client = connect_http(self.http)?,
                Err(error) => return Err(error),
            }
        }
        Ok(latency)
    }
}

/// Whether an answer shows no producer: NSQ says 404 or an empty list.
fn gone(body: &str) -> bool {
    body.contains("\"producers\":[]") || body.starts_with("{\"message\"")
}

fn shown(latency: &Histogram<u64>) -> String {
    format!("\"asked\":{},\"worst_us\":{}", latency.len(), latency.max())
}
