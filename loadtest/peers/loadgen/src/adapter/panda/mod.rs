//! Panda over WebSocket, as its specification says, with the project's own codec.
//!
//! Each connection is a user with an access token or a resume ticket of its own; each publication is a command with the
//! counter of its device, which the server applies, stores and acknowledges. That every listener sees every event once and
//! in order is checked by the events' numbers: a row in which one is missing or comes twice is void.

mod world;

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use panda_loadtest::engine::Delivery;
use panda_protocol::event::MessageFormat;
use panda_protocol::frame::{
    Auth, Bye, Command, CommandBody, Frame, Hello, PROTOCOL_VERSION, Pong, RequestId, Subscribe, SyncEntry,
    WEBSOCKET_SUBPROTOCOL,
};
use panda_protocol::framing::{RawFrame, next_frame_of};
use panda_protocol::limits::FRAME_BYTES_MAX;
use panda_protocol::{Counter, DeviceId, ErrorCode, Text};
use world::World;

use super::{Adapter, Deliver as _, Driver, Events, Options, Outgoing, Peer, Role, Transport};
use crate::plan::Plan;
use crate::websocket::BINARY;

/// The type of an Event frame.
const EVENT: u8 = 0x12;
/// The request that subscribes; publications follow.
const SUBSCRIBE: u32 = 1;

/// How connections say who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Credential {
    /// With an access token that none used before.
    Token,
    /// With the ticket of the user's last connection; with its only token at the first one.
    Ticket,
}

/// What the last connection of a user left for the next one.
#[derive(Debug)]
struct Resume {
    device: DeviceId,
    ticket: Bytes,
    /// Of the membership; empty until the first subscription was answered.
    proof: Bytes,
}

/// See the module.
#[derive(Debug)]
pub struct Panda {
    credential: Credential,
    world_file: PathBuf,
    provisioning: Option<world::Provisioning>,
    world: World,
    /// Of each user, once it was here.
    resumes: HashMap<usize, Resume>,
    /// The last counter that a connection used in a channel.
    counters: HashMap<(u32, u32), Counter>,
}

impl Panda {
    /// Options: `world`, the file of users and chats, which a run with `--provision` writes and the others read; `http`,
    /// the base URL of the HTTP API, `key`, the file of the API key, and `authority`, that of the certificate if the URL
    /// is one of HTTPS, for that run; `auth=ticket`.
    ///
    /// # Errors
    /// One is missing.
    pub fn new(options: &Options) -> Result<Self> {
        let credential = match options.or("auth", "token").as_str() {
            "token" => Credential::Token,
            "ticket" => Credential::Ticket,
            other => bail!("--opt auth={other}: token and ticket are known"),
        };
        let provisioning = options.get("http").map(|base| {
            let (key, authority) = (options.need("key")?.into(), options.get("authority").map(PathBuf::from));
            anyhow::Ok(world::Provisioning { base: base.to_owned(), key, authority })
        });
        Ok(Self {
            credential,
            world_file: options.need("world")?.into(),
            provisioning: provisioning.transpose()?,
            world: World::default(),
            resumes: HashMap::new(),
            counters: HashMap::new(),
        })
    }

    fn hello(&mut self, peer: &Peer) -> Result<Hello> {
        let (user, round) = self.place(peer);
        let resume = self.resumes.get(&user).filter(|_| self.credential == Credential::Ticket);
        let (auth, device) = match resume {
            Some(resume) => (Auth::Ticket(resume.ticket.clone()), resume.device),
            None => (Auth::Token(self.world.token(user, round)?), DeviceId::from_random(rand::random())),
        };
        if self.credential == Credential::Ticket && resume.is_none() {
            let resume = Resume { device, ticket: Bytes::new(), proof: Bytes::new() };
            self.resumes.insert(user, resume);
        }
        Ok(Hello {
            version_min: PROTOCOL_VERSION,
            version_max: PROTOCOL_VERSION,
            capabilities: 0,
            auth,
            device,
            inbox: None,
            client: Text::from_static("peerbench"),
        })
    }

    /// The user of a connection, and how many connections of it were before.
    fn place(&self, peer: &Peer) -> (usize, usize) {
        let (number, users) = (peer.number as usize, self.world.users().max(1));
        (number % users, number / users)
    }

    fn frame(&mut self, peer: &mut Peer, frame: Frame, out: &mut Outgoing<'_>, events: &mut Events) -> Result<()> {
        match frame {
            Frame::Ack(_) => events.acks += 1,
            Frame::Welcome(welcome) => {
                events.ready |= peer.role != Role::Subscriber;
                if let Some(resume) = self.resumes.get_mut(&self.place(peer).0) {
                    resume.ticket = welcome.ticket;
                }
            }
            Frame::Subscribed(subscribed) => {
                ensure!(subscribed.request == request(SUBSCRIBE), "an answer to {:?}", subscribed.request);
                peer.expected = subscribed.admission.from.0;
                events.ready = true;
                if let Some(resume) = self.resumes.get_mut(&self.place(peer).0) {
                    resume.proof = subscribed.admission.proof;
                }
            }
            Frame::Ping(ping) => out.send(&Frame::from(Pong { nonce: ping.nonce }).to_bytes()),
            // It lags; what it misses follows, and is counted.
            Frame::Head(_) | Frame::Pong(_) => {}
            Frame::Error(refused) => bail!("refused with {}: {}", named(refused.code), refused.text),
            Frame::Bye(Bye { code, text, .. }) => bail!("the server said goodbye with {}: {text}", named(code)),
            other => bail!("the server says {other:?}"),
        }
        Ok(())
    }

    fn event(peer: &mut Peer, body: &[u8], events: &mut Events) -> Result<()> {
        let delivery = Delivery::parse(body)?;
        if delivery.is_inbox {
            return Ok(());
        }
        ensure!(peer.role == Role::Subscriber, "an event of a chat for who did not subscribe");
        ensure!(delivery.seq == peer.expected, "event {} came where {} was next", delivery.seq, peer.expected);
        peer.expected += 1;
        delivery.text.map_or(Ok(()), |text| events.delivery(text))
    }
}

fn request(number: u32) -> RequestId {
    RequestId(u64::from(number))
}

fn named(code: u16) -> String {
    ErrorCode::from_u16(code).map_or_else(|| code.to_string(), |known| known.to_string())
}

impl Driver for Panda {
    fn transport(&self) -> Transport {
        Transport::WebSocket { path: "/ws".to_owned(), protocol: Some(WEBSOCKET_SUBPROTOCOL), opcode: BINARY }
    }

    fn is_stream(&self) -> bool {
        false
    }

    fn open(&mut self, peer: &mut Peer, out: &mut Outgoing<'_>) -> Result<()> {
        peer.next_id = SUBSCRIBE + 1;
        let mut flight = Frame::from(self.hello(peer)?).to_bytes().to_vec();
        if peer.role == Role::Subscriber {
            let resume = self.resumes.get(&self.place(peer).0);
            let proof = resume.map(|resume| resume.proof.clone()).unwrap_or_default();
            let entry = SyncEntry { chat: self.world.chat(peer.channel)?, cursor: None, proof };
            flight.extend_from_slice(&Frame::from(Subscribe { request: request(SUBSCRIBE), entry }).to_bytes());
        }
        // All in one message: a client has no reason to wait for the Welcome.
        out.send(&flight);
        Ok(())
    }

    fn receive(
        &mut self,
        peer: &mut Peer,
        message: &[u8],
        out: &mut Outgoing<'_>,
        events: &mut Events,
    ) -> Result<usize> {
        let mut rest = message;
        while let Some((kind, body)) = next_frame_of(&mut rest, FRAME_BYTES_MAX)? {
            if kind == EVENT {
                Self::event(peer, body, events)?;
                continue;
            }
            let raw = RawFrame { kind, body: Bytes::copy_from_slice(body) };
            if let Some(frame) = Frame::decode(raw)? {
                self.frame(peer, frame, out, events)?;
            }
        }
        Ok(message.len())
    }

    fn publish(
        &mut self,
        peer: &mut Peer,
        channel: u32,
        payload: &[u8],
        _ack: bool,
        out: &mut Outgoing<'_>,
    ) -> Result<()> {
        let text = Text::from_utf8(Bytes::copy_from_slice(payload));
        let text = text.map_err(|_| anyhow::anyhow!("a payload that is no text"))?;
        let counter = self.counters.entry((peer.number, channel)).or_default();
        let after = *counter;
        counter.0 += 1;
        let command = Command {
            request: request(peer.next_id),
            entity: self.world.chat(channel)?.into(),
            counter: *counter,
            after,
            body: CommandBody::Send { format: MessageFormat::Text, text },
            trace: None,
        };
        peer.next_id += 1;
        out.send(&Frame::from(command).to_bytes());
        Ok(())
    }
}

impl Adapter for Panda {
    fn provision(&self, plan: &Plan) -> Result<()> {
        let with = self.provisioning.as_ref().context("--opt http=... and key=... are missing")?;
        let tokens_each = match self.credential {
            Credential::Token => plan.credentials_each(),
            Credential::Ticket => 1,
        };
        world::make(with, plan, tokens_each)?.write(&self.world_file)
    }

    fn begin(&mut self, plan: &Plan) -> Result<()> {
        self.world = World::read(&self.world_file)?;
        ensure!(self.world.users() == plan.users(), "{} is of another workload", self.world_file.display());
        Ok(())
    }
}

#[cfg(test)]
mod tests;
