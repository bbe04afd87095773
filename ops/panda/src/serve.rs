//! `panda serve`: every role in one process, over the embedded stores.
//!
//! What is stored is opened first and closed last: router, then API, then edges stand on it. A stop goes
//! the other way, so that whatever was accepted is answered before its store is closed. It has a time
//! limit, and a second signal cuts it short: nothing that was acknowledged depends on it.

mod ending;
mod panel;
mod parts;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use panda_protocol::Time;
use prometheus_client::registry::Registry;

use self::ending::Signals;
use self::parts::Server;
use crate::cli::ServeArgs;
use crate::config::{self, Config};
use crate::health::{self, Health};
use crate::logs;

/// How long requests of the HTTP API may take to end at a stop.
const API_GRACE: Duration = Duration::from_secs(1);
/// How long a stop may take beyond the drain. A store that takes no writes would hold it up for ever.
const STOP_GRACE: Duration = Duration::from_secs(10);
/// A shard whose oldest command is older takes no sends.
const BACKLOG_MAX_MS: u64 = 5_000;
/// How often the shards are looked at during the start.
const SHARDS_CHECKED: Duration = Duration::from_millis(5);
/// How often the router's state is looked at for `/sendz`.
const SENDS_CHECKED: Duration = Duration::from_millis(250);

/// The clock of this process.
#[expect(clippy::disallowed_methods, reason = "the binary reads the clock; everything else is given the time")]
pub(crate) fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

/// Runs until a signal, or until a part fails that nothing mends.
///
/// # Errors
/// What stands in the way of a start, in a sentence.
pub(crate) fn run(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    let config = config::load(args.config.config.as_deref(), std::env::vars(), &args.overrides())?;
    logs::start(&config.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("main")
        .enable_all()
        .build()
        .context("start the main runtime")?;
    runtime.block_on(serve(config))
}

async fn serve(config: Config) -> anyhow::Result<ExitCode> {
    // Signals are caught from here on: one that comes during the start is not lost.
    let mut signals = Signals::listen()?;
    let health_listener = health::bind(config.health.address)?;
    let health_address = health_listener.local_addr().context("read the health address")?;
    if config.http.address.port() != 0 {
        // Before anything is written: a second server in another folder must not make one.
        panda_edge::transport::socket::claim(config.http.address).with_context(|| {
            format!("listen on {} for HTTP and WebSocket (--http names another address)", config.http.address)
        })?;
    }
    // Let go at once: the edge takes it again.
    std::net::UdpSocket::bind(config.quic.address)
        .with_context(|| format!("listen on {} for QUIC (--quic names another address)", config.quic.address))?;
    let health = Arc::new(Health::default());
    health::serve(health_listener, Arc::clone(&health))?;
    let drain = Duration::from_millis(config.edge.drain_ms);
    let mut registry = Registry::default();
    let mut server = parts::start(&config, &mut registry).await?;
    let sends = server.sends();
    health.set_started(registry, move || sends.check());
    let admit = |server: &Server| {
        health.set_admits(true);
        if let Err(error) = panel::print(server, health_address, &config) {
            tracing::warn!(%error, "the panel could not be printed");
        }
        tracing::info!(http = %server.edge.http_address(), "ready");
    };
    let status = until_told(&mut server, &mut signals, admit).await;
    health.set_admits(false);
    tracing::info!("stopping");
    match ending::wait_for(stop(server, drain), signals.next(), drain + STOP_GRACE).await {
        Ok(stopped) => stopped?,
        Err(unfinished) => {
            tracing::error!(%unfinished, "not stopped in order");
            crate::complain(&unfinished.to_string());
            // Nothing may wait for the threads that are still at it.
            std::process::exit(1);
        }
    }
    tracing::info!("stopped");
    Ok(status)
}

/// Runs until a signal comes or the router fails. `admit` is called once every shard runs.
async fn until_told(server: &mut Server, signals: &mut Signals, admit: impl FnOnce(&Server)) -> ExitCode {
    let mut admit = Some(admit);
    loop {
        let pause = if admit.is_some() { SHARDS_CHECKED } else { SENDS_CHECKED };
        tokio::select! {
            () = signals.next() => return ExitCode::SUCCESS,
            error = server.router.failed() => {
                tracing::error!(%error, "the router failed: this process ends");
                return ExitCode::FAILURE;
            }
            () = tokio::time::sleep(pause) => server.note_backlog(),
        }
        if server.router.ready()
            && let Some(admit) = admit.take()
        {
            admit(server);
        }
    }
}

async fn stop(server: Server, drain: Duration) -> anyhow::Result<()> {
    let Server { edge, api, router, events, .. } = server;
    // Each is stopped whatever became of the one before: the store last, so that it is always closed.
    let edge = edge.stop(drain).await.context("stop the edge");
    api.stop(API_GRACE).await;
    let router = router.stop().await.context("stop the router");
    let events = events.close().await.context("close the event store");
    edge.and(router).and(events)
}
