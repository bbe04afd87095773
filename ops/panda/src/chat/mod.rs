//! `panda chat`: a terminal client, line by line.
//!
//! What is said and what happens is printed as lines; what is typed is sent to the open chat, or is a
//! command that begins with a slash. So it works in any terminal, and scripts can drive it.

mod account;
mod input;
mod people;
mod rooms;
mod screen;
mod talk;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use self::account::{Account, Credentials, Server};

/// Flags of `panda chat`.
#[derive(Args, Debug)]
pub(crate) struct ChatArgs {
    /// Base URL of the server.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    server: String,
    /// Your username.
    #[arg(long, value_name = "NAME")]
    user: String,
    /// Makes the user first.
    #[arg(long)]
    register: bool,
    /// Connects by WebSocket instead of QUIC.
    #[arg(long)]
    ws: bool,
    /// A file with your password; otherwise PANDA_PASSWORD is taken, or it is asked for.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// Chats until the input ends, `/quit`, or the server ends the session for good.
///
/// # Errors
/// What stands in the way, in a sentence.
pub(crate) fn run(args: &ChatArgs) -> anyhow::Result<ExitCode> {
    let password = account::password(args.password_file.as_deref())?;
    let server = Server::new(&args.server);
    let credentials = Credentials { username: args.user.clone(), password };
    let account = Account::open(server, credentials, args.register)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the client's runtime")?;
    runtime.block_on(talk::run(account, args.ws))
}
