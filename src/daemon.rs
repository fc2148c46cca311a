//! The daemon: the order in which it starts, what it waits for, and the order in which it stops.
//!
//! Must not: serve anything itself. Runs on the main thread; workers are told to stop through their
//! event loops' queues, and their end, asked for or not, comes back by a channel.

mod stop;

use std::error::Error;
use std::fmt;
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crossbeam::channel::{Receiver, select, tick, unbounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::access::{
    AcceptPolicy, BUFFERS, Denials, DenyReason, NsqdAddresses, Pool, ReadPolicy, Rejection, Token,
    TokenError, TokenFile, WritePolicy,
};
use crate::api::{
    Api, ApiService, CACHE_FROM, RequestDurations, Sites, TOO_MANY_CONNECTIONS,
    TOO_MANY_CONNECTIONS_PER_IP, Unread, Walks, minihttp,
};
use crate::clock::Clock;
use crate::config::{Config, HttpEngine, TcpRuntime, VERSION, hostname, of_broadcast_address};
use crate::connections::{ConnectionCounters, IterationSpans, ListenerPort, Options};
use crate::event_log::{EventLog, SessionCounters};
use crate::hosts::{Accepting, HostConfig, Runtime, WorkerExit, Workers, may};
use crate::limits;
use crate::logging::{DroppedLines, PeerLines};
use crate::memory::{Memory, Use};
use crate::metrics::{self, Families};
use crate::protocol::{NSQ_VERSION, encode};
use crate::reclaim;
use crate::registry::{Capacity, Registry};
use crate::resources::{Port, Resources};
use crate::session::{Sessions, SilentLinks, Timeouts};
use crate::snapshots::{Snapshots, Visibility};
use crate::watchdog::{self, DenialWarnings, RegistryWarning, Watchdog};

/// Why the daemon did not start, or did not go on: one line, for the log.
pub type Failure = Box<dyn Error>;

/// Runs the daemon until a signal stops it; `warnings` are those of its configuration, `dropped` is
/// what its log has lost.
///
/// # Errors
/// [`Failure`]; nothing is left half-started.
pub fn run(
    config: &Config,
    warnings: &[String],
    clock: &Clock,
    dropped: &DroppedLines,
) -> Result<(), Failure> {
    tracing::info!("{VERSION}");
    // Before anything can fail: they may say why it does.
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let signals = signals().map_err(|error| not_started("the signal handler", &error))?;
    let tokens = Tokens::load(config)?;
    let resources = Resources::prepare(config)?;
    reclaim::start();
    log_plan(&resources);
    let memory = Arc::new(Memory::new(resources.memory.bytes));
    let shared = Shared::new(config, clock, dropped, memory);
    let mut families = shared.families();
    let tcp = shared.start_tcp(&resources, &mut families)?;
    // The workers' copy is to be the last: a port stays open, and its epoll busy, as long as one is.
    drop(resources.tcp);
    let http = shared
        .start_http(resources.http, &tokens, families)
        .inspect_err(|_| tcp.workers.stop(clock.now()))?;
    let servers = [tcp, http];
    for server in &servers {
        tracing::info!("{}: listening on {}", server.name, server.address);
    }
    tokens.warn(config);
    check_broadcast_address(config.broadcast_address.clone());
    let ended = wait(&servers, &shared, &signals);
    stop::stop(servers, clock, &signals);
    // The process ends: what it holds is not freed one by one.
    mem::forget(shared);
    ended
}

/// The bearer tokens.
struct Tokens {
    read: Option<TokenFile>,
    write: Option<TokenFile>,
}

impl Tokens {
    fn load(config: &Config) -> Result<Self, TokenError> {
        let load = |flag, path: &Option<PathBuf>| {
            path.as_deref().map(|path| Token::load(flag, path)).transpose()
        };
        let read = load(READ_TOKEN, &config.http_read_token_file)?;
        Ok(Self { read, write: load(WRITE_TOKEN, &config.http_write_token_file)? })
    }

    /// Warns of what the rules leave open, which an operator may not have meant.
    fn warn(&self, config: &Config) {
        for (flag, file) in [(WRITE_TOKEN, &self.write), (READ_TOKEN, &self.read)] {
            if file.as_ref().is_some_and(|file| file.is_world_readable) {
                tracing::warn!("every user of this host can read --{flag}: `chmod o-r` it");
            }
        }
        if config.has_read_rule() && self.write.is_none() && config.http_write_allow.is_empty() {
            tracing::warn!(
                "everybody may send a POST: --http-read-allow and --http-read-token-file are about \
                 GETs only; add --http-write-allow or --http-write-token-file"
            );
        }
    }
}

/// Warns of a broadcast address that nsqds cannot use, on a thread that may wait for the resolver.
fn check_broadcast_address(address: String) {
    let check = move || {
        if let Some(warning) = of_broadcast_address(&address) {
            tracing::warn!("{warning}");
        }
    };
    // Without a thread there is no warning, and nothing else is lost.
    let _ = std::thread::Builder::new().name("resolver".to_owned()).spawn(check);
}

/// Warns of what `--http-host` and `--http-origin-allow` do that an operator may not have meant.
fn warn_of_sites(sites: &Sites, broadcast_address: &str, http_port: u16) {
    for warning in sites.unmatched() {
        tracing::warn!("{warning}");
    }
    if !sites.serves_nsqds(broadcast_address, http_port) {
        tracing::warn!(
            "--http-host does not name --broadcast-address, by which nsqds ask: they will not find the \
             channels that a new topic has here"
        );
    }
}

const READ_TOKEN: &str = "http-read-token-file";
const WRITE_TOKEN: &str = "http-write-token-file";

fn not_started(what: &str, error: &io::Error) -> String {
    format!("{what} did not start: {error}")
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
    if let Some(failure) = &resources.no_glommio {
        log_fallback(failure);
    }
    tracing::info!("TCP: {}, {}", resources.tcp_runtime.as_str(), resources.tcp.workers);
    tracing::info!("HTTP: may, {}", resources.http.workers);
    tracing::info!("memory: {}", resources.memory);
}

/// Logs why the TCP workers run on threads though the operator left the choice to us.
fn log_fallback(reason: &dyn fmt::Display) {
    tracing::info!("TCP: {} instead of glommio: {reason}", Runtime::Thread.as_str());
}

/// What both servers share.
struct Shared<'a> {
    config: &'a Config,
    clock: &'a Clock,
    memory: Arc<Memory>,
    /// What the buffers of each address and each nsqd take.
    buffers: Arc<Pool>,
    registry: Arc<Registry>,
    sessions: Arc<SessionCounters>,
    denials: Arc<Denials>,
    /// Where the nsqds are, which may make some requests whatever the rules say.
    nsqds: NsqdAddresses,
    spans: IterationSpans,
    lines: Arc<PeerLines>,
    dropped: &'a DroppedLines,
}

/// What serves one of the two ports, running.
struct Server {
    name: &'static str,
    address: SocketAddr,
    workers: Workers,
    counters: Arc<ConnectionCounters>,
}

impl<'a> Shared<'a> {
    fn new(
        config: &'a Config,
        clock: &'a Clock,
        dropped: &'a DroppedLines,
        memory: Arc<Memory>,
    ) -> Self {
        let capacity = Capacity {
            registrations: config.max_registrations,
            per_nsqd: config.max_registrations_per_nsqd,
            http_names: config
                .max_http_names
                .map_or_else(|| Capacity::http_names_among(config.max_registrations), usize::from),
        };
        let max_cached = limits::RESPONSE_CACHE.min(memory.part(limits::MEMORY_OF_CACHE));
        memory.add(Use::Listings, max_cached);
        let snapshots = Snapshots::default().caching(max_cached);
        let registry = Registry::new(Arc::new(snapshots), capacity);
        let registry = Arc::new(registry.within(Arc::clone(&memory)));
        let (sessions, denials) = (Arc::default(), Arc::default());
        let (nsqds, spans) = (NsqdAddresses::default(), IterationSpans::default());
        let (lines, buffers) = (Arc::default(), Pool::new(memory.part(100) / BUFFERS));
        Self {
            config,
            clock,
            memory,
            buffers,
            registry,
            sessions,
            denials,
            nsqds,
            spans,
            lines,
            dropped,
        }
    }

    fn counters(&self, port: ListenerPort) -> ConnectionCounters {
        ConnectionCounters::new(port, self.spans.clone())
            .within(Arc::clone(&self.memory))
            .sharing(Arc::clone(&self.buffers))
    }

    /// How much output the peers of a port may leave unread: `limit`, or what memory allows.
    fn most_unread(&self, limit: usize) -> usize {
        limit.min(self.memory.part(limits::MEMORY_OF_UNREAD))
    }

    /// The families of `/metrics`, but for those of the listeners.
    fn families(&self) -> Families {
        let mut families = Families::default();
        let labels = [("version", env!("CARGO_PKG_VERSION")), ("nsq_version", NSQ_VERSION)];
        let help = "The version, and the NSQ version it replaces.";
        families.info("musterd_build_info", help, &labels);
        metrics::register_process(&mut families);
        let timeout = self.config.inactive_producer_timeout;
        self.registry.register_metrics(&mut families, self.clock, timeout);
        self.sessions.register_metrics(&mut families);
        self.denials.register_metrics(&mut families);
        self.spans.register_metrics(&mut families);
        self.memory.register_metrics(&mut families);
        self.dropped.register_metrics(&mut families);
        families
    }

    /// Starts the TCP workers: where the choice is ours and glommio fails after all, on threads.
    fn start_tcp(&self, resources: &Resources, families: &mut Families) -> Result<Server, Failure> {
        let (port, mut runtime) = (&resources.tcp, resources.tcp_runtime);
        let cpus = &resources.cpus;
        let start = |runtime| self.spawn_tcp(port, resources.http.address.port(), cpus, runtime);
        let mut started = start(runtime);
        if let Err(error) = &started
            && (runtime, self.config.tcp_runtime) == (Runtime::Glommio, TcpRuntime::Auto)
        {
            log_fallback(error);
            runtime = Runtime::Thread;
            started = start(runtime);
        }
        let (workers, counters) = started.map_err(|error| not_started("TCP", &error))?;
        let (help, labels) = ("The host of the TCP workers.", [("runtime", runtime.as_str())]);
        families.gauge("musterd_tcp_runtime", help, &labels, || 1_u64);
        let most_unread = self.most_unread(limits::TCP_QUEUED_OUTPUT);
        counters.register_metrics(families, port.max_connections as u64, most_unread);
        Ok(Server { name: "TCP", address: port.address, workers, counters })
    }

    /// Starts the TCP workers on `runtime`. What an attempt that fails has counted goes with it.
    fn spawn_tcp(
        &self,
        port: &Port,
        http_port: u16,
        cpus: &[usize],
        runtime: Runtime,
    ) -> io::Result<(Workers, Arc<ConnectionCounters>)> {
        let (config, count) = (self.config, port.workers.count);
        let (broadcast, tcp_port) = (&config.broadcast_address, port.address.port());
        let identify_response: Arc<[u8]> =
            encode::identify_response(broadcast, &hostname(), tcp_port, http_port).into();
        let timeouts = Timeouts {
            handshake: config.handshake_timeout,
            ..Timeouts::with_inactive_timeout(config.inactive_producer_timeout)
        };
        let registry = Arc::clone(&self.registry);
        let event_log = EventLog::new(Arc::clone(&self.sessions), Arc::clone(&self.lines));
        let nsqds = config.has_read_rule().then(|| self.nsqds.clone());
        let counters = Arc::new(self.counters(ListenerPort::Tcp));
        let (open, most) = (Arc::clone(&counters), port.max_connections);
        let silent = SilentLinks::new(move || open.past_shared(most));
        let make = move |_| {
            let identify_response = Arc::clone(&identify_response);
            Sessions::new(Arc::clone(&registry), timeouts, identify_response, event_log.clone())
                .noting(nsqds.clone())
                .making_room(Arc::clone(&silent))
        };
        let host_config = HostConfig {
            name: "tcp-worker",
            workers: count,
            cpus: cpus.to_vec(),
            listener: port.listener.try_clone()?,
            accepting: Accepting::Thread("tcp-acceptor"),
            policy: self.tcp_policy(port.max_connections),
            options: Options {
                max_connections: port.max_connections as u64,
                refusal: b"",
                max_queued_output: self.most_unread(limits::TCP_QUEUED_OUTPUT),
                keepalive: Some(limits::KEEPALIVE),
            },
            clock: self.clock.clone(),
            counters: Arc::clone(&counters),
        };
        Ok((runtime.spawn(host_config, make)?, counters))
    }

    /// Who may have a TCP connection, of so many.
    fn tcp_policy(&self, max: usize) -> AcceptPolicy {
        let proxies = &self.config.proxy_protocol_from;
        let not_allowed =
            Rejection { reason: DenyReason::TcpAllow, message: encode::ADDRESS_NOT_ALLOWED };
        let too_many =
            Rejection { reason: DenyReason::TcpPerIp, message: encode::TOO_MANY_CONNECTIONS };
        AcceptPolicy::new(Arc::clone(&self.denials))
            .allow_only(&self.config.tcp_allow, not_allowed)
            .limit_per_ip(self.config.max_connections_per_ip, too_many)
            .share(max, Rejection { reason: DenyReason::TcpShare, ..too_many })
            .behind_proxies(proxies, DenyReason::TcpProxy, self.config.handshake_timeout)
    }

    /// Who may have an HTTP connection, of so many.
    fn http_policy(&self, max: usize) -> AcceptPolicy {
        let proxies = &self.config.proxy_protocol_from;
        let too_many =
            Rejection { reason: DenyReason::HttpPerIp, message: TOO_MANY_CONNECTIONS_PER_IP };
        let share = Rejection { reason: DenyReason::HttpShare, message: TOO_MANY_CONNECTIONS };
        AcceptPolicy::new(Arc::clone(&self.denials))
            .limit_per_ip(self.config.max_connections_per_ip, too_many)
            .share(max, share)
            .behind_proxies(proxies, DenyReason::HttpProxy, self.config.handshake_timeout)
    }

    fn start_http(
        &self,
        port: Port,
        tokens: &Tokens,
        mut families: Families,
    ) -> Result<Server, Failure> {
        let (config, address, workers) = (self.config, port.address, port.workers.count);
        let (counters, durations) =
            (Arc::new(self.counters(ListenerPort::Http)), RequestDurations::default());
        let most_unread = self.most_unread(limits::HTTP_QUEUED_OUTPUT);
        counters.register_metrics(&mut families, port.max_connections as u64, most_unread);
        durations.register_metrics(&mut families);
        let queued = Arc::clone(&counters);
        let unread = Unread::new(most_unread, move || queued.queued_output());
        let max_queued_output = unread.at_last();
        let walks = Arc::new(Walks::default().within(Arc::clone(&self.memory)));
        walks.register_metrics(&mut families);
        let allowed = config.http_write_allow.clone();
        let token = |file: &Option<TokenFile>| file.as_ref().map(|file| file.token.clone());
        let write_policy =
            WritePolicy::new(allowed, token(&tokens.write), Arc::clone(&self.denials));
        let (allowed, read_token) = (config.http_read_allow.clone(), token(&tokens.read));
        let (nsqds, denials) = (self.nsqds.clone(), Arc::clone(&self.denials));
        let read_policy = ReadPolicy::new(allowed, read_token, nsqds, denials);
        let visibility = Visibility {
            inactive_producer_timeout: config.inactive_producer_timeout,
            tombstone_lifetime: config.tombstone_lifetime,
        };
        let (registry, metrics) = (Arc::clone(&self.registry), Arc::new(families));
        let api = Api { registry, visibility, cache_from: CACHE_FROM, metrics, walks };
        let clock = self.clock.clone();
        let (origins, hosts) = (config.http_origin_allow.clone(), config.http_host.clone());
        let sites = Sites::new(origins, hosts, Arc::clone(&self.denials));
        warn_of_sites(&sites, &config.broadcast_address, address.port());
        let service = ApiService::new(api, write_policy, durations, unread, clock.clone());
        let service = service.of_sites(sites).with_lines(Arc::clone(&self.lines));
        let service = service.for_readers(read_policy);
        let (open, most) = (Arc::clone(&counters), port.max_connections);
        let is_nearly_full = move || open.past_shared(most) > 0;
        let service = service.idle_for(config.http_idle_timeout, is_nearly_full);
        if config.http_engine == HttpEngine::Minihttp {
            // It binds for itself; that the port is free is known since ours was bound.
            drop(port.listener);
            may::configure(workers);
            minihttp::start(service, clock, address)
                .map_err(|error| not_started("may_minihttp", &error))?;
            return Ok(Server { name: "HTTP", address, workers: Workers::none(), counters });
        }
        let host_config = HostConfig {
            name: "http-worker",
            workers,
            cpus: Vec::new(),
            listener: port.listener,
            accepting: Accepting::Workers,
            policy: self.http_policy(port.max_connections),
            options: Options {
                max_connections: port.max_connections as u64,
                refusal: TOO_MANY_CONNECTIONS,
                // Requests are refused before; this is for responses that are on their way.
                max_queued_output,
                keepalive: None,
            },
            clock,
            counters: Arc::clone(&counters),
        };
        let workers = may::spawn(host_config, |_| service.clone());
        let workers = workers.map_err(|error| not_started("HTTP", &error))?;
        Ok(Server { name: "HTTP", address, workers, counters })
    }
}

/// Waits for a reason to stop: a signal, or the unasked end of a worker.
fn wait(
    servers: &[Server; 2],
    shared: &Shared<'_>,
    signals: &Receiver<i32>,
) -> Result<(), Failure> {
    let [tcp, http] = servers;
    let checks = tick(watchdog::INTERVAL);
    let mut watchdogs = servers.each_ref().map(|Server { name, workers, counters, .. }| {
        Watchdog::new(name, counters, &workers.handles)
    });
    let mut access = DenialWarnings::new(&shared.denials);
    let mut full = RegistryWarning::default();
    loop {
        select! {
            recv(signals) -> signal => match signal {
                Ok(SIGHUP) => tracing::info!("SIGHUP: there is nothing to reload"),
                _ => return Ok(()),
            },
            recv(tcp.workers.exits) -> exit => return Err(exited(tcp.name, exit.ok())),
            recv(http.workers.exits) -> exit => return Err(exited(http.name, exit.ok())),
            recv(checks) -> _ => {
                let now = shared.clock.now();
                shared.lines.report();
                access.check(now);
                full.check(&shared.registry, now);
                watchdogs.iter_mut().try_for_each(|watchdog| watchdog.check(now))?;
            }
        }
    }
}

/// A worker ended unasked: its peers hang.
fn exited(server: &str, exit: Option<WorkerExit>) -> Failure {
    match exit {
        Some(WorkerExit { name, result: Err(error) }) => {
            format!("{server} {name} ended: {error}").into()
        }
        Some(WorkerExit { name, .. }) => format!("{server} {name} ended unasked").into(),
        None => format!("a {server} worker ended unasked").into(),
    }
}
