//! Commands flat out, and pings at the pace of a quiet fleet.

use std::io;
use std::time::Duration;

use testkit::wire;

use crate::crowd::{Crowd, Tally, histogram, micros};
use crate::{Tcp, heard, ready, say};

/// What each nsqd sends.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Kind {
    /// PING.
    Ping,
    /// REGISTER of what it has registered already.
    Known,
    /// REGISTER of a topic and channel that are new, every time.
    New,
    /// REGISTER and UNREGISTER of one topic in turn: each has its own.
    Churn,
    /// The same, of one topic for all.
    ChurnShared,
}

/// Many nsqds with commands in flight, flat out.
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
        let mut crowd = Crowd::connect(self.lookupd.tcp, self.nsqds)?;
        // What is known must be there; and a connection's first command is no measure.
        self.drive(&mut crowd, 2 * self.nsqds, Duration::from_secs(60), "warm")?;
        ready()?;
        let span = Duration::from_secs_f64(self.seconds);
        say(&self.drive(&mut crowd, self.count, span, "new")?.json());
        heard()
    }

    fn drive(
        &self,
        crowd: &mut Crowd,
        limit: usize,
        span: Duration,
        prefix: &str,
    ) -> io::Result<Tally> {
        let own: Vec<String> = (0..self.nsqds).map(|number| format!("own-{number}")).collect();
        let process = std::process::id();
        crowd.drive(self.depth, limit, span, |at, count, out| match self.kind {
            Kind::Ping => out.extend_from_slice(wire::PING),
            Kind::Known => wire::register(&self.topic, Some("c0"), out),
            Kind::New => {
                wire::register(&format!("{prefix}-{process}-{at}-{count}"), Some("c0"), out);
            }
            Kind::Churn => come_and_go(&own[at], count, out),
            Kind::ChurnShared => come_and_go(&self.topic, count, out),
        })
    }
}

fn come_and_go(topic: &str, count: usize, out: &mut Vec<u8>) {
    match count % 2 {
        0 => wire::register(topic, Some("c0"), out),
        _ => wire::unregister(topic, None, out),
    }
}

/// A quiet fleet: every nsqd pings at an interval, evenly spread.
#[derive(Debug, clap::Args)]
pub(crate) struct Paced {
    #[command(flatten)]
    lookupd: Tcp,
    /// nsqds.
    #[arg(long, default_value_t = 10_000)]
    nsqds: usize,
    /// What all of them carry.
    #[arg(long, default_value = "paced")]
    topic: String,
    /// Seconds between two pings of one.
    #[arg(long, default_value_t = 15.0)]
    interval: f64,
    /// Seconds.
    #[arg(long, default_value_t = 15.0)]
    seconds: f64,
}

impl Paced {
    pub(crate) fn run(self) -> io::Result<()> {
        let mut crowd = Crowd::connect(self.lookupd.tcp, self.nsqds)?;
        for nsqd in &mut crowd.nsqds {
            nsqd.queue(|out| wire::register(&self.topic, Some("c0"), out));
            nsqd.send()?;
        }
        crowd.settle()?;
        ready()?;
        say(&self.ping(&mut crowd)?.json());
        heard()
    }

    fn ping(&self, crowd: &mut Crowd) -> io::Result<Tally> {
        let start = crowd.clock.now();
        let end = start + Duration::from_secs_f64(self.seconds);
        let gap = Duration::from_secs_f64(self.interval).div_f64(self.nsqds as f64);
        let clock = crowd.clock.clone();
        let mut latency = histogram();
        let mut sent = vec![start; self.nsqds];
        let (mut operations, mut due, mut next) = (0, start, 0);
        loop {
            let now = crowd.clock.now();
            while due <= now && due < end {
                sent[next] = due;
                crowd.nsqds[next].queue(|out| out.extend_from_slice(wire::PING));
                crowd.nsqds[next].send()?;
                next = (next + 1) % self.nsqds;
                due = due + gap;
            }
            if due >= end && crowd.nsqds.iter().all(|nsqd| nsqd.owed == 0) {
                return Ok(Tally { operations, elapsed: now.since(start), latency });
            }
            crowd.turn(due, |at, _, replies| {
                if replies > 0 {
                    latency.saturating_record(micros(clock.now().since(sent[at])));
                    operations += replies;
                }
                Ok(())
            })?;
        }
    }
}
