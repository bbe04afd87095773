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
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use super::{Ending, SessionKey};
use crate::transport::quic::{QuicPages, QuicTransport};
use crate::transport::socket::Socket;
use crate::transport::websocket::WebSocket;
use crate::transport::{Transport, TransportError};
use crate::worker::Core;

/// Frames taken from one peer before others have their turn.
const FRAMES_A_TURN: usize = 64;
/// How long a peer may take to read the rest and close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// One session's connection. It holds no buffer and no timer while the session lives.
///
/// A task of the runtime has 104 bytes of its own and takes a multiple of 128: with these 24 it takes one.
pub(crate) struct SessionTask<L: CommandLog, T: Connection> {
    core: Rc<RefCell<Core<L>>>,
    key: SessionKey,
    line: Box<Line<T>>,
}

/// The transport, and what a session seldom has beside it.
struct Line<T: Connection> {
    transport: T,
    rare: Option<Box<Rare<T::Pages>>>,
}

/// The runtime's socket, 16 bytes of its [`WebSocket`], and a pointer.
const _: () = assert!(size_of::<Line<WebSocket<Socket>>>() <= size_of::<TcpStream>() + 24);

/// There once the stream for pages was opened, or the session is closing.
struct Rare<P> {
    pages: Pages<P>,
    closing: Option<Closing>,
}

struct Closing {
    code: ErrorCode,
    timeout: Pin<Box<Sleep>>,
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

/// The stream for pages, once the client opened it. There is at most one in a session's life.
enum Pages<P> {
    /// It carries requests and replies.
    Open(P),
    /// It ended; the session goes on. Any further one is refused.
    Closed,
}

impl<P> Default for Rare<P> {
    /// Of a session that closes before the stream for pages was opened, which it then never is.
    fn default() -> Self {
        Self { pages: Pages::Closed, closing: None }
    }
}

impl<L: CommandLog, T: Connection> SessionTask<L, T> {
    pub(crate) fn new(core: Rc<RefCell<Core<L>>>, key: SessionKey, transport: T) -> Self {
        const { assert!(size_of::<Self>() <= 24, "one more byte would cost 128 a session") }
        Self { core, key, line: Box::new(Line { transport, rare: None }) }
    }

    fn step(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let core = Rc::clone(&self.core);
        let mut core = core.borrow_mut();
        core.watch(self.key, cx.waker());
        let ending = loop {
            let withheld = self.read(&mut core, cx);
            if let Err(error) = core.flush(self.key, cx, &mut self.line.transport) {
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
            match self.line.transport.poll_recv(cx, bytes_max) {
                Poll::Pending => {
                    if self.line.transport.heard() {
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
        let Line { transport, rare } = &mut *self.line;
        let rare = match rare {
            Some(rare) => rare,
            none => match transport.poll_pages(cx) {
                Poll::Pending => return,
                Poll::Ready(Ok(pages)) => {
                    core.set_pages(self.key, true);
                    none.insert(Box::new(Rare { pages: Pages::Open(pages), closing: None }))
                }
                // The connection is gone; the session's own stream says so, too.
                Poll::Ready(Err(_)) => none.insert(Box::default()),
            },
        };
        if matches!(rare.pages, Pages::Closed) {
            // Dropping it says so to the client, which would wait for answers otherwise.
            while let Poll::Ready(Ok(further)) = transport.poll_pages(cx) {
                drop(further);
            }
        }
        let Pages::Open(pages) = &mut rare.pages else { return };
        let key = self.key;
        let mut turns = 0..FRAMES_A_TURN;
        let ended = loop {
            if let Err(error) = core.flush_pages(key, cx, pages) {
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
        rare.pages = Pages::Closed;
        // A further one may be there already.
        cx.waker().wake_by_ref();
    }

    fn close(&mut self, code: ErrorCode, cx: &mut Context<'_>) -> Poll<()> {
        let Line { transport, rare } = &mut *self.line;
        let closing = &mut rare.get_or_insert_default().closing;
        let Closing { code, timeout } =
            closing.get_or_insert_with(|| Closing { code, timeout: Box::pin(sleep(CLOSE_TIMEOUT)) });
        let mut core = self.core.borrow_mut();
        // An error here means that the peer is gone, which is what closing is for.
        let drained = core.flush(self.key, cx, transport).is_err() || core.is_drained(self.key);
        if drained && transport.poll_close(cx, *code).is_ready() {
            return Poll::Ready(());
        }
        timeout.as_mut().poll(cx)
    }
}

impl<L: CommandLog, T: Connection> Future for SessionTask<L, T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let closing = this.line.rare.as_ref().and_then(|rare| Some(rare.closing.as_ref()?.code));
        let stepped = catch_unwind(AssertUnwindSafe(|| match closing {
            Some(code) => this.close(code, cx),
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
