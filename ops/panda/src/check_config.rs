//! `panda check-config`: what is in force, or what is wrong and which key was meant.

use std::process::ExitCode;

use anyhow::Context;

use crate::cli::{CheckConfigArgs, RoleName};
use crate::cluster::{ApiRole, EdgeRole, RouterRole};
use crate::config::{self, Config, ConfigError, Overrides};
use crate::lifecycle::Role as _;
use crate::serve::Server;

/// Prints the configuration in force as TOML.
///
/// # Errors
/// What is wrong with it, in a sentence.
#[expect(clippy::print_stdout, reason = "what was asked for")]
pub(crate) fn run(args: &CheckConfigArgs) -> anyhow::Result<ExitCode> {
    let config = config::load(args.config.file().as_deref(), std::env::vars(), &Overrides::default())?;
    check(&config, args.role)?;
    print!("{}", toml::to_string(&config).context("print the configuration")?);
    Ok(ExitCode::SUCCESS)
}

fn check(config: &Config, role: Option<RoleName>) -> Result<(), ConfigError> {
    match role {
        None => config.is_usable(),
        Some(RoleName::Serve) => Server::check(config),
        Some(RoleName::Edge) => EdgeRole::check(config),
        Some(RoleName::Router) => RouterRole::check(config),
        Some(RoleName::Api) => ApiRole::check(config),
    }
}
