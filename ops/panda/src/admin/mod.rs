//! `panda admin`: what an operator does by hand with a whole deployment.
//!
//! A command says what it did on standard output, and what it waits for in the log. It may be cut short at any
//! point: running it again goes on from what is there.

mod archive;
mod damaged;
mod export;
mod import;
mod keys;
mod open_epoch;
mod rebuild;

use std::process::ExitCode;

use anyhow::Context as _;

use crate::cli::{AdminCommand, ConfigArgs, UsersArgs};
use crate::config::{self, Config, Overrides};
use crate::logs;

/// What the log calls the store, while it is away.
const EVENT_STORE: &str = "the event store";

/// Runs a command to its end.
///
/// # Errors
/// Why it did not do what it is for, in a sentence.
pub(crate) fn run(command: &AdminCommand) -> anyhow::Result<ExitCode> {
    match command {
        AdminCommand::OpenEpoch(args) => {
            let config = load(&args.config, &Overrides::default())?;
            runtime()?.block_on(open_epoch::run(&config, args.damaged))?;
        }
        AdminCommand::Export(args) => {
            let overrides = Overrides { data: args.data.clone(), ..Overrides::default() };
            let config = load(&args.config, &overrides)?;
            runtime()?.block_on(export::run(&config.data, &args.file))?;
        }
        AdminCommand::Import(args) => {
            let config = load(&args.config, &Overrides::default())?;
            runtime()?.block_on(import::run(&config, &args.file, args.damaged))?;
        }
        AdminCommand::Rebuild(args) => {
            let overrides = Overrides { data: args.data.clone(), ..Overrides::default() };
            let config = load(&args.config, &overrides)?;
            runtime()?.block_on(rebuild::run(&config, args.data.is_some(), args.entity))?;
        }
        AdminCommand::SigningKeys(command) => on_users(command.place(), keys::Command::Signing(command))?,
        AdminCommand::ApiKeys(command) => on_users(command.place(), keys::Command::Api(command))?,
        AdminCommand::FleetSecret(command) => on_users(command.place(), keys::Command::Fleet(command))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn on_users(place: &UsersArgs, command: keys::Command<'_>) -> anyhow::Result<()> {
    let overrides = Overrides { data: place.data.clone(), ..Overrides::default() };
    let config = load(&place.config, &overrides)?;
    runtime()?.block_on(keys::run(&config, place.data.is_some(), command))
}

fn load(args: &ConfigArgs, overrides: &Overrides) -> anyhow::Result<Config> {
    let config = config::load(args.file().as_deref(), std::env::vars(), overrides)?;
    // Nothing that an operator does by hand is a part of a trace.
    drop(logs::start(&config.log)?);
    Ok(config)
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the main runtime")
}
