//! Many nsqds on one edge-triggered epoll, each kept at a number of commands in flight.
//!
//! Must not: know what the commands are; whoever runs it says.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use hdrhistogram::Histogram;
use musterd::clock::{Clock, Timestamp};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use crate::nsqd::Nsqd;

/// All connected nsqds of this process.
#[derive(Debug)]
pub(crate) struct Connections {
    epoll: OwnedFd,
    pub(crate) nsqds: Vec<Nsqd>,
    pub(crate) clock: Clock,
    scratch: Vec<u8>,
}

/// The result of a run.
#[derive(Debug)]
pub(crate) struct Summary {
    /// Commands answered.
    pub(crate) operations: usize,
    /// How long it took.
    pub(crate) elapsed: Duration,
    /// Microseconds from a command to its reply; of runs with one in flight.
    pub(crate) latency: Histogram<u64>,
}

impl Summary {
    /// The JSON object that `benches/compare` reads.
    pub(crate) fn json(&self) -> String {
        let at = |quantile| self.latency.value_at_quantile(quantile);
        format!(
            "{{\"operations\":{},\"seconds\":{:.6},\"p50_us\":{},\"p99_us\":{},\"max_us\":{}}}",
            self.operations,
            self.elapsed.as_secs_f64(),
            at(0.5),
            at(0.99),
            self.latency.max()
        )
    }
}

impl Connections {
    /// Connects `count` nsqds and waits until all are identified.
    pub(crate) fn connect(lookupd: SocketAddr, count: usize) -> io::Result<Self> {
        let mut connections = Self::empty()?;
        for number in 0..count {
            connections.join(lookupd, number)?;
        }
        connections.wait_for_replies()?;
        Ok(connections)
    }

    /// No nsqds.
    pub(crate) fn empty() -> io::Result<Self> {
        Ok(Self {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            nsqds: Vec::new(),
            clock: Clock::system(),
            scratch: vec![0; 64 * 1024],
        })
    }

    /// Connects one more; it is identified once its first reply has come.
    pub(crate) fn join(&mut self, lookupd: SocketAddr, number: usize) -> io::Result<()> {
        let mut nsqd = Nsqd::connect(lookupd, number)?;
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        let token = EventData::new_u64(self.nsqds.len() as u64);
        epoll::add(&self.epoll, &nsqd, token, flags)?;
        nsqd.send()?;
        self.nsqds.push(nsqd);
        Ok(())
    }

    /// Waits until all commands are answered.
    pub(crate) fn wait_for_replies(&mut self) -> io::Result<()> {
        let mut unanswered: usize = self.nsqds.iter().map(|nsqd| nsqd.unanswered).sum();
        while unanswered > 0 {
            self.poll(Timestamp::NEVER, |_, _, replies| {
                unanswered -= replies;
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Waits for replies until `deadline` at the latest; calls `each` for every nsqd that is ready, with
    /// the number of its replies.
    pub(crate) fn poll(
        &mut self,
        deadline: Timestamp,
        mut each: impl FnMut(usize, &mut Nsqd, usize) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut events = Vec::with_capacity(512);
        let left = deadline.since(self.clock.now()).min(Duration::from_secs(60));
        let left = Timespec::try_from(left).expect("a minute at most");
        match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&left)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in events {
            let at = usize::try_from(event.data.u64()).expect("an index");
            let nsqd = &mut self.nsqds[at];
            let replies = nsqd.receive(&mut self.scratch)?;
            each(at, nsqd, replies)?;
            nsqd.send()?;
        }
        Ok(())
    }

    /// Keeps `depth` commands of each nsqd in flight, until `limit` are answered or `span` is
    /// over, then waits for the rest. `queue(nsqd's number, its count so far, out)` appends one.
    pub(crate) fn drive(
        &mut self,
        depth: usize,
        limit: usize,
        span: Duration,
        mut queue: impl FnMut(usize, usize, &mut Vec<u8>),
    ) -> io::Result<Summary> {
        let start = self.clock.now();
        let until = start + span;
        let clock = self.clock.clone();
        let mut sent = vec![(0, start); self.nsqds.len()];
        let mut latency = histogram();
        let (mut queued, mut answered) = (0, 0);
        let mut feed = |at: usize, nsqd: &mut Nsqd, now: Timestamp| {
            while nsqd.unanswered < depth && queued < limit && now < until {
                let (count, since) = &mut sent[at];
                if depth == 1 && *count > 0 {
                    latency.saturating_record(micros(now.since(*since)));
                }
                nsqd.queue(|out| queue(at, *count, out));
                *count += 1;
                *since = now;
                queued += 1;
            }
            queued
        };
        let mut all = 0;
        for (at, nsqd) in self.nsqds.iter_mut().enumerate() {
            all = feed(at, nsqd, clock.now());
            nsqd.send()?;
        }
        while answered < all {
            self.poll(Timestamp::NEVER, |at, nsqd, replies| {
                answered += replies;
                all = feed(at, nsqd, clock.now());
                Ok(())
            })?;
        }
        Ok(Summary { operations: answered, elapsed: self.clock.now().since(start), latency })
    }
}

/// An empty histogram of microseconds, up to ten minutes.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000, 3).expect("valid bounds")
}

/// Whole microseconds.
pub(crate) fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
