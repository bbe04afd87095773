//! `/livez`, `/readyz`, `/sendz` and `/metrics`, on an address of their own and a thread of their own,
//! so that they answer when everything else is busy.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// How far a process is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not every part is there yet.
    #[default]
    Starting,
    /// It does what it is for.
    Ready,
    /// It runs, and not all of it does at the moment.
    NotWhole,
    /// It was told to end, or ends by itself.
    Draining,
}

/// What the process says of itself.
#[derive(Default)]
pub(crate) struct Health {
    phase: Mutex<Phase>,
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
        self.set_phase(Phase::Draining);
        self.failed.get_or_init(|| why);
    }

    fn readiness(&self) -> Result<(), String> {
        if let Some(why) = self.failed.get() {
            return Err(format!("failed and ending: {why}"));
        }
        match self.phase() {
            Phase::Ready => Ok(()),
            Phase::Starting => Err("starting: no session is admitted yet".to_owned()),
            Phase::NotWhole => Err("not whole at the moment: no new session is admitted".to_owned()),
            Phase::Draining => Err("draining: no new session is admitted, and this process ends".to_owned()),
        }
    }

    fn sends(&self) -> Result<(), String> {
        if let Some(why) = self.failed.get() {
            return Err(format!("failed and ending: {why}"));
        }
        if self.phase() == Phase::Draining {
            return Err("draining: send to another process, this one ends".to_owned());
        }
        self.started.get().map_or_else(|| Err("starting".to_owned()), |started| (started.sends)())
    }

    fn phase(&self) -> Phase {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sessions are admitted while it is [`Phase::Ready`]. A process that drains does so to its end.
    pub(crate) fn set_phase(&self, phase: Phase) {
        let mut now = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        if *now != Phase::Draining {
            *now = phase;
        }
    }
}

/// Which program this is, as a figure that is always 1: `panda_build_info{version="…"}`.
pub(crate) fn register_build(registry: &mut Registry) {
    let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("panda_build", "The version of this program", build);
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
        health.set_phase(Phase::Ready);
        assert_eq!((health.readiness(), health.sends()), (Ok(()), Ok(())));
        health.set_failed("the hub broke".to_owned());
        for refused in [health.readiness(), health.sends()] {
            assert_eq!(refused.unwrap_err(), "failed and ending: the hub broke");
        }
    }

    #[test]
    fn readiness_names_the_one_cause_and_sends_say_that_the_process_drains() {
        let health = Health::default();
        let why = |answer: Result<(), String>| answer.unwrap_err().split(':').next().unwrap().to_owned();
        assert_eq!((why(health.readiness()), why(health.sends())), ("starting".into(), "starting".into()));
        health.set_started(Registry::default(), || Ok(()));
        health.set_phase(Phase::Ready);
        assert_eq!((health.readiness(), health.sends()), (Ok(()), Ok(())));
        health.set_phase(Phase::NotWhole);
        assert_eq!((why(health.readiness()), health.sends()), ("not whole at the moment".into(), Ok(())));
        for phase in [Phase::Draining, Phase::Ready] {
            health.set_phase(phase);
            assert_eq!((why(health.readiness()), why(health.sends())), ("draining".into(), "draining".into()));
        }
    }

    #[test]
    fn the_metrics_name_the_version() {
        let mut registry = Registry::default();
        register_build(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        assert!(text.contains(&format!("panda_build_info{{version=\"{}\"}} 1\n", env!("CARGO_PKG_VERSION"))), "{text}");
    }
}
