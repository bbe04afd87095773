//! The one server binary.

mod chat;
mod check_config;
mod cli;
mod config;
mod health;
mod logs;
mod serve;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Serve(args) => serve::run(&args),
        Command::Chat(args) => chat::run(&args),
        Command::CheckConfig(args) => check_config::run(&args),
    };
    outcome.unwrap_or_else(|error| {
        complain(&format!("{error:#}"));
        ExitCode::FAILURE
    })
}

/// Says on standard error why the command ends.
#[expect(clippy::print_stderr, reason = "what a command has to say to whoever typed it")]
fn complain(sentence: &str) {
    eprintln!("panda: {sentence}");
}
