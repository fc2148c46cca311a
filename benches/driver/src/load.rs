//! Commands as fast as possible, and PINGs at the rate of an idle fleet.

use std::io;
use std::time::Duration;

use testkit::wire;

use crate::connections::{Connections, Summary, histogram, micros};
use crate::{Tcp, print, ready, wait_for_line};

/// What each nsqd sends.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Kind {
    /// PING.
    Ping,
    /// REGISTER of a topic that it has registered already.
    Known,
    /// REGISTER of a topic and channel that are new, every time.
    New,
    /// REGISTER and UNREGISTER of a topic of its own, alternately.
    Churn,
    /// REGISTER and UNREGISTER of a topic that all share, alternately.
    ChurnShared,
}

/// Many nsqds send commands as fast as possible.
#[derive(Debug, clap::Args)]
pub(crate) struct Load {
    #[command(flatten)]
    lookupd: Tcp,
    /// What to send.
    #[arg(long)]
    kind: Kind,
    /// nsqds.
    #[arg(long, default_value_t = 64)]
    nsqds: usize,
    /// Commands of each in flight.
    #[arg(long, default_value_t = 1)]
    depth: usize,
    /// Commands in all, at most.
    #[arg(long, default_value_t = usize::MAX)]
    count: usize,
    /// Seconds, at most.
    #[arg(long, default_value_t = 60.0)]
    seconds: f64,
    /// The topic of `known` and `churn-shared`.
    #[arg(long, default_value = "t0")]
    topic: String,
}

impl Load {
    pub(crate) fn run(self) -> io::Result<()> {
        let mut connections = Connections::connect(self.lookupd.tcp, self.nsqds)?;
        // `known` needs its registrations, and a connection's first command takes longer.
        self.drive(&mut connections, 2 * self.nsqds, Duration::from_secs(60), "warm")?;
        ready()?;
        let span = Duration::from_secs_f64(self.seconds);
        print(&self.drive(&mut connections, self.count, span, "new")?.json());
        wait_for_line()
    }

    fn drive(
        &self,
        connections: &mut Connections,
        limit: usize,
        span: Duration,
        prefix: &str,
    ) -> io::Result<Summary> {
        let own: Vec<String> = (0..self.nsqds).map(|number| format!("own-{number}")).collect();
        let process = std::process::id();
        connections.drive(self.depth, limit, span, |at, count, out| match self.kind {
            Kind::Ping => out.extend_from_slice(wire::PING),
            Kind::Known => wire::register(&self.topic, Some("c0"), out),
            Kind::New => {
                wire::register(&format!("{prefix}-{process}-{at}-{count}"), Some("c0"), out);
            }
            Kind::Churn => alternate(&own[at], count, out),
            Kind::ChurnShared => alternate(&self.topic, count, out),
        })
    }
}

fn alternate(topic: &str, count: usize, out: &mut Vec<u8>) {
    match count % 2 {
        0 => wire::register(topic, Some("c0"), out),
        _ => wire::unregister(topic, None, out),
    }
}

/// An idle fleet: every nsqd sends a PING at an interval, evenly spread.
#[derive(Debug, clap::Args)]
pub(crate) struct Paced {
    #[command(flatten)]
    lookupd: Tcp,
    /// nsqds.
    #[arg(long, default_value_t = 10_000)]
    nsqds: usize,
    /// The topic that all of them register.
    #[arg(long, default_value = "paced")]
    topic: String,
    /// Seconds between two PINGs of one nsqd.
    #[arg(long, default_value_t = 15.0)]
    interval: f64,
    /// Seconds.
    #[arg(long, default_value_t = 15.0)]
    seconds: f64,
}

impl Paced {
    pub(crate) fn run(self) -> io::Result<()> {
        let mut connections = Connections::connect(self.lookupd.tcp, self.nsqds)?;
        for nsqd in &mut connections.nsqds {
            nsqd.queue(|out| wire::register(&self.topic, Some("c0"), out));
            nsqd.send()?;
        }
        connections.wait_for_replies()?;
        ready()?;
        print(&self.ping(&mut connections)?.json());
        wait_for_line()
    }

    fn ping(&self, connections: &mut Connections) -> io::Result<Summary> {
        let start = connections.clock.now();
        let end = start + Duration::from_secs_f64(self.seconds);
        let gap = Duration::from_secs_f64(self.interval).div_f64(self.nsqds as f64);
        let clock = connections.clock.clone();
        let mut latency = histogram();
        let mut sent = vec![start; self.nsqds];
        let (mut operations, mut due, mut next) = (0, start, 0);
        loop {
            let now = connections.clock.now();
            while due <= now && due < end {
                sent[next] = due;
                connections.nsqds[next].queue(|out| out.extend_from_slice(wire::PING));
                connections.nsqds[next].send()?;
                next = (next + 1) % self.nsqds;
                due = due + gap;
            }
            if due >= end && connections.nsqds.iter().all(|nsqd| nsqd.unanswered == 0) {
                return Ok(Summary { operations, elapsed: now.since(start), latency });
            }
            connections.poll(due, |at, _, replies| {
                if replies > 0 {
                    latency.saturating_record(micros(clock.now().since(sent[at])));
                    operations += replies;
                }
                Ok(())
            })?;
        }
    }
}
