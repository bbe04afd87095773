//! Connections that edge workers hand over, and the threads that serve them.

use std::future::{Future, pending};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Sleep;

use crate::backend::Backend;
use crate::config::ApiConfig;
use crate::http::{Peer, router};
use crate::identity::{follow, follow_keys};
use crate::metrics::Metrics;
use crate::{Api, Parts};

/// Bytes of a request's head, and of what hyper buffers of a connection.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Header fields of a request.
const HEADERS_MAX: usize = 64;

/// A connection whose first bytes somebody has read already.
pub struct Connection<S> {
    /// The socket, registered with the runtime that serves it.
    pub stream: S,
    /// What was read of it.
    pub head: Bytes,
    /// The other end.
    pub peer: SocketAddr,
    /// Whether TLS protects it.
    pub tls: bool,
    /// Dropped when the connection is closed, such as its place among those of its address.
    pub held: Box<dyn Send>,
}

/// The API's threads.
pub struct ApiThreads {
    stop: watch::Sender<bool>,
    /// Taken once its word came.
    stopped: Option<oneshot::Receiver<()>>,
}

impl ApiThreads {
    /// Waits until nobody serves connections any more although nobody stopped it. Never resolves once it did. Cancel
    /// safe.
    pub async fn failed(&mut self) {
        let Some(stopped) = &mut self.stopped else { return pending().await };
        // Its end is the word, whether it came in order or not.
        drop(stopped.await);
        self.stopped = None;
    }

    /// Takes no more requests, lets those in progress end within `grace`, and waits for that.
    pub async fn stop(self, grace: Duration) {
        self.stop.send_replace(true);
        // Either it has stopped, or its time is over and what is left ends with the process.
        if let Some(stopped) = self.stopped {
            drop(tokio::time::timeout(grace, stopped).await);
        }
    }
}

/// Serves handed-over connections on `config.threads` new threads. `accept` runs on them: it makes a
/// connection of what was handed over, such as registering a socket with their runtime.
///
/// # Errors
/// The system gives no thread.
pub fn start<B, H, S, A>(
    config: ApiConfig,
    parts: Parts<B>,
    metrics: Metrics,
    handed_over: mpsc::Receiver<H>,
    accept: A,
) -> io::Result<ApiThreads>
where
    B: Backend,
    H: Send + 'static,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Fn(H) -> io::Result<Connection<S>> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.threads.max(1))
        .thread_name("api")
        .enable_all()
        .build()?;
    let (stop, stopping) = watch::channel(false);
    let (done, stopped) = oneshot::channel();
    std::thread::Builder::new().name("api-main".into()).spawn(move || {
        if let Err(error) = runtime.block_on(serve(config, parts, metrics, handed_over, accept, stopping)) {
            tracing::error!(%error, "the HTTP API could not start");
        }
        runtime.shutdown_background();
        // Nobody may wait for it any more.
        done.send(()).ok();
    })?;
    Ok(ApiThreads { stop, stopped: Some(stopped) })
}

/// Serves handed-over connections on the current runtime until `stopping` says so or nobody can hand
/// over any more; then lets requests in progress end.
///
/// # Errors
/// The threads that hash passwords could not be started.
pub async fn serve<B, H, S, A>(
    config: ApiConfig,
    parts: Parts<B>,
    metrics: Metrics,
    mut handed_over: mpsc::Receiver<H>,
    accept: A,
    mut stopping: watch::Receiver<bool>,
) -> io::Result<()>
where
    B: Backend,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Fn(H) -> io::Result<Connection<S>>,
{
    let room = Arc::new(Semaphore::new(config.connections_max));
    let timeouts = Timeouts { idle: config.idle_timeout, write: config.write_timeout };
    let (every, clock) = (config.ended_logins_every, parts.clock);
    let mut following = std::pin::pin!(follow(parts.ended.clone(), parts.users.clone(), every, clock));
    let every = config.signing_keys_every;
    let mut turning = std::pin::pin!(follow_keys(parts.keys.clone(), parts.users.clone(), every, clock));
    let router = router(Api::new(config, parts, metrics.clone())?);
    let mut connections = JoinSet::new();
    loop {
        let handed = tokio::select! {
            biased;
            () = stopped(&mut stopping) => break,
            // Before connections: a flood of them must not keep logins from ending.
            never = &mut following => match never {},
            never = &mut turning => match never {},
            // Connections that ended give their room back at once and are only forgotten here.
            Some(_) = connections.join_next() => continue,
            handed = handed_over.recv() => handed,
        };
        let Some(handed) = handed else { break };
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
            metrics.connections_refused.inc();
            continue;
        };
        let connection = match accept(handed) {
            Ok(connection) => connection,
            Err(error) => {
                tracing::debug!(%error, "a connection ended before it was served");
                continue;
            }
        };
        let serving = serve_connection(connection, router.clone(), timeouts, stopping.clone());
        let counted = Counted::new(metrics.connections.clone(), permit);
        connections.spawn(async move {
            serving.await;
            drop(counted);
        });
    }
    while connections.join_next().await.is_some() {}
    Ok(())
}

/// Resolves once the API is to stop, also when nobody can say so any more.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // The reference to the value is let go here: a future that keeps it cannot change threads.
    drop(stopping.wait_for(|stop| *stop).await);
}

/// A connection's place among those allowed; given back however its task ends.
struct Counted {
    gauge: Gauge,
    _permit: OwnedSemaphorePermit,
}

impl Counted {
    fn new(gauge: Gauge, permit: OwnedSemaphorePermit) -> Self {
        gauge.inc();
        Self { gauge, _permit: permit }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

#[derive(Clone, Copy)]
struct Timeouts {
    idle: Duration,
    write: Duration,
}

async fn serve_connection<S>(
    connection: Connection<S>,
    router: axum::Router,
    timeouts: Timeouts,
    mut stopping: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let _held = connection.held;
    let peer = Peer { address: connection.peer, tls: connection.tls };
    let router = router.layer(axum::Extension(peer));
    let stream = Prefixed {
        head: connection.head,
        stream: connection.stream,
        write_timeout: timeouts.write,
        write_stalled: None,
    };
    let service = TowerToHyperService::new(router.into_service::<Incoming>());
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(timeouts.idle)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let outcome = tokio::select! {
        outcome = serving.as_mut() => outcome,
        () = stopped(&mut stopping) => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, peer = %peer.address, "an HTTP connection ended");
    }
}

/// A stream with bytes before it that were read already, and an end for a peer that reads nothing.
struct Prefixed<S> {
    head: Bytes,
    stream: S,
    write_timeout: Duration,
    /// Runs while the peer takes no bytes.
    write_stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Prefixed<S> {
    fn watch_write<T>(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.write_stalled = None;
            return outcome;
        }
        let timeout = self.write_timeout;
        let stalled = self.write_stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        stalled.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Prefixed<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.head.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        let len = self.head.len().min(buffer.remaining());
        buffer.put_slice(&self.head[..len]);
        self.head.advance(len);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Prefixed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch_write(cx, outcome)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch_write(cx, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.watch_write(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.watch_write(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
