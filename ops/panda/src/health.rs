//! `/livez`, `/readyz`, `/sendz` and `/metrics`, on an address of their own and a thread of their own,
//! so that they answer when everything else is busy.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

/// What the process says of itself.
#[derive(Default)]
pub(crate) struct Health {
    admits: AtomicBool,
    /// Why this process ends by itself.
    failed: OnceLock<String>,
    /// Absent until every part has started.
    started: OnceLock<Started>,
}

struct Started {
    sends: Box<dyn Fn() -> Result<(), String> + Send + Sync>,
    registry: Registry,
}

impl Health {
    /// Every part has started; called once. `sends` says whether commands are accepted now, or why not.
    pub(crate) fn set_started(
        &self,
        registry: Registry,
        sends: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) {
        self.started.get_or_init(|| Started { sends: Box::new(sends), registry });
    }

    /// A part failed that nothing mends: no session is admitted and no send accepted any more, for this reason.
    pub(crate) fn set_failed(&self, why: String) {
        self.set_admits(false);
        self.failed.get_or_init(|| why);
    }

    fn readiness(&self) -> Result<(), String> {
        if let Some(why) = self.failed.get() {
            return Err(format!("failed and ending: {why}"));
        }
        if self.admits.load(Ordering::Acquire) {
            return Ok(());
        }
        Err("starting, draining, or not whole at the moment: no new session is admitted".to_owned())
    }

    fn sends(&self) -> Result<(), String> {
        if let Some(why) = self.failed.get() {
            return Err(format!("failed and ending: {why}"));
        }
        self.started.get().map_or_else(|| Err("starting".to_owned()), |started| (started.sends)())
    }

    /// Sessions are admitted from now on, or no longer.
    pub(crate) fn set_admits(&self, admits: bool) {
        self.admits.store(admits, Ordering::Release);
    }
}

/// Takes the address; refuses with a sentence if it is taken.
pub(crate) fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address)
        .with_context(|| format!("listen on {address} for health and metrics (--health names another address)"))?;
    listener.set_nonblocking(true).context("set the health socket up")?;
    Ok(listener)
}

/// Serves on a thread of its own until the process ends.
pub(crate) fn serve(listener: TcpListener, health: Arc<Health>) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the health runtime")?;
    let router = Router::new()
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(readyz))
        .route("/sendz", get(sendz))
        .route("/metrics", get(metrics))
        .with_state(health);
    std::thread::Builder::new()
        .name("health".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                let served = async { axum::serve(tokio::net::TcpListener::from_std(listener)?, router).await };
                if let Err(error) = served.await {
                    tracing::error!(%error, "health and metrics are no longer served");
                }
            });
        })
        .context("start the health thread")?;
    Ok(())
}

async fn readyz(State(health): State<Arc<Health>>) -> (StatusCode, String) {
    answer(health.readiness(), "ready")
}

async fn sendz(State(health): State<Arc<Health>>) -> (StatusCode, String) {
    answer(health.sends(), "sends are accepted")
}

fn answer(is_so: Result<(), String>, what: &str) -> (StatusCode, String) {
    match is_so {
        Ok(()) => (StatusCode::OK, format!("{what}\n")),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

async fn metrics(State(health): State<Arc<Health>>) -> impl IntoResponse {
    let mut text = String::new();
    let encoded = health.started.get().map_or(Ok(()), |started| encode(&mut text, &started.registry));
    match encoded {
        Ok(()) => (
            StatusCode::OK,
            [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")],
            text,
        ),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_the_reason_that_readiness_names() {
        let health = Health::default();
        health.set_started(Registry::default(), || Ok(()));
        assert!(health.readiness().unwrap_err().contains("starting"));
        health.set_admits(true);
        assert_eq!((health.readiness(), health.sends()), (Ok(()), Ok(())));
        health.set_failed("the hub broke".to_owned());
        for refused in [health.readiness(), health.sends()] {
            assert_eq!(refused.unwrap_err(), "failed and ending: the hub broke");
        }
    }
}
