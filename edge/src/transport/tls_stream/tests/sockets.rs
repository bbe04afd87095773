//! Sockets that are full or fail, and peers that do not read.

use rustls::version::{TLS12, TLS13};

use super::*;

#[tokio::test]
async fn what_nobody_reads_or_takes_is_held_up_to_the_bound() {
    for version in [&TLS13, &TLS12] {
        let (mut server, mut client) = pair(version, 1 << 20).await;
        for _ in 0..10 {
            client.write_all(&text(PLAIN_BYTES_MAX)).await.unwrap();
        }
        client.flush().await.unwrap();
        let mut room = [0; 1];
        for _ in 0..40_000 {
            server.read_exact(&mut room).await.unwrap();
            assert!(server.buffered() <= BUFFERED_BYTES_MAX, "{version:?}");
        }
        // Nobody reads here, until one more write would not be taken.
        let full = tokio::task::unconstrained(std::future::poll_fn(|cx| {
            let mut written = 0;
            while let Poll::Ready(len) = Pin::new(&mut server).poll_write(cx, &[7; 3_000]) {
                written += len.unwrap();
            }
            Poll::Ready(written)
        }));
        assert!(full.await > 1 << 19, "{version:?}");
        assert!(server.buffered() <= BUFFERED_BYTES_MAX, "{version:?}");
    }
}

/// A socket that takes so many bytes and then fails.
struct Failing(DuplexStream, usize);

impl AsyncRead for Failing {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, into)
    }
}

impl AsyncWrite for Failing {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.1 == 0 {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let len = bytes.len().min(self.1);
        let written = Pin::new(&mut self.0).poll_write(cx, &bytes[..len]);
        if let Poll::Ready(Ok(len)) = written {
            self.1 -= len;
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn nothing_is_sealed_for_a_socket_that_failed_and_what_came_is_read() {
    for takes in [0, 1, 40] {
        let (server, mut client) = pair(&TLS13, 1 << 16).await;
        client.write_all(b"before").await.unwrap();
        client.flush().await.unwrap();
        let TlsStream { stream, tls } = *server;
        let mut server = TlsStream { stream: Failing(stream, takes), tls };
        let said = async {
            server.write_all(&[7; 100]).await?;
            server.flush().await
        };
        assert_eq!(said.await.unwrap_err().kind(), io::ErrorKind::ConnectionReset, "{takes} bytes");
        assert_eq!(server.write(b"more").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe, "{takes} bytes");
        server.shutdown().await.unwrap();
        let mut came = [0; 6];
        server.read_exact(&mut came).await.unwrap();
        assert_eq!((&came, server.buffered()), (b"before", 0), "{takes} bytes");
    }
}
