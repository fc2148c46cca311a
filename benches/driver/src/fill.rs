//! Fills a registry and keeps it until standard input ends.

use std::io;

use testkit::wire;

use crate::connections::Connections;
use crate::{Tcp, print, ready, wait_for_line};

/// Fills a registry and keeps it.
#[derive(Debug, clap::Args)]
pub(crate) struct Fill {
    #[command(flatten)]
    lookupd: Tcp,
    /// nsqds.
    #[arg(long)]
    nsqds: usize,
    /// Topics `t0`, `t1`, ….
    #[arg(long)]
    topics: usize,
    /// Channels `c0`, … of each topic; without, the topic alone is registered.
    #[arg(long, default_value_t = 1)]
    channels: usize,
    /// Producers of each topic.
    #[arg(long)]
    producers: usize,
}

/// Registrations of each nsqd between two waits for replies.
const STRIDE: usize = 64;

impl Fill {
    pub(crate) fn run(self) -> io::Result<()> {
        let mut connections = Connections::connect(self.lookupd.tcp, self.nsqds)?;
        ready()?;
        let mut sent = 0;
        for topic in 0..self.topics {
            for producer in 0..self.producers {
                let at = (topic * self.producers + producer) % self.nsqds;
                self.register(&mut connections, at, topic)?;
                sent += self.channels.max(1);
            }
            if sent >= STRIDE * self.nsqds {
                sent = 0;
                connections.wait_for_replies()?;
            }
        }
        connections.wait_for_replies()?;
        print("{\"filled\":true}");
        wait_for_line()
    }

    fn register(&self, connections: &mut Connections, at: usize, topic: usize) -> io::Result<()> {
        let nsqd = &mut connections.nsqds[at];
        let topic = format!("t{topic}");
        for channel in 0..self.channels {
            nsqd.queue(|out| wire::register(&topic, Some(&format!("c{channel}")), out));
        }
        if self.channels == 0 {
            nsqd.queue(|out| wire::register(&topic, None, out));
        }
        nsqd.send()
    }
}
