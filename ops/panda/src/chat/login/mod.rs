//! `panda login` and `panda logout`: a login at another provider that stays on this machine, for `panda chat`.

mod loopback;
pub(super) mod saved;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Args;
use ring::digest::{SHA256, digest};
use serde::Deserialize;
use serde_json::json;

use self::loopback::Loopback;
use self::saved::{SavedLogin, SavedLogins};
use super::account::{LABEL, LoggedIn, Server, is_refused_with, logged_in};
use super::harmless;

/// The most seconds between two polls.
const POLL_S_MAX: u64 = 120;

/// Flags of `panda login`.
#[derive(Args, Debug)]
pub(crate) struct LoginArgs {
    /// Base URL of the server.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    server: String,
    /// Where you have an account: a name of the server's login providers.
    #[arg(long, value_name = "NAME")]
    provider: String,
    /// Shows a code that is typed in a browser anywhere, where this machine has none.
    #[arg(long)]
    device: bool,
}

/// Flags of `panda logout`.
#[derive(Args, Debug)]
pub(crate) struct LogoutArgs {
    /// Base URL of the server.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    server: String,
}

#[derive(Deserialize)]
struct Begun {
    authorize_url: String,
}

#[derive(Deserialize)]
struct DeviceBegun {
    user_code: String,
    verification_uri: String,
    interval: u64,
    device: String,
}

/// A poll's answer while nobody decided.
#[derive(Deserialize)]
struct Waiting {
    interval: u64,
    device: String,
}

/// Logs in, and keeps the login.
///
/// # Errors
/// What stands in the way, in a sentence.
#[expect(clippy::print_stdout, reason = "what the person is to do, and what came of it")]
pub(crate) fn run(args: &LoginArgs) -> anyhow::Result<ExitCode> {
    let server = Server::new(&args.server)?;
    let logins = SavedLogins::own()?;
    let answer = if args.device { by_device(&server, &args.provider)? } else { by_browser(&server, &args.provider)? };
    let LoggedIn { refresh_token, user, .. } = logged_in(&answer)?;
    let Some(refresh_token) = refresh_token else {
        bail!("the server has no room to keep a login; try again later");
    };
    let login = SavedLogin { username: user.username.clone(), refresh_token };
    let before = logins.change(server.base(), |stays| Ok(stays.replace(login)))?;
    // One that was there is of no use to anybody any more.
    if let Some(before) = before {
        server.log_out(&before.refresh_token);
    }
    println!("Logged in at {} as {}.", server.base(), harmless::line(&user.username));
    println!("`panda chat --server {}` chats as that until `panda logout --server {0}`.", server.base());
    Ok(ExitCode::SUCCESS)
}

/// Ends the login that stays.
///
/// # Errors
/// There is none, or its file cannot be written.
#[expect(clippy::print_stdout, reason = "what came of it")]
pub(crate) fn log_out(args: &LogoutArgs) -> anyhow::Result<ExitCode> {
    let server = Server::new(&args.server)?;
    let login = SavedLogins::own()?.change(server.base(), |stays| Ok(stays.take()))?;
    let Some(login) = login else { bail!("nobody is logged in at {} on this machine", server.base()) };
    server.log_out(&login.refresh_token);
    println!("{} is logged out at {}.", harmless::line(&login.username), server.base());
    Ok(ExitCode::SUCCESS)
}

/// Through a browser of this machine.
fn by_browser(server: &Server, provider: &str) -> anyhow::Result<Vec<u8>> {
    let loopback = Loopback::listen()?;
    let secret = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
    let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, secret.as_bytes()));
    let begin = json!({ "challenge": challenge, "return_to": loopback.url() });
    let begun = server.post(&path(provider, "")?, &begin).context("begin to log in")?;
    let begun: Begun = serde_json::from_slice(&begun).context("read the server's answer")?;
    tell("Log in with a browser of this machine (where it has none, use --device):")?;
    tell(&begun.authorize_url)?;
    loopback::open_browser(&begun.authorize_url);
    let code = loopback.code()?;
    let redeem = json!({ "code": code, "secret": secret, "label": LABEL });
    server.post("/login/provider/redeem", &redeem).context("log in")
}

/// By a code that the person types in a browser anywhere.
fn by_device(server: &Server, provider: &str) -> anyhow::Result<Vec<u8>> {
    let begun = server.post(&path(provider, "/device")?, &json!({ "label": LABEL })).context("begin to log in")?;
    let begun: DeviceBegun = serde_json::from_slice(&begun).context("read the server's answer")?;
    tell("Open this in a browser, on any machine, and type the code:")?;
    tell(&begun.verification_uri)?;
    tell(&begun.user_code)?;
    let (mut interval, mut device) = (begun.interval, begun.device);
    let poll = path(provider, "/device/poll")?;
    loop {
        wait(Duration::from_secs(interval.clamp(1, POLL_S_MAX)));
        match server.post(&poll, &json!({ "device": device })) {
            Ok(answer) => match serde_json::from_slice::<Waiting>(&answer) {
                Ok(waiting) => (interval, device) = (waiting.interval, waiting.device),
                Err(_) => return Ok(answer),
            },
            // Nothing happened; the person may be typing.
            Err(error) if is_refused_with(&error, &["unavailable", "overloaded", "rate_limited"]) => {}
            Err(error) => return Err(error).context("log in"),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "nobody else runs on this thread, and there is nothing to wait for but the time"
)]
fn wait(long: Duration) {
    std::thread::sleep(long);
}

/// Below the address of a provider.
fn path(provider: &str, rest: &str) -> anyhow::Result<String> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if provider.is_empty() || !provider.bytes().all(plain) {
        bail!("--provider takes the name of a login provider, which has letters (a-z), digits and '-'");
    }
    Ok(format!("/login/{provider}{rest}"))
}

/// Says a line, of which nothing does anything to a terminal.
fn tell(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", harmless::line(text)).and_then(|()| out.flush()).context("write to the terminal")
}
