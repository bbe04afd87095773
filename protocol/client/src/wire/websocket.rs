//! Frames in WebSocket messages.

use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures_util::{Sink, SinkExt, StreamExt};
use panda_protocol::ErrorCode;
use panda_protocol::frame::WEBSOCKET_SUBPROTOCOL;
use panda_protocol::framing::next_frame;
use panda_protocol::limits::FRAME_BYTES_MAX;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::{Received, Stream, Trouble};
use crate::connector::ConnectError;

/// A frame and its length; a server may put several into a message, but no more than this.
const MESSAGE_BYTES_MAX: usize = FRAME_BYTES_MAX + 1024;

pub(crate) struct Socket {
    stream: WebSocketStream<Box<dyn Stream>>,
    /// What is left of the last message.
    message: Bytes,
}

fn limits() -> WebSocketConfig {
    let mut config = WebSocketConfig::default();
    config.read_buffer_size = 4 * 1024;
    // Whatever is handed over is flushed at once, so this never fills beyond one message.
    config.write_buffer_size = 0;
    config.max_write_buffer_size = 2 * MESSAGE_BYTES_MAX;
    config.max_message_size = Some(MESSAGE_BYTES_MAX);
    config.max_frame_size = Some(MESSAGE_BYTES_MAX);
    config
}

impl Socket {
    pub(crate) async fn connect(url: &str, stream: Box<dyn Stream>) -> Result<Self, ConnectError> {
        let refused = |error: Error| ConnectError::WebSocket(Box::new(error));
        let mut request = url.into_client_request().map_err(refused)?;
        request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(WEBSOCKET_SUBPROTOCOL));
        let (stream, _) = client_async_with_config(request, stream, Some(limits())).await.map_err(refused)?;
        Ok(Self { stream, message: Bytes::new() })
    }

    pub(crate) fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Received, Trouble>> {
        loop {
            if let Some(frame) = next_frame(&mut self.message, FRAME_BYTES_MAX)? {
                return Poll::Ready(Ok(Received::Frame(frame)));
            }
            self.message = Bytes::new();
            match ready!(self.stream.poll_next_unpin(cx)) {
                Some(Ok(Message::Binary(message))) => self.message = message,
                Some(Ok(Message::Text(_))) => return Poll::Ready(Err(Trouble::Defect(ErrorCode::TextMessage))),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => return Poll::Ready(Ok(Received::Alive)),
                // The close handshake is tungstenite's; the stream ends behind it.
                Some(Ok(Message::Close(_) | Message::Frame(_))) => {}
                Some(Err(Error::Capacity(_))) => return Poll::Ready(Err(Trouble::Defect(ErrorCode::FrameTooLarge))),
                Some(Err(_)) | None => return Poll::Ready(Err(Trouble::Gone)),
            }
        }
    }

    pub(crate) fn poll_send(&mut self, cx: &mut Context<'_>, batch: &mut BytesMut) -> Poll<Result<(), Trouble>> {
        if !batch.is_empty() {
            let mut stream = std::pin::Pin::new(&mut self.stream);
            ready!(stream.as_mut().poll_ready(cx)).map_err(|_| Trouble::Gone)?;
            let message = Message::Binary(core::mem::take(batch).freeze());
            stream.start_send(message).map_err(|_| Trouble::Gone)?;
        }
        self.poll_flush(cx)
    }

    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Trouble>> {
        std::pin::Pin::new(&mut self.stream).poll_flush(cx).map_err(|_| Trouble::Gone)
    }

    pub(crate) async fn close(&mut self, batch: &mut BytesMut) {
        if !batch.is_empty() {
            let message = Message::Binary(core::mem::take(batch).freeze());
            if self.stream.send(message).await.is_err() {
                return;
            }
        }
        if let Err(error) = self.stream.close(None).await {
            tracing::debug!(%error, "the WebSocket closed in another way");
        }
    }
}
