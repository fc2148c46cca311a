//! Everything that can fail for reasons outside of the daemon, tried before anything starts:
//! io_uring, limits of the process, ports, the token's file.
//!
//! Must not: log, or leave anything half-started; a [`Failure`] is one line with its remedy.
//! Runs on the main thread, at start.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::num::NonZeroUsize;

use rustix::io::Errno;
use rustix::io_uring::{IoringFeatureFlags, io_uring_params, io_uring_setup};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity};

use crate::access::{Token, TokenError, TokenFile};
use crate::config::{Config, HttpEngine};

/// Locked memory without which glommio starts no executor, in bytes.
const MEMLOCK: u64 = 512 * 1024;
/// Descriptors kept for the log, the listeners, and connections that are only told "full".
const DESCRIPTORS_FIXED: usize = 64;
/// Descriptors kept for each executor and each HTTP worker: rings, epolls, eventfds.
const DESCRIPTORS_PER_THREAD: usize = 32;
/// Descriptors counted on where the system sets no limit: the kernel's default `fs.nr_open`.
const DESCRIPTORS_MOST: u64 = 1 << 20;
/// Memory maps kept for all but coroutines: libraries, threads, rings, large buffers.
const MAPS_FIXED: usize = 2_048;
/// Memory maps of one coroutine: its stack and the guard page.
const MAPS_PER_COROUTINE: usize = 2;
/// `vm.max_map_count` where it cannot be read: the kernel's default.
const MAPS_DEFAULT: usize = 65_530;
/// Connections that wait for an accept; the kernel cuts it to `net.core.somaxconn`. A whole fleet
/// may reconnect at once.
const BACKLOG: i32 = 65_535;
/// may starves with a single worker.
const HTTP_WORKERS_LEAST: usize = 2;

/// What the daemon stands on.
#[derive(Debug)]
pub struct Resources {
    /// Where nsqds connect: listening, blocking, close-on-exec. An IPv4 peer of a listener on
    /// every address shows as an IPv6 one (`::ffff:127.0.0.1`): see `IpAddr::to_canonical`.
    pub tcp: TcpListener,
    /// Where HTTP is answered; as `tcp`.
    pub http: TcpListener,
    /// The cores the process may use, in ascending order; never empty.
    pub cpus: Vec<usize>,
    /// Executors to start; more than cores share them.
    pub shards: NonZeroUsize,
    /// HTTP workers to start.
    pub http_workers: NonZeroUsize,
    /// nsqds to serve at once.
    pub tcp_connections: usize,
    /// HTTP connections to serve at once.
    pub http_connections: usize,
    /// What who changes something over HTTP must know.
    pub http_write_token: Option<TokenFile>,
}

impl Resources {
    /// Tries everything; raises the limits of open files and locked memory as far as allowed.
    ///
    /// # Errors
    /// The first thing that is missing.
    pub fn prepare(config: &Config) -> Result<Self, Failure> {
        probe_io_uring().map_err(Failure::IoUring)?;
        match raise(Resource::Memlock) {
            memlock if memlock < MEMLOCK => return Err(Failure::Memlock(memlock)),
            _ => {}
        }
        let cpus = cpus().map_err(Failure::Cores)?;
        let one_each = NonZeroUsize::new(cpus.len()).expect("never empty");
        let shards = config.shards.unwrap_or(one_each);
        let http_workers = http_workers(config.http_workers, cpus.len());
        let limits = Limits {
            descriptors: raise(Resource::Nofile).min(DESCRIPTORS_MOST),
            threads: shards.get() + http_workers.get(),
            coroutines: match config.http_engine {
                HttpEngine::Builtin => usize::MAX,
                HttpEngine::Minihttp => most_coroutines(max_map_count()),
            },
        };
        let (tcp_connections, http_connections) =
            limits.share(config.max_tcp_connections, config.max_http_connections)?;
        let token = config.http_write_token_file.as_deref().map(Token::load);
        let http_write_token = token.transpose().map_err(Failure::Token)?;
        Ok(Self {
            tcp: listen("tcp-address", config.tcp_address)?,
            http: listen("http-address", config.http_address)?,
            cpus,
            shards,
            http_workers,
            tcp_connections,
            http_connections,
            http_write_token,
        })
    }
}

/// Makes a ring and drops it: inside glommio the same failure would be a panic.
#[allow(unsafe_code, reason = "rustix has no safe door to io_uring_setup")]
fn probe_io_uring() -> Result<(), Errno> {
    let mut params = io_uring_params::default();
    // SAFETY: no flag is set, so `wq_fd` (the only precondition, for ATTACH_WQ) is not looked at.
    let ring = unsafe { io_uring_setup(2, &mut params) }?;
    drop(ring);
    // Came with Linux 5.7; glommio asks for 5.8.
    if params.features.contains(IoringFeatureFlags::FAST_POLL) { Ok(()) } else { Err(Errno::NOSYS) }
}

/// Raises a limit to what the process may set itself; gives what holds then.
fn raise(resource: Resource) -> u64 {
    let limit = getrlimit(resource);
    // Refused: then the old limit holds.
    let _ = setrlimit(resource, Rlimit { current: limit.maximum, maximum: limit.maximum });
    getrlimit(resource).current.unwrap_or(u64::MAX)
}

/// The cores the process may use, in ascending order; never empty.
///
/// # Errors
/// When the affinity mask cannot be read, or is empty (`ESRCH`).
pub(crate) fn cpus() -> Result<Vec<usize>, Errno> {
    let mask = sched_getaffinity(None)?;
    let cpus: Vec<_> = (0..CpuSet::MAX_CPU).filter(|&cpu| mask.is_set(cpu)).collect();
    if cpus.is_empty() { Err(Errno::SRCH) } else { Ok(cpus) }
}

fn http_workers(asked: Option<NonZeroUsize>, cpus: usize) -> NonZeroUsize {
    let workers = asked.map_or(cpus, NonZeroUsize::get).max(HTTP_WORKERS_LEAST);
    NonZeroUsize::new(workers).expect("the least is above zero")
}

fn max_map_count() -> usize {
    let text = std::fs::read_to_string("/proc/sys/vm/max_map_count");
    text.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(MAPS_DEFAULT)
}

fn most_coroutines(maps: usize) -> usize {
    maps.saturating_sub(MAPS_FIXED) / MAPS_PER_COROUTINE
}

/// What bounds the number of connections.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Descriptors the process may hold.
    descriptors: u64,
    /// Executors and HTTP workers.
    threads: usize,
    /// Coroutines for HTTP connections; without end where none is spent on them.
    coroutines: usize,
}

impl Limits {
    /// The connections for TCP and for HTTP: what is asked for, and of the rest three fifths
    /// and two.
    fn share(
        self,
        tcp: Option<NonZeroUsize>,
        http: Option<NonZeroUsize>,
    ) -> Result<(usize, usize), Failure> {
        let ours = DESCRIPTORS_FIXED + DESCRIPTORS_PER_THREAD * self.threads;
        let free = usize::try_from(self.descriptors).unwrap_or(usize::MAX).saturating_sub(ours);
        let (tcp, http) = (tcp.map(NonZeroUsize::get), http.map(NonZeroUsize::get));
        if let Some(asked) = http.filter(|&asked| asked > self.coroutines) {
            return Err(Failure::Maps { asked, most: self.coroutines });
        }
        // What neither side asked for is the other's, and never less than one connection.
        let least = tcp.unwrap_or(1).saturating_add(http.unwrap_or(1));
        if least > free {
            let needed = least.saturating_add(ours);
            return Err(Failure::Descriptors { needed, limit: self.descriptors });
        }
        let http_share = match tcp {
            Some(tcp) => free - tcp,
            // nsqds stay connected, and many consumers come only to ask.
            None => (free * 2 / 5).max(1),
        };
        let http = http.unwrap_or(http_share.min(self.coroutines));
        let tcp = tcp.unwrap_or(free - http);
        if http == 0 {
            return Err(Failure::Maps { asked: 1, most: 0 });
        }
        Ok((tcp, http))
    }
}

/// Listens on `address`. Either family's "every address" means both, as in Go; IPv4 alone where
/// the host has no IPv6.
fn listen(flag: &'static str, address: SocketAddr) -> Result<TcpListener, Failure> {
    let bound = if address.ip().is_unspecified() {
        match bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, address.port()))) {
            Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) => {
                bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())))
            }
            bound => bound,
        }
    } else {
        bind(address)
    };
    bound.map_err(|error| Failure::Listen { flag, address, error })
}

/// A listening socket without SO_REUSEPORT: with it a second daemon on the port would not fail.
fn bind(address: SocketAddr) -> Result<TcpListener, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, !address.ip().is_unspecified())?;
    }
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

/// What stops the daemon from starting; shown in one line, with the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No ring can be made.
    IoUring(Errno),
    /// Too little memory may be locked: the limit, in bytes.
    Memlock(u64),
    /// The affinity mask cannot be read, or is empty.
    Cores(Errno),
    /// Too few descriptors.
    Descriptors {
        /// For the connections asked for (one where none is) and the daemon itself.
        needed: usize,
        /// RLIMIT_NOFILE.
        limit: u64,
    },
    /// Too few memory maps for a coroutine per HTTP connection.
    Maps {
        /// HTTP connections asked for.
        asked: usize,
        /// HTTP connections that `vm.max_map_count` allows.
        most: usize,
    },
    /// The token file has no token.
    Token(TokenError),
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
            Self::IoUring(error) => {
                write!(f, "io_uring is not available: {error}; {}", io_uring_remedy(*error))
            }
            Self::Memlock(limit) => write!(
                f,
                "locked memory is limited to {} KiB, and io_uring needs {} KiB; raise it with \
                 `ulimit -l`, LimitMEMLOCK= (systemd) or --ulimit memlock= (containers)",
                limit / 1024,
                MEMLOCK / 1024
            ),
            Self::Cores(error) => write!(
                f,
                "cannot tell which cores may be used: {error}; look at `taskset -p` and the cpuset"
            ),
            Self::Descriptors { needed, limit } => write!(
                f,
                "{needed} file descriptors are needed and {limit} allowed; raise the limit with \
                 `ulimit -n` or LimitNOFILE= (systemd), or lower --max-tcp-connections and \
                 --max-http-connections"
            ),
            Self::Maps { asked, most } => write!(
                f,
                "--http-engine minihttp can hold {most} connections, not {asked}; raise \
                 vm.max_map_count with sysctl, lower --max-http-connections, or use the builtin \
                 engine"
            ),
            Self::Token(error) => error.fmt(f),
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
             profile that lets io_uring_setup through"
        }
        Errno::NOSYS => {
            "it takes Linux 5.8 or newer with CONFIG_IO_URING, and in a container a seccomp \
             profile that lets io_uring_setup through"
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

    use super::*;

    fn config(words: &[&str]) -> Config {
        let anywhere = ["-tcp-address=127.0.0.1:0", "-http-address=127.0.0.1:0"];
        Config::from_args(anywhere.iter().chain(words).map(OsString::from)).unwrap()
    }

    #[test]
    fn the_ground_is_listening() {
        let resources = Resources::prepare(&config(&[])).unwrap();
        for listener in [&resources.tcp, &resources.http] {
            TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        }
        assert_eq!(resources.shards.get(), resources.cpus.len());
        assert!(resources.http_workers.get() >= 2);
        assert!(resources.tcp_connections > 0 && resources.http_connections > 0);
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }

    #[test]
    fn a_port_in_use_is_named_with_its_flag() {
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
    fn a_port_stays_taken_while_we_listen() {
        let ours = listen("tcp-address", "127.0.0.1:0".parse().unwrap()).unwrap();
        let failure = listen("tcp-address", ours.local_addr().unwrap()).unwrap_err();
        assert!(matches!(failure, Failure::Listen { error: Errno::ADDRINUSE, .. }), "{failure}");
    }

    #[test]
    fn every_address_of_either_family_is_both() {
        for address in ["0.0.0.0:0", "[::]:0"] {
            let listener = listen("tcp-address", address.parse().unwrap()).unwrap();
            let port = listener.local_addr().unwrap().port();
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
            if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
                TcpStream::connect((Ipv6Addr::LOCALHOST, port)).unwrap();
            }
        }
    }

    #[test]
    fn an_address_of_another_host_is_refused() {
        let failure = listen("tcp-address", "192.0.2.1:0".parse().unwrap()).unwrap_err();
        let text = failure.to_string();
        assert!(text.contains("192.0.2.1:0") && text.contains("no such address"), "{text}");
    }

    #[test]
    fn connections_share_the_descriptors() {
        // Two executors and two workers: 64 + 4 × 32 = 192 descriptors are the daemon's own.
        let limits = |descriptors| Limits { descriptors, threads: 4, coroutines: usize::MAX };
        let few = |coroutines| Limits { coroutines, ..limits(1_192) };
        let too_few = |needed, limit| Err(Failure::Descriptors { needed, limit });
        for (limits, tcp, http, want) in [
            (limits(1_192), 0, 0, Ok((600, 400))),
            (limits(1_193), 0, 0, Ok((601, 400))),
            (limits(1_192), 900, 0, Ok((900, 100))),
            (limits(1_192), 0, 1, Ok((999, 1))),
            (limits(1_192), 10, 20, Ok((10, 20))),
            (limits(1_192), 500, 500, Ok((500, 500))),
            (limits(1_192), 500, 501, too_few(1_193, 1_192)),
            (limits(1_192), 1_000, 0, too_few(1_193, 1_192)),
            (limits(1_192), usize::MAX, 0, too_few(usize::MAX, 1_192)),
            (limits(194), 0, 0, Ok((1, 1))),
            (limits(193), 0, 0, too_few(194, 193)),
            (few(100), 0, 0, Ok((900, 100))),
            (few(100), 200, 0, Ok((200, 100))),
            (few(100), 0, 101, Err(Failure::Maps { asked: 101, most: 100 })),
            (few(0), 0, 0, Err(Failure::Maps { asked: 1, most: 0 })),
        ] {
            let got = limits.share(NonZeroUsize::new(tcp), NonZeroUsize::new(http));
            assert_eq!(got, want, "{limits:?} {tcp} {http}");
        }
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
        let token = || Failure::Token(Token::load("/nonexistent".as_ref()).unwrap_err());
        for (failure, remedy) in [
            (Failure::IoUring(Errno::PERM), "kernel.io_uring_disabled=0"),
            (Failure::IoUring(Errno::NOSYS), "Linux 5.8"),
            (Failure::IoUring(Errno::NOMEM), "LimitMEMLOCK="),
            (Failure::IoUring(Errno::MFILE), "ulimit -n"),
            (Failure::Memlock(65_536), "limited to 64 KiB, and io_uring needs 512 KiB; raise it"),
            (Failure::Descriptors { needed: 9, limit: 8 }, "LimitNOFILE="),
            (Failure::Maps { asked: 9, most: 8 }, "vm.max_map_count"),
            (token(), "--http-write-token-file \"/nonexistent\": No such file"),
            (listen(Errno::ADDRINUSE), "choose another --http-address"),
            (listen(Errno::ACCESS), "CAP_NET_BIND_SERVICE"),
        ] {
            let text = failure.to_string();
            assert!(text.contains(remedy) && !text.contains('\n'), "{text}");
        }
    }
}
