//! One client socket: what it has written, what it waits for, and its TLS.

use std::collections::VecDeque;
use std::io::{self, Write as _};
use std::net::SocketAddrV4;

use anyhow::{Context as _, Result};
use rustix::event::epoll;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustls::ClientConnection;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::clock::now;
use super::driver::{Peer, Role};
use super::tls;

/// Of what was written, a subscriber keeps no more room than this: a million of them may be open at a time.
const ROOM_KEPT: usize = 64;

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Connecting,
    Tls,
    Upgrading,
    Open,
}

/// A connection.
#[derive(Debug)]
pub struct Connection {
    /// What the driver keeps.
    pub peer: Peer,
    /// When each publication that is not acknowledged yet was due, in their order.
    pub waiting: VecDeque<u64>,
    /// When it was begun, in nanoseconds.
    pub started: u64,
    /// Payloads that came.
    pub received: u64,
    pub(super) socket: Socket,
    /// The place of its server.
    pub(super) server: u16,
    pub(super) stage: Stage,
    pub(super) out: Vec<u8>,
    written: usize,
    wants_write: bool,
    /// What comes is left in the kernel's buffer.
    is_stalled: bool,
    pub(super) is_queued: bool,
    /// What was read and is no whole frame yet.
    pub(super) unparsed: Vec<u8>,
    /// What came of a message that is not whole yet.
    pub(super) message: Vec<u8>,
    pub(super) tls: Option<Box<ClientConnection>>,
}

impl Connection {
    /// Begins to connect, from a port of `source` that the kernel chooses, which keeps so many bytes of what is not read.
    pub(super) fn start(
        source: SocketAddrV4,
        (server, place): (SocketAddrV4, u16),
        (number, role, channel): (u32, Role, u32),
        receive_bytes: Option<u32>,
    ) -> Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), Some(Protocol::TCP)).context("a socket")?;
        socket.set_tcp_nodelay(true)?;
        if let Some(bytes) = receive_bytes {
            // Before it connects: a window that was offered is not taken back.
            socket.set_recv_buffer_size(bytes as usize)?;
        }
        socket.bind(&SockAddr::from(source)).with_context(|| format!("a port of {source}"))?;
        match socket.connect(&SockAddr::from(server)) {
            Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => {
                return Err(error).with_context(|| format!("connect to {server}"));
            }
            Ok(()) | Err(_) => {}
        }
        let peer = Peer { number, role, channel, step: 0, next_id: 0, expected: 0 };
        Ok(Self {
            peer,
            waiting: VecDeque::new(),
            started: now(),
            received: 0,
            socket,
            server: place,
            stage: Stage::Connecting,
            out: Vec::new(),
            written: 0,
            wants_write: true,
            is_stalled: false,
            is_queued: false,
            unparsed: Vec::new(),
            message: Vec::new(),
            tls: None,
        })
    }

    pub(super) fn begin_tls(&mut self, connector: &tls::Connector) -> Result<()> {
        self.tls = Some(Box::new(connector.connection(connector.number(&self.peer))?));
        self.stage = Stage::Tls;
        Ok(())
    }

    /// Writes what the socket takes of what there is.
    pub(super) fn flush(&mut self) -> Result<()> {
        match self.write() {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error).context("it broke"),
            Ok(()) | Err(_) => {}
        }
        if self.written == self.out.len() {
            self.out.clear();
            self.written = 0;
            if self.out.capacity() > ROOM_KEPT && self.peer.role == Role::Subscriber {
                self.out = Vec::new();
            }
        }
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        let Some(tls) = self.tls.as_mut() else {
            while self.written < self.out.len() {
                self.written += (&self.socket).write(&self.out[self.written..])?;
            }
            return Ok(());
        };
        loop {
            while tls.wants_write() {
                tls.write_tls(&mut &self.socket)?;
            }
            if tls.is_handshaking() || self.written == self.out.len() {
                return Ok(());
            }
            self.written += tls.writer().write(&self.out[self.written..])?;
        }
    }

    /// Asks to be told when the socket takes more, if something waits for that.
    pub(super) fn arm(&mut self, epoll: &OwnedFd, id: u32) -> Result<()> {
        let waits = self.tls.as_ref().is_some_and(|tls| tls.wants_write());
        // What waits for a handshake leaves when its last message came.
        let ready = self.stage != Stage::Tls && self.written < self.out.len();
        if std::mem::replace(&mut self.wants_write, waits || ready) != self.wants_write {
            self.register(epoll, id)?;
        }
        Ok(())
    }

    /// Reads nothing more, or reads on.
    pub(super) fn stall(&mut self, is_stalled: bool, epoll: &OwnedFd, id: u32) -> Result<()> {
        self.is_stalled = is_stalled;
        self.register(epoll, id)
    }

    fn register(&self, epoll: &OwnedFd, id: u32) -> Result<()> {
        let mut interest = epoll::EventFlags::empty();
        interest.set(epoll::EventFlags::IN, !self.is_stalled);
        interest.set(epoll::EventFlags::OUT, self.wants_write);
        Ok(epoll::modify(epoll, &self.socket, epoll::EventData::new_u64(u64::from(id)), interest)?)
    }
}
