//! The door of a process that serves the HTTP API and no sessions: one listening socket, with the gate and the TLS of an
//! edge's worker. Every connection whose first request is whole is handed over.

use std::net::SocketAddr;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};

use crate::admission::{AdmissionLimits, Gate};
use crate::alarm::Alarms;
use crate::edge::EdgeError;
use crate::transport::handover::HandedOver;
use crate::transport::socket;
use crate::transport::websocket::{self, Accepted, WebSocketRules};

/// A pause after the system gave no connection, such as for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// An open door. Dropping it ends the connections under TLS that came through it.
#[derive(Debug)]
pub struct ApiDoor {
    address: SocketAddr,
    dropped: Counter,
    /// Closes it.
    accepts: Option<oneshot::Sender<()>>,
    /// Ends its thread, whose reactor connections under TLS need.
    _alive: oneshot::Sender<()>,
    /// Heard when the thread ends.
    alarms: Alarms,
}

/// Opens a door at `address`, where nobody else listens, on a thread of its own. `tls` is absent where HTTP is
/// plain. Of `limits`, those of sessions do not matter.
///
/// # Errors
/// [`EdgeError`].
pub fn open(
    address: SocketAddr,
    tls: Option<std::sync::Arc<rustls::ServerConfig>>,
    limits: AdmissionLimits,
    handed_over: mpsc::Sender<HandedOver>,
) -> Result<ApiDoor, EdgeError> {
    let listening = || {
        if address.port() != 0 {
            socket::claim(address)?;
        }
        socket::listen(address)
    };
    let listener = listening().map_err(|error| EdgeError::Listen { address, what: "the HTTP API", error })?;
    let address = listener.local_addr().map_err(EdgeError::Thread)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(EdgeError::Thread)?;
    let listener = {
        let _inside = runtime.enter();
        TcpListener::from_std(listener).map_err(EdgeError::Thread)?
    };
    let dropped = Counter::default();
    let door = Door {
        gate: Gate::new(limits),
        rules: WebSocketRules { tls, origins: Vec::new(), api_only: true },
        handed_over,
        dropped: dropped.clone(),
    };
    let (accepts, closed) = oneshot::channel::<()>();
    let (alive, dead) = oneshot::channel::<()>();
    let alarms = Alarms::new();
    let alarm = alarms.alarm();
    std::thread::Builder::new()
        .name("api-door".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = door.accept(&listener) => {}
                    // Whether it was told or dropped.
                    _ = closed => {}
                }
                drop(listener);
                drop(dead.await);
            });
            drop(alarm);
        })
        .map_err(EdgeError::Thread)?;
    Ok(ApiDoor { address, dropped, accepts: Some(accepts), _alive: alive, alarms })
}

impl ApiDoor {
    /// Where it is.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes its figures known under their names.
    pub fn register(&self, registry: &mut Registry) {
        registry.sub_registry_with_prefix("panda_api").register(
            "handover_dropped",
            "Connections closed because the HTTP API took no more",
            self.dropped.clone(),
        );
    }

    /// Takes no more connections. Those that are there go on until it is dropped.
    pub fn close(&mut self) {
        self.accepts = None;
    }

    /// Waits until nobody accepts connections any more although nobody closed it. Never resolves once it did.
    /// Cancel safe.
    pub async fn failed(&mut self) -> EdgeError {
        self.alarms.heard().await;
        EdgeError::Broken
    }
}

#[derive(Clone)]
struct Door {
    gate: Gate,
    rules: WebSocketRules,
    handed_over: mpsc::Sender<HandedOver>,
    dropped: Counter,
}

impl Door {
    async fn accept(&self, listener: &TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => match self.gate.admit(peer.ip(), Instant::now()) {
                    Ok(handshake) => {
                        let door = self.clone();
                        tokio::spawn(async move {
                            if let Accepted::Http(handed) =
                                websocket::accept(stream, peer, handshake, &door.rules).await
                                && let Err(refused) = door.handed_over.try_send(handed)
                            {
                                // Before the peer sees that it is closed.
                                door.dropped.inc();
                                drop(refused);
                            }
                        });
                    }
                    Err(refusal) => websocket::refuse(stream, refusal, &self.rules),
                },
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}
