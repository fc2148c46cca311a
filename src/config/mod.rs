//! What the operator asked for: command line over configuration file over default, as NSQ has it.
//!
//! Three steps: `go_flags` splits the words, `flags` and `file` give them types, and [`Config`] is
//! what they mean together. What depends on the machine (cores, descriptors) is `resources`'s.
//!
//! Must not: open sockets, log, or end the process. Runs on the main thread, at start.

mod address;
mod file;
mod flags;
mod go_duration;
mod go_flags;

use std::ffi::OsString;
use std::fmt;
use std::io::Write as _;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

pub use address::AddressError;
pub use file::FileError;
pub use flags::HttpEngine;
pub use go_duration::{DurationError, GoDuration};
pub use go_flags::FlagError;

use crate::access::AllowList;
use crate::clock::Clock;
use crate::limits;
use crate::logging::{self, Level};
use flags::Settings;
use go_flags::Stop;

/// What `--version` prints, and the log's first line says.
pub const VERSION: &str = concat!("musterd v", env!("CARGO_PKG_VERSION"), " (nsqlookupd v1.3.0)");

/// What the daemon is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The least severe line that is logged.
    pub log_level: Level,
    /// What every log line begins with.
    pub log_prefix: String,
    /// Where nsqds connect.
    pub tcp_address: SocketAddr,
    /// Where HTTP is answered.
    pub http_address: SocketAddr,
    /// What the IDENTIFY reply calls this host.
    pub broadcast_address: String,
    /// A producer that is silent for longer is in no answer.
    pub inactive_producer_timeout: Duration,
    /// How long a tombstone hides a producer.
    pub tombstone_lifetime: Duration,
    /// From accept to a complete IDENTIFY.
    pub handshake_timeout: Duration,
    /// Executors that serve TCP; none: one per core.
    pub shards: Option<NonZeroUsize>,
    /// Threads that serve HTTP; none: one per core, but at least two.
    pub http_workers: Option<NonZeroUsize>,
    /// Which code answers HTTP.
    pub http_engine: HttpEngine,
    /// nsqds connected at once; none: what the descriptors allow.
    pub max_tcp_connections: Option<NonZeroUsize>,
    /// HTTP connections at once; none: what the descriptors allow.
    pub max_http_connections: Option<NonZeroUsize>,
    /// Connections of one address to each port; none: not counted.
    pub max_connections_per_ip: Option<NonZeroUsize>,
    /// From where nsqds may connect.
    pub tcp_allow: AllowList,
    /// From where requests may change something.
    pub http_write_allow: AllowList,
    /// The file with the token of who may change something.
    pub http_write_token_file: Option<PathBuf>,
    /// Registrations of all nsqds.
    pub max_registrations: usize,
    /// Registrations of one nsqd.
    pub max_registrations_per_nsqd: usize,
}

impl Config {
    /// Reads a command line, without the program's name, and the file it names.
    ///
    /// # Errors
    /// [`Exit`]: the process ends before it begins, with a text and a code.
    pub fn from_args(args: impl IntoIterator<Item = OsString>) -> Result<Self, Exit> {
        let args = flags::parse(args).map_err(|stop| match stop {
            Stop::Help => Exit::Help,
            Stop::Error(error) => Exit::Usage(error),
        })?;
        if args.version {
            return Err(Exit::Version);
        }
        // An empty name is no file, as in NSQ.
        let settings = match args.config.filter(|path| !path.is_empty()) {
            Some(path) => {
                args.settings.or(file::load(Path::new(&path)).map_err(ConfigError::File)?)
            }
            None => args.settings,
        };
        Ok(Self::from_settings(settings)?)
    }

    fn from_settings(settings: Settings) -> Result<Self, ConfigError> {
        let address = |text: Option<String>, default: &str| {
            address::resolve(text.as_deref().unwrap_or(default)).map_err(ConfigError::Address)
        };
        let http_engine = settings.http_engine.unwrap_or_default();
        let max_connections_per_ip = settings.max_connections_per_ip.and_then(NonZeroUsize::new);
        if http_engine == HttpEngine::Minihttp && max_connections_per_ip.is_some() {
            return Err(ConfigError::Unguarded("max-connections-per-ip"));
        }
        Ok(Self {
            log_level: settings.log_level.unwrap_or_default(),
            log_prefix: settings.log_prefix.unwrap_or_else(|| logging::DEFAULT_PREFIX.to_owned()),
            tcp_address: address(settings.tcp_address, "0.0.0.0:4160")?,
            http_address: address(settings.http_address, "0.0.0.0:4161")?,
            broadcast_address: settings.broadcast_address.unwrap_or_else(hostname),
            inactive_producer_timeout: positive(
                "inactive-producer-timeout",
                settings.inactive_producer_timeout,
                Duration::from_secs(300),
            )?,
            tombstone_lifetime: not_negative(
                "tombstone-lifetime",
                settings.tombstone_lifetime,
                Duration::from_secs(45),
            )?,
            handshake_timeout: positive(
                "handshake-timeout",
                settings.handshake_timeout,
                limits::HANDSHAKE,
            )?,
            shards: settings.shards.and_then(NonZeroUsize::new),
            http_workers: settings.http_workers.and_then(NonZeroUsize::new),
            http_engine,
            max_tcp_connections: settings.max_tcp_connections.and_then(NonZeroUsize::new),
            max_http_connections: settings.max_http_connections.and_then(NonZeroUsize::new),
            max_connections_per_ip,
            tcp_allow: settings.tcp_allow.unwrap_or_default().into(),
            http_write_allow: settings.http_write_allow.unwrap_or_default().into(),
            http_write_token_file: settings.http_write_token_file,
            max_registrations: some(
                "max-registrations",
                settings.max_registrations,
                limits::REGISTRATIONS,
            )?,
            max_registrations_per_nsqd: some(
                "max-registrations-per-nsqd",
                settings.max_registrations_per_nsqd,
                limits::REGISTRATIONS_PER_NSQD,
            )?,
        })
    }
}

/// The name the system gives this host, as Go's `os.Hostname` finds it.
#[must_use]
pub fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

type Name = &'static str;

fn not_negative(
    name: Name,
    given: Option<GoDuration>,
    default: Duration,
) -> Result<Duration, ConfigError> {
    let Some(given) = given else { return Ok(default) };
    given.to_std().ok_or(ConfigError::Negative(name, given))
}

/// Divergence: NSQ accepts a time-out of nothing or less, and then lists no producer.
fn positive(
    name: Name,
    given: Option<GoDuration>,
    default: Duration,
) -> Result<Duration, ConfigError> {
    match not_negative(name, given, default)? {
        Duration::ZERO => Err(ConfigError::Zero(name)),
        span => Ok(span),
    }
}

fn some(name: Name, given: Option<usize>, default: usize) -> Result<usize, ConfigError> {
    match given.unwrap_or(default) {
        0 => Err(ConfigError::Zero(name)),
        count => Ok(count),
    }
}

/// Settings that can be read and not be followed.
#[derive(Debug)]
pub enum ConfigError {
    /// The configuration file.
    File(FileError),
    /// An address to listen on.
    Address(AddressError),
    /// The flag, and its span below zero.
    Negative(&'static str, GoDuration),
    /// A flag that has to be more than zero.
    Zero(&'static str),
    /// A flag that the second HTTP engine cannot honour.
    Unguarded(&'static str),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => error.fmt(f),
            Self::Address(error) => error.fmt(f),
            Self::Negative(flag, span) => write!(f, "--{flag} must not be negative, and is {span}"),
            Self::Zero(flag) => write!(f, "--{flag} must be more than 0"),
            Self::Unguarded(flag) => {
                write!(f, "--{flag} needs the guarded HTTP engine, --http-engine minihttp has none")
            }
        }
    }
}

impl std::error::Error for ConfigError {}

/// Why the process ends before the daemon starts.
#[derive(Debug)]
pub enum Exit {
    /// `--help`.
    Help,
    /// `--version`.
    Version,
    /// The command line is wrong.
    Usage(FlagError),
    /// The settings are wrong.
    Config(ConfigError),
}

impl From<ConfigError> for Exit {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl Exit {
    /// The process's exit code: that of NSQ's nsqlookupd in the same place.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Help | Self::Version => 0,
            Self::Usage(_) => 2,
            Self::Config(_) => 1,
        }
    }

    /// What is to be said on stdout.
    fn stdout(&self) -> String {
        match self {
            Self::Version => format!("{VERSION}\n"),
            _ => String::new(),
        }
    }

    /// What is to be said on stderr.
    fn stderr(&self, clock: &Clock) -> String {
        match self {
            Self::Version => String::new(),
            Self::Help => flags::usage(),
            Self::Usage(error) => format!("{error}\n{}", flags::usage()),
            Self::Config(error) => logging::fatal_line(clock, format_args!("{error}")),
        }
    }

    /// Says why, and gives the code to end with.
    #[must_use]
    pub fn report(&self, clock: &Clock) -> ExitCode {
        // Nobody listens: then the code has to do.
        let _ = std::io::stdout().write_all(self.stdout().as_bytes());
        logging::write_to_stderr(&self.stderr(clock));
        ExitCode::from(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(words: &[&str]) -> Result<Config, Exit> {
        Config::from_args(words.iter().map(OsString::from))
    }

    /// A configuration file of its own for each test; gone with the value.
    struct File(std::path::PathBuf);

    impl File {
        fn new(name: &str, text: &str) -> Self {
            let name = format!("musterd-config-{}-{name}.toml", std::process::id());
            let path = std::env::temp_dir().join(name);
            std::fs::write(&path, text).unwrap();
            Self(path)
        }

        fn flag(&self) -> String {
            format!("-config={}", self.0.display())
        }
    }

    impl Drop for File {
        fn drop(&mut self) {
            std::fs::remove_file(&self.0).unwrap();
        }
    }

    #[test]
    fn defaults_are_nsqs() {
        let want = Config {
            log_level: Level::Info,
            log_prefix: "[nsqlookupd] ".into(),
            tcp_address: "0.0.0.0:4160".parse().unwrap(),
            http_address: "0.0.0.0:4161".parse().unwrap(),
            broadcast_address: hostname(),
            inactive_producer_timeout: Duration::from_secs(300),
            tombstone_lifetime: Duration::from_secs(45),
            handshake_timeout: Duration::from_secs(10),
            shards: None,
            http_workers: None,
            http_engine: HttpEngine::Guarded,
            max_tcp_connections: None,
            max_http_connections: None,
            max_connections_per_ip: None,
            tcp_allow: AllowList::default(),
            http_write_allow: AllowList::default(),
            http_write_token_file: None,
            max_registrations: 5_000_000,
            max_registrations_per_nsqd: 100_000,
        };
        assert_eq!(config(&[]).unwrap(), want);
        assert_eq!(config(&["-config=", "-shards=0", "word", "-nope"]).unwrap(), want);
        assert!(!want.broadcast_address.is_empty());
    }

    #[test]
    fn the_command_line_overrides_the_file_and_the_file_the_default() {
        let file = File::new(
            "precedence",
            "tombstone_lifetime = 1500\ninactive_producer_timeout = \"1h\"\nlog_prefix = \"[x] \"\n",
        );
        let config = config(&[&file.flag(), "-inactive-producer-timeout", "100ms"]).unwrap();
        assert_eq!(config.tombstone_lifetime, Duration::from_millis(1500));
        assert_eq!(config.inactive_producer_timeout, Duration::from_millis(100));
        assert_eq!(config.log_prefix, "[x] ");
        assert_eq!(config.handshake_timeout, limits::HANDSHAKE);
    }

    /// Every setting has to pass [`Settings::or`], from either side.
    #[test]
    fn every_setting_can_come_from_both() {
        let settings = [
            ("log-level", "\"debug\""),
            ("log-prefix", "\"p\""),
            ("tcp-address", "\"127.0.0.1:1\""),
            ("http-address", "\"127.0.0.1:2\""),
            ("broadcast-address", "\"b\""),
            ("inactive-producer-timeout", "\"1s\""),
            ("tombstone-lifetime", "\"0s\""),
            ("handshake-timeout", "\"3s\""),
            ("shards", "4"),
            ("http-workers", "5"),
            ("http-engine", "\"minihttp\""),
            ("max-tcp-connections", "6"),
            ("max-http-connections", "7"),
            ("max-connections-per-ip", "10"),
            ("tcp-allow", "[\"127.0.0.1\"]"),
            ("http-write-allow", "[\"10.0.0.0/8\"]"),
            ("http-write-token-file", "\"/t\""),
            ("max-registrations", "8"),
            ("max-registrations-per-nsqd", "9"),
        ];
        let default = config(&[]).unwrap();
        for (name, value) in settings {
            let file = File::new(name, &format!("{} = {value}", name.replace('-', "_")));
            let by_file = config(&[&file.flag()]).unwrap();
            let by_flag =
                config(&[&format!("-{name}={}", value.trim_matches(['[', '"', ']']))]).unwrap();
            assert_eq!(by_file, by_flag, "{name}");
            assert_ne!(by_file, default, "{name}");
        }
    }

    #[test]
    fn the_example_file_shows_the_defaults() {
        let text = include_str!("../../contrib/musterd.cfg.example");
        let file = File::new("example", text);
        assert_eq!(config(&[&file.flag()]).unwrap(), config(&[]).unwrap());
        // Each setting that is commented out shows its default too.
        let settings = |line: &&str| !line.starts_with("##");
        let lines = text.lines().filter(settings).map(|line| line.trim_start_matches("# "));
        let bare = lines.collect::<Vec<_>>().join("\n");
        let file = File::new("example-bare", &bare);
        let all = config(&[&file.flag()]).unwrap();
        assert_eq!(Config { broadcast_address: hostname(), ..all }, config(&[]).unwrap());
        for flag in flags::setting_names() {
            let key = format!("{} = ", flag.replace('-', "_"));
            let shown = text.lines().map(|line| line.trim_start_matches(['#', ' ']));
            assert!(
                shown.into_iter().any(|line| line.starts_with(&key)),
                "{flag} is in the example"
            );
        }
    }

    #[test]
    fn an_early_end_has_nsqs_code_and_says_why() {
        let clock = Clock::manual(crate::clock::Timestamp::default());
        let cases: &[(&[&str], u8, &str, &str)] = &[
            (&["-version"], 0, "musterd v0.1.0 (nsqlookupd v1.3.0)\n", ""),
            (&["-help"], 0, "", "A drop-in replacement"),
            (&["-nope"], 2, "", "flag provided but not defined: -nope\nA drop-in replacement"),
            (&["-config=/nonexistent"], 1, "", "FATAL: failed to load config file /nonexistent - "),
            (&["-tcp-address=x"], 1, "", "FATAL: listen (x) failed - "),
            (
                &["-tombstone-lifetime=-5s"],
                1,
                "",
                "FATAL: --tombstone-lifetime must not be negative, and is -5s\n",
            ),
            (
                &["-inactive-producer-timeout=0"],
                1,
                "",
                "FATAL: --inactive-producer-timeout must be more than 0\n",
            ),
            (&["-max-registrations=0"], 1, "", "FATAL: --max-registrations must be more than 0\n"),
            (
                &["-max-connections-per-ip=1", "-http-engine=minihttp"],
                1,
                "",
                "FATAL: --max-connections-per-ip needs the guarded HTTP engine",
            ),
        ];
        for (words, code, stdout, stderr) in cases {
            let exit = config(words).unwrap_err();
            assert_eq!((exit.code(), exit.stdout()), (*code, (*stdout).to_owned()), "{words:?}");
            let said = exit.stderr(&clock);
            assert!(said.contains(stderr) && said.is_empty() == stderr.is_empty(), "{said}");
        }
        assert!(VERSION.contains(crate::protocol::NSQ_VERSION));
    }
}
