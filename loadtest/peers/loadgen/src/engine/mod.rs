//! Client sockets of one run: one epoll, one thread, nothing that blocks. Knows no peer's protocol.
//!
//! An epoll of its own and no runtime, because the generator must be several times cheaper than what it measures.

mod connection;
mod input;

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Context as _, Result, ensure};
pub use connection::Connection;
use connection::Stage;
use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::fd::OwnedFd;
use rustix::io::Errno;

use crate::adapter::{Adapter, Events, Outgoing, Role, Transport};
use crate::clock::timespec;
use crate::tls;
use crate::websocket;

/// Events that are taken at a time.
const EVENTS_MAX: usize = 1_024;
/// The largest read.
const READ_BYTES: usize = 256 * 1024;
/// Source addresses: 127.0.1.1 and up. One has 28,000 ports by default, and a port that was closed rests for a minute.
const SOURCES: u8 = 200;

/// What happened on a connection.
#[derive(Debug)]
pub enum Happened {
    /// It did what its role asks for.
    Ready {
        /// The connection.
        id: u32,
    },
    /// A payload came.
    Delivery {
        /// To this connection.
        id: u32,
        /// When it was due.
        due: u64,
        /// When it was read.
        at: u64,
    },
    /// A publication was acknowledged.
    Ack {
        /// To this connection.
        id: u32,
        /// When it was read.
        at: u64,
    },
    /// It is gone, unasked.
    Closed {
        /// It was this one.
        id: u32,
        /// Why.
        why: anyhow::Error,
    },
}

/// See the module.
pub struct Engine {
    epoll: OwnedFd,
    server: SocketAddrV4,
    /// Boxed, so that one is taken out while it is worked on.
    connections: Vec<Option<Box<Connection>>>,
    free: Vec<u32>,
    live: usize,
    adapter: Box<dyn Adapter>,
    is_stream: bool,
    tls: Option<tls::Connector>,
    /// Handshakes of connections below this number may be full ones where later ones must resume.
    first: u32,
    upgrade: Vec<u8>,
    opcode: Option<u8>,
    read_buffer: Vec<u8>,
    stream_buffer: Vec<u8>,
    events: Events,
    ready: Vec<epoll::Event>,
    unwritten: Vec<u32>,
    source: u8,
    reads: u64,
    next_number: u32,
}

impl Engine {
    /// Connects to this server.
    ///
    /// # Errors
    /// The kernel has no epoll left.
    pub fn new(server: SocketAddrV4, adapter: Box<dyn Adapter>, tls: Option<tls::Connector>) -> Result<Self> {
        let (upgrade, opcode) = match adapter.transport() {
            Transport::Tcp => (Vec::new(), None),
            Transport::WebSocket { path, protocol, opcode } => {
                (websocket::upgrade_request(server, &path, protocol), Some(opcode))
            }
        };
        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC).context("an epoll")?,
            server,
            connections: Vec::new(),
            free: Vec::new(),
            live: 0,
            is_stream: adapter.is_stream(),
            adapter,
            tls,
            first: 0,
            upgrade,
            opcode,
            read_buffer: vec![0; READ_BYTES],
            stream_buffer: Vec::new(),
            events: Events::default(),
            ready: Vec::with_capacity(EVENTS_MAX),
            unwritten: Vec::new(),
            source: 0,
            reads: 0,
            next_number: 0,
        })
    }

    /// Connections that are open or being opened.
    pub const fn live(&self) -> usize {
        self.live
    }

    /// Reads so far that were asked of the kernel.
    pub const fn reads(&self) -> u64 {
        self.reads
    }

    /// Of a TLS that resumes, the first so many connections may do a full handshake.
    pub const fn first_may_be_full(&mut self, first: u32) {
        self.first = first;
    }

    /// A connection that is open.
    pub fn connection(&mut self, id: u32) -> Option<&mut Connection> {
        self.connections.get_mut(id as usize)?.as_deref_mut()
    }

    /// All that are open.
    pub fn open(&self) -> impl Iterator<Item = &Connection> {
        self.connections.iter().flatten().map(Box::as_ref)
    }

    /// Starts a connection; [`Happened::Ready`] or [`Happened::Closed`] tells what came of it.
    ///
    /// # Errors
    /// The kernel has no socket left.
    pub fn connect(&mut self, role: Role, channel: u32) -> Result<u32> {
        self.source = (self.source + 1) % SOURCES;
        let source = SocketAddrV4::new(Ipv4Addr::new(127, 0, 1, 1 + self.source), 0);
        let connection = Connection::start(source, self.server, (self.next_number, role, channel))?;
        self.next_number += 1;
        let id = match self.free.pop() {
            Some(id) => id,
            None => {
                self.connections.push(None);
                u32::try_from(self.connections.len() - 1).context("too many connections")?
            }
        };
        let interest = epoll::EventFlags::IN | epoll::EventFlags::OUT;
        epoll::add(&self.epoll, &connection.socket, epoll::EventData::new_u64(u64::from(id)), interest)?;
        self.connections[id as usize] = Some(Box::new(connection));
        self.live += 1;
        Ok(id)
    }

    /// Ends a connection in order, as far as one write goes.
    pub fn close(&mut self, id: u32) {
        let Some(mut connection) = self.take(id) else { return };
        if self.opcode.is_some() && connection.stage == Stage::Open {
            websocket::write_header(&mut connection.out, websocket::CLOSE, 0);
            // Nobody waits for it: whatever becomes of the last frame, the socket is closed behind it.
            drop(connection.flush());
        }
        self.forget(id);
    }

    /// Queues a publication; [`Self::flush`] writes it. `due` is kept for its acknowledgement.
    ///
    /// # Errors
    /// The connection is gone, or there is no such channel.
    pub fn publish(&mut self, id: u32, channel: u32, payload: &[u8], ack: bool, due: u64) -> Result<()> {
        let connection = self.connections.get_mut(id as usize).and_then(Option::as_deref_mut);
        let connection = connection.context("a publisher is gone")?;
        let mut out = Outgoing { bytes: &mut connection.out, opcode: self.opcode };
        self.adapter.publish(&mut connection.peer, channel, payload, ack, &mut out)?;
        if ack {
            connection.waiting.push_back(due);
        }
        if !std::mem::replace(&mut connection.is_queued, true) {
            self.unwritten.push(id);
        }
        Ok(())
    }

    /// Writes what was queued.
    ///
    /// # Errors
    /// A connection broke.
    pub fn flush(&mut self) -> Result<()> {
        for id in std::mem::take(&mut self.unwritten) {
            let Some(connection) = self.connections.get_mut(id as usize).and_then(Option::as_deref_mut) else {
                continue;
            };
            connection.is_queued = false;
            connection.flush()?;
            connection.arm(&self.epoll, id)?;
        }
        Ok(())
    }

    /// Waits for at most so many nanoseconds and appends what happened.
    ///
    /// # Errors
    /// What the kernel says of the epoll.
    pub fn poll(&mut self, wait: u64, happened: &mut Vec<Happened>) -> Result<()> {
        self.ready.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.ready), Some(&timespec(wait))) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("an epoll"),
        }
        for place in 0..self.ready.len() {
            let epoll::Event { flags, data } = self.ready[place];
            let id = u32::try_from(data.u64())?;
            let Some(mut connection) = self.take(id) else { continue };
            match self.step(id, &mut connection, flags, happened) {
                Ok(()) => self.connections[id as usize] = Some(connection),
                Err(why) => {
                    drop(connection);
                    self.forget(id);
                    happened.push(Happened::Closed { id, why });
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, id: u32) -> Option<Box<Connection>> {
        self.connections.get_mut(id as usize)?.take()
    }

    /// Of a connection that was taken out.
    fn forget(&mut self, id: u32) {
        self.free.push(id);
        self.live -= 1;
    }

    fn step(
        &mut self,
        id: u32,
        connection: &mut Connection,
        flags: epoll::EventFlags,
        happened: &mut Vec<Happened>,
    ) -> Result<()> {
        let is_over = epoll::EventFlags::ERR | epoll::EventFlags::HUP;
        if connection.stage == Stage::Connecting {
            ensure!(!flags.intersects(is_over), "it cannot be connected");
            match &self.tls {
                Some(connector) => connection.begin_tls(connector)?,
                None => self.transport_up(connection)?,
            }
        }
        if flags.intersects(epoll::EventFlags::IN | is_over) {
            self.read(id, connection, happened)?;
        }
        connection.flush()?;
        connection.arm(&self.epoll, id)
    }

    fn transport_up(&mut self, connection: &mut Connection) -> Result<()> {
        if self.opcode.is_some() {
            connection.out.extend_from_slice(&self.upgrade);
            connection.stage = Stage::Upgrading;
            return Ok(());
        }
        connection.stage = Stage::Open;
        let mut out = Outgoing { bytes: &mut connection.out, opcode: None };
        self.adapter.open(&mut connection.peer, &mut out)
    }
}
