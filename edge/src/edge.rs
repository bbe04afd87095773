//! An edge: its workers, their start and their stop.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use panda_storage::command_log::CommandLog;
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;

use crate::admission::Gate;
use crate::alarm::Alarms;
use crate::config::{EdgeConfig, EdgeParts};
use crate::metrics::EdgeMetrics;
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
    /// What accepts or serves connections ended although nobody stopped it.
    #[error(
        "a part that accepts connections broke; this is a fault of this program: start it again, and report what its log says"
    )]
    Broken,
}

/// A running edge. Dropping it stops its workers at once, and ends their threads.
pub struct Edge {
    http: SocketAddr,
    quic: Option<SocketAddr>,
    metrics: EdgeMetrics,
    commands: Vec<mpsc::Sender<Command>>,
    ended: Vec<oneshot::Receiver<()>>,
    _alive: Vec<oneshot::Sender<()>>,
    alarms: Alarms,
}

/// Starts the workers; every address is bound when it returns.
///
/// # Errors
/// [`EdgeError`].
pub fn start<L: CommandLog>(config: EdgeConfig, parts: EdgeParts<L>) -> Result<Edge, EdgeError> {
    if parts.links.len() != config.workers || parts.links.is_empty() {
        return Err(EdgeError::Parts("an edge needs one link a worker, and at least one worker"));
    }
    let listeners = listen(config.http, config.workers).map_err(|error| EdgeError::Listen {
        address: config.http,
        what: "HTTP and WebSocket",
        error,
    })?;
    let http = listeners[0].local_addr().map_err(EdgeError::Thread)?;
    let gate = Gate::new(config.admission.clone());
    let metrics = EdgeMetrics::new(gate.clone());
    let alarms = Alarms::new();
    let mut edge = Edge {
        http,
        quic: None,
        metrics: metrics.clone(),
        commands: Vec::new(),
        ended: Vec::new(),
        _alive: Vec::new(),
        alarms,
    };
    // The first worker serves QUIC, too.
    let mut quic = match (config.quic, config.quic_identity) {
        (Some(address), Some(identity)) => Some((address, identity)),
        (Some(_), None) => return Err(EdgeError::Parts("QUIC needs a certificate")),
        (None, _) => None,
    };
    for (index, (link, tcp)) in parts.links.into_iter().zip(listeners).enumerate() {
        let worker = WorkerParts {
            log: parts.log.clone(),
            link,
            link_limits: config.link,
            limits: config.session,
            keys: parts.keys.clone(),
            revocations: parts.revocations.clone(),
            fleet: parts.fleet.clone(),
            clock: parts.clock,
            metrics: metrics.clone(),
            gate: gate.clone(),
            rules: config.rules.clone(),
            handed_over: parts.handed_over.clone(),
            tcp,
            quic: quic.take(),
            alarm: edge.alarms.alarm(),
        };
        let (command, commands) = mpsc::channel(1);
        let (end, ended) = oneshot::channel();
        let (alive, dead) = oneshot::channel();
        let (bound, is_bound) = std::sync::mpsc::sync_channel(1);
        std::thread::Builder::new()
            .name(format!("edge-{index}"))
            .spawn(move || run_thread(worker, commands, &bound, end, dead))
            .map_err(EdgeError::Thread)?;
        edge.quic = is_bound.recv().map_err(|_| EdgeError::Panic)??.or(edge.quic);
        edge.commands.push(command);
        edge.ended.push(ended);
        edge._alive.push(alive);
    }
    Ok(edge)
}

/// One listener a worker, all on one address that nobody else listens on.
fn listen(address: SocketAddr, workers: usize) -> std::io::Result<Vec<TcpListener>> {
    if address.port() != 0 {
        socket::claim(address)?;
    }
    let mut listeners = vec![socket::listen(address)?];
    let address = listeners[0].local_addr()?;
    for _ in 1..workers {
        listeners.push(socket::listen(address)?);
    }
    Ok(listeners)
}

/// A worker's thread: says first whether its sockets are bound, and where QUIC is.
fn run_thread<L: CommandLog>(
    worker: WorkerParts<L>,
    commands: mpsc::Receiver<Command>,
    bound: &std::sync::mpsc::SyncSender<Result<Option<SocketAddr>, EdgeError>>,
    end: oneshot::Sender<()>,
    dead: oneshot::Receiver<()>,
) {
    // Who starts the worker waits for this one word, so it is always taken.
    let say = |word| drop(bound.send(word));
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return say(Err(EdgeError::Thread(error))),
    };
    LocalSet::new().block_on(&runtime, async {
        match worker::bind(worker) {
            Ok((worker, quic)) => {
                say(Ok(quic));
                worker.run(commands).await;
                // Nobody may wait for it any more.
                end.send(()).ok();
                // Its reactor moves the bytes of TLS sockets that were handed over.
                drop(dead.await);
            }
            Err(error) => say(Err(error)),
        }
    });
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

    /// Waits until a worker ends, or accepts no connections any more, although nobody stopped it. Cancel safe.
    pub async fn failed(&mut self) -> EdgeError {
        self.alarms.heard().await;
        EdgeError::Broken
    }

    /// Takes no more connections, asks every session to leave within `drain` and says goodbye to the rest.
    /// An edge without sessions is done at once. Sockets that were handed over go on until it is dropped.
    ///
    /// # Errors
    /// [`EdgeError::Panic`] if a worker did not end by itself.
    pub async fn stop(&mut self, drain: Duration) -> Result<(), EdgeError> {
        for command in &self.commands {
            // A worker that is gone is noticed below.
            command.send(Command::Stop(drain)).await.ok();
        }
        for ended in std::mem::take(&mut self.ended) {
            ended.await.map_err(|_| EdgeError::Panic)?;
        }
        Ok(())
    }
}
