//! The server's end of a TLS connection that holds no buffer while nothing is on its way.
//!
//! rustls' own buffered connection keeps 4 KiB that it read the handshake into for as long as it lives. Here it is
//! driven through its unbuffered interface: records are read into memory of the thread and decrypted there,
//! and only what is there in part stays with the connection, in memory of just its size. After a handshake of TLS 1.3
//! `records` take the rustls connection's place, which would keep 3.3 KB.

mod records;
mod state;

use std::cell::RefCell;
use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use self::state::Tls;

/// What a record may hold (RFC 8446, section 5.1), and so what one write takes.
const PLAIN_BYTES_MAX: usize = 16 * 1024;
/// A whole record on the wire, in the version that allows the longest (RFC 5246, section 6.2.3).
const RECORD_BYTES_MAX: usize = 5 + PLAIN_BYTES_MAX + 2 * 1024;
/// What a peer may have sent that is not a whole message: a record, or a handshake message over several. A
/// ClientHello, which is the only long one that comes, has about two kilobytes.
const INCOMING_BYTES_MAX: usize = RECORD_BYTES_MAX;
/// Bytes that one read takes at most.
const READ_BYTES: usize = 16 * 1024;
/// Bytes that may wait for the socket and leave in one write with the record behind them: tickets and changes of keys.
const TOGETHER_BYTES_MAX: usize = 1024;
/// Bytes of buffers that an established connection holds at most: what was read behind a record of which somebody wants
/// the rest, that rest, and what the socket does not take, a change of keys and an alert included.
pub const BUFFERED_BYTES_MAX: usize =
    INCOMING_BYTES_MAX + READ_BYTES + PLAIN_BYTES_MAX + TOGETHER_BYTES_MAX + RECORD_BYTES_MAX;

struct Scratch {
    /// What is there in part, and what a read puts behind it.
    incoming: Box<[u8]>,
    plain: Box<[u8]>,
    record: Box<[u8]>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        incoming: vec![0; INCOMING_BYTES_MAX + READ_BYTES].into_boxed_slice(),
        plain: vec![0; PLAIN_BYTES_MAX].into_boxed_slice(),
        record: vec![0; RECORD_BYTES_MAX].into_boxed_slice(),
    });
}

/// A TLS connection over `S`, after [`Self::accept`]. One task reads and writes: a reader also writes what waits, and
/// would take the waker of a writer elsewhere. Reading and writing are cancel safe.
pub struct TlsStream<S> {
    stream: S,
    tls: Tls,
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream<S> {
    /// Does the handshake; whoever waits for it bounds its time. Cancelling it ends the connection. Without
    /// `enable_secret_extraction` in `config` the connection takes some kilobytes more.
    ///
    /// # Errors
    /// What the socket says, and `InvalidData` where the peer speaks no TLS that `config` takes.
    pub async fn accept(stream: S, config: Arc<ServerConfig>) -> io::Result<Box<Self>> {
        let small = config.enable_secret_extraction;
        let connection = UnbufferedServerConnection::new(config).map_err(io::Error::other)?;
        let mut accepted = Box::new(Self { stream, tls: Tls::new(connection, small) });
        std::future::poll_fn(|cx| accepted.poll_handshake(cx)).await?;
        if !small {
            return Ok(accepted);
        }
        let Self { stream, tls } = *accepted;
        Ok(Box::new(Self { stream, tls: tls.settled()? }))
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.tls.is_established() && !self.tls.broken {
                // What did not leave yet, a ticket, leaves with what is written next.
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_write_outgoing(cx))?;
            if self.tls.broken {
                // It failed when this was called before, and its alert did not leave then.
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
            if !self.tls.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            // A client may send its first request with the end of its handshake.
            let read = ready!(self.poll_records(cx, &mut ReadBuf::new(&mut [])));
            if read.is_err() {
                // The alert leaves if it can; that the handshake failed matters more than how.
                return self.poll_write_outgoing(cx).map(|_| read);
            }
            if self.tls.ended {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Reads once and decrypts into `into` what is whole.
    fn poll_records(&mut self, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.tls.broken {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let Self { stream, tls } = self;
            let (before, room) = scratch.incoming.split_at_mut(tls.incoming.len());
            let mut len = before.len();
            if !tls.unread {
                let mut read = ReadBuf::new(&mut room[..READ_BYTES]);
                ready!(Pin::new(stream).poll_read(cx, &mut read))?;
                if read.filled().is_empty() {
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
                len += read.filled().len();
            }
            // Not before: a peer may leave a record in part for long, and every poll of its session comes by here.
            before.copy_from_slice(&tls.incoming);
            Poll::Ready(tls.take(&mut scratch.incoming[..len], into))
        })
    }

    /// Hands the socket what it did not take yet.
    fn poll_write_outgoing(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.tls.outgoing.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.tls.outgoing)) {
                Ok(0) => return Poll::Ready(Err(self.tls.cut(io::ErrorKind::WriteZero.into()))),
                Ok(written) => self.tls.outgoing.advance(written),
                Err(error) => return Poll::Ready(Err(self.tls.cut(error))),
            }
        }
        // An empty slice would keep the whole record alive.
        self.tls.outgoing = Bytes::new();
        Poll::Ready(Ok(()))
    }

    /// Encrypts what it can of `slices`, as one record, and hands it to the socket. Returns how much it was. What waits
    /// for the socket goes before it, in the same write if it is little.
    fn poll_record(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if self.tls.outgoing.len() > TOGETHER_BYTES_MAX {
            ready!(self.poll_write_outgoing(cx))?;
        }
        let taken = SCRATCH.with_borrow_mut(|Scratch { plain, record, .. }| {
            let plain = gather(slices, plain);
            if plain.is_empty() {
                return Ok((0, false));
            }
            let Self { stream, tls } = self;
            let len = tls.seal(plain, record)?;
            let waits = !tls.outgoing.is_empty();
            let mut written = 0;
            if !waits {
                match Pin::new(stream).poll_write(cx, &record[..len]) {
                    Poll::Ready(Ok(len)) => written = len,
                    Poll::Ready(Err(error)) => return Err(tls.cut(error)),
                    Poll::Pending => {}
                }
            }
            tls.queue(&record[written..len]);
            Ok((plain.len(), waits))
        });
        let (taken, waits) = taken?;
        // It is taken, whatever of it leaves now.
        if waits && let Poll::Ready(Err(error)) = self.poll_write_outgoing(cx) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(taken))
    }
}

/// What of `slices` goes into one record: put together in `room` if there are several.
fn gather<'b>(slices: &'b [IoSlice<'_>], room: &'b mut [u8]) -> &'b [u8] {
    if let [one] = slices {
        return &one[..one.len().min(room.len())];
    }
    let mut taken = 0;
    for slice in slices {
        let len = slice.len().min(room.len() - taken);
        room[taken..taken + len].copy_from_slice(&slice[..len]);
        taken += len;
    }
    &room[..taken]
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = into.filled().len();
        loop {
            let len = this.tls.plain.len().min(into.remaining());
            into.put_slice(&this.tls.plain[..len]);
            this.tls.plain.advance(len);
            if this.tls.plain.is_empty() {
                // An empty slice would keep the whole record alive.
                this.tls.plain = Bytes::new();
            }
            if into.filled().len() > before || into.remaining() == 0 || this.tls.ended {
                return Poll::Ready(Ok(()));
            }
            let read = this.poll_records(cx, into);
            if into.filled().len() > before {
                // It is there, whatever failed then: that is found again by the next call. What there is to say to it
                // may leave with an answer.
                return Poll::Ready(Ok(()));
            }
            // What waits for the socket leaves as far as it can, for who only reads, too: the peer may wait for it. Where
            // the socket fails, a writer is told; what the peer sent before it went is still there to be read.
            if let Poll::Ready(Err(error)) = this.poll_write_outgoing(cx) {
                tracing::debug!(%error, "a socket under TLS takes nothing any more");
            }
            ready!(read)?;
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_record(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_record(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_write_outgoing(cx))?;
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.tls.closed {
            this.tls.say_goodbye()?;
        }
        ready!(this.poll_write_outgoing(cx))?;
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}

impl<S> TlsStream<S> {
    /// Bytes of buffers that it holds now: nothing while it is idle, and never more than [`BUFFERED_BYTES_MAX`].
    pub fn buffered(&self) -> usize {
        self.tls.incoming.len() + self.tls.plain.len() + self.tls.outgoing.len()
    }
}

impl<S: fmt::Debug> fmt::Debug for TlsStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream").field("stream", &self.stream).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
