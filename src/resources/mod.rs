//! What the daemon needs from the system, acquired and checked before anything starts: CPUs,
//! memory, descriptors, `io_uring`, ports.
//!
//! Must not: log, or leave anything half-started; a [`Failure`] is one line with its remedy.
//! Runs on the main thread, at start.

mod cgroups;
mod cpus;
mod descriptors;
mod memory;
mod shortage;

use std::fmt;
use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::{Config, HttpEngine, TcpRuntime};
use crate::hosts::{Runtime, glommio, may};
use crate::listener;
use crate::metrics::process_limit;
use cpus::Cpus;
#[cfg(test)]
pub(crate) use cpus::affinity;
use descriptors::{Limits, PER_WORKER, PerPort};
pub(crate) use memory::MemoryLimit;
use shortage::Lower;

/// Descriptors counted on where the system sets no limit: the kernel's default `fs.nr_open`.
const DESCRIPTORS_MOST: u64 = 1 << 20;
/// Memory maps kept for all but coroutines: libraries, threads, rings, large buffers.
const MAPS_FIXED: usize = 2_048;
/// Memory maps of one coroutine: its stack and the guard page.
const MAPS_PER_COROUTINE: usize = 2;
/// `vm.max_map_count` where it cannot be read: the kernel's default.
const MAPS_DEFAULT: usize = 65_530;

/// What the daemon starts from.
#[derive(Debug)]
pub(crate) struct Resources {
    /// Where nsqds connect.
    pub tcp: Port,
    /// Where HTTP is answered.
    pub http: Port,
    /// The host of the TCP workers.
    pub tcp_runtime: Runtime,
    /// Why that is not glommio though the operator left the choice to us.
    pub no_glommio: Option<Failure>,
    /// The CPUs that TCP workers are pinned to; empty where a quota, not a CPU, is what a worker gets.
    pub cpus: Vec<usize>,
    /// The memory to use.
    pub memory: MemoryLimit,
}

/// One of the two ports, and what serves it.
#[derive(Debug)]
pub(crate) struct Port {
    /// Listening, blocking, close-on-exec.
    pub listener: TcpListener,
    /// Where it listens.
    pub address: SocketAddr,
    /// Connections to serve at once.
    pub max_connections: usize,
    /// Workers to start.
    pub workers: WorkerCount,
}

/// How many workers to start, and why that many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WorkerCount {
    /// At least one.
    pub count: usize,
    /// What it comes from.
    pub source: CountSource,
}

/// What a number of workers comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CountSource {
    /// The operator's flag.
    Flag,
    /// The affinity mask: one per CPU.
    Affinity,
    /// The CPU quota of the cgroup.
    Quota,
    /// The limit of open files.
    Descriptors,
    /// The least that the host can do with.
    Least,
}

impl Resources {
    /// Acquires everything; raises the limits of open files and locked memory as far as allowed.
    ///
    /// # Errors
    /// The first thing that is missing.
    pub(crate) fn prepare(config: &Config) -> Result<Self, Failure> {
        let (tcp_runtime, no_glommio) = choose_runtime(config.tcp_runtime)?;
        let cpus = Cpus::read().map_err(Failure::Cpus)?;
        let descriptors = raise(Resource::Nofile).min(DESCRIPTORS_MOST);
        let limits = Limits {
            descriptors: usize::try_from(descriptors).unwrap_or(usize::MAX),
            coroutines: match config.http_engine {
                HttpEngine::Builtin => usize::MAX,
                HttpEngine::Minihttp => most_coroutines(max_map_count()),
            },
        };
        let (workers, connections) = plan(config, &cpus, limits)?;
        let pinned = cpus.limiting_quota().is_none();
        Ok(Self {
            tcp: Port::open("tcp-address", config.tcp_address, connections.tcp, workers.tcp)?,
            http: Port::open("http-address", config.http_address, connections.http, workers.http)?,
            tcp_runtime,
            no_glommio,
            cpus: if pinned { cpus.mask } else { Vec::new() },
            memory: MemoryLimit::read(config.max_memory),
        })
    }
}

/// The host of the TCP workers, and why it is not glommio though the choice was ours.
fn choose_runtime(asked: TcpRuntime) -> Result<(Runtime, Option<Failure>), Failure> {
    if asked == TcpRuntime::Thread {
        return Ok((Runtime::Thread, None));
    }
    match check_glommio() {
        Ok(()) => Ok((Runtime::Glommio, None)),
        Err(failure) if asked == TcpRuntime::Auto => Ok((Runtime::Thread, Some(failure))),
        Err(failure) => Err(failure),
    }
}

/// Whether glommio can run here; inside of it the same failures would be panics.
fn check_glommio() -> Result<(), Failure> {
    match raise(Resource::Memlock) {
        memlock if memlock < glommio::LOCKED_MEMORY => Err(Failure::Memlock(memlock)),
        _ => glommio::probe().map_err(|(call, error)| Failure::IoUring { call, error }),
    }
}

/// The workers and the connections of each port.
fn plan(
    config: &Config,
    cpus: &Cpus,
    limits: Limits,
) -> Result<(PerPort<WorkerCount>, PerPort<usize>), Failure> {
    let asked = PerPort { tcp: config.max_tcp_connections, http: config.max_http_connections };
    let workers = plan_workers(config, cpus, limits, asked);
    let in_all = workers.tcp.count.saturating_add(workers.http.count);
    match limits.connections(in_all, asked) {
        Ok(connections) => Ok((workers, connections)),
        Err(Failure::Descriptors { needed, limit, .. }) => {
            let ways = shortage::ways(limits, workers, asked);
            Err(Failure::Descriptors { needed, limit, ways })
        }
        Err(failure) => Err(failure),
    }
}

/// The workers of each port: what is asked for, or one for each CPU, as the descriptors allow.
fn plan_workers(
    config: &Config,
    cpus: &Cpus,
    limits: Limits,
    connections: PerPort<Option<NonZeroUsize>>,
) -> PerPort<WorkerCount> {
    let tcp = WorkerCount::new(config.shards, cpus, 1);
    let http = WorkerCount::new(config.http_workers, cpus, may::LEAST_WORKERS);
    let least = |worker: WorkerCount, least| match worker.source {
        CountSource::Flag => worker.count,
        _ => least,
    };
    let fitting = limits.workers(
        PerPort { tcp: tcp.count, http: http.count },
        PerPort { tcp: least(tcp, 1), http: least(http, may::LEAST_WORKERS) },
        connections,
    );
    PerPort { tcp: tcp.at_most(fitting.tcp), http: http.at_most(fitting.http) }
}

impl WorkerCount {
    fn new(asked: Option<NonZeroUsize>, cpus: &Cpus, least: usize) -> Self {
        let count = asked.map_or(cpus.count(), NonZeroUsize::get);
        let source = match asked {
            _ if count < least => CountSource::Least,
            Some(_) => CountSource::Flag,
            None if cpus.limiting_quota().is_some() => CountSource::Quota,
            None => CountSource::Affinity,
        };
        Self { count: count.max(least), source }
    }

    fn at_most(self, count: usize) -> Self {
        if self.count <= count { self } else { Self { count, source: CountSource::Descriptors } }
    }
}

impl fmt::Display for WorkerCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.count == 1 { "" } else { "s" };
        let source = match self.source {
            CountSource::Flag => "as the flag says",
            CountSource::Affinity => "one per CPU of the affinity mask",
            CountSource::Quota => "as the CPU quota of the cgroup allows",
            CountSource::Descriptors => "as the limit of open files allows",
            CountSource::Least => "the least possible",
        };
        write!(f, "{} worker{plural}, {source}", self.count)
    }
}

impl Port {
    fn open(
        flag: &'static str,
        address: SocketAddr,
        max_connections: usize,
        workers: WorkerCount,
    ) -> Result<Self, Failure> {
        let failed = |error| Failure::Listen { flag, address, error };
        let listener = listener::bind(address).map_err(failed)?;
        // It listens, so it has an address.
        let address = listener.local_addr().unwrap_or(address);
        Ok(Self { listener, address, max_connections, workers })
    }
}

/// Raises a limit to what the process may set itself; gives what holds then.
fn raise(resource: Resource) -> u64 {
    let (current, most) = limit_of(resource);
    let maximum = (most < u64::MAX).then_some(most);
    // Refused: then the old limit holds.
    match setrlimit(resource, Rlimit { current: maximum, maximum }) {
        Ok(()) => most,
        Err(_) => current,
    }
}

/// What holds, and what the process may raise it to. rustix's `getrlimit` panics where a seccomp
/// profile refuses it, so that it is asked only where there is no /proc.
fn limit_of(resource: Resource) -> (u64, u64) {
    let name = if resource == Resource::Nofile { "Max open files" } else { "Max locked memory" };
    let read = File::open("/proc/self/limits").ok();
    read.and_then(|limits| process_limit(&limits, name)).unwrap_or_else(|| {
        let Rlimit { current, maximum } = getrlimit(resource);
        (current.unwrap_or(u64::MAX), maximum.unwrap_or(u64::MAX))
    })
}

fn max_map_count() -> usize {
    let text = std::fs::read_to_string("/proc/sys/vm/max_map_count");
    text.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(MAPS_DEFAULT)
}

fn most_coroutines(maps: usize) -> usize {
    maps.saturating_sub(MAPS_FIXED) / MAPS_PER_COROUTINE
}

/// Why the daemon cannot start; shown in one line, with the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No `io_uring` can be used.
    IoUring {
        /// The system call that failed.
        call: &'static str,
        /// The system's reason.
        error: Errno,
    },
    /// Too little memory may be locked: the limit, in bytes.
    Memlock(u64),
    /// The affinity mask cannot be read, or is empty.
    Cpus(Errno),
    /// Too few descriptors.
    Descriptors {
        /// For the connections asked for (one where none is) and the daemon itself.
        needed: usize,
        /// RLIMIT_NOFILE.
        limit: usize,
        /// What may be lowered instead; each way is enough.
        ways: Vec<Vec<Lower>>,
    },
    /// Too few memory maps for a coroutine per HTTP connection.
    Maps {
        /// HTTP connections asked for.
        asked: usize,
        /// HTTP connections that `vm.max_map_count` allows.
        most: usize,
    },
    /// A port cannot be listened on.
    Listen {
        /// The flag that names it.
        flag: &'static str,
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        error: Errno,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IoUring { call, error } => {
                write!(f, "io_uring is not available: {call}: {error}; {}", io_uring_remedy(*error))
            }
            Self::Memlock(limit) => write!(
                f,
                "locked memory is limited to {} KiB, and io_uring needs {} KiB; raise it with \
                 `ulimit -l`, LimitMEMLOCK= (systemd) or --ulimit memlock= (containers)",
                limit / 1024,
                glommio::LOCKED_MEMORY / 1024
            ),
            Self::Cpus(error) => write!(
                f,
                "cannot tell which CPUs may be used: sched_getaffinity: {error}; look at `taskset -p`, \
                 the cpuset and the seccomp profile"
            ),
            Self::Descriptors { needed, limit, ways } => {
                write!(
                    f,
                    "{needed} file descriptors are needed ({PER_WORKER} for each worker, one for \
                     each connection) and {limit} allowed; raise the limit to that with `ulimit -n`, \
                     LimitNOFILE= (systemd) or --ulimit nofile= (containers)"
                )?;
                ways.iter().try_for_each(|way| {
                    let way: Vec<_> = way.iter().map(ToString::to_string).collect();
                    write!(f, ", or lower {}", way.join(" and "))
                })
            }
            Self::Maps { asked, most } => write!(
                f,
                "--http-engine minihttp can hold {most} connections, not {asked}; raise \
                 vm.max_map_count with sysctl, lower --max-http-connections, or use the builtin \
                 engine"
            ),
            Self::Listen { flag, address, error } => {
                write!(f, "listen ({address}) failed - {error}; {}", listen_remedy(flag, *error))
            }
        }
    }
}

impl std::error::Error for Failure {}

fn io_uring_remedy(error: Errno) -> &'static str {
    match error {
        Errno::PERM | Errno::ACCESS => {
            "allow it with `sysctl kernel.io_uring_disabled=0`, and in a container with a seccomp \
             profile that allows io_uring_setup, io_uring_enter and io_uring_register"
        }
        Errno::NOSYS => {
            "it takes Linux 5.8 or newer with CONFIG_IO_URING, and in a container a seccomp \
             profile that allows io_uring_setup, io_uring_enter and io_uring_register"
        }
        Errno::NOMEM => {
            "raise the limit of locked memory with `ulimit -l`, LimitMEMLOCK= (systemd) or \
             --ulimit memlock= (containers)"
        }
        Errno::MFILE | Errno::NFILE => "raise the limit of open files with `ulimit -n`",
        _ => "see io_uring_setup(2)",
    }
}

fn listen_remedy(flag: &str, error: Errno) -> String {
    match error {
        Errno::ADDRINUSE => {
            format!("stop what listens there (`ss -ltnp`) or choose another --{flag}")
        }
        Errno::ADDRNOTAVAIL => format!("this host has no such address, choose another --{flag}"),
        Errno::ACCESS => format!("grant CAP_NET_BIND_SERVICE or choose a --{flag} above 1023"),
        _ => format!("choose another --{flag}"),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::net::TcpStream;

    use super::CountSource::{Affinity, Descriptors, Flag, Least, Quota};
    use super::*;

    fn config(words: &[&str]) -> Config {
        let anywhere = ["-tcp-address=127.0.0.1:0", "-http-address=127.0.0.1:0"];
        Config::from_args(anywhere.iter().chain(words).map(OsString::from)).unwrap().0
    }

    #[test]
    fn prepared_ports_listen() {
        let resources = Resources::prepare(&config(&[])).unwrap();
        let cpus = Cpus::read().unwrap().count();
        let (tcp, http) = (&resources.tcp, &resources.http);
        for port in [tcp, http] {
            TcpStream::connect(port.address).unwrap();
            assert!(port.max_connections > 0);
        }
        assert_eq!((tcp.workers.count, http.workers.count), (cpus, cpus.max(2)));
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }

    #[test]
    fn more_workers_than_descriptors_are_refused_however_many() {
        let all = config(&["-http-engine=builtin"]);
        for count in [100_000_000, usize::MAX / 32 + 1, usize::MAX] {
            let count = std::num::NonZeroUsize::new(count);
            let shards = Config { shards: count, ..all.clone() };
            let http_workers = Config { http_workers: count, ..all.clone() };
            for config in [shards, http_workers] {
                let failure = Resources::prepare(&config).unwrap_err();
                assert!(matches!(failure, Failure::Descriptors { .. }), "{count:?}: {failure}");
            }
        }
    }

    #[test]
    fn port_in_use_is_named_with_its_flag() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        for flag in ["tcp-address", "http-address"] {
            let failure =
                Resources::prepare(&config(&[&format!("-{flag}={address}")])).unwrap_err();
            let want = format!(
                "listen ({address}) failed - Address already in use (os error 98); \
                 stop what listens there (`ss -ltnp`) or choose another --{flag}"
            );
            assert_eq!(failure.to_string(), want);
        }
    }

    #[test]
    fn address_of_another_host_is_refused() {
        let failure = Resources::prepare(&config(&["-tcp-address=192.0.2.1:0"])).unwrap_err();
        let text = failure.to_string();
        assert!(text.contains("192.0.2.1:0") && text.contains("no such address"), "{text}");
    }

    #[test]
    fn coroutines_are_what_the_maps_allow() {
        for (maps, want) in [(65_530, 31_741), (2_048, 0), (0, 0), (2_050, 1)] {
            assert_eq!(most_coroutines(maps), want, "{maps}");
        }
    }

    #[test]
    fn every_failure_is_one_line_with_a_remedy() {
        let listen = |error| Failure::Listen {
            flag: "http-address",
            address: "127.0.0.1:80".parse().unwrap(),
            error,
        };
        let io_uring = |error| Failure::IoUring { call: "io_uring_enter", error };
        for (failure, remedy) in [
            (
                io_uring(Errno::PERM),
                "io_uring_enter: Operation not permitted (os error 1); allow it",
            ),
            (io_uring(Errno::NOSYS), "Linux 5.8"),
            (io_uring(Errno::NOMEM), "LimitMEMLOCK="),
            (io_uring(Errno::MFILE), "ulimit -n"),
            (Failure::Memlock(65_536), "limited to 64 KiB, and io_uring needs 512 KiB; raise it"),
            (Failure::Descriptors { needed: 9, limit: 8, ways: Vec::new() }, "LimitNOFILE="),
            (Failure::Maps { asked: 9, most: 8 }, "vm.max_map_count"),
            (listen(Errno::ADDRINUSE), "choose another --http-address"),
            (listen(Errno::ACCESS), "CAP_NET_BIND_SERVICE"),
        ] {
            let text = failure.to_string();
            assert!(text.contains(remedy) && !text.contains('\n'), "{text}");
        }
    }

    #[test]
    fn worker_count_says_what_it_comes_from() {
        let cpus = Cpus { mask: vec![0, 1, 2, 3], quota: None };
        let quota = Cpus { mask: vec![0, 1, 2, 3], quota: Some(1) };
        let one = Cpus { mask: vec![7], quota: None };
        for (words, cpus, descriptors, tcp, http) in [
            (&[][..], &cpus, 9_999, (4, Affinity), (4, Affinity)),
            (&["-shards=3", "-http-workers=5"], &cpus, 9_999, (3, Flag), (5, Flag)),
            (&["-http-workers=1"], &quota, 9_999, (1, Quota), (2, Least)),
            (&[], &quota, 9_999, (1, Quota), (2, Least)),
            (&[], &one, 9_999, (1, Affinity), (2, Least)),
            (&[], &cpus, 400, (2, Descriptors), (2, Descriptors)),
            (&["-shards=4"], &cpus, 400, (4, Flag), (2, Descriptors)),
            (&["-shards=4", "-http-workers=4"], &cpus, 400, (4, Flag), (4, Flag)),
        ] {
            let limits = Limits { descriptors, coroutines: usize::MAX };
            let none = PerPort { tcp: None, http: None };
            let got = plan_workers(&config(words), cpus, limits, none);
            let want = |(count, source)| WorkerCount { count, source };
            assert_eq!((got.tcp, got.http), (want(tcp), want(http)), "{words:?} {descriptors}");
        }
        let one = WorkerCount { count: 1, source: Quota };
        assert_eq!(one.to_string(), "1 worker, as the CPU quota of the cgroup allows");
    }
}
