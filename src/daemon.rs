//! The daemon: the order in which it starts, what it waits for, and the order in which it stops.
//!
//! Must not: serve anything itself. Runs on the main thread; the shards and HTTP's workers are
//! told to stop through their mailboxes, and their end, expected or not, comes back by a channel.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use crossbeam::channel::{Receiver, after, never, select, tick, unbounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::access::{AcceptPolicy, Denials, DenyReason, Rejection, TokenFile, WritePolicy};
use crate::api::{
    Api, ApiService, CACHE_FROM, OutputBudget, Responses, TOO_MANY_CONNECTIONS,
    TOO_MANY_CONNECTIONS_PER_IP, minihttp,
};
use crate::clock::{Clock, Timestamp};
use crate::config::{Config, HttpEngine, VERSION, hostname};
use crate::connections::{ConnectionCounters, HostConfig, Options, WorkerExit, Workers};
use crate::event_log::{EventLog, SessionCounters};
use crate::http::server;
use crate::limits;
use crate::logging::DroppedLines;
use crate::metrics::{self, Families};
use crate::protocol::{NSQ_VERSION, encode};
use crate::registry::{Capacity, Registry};
use crate::resources::{self, Resources};
use crate::session::{Sessions, Timeouts};
use crate::shard;
use crate::snapshots::{Snapshots, Visibility};
use crate::watchdog::{self, DenialWarnings, Stalled, Watchdog};

/// Why the daemon did not start, or did not go on.
#[derive(Debug)]
pub enum Failure {
    /// What it stands on is missing.
    Resources(resources::Failure),
    /// A part could not be started.
    Start(&'static str, io::Error),
    /// A table of a side ended: its peers hang.
    Died(&'static str, Option<WorkerExit>),
    /// A table of a side does not take turns any more: its peers hang.
    Stalled(Stalled),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resources(failure) => failure.fmt(f),
            Self::Start(what, error) => write!(f, "{what} did not start: {error}"),
            Self::Died(what, Some(WorkerExit { table, result: Err(error) })) => {
                write!(f, "{what} table {table} ended: {error}")
            }
            Self::Stalled(stalled) => stalled.fmt(f),
            Self::Died(what, _) => write!(f, "a table of {what} ended unasked"),
        }
    }
}

impl std::error::Error for Failure {}

/// Runs the daemon until a signal stops it; `dropped` is what its log has lost.
///
/// # Errors
/// [`Failure`]; nothing is left half-started.
pub fn run(config: &Config, clock: &Clock, dropped: &DroppedLines) -> Result<(), Failure> {
    let signals = signals().map_err(|error| Failure::Start("the signal handler", error))?;
    let resources = Resources::prepare(config).map_err(Failure::Resources)?;
    tracing::info!("{VERSION}");
    let capacity = Capacity {
        registrations: config.max_registrations,
        per_nsqd: config.max_registrations_per_nsqd,
    };
    let registry = Arc::new(Registry::new(Arc::new(Snapshots::default()), capacity));
    let denials = Arc::default();
    let parts = Parts { config, clock, registry, denials, dropped, sessions: Arc::default() };
    let token = resources.http_write_token.as_ref();
    let is_exposed = token.is_some_and(|file| file.is_world_readable);
    let sides = parts.start(resources)?;
    if is_exposed {
        tracing::warn!("every user of this host can read --http-write-token-file: `chmod o-r` it");
    }
    let ended = wait(&sides, &parts.denials, clock, &signals);
    stop(sides, clock, &signals);
    ended
}

/// SIGTERM, SIGINT and SIGHUP, as a channel.
fn signals() -> io::Result<Receiver<i32>> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let (send, receive) = unbounded();
    let listen = move || signals.forever().take_while(|&signal| send.send(signal).is_ok()).count();
    std::thread::Builder::new().name("signals".to_owned()).spawn(listen)?;
    Ok(receive)
}

/// What both sides are made of.
struct Parts<'a> {
    config: &'a Config,
    clock: &'a Clock,
    registry: Arc<Registry>,
    sessions: Arc<SessionCounters>,
    denials: Arc<Denials>,
    dropped: &'a DroppedLines,
}

/// One of the two sides, running.
struct Side {
    name: &'static str,
    address: SocketAddr,
    /// None for the second engine, which cannot be asked to stop.
    running: Option<Workers>,
    tables: usize,
    exits: Receiver<WorkerExit>,
    counters: Arc<ConnectionCounters>,
}

impl Parts<'_> {
    /// Starts both sides, or neither.
    fn start(&self, resources: Resources) -> Result<[Side; 2], Failure> {
        let address = |listener: &TcpListener| {
            listener.local_addr().map_err(|error| Failure::Start("a listener", error))
        };
        let (tcp, http) = (address(&resources.tcp)?, address(&resources.http)?);
        let shards = (resources.shards.get(), &*resources.cpus);
        let tcp = self.tcp(resources.tcp_connections, shards, resources.tcp, [tcp, http])?;
        let mut families = self.families();
        let max = resources.tcp_connections as u64;
        tcp.counters.register_metrics(&mut families, "tcp", max);
        let http = self
            .http(
                resources.http_connections,
                resources.http_workers.get(),
                resources.http,
                http,
                self.write_policy(resources.http_write_token),
                families,
            )
            .inspect_err(|_| tcp.stop(self.clock.now()))?;
        let sides = [tcp, http];
        for side in &sides {
            tracing::info!("{}: listening on {}", side.name, side.address);
        }
        Ok(sides)
    }

    /// The families of `/metrics`, but for those of the listeners.
    fn families(&self) -> Families {
        let mut families = Families::default();
        let labels = [("version", env!("CARGO_PKG_VERSION")), ("nsq_version", NSQ_VERSION)];
        families.info(
            "musterd_build_info",
            "The version, and the NSQ version it replaces.",
            &labels,
        );
        metrics::register_process(&mut families);
        let timeout = self.config.inactive_producer_timeout;
        self.registry.register_metrics(&mut families, self.clock, timeout);
        self.sessions.register_metrics(&mut families);
        self.denials.register_metrics(&mut families);
        self.dropped.register_metrics(&mut families);
        families
    }

    /// Who may change things over HTTP; none: everyone.
    fn write_policy(&self, token: Option<TokenFile>) -> Option<Arc<WritePolicy>> {
        let allowed = self.config.http_write_allow.clone();
        WritePolicy::new(allowed, token.map(|file| file.token), Arc::clone(&self.denials))
    }

    fn tcp(
        &self,
        connections: usize,
        (shards, cpus): (usize, &[usize]),
        listener: TcpListener,
        [tcp, http]: [SocketAddr; 2],
    ) -> Result<Side, Failure> {
        let config = self.config;
        let (broadcast, host) = (&config.broadcast_address, hostname());
        let identify_response =
            encode::identify_response(broadcast, &host, tcp.port(), http.port());
        let identify_response: Arc<[u8]> = identify_response.into();
        let timeouts = Timeouts {
            handshake: config.handshake_timeout,
            ..Timeouts::with_inactive_timeout(config.inactive_producer_timeout)
        };
        let event_log = EventLog::new(Arc::clone(&self.sessions));
        let registry = Arc::clone(&self.registry);
        let options = Options {
            max_connections: connections as u64,
            refusal: b"",
            keepalive: Some(limits::KEEPALIVE),
        };
        let each = self.config.max_connections_per_ip;
        let policy = AcceptPolicy::new(Arc::clone(&self.denials))
            .allow_only(
                &config.tcp_allow,
                Rejection { reason: DenyReason::TcpAllow, message: encode::ADDRESS_NOT_ALLOWED },
            )
            .limit_per_ip(
                each,
                Rejection { reason: DenyReason::TcpPerIp, message: encode::TOO_MANY_CONNECTIONS },
            );
        let (exits, hear) = unbounded();
        let hosting = HostConfig {
            tables: shards,
            listener,
            route: shard::by_peer(shards),
            policy: policy.if_any_rule(),
            options,
            clock: self.clock.clone(),
            counters: Arc::default(),
            exits,
        };
        Side::start("TCP", tcp, hosting, hear, |hosting| {
            shard::spawn(hosting, cpus, move |_| {
                let (registry, identify_response) =
                    (Arc::clone(&registry), Arc::clone(&identify_response));
                Sessions::new(registry, timeouts, identify_response, event_log.clone())
            })
        })
    }

    fn http(
        &self,
        connections: usize,
        workers: usize,
        listener: TcpListener,
        address: SocketAddr,
        write_policy: Option<Arc<WritePolicy>>,
        mut families: Families,
    ) -> Result<Side, Failure> {
        let (counters, responses) = (Arc::new(ConnectionCounters::default()), Arc::default());
        counters.register_metrics(&mut families, "http", connections as u64);
        Responses::register_metrics(&responses, &mut families);
        let visibility = Visibility {
            inactive_producer_timeout: self.config.inactive_producer_timeout,
            tombstone_lifetime: self.config.tombstone_lifetime,
        };
        let (registry, metrics) = (Arc::clone(&self.registry), Arc::new(families));
        let api = Api { registry, visibility, cache_from: CACHE_FROM, metrics };
        let queued = Arc::clone(&counters);
        let output = OutputBudget(Arc::new(move || queued.queued_output()));
        let service = ApiService::new(api, write_policy, responses, output, self.clock.clone());
        if self.config.http_engine == HttpEngine::Minihttp {
            // It binds for itself; that the port is free is known since ours was bound.
            drop(listener);
            minihttp::start(service, self.clock.clone(), address, workers)
                .map_err(|error| Failure::Start("may_minihttp", error))?;
            let exits = never();
            return Ok(Side { name: "HTTP", address, running: None, tables: 0, exits, counters });
        }
        let options = Options {
            max_connections: connections as u64,
            refusal: TOO_MANY_CONNECTIONS,
            keepalive: None,
        };
        let away =
            Rejection { reason: DenyReason::HttpPerIp, message: TOO_MANY_CONNECTIONS_PER_IP };
        let policy = AcceptPolicy::new(Arc::clone(&self.denials))
            .limit_per_ip(self.config.max_connections_per_ip, away);
        let (exits, hear) = unbounded();
        let hosting = HostConfig {
            tables: workers,
            listener,
            route: server::in_turn(workers),
            policy: policy.if_any_rule(),
            options,
            clock: self.clock.clone(),
            counters,
            exits,
        };
        Side::start("HTTP", address, hosting, hear, |hosting| {
            server::spawn(hosting, |_| service.clone())
        })
    }
}

impl Side {
    /// Starts the tables of a side, whose ends `exits` hears.
    fn start(
        name: &'static str,
        address: SocketAddr,
        hosting: HostConfig,
        exits: Receiver<WorkerExit>,
        spawn: impl FnOnce(HostConfig) -> io::Result<Workers>,
    ) -> Result<Self, Failure> {
        let (tables, counters) = (hosting.tables, Arc::clone(&hosting.counters));
        let running = spawn(hosting).map_err(|error| Failure::Start(name, error))?;
        Ok(Self { name, address, running: Some(running), tables, exits, counters })
    }

    /// Asks it to stop, and to end what is left at `deadline`.
    fn stop(&self, deadline: Timestamp) {
        if let Some(running) = &self.running {
            running.stop(deadline);
        }
    }
}

/// Waits for a reason to stop: a signal, or the unasked end of a table.
fn wait(
    sides: &[Side; 2],
    denials: &Denials,
    clock: &Clock,
    signals: &Receiver<i32>,
) -> Result<(), Failure> {
    let [tcp, http] = sides;
    let looks = tick(watchdog::INTERVAL);
    let mut watches = sides.each_ref().map(|side| {
        let handles = side.running.as_ref().map(Workers::handles).unwrap_or_default();
        Watchdog::new(side.name, &side.counters, handles)
    });
    let mut access = DenialWarnings::new(denials);
    loop {
        select! {
            recv(signals) -> signal => match signal {
                Ok(SIGHUP) => tracing::info!("SIGHUP: there is nothing to reload"),
                _ => return Ok(()),
            },
            recv(tcp.exits) -> exit => return Err(Failure::Died(tcp.name, exit.ok())),
            recv(http.exits) -> exit => return Err(Failure::Died(http.name, exit.ok())),
            recv(looks) -> _ => {
                let now = clock.now();
                access.check(now);
                watches.iter_mut().try_for_each(|watch| watch.check(now)).map_err(Failure::Stalled)?;
            }
        }
    }
}

/// Stops both sides: no more accepts, what is in flight is finished, the rest ends. Waits for that,
/// but no longer than [`limits::SHUTDOWN`], nor past a second signal.
fn stop(sides: [Side; 2], clock: &Clock, signals: &Receiver<i32>) {
    let deadline = clock.now() + limits::DRAIN;
    for side in &sides {
        tracing::info!("{}: closing {}", side.name, side.address);
        side.stop(deadline);
    }
    let late = after(limits::SHUTDOWN);
    for side in sides {
        for _ in 0..side.tables {
            select! {
                recv(side.exits) -> exit => if let Ok(WorkerExit { table, result: Err(error) }) = exit {
                    tracing::error!("{} {table}: {error}", side.name);
                },
                recv(late) -> _ => return tracing::warn!("{} did not stop in time", side.name),
                recv(signals) -> _ => return tracing::warn!("a second signal: not waiting"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_never_ends_does_not_hold_up_the_end() {
        let (table, exits) = unbounded();
        let side = |name, exits, tables| Side {
            name,
            address: ([127, 0, 0, 1], 0).into(),
            running: None,
            tables,
            exits,
            counters: Arc::default(),
        };
        let sides = [side("TCP", exits, 1), side("HTTP", never(), 0)];
        let (stopped, has_stopped) = unbounded();
        std::thread::spawn(move || {
            stop(sides, &Clock::system(), &never());
            stopped.send(())
        });
        has_stopped.recv_timeout(4 * limits::SHUTDOWN).expect("the end does not wait for it");
        drop(table);
    }
}
