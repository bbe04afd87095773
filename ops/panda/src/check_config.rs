//! `panda check-config`: what is in force, or what is wrong and which key was meant.

use std::process::ExitCode;

use anyhow::Context;

use crate::cli::ConfigArgs;
use crate::config::{self, Overrides};

/// Prints the configuration in force as TOML.
///
/// # Errors
/// What is wrong with it, in a sentence.
#[expect(clippy::print_stdout, reason = "what was asked for")]
pub(crate) fn run(args: &ConfigArgs) -> anyhow::Result<ExitCode> {
    let config = config::load(args.config.as_deref(), std::env::vars(), &Overrides::default())?;
    print!("{}", toml::to_string(&config).context("print the configuration")?);
    Ok(ExitCode::SUCCESS)
}
