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
    /// The kernel takes no more, as far as calls are told: a loopback always has room.
    #[cfg(test)]
    pub(super) full: std::cell::Cell<bool>,
}

/// Packets that came in one call.
#[derive(Default)]
pub(super) struct Batch {
    /// Room for some messages, each as large as the kernel may join packets of one sender.
    bytes: Vec<u8>,
    metas: [RecvMeta; BATCH_SIZE],
    messages: usize,
    /// The message that is looked at next, and where in it.
    message: usize,
    start: usize,
}

/// A packet, and where it came from.
pub(super) struct Arrived<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) meta: &'a RecvMeta,
}

impl Batch {
    /// The next packet. A message without any bytes counts as one, so that whoever counts packets counts it.
    pub(super) fn next(&mut self) -> Option<Arrived<'_>> {
        let room = self.bytes.len() / BATCH_SIZE;
        let meta = self.metas[..self.messages].get(self.message)?;
        let joined = &self.bytes[self.message * room..][..meta.len.min(room)];
        let end = joined.len().min(self.start + meta.stride.max(1));
        let bytes = &joined[self.start..end];
        (self.message, self.start) = if end == joined.len() { (self.message + 1, 0) } else { (self.message, end) };
        Some(Arrived { bytes, meta })
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
        Batch { bytes, ..Batch::default() }
    }

    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.local_addr()
    }

    /// Packets that one call may send. It sinks to one when the network turns out not to take more.
    pub(super) fn segments_max(&self) -> usize {
        self.udp.max_gso_segments().min(SEGMENTS_MAX)
    }

    /// Fills the batch with what arrived, in the place of what it held.
    pub(super) fn poll_recv(&self, cx: &mut Context<'_>, batch: &mut Batch) -> Poll<io::Result<()>> {
        (batch.messages, batch.message, batch.start) = (0, 0, 0);
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
        let transmit = quinn_udp::Transmit {
            destination: transmit.destination,
            ecn: transmit.ecn.and_then(|ecn| quinn_udp::EcnCodepoint::from_bits(ecn as u8)),
            contents: &bytes[..transmit.size.min(bytes.len())],
            segment_size: transmit.segment_size,
            src_ip: transmit.src_ip,
        };
        let sent = self.io.try_io(Interest::WRITABLE, || {
            #[cfg(test)]
            if self.full.get() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.udp.send((&self.io).into(), &transmit)
        });
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
