//! A registry of a given shape, held until the driver's input ends.

use std::io;

use testkit::wire;

use crate::crowd::Crowd;
use crate::{Tcp, heard, ready, say};

/// Fills a registry and holds it.
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

/// Registrations that one nsqd sends before the next one's turn: every socket stays busy.
const STRIDE: usize = 64;

impl Fill {
    pub(crate) fn run(self) -> io::Result<()> {
        let mut crowd = Crowd::connect(self.lookupd.tcp, self.nsqds)?;
        ready()?;
        let mut sent = 0;
        for topic in 0..self.topics {
            for producer in 0..self.producers {
                let at = (topic * self.producers + producer) % self.nsqds;
                self.register(&mut crowd, at, topic)?;
                sent += self.channels.max(1);
            }
            if sent >= STRIDE * self.nsqds {
                sent = 0;
                crowd.settle()?;
            }
        }
        crowd.settle()?;
        say("{\"filled\":true}");
        heard()
    }

    fn register(&self, crowd: &mut Crowd, at: usize, topic: usize) -> io::Result<()> {
        let nsqd = &mut crowd.nsqds[at];
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
