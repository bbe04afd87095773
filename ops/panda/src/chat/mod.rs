//! `panda chat`: a terminal client.
//!
//! What is typed is sent to the open chat, or is a command that begins with a slash. [`state`] knows everything
//! and decides everything; [`talk`] feeds it with what happens and does what it asks for; [`screen`] fills a
//! terminal with it, and [`lines`] prints it line by line, for pipes and whoever likes it so.

mod account;
mod harmless;
mod input;
mod lines;
mod password;
mod request;
mod screen;
mod state;
mod talk;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use self::account::{Account, Credentials, Server};
use self::talk::{Talk, Way};

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
    #[arg(long, conflicts_with = "quic")]
    ws: bool,
    /// Connects by QUIC and by nothing else; without it, WebSocket is taken where QUIC's certificate is refused.
    #[arg(long)]
    quic: bool,
    /// The chat that is opened first: what is typed waits for it. Otherwise the newest with something unread is, or the
    /// newest.
    #[arg(long, value_name = "NAME")]
    chat: Option<String>,
    /// Prints line by line, as it does anyway where no terminal is at both ends.
    #[arg(long)]
    plain: bool,
    /// A file with your password; otherwise PANDA_PASSWORD is taken, or it is asked for.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// Chats until the input ends, `/quit`, or the server ends the session for good.
///
/// # Errors
/// What stands in the way, in a sentence.
pub(crate) fn run(args: &ChatArgs) -> anyhow::Result<ExitCode> {
    let server = Server::new(&args.server);
    // Nobody types a password for a server that is not there.
    let target = server.target()?;
    let password = password::password(args.password_file.as_deref(), args.register)?;
    let credentials = Credentials { username: args.user.clone(), password };
    let account = Account::open(server, credentials, args.register)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the client's runtime")?;
    let is_plain = args.plain || !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal();
    runtime.block_on(async {
        let talk = Talk::begin(account, target, Way::of(args.ws, args.quic), args.chat.clone())?;
        if is_plain { lines::run(talk).await } else { screen::run(talk).await }
    })
}
