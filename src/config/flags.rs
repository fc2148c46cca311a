//! The table of flags: one row for each, with all that is known of it.
//!
//! The command line (`go_flags`), the configuration file (`file`), the defaults and `--help` read
//! this table; tests hold README.md, `docs/configuration.md` and `contrib/musterd.cfg.example` to
//! it. A new flag needs a row here, a field of `Config` and a line in `Config::new`.
//!
//! Must not: look at the machine, or check values against each other; `Config` does.
//! Runs on the main thread, at start.

use std::fmt::Display;
use std::str::FromStr;

use clap::{Arg, ArgAction, Command};

use super::go_duration::GoDuration;
use super::{HttpEngine, MaxMemory, TcpRuntime};
use crate::access::Network;
use crate::logging::{DEFAULT_PREFIX, Level};

/// One flag.
#[derive(Debug)]
pub struct Flag {
    /// Its name, without dashes.
    pub name: &'static str,
    /// What its values look like.
    pub kind: Kind,
    /// The value it has when it is not given, as it would be typed; empty: none.
    pub default: &'static str,
    /// Whether its number or duration must be more than 0.
    pub positive: bool,
    /// What it does, in the units it is given in, for `--help` and the documents.
    pub help: &'static str,
    /// Whether nsqlookupd has it too.
    pub in_nsqlookupd: bool,
    /// Whether the configuration file can set it.
    pub in_file: bool,
    /// Whether its value may change while the daemon runs. Nothing uses it yet.
    pub reloadable: bool,
    /// Whether it is accepted and does nothing.
    pub deprecated: bool,
    /// Whether it limits who may do what: left out by mistake, it would let everyone in.
    pub access_rule: bool,
}

/// What the values of a flag look like. The names are what `--help` calls a value.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// True or false; on the command line only behind `=`.
    Bool,
    /// A whole number, not negative.
    Count,
    /// A time as Go writes it, not negative; in the file also a whole number of milliseconds.
    Duration,
    /// Any text.
    Text(&'static str),
    /// A text that the function accepts; its error is shown to the operator.
    Checked(&'static str, fn(&str) -> Result<(), String>),
    /// Networks, separated by commas or the flag repeated; in the file a list of texts.
    Networks,
}

impl Kind {
    /// What `--help` calls a value.
    #[must_use]
    pub fn value_name(self) -> &'static str {
        match self {
            Self::Bool => "BOOL",
            Self::Count => "N",
            Self::Duration => "DURATION",
            Self::Text(name) | Self::Checked(name, _) => name,
            Self::Networks => "CIDR",
        }
    }

    /// Checks that a value can be read; of a list one element.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub(super) fn check(self, text: &str) -> Result<(), String> {
        match self {
            Self::Bool => check::<bool>(text),
            Self::Count => check::<usize>(text),
            Self::Duration => check::<GoDuration>(text),
            Self::Text(_) => Ok(()),
            Self::Checked(_, check) => check(text),
            Self::Networks => check::<Network>(text),
        }
    }
}

fn check<T: FromStr<Err: Display>>(text: &str) -> Result<(), String> {
    text.parse::<T>().map(drop).map_err(|error| error.to_string())
}

fn not_empty(text: &str) -> Result<(), String> {
    if text.is_empty() { Err("it must not be empty".to_owned()) } else { Ok(()) }
}

/// What most of nsqlookupd's flags have in common.
const NSQ: Flag = Flag {
    name: "",
    kind: Kind::Bool,
    default: "",
    positive: false,
    help: "",
    in_nsqlookupd: true,
    in_file: true,
    reloadable: false,
    deprecated: false,
    access_rule: false,
};

/// What most of musterd's own flags have in common.
const OWN: Flag = Flag { in_nsqlookupd: false, ..NSQ };

/// What the access rules have in common.
const RULE: Flag = Flag { access_rule: true, ..OWN };

/// All flags, in the order of `--help`.
#[rustfmt::skip]
pub const FLAGS: &[Flag] = &[
    Flag { name: "help", in_file: false, help: "print this text", ..NSQ },
    Flag { name: "version", in_file: false, help: "print the version", ..NSQ },
    Flag { name: "config", kind: Kind::Text("FILE"), in_file: false,
        help: "configuration file in TOML", ..NSQ },
    Flag { name: "config-strict", in_file: false,
        help: "refuse to start when the configuration file has an unknown key", ..OWN },
    Flag { name: "verbose", deprecated: true, in_file: false,
        help: "no effect; use --log-level", ..NSQ },
    Flag { name: "log-level", kind: Kind::Checked("LEVEL", check::<Level>), default: "info", reloadable: true,
        help: "least severe log lines to write: debug, info, warn, error or fatal", ..NSQ },
    Flag { name: "log-prefix", kind: Kind::Text("TEXT"), default: DEFAULT_PREFIX,
        help: "text that every log line begins with", ..NSQ },
    Flag { name: "tcp-address", kind: Kind::Text("ADDR:PORT"), default: "0.0.0.0:4160",
        help: "address to listen on for nsqds", ..NSQ },
    Flag { name: "http-address", kind: Kind::Text("ADDR:PORT"), default: "0.0.0.0:4161",
        help: "address to listen on for HTTP clients", ..NSQ },
    Flag { name: "broadcast-address", kind: Kind::Text("ADDR"),
        help: "address of this host in the reply to IDENTIFY; without it, the host's name", ..NSQ },
    Flag { name: "inactive-producer-timeout", kind: Kind::Duration, default: "5m", positive: true, reloadable: true,
        help: "how long a producer stays in the answers after its last IDENTIFY or PING", ..NSQ },
    Flag { name: "tombstone-lifetime", kind: Kind::Duration, default: "45s", reloadable: true,
        help: "how long a tombstone hides a producer that stays registered", ..NSQ },
    Flag { name: "handshake-timeout", kind: Kind::Duration, default: "10s", positive: true, reloadable: true,
        help: "how long an nsqd may take from connecting to the end of its IDENTIFY", ..OWN },
    Flag { name: "shards", kind: Kind::Count, default: "0",
        help: "number of TCP workers, a thread each; 0: one per CPU of the affinity mask and the cgroup's quota", ..OWN },
    Flag { name: "tcp-runtime", kind: Kind::Checked("RUNTIME", check::<TcpRuntime>), default: "auto",
        help: "what runs the TCP workers: glommio (needs io_uring), thread, or auto: glommio where it works", ..OWN },
    Flag { name: "http-workers", kind: Kind::Count, default: "0",
        help: "number of HTTP workers, a thread each; 0: one per CPU, at least 2", ..OWN },
    Flag { name: "http-engine", kind: Kind::Checked("ENGINE", check::<HttpEngine>), default: "builtin",
        help: "HTTP server: builtin, or minihttp (benchmark baseline, not for a public port)", ..OWN },
    Flag { name: "max-tcp-connections", kind: Kind::Count, default: "0",
        help: "number of nsqds connected at once; 0: three fifths of what the file descriptors allow", ..OWN },
    Flag { name: "max-http-connections", kind: Kind::Count, default: "0",
        help: "number of HTTP connections at once; 0: two fifths of what the file descriptors allow", ..OWN },
    Flag { name: "http-idle-timeout", kind: Kind::Duration, default: "2m", positive: true, reloadable: true,
        help: "how long an HTTP connection may stay open without a request, from 1s to 24h", ..OWN },
    Flag { name: "max-connections-per-ip", kind: Kind::Count, default: "0", reloadable: true,
        help: "number of connections of one IP address to each port; 0: not limited", ..RULE },
    Flag { name: "tcp-allow", kind: Kind::Networks, reloadable: true,
        help: "networks that nsqds may connect from; without it, all", ..RULE },
    Flag { name: "proxy-protocol-from", kind: Kind::Networks,
        help: "networks of proxies, whose connections to both ports begin with a PROXY header (version 1 or 2) that names the real peer", ..RULE },
    Flag { name: "http-write-allow", kind: Kind::Networks, reloadable: true,
        help: "networks that may send a POST over HTTP; without it, all", ..RULE },
    Flag { name: "http-write-token-file", kind: Kind::Checked("FILE", not_empty), reloadable: true,
        help: "file with the bearer token that every POST must carry; without it, none is needed", ..RULE },
    Flag { name: "http-read-allow", kind: Kind::Networks, reloadable: true,
        help: "networks that may send a GET over HTTP; without it and a read token, all", ..RULE },
    Flag { name: "http-read-token-file", kind: Kind::Checked("FILE", not_empty), reloadable: true,
        help: "file with the bearer token that lets in GETs from other networks", ..RULE },
    Flag { name: "http-origin-allow", kind: Kind::Text("ORIGINS"), reloadable: true,
        help: "origins whose web pages may send a POST, such as https://admin.example, separated by commas; without it, those of the host itself", ..RULE },
    Flag { name: "http-host", kind: Kind::Text("HOSTS"), reloadable: true,
        help: "names by which HTTP clients may ask, separated by commas, with or without a port; without it, all", ..RULE },
    Flag { name: "max-registrations", kind: Kind::Count, default: "5000000", positive: true, reloadable: true,
        help: "number of topics and channels that all nsqds together may register", ..OWN },
    Flag { name: "max-registrations-per-nsqd", kind: Kind::Count, default: "100000", positive: true, reloadable: true,
        help: "number of topics and channels that one nsqd may register", ..OWN },
    Flag { name: "max-memory", kind: Kind::Checked("SIZE", check::<MaxMemory>), default: "75%",
        help: "memory the process may use: bytes, with K, M or G, or a part of the cgroup's or the machine's; 0: not limited", ..OWN },
    Flag { name: "max-http-names", kind: Kind::Count, default: "0", reloadable: true,
        help: "number of topics and channels that only HTTP clients have created; 0: a tenth of --max-registrations", ..OWN },
];

impl Flag {
    /// The flag of that name.
    pub(super) fn find(name: &str) -> Option<&'static Self> {
        FLAGS.iter().find(|flag| flag.name == name)
    }

    /// Its key in the configuration file, where it has one.
    #[must_use]
    pub fn key(&self) -> Option<String> {
        self.in_file.then(|| self.name.replace('-', "_"))
    }

    /// Its text in `--help`.
    fn summary(&self) -> String {
        let prefix = if self.deprecated { "[deprecated] " } else { "" };
        let limit = if self.positive { "; must be more than 0" } else { "" };
        let default = match self.default {
            "" => String::new(),
            text if text.contains(' ') => format!(" (default {text:?}{limit})"),
            text => format!(" (default {text}{limit})"),
        };
        format!("{prefix}{}{default}", self.help)
    }
}

/// clap's view of the table. It renders texts only: `go_flags` reads the command line.
#[must_use]
pub fn command() -> Command {
    let args = FLAGS.iter().map(|flag| {
        let heading =
            if flag.in_nsqlookupd { "Flags of nsqlookupd" } else { "Flags of musterd only" };
        let arg = Arg::new(flag.name).long(flag.name).help(flag.summary()).help_heading(heading);
        match flag.kind {
            Kind::Bool => arg.action(ArgAction::SetTrue),
            kind => arg.value_name(kind.value_name()),
        }
    });
    Command::new("musterd")
        .about("A drop-in replacement for NSQ's nsqlookupd.")
        .override_usage("musterd [FLAGS]")
        .after_help(
            "Flags take one dash or two, and their value after a space or `=`; the last one wins.\n\
             A DURATION is written as in Go: 1h2m3.5s, 100ms, 10us. A CIDR is a network, such as\n\
             10.0.0.0/8 or 2001:db8::/32, or one address; repeat the flag or use commas for more.",
        )
        .disable_help_flag(true)
        .next_line_help(true)
        .args(args)
}
