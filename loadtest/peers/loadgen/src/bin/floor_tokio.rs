//! The floor on tokio: one thread, a task a connection, no buffer held by an idle one. With `direct` the publisher's task
//! writes to every subscriber's socket; with `queue` it queues the shared frame and wakes the subscriber's task, which
//! writes what is queued with one `writev`.
//!
//! `floor_tokio PORT direct|queue`; it says where it listens.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{ErrorKind, IoSlice, Write as _};
use std::rc::Rc;

use anyhow::{Context as _, Result, bail};
use panda_peerbench::floor::{self, ACKNOWLEDGED, Asked, SUBSCRIBED};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

const READ_BYTES: usize = 256 * 1024;
/// Frames of one write.
const SLICES_MAX: usize = 64;

struct Client {
    stream: TcpStream,
    queue: RefCell<VecDeque<Rc<[u8]>>>,
    /// Of the first frame, what was written.
    written: Cell<usize>,
    wake: Notify,
}

struct Server {
    channels: RefCell<Vec<Vec<Rc<Client>>>>,
    buffer: RefCell<Vec<u8>>,
    direct: bool,
}

impl Client {
    /// Writes what the socket takes; the rest stays queued. False: it is broken.
    fn drain(&self) -> bool {
        let mut queue = self.queue.borrow_mut();
        while !queue.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            for (place, (slice, frame)) in slices.iter_mut().zip(queue.iter()).enumerate() {
                *slice = IoSlice::new(if place == 0 { &frame[self.written.get()..] } else { frame });
            }
            let count = queue.len().min(SLICES_MAX);
            let mut written = match self.stream.try_write_vectored(&slices[..count]) {
                Ok(written) => written,
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            };
            while written > 0 {
                let left = queue[0].len() - self.written.get();
                if written < left {
                    self.written.set(self.written.get() + written);
                    break;
                }
                written -= left;
                self.written.set(0);
                queue.pop_front();
            }
        }
        true
    }

    fn send(&self, frame: &Rc<[u8]>, direct: bool) {
        if direct && self.queue.borrow().is_empty() {
            let written = self.stream.try_write(frame).unwrap_or(0);
            if written == frame.len() {
                return;
            }
            self.written.set(written);
        }
        self.queue.borrow_mut().push_back(Rc::clone(frame));
        self.wake.notify_one();
    }
}

impl Server {
    /// Does what is asked for in `bytes`; returns how many were used, or `None` at the end of the connection.
    fn frames(&self, client: &Rc<Client>, channel: &Cell<Option<u32>>, mut bytes: &mut [u8]) -> Result<Option<usize>> {
        let mut all = 0;
        while let Some((asked, used)) = floor::next(bytes)? {
            all += used;
            bytes = &mut bytes[used..];
            match asked {
                Asked::Nothing => {}
                Asked::Close => return Ok(None),
                Asked::Subscribe(wanted) => {
                    if let Some(number) = wanted {
                        let (mut channels, place) = (self.channels.borrow_mut(), number as usize);
                        let count = channels.len().max(place + 1);
                        channels.resize_with(count, Vec::new);
                        channels[place].push(Rc::clone(client));
                    }
                    channel.set(wanted);
                    client.send(&Rc::from(SUBSCRIBED), true);
                }
                Asked::Publish { ack, channel, frame } => {
                    let frame: Rc<[u8]> = frame.into();
                    if ack {
                        client.send(&Rc::from(ACKNOWLEDGED), true);
                    }
                    for listener in self.channels.borrow().get(channel as usize).into_iter().flatten() {
                        listener.send(&frame, self.direct);
                    }
                }
            }
        }
        Ok(Some(all))
    }

    async fn serve(self: Rc<Self>, stream: TcpStream) {
        if stream.set_nodelay(true).is_err() {
            return;
        }
        let client = Client { stream, queue: RefCell::default(), written: Cell::new(0), wake: Notify::new() };
        let (client, channel) = (Rc::new(client), Cell::new(None));
        // Whoever breaks a rule or is gone is closed; others go on.
        drop(self.talk(&client, &channel).await);
        if let Some(number) = channel.get() {
            self.channels.borrow_mut()[number as usize].retain(|listener| !Rc::ptr_eq(listener, &client));
        }
    }

    async fn talk(&self, client: &Rc<Client>, channel: &Cell<Option<u32>>) -> Result<()> {
        let (mut unparsed, mut is_upgraded) = (Vec::new(), false);
        loop {
            let is_blocked = !client.queue.borrow().is_empty();
            tokio::select! {
                biased;
                readable = client.stream.readable() => readable?,
                () = client.wake.notified(), if !is_blocked => {
                    if !client.drain() { bail!("broken") }
                    continue;
                }
                writable = client.stream.writable(), if is_blocked => {
                    writable?;
                    if !client.drain() { bail!("broken") }
                    continue;
                }
            }
            let mut buffer = self.buffer.borrow_mut();
            let count = match client.stream.try_read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error).context("read"),
            };
            let mut whole;
            let mut bytes = &mut buffer[..count];
            if !unparsed.is_empty() {
                whole = std::mem::take(&mut unparsed);
                whole.extend_from_slice(bytes);
                bytes = &mut whole[..];
            }
            if !is_upgraded {
                let Some((answer, used)) = floor::upgrade(bytes) else {
                    unparsed = bytes.to_vec();
                    continue;
                };
                client.send(&Rc::from(answer.as_bytes()), true);
                is_upgraded = true;
                bytes = &mut bytes[used..];
            }
            let Some(used) = self.frames(client, channel, bytes)? else { return Ok(()) };
            unparsed = bytes[used..].to_vec();
            drop(buffer);
            if !self.direct && !client.drain() {
                bail!("broken");
            }
        }
    }
}

fn main() -> Result<()> {
    let usage = "floor_tokio PORT direct|queue";
    let mut arguments = std::env::args().skip(1);
    let port = arguments.next().context(usage)?.parse::<u16>()?;
    let direct = match arguments.next().as_deref() {
        Some("direct") => true,
        Some("queue") => false,
        _ => bail!(usage),
    };
    let buffer = RefCell::new(vec![0; READ_BYTES]);
    let server = Rc::new(Server { channels: RefCell::default(), buffer, direct });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, async move {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::task::spawn_local(Rc::clone(&server).serve(stream));
        }
    })
}
