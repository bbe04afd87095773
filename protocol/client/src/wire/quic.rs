//! Frames on one QUIC stream, and signals in datagrams.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use panda_protocol::ErrorCode;
use panda_protocol::frame::QUIC_ALPN;
use panda_protocol::framing::split_frame;
use panda_protocol::limits::FRAME_BYTES_MAX;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{
    ClientConfig, Connection, ConnectionError, ReadError, RecvStream, SendStream, TransportConfig, VarInt, WriteError,
};

use super::{Received, Trouble, signal_of};
use crate::connector::ConnectError;

/// What the server may send before we read: two of the largest frames.
const RECEIVE_WINDOW_BYTES: u32 = 128 * 1024;
/// What we keep until the server has it.
const SEND_WINDOW_BYTES: u64 = 64 * 1024;
/// Signals that wait to be read.
const DATAGRAM_BYTES: usize = 16 * 1024;
/// Panda's heartbeats keep a connection alive; one without any for so long has lost its server.
const IDLE_TIMEOUT_MS: u32 = 120_000;
/// Bytes taken off the stream at once.
const READ_BYTES: usize = 4 * 1024;

type Datagram = Pin<Box<dyn Future<Output = Result<Bytes, ConnectionError>> + Send>>;

pub(crate) struct Channel {
    connection: Connection,
    send: SendStream,
    recv: RecvStream,
    /// The beginning of the next frame.
    buffer: BytesMut,
    datagram: Option<Datagram>,
}

pub(crate) fn client_config(pin: Option<[u8; 32]>) -> Result<ClientConfig, ConnectError> {
    let tls = crate::tls::client_config(pin, false, &[&rustls::version::TLS13], Some(QUIC_ALPN))?;
    let no_suite = |_| ConnectError::Tls(rustls::Error::General("no cipher suite for QUIC".to_owned()));
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).map_err(no_suite)?));
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(RECEIVE_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(RECEIVE_WINDOW_BYTES))
        .send_window(SEND_WINDOW_BYTES)
        .datagram_receive_buffer_size(Some(DATAGRAM_BYTES))
        .datagram_send_buffer_size(DATAGRAM_BYTES)
        .max_idle_timeout(Some(VarInt::from_u32(IDLE_TIMEOUT_MS).into()));
    config.transport_config(Arc::new(transport));
    Ok(config)
}

impl Channel {
    pub(crate) async fn open(connection: Connection) -> Result<Self, ConnectError> {
        let (send, recv) = connection.open_bi().await?;
        Ok(Self { connection, send, recv, buffer: BytesMut::new(), datagram: None })
    }

    pub(crate) fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Received, Trouble>> {
        while let Some(datagram) = &mut self.datagram {
            let Poll::Ready(received) = datagram.as_mut().poll(cx) else { break };
            // An error here is the connection's, which the stream tells as well.
            self.datagram = None;
            let Ok(bytes) = received else { break };
            self.take_datagrams();
            // What is no signal has no business here, and datagrams may be lost anyway.
            if let Some(raw) = signal_of(bytes) {
                return Poll::Ready(Ok(Received::Frame(raw)));
            }
        }
        loop {
            if let Some(frame) = split_frame(&mut self.buffer, FRAME_BYTES_MAX)? {
                return Poll::Ready(Ok(Received::Frame(frame)));
            }
            if self.buffer.is_empty() {
                // An idle connection holds no buffer.
                self.buffer = BytesMut::new();
            }
            let mut bytes = [0; READ_BYTES];
            match ready!(self.recv.poll_read(cx, &mut bytes)) {
                Ok(0) => return Poll::Ready(Err(Trouble::Gone)),
                Err(ReadError::ConnectionLost(error)) => return Poll::Ready(Err(lost(&error))),
                Err(_) => return Poll::Ready(Err(Trouble::Gone)),
                Ok(read) => self.buffer.extend_from_slice(&bytes[..read]),
            }
        }
    }

    pub(crate) fn poll_send(&mut self, cx: &mut Context<'_>, batch: &mut BytesMut) -> Poll<Result<(), Trouble>> {
        while !batch.is_empty() {
            let sent = ready!(Pin::new(&mut self.send).poll_write(cx, batch)).map_err(|error| match error {
                WriteError::ConnectionLost(error) => lost(&error),
                _ => Trouble::Gone,
            })?;
            if sent == batch.len() {
                *batch = BytesMut::new();
            } else {
                bytes::Buf::advance(batch, sent);
            }
        }
        Poll::Ready(Ok(()))
    }

    pub(crate) async fn close(&mut self, batch: &mut BytesMut) {
        let sent = self.send.write_all(batch).await.is_ok() && self.send.finish().is_ok();
        batch.clear();
        if sent {
            // The server has the Bye once it acknowledged the stream's end, or closes by itself.
            if let Err(error) = self.send.stopped().await {
                tracing::debug!(%error, "the QUIC connection closed in another way");
            }
        }
        self.connection.close(VarInt::from_u32(u32::from(ErrorCode::Going as u16)), b"");
    }

    pub(crate) fn take_datagrams(&mut self) {
        let connection = self.connection.clone();
        self.datagram = Some(Box::pin(async move { connection.read_datagram().await }));
    }

    pub(crate) fn send_datagram(&mut self, frame: &Bytes) -> bool {
        self.datagram.is_some() && self.connection.send_datagram(frame.clone()).is_ok()
    }
}

/// The server closes with a code of the protocol: it says the same as a Bye, which may not have arrived.
fn lost(error: &ConnectionError) -> Trouble {
    match error {
        ConnectionError::ApplicationClosed(close) => {
            u16::try_from(close.error_code.into_inner()).map_or(Trouble::Gone, Trouble::Closed)
        }
        _ => Trouble::Gone,
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        // Without this the server would wait for the idle timeout. After `close` it does nothing.
        self.connection.close(VarInt::from_u32(u32::from(ErrorCode::Going as u16)), b"");
    }
}

const _: () = assert!(Duration::from_millis(IDLE_TIMEOUT_MS as u64).as_secs() > 2 * 30);
