//! Logs and counts what sessions tell, in nsqlookupd's words.
//!
//! Must not: decide anything, or block: the log's queue takes a line or drops it. Runs on the
//! shards. Divergence: PING is logged at debug, not info; a peer's ordinary end at info, not error.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::flow::Ended;
use crate::logging::Printable;
use crate::metrics::Metrics;
use crate::protocol::MAGIC;
use crate::protocol::decode::Refusal;
use crate::registry::Full;
use crate::session::{Event, Observer};

/// The observer of one shard's sessions.
#[derive(Clone, Debug)]
pub struct Journal {
    metrics: Arc<Metrics>,
    /// Whether it has been said that the registry is full: once is enough.
    warned: Arc<AtomicBool>,
}

impl Journal {
    /// A journal that counts in `metrics`; clones warn once together.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, warned: Arc::default() }
    }

    fn magic(&self, peer: SocketAddr, magic: &[u8]) {
        let text = String::from_utf8_lossy(magic);
        tracing::info!("CLIENT({peer}): desired protocol magic '{}'", Printable(&text));
        if magic != MAGIC {
            self.metrics.bad_magics.count();
            tracing::error!("client({peer}) bad protocol magic '{}'", Printable(&text));
        }
    }

    fn refused(&self, peer: SocketAddr, refusal: &Refusal) {
        self.metrics.refused(refusal.code);
        tracing::error!("[{peer}] - {}", Printable(&refusal.to_string()));
    }

    fn full(&self, peer: SocketAddr, full: Full) {
        self.metrics.full.count();
        if !self.warned.swap(true, Ordering::Relaxed) {
            let what = match full {
                Full::Peer => "this nsqd has as many registrations as one may have",
                Full::Registry => "there are as many registrations or names as there may be",
            };
            tracing::warn!(
                "DB: client({peer}) REGISTER refused: {what} (--max-registrations-per-nsqd, \
                 --max-registrations); this is said once, musterd_registry_full_total counts on"
            );
        }
    }
}

fn register(peer: SocketAddr, verb: &str, category: &str, key: &str, subkey: &str) {
    tracing::info!("DB: client({peer}) {verb} category:{category} key:{key} subkey:{subkey}");
}

fn ended(peer: SocketAddr, why: Ended) {
    let why = match why {
        Ended::Finished => return tracing::info!("PROTOCOL(V1): [{peer}] exiting ioloop"),
        Ended::Shutdown => return tracing::debug!("client({peer}) - closed by the shutdown"),
        Ended::Expired => "nothing, or no whole command, came in time",
        Ended::Stalled => "it did not read its replies",
        Ended::Broken => "the connection broke",
        Ended::Panicked => "its session panicked",
    };
    tracing::error!("client({peer}) - {why}");
}

impl Observer for Journal {
    fn observe(&mut self, peer: SocketAddr, event: Event<'_>) {
        match event {
            Event::Connected => tracing::info!("TCP: new client({peer})"),
            Event::Magic(magic) => self.magic(peer, magic),
            Event::Identified(who) => {
                self.metrics.identifies.count();
                let who = who.identity();
                tracing::info!(
                    "CLIENT({peer}): IDENTIFY Address:{} TCP:{} HTTP:{} Version:{}",
                    Printable(&who.broadcast_address),
                    who.tcp_port,
                    who.http_port,
                    Printable(&who.version)
                );
                register(peer, "REGISTER", "client", "", "");
            }
            Event::Pinged(since) => {
                self.metrics.pings.count();
                tracing::debug!("CLIENT({peer}): pinged (last ping {since:?})");
            }
            Event::Registered(topic, channel, changed) => {
                self.metrics.registers.count();
                if changed.channels > 0 {
                    register(peer, "REGISTER", "channel", topic, channel.unwrap_or_default());
                }
                if changed.topic {
                    register(peer, "REGISTER", "topic", topic, "");
                }
            }
            Event::Unregistered(topic, channel, changed) => {
                self.metrics.unregisters.count();
                if changed.channels > 0 && channel.is_none() {
                    let count = changed.channels;
                    tracing::warn!(
                        "client({peer}) unexpected UNREGISTER category:channel key:{topic} ({count} channels)"
                    );
                } else if changed.channels > 0 {
                    register(peer, "UNREGISTER", "channel", topic, channel.unwrap_or_default());
                }
                if changed.topic {
                    register(peer, "UNREGISTER", "topic", topic, "");
                }
            }
            Event::Left(topic, None) => register(peer, "UNREGISTER", "topic", topic, ""),
            Event::Left(topic, Some(channel)) => {
                register(peer, "UNREGISTER", "channel", topic, channel);
            }
            Event::Refused(refusal) => self.refused(peer, refusal),
            Event::Full(full) => self.full(peer, full),
            Event::Ended(why, identified) => {
                ended(peer, why);
                if identified {
                    register(peer, "UNREGISTER", "client", "", "");
                }
            }
        }
    }
}
