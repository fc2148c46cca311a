//! [`EventLog`]: logs and counts the events of sessions, in nsqlookupd's words.
//!
//! Must not: decide anything, or block: the log's queue takes a line or drops it. Runs on the
//! TCP workers. Divergence: PING is logged at debug, not info; a peer's ordinary end at info, not error.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::handler::CloseReason;
use crate::logging::{Escaped, Kind, PeerLines, REFUSAL};
use crate::metrics::{Families, StripedCounter};
use crate::protocol::decode::{CommandError, ErrorCode};
use crate::protocol::peer_info::PeerInfo;
use crate::protocol::{MAGIC, wrong_port};
use crate::registry::{LimitReached, RegistrationChange};
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
    /// REGISTERs rejected for want of memory.
    memory_limit: StripedCounter,
    /// REGISTERs rejected because the nsqd has most, and little room is left.
    share_limit: StripedCounter,
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
        counter(name, help, ("limit", "memory"), |all| &all.memory_limit);
        counter(name, help, ("limit", "share"), |all| &all.share_limit);
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
    lines: Arc<PeerLines>,
}

impl EventLog {
    /// An event log that counts in `counters`, and its lines in `lines`.
    #[must_use]
    pub(crate) fn new(counters: Arc<SessionCounters>, lines: Arc<PeerLines>) -> Self {
        Self { counters, lines }
    }

    fn may_log(&self, peer: SocketAddr, kind: Kind) -> bool {
        self.lines.may_log(peer.ip(), kind)
    }

    fn magic(&self, peer: SocketAddr, magic: &[u8]) {
        let text = String::from_utf8_lossy(magic);
        if self.may_log(peer, Kind::Connection) {
            tracing::info!("CLIENT({peer}): desired protocol magic '{}'", Escaped(&text));
        }
        if magic != MAGIC {
            self.counters.bad_magics.inc();
            if !self.may_log(peer, Kind::Refusal) {
                return;
            }
            let hint = wrong_port::on_tcp(magic).map(|hint| format!(": {hint}"));
            let (text, hint) = (Escaped(&text), hint.unwrap_or_default());
            tracing::error!(target: REFUSAL, "client({peer}) bad protocol magic '{text}'{hint}");
        }
    }

    fn refused(&self, peer: SocketAddr, refusal: &CommandError) {
        self.counters.rejected[refusal.code as usize].inc();
        if !self.may_log(peer, Kind::Refusal) {
            return;
        }
        tracing::error!(target: REFUSAL, "[{peer}] - {}", Escaped(&refusal.to_string()));
    }

    fn full(&self, peer: SocketAddr, full: LimitReached, log: bool) {
        let (rejected, what) = match full {
            LimitReached::Nsqd => (
                &self.counters.nsqd_limit,
                "this nsqd has as many registrations as one may have (--max-registrations-per-nsqd)",
            ),
            LimitReached::Registry | LimitReached::HttpNames => (
                &self.counters.registry_limit,
                "there are as many registrations or names as there may be (--max-registrations)",
            ),
            LimitReached::Memory => (
                &self.counters.memory_limit,
                "there is no memory for more registrations (--max-memory)",
            ),
            LimitReached::Share => (
                &self.counters.share_limit,
                "no nsqd has more registrations than this one, and there is room for few \
                 (--max-registrations and --max-memory)",
            ),
        };
        rejected.inc();
        if log && self.may_log(peer, Kind::Refusal) {
            tracing::warn!(
                target: REFUSAL,
                "DB: client({peer}) REGISTER refused: {what}; it is tried again with each PING"
            );
        }
    }

    fn register(&self, peer: SocketAddr, verb: &str, category: &str, key: &str, subkey: &str) {
        if self.may_log(peer, Kind::Registration) {
            tracing::info!(
                "DB: client({peer}) {verb} category:{category} key:{key} subkey:{subkey}"
            );
        }
    }

    fn identified(&self, peer: SocketAddr, who: &PeerInfo) {
        self.counters.identifies.inc();
        if self.may_log(peer, Kind::Connection) {
            tracing::info!(
                "CLIENT({peer}): IDENTIFY Address:{} TCP:{} HTTP:{} Version:{}",
                Escaped(&who.broadcast_address),
                who.tcp_port,
                who.http_port,
                Escaped(&who.version)
            );
        }
        self.register(peer, "REGISTER", "client", "", "");
    }

    fn unregistered(
        &self,
        peer: SocketAddr,
        topic: &str,
        channel: Option<&str>,
        changed: RegistrationChange,
    ) {
        self.counters.unregisters.inc();
        if changed.channels > 0 && channel.is_none() {
            let count = changed.channels;
            if self.may_log(peer, Kind::Registration) {
                tracing::warn!(
                    target: REFUSAL,
                    "client({peer}) unexpected UNREGISTER category:channel key:{topic} ({count} channels)"
                );
            }
        } else if changed.channels > 0 {
            self.register(peer, "UNREGISTER", "channel", topic, channel.unwrap_or_default());
        }
        if changed.topic {
            self.register(peer, "UNREGISTER", "topic", topic, "");
        }
    }

    fn closed(&self, peer: SocketAddr, reason: CloseReason) {
        if reason == CloseReason::Shutdown {
            return tracing::debug!("client({peer}) - closed by the shutdown");
        }
        // What is refused to a peer is said, however many connections it opens.
        let is_refused = reason == CloseReason::NoRoom;
        if !self.may_log(peer, if is_refused { Kind::Refusal } else { Kind::Connection }) {
            return;
        }
        let reason = match reason {
            CloseReason::Finished | CloseReason::Shutdown => {
                return tracing::info!("PROTOCOL(V1): [{peer}] exiting ioloop");
            }
            CloseReason::Unused => {
                return tracing::info!("TCP: client({peer}) sent nothing, connection closed");
            }
            CloseReason::Expired => "read timeout",
            CloseReason::Stalled => "write timeout (peer not reading)",
            CloseReason::Broken => "connection error",
            CloseReason::NoRoom => "too much waits for all peers together",
            CloseReason::Panicked => "internal error (panic), connection closed",
        };
        tracing::error!(target: REFUSAL, "client({peer}) - {reason}");
    }
}

impl Observer for EventLog {
    fn observe(&mut self, peer: SocketAddr, event: SessionEvent<'_>) {
        match event {
            SessionEvent::Connected => {
                if self.may_log(peer, Kind::Connection) {
                    tracing::info!("TCP: new client({peer})");
                }
            }
            SessionEvent::Magic(magic) => self.magic(peer, magic),
            SessionEvent::Identified(who) => self.identified(peer, who.peer_info()),
            SessionEvent::Pinged(since) => {
                self.counters.pings.inc();
                tracing::debug!("CLIENT({peer}): pinged (last ping {since:?})");
            }
            SessionEvent::Registered(topic, channel, changed) => {
                self.counters.registers.inc();
                if changed.channels > 0 {
                    self.register(peer, "REGISTER", "channel", topic, channel.unwrap_or_default());
                }
                if changed.topic {
                    self.register(peer, "REGISTER", "topic", topic, "");
                }
            }
            SessionEvent::Unregistered(topic, channel, changed) => {
                self.unregistered(peer, topic, channel, changed);
            }
            SessionEvent::Left(topic, None) => {
                self.register(peer, "UNREGISTER", "topic", topic, "")
            }
            SessionEvent::Left(topic, Some(channel)) => {
                self.register(peer, "UNREGISTER", "channel", topic, channel);
            }
            SessionEvent::Refused(refusal) => self.refused(peer, refusal),
            SessionEvent::LimitReached(full, log) => self.full(peer, full, log),
            SessionEvent::Closed(reason, identified) => {
                self.closed(peer, reason);
                if identified {
                    self.register(peer, "UNREGISTER", "client", "", "");
                }
            }
        }
    }
}
