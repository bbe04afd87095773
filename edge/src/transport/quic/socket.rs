//! The one UDP socket of all connections: whole batches in, and several packets out in one call where the kernel can.

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::task::{Context, Poll, ready};

use quinn_proto::EcnCodepoint;
use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSocketState};
use socket2::{Domain, Protocol, Type};
use tokio::io::Interest;

/// Bytes that the kernel holds for the socket, if it allows so many.
const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;
/// Packets that leave in one call. The buffer that they are written to holds as many.
const SEGMENTS_MAX: usize = 10;

/// A bound socket, in the reactor of the thread that bound it.
pub(super) struct Socket {
    io: tokio::net::UdpSocket,
    udp: UdpSocketState,
    /// So many calls find that the kernel takes no more: the loopback of a test always has room.
    #[cfg(test)]
    pub(super) full: std::cell::Cell<usize>,
}

/// Packets that came in one call.
#[derive(Default)]
pub(super) struct Batch {
    /// Room for some messages, each as large as the kernel may join packets of one sender.
    bytes: Vec<u8>,
    metas: [RecvMeta; BATCH_SIZE],
    messages: usize,
}

/// A packet, and where it came from.
pub(super) struct Arrived<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) meta: &'a RecvMeta,
}

impl Batch {
    pub(super) fn packets(&self) -> impl Iterator<Item = Arrived<'_>> {
        let room = self.bytes.len() / BATCH_SIZE;
        self.metas.iter().zip(self.bytes.chunks(room)).take(self.messages).flat_map(|(meta, piece)| {
            let joined = &piece[..meta.len.min(piece.len())];
            joined.chunks(meta.stride.max(1)).map(move |bytes| Arrived { bytes, meta })
        })
    }
}

impl Arrived<'_> {
    pub(super) fn ecn(&self) -> Option<EcnCodepoint> {
        self.meta.ecn.and_then(|ecn| EcnCodepoint::from_bits(ecn as u8))
    }
}

impl Socket {
    pub(super) fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = socket2::Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        for sized in
            [socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES), socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)]
        {
            if let Err(error) = sized {
                tracing::debug!(%error, "the kernel refuses a larger UDP buffer");
            }
        }
        socket.bind(&address.into())?;
        let socket = UdpSocket::from(socket);
        // It also makes the socket one that does not block.
        let udp = UdpSocketState::new((&socket).into())?;
        Ok(Self {
            io: tokio::net::UdpSocket::from_std(socket)?,
            udp,
            #[cfg(test)]
            full: std::cell::Cell::default(),
        })
    }

    /// Room for a batch of packets of at most `packet_bytes_max`. The kernel gives memory to what is used of it.
    pub(super) fn batch(&self, packet_bytes_max: usize) -> Batch {
        let bytes = vec![0; packet_bytes_max * self.udp.gro_segments() * BATCH_SIZE];
        Batch { bytes, metas: [RecvMeta::default(); BATCH_SIZE], messages: 0 }
    }

    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.local_addr()
    }

    /// Whether a packet that is too large for the path may be cut instead of dropped.
    pub(super) fn may_fragment(&self) -> bool {
        self.udp.may_fragment()
    }

    /// Packets that one call may send. It sinks to one when the network turns out not to take more.
    pub(super) fn segments_max(&self) -> usize {
        self.udp.max_gso_segments().min(SEGMENTS_MAX)
    }

    /// Fills the batch with what arrived.
    pub(super) fn poll_recv(&self, cx: &mut Context<'_>, batch: &mut Batch) -> Poll<io::Result<()>> {
        batch.messages = 0;
        let room = batch.bytes.len() / BATCH_SIZE;
        loop {
            ready!(self.io.poll_recv_ready(cx))?;
            let mut pieces = batch.bytes.chunks_mut(room);
            let mut buffers: [_; BATCH_SIZE] =
                std::array::from_fn(|_| IoSliceMut::new(pieces.next().unwrap_or_default()));
            let receive = || self.udp.recv((&self.io).into(), &mut buffers, &mut batch.metas);
            match self.io.try_io(Interest::READABLE, receive) {
                Ok(messages) => {
                    batch.messages = messages;
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Whoever can send ICMP could end connections with it.
                Err(error) if is_told_by_network(&error) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Sends now, or not at all: `false` if the kernel takes no more. Any other failure is as a packet that
    /// is lost on its way.
    pub(super) fn try_send(&self, transmit: &quinn_proto::Transmit, bytes: &[u8]) -> bool {
        #[cfg(test)]
        if self.full.get() > 0 {
            self.full.update(|calls| calls - 1);
            return false;
        }
        let transmit = quinn_udp::Transmit {
            destination: transmit.destination,
            ecn: transmit.ecn.and_then(|ecn| quinn_udp::EcnCodepoint::from_bits(ecn as u8)),
            contents: &bytes[..transmit.size.min(bytes.len())],
            segment_size: transmit.segment_size,
            src_ip: transmit.src_ip,
        };
        let sent = self.io.try_io(Interest::WRITABLE, || self.udp.send((&self.io).into(), &transmit));
        !sent.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Sends as soon as the kernel takes it.
    pub(super) fn poll_send(
        &self,
        cx: &mut Context<'_>,
        transmit: &quinn_proto::Transmit,
        bytes: &[u8],
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.io.poll_send_ready(cx))?;
            if self.try_send(transmit, bytes) {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

fn is_told_by_network(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable};
    matches!(error.kind(), ConnectionRefused | ConnectionReset | HostUnreachable | NetworkUnreachable)
}
