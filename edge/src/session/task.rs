//! Moves frames between a transport and its session until either ends.

use std::cell::RefCell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use panda_protocol::ErrorCode;
use panda_storage::command_log::CommandLog;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Sleep, sleep};

use super::{Ending, SessionKey};
use crate::transport::quic::{QuicPages, QuicTransport};
use crate::transport::websocket::WebSocket;
use crate::transport::{Transport, TransportError};
use crate::worker::Core;

/// Frames taken from one peer before others have their turn.
const FRAMES_A_TURN: usize = 64;
/// How long a peer may take to read the rest and close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// One session's connection. It holds no buffer and no timer while the session lives.
pub(crate) struct SessionTask<L: CommandLog, T: Connection> {
    core: Rc<RefCell<Core<L>>>,
    key: SessionKey,
    transport: T,
    pages: Pages<T::Pages>,
    closing: Option<(ErrorCode, Pin<Box<Sleep>>)>,
}

/// A transport as a whole: the session's own stream, and perhaps one for pages.
pub(crate) trait Connection: Transport + Unpin {
    /// The stream for pages.
    type Pages: Transport + Unpin;

    /// The stream for pages, once the client opens it, and any further one. Polled while there is none to
    /// read from.
    fn poll_pages(&mut self, cx: &mut Context<'_>) -> Poll<Result<Self::Pages, TransportError>>;
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection for WebSocket<S> {
    type Pages = Self;

    /// A WebSocket has one stream only.
    fn poll_pages(&mut self, _: &mut Context<'_>) -> Poll<Result<Self, TransportError>> {
        Poll::Pending
    }
}

impl Connection for QuicTransport {
    type Pages = QuicPages;

    fn poll_pages(&mut self, cx: &mut Context<'_>) -> Poll<Result<QuicPages, TransportError>> {
        Self::poll_pages(self, cx)
    }
}

/// The stream for pages. There is at most one in a session's life.
enum Pages<P> {
    /// The client did not open it.
    None,
    /// It carries requests and replies. Boxed, because hardly anybody opens it.
    Open(Box<P>),
    /// It ended; the session goes on. Any further one is refused.
    Closed,
}

impl<L: CommandLog, T: Connection> SessionTask<L, T> {
    pub(crate) const fn new(core: Rc<RefCell<Core<L>>>, key: SessionKey, transport: T) -> Self {
        Self { core, key, transport, pages: Pages::None, closing: None }
    }

    fn step(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let core = Rc::clone(&self.core);
        let mut core = core.borrow_mut();
        core.watch(self.key, cx.waker());
        let ending = loop {
            let withheld = self.read(&mut core, cx);
            if let Err(error) = core.flush(self.key, cx, &mut self.transport) {
                core.broken(self.key, &error);
            }
            self.serve_pages(&mut core, cx);
            core.refill(self.key);
            match core.ending(self.key) {
                // Frames that were left unread may be read now: nobody else wakes this task for them.
                None if withheld && core.wants_frames(self.key).is_some() => {}
                None => return Poll::Pending,
                Some(ending) => break ending,
            }
        };
        drop(core);
        match ending {
            Ending::Gone => Poll::Ready(()),
            Ending::Left => self.close(ErrorCode::Going, cx),
            Ending::Bye(close) => self.close(close.code, cx),
        }
    }

    /// Returns whether frames were left unread because the session wants none now.
    fn read(&mut self, core: &mut Core<L>, cx: &mut Context<'_>) -> bool {
        for _ in 0..FRAMES_A_TURN {
            let Some(bytes_max) = core.wants_frames(self.key) else { return true };
            match self.transport.poll_recv(cx, bytes_max) {
                Poll::Pending => {
                    if self.transport.heard() {
                        core.alive(self.key);
                    }
                    return false;
                }
                Poll::Ready(Ok(frame)) => core.hear(self.key, frame),
                Poll::Ready(Err(error)) => {
                    core.broken(self.key, &error);
                    return false;
                }
            }
        }
        cx.waker().wake_by_ref();
        false
    }

    /// Moves what there is on the stream for pages. When it ends, only it ends.
    fn serve_pages(&mut self, core: &mut Core<L>, cx: &mut Context<'_>) {
        if matches!(self.pages, Pages::None) {
            match self.transport.poll_pages(cx) {
                Poll::Pending => return,
                Poll::Ready(Ok(pages)) => {
                    self.pages = Pages::Open(Box::new(pages));
                    core.set_pages(self.key, true);
                }
                // The connection is gone; the session's own stream says so, too.
                Poll::Ready(Err(_)) => self.pages = Pages::Closed,
            }
        }
        if matches!(self.pages, Pages::Closed) {
            // Dropping it says so to the client, which would wait for answers otherwise.
            while let Poll::Ready(Ok(further)) = self.transport.poll_pages(cx) {
                drop(further);
            }
        }
        let Pages::Open(pages) = &mut self.pages else { return };
        let key = self.key;
        let mut turns = 0..FRAMES_A_TURN;
        let ended = loop {
            if let Err(error) = core.flush_pages(key, cx, &mut **pages) {
                break error;
            }
            core.read_on(key);
            let Some(bytes_max) = core.wants_page_frames(key) else { return };
            if turns.next().is_none() {
                return cx.waker().wake_by_ref();
            }
            match pages.poll_recv(cx, bytes_max) {
                Poll::Pending => return,
                Poll::Ready(Ok(frame)) => core.hear_page(key, frame),
                Poll::Ready(Err(error)) => break error,
            }
        };
        match ended.code() {
            Some(_) => core.broken(key, &ended),
            None => core.set_pages(key, false),
        }
        self.pages = Pages::Closed;
        // A further one may be there already.
        cx.waker().wake_by_ref();
    }

    fn close(&mut self, code: ErrorCode, cx: &mut Context<'_>) -> Poll<()> {
        let (code, timeout) = self.closing.get_or_insert_with(|| (code, Box::pin(sleep(CLOSE_TIMEOUT))));
        let mut core = self.core.borrow_mut();
        // An error here means that the peer is gone, which is what closing is for.
        let drained = core.flush(self.key, cx, &mut self.transport).is_err() || core.is_drained(self.key);
        if drained && self.transport.poll_close(cx, *code).is_ready() {
            return Poll::Ready(());
        }
        timeout.as_mut().poll(cx)
    }
}

impl<L: CommandLog, T: Connection> Future for SessionTask<L, T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let stepped = catch_unwind(AssertUnwindSafe(|| match &this.closing {
            Some((code, _)) => {
                let code = *code;
                this.close(code, cx)
            }
            None => this.step(cx),
        }));
        stepped.unwrap_or_else(|_| {
            let core = this.core.borrow();
            core.metrics.panics.inc();
            let (session, user) = core.who(this.key);
            tracing::error!(session, user, "a session was closed after a panic");
            Poll::Ready(())
        })
    }
}

impl<L: CommandLog, T: Connection> Drop for SessionTask<L, T> {
    /// However the connection ends, nothing of the session stays behind.
    fn drop(&mut self) {
        if let Ok(mut core) = self.core.try_borrow_mut() {
            core.remove(self.key);
        }
    }
}
