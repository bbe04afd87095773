//! The one server binary.

mod admin;
mod api;
mod chat;
mod check_config;
mod cli;
mod cluster;
mod config;
mod front;
mod health;
#[cfg(feature = "heap-profile")]
mod heap_profile;
mod lifecycle;
mod logs;
mod memory;
mod serve;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Serve(args) => run::<serve::Server>(&args.config, &args.overrides()),
        Command::Edge(args) => run::<cluster::EdgeRole>(&args.config, &args.overrides()),
        Command::Api(args) => run::<cluster::ApiRole>(&args.config, &args.overrides()),
        Command::Router(args) => run::<cluster::RouterRole>(&args.config, &args.overrides()),
        Command::Admin(command) => admin::run(&command),
        Command::Chat(args) => chat::run(&args),
        Command::Login(args) => chat::login::run(&args),
        Command::Logout(args) => chat::login::log_out(&args),
        Command::CheckConfig(args) => check_config::run(&args),
    };
    outcome.unwrap_or_else(|error| {
        complain(&format!("{error:#}"));
        ExitCode::FAILURE
    })
}

fn run<R: lifecycle::Role>(args: &cli::ConfigArgs, overrides: &config::Overrides) -> anyhow::Result<ExitCode> {
    lifecycle::run::<R>(&config::load(args.file().as_deref(), std::env::vars(), overrides)?)
}

/// Says on standard error why the command ends, if anybody reads that.
fn complain(sentence: &str) {
    writeln!(std::io::stderr(), "panda: {sentence}").ok();
}
