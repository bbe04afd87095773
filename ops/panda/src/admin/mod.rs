//! `panda admin`: what an operator does by hand with a whole cluster.
//!
//! A command says what it did on standard output, and what it waits for in the log. It may be cut short at any
//! point: running it again goes on from what is there.

mod open_epoch;

use std::process::ExitCode;

use anyhow::Context as _;

use crate::cli::AdminCommand;
use crate::config::{self, Overrides};
use crate::logs;

/// Runs a command to its end.
///
/// # Errors
/// Why it did not do what it is for, in a sentence.
pub(crate) fn run(command: &AdminCommand) -> anyhow::Result<ExitCode> {
    let AdminCommand::OpenEpoch(args) = command;
    let config = config::load(args.config.as_deref(), std::env::vars(), &Overrides::default())?;
    logs::start(&config.log)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the main runtime")?;
    runtime.block_on(open_epoch::run(&config))?;
    Ok(ExitCode::SUCCESS)
}
