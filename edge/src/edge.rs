//! An edge: its workers, their start and their stop.

use std::net::SocketAddr;
use std::time::Duration;

use panda_storage::command_log::CommandLog;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;

use crate::admission::Gate;
use crate::config::{EdgeConfig, EdgeParts};
use crate::metrics::EdgeMetrics;
use crate::transport::quic::QuicListener;
use crate::transport::socket;
use crate::worker::{self, Command, WorkerParts};

/// Why an edge does not start, or did not stop as it should.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address} for {what}: {error}")]
    Listen {
        /// Which address.
        address: SocketAddr,
        /// For what.
        what: &'static str,
        /// Why.
        error: std::io::Error,
    },
    /// A thread could not be started.
    #[error("cannot start an edge worker: {0}")]
    Thread(std::io::Error),
    /// The parts do not go together.
    #[error("{0}")]
    Parts(&'static str),
    /// A worker's thread ended with a panic.
    #[error("an edge worker ended with a panic")]
    Panic,
}

/// A running edge. Dropping it stops its workers at once.
pub struct Edge {
    http: SocketAddr,
    quic: Option<SocketAddr>,
    metrics: EdgeMetrics,
    commands: Vec<mpsc::Sender<Command>>,
    ended: Vec<oneshot::Receiver<()>>,
}

/// Starts the workers; every address is bound when it returns.
///
/// # Errors
/// [`EdgeError`].
pub fn start<L: CommandLog>(config: EdgeConfig, parts: EdgeParts<L>) -> Result<Edge, EdgeError> {
    if parts.links.len() != config.workers || parts.links.is_empty() {
        return Err(EdgeError::Parts("an edge needs one link a worker, and at least one worker"));
    }
    let listen = |address| move |error| EdgeError::Listen { address, what: "HTTP and WebSocket", error };
    if config.http.port() != 0 {
        socket::claim(config.http).map_err(listen(config.http))?;
    }
    let first = socket::listen(config.http).map_err(listen(config.http))?;
    let http = first.local_addr().map_err(listen(config.http))?;
    let mut listeners = vec![first];
    for _ in 1..config.workers {
        listeners.push(socket::listen(http).map_err(listen(http))?);
    }
    let gate = Gate::new(config.admission.clone());
    let metrics = EdgeMetrics::new(gate.clone());
    let mut edge = Edge { http, quic: None, metrics: metrics.clone(), commands: Vec::new(), ended: Vec::new() };
    let mut quic = match (config.quic, config.quic_identity) {
        (Some(address), Some(identity)) => Some((address, identity)),
        (Some(_), None) => return Err(EdgeError::Parts("QUIC needs a certificate")),
        (None, _) => None,
    };
    for (index, (link, listener)) in parts.links.into_iter().zip(listeners).enumerate() {
        let (command, commands) = mpsc::channel(1);
        let (end, ended) = oneshot::channel();
        let (bound, is_bound) = std::sync::mpsc::sync_channel(1);
        let quic = quic.take();
        let fleet = parts.fleet.clone();
        let make = {
            let (log, keys, fleet) = (parts.log.clone(), parts.keys.clone(), parts.fleet.clone());
            let (gate, metrics, rules) = (gate.clone(), metrics.clone(), config.rules.clone());
            let (handed_over, clock) = (parts.handed_over.clone(), parts.clock);
            let (limits, link_limits) = (config.session, config.link);
            move |tcp, quic| WorkerParts {
                log,
                link,
                link_limits,
                limits,
                keys,
                fleet,
                clock,
                metrics,
                gate,
                rules,
                handed_over,
                tcp,
                quic,
            }
        };
        let thread = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = match runtime {
                Ok(runtime) => runtime,
                Err(error) => return drop(bound.send(Err(EdgeError::Thread(error)))),
            };
            LocalSet::new().block_on(&runtime, async {
                let bind = |(address, identity)| {
                    QuicListener::bind(address, &identity, &fleet)
                        .and_then(|quic| quic.local_addr().map(|address| (quic, address)))
                        .map_err(|error| EdgeError::Listen { address, what: "QUIC", error })
                };
                let sockets = quic
                    .map(bind)
                    .transpose()
                    .and_then(|quic| Ok((TcpListener::from_std(listener).map_err(EdgeError::Thread)?, quic)));
                let (tcp, quic) = match sockets {
                    Ok(sockets) => sockets,
                    Err(error) => return drop(bound.send(Err(error))),
                };
                // Who starts the worker waits for this one word, so it is taken.
                drop(bound.send(Ok(quic.as_ref().map(|(_, address)| *address))));
                worker::run(make(tcp, quic.map(|(quic, _)| quic)), commands).await;
                // Nobody may wait for it any more.
                end.send(()).ok();
            });
        };
        std::thread::Builder::new().name(format!("edge-{index}")).spawn(thread).map_err(EdgeError::Thread)?;
        edge.quic = is_bound.recv().map_err(|_| EdgeError::Panic)??.or(edge.quic);
        edge.commands.push(command);
        edge.ended.push(ended);
    }
    Ok(edge)
}

impl Edge {
    /// Where HTTP and WebSocket are served.
    pub const fn http_address(&self) -> SocketAddr {
        self.http
    }

    /// Where QUIC is served.
    pub const fn quic_address(&self) -> Option<SocketAddr> {
        self.quic
    }

    /// The edge's figures.
    pub const fn metrics(&self) -> &EdgeMetrics {
        &self.metrics
    }

    /// Takes no more connections, asks every session to leave within `drain`, says goodbye to the rest
    /// and ends. An edge without sessions ends at once.
    ///
    /// # Errors
    /// [`EdgeError::Panic`] if a worker did not end by itself.
    pub async fn stop(self, drain: Duration) -> Result<(), EdgeError> {
        for command in &self.commands {
            // A worker that is gone is noticed below.
            command.send(Command::Stop(drain)).await.ok();
        }
        for ended in self.ended {
            ended.await.map_err(|_| EdgeError::Panic)?;
        }
        Ok(())
    }
}
