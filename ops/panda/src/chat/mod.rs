//! `panda chat`: a terminal client.
//!
//! What is typed is sent to the open chat, or is a command that begins with a slash. [`state`] knows everything
//! and decides everything; [`talk`] feeds it with what happens and does what it asks for; [`screen`] fills a
//! terminal with it, and [`lines`] prints it line by line, for pipes and whoever likes it so.

mod account;
mod harmless;
mod input;
mod lines;
pub(crate) mod login;
mod password;
mod quiet;
mod request;
mod screen;
mod signals;
mod state;
mod talk;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use self::account::{Account, Credentials, Server};
use self::login::saved::SavedLogins;
use self::state::Naming;
use self::talk::{Talk, Way};

/// Flags of `panda chat`.
#[derive(Args, Debug)]
pub(crate) struct ChatArgs {
    /// Base URL of the server.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    server: String,
    /// Your username; without it, as whoever `panda login` logged in here.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Makes the user first.
    #[arg(long, requires = "user")]
    register: bool,
    /// Connects by WebSocket instead of QUIC.
    #[arg(long, conflicts_with = "quic")]
    ws: bool,
    /// Connects by QUIC and by nothing else; without it, WebSocket is taken where QUIC's certificate is refused.
    #[arg(long)]
    quic: bool,
    /// The chat that is opened first: what is typed waits for it. Otherwise the newest with something unread is, or the
    /// newest.
    ///
    /// A name, @user for the direct chat with somebody, or an ID, as /chats lists them. At a terminal a part of a name
    /// will do; where the input is none, it is the whole name, and no other chat may have it.
    #[arg(long, value_name = "CHAT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    chat: Option<String>,
    /// Prints line by line, as it does anyway where no terminal is at both ends.
    #[arg(long)]
    plain: bool,
    /// Where the input is no terminal: the longest that it waits to be connected first, then for a line that cannot go
    /// yet, and in the end for what is not answered.
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = clap::value_parser!(u32).range(1..))]
    patience: u32,
    /// A file whose first line is your password; otherwise PANDA_PASSWORD is taken, or it is asked for.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// Chats until the input ends, `/quit`, the server ends the session for good, or a signal comes. Where the input is no
/// terminal, it ends with 0 only if every line of it was done. A signal that ends it is its status, whatever is not done:
/// 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP.
///
/// # Errors
/// What stands in the way, in a sentence.
pub(crate) fn run(args: &ChatArgs) -> anyhow::Result<ExitCode> {
    let server = Server::new(&args.server)?;
    // Nobody types a password for a server that is not there.
    let target = server.target()?;
    let account = match &args.user {
        None => Account::saved(server, SavedLogins::own()?)?,
        Some(username) => {
            let password = match password::password(args.password_file.as_deref(), args.register) {
                // As a shell says it of who was interrupted.
                Err(error) if error.is::<password::GivenUp>() => return Ok(ExitCode::from(130)),
                password => password?,
            };
            Account::open(server, Credentials { username: username.clone(), password }, args.register)?
        }
    };
    let login = account.login.clone();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the client's runtime")?;
    let is_script = !std::io::stdin().is_terminal();
    let is_plain = args.plain || is_script || !std::io::stdout().is_terminal();
    let naming = if is_script { Naming::Exact } else { Naming::Loose };
    let outcome = runtime.block_on(async {
        let talk = Talk::begin(account, target, Way::of(args.ws, args.quic), (args.chat.clone(), naming))?;
        let patience = is_script.then(|| Duration::from_secs(args.patience.into()));
        if is_plain { lines::run(talk, patience).await } else { screen::run(talk).await }
    });
    // Nobody waits for a look-up that a server does not answer.
    runtime.shutdown_background();
    login.log_out();
    outcome
}
