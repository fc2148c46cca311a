//! The command line.
//!
//! Must not: act on it.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

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
    /// List the scenarios that come with the program
    List,
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

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The name of a shipped scenario, or a TOML file as ./mine.toml
    pub(crate) scenario: String,
    /// The lookupd's TCP address
    #[arg(long, default_value = "127.0.0.1:4160")]
    pub(crate) tcp: String,
    /// The lookupd's HTTP address
    #[arg(long, default_value = "127.0.0.1:4161")]
    pub(crate) http: String,
    #[command(flatten)]
    pub(crate) playing: Playing,
    /// Start the lookupd by this command; {tcp} and {http} stand for the addresses
    #[arg(long)]
    pub(crate) server_cmd: Option<String>,
    /// The process of the lookupd, whose CPU and memory are then measured
    #[arg(long, conflicts_with = "server_cmd")]
    pub(crate) server_pid: Option<u32>,
    /// Where the result files go
    #[arg(long, default_value = "loadgen-results")]
    pub(crate) out: PathBuf,
    /// Load a target that is not on this machine
    #[arg(long)]
    pub(crate) i_own_this_target: bool,
}
