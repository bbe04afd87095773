//! Client sockets of one run: one epoll, one thread, nothing that blocks. Knows no peer's protocol.
//!
//! An epoll of its own and no runtime, because the generator must be several times cheaper than what it measures.

pub mod clock;
mod connection;
mod delivery;
mod driver;
mod input;
pub mod payload;
pub mod tls;
pub mod websocket;

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Context as _, Result, ensure};
pub use connection::Connection;
use connection::Stage;
pub use delivery::Delivery;
pub use driver::{Driver, Events, Outgoing, Peer, Role, Transport};
use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::fd::OwnedFd;
use rustix::io::Errno;

use self::clock::timespec;

/// Events that are taken at a time.
const EVENTS_MAX: usize = 1_024;
/// The largest read.
const READ_BYTES: usize = 256 * 1024;
/// Source addresses towards a server on this machine: 127.0.1.1 and up. One has 28,000 ports by default, and a port that was
/// closed rests for a minute.
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

/// A server and the request that opens a WebSocket of it.
#[derive(Debug)]
struct Server {
    address: SocketAddrV4,
    upgrade: Vec<u8>,
}

/// See the module.
pub struct Engine<D: Driver + ?Sized> {
    epoll: OwnedFd,
    servers: Vec<Server>,
    /// Boxed, so that one is taken out while it is worked on.
    connections: Vec<Option<Box<Connection>>>,
    free: Vec<u32>,
    live: usize,
    driver: Box<D>,
    is_stream: bool,
    tls: Option<tls::Connector>,
    /// Handshakes of connections below this number may be full ones where later ones must resume.
    first: u32,
    opcode: Option<u8>,
    receive_bytes: Option<u32>,
    read_buffer: Vec<u8>,
    stream_buffer: Vec<u8>,
    events: Events,
    ready: Vec<epoll::Event>,
    unwritten: Vec<u32>,
    /// What broke while it was written; told by the next [`Self::poll`].
    broken: Vec<(u32, anyhow::Error)>,
    source: u8,
    reads: u64,
    next_number: u32,
}

impl<D: Driver + ?Sized> Engine<D> {
    /// Connects to this server.
    ///
    /// # Errors
    /// The kernel has no epoll left.
    pub fn new(server: SocketAddrV4, driver: Box<D>, tls: Option<tls::Connector>) -> Result<Self> {
        Self::over(&[server], driver, tls)
    }

    /// Connects to any of these servers, which are the same but for their address.
    ///
    /// # Errors
    /// The kernel has no epoll left.
    pub fn over(servers: &[SocketAddrV4], driver: Box<D>, tls: Option<tls::Connector>) -> Result<Self> {
        let (upgrade, opcode): (Box<dyn Fn(SocketAddrV4) -> Vec<u8>>, _) = match driver.transport() {
            Transport::Tcp => (Box::new(|_| Vec::new()), None),
            Transport::WebSocket { path, protocol, opcode } => {
                (Box::new(move |server| websocket::upgrade_request(server, &path, protocol)), Some(opcode))
            }
        };
        let servers = servers.iter().map(|&address| Server { address, upgrade: upgrade(address) }).collect();
        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC).context("an epoll")?,
            servers,
            connections: Vec::new(),
            free: Vec::new(),
            live: 0,
            is_stream: driver.is_stream(),
            driver,
            tls,
            first: 0,
            opcode,
            receive_bytes: None,
            read_buffer: vec![0; READ_BYTES],
            stream_buffer: Vec::new(),
            events: Events::default(),
            ready: Vec::with_capacity(EVENTS_MAX),
            unwritten: Vec::new(),
            broken: Vec::new(),
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

    /// What the kernel keeps, in bytes, of connections from now on that are not read; otherwise as it likes.
    pub const fn receive_at_most(&mut self, bytes: Option<u32>) {
        self.receive_bytes = bytes;
    }

    /// What says what.
    pub const fn driver(&mut self) -> &mut D {
        &mut self.driver
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
        self.connect_to(0, role, channel)
    }

    /// As [`Self::connect`], to the server at this place.
    ///
    /// # Errors
    /// As [`Self::connect`], and there is no such server.
    pub fn connect_to(&mut self, place: u16, role: Role, channel: u32) -> Result<u32> {
        let server =
            self.servers.get(usize::from(place)).with_context(|| format!("there is no server {place}"))?.address;
        self.source = (self.source + 1) % SOURCES;
        let source = match server.ip().is_loopback() {
            true => Ipv4Addr::new(127, 0, 1, 1 + self.source),
            false => Ipv4Addr::UNSPECIFIED,
        };
        let who = (self.next_number, role, channel);
        let connection = Connection::start(SocketAddrV4::new(source, 0), (server, place), who, self.receive_bytes)?;
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

    /// Reads nothing more of a connection, or reads on. What it has to say still leaves.
    ///
    /// # Errors
    /// The connection is gone, or what the kernel says of the epoll.
    pub fn stall(&mut self, id: u32, is_stalled: bool) -> Result<()> {
        let connection = self.connections.get_mut(id as usize).and_then(Option::as_deref_mut);
        connection.context("a connection that is to stall is gone")?.stall(is_stalled, &self.epoll, id)
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
        self.say(id, |driver, peer, out| driver.publish(peer, channel, payload, ack, out))?;
        if ack && let Some(connection) = self.connection(id) {
            connection.waiting.push_back(due);
        }
        Ok(())
    }

    /// Queues what the driver says on a connection; [`Self::flush`] writes it.
    ///
    /// # Errors
    /// The connection is gone, or what the driver returns.
    pub fn say(
        &mut self,
        id: u32,
        what: impl FnOnce(&mut D, &mut Peer, &mut Outgoing<'_>) -> Result<()>,
    ) -> Result<()> {
        let connection = self.connections.get_mut(id as usize).and_then(Option::as_deref_mut);
        let connection = connection.context("a connection that is to say something is gone")?;
        let mut out = Outgoing { bytes: &mut connection.out, opcode: self.opcode };
        what(&mut self.driver, &mut connection.peer, &mut out)?;
        if !std::mem::replace(&mut connection.is_queued, true) {
            self.unwritten.push(id);
        }
        Ok(())
    }

    /// Writes what was queued. A connection that breaks meanwhile is told by the next [`Self::poll`].
    pub fn flush(&mut self) {
        for id in std::mem::take(&mut self.unwritten) {
            let Some(mut connection) = self.take(id) else { continue };
            connection.is_queued = false;
            match connection.flush().and_then(|()| connection.arm(&self.epoll, id)) {
                Ok(()) => self.connections[id as usize] = Some(connection),
                // Its place is free once it was told.
                Err(why) => self.broken.push((id, why)),
            }
        }
    }

    /// Waits for at most so many nanoseconds and appends what happened.
    ///
    /// # Errors
    /// What the kernel says of the epoll.
    pub fn poll(&mut self, wait: u64, happened: &mut Vec<Happened>) -> Result<()> {
        for (id, why) in std::mem::take(&mut self.broken) {
            self.forget(id);
            happened.push(Happened::Closed { id, why });
        }
        let wait = if happened.is_empty() { wait } else { 0 };
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
            connection.out.extend_from_slice(&self.servers[usize::from(connection.server)].upgrade);
            connection.stage = Stage::Upgrading;
            return Ok(());
        }
        connection.stage = Stage::Open;
        let mut out = Outgoing { bytes: &mut connection.out, opcode: None };
        self.driver.open(&mut connection.peer, &mut out)
    }
}
