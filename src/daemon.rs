//! The daemon: the order in which it starts, what it waits for, and the order in which it stops.
//!
//! Must not: serve anything itself. Runs on the main thread; workers are told to stop through their
//! event loops' queues, and their end, asked for or not, comes back by a channel.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use crossbeam::channel::{Receiver, after, never, select, tick, unbounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::access::{AcceptPolicy, Denials, DenyReason, Rejection, Token, TokenError, WritePolicy};
use crate::api::{
    Api, ApiService, CACHE_FROM, OutputBudget, RequestDurations, TOO_MANY_CONNECTIONS,
    TOO_MANY_CONNECTIONS_PER_IP, minihttp,
};
use crate::clock::{Clock, Timestamp};
use crate::config::{Config, HttpEngine, VERSION, hostname};
use crate::connections::{ConnectionCounters, Options};
use crate::event_log::{EventLog, SessionCounters};
use crate::hosts::{self, HostConfig, Runtime, WorkerExit, Workers, glommio, may, thread};
use crate::limits;
use crate::logging::DroppedLines;
use crate::metrics::{self, Families};
use crate::protocol::{NSQ_VERSION, encode};
use crate::registry::{Capacity, Registry};
use crate::resources::{self, Port, Resources};
use crate::session::{Sessions, Timeouts};
use crate::snapshots::{Snapshots, Visibility};
use crate::watchdog::{self, DenialWarnings, Stalled, Watchdog};

/// Why the daemon did not start, or did not go on.
#[derive(Debug)]
pub enum Failure {
    /// The token file has no token.
    Token(TokenError),
    /// The system does not give what it needs.
    Resources(resources::Failure),
    /// A part could not be started.
    Start(&'static str, io::Error),
    /// A worker of a server ended unasked: its peers hang.
    Exited(&'static str, Option<WorkerExit>),
    /// A worker does not iterate any more: its peers hang.
    Stalled(Stalled),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(error) => error.fmt(f),
            Self::Resources(failure) => failure.fmt(f),
            Self::Start(what, error) => write!(f, "{what} did not start: {error}"),
            Self::Exited(server, Some(WorkerExit { worker, result: Err(error) })) => {
                write!(f, "{server} worker {worker} ended: {error}")
            }
            Self::Exited(server, _) => write!(f, "a {server} worker ended unasked"),
            Self::Stalled(stalled) => stalled.fmt(f),
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
    let token_file = config.http_write_token_file.as_deref().map(Token::load);
    let token_file = token_file.transpose().map_err(Failure::Token)?;
    let is_exposed = token_file.as_ref().is_some_and(|file| file.is_world_readable);
    let resources = Resources::prepare(config).map_err(Failure::Resources)?;
    log_plan(&resources);
    let shared = Shared::new(config, clock, dropped);
    let http_address = resources.http.address;
    let tcp_host = TcpHost { runtime: resources.tcp_runtime, cpus: resources.cpus };
    let mut families = shared.families(resources.tcp_runtime);
    let tcp = shared.start_tcp(resources.tcp, tcp_host, http_address, &mut families)?;
    let http = shared
        .start_http(resources.http, token_file.map(|file| file.token), families)
        .inspect_err(|_| tcp.stop(clock.now()))?;
    let servers = [tcp, http];
    for server in &servers {
        tracing::info!("{}: listening on {}", server.name, server.address);
    }
    if is_exposed {
        tracing::warn!("every user of this host can read --http-write-token-file: `chmod o-r` it");
    }
    let ended = wait(&servers, &shared.denials, clock, &signals);
    stop(servers, clock, &signals);
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

/// Logs what is about to start, and why so.
fn log_plan(resources: &Resources) {
    tracing::info!("{VERSION}");
    let runtime = resources.tcp_runtime.as_str();
    if let Some(failure) = &resources.no_glommio {
        tracing::info!("TCP: {runtime} instead of glommio: {failure}");
    }
    tracing::info!("TCP: {runtime}, {}", resources.tcp.workers);
    tracing::info!("HTTP: may, {}", resources.http.workers);
}

/// What both servers share.
struct Shared<'a> {
    config: &'a Config,
    clock: &'a Clock,
    registry: Arc<Registry>,
    sessions: Arc<SessionCounters>,
    denials: Arc<Denials>,
    dropped: &'a DroppedLines,
}

/// What runs the TCP workers.
struct TcpHost {
    runtime: Runtime,
    /// See [`HostConfig::cpus`].
    cpus: Vec<usize>,
}

/// What serves one of the two ports, running.
struct Server {
    name: &'static str,
    address: SocketAddr,
    /// None for may_minihttp, which cannot be asked to stop.
    workers: Option<Workers>,
    count: usize,
    exits: Receiver<WorkerExit>,
    counters: Arc<ConnectionCounters>,
}

impl<'a> Shared<'a> {
    fn new(config: &'a Config, clock: &'a Clock, dropped: &'a DroppedLines) -> Self {
        let capacity = Capacity {
            registrations: config.max_registrations,
            per_nsqd: config.max_registrations_per_nsqd,
        };
        let registry = Arc::new(Registry::new(Arc::new(Snapshots::default()), capacity));
        let (sessions, denials) = (Arc::default(), Arc::default());
        Self { config, clock, registry, sessions, denials, dropped }
    }

    /// The families of `/metrics`, but for those of the listeners.
    fn families(&self, tcp_runtime: Runtime) -> Families {
        let mut families = Families::default();
        let labels = [("version", env!("CARGO_PKG_VERSION")), ("nsq_version", NSQ_VERSION)];
        families.info(
            "musterd_build_info",
            "The version, and the NSQ version it replaces.",
            &labels,
        );
        let labels = [("runtime", tcp_runtime.as_str())];
        let help = "The host of the TCP workers.";
        families.gauge("musterd_tcp_runtime", help, &labels, || 1_u64);
        metrics::register_process(&mut families);
        let timeout = self.config.inactive_producer_timeout;
        self.registry.register_metrics(&mut families, self.clock, timeout);
        self.sessions.register_metrics(&mut families);
        self.denials.register_metrics(&mut families);
        self.dropped.register_metrics(&mut families);
        families
    }

    fn start_tcp(
        &self,
        port: Port,
        host: TcpHost,
        http: SocketAddr,
        families: &mut Families,
    ) -> Result<Server, Failure> {
        let (config, address) = (self.config, port.address);
        let (broadcast, hostname) = (&config.broadcast_address, hostname());
        let identify_response: Arc<[u8]> =
            encode::identify_response(broadcast, &hostname, address.port(), http.port()).into();
        let timeouts = Timeouts {
            handshake: config.handshake_timeout,
            ..Timeouts::with_inactive_timeout(config.inactive_producer_timeout)
        };
        let (registry, event_log) =
            (Arc::clone(&self.registry), EventLog::new(Arc::clone(&self.sessions)));
        let make = move |_| {
            let (registry, identify_response) =
                (Arc::clone(&registry), Arc::clone(&identify_response));
            Sessions::new(registry, timeouts, identify_response, event_log.clone())
        };
        let not_allowed =
            Rejection { reason: DenyReason::TcpAllow, message: encode::ADDRESS_NOT_ALLOWED };
        let too_many =
            Rejection { reason: DenyReason::TcpPerIp, message: encode::TOO_MANY_CONNECTIONS };
        let policy = AcceptPolicy::new(Arc::clone(&self.denials))
            .allow_only(&config.tcp_allow, not_allowed)
            .limit_per_ip(config.max_connections_per_ip, too_many);
        let counters = Arc::new(ConnectionCounters::default());
        counters.register_metrics(families, "tcp", port.max_connections as u64);
        let (exits, exited) = unbounded();
        let host_config = HostConfig {
            name: "tcp-worker",
            workers: port.workers.count,
            cpus: host.cpus,
            listener: port.listener,
            route: hosts::by_peer(port.workers.count),
            policy: policy.if_any_rule(),
            options: Options {
                max_connections: port.max_connections as u64,
                refusal: b"",
                keepalive: Some(limits::KEEPALIVE),
            },
            clock: self.clock.clone(),
            counters,
            exits,
        };
        Server::start("TCP", address, host_config, exited, |host_config| match host.runtime {
            Runtime::Glommio => glommio::spawn(host_config, make),
            Runtime::Thread => thread::spawn(host_config, make),
        })
    }

    fn start_http(
        &self,
        port: Port,
        token: Option<Token>,
        mut families: Families,
    ) -> Result<Server, Failure> {
        let (config, address, workers) = (self.config, port.address, port.workers.count);
        let (counters, durations) =
            (Arc::new(ConnectionCounters::default()), RequestDurations::default());
        counters.register_metrics(&mut families, "http", port.max_connections as u64);
        durations.register_metrics(&mut families);
        OutputBudget::register_metrics(&mut families);
        let allowed = config.http_write_allow.clone();
        let write_policy = WritePolicy::new(allowed, token, Arc::clone(&self.denials));
        let visibility = Visibility {
            inactive_producer_timeout: config.inactive_producer_timeout,
            tombstone_lifetime: config.tombstone_lifetime,
        };
        let (registry, metrics) = (Arc::clone(&self.registry), Arc::new(families));
        let api = Api { registry, visibility, cache_from: CACHE_FROM, metrics };
        let queued = Arc::clone(&counters);
        let output = OutputBudget(Arc::new(move || queued.queued_output()));
        let clock = self.clock.clone();
        let service = ApiService::new(api, write_policy, durations, output, clock.clone());
        let (exits, exited) = unbounded();
        if config.http_engine == HttpEngine::Minihttp {
            // It binds for itself; that the port is free is known since ours was bound.
            drop(port.listener);
            may::configure(workers);
            minihttp::start(service, clock, address)
                .map_err(|error| Failure::Start("may_minihttp", error))?;
            let exits = never();
            return Ok(Server { name: "HTTP", address, workers: None, count: 0, exits, counters });
        }
        let too_many =
            Rejection { reason: DenyReason::HttpPerIp, message: TOO_MANY_CONNECTIONS_PER_IP };
        let policy = AcceptPolicy::new(Arc::clone(&self.denials))
            .limit_per_ip(config.max_connections_per_ip, too_many);
        let host_config = HostConfig {
            name: "http-worker",
            workers,
            cpus: Vec::new(),
            listener: port.listener,
            route: hosts::round_robin(workers),
            policy: policy.if_any_rule(),
            options: Options {
                max_connections: port.max_connections as u64,
                refusal: TOO_MANY_CONNECTIONS,
                keepalive: None,
            },
            clock,
            counters,
            exits,
        };
        Server::start("HTTP", address, host_config, exited, |host_config| {
            may::spawn(host_config, |_| service.clone())
        })
    }
}

impl Server {
    /// Starts the workers of a server; `exits` receives their ends.
    fn start(
        name: &'static str,
        address: SocketAddr,
        config: HostConfig,
        exits: Receiver<WorkerExit>,
        spawn: impl FnOnce(HostConfig) -> io::Result<Workers>,
    ) -> Result<Self, Failure> {
        let (count, counters) = (config.workers, Arc::clone(&config.counters));
        let workers = spawn(config).map_err(|error| Failure::Start(name, error))?;
        Ok(Self { name, address, workers: Some(workers), count, exits, counters })
    }

    /// Asks it to stop, and to end what is left at `deadline`.
    fn stop(&self, deadline: Timestamp) {
        if let Some(workers) = &self.workers {
            workers.stop(deadline);
        }
    }
}

/// Waits for a reason to stop: a signal, or the unasked end of a worker.
fn wait(
    servers: &[Server; 2],
    denials: &Denials,
    clock: &Clock,
    signals: &Receiver<i32>,
) -> Result<(), Failure> {
    let [tcp, http] = servers;
    let checks = tick(watchdog::INTERVAL);
    let mut watchdogs = servers.each_ref().map(|server| {
        let handles = server.workers.as_ref().map(Workers::handles).unwrap_or_default();
        Watchdog::new(server.name, &server.counters, handles)
    });
    let mut access = DenialWarnings::new(denials);
    loop {
        select! {
            recv(signals) -> signal => match signal {
                Ok(SIGHUP) => tracing::info!("SIGHUP: there is nothing to reload"),
                _ => return Ok(()),
            },
            recv(tcp.exits) -> exit => return Err(Failure::Exited(tcp.name, exit.ok())),
            recv(http.exits) -> exit => return Err(Failure::Exited(http.name, exit.ok())),
            recv(checks) -> _ => {
                let now = clock.now();
                access.check(now);
                let stalled = watchdogs.iter_mut().try_for_each(|watchdog| watchdog.check(now));
                stalled.map_err(Failure::Stalled)?;
            }
        }
    }
}

/// Stops both servers: no more accepts, what is in flight is finished, the rest ends. Waits for that,
/// but no longer than [`limits::SHUTDOWN`], nor past a second signal.
fn stop(servers: [Server; 2], clock: &Clock, signals: &Receiver<i32>) {
    let deadline = clock.now() + limits::DRAIN;
    for server in &servers {
        tracing::info!("{}: closing {}", server.name, server.address);
        server.stop(deadline);
    }
    let late = after(limits::SHUTDOWN);
    for server in servers {
        for _ in 0..server.count {
            select! {
                recv(server.exits) -> exit => {
                    if let Ok(WorkerExit { worker, result: Err(error) }) = exit {
                        tracing::error!("{} worker {worker}: {error}", server.name);
                    }
                },
                recv(late) -> _ => return tracing::warn!("{} did not stop in time", server.name),
                recv(signals) -> _ => return tracing::warn!("a second signal: not waiting"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shutdown_does_not_wait_for_a_worker_that_never_ends() {
        let (worker, exits) = unbounded();
        let server = |name, exits, count| Server {
            name,
            address: ([127, 0, 0, 1], 0).into(),
            workers: None,
            count,
            exits,
            counters: Arc::default(),
        };
        let servers = [server("TCP", exits, 1), server("HTTP", never(), 0)];
        let (stopped, has_stopped) = unbounded();
        std::thread::spawn(move || {
            stop(servers, &Clock::system(), &never());
            stopped.send(())
        });
        has_stopped.recv_timeout(4 * limits::SHUTDOWN).expect("it gives up");
        drop(worker);
    }
}
