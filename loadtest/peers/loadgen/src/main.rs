//! `peerbench`: see `--help`.

use std::io::Write as _;
use std::num::NonZeroU64;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser as _;
use panda_peerbench::cli::Cli;
use panda_peerbench::workload;
use rustix::process::{Resource, getrlimit, setrlimit};
use rustix::thread::set_current_timer_slack;

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where nobody reads it, the status still says so.
            drop(writeln!(std::io::stderr(), "peerbench: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    setrlimit(Resource::Nofile, files).context("the limit of open files")?;
    // The kernel may otherwise wake a waiting thread 50 us late, which a schedule would show as latency of the server.
    set_current_timer_slack(NonZeroU64::new(1)).context("the timer's slack")?;
    if let Some(row) = workload::run(&cli.workload)? {
        writeln!(std::io::stdout(), "{}", row.to_json()).context("standard output")?;
    }
    Ok(())
}
