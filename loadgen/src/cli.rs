//! The command line.
//!
//! Must not: execute it.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::input::human_duration::parse;
use crate::input::scenario::{ClosedOp, Overrides};

/// The most threads of the generator.
pub(crate) const MAX_THREADS: usize = 64;
/// The most connections of a closed loop, and the most requests in flight on each.
const MAX_CONNECTIONS: usize = 10_000;
const MAX_DEPTH: usize = 10_000;

/// A load generator for NSQ lookupds that verifies every response
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a scenario against a lookupd
    Run(Run),
    /// Run scenarios against two lookupds alternately and compare them
    Compare(Compare),
    /// Measure a lookupd's peak throughput in a closed loop
    Peak(Peak),
    /// Load a musterd for a long time; fail if resources grow or a response is wrong
    Soak(Soak),
    /// Send a lookupd on loopback what is valid and costs it much; check what others get meanwhile
    Hostile(Hostile),
    /// Measure this generator's own maximum rate against a static server
    Calibrate(Calibrate),
    /// List the built-in scenarios
    List,
    /// The server that `calibrate` starts
    #[command(name = crate::commands::static_server::COMMAND, hide = true)]
    Static {
        #[arg(long)]
        http: String,
    },
}

/// The options of every command that runs a scenario.
#[derive(Clone, Debug, Args)]
pub(crate) struct RunOptions {
    #[command(flatten)]
    pub(crate) overrides: Overrides,
    /// Threads of the generator [default: one per core]
    #[arg(long, value_parser = count::<MAX_THREADS>)]
    pub(crate) threads: Option<usize>,
}

/// The options that give the target.
#[derive(Clone, Debug, Args)]
pub(crate) struct TargetOptions {
    /// The lookupd's TCP address [default: 127.0.0.1:4160, or a free port with --server-cmd]
    #[arg(long)]
    pub(crate) tcp: Option<String>,
    /// The lookupd's HTTP address [default: 127.0.0.1:4161, or a free port with --server-cmd]
    #[arg(long)]
    pub(crate) http: Option<String>,
    /// Start the lookupd by this command; {tcp} and {http} are replaced by its addresses
    #[arg(long)]
    pub(crate) server_cmd: Option<String>,
    /// The process id of a running lookupd, to measure its CPU and memory
    #[arg(long, conflicts_with = "server_cmd")]
    pub(crate) server_pid: Option<u32>,
    /// Allow a target that is not on this machine
    #[arg(long)]
    pub(crate) i_own_this_target: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The name of a built-in scenario, or a TOML file such as ./mine.toml
    pub(crate) scenario: String,
    #[command(flatten)]
    pub(crate) target: TargetOptions,
    #[command(flatten)]
    pub(crate) options: RunOptions,
    /// Directory of the result files
    #[arg(long, default_value = "loadgen-results")]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Compare {
    /// The command that starts A; {tcp} and {http} are replaced by its addresses. Or stored results
    /// of runs, as steady.json,steady-2.json: nothing is run
    pub(crate) a: String,
    /// The command that starts B, or stored results of as many runs
    #[arg(required_unless_present = "aa", conflicts_with = "aa")]
    pub(crate) b: Option<String>,
    /// Compare A with itself, and report how often a figure differs though nothing does
    #[arg(long)]
    pub(crate) aa: bool,
    /// How many comparisons --aa makes
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000), requires = "aa")]
    pub(crate) times: u16,
    /// The names of A and B
    #[arg(long, default_value = "A,B")]
    pub(crate) names: String,
    /// The scenarios, separated by commas
    #[arg(long, default_value = "steady,herd,vanish,wide,many")]
    pub(crate) scenarios: String,
    /// How many times each scenario runs against each lookupd; fewer than 5 call no difference one
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=50))]
    pub(crate) rounds: u8,
    #[command(flatten)]
    pub(crate) options: RunOptions,
    /// Directory of compare.html and compare.json
    #[arg(long, default_value = "loadgen-results")]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Peak {
    /// The operations, separated by commas
    #[arg(long, value_delimiter = ',', default_value = "ping,register,lookup")]
    pub(crate) op: Vec<ClosedOp>,
    /// Number of connections
    #[arg(long, default_value_t = 64, value_parser = count::<MAX_CONNECTIONS>)]
    pub(crate) connections: usize,
    /// Requests in flight on each connection; one measurement for each depth
    #[arg(long, value_delimiter = ',', default_value = "1,8,32", value_parser = count::<MAX_DEPTH>)]
    pub(crate) depth: Vec<usize>,
    #[command(flatten)]
    pub(crate) target: TargetOptions,
    #[command(flatten)]
    pub(crate) options: RunOptions,
}

#[derive(Debug, Args)]
pub(crate) struct Soak {
    /// Minimal duration; at least five cycles run
    #[arg(long = "for", value_parser = parse, default_value = "30m")]
    pub(crate) length: Duration,
    /// The scenarios that run in turn, separated by commas
    #[arg(long, default_value = "churn,hostile")]
    pub(crate) scenarios: String,
    /// Interval of the samples of the target's resources
    #[arg(long, value_parser = interval, default_value = "5s")]
    pub(crate) every: Duration,
    #[command(flatten)]
    pub(crate) target: TargetOptions,
    #[command(flatten)]
    pub(crate) options: RunOptions,
    /// Directory of soak.md, soak.svg and soak.tsv
    #[arg(long, default_value = "loadgen-results")]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = crate::hostile::help())]
pub(crate) struct Hostile {
    /// The actors, separated by commas [default: all of them; they are below]
    #[arg(long, value_delimiter = ',', value_name = "ACTOR")]
    pub(crate) only: Vec<String>,
    /// Names that the target gets: half by nsqds before the attack, half by POSTs of `create` in it
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(0..=5_000_000))]
    pub(crate) names: u32,
    /// The 99th percentile of each bystander's latency must not exceed this
    #[arg(long, value_parser = parse, default_value = "50ms")]
    pub(crate) bystander_p99: Duration,
    /// No request of a bystander may take longer
    #[arg(long, value_parser = parse, default_value = "250ms")]
    pub(crate) bystander_max: Duration,
    /// From one request of a bystander to its next
    #[arg(long, value_parser = parse, default_value = "10ms")]
    pub(crate) bystander_every: Duration,
    #[command(flatten)]
    pub(crate) target: TargetOptions,
    /// `--duration` is that of the attack [20s]
    #[command(flatten)]
    pub(crate) options: RunOptions,
    /// Directory of hostile.json
    #[arg(long, default_value = "loadgen-results")]
    pub(crate) out: PathBuf,
}

/// A count from 1 to `MAX`.
fn count<const MAX: usize>(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| (1..=MAX).contains(count));
    count.ok_or_else(|| format!("write a number from 1 to {MAX}"))
}

/// An interval of samples.
fn interval(text: &str) -> Result<Duration, String> {
    let every = parse(text)?;
    let enough = every >= Duration::from_millis(100);
    enough.then_some(every).ok_or_else(|| "write at least 100ms".to_owned())
}

/// The duration of a measurement: rates are counted by whole seconds.
fn step(text: &str) -> Result<Duration, String> {
    let step = parse(text)?;
    let fits = (Duration::from_secs(1)..=Duration::from_secs(3600)).contains(&step);
    fits.then_some(step).ok_or_else(|| "write at least 1s, at most 1h".to_owned())
}

#[derive(Debug, Args)]
pub(crate) struct Calibrate {
    /// Duration of the measurement at each rate
    #[arg(long, value_parser = step, default_value = "3s")]
    pub(crate) step: Duration,
    /// Threads of the generator [default: one per core]
    #[arg(long, value_parser = count::<MAX_THREADS>)]
    pub(crate) threads: Option<usize>,
}
