//! The configuration: command line over configuration file over default, as in NSQ.
//!
//! `flags` is the table of all flags. `go_flags` reads the command line and `file` the configuration
//! file into texts that the kinds of the table accept, `values` picks the effective one of each flag,
//! and [`Config`] holds their meaning. What depends on the machine (cores, file descriptors) is decided
//! by `resources`.
//!
//! Must not: open sockets, log, or end the process. Runs on the main thread, at start.

mod address;
mod choices;
mod file;
mod flags;
mod go_duration;
mod go_flags;
mod max_memory;
mod unknown_keys;
mod values;
mod warnings;

use std::ffi::OsString;
use std::io::Write as _;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

pub use choices::{HttpEngine, TcpRuntime};
pub use flags::{FLAGS, Flag, Kind, command};
pub use go_duration::GoDuration;
pub use max_memory::MaxMemory;
pub use warnings::of_broadcast_address;

use crate::access::AllowList;
use crate::clock::Clock;
use crate::limits;
use crate::logging::{self, Level};
use values::Values;

/// What `--version` prints, and the log's first line says.
pub const VERSION: &str =
    concat!("nsqlookupd v1.3.0 (built w/musterd-", env!("CARGO_PKG_VERSION"), ")");

/// The settings of the daemon; `flags` has their defaults.
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
    /// A producer that is silent for longer is left out of every answer.
    pub inactive_producer_timeout: Duration,
    /// How long a tombstone hides a producer that stays registered.
    pub tombstone_lifetime: Duration,
    /// From accept to a complete IDENTIFY.
    pub handshake_timeout: Duration,
    /// How long an HTTP connection may stay without a request.
    pub http_idle_timeout: Duration,
    /// Number of TCP workers; none: one per core.
    pub shards: Option<NonZeroUsize>,
    /// What runs the TCP workers.
    pub tcp_runtime: TcpRuntime,
    /// Number of HTTP workers; none: one per core, but at least two.
    pub http_workers: Option<NonZeroUsize>,
    /// Which HTTP server answers.
    pub http_engine: HttpEngine,
    /// nsqds connected at once; none: what the file descriptors allow.
    pub max_tcp_connections: Option<NonZeroUsize>,
    /// HTTP connections at once; none: what the file descriptors allow.
    pub max_http_connections: Option<NonZeroUsize>,
    /// Connections of one IP address to each port; none: not limited.
    pub max_connections_per_ip: Option<NonZeroUsize>,
    /// The networks that nsqds may connect from.
    pub tcp_allow: AllowList,
    /// The proxies whose connections begin with a PROXY header.
    pub proxy_protocol_from: AllowList,
    /// The networks that may send a POST.
    pub http_write_allow: AllowList,
    /// The file with the bearer token that every POST must carry.
    pub http_write_token_file: Option<PathBuf>,
    /// The networks that may send a GET.
    pub http_read_allow: AllowList,
    /// The file with the bearer token that lets in GETs of others.
    pub http_read_token_file: Option<PathBuf>,
    /// The origins whose web pages may send a POST, beside those of the host itself.
    pub http_origin_allow: Vec<String>,
    /// The hosts that HTTP clients may ask for; none: all.
    pub http_host: Vec<String>,
    /// Topics and channels that all nsqds together may register.
    pub max_registrations: usize,
    /// Topics and channels that one nsqd may register.
    pub max_registrations_per_nsqd: usize,
    /// Memory that the process may use.
    pub max_memory: MaxMemory,
    /// Topics and channels that HTTP clients created and no nsqd has registered; none: a part of
    /// `max_registrations`.
    pub max_http_names: Option<NonZeroUsize>,
}

impl Config {
    /// Reads a command line, without the program's name, and the file it names: the settings, and what
    /// the operator may not have meant, for the log.
    ///
    /// # Errors
    /// [`Exit`]: the process is to end at once.
    pub fn from_args(
        args: impl IntoIterator<Item = OsString>,
    ) -> Result<(Self, Vec<String>), Exit> {
        let go_flags::Parsed { given, unread } = go_flags::parse(args)?;
        let mut values = Values { command_line: given, ..Values::default() };
        if values.text("version") == Some("true") {
            return Err(Exit::Version);
        }
        let unread = warnings::unread(&unread).map_err(Exit::Config)?;
        let mut warnings = Vec::from_iter(unread);
        // An empty name is no file, as in NSQ.
        let path = values.text("config").filter(|path| !path.is_empty());
        if let Some(path) = path {
            let strict = values.text("config-strict") == Some("true");
            let loaded = file::load(Path::new(path), strict).map_err(Exit::Config)?;
            values.file = loaded.given;
            warnings.extend(loaded.warnings);
        }
        let config = Self::new(&values).map_err(Exit::Config)?;
        warnings.extend(warnings::all(&values, &config));
        Ok((config, warnings))
    }

    fn new(values: &Values) -> Result<Self, String> {
        let address = |flag| address::resolve(&values.get::<String>(flag));
        let count = |flag| NonZeroUsize::new(values.get(flag));
        let workers = |flag| match count(flag) {
            Some(count) if count.get() > limits::WORKERS => {
                Err(format!("--{flag} must be at most {}", limits::WORKERS))
            }
            count => Ok(count),
        };
        let config = Self {
            log_level: values.get("log-level"),
            log_prefix: values.get("log-prefix"),
            tcp_address: address("tcp-address")?,
            http_address: address("http-address")?,
            broadcast_address: values
                .text("broadcast-address")
                .map_or_else(hostname, str::to_owned),
            inactive_producer_timeout: values.duration("inactive-producer-timeout")?,
            tombstone_lifetime: values.duration("tombstone-lifetime")?,
            handshake_timeout: values.duration("handshake-timeout")?,
            http_idle_timeout: values.duration("http-idle-timeout")?,
            shards: workers("shards")?,
            tcp_runtime: values.get("tcp-runtime"),
            http_workers: workers("http-workers")?,
            http_engine: values.get("http-engine"),
            max_tcp_connections: count("max-tcp-connections"),
            max_http_connections: count("max-http-connections"),
            max_connections_per_ip: count("max-connections-per-ip"),
            tcp_allow: values.list("tcp-allow").into(),
            proxy_protocol_from: values.list("proxy-protocol-from").into(),
            http_write_allow: values.list("http-write-allow").into(),
            http_write_token_file: values.text("http-write-token-file").map(PathBuf::from),
            http_read_allow: values.list("http-read-allow").into(),
            http_read_token_file: values.text("http-read-token-file").map(PathBuf::from),
            http_origin_allow: values.words("http-origin-allow"),
            http_host: values.words("http-host"),
            max_registrations: values.count("max-registrations")?,
            max_registrations_per_nsqd: values.count("max-registrations-per-nsqd")?,
            max_memory: values.get("max-memory"),
            max_http_names: count("max-http-names"),
        };
        if config.http_idle_timeout < limits::HTTP_IDLE_LEAST
            || config.http_idle_timeout > limits::HTTP_IDLE_MOST
        {
            return Err("--http-idle-timeout must be from 1s to 24h".to_owned());
        }
        if config.http_engine == HttpEngine::Minihttp && config.max_connections_per_ip.is_some() {
            let error = "--max-connections-per-ip needs the builtin HTTP engine; \
                         minihttp cannot count them";
            return Err(error.to_owned());
        }
        if config.http_engine == HttpEngine::Minihttp && !config.proxy_protocol_from.is_empty() {
            let error = "--proxy-protocol-from needs the builtin HTTP engine; \
                         minihttp cannot read the header";
            return Err(error.to_owned());
        }
        Ok(config)
    }

    /// Whether there is a rule for who may send a GET.
    #[must_use]
    pub fn has_read_rule(&self) -> bool {
        !self.http_read_allow.is_empty() || self.http_read_token_file.is_some()
    }
}

/// The name the system gives this host, as Go's `os.Hostname` finds it.
#[must_use]
pub fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Why the process ends before the daemon starts.
#[derive(Debug)]
pub enum Exit {
    /// `--version`.
    Version,
    /// `--help`.
    Help,
    /// The command line is wrong.
    Usage(String),
    /// The settings are wrong.
    Config(String),
}

impl Exit {
    /// The exit code, which is that of NSQ's nsqlookupd in the same place, and what is written to
    /// stdout and stderr.
    fn output(&self, clock: &Clock) -> (u8, String, String) {
        let none = String::new();
        match self {
            Self::Version => (0, format!("{VERSION}\n"), none),
            Self::Help => (0, none, usage()),
            Self::Usage(error) => (2, none, format!("{error}\n{}", usage())),
            Self::Config(error) => (1, none, logging::fatal_line(clock, format_args!("{error}"))),
        }
    }

    /// Writes the reason, and returns the code to exit with.
    #[must_use]
    pub fn report(&self, clock: &Clock) -> ExitCode {
        let (code, stdout, stderr) = self.output(clock);
        // Without a reader of stdout the exit code has to be enough.
        let _ = std::io::stdout().write_all(stdout.as_bytes());
        logging::write_to_stderr(&stderr);
        ExitCode::from(code)
    }
}

/// What `--help` prints.
fn usage() -> String {
    flags::command().render_help().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(words: &[&str]) -> Result<Config, Exit> {
        Config::from_args(words.iter().map(OsString::from)).map(|(config, _)| config)
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
    fn defaults_are_those_of_nsq() {
        let want = Config {
            log_level: Level::Info,
            log_prefix: "[nsqlookupd] ".into(),
            tcp_address: "0.0.0.0:4160".parse().unwrap(),
            http_address: "0.0.0.0:4161".parse().unwrap(),
            broadcast_address: hostname(),
            inactive_producer_timeout: Duration::from_secs(300),
            tombstone_lifetime: Duration::from_secs(45),
            handshake_timeout: Duration::from_secs(10),
            http_idle_timeout: Duration::from_secs(120),
            shards: None,
            tcp_runtime: TcpRuntime::Auto,
            http_workers: None,
            http_engine: HttpEngine::Builtin,
            max_tcp_connections: None,
            max_http_connections: None,
            max_connections_per_ip: None,
            tcp_allow: AllowList::default(),
            proxy_protocol_from: AllowList::default(),
            http_write_allow: AllowList::default(),
            http_write_token_file: None,
            http_read_allow: AllowList::default(),
            http_read_token_file: None,
            http_origin_allow: Vec::new(),
            http_host: Vec::new(),
            max_registrations: 5_000_000,
            max_registrations_per_nsqd: 100_000,
            max_memory: MaxMemory::PerCent(75),
            max_http_names: None,
        };
        assert_eq!(config(&[]).unwrap(), want);
        assert_eq!(want.handshake_timeout, limits::HANDSHAKE);
        assert_eq!(want.http_idle_timeout, limits::HTTP_IDLE);
        assert_eq!(want.max_registrations, limits::REGISTRATIONS);
        assert_eq!(want.max_registrations_per_nsqd, limits::REGISTRATIONS_PER_NSQD);
        assert_eq!(config(&["-config=", "-shards=0", "word", "-nope"]).unwrap(), want);
        assert!(!want.broadcast_address.is_empty());
    }

    #[test]
    fn the_command_line_wins_over_the_file_and_the_file_over_the_default() {
        let file = File::new(
            "precedence",
            "tombstone_lifetime = 1500\ninactive_producer_timeout = \"1h\"\nlog_prefix = \"[x] \"\n",
        );
        let config = config(&[&file.flag(), "-inactive-producer-timeout", "100ms"]).unwrap();
        assert_eq!(config.tombstone_lifetime, Duration::from_millis(1500));
        assert_eq!(config.inactive_producer_timeout, Duration::from_millis(100));
        assert_eq!(config.log_prefix, "[x] ");
        assert_eq!(config.handshake_timeout, Duration::from_secs(10));
    }

    /// A value of the flag that is not its default.
    fn other_value(flag: &Flag) -> &'static str {
        match flag.kind {
            Kind::Bool => "true",
            Kind::Count => "7",
            Kind::Duration => "3s",
            Kind::Checked("LEVEL", _) => "debug",
            Kind::Checked("ENGINE", _) => "minihttp",
            Kind::Checked("RUNTIME", _) => "thread",
            Kind::Checked("FILE", _) => "/file",
            Kind::Checked("SIZE", _) => "1G",
            Kind::Checked(name, _) => panic!("which {name} is not the default?"),
            Kind::Text("ADDR:PORT") => "127.0.0.1:1",
            Kind::Text(_) => "/text",
            Kind::Networks => "10.0.0.0/8",
        }
    }

    #[test]
    fn every_flag_is_set_by_the_command_line_and_by_the_file() {
        let default = config(&[]).unwrap();
        let mut names = std::collections::BTreeSet::new();
        for flag in FLAGS {
            assert!(names.insert(flag.name), "--{} is there twice", flag.name);
            let Some(key) = flag.key() else { continue };
            let value = other_value(flag);
            let toml = match flag.kind {
                Kind::Bool | Kind::Count => value.to_owned(),
                Kind::Networks => format!("[\"{value}\"]"),
                _ => format!("\"{value}\""),
            };
            let file = File::new(flag.name, &format!("{key} = {toml}"));
            let by_file = config(&[&file.flag()]).unwrap();
            let by_flag = config(&[&format!("-{}={value}", flag.name)]).unwrap();
            assert_eq!(by_file, by_flag, "{}", flag.name);
            assert_ne!(by_file, default, "{}", flag.name);
            if !flag.default.is_empty() {
                let default_again = format!("-{}={}", flag.name, flag.default);
                assert_eq!(config(&[&file.flag(), &default_again]).unwrap(), default);
            }
        }
    }

    #[test]
    fn flags_outside_of_the_file_are_not_read_from_it() {
        for flag in FLAGS.iter().filter(|flag| !flag.in_file) {
            let file = File::new(flag.name, &format!("{} = 5", flag.name));
            assert_eq!(config(&[&file.flag()]).unwrap(), config(&[]).unwrap(), "{}", flag.name);
        }
    }

    #[test]
    fn a_limit_holds_for_the_value_that_counts() {
        for flag in FLAGS {
            let (value, want) = match flag.kind {
                Kind::Duration if !flag.positive => ("-1ns", "must not be negative, and is -1ns"),
                _ if flag.positive => ("0", "must be more than 0"),
                _ => continue,
            };
            let wrong = format!("-{}={value}", flag.name);
            let error = config(&[&wrong]).unwrap_err();
            assert!(matches!(&error, Exit::Config(e) if e.to_string().contains(want)), "{error:?}");
            config(&[&wrong, &format!("-{}={}", flag.name, flag.default)]).unwrap();
        }
    }

    #[test]
    fn help_shows_every_flag_with_its_default() {
        let text = usage();
        // A description may be wrapped.
        let words: Vec<_> = text.split_whitespace().collect();
        let text = words.join(" ");
        for flag in FLAGS {
            let (_, row) = text.split_once(&format!(" --{} ", flag.name)).expect(flag.name);
            assert!(row.contains(flag.help) && row.contains(flag.default), "{}: {row}", flag.name);
        }
    }

    #[test]
    fn the_example_file_shows_the_defaults() {
        let text = include_str!("../../contrib/musterd.cfg.example");
        let file = File::new("example", text);
        assert_eq!(config(&[&file.flag()]).unwrap(), config(&[]).unwrap());
        // Each key that is commented out shows its default too.
        let keys = |line: &&str| !line.starts_with("##");
        let lines = text.lines().filter(keys).map(|line| line.trim_start_matches("# "));
        let bare = lines.collect::<Vec<_>>().join("\n");
        let file = File::new("example-bare", &bare);
        assert_eq!(config(&[&file.flag()]).unwrap(), config(&[]).unwrap());
        for key in FLAGS.iter().filter_map(Flag::key) {
            let mut shown = text.lines().map(|line| line.trim_start_matches(['#', ' ']));
            assert!(shown.any(|line| line.starts_with(&format!("{key} = "))), "{key} is missing");
        }
    }

    #[test]
    fn an_early_exit_has_the_code_of_nsq_and_says_why() {
        let clock = Clock::manual(crate::clock::Timestamp::default());
        let cases: &[(&[&str], u8, &str, &str)] = &[
            (&["-version"], 0, "nsqlookupd v1.3.0 (built w/musterd-0.1.0)\n", ""),
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
                "FATAL: --max-connections-per-ip needs the builtin HTTP engine",
            ),
        ];
        for (words, code, stdout, stderr) in cases {
            let (got_code, got_stdout, got) = config(words).unwrap_err().output(&clock);
            assert_eq!((got_code, got_stdout.as_str()), (*code, *stdout), "{words:?}");
            assert!(got.contains(stderr) && got.is_empty() == stderr.is_empty(), "{got}");
        }
        assert!(VERSION.contains(crate::protocol::NSQ_VERSION));
    }

    #[test]
    fn idle_timeout_of_http_is_limited() {
        for (value, is_good) in
            [("1s", true), ("24h", true), ("999ms", false), ("24h0m0.001s", false)]
        {
            let result = config(&[&format!("-http-idle-timeout={value}")]);
            assert_eq!(result.is_ok(), is_good, "{value}: {result:?}");
        }
    }

    #[test]
    fn workers_are_limited() {
        for flag in ["shards", "http-workers"] {
            assert!(config(&[&format!("-{flag}=1024")]).is_ok());
            let error = config(&[&format!("-{flag}=1025")]).unwrap_err();
            let want = format!("--{flag} must be at most 1024");
            assert!(matches!(&error, Exit::Config(e) if *e == want), "{error:?}");
        }
    }
}
