//! The command line.
//!
//! Must not: act on it.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::input::scenario::ClosedOp;
use crate::input::span::parse;

/// A load generator for NSQ lookupds that tells the truth
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Play a scenario against a lookupd
    Run(Run),
    /// Play scenarios against two lookupds in turn and compare them
    Compare(Compare),
    /// Measure a lookupd's peak throughput in a closed loop
    Peak(Peak),
    /// Load a musterd for long and fail if anything grows, is left over, or is answered wrong
    Soak(Soak),
    /// Measure this generator's own ceiling against a static server
    Calibrate(Calibrate),
    /// List the scenarios that come with the program
    List,
    /// What `calibrate` starts
    #[command(name = crate::modes::statics::COMMAND, hide = true)]
    Static {
        #[arg(long)]
        http: String,
    },
}

/// What every command that plays a scenario takes.
#[derive(Clone, Debug, Args)]
pub(crate) struct Playing {
    /// Multiply every count and rate
    #[arg(long)]
    pub(crate) scale: Option<f64>,
    /// How long the main part lasts; the times of events move with it
    #[arg(long, value_parser = parse)]
    pub(crate) duration: Option<Duration>,
    /// What makes the run repeatable
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// A threshold, as 'lookup.p99<5ms' or 'missing<1'; may be given again
    #[arg(long = "slo")]
    pub(crate) slo: Vec<String>,
    /// Threads of the generator [default: one per core]
    #[arg(long)]
    pub(crate) threads: Option<usize>,
}

/// Whom the load is for.
#[derive(Clone, Debug, Args)]
pub(crate) struct Aim {
    /// The lookupd's TCP address [default: 127.0.0.1:4160, or a free port with --server-cmd]
    #[arg(long)]
    pub(crate) tcp: Option<String>,
    /// The lookupd's HTTP address [default: 127.0.0.1:4161, or a free port with --server-cmd]
    #[arg(long)]
    pub(crate) http: Option<String>,
    /// Start the lookupd by this command; {tcp} and {http} stand for the addresses
    #[arg(long)]
    pub(crate) server_cmd: Option<String>,
    /// The process of the lookupd, whose CPU and memory are then measured
    #[arg(long, conflicts_with = "server_cmd")]
    pub(crate) server_pid: Option<u32>,
    /// Load a target that is not on this machine
    #[arg(long)]
    pub(crate) i_own_this_target: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The name of a shipped scenario, or a TOML file as ./mine.toml
    pub(crate) scenario: String,
    #[command(flatten)]
    pub(crate) aim: Aim,
    #[command(flatten)]
    pub(crate) playing: Playing,
    /// Where the result files go
    #[arg(long, default_value = "loadgen-results")]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Compare {
    /// The command that starts A; {tcp} and {http} stand for its addresses
    pub(crate) a: String,
    /// The command that starts B
    pub(crate) b: String,
    /// What A and B are called
    #[arg(long, default_value = "A,B")]
    pub(crate) names: String,
    /// The scenarios, with commas between
    #[arg(long, default_value = "steady,herd,vanish,wide,many")]
    pub(crate) scenarios: String,
    /// How often each is played against each
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=50))]
    pub(crate) rounds: u8,
    #[command(flatten)]
    pub(crate) playing: Playing,
    /// Where compare.html and compare.json go
    #[arg(long, default_value = "loadgen-results")]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Peak {
    /// What the connections ask for, with commas between
    #[arg(long, value_delimiter = ',', default_value = "ping,register,lookup")]
    pub(crate) op: Vec<ClosedOp>,
    /// How many connections
    #[arg(long, default_value_t = 64)]
    pub(crate) connections: usize,
    /// Requests in flight on each, one measurement for each depth
    #[arg(long, value_delimiter = ',', default_value = "1,8,32")]
    pub(crate) depth: Vec<usize>,
    #[command(flatten)]
    pub(crate) aim: Aim,
    #[command(flatten)]
    pub(crate) playing: Playing,
}

#[derive(Debug, Args)]
pub(crate) struct Soak {
    /// For how long; five cycles are played at least
    #[arg(long = "for", value_parser = parse, default_value = "30m")]
    pub(crate) length: Duration,
    /// What is played by turns, with commas between
    #[arg(long, default_value = "churn,hostile")]
    pub(crate) scenarios: String,
    /// How often the target is looked at
    #[arg(long, value_parser = parse, default_value = "5s")]
    pub(crate) every: Duration,
    #[command(flatten)]
    pub(crate) aim: Aim,
    #[command(flatten)]
    pub(crate) playing: Playing,
    /// Where soak.md, soak.svg and soak.tsv go
    #[arg(long, default_value = "loadgen-results")]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Calibrate {
    /// How long each rate is tried
    #[arg(long, value_parser = parse, default_value = "3s")]
    pub(crate) step: Duration,
    /// Threads of the generator [default: one per core]
    #[arg(long)]
    pub(crate) threads: Option<usize>,
}
