//! A TCP socket, bare or under TLS, and how one is listened for.

use std::io::{self, IoSlice};
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::task::{Context, Poll};

use socket2::{Domain, Protocol, Socket as RawSocket, Type};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::tls_stream::TlsStream;

/// Connections that the kernel holds for a worker that is busy. Linux cuts it to `somaxconn`.
const BACKLOG: i32 = 4_096;

/// Bytes that the kernel takes of a connection before it has sent them, and one write more. Left to itself it takes up to
/// `tcp_wmem`, often 4 MiB, of each: a slow reader's outbox, which has a limit and is cut at it, would be empty meanwhile. What
/// is on its way is not bounded by this, so a long and fast path is still filled.
const UNSENT_BYTES_MAX: u32 = 64 * 1024;

/// A connection to a client or browser.
#[derive(Debug)]
pub enum Socket {
    /// Bare.
    Plain(TcpStream),
    /// Under TLS. Boxed: its state is a kilobyte, and a proxy before an edge often does TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Socket {
    /// Whether it is under TLS.
    pub const fn is_secure(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    fn as_mut(&mut self) -> Pin<&mut dyn Stream> {
        match self {
            Self::Plain(stream) => Pin::new(stream),
            Self::Tls(stream) => Pin::new(stream.as_mut()),
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.get_mut().as_mut().poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().as_mut().poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().as_mut().poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().as_mut().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().as_mut().poll_shutdown(cx)
    }
}

/// Listens for TCP on `address`; every worker has a listener of its own on the same address, and the
/// kernel spreads connections over them.
///
/// `SO_REUSEPORT` would let a second server process of the same user join silently and take half of
/// the connections, so who starts the workers first binds the address once without it: see
/// [`claim`].
///
/// # Errors
/// What the kernel says, a taken address above all.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    // Small frames leave at once instead of being collected. An accepted socket has it from its listener.
    socket.set_tcp_nodelay(true)?;
    // Likewise.
    socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Fails if another process listens on `address`, even one that would share it.
///
/// # Errors
/// `AddrInUse`, and what else the kernel says.
pub fn claim(address: SocketAddr) -> io::Result<()> {
    let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(1)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn small_frames_leave_an_accepted_socket_at_once() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        listener.set_nonblocking(false).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(listener.accept().unwrap().0.nodelay().unwrap());
    }

    #[test]
    fn the_kernel_takes_little_for_who_does_not_read() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        listener.set_nonblocking(false).unwrap();
        let client = RawSocket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
        let window = 8 * 1024;
        client.set_recv_buffer_size(window).unwrap();
        client.connect(&listener.local_addr().unwrap().into()).unwrap();
        let (mut accepted, _) = listener.accept().unwrap();
        accepted.set_nonblocking(true).unwrap();
        let (write, mut taken) = ([0; 4 * 1024], 0);
        let ended = loop {
            match accepted.write(&write) {
                Ok(bytes) => taken += bytes,
                Err(error) => break error,
            }
        };
        assert_eq!(ended.kind(), io::ErrorKind::WouldBlock);
        // Linux doubles what is asked for as a buffer.
        let most = UNSENT_BYTES_MAX as usize + 2 * window + write.len();
        assert!(taken <= most, "{taken} bytes of at most {most}");
    }
}
