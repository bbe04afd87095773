//! The physical floor: one thread, bare epoll, and one write of a frame that is made once for each delivery; with
//! `coalesce`, the frames of one turn are gathered for each socket. No limits, no timers, no checks.
//!
//! `floor_epoll PORT [coalesce]`; it says where it listens.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use anyhow::{Context as _, Result};
use panda_peerbench::floor::{self, ACKNOWLEDGED, Asked, SUBSCRIBED};
use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::fd::OwnedFd;
use rustix::net::listen;

const EVENTS_MAX: usize = 512;
const READ_BYTES: usize = 256 * 1024;
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4_096;
const LISTENER: u64 = u64::MAX;

struct Client {
    stream: TcpStream,
    unparsed: Vec<u8>,
    out: Vec<u8>,
    written: usize,
    wants_write: bool,
    is_upgraded: bool,
    is_queued: bool,
    channel: Option<u32>,
}

struct Server {
    epoll: OwnedFd,
    listener: TcpListener,
    clients: Vec<Option<Box<Client>>>,
    free: Vec<usize>,
    channels: Vec<Vec<usize>>,
    coalesce: bool,
    /// Clients for which frames were gathered.
    queue: Vec<usize>,
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let port = arguments.next().context("floor_epoll PORT [coalesce]")?.parse::<u16>()?;
    let coalesce = arguments.next().is_some_and(|argument| argument == "coalesce");
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    listener.set_nonblocking(true)?;
    listen(&listener, BACKLOG)?;
    writeln!(io::stdout(), "{}", listener.local_addr()?)?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
    let (clients, free, channels, queue) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    Server { epoll, listener, clients, free, channels, coalesce, queue }.run()
}

impl Server {
    fn run(&mut self) -> Result<()> {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        let mut buffer = vec![0; READ_BYTES];
        loop {
            events.clear();
            epoll::wait(&self.epoll, spare_capacity(&mut events), None)?;
            for epoll::Event { flags, data } in events.drain(..) {
                if data.u64() == LISTENER {
                    self.accept()?;
                    continue;
                }
                let id = usize::try_from(data.u64())?;
                if flags.contains(epoll::EventFlags::OUT) {
                    self.flush(id)?;
                }
                // Whoever breaks a rule or is gone is closed; others go on.
                if flags != epoll::EventFlags::OUT && !self.read(id, &mut buffer).unwrap_or(false) {
                    self.close(id);
                }
            }
            for id in std::mem::take(&mut self.queue) {
                if let Some(client) = self.clients[id].as_deref_mut() {
                    client.is_queued = false;
                    self.flush(id)?;
                }
            }
        }
    }

    fn accept(&mut self) -> Result<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("accept"),
            };
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let id = self.free.pop().unwrap_or_else(|| {
                self.clients.push(None);
                self.clients.len() - 1
            });
            epoll::add(&self.epoll, &stream, epoll::EventData::new_u64(id as u64), epoll::EventFlags::IN)?;
            self.clients[id] = Some(Box::new(Client {
                stream,
                unparsed: Vec::new(),
                out: Vec::new(),
                written: 0,
                wants_write: false,
                is_upgraded: false,
                is_queued: false,
                channel: None,
            }));
        }
    }

    fn close(&mut self, id: usize) {
        if let Some(client) = self.clients[id].take() {
            if let Some(channel) = client.channel {
                self.channels[channel as usize].retain(|listener| *listener != id);
            }
            self.free.push(id);
        }
    }

    /// Whether the client stays.
    fn read(&mut self, id: usize, buffer: &mut [u8]) -> Result<bool> {
        let Some(client) = self.clients[id].as_deref_mut() else { return Ok(true) };
        let count = match client.stream.read(buffer) {
            Ok(0) => return Ok(false),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) => return Err(error).context("read"),
        };
        let mut whole;
        let mut bytes = &mut buffer[..count];
        if !client.unparsed.is_empty() {
            whole = std::mem::take(&mut client.unparsed);
            whole.extend_from_slice(bytes);
            bytes = &mut whole[..];
        }
        if !client.is_upgraded {
            let Some((answer, used)) = floor::upgrade(bytes) else {
                client.unparsed = bytes.to_vec();
                return Ok(true);
            };
            client.is_upgraded = true;
            client.out.extend_from_slice(answer.as_bytes());
            self.flush(id)?;
            bytes = &mut bytes[used..];
        }
        let mut reply = Vec::new();
        while let Some((asked, used)) = floor::next(bytes)? {
            bytes = &mut bytes[used..];
            match asked {
                Asked::Nothing => {}
                Asked::Close => return Ok(false),
                Asked::Subscribe(channel) => {
                    self.subscribe(id, channel);
                    reply.extend_from_slice(SUBSCRIBED);
                }
                Asked::Publish { ack, channel, frame } => {
                    if ack {
                        reply.extend_from_slice(ACKNOWLEDGED);
                    }
                    self.publish(channel, &frame)?;
                }
            }
        }
        if let Some(client) = self.clients[id].as_deref_mut() {
            client.unparsed.extend_from_slice(bytes);
            client.out.extend_from_slice(&reply);
            self.flush(id)?;
        }
        Ok(true)
    }

    fn subscribe(&mut self, id: usize, channel: Option<u32>) {
        let (Some(channel), Some(client)) = (channel, self.clients[id].as_deref_mut()) else { return };
        let place = channel as usize;
        self.channels.resize_with(self.channels.len().max(place + 1), Vec::new);
        self.channels[place].push(id);
        client.channel = Some(channel);
    }

    fn publish(&mut self, channel: u32, frame: &[u8]) -> Result<()> {
        let Some(listeners) = self.channels.get_mut(channel as usize).map(std::mem::take) else { return Ok(()) };
        for id in &listeners {
            let Some(client) = self.clients[*id].as_deref_mut() else { continue };
            // What a socket takes at once is never copied.
            let sent =
                if self.coalesce || !client.out.is_empty() { 0 } else { client.stream.write(frame).unwrap_or(0) };
            client.out.extend_from_slice(&frame[sent..]);
            if self.coalesce {
                if !std::mem::replace(&mut client.is_queued, true) {
                    self.queue.push(*id);
                }
            } else if sent < frame.len() {
                self.flush(*id)?;
            }
        }
        self.channels[channel as usize] = listeners;
        Ok(())
    }

    /// Writes what the socket takes, and asks to be told when it takes more.
    fn flush(&mut self, id: usize) -> Result<()> {
        let Some(client) = self.clients[id].as_deref_mut() else { return Ok(()) };
        while client.written < client.out.len() {
            match client.stream.write(&client.out[client.written..]) {
                Ok(count) => client.written += count,
                // Full, or broken: then the read says so.
                Err(_) => break,
            }
        }
        let is_left = client.written < client.out.len();
        if !is_left {
            // An idle client holds nothing.
            (client.out, client.written) = (Vec::new(), 0);
        }
        if std::mem::replace(&mut client.wants_write, is_left) != is_left {
            let mut interest = epoll::EventFlags::IN;
            interest.set(epoll::EventFlags::OUT, is_left);
            epoll::modify(&self.epoll, &client.stream, epoll::EventData::new_u64(id as u64), interest)?;
        }
        Ok(())
    }
}
