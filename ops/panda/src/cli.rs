//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Panda: a chat system for millions of sockets.
#[derive(Debug, Parser)]
#[command(version, about, propagate_version = true)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Reads a configuration, says what is wrong with it, and prints what is in force.
    CheckConfig(ConfigArgs),
}

/// Where the configuration is.
#[derive(Args, Debug)]
pub(crate) struct ConfigArgs {
    /// The configuration, a TOML file; every key also as a variable: edge.workers is PANDA_EDGE_WORKERS.
    #[arg(long, value_name = "FILE", env = "PANDA_CONFIG")]
    pub(crate) config: Option<PathBuf>,
}
