//! [`EventLog`]: logs and counts the events of sessions, in nsqlookupd's words.
//!
//! Must not: decide anything, or block: the log's queue takes a line or drops it. Runs on the
//! TCP workers. Divergence: PING is logged at debug, not info; a peer's ordinary end at info, not error.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::handler::CloseReason;
use crate::logging::Escaped;
use crate::metrics::{Families, StripedCounter};
use crate::protocol::MAGIC;
use crate::protocol::decode::{CommandError, ErrorCode};
use crate::registry::LimitReached;
use crate::session::{Observer, SessionEvent};

/// Counts of the sessions of all TCP workers.
#[derive(Debug, Default)]
pub(crate) struct SessionCounters {
    identifies: StripedCounter,
    pings: StripedCounter,
    registers: StripedCounter,
    unregisters: StripedCounter,
    /// Commands rejected, by [`ErrorCode`].
    rejected: [StripedCounter; ErrorCode::ALL.len()],
    /// Connections that did not begin with the magic.
    bad_magics: StripedCounter,
    /// REGISTERs rejected by the limit of one nsqd.
    nsqd_limit: StripedCounter,
    /// REGISTERs rejected by the limit of the registry.
    registry_limit: StripedCounter,
}

impl SessionCounters {
    /// Registers the families of commands.
    pub(crate) fn register_metrics(self: &Arc<Self>, families: &mut Families) {
        let mut counter = |name, help, label, read: fn(&Self) -> &StripedCounter| {
            let counters = Arc::clone(self);
            families.counter(name, help, &[label], move || read(&counters).get());
        };
        let (name, help) = ("musterd_commands_total", "Commands of nsqds that were carried out.");
        counter(name, help, ("command", "IDENTIFY"), |all| &all.identifies);
        counter(name, help, ("command", "PING"), |all| &all.pings);
        counter(name, help, ("command", "REGISTER"), |all| &all.registers);
        counter(name, help, ("command", "UNREGISTER"), |all| &all.unregisters);
        let name = "musterd_registrations_rejected_total";
        let help = "REGISTER commands rejected because a limit was reached.";
        counter(name, help, ("limit", "nsqd"), |all| &all.nsqd_limit);
        counter(name, help, ("limit", "registry"), |all| &all.registry_limit);
        let name = "musterd_commands_rejected_total";
        let help = "Commands answered with an error, which ends the connection.";
        counter(name, help, ("code", "E_BAD_PROTOCOL"), |all| &all.bad_magics);
        for code in ErrorCode::ALL {
            let counters = Arc::clone(self);
            let count = move || counters.rejected[code as usize].get();
            families.counter(name, help, &[("code", code.as_str())], count);
        }
    }
}

/// The observer of one TCP worker's sessions.
#[derive(Clone, Debug)]
pub(crate) struct EventLog {
    counters: Arc<SessionCounters>,
}

impl EventLog {
    /// An event log that counts in `counters`.
    #[must_use]
    pub(crate) fn new(counters: Arc<SessionCounters>) -> Self {
        Self { counters }
    }

    fn magic(&self, peer: SocketAddr, magic: &[u8]) {
        let text = String::from_utf8_lossy(magic);
        tracing::info!("CLIENT({peer}): desired protocol magic '{}'", Escaped(&text));
        if magic != MAGIC {
            self.counters.bad_magics.inc();
            tracing::error!("client({peer}) bad protocol magic '{}'", Escaped(&text));
        }
    }

    fn refused(&self, peer: SocketAddr, refusal: &CommandError) {
        self.counters.rejected[refusal.code as usize].inc();
        tracing::error!("[{peer}] - {}", Escaped(&refusal.to_string()));
    }

    fn full(&self, peer: SocketAddr, full: LimitReached, log: bool) {
        let (rejected, what) = match full {
            LimitReached::Nsqd => (
                &self.counters.nsqd_limit,
                "this nsqd has as many registrations as one may have (--max-registrations-per-nsqd)",
            ),
            LimitReached::Registry => (
                &self.counters.registry_limit,
                "there are as many registrations or names as there may be (--max-registrations)",
            ),
        };
        rejected.inc();
        if log {
            tracing::warn!(
                "DB: client({peer}) REGISTER refused: {what}; it is tried again with each PING"
            );
        }
    }
}

fn register(peer: SocketAddr, verb: &str, category: &str, key: &str, subkey: &str) {
    tracing::info!("DB: client({peer}) {verb} category:{category} key:{key} subkey:{subkey}");
}

fn closed(peer: SocketAddr, reason: CloseReason) {
    let reason = match reason {
        CloseReason::Finished => return tracing::info!("PROTOCOL(V1): [{peer}] exiting ioloop"),
        CloseReason::Shutdown => return tracing::debug!("client({peer}) - closed by the shutdown"),
        CloseReason::Expired => "read timeout",
        CloseReason::Stalled => "write timeout (peer not reading)",
        CloseReason::Broken => "connection error",
        CloseReason::Panicked => "internal error (panic), connection closed",
    };
    tracing::error!("client({peer}) - {reason}");
}

impl Observer for EventLog {
    fn observe(&mut self, peer: SocketAddr, event: SessionEvent<'_>) {
        match event {
            SessionEvent::Connected => tracing::info!("TCP: new client({peer})"),
            SessionEvent::Magic(magic) => self.magic(peer, magic),
            SessionEvent::Identified(who) => {
                self.counters.identifies.inc();
                let who = who.peer_info();
                tracing::info!(
                    "CLIENT({peer}): IDENTIFY Address:{} TCP:{} HTTP:{} Version:{}",
                    Escaped(&who.broadcast_address),
                    who.tcp_port,
                    who.http_port,
                    Escaped(&who.version)
                );
                register(peer, "REGISTER", "client", "", "");
            }
            SessionEvent::Pinged(since) => {
                self.counters.pings.inc();
                tracing::debug!("CLIENT({peer}): pinged (last ping {since:?})");
            }
            SessionEvent::Registered(topic, channel, changed) => {
                self.counters.registers.inc();
                if changed.channels > 0 {
                    register(peer, "REGISTER", "channel", topic, channel.unwrap_or_default());
                }
                if changed.topic {
                    register(peer, "REGISTER", "topic", topic, "");
                }
            }
            SessionEvent::Unregistered(topic, channel, changed) => {
                self.counters.unregisters.inc();
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
            SessionEvent::Left(topic, None) => register(peer, "UNREGISTER", "topic", topic, ""),
            SessionEvent::Left(topic, Some(channel)) => {
                register(peer, "UNREGISTER", "channel", topic, channel);
            }
            SessionEvent::Refused(refusal) => self.refused(peer, refusal),
            SessionEvent::LimitReached(full, log) => self.full(peer, full, log),
            SessionEvent::Closed(reason, identified) => {
                closed(peer, reason);
                if identified {
                    register(peer, "UNREGISTER", "client", "", "");
                }
            }
        }
    }
}
