//! The little protocol of the floors and of the uWebSockets server: what a server costs that does nothing but its work.
//!
//! Up: `C` and 16 bytes in a token's place, `S` and a channel (u32, little-endian), `P`, whether to acknowledge (a byte), a
//! channel, a payload. Down: `R` (subscribed), `A` (acknowledged), `D`, a channel, a payload.

use anyhow::{Result, bail};

use super::{Adapter, Deliver as _, Driver, Events, Options, Outgoing, Peer, Role, Transport, shown, transport_of};

/// Subscribes to nothing, and is answered all the same.
const NO_CHANNEL: u32 = u32::MAX;

/// See the module.
#[derive(Debug)]
pub struct Simple {
    transport: Transport,
}

impl Simple {
    /// Option: `transport=tcp`.
    pub fn new(options: &Options) -> Self {
        Self { transport: transport_of(options, "/", None) }
    }
}

impl Driver for Simple {
    fn transport(&self) -> Transport {
        self.transport.clone()
    }

    fn is_stream(&self) -> bool {
        false
    }

    fn open(&mut self, peer: &mut Peer, out: &mut Outgoing<'_>) -> Result<()> {
        out.send(b"C0123456789abcdef");
        let channel = if peer.role == Role::Subscriber { peer.channel } else { NO_CHANNEL };
        let mut message = [b'S', 0, 0, 0, 0];
        message[1..].copy_from_slice(&channel.to_le_bytes());
        out.send(&message);
        Ok(())
    }

    fn receive(&mut self, _: &mut Peer, message: &[u8], _: &mut Outgoing<'_>, events: &mut Events) -> Result<usize> {
        match message {
            [b'D', _, _, _, _, payload @ ..] => events.delivery(payload)?,
            [b'A', ..] => events.acks += 1,
            [b'R', ..] => events.ready = true,
            _ => bail!("the server says {}", shown(message)),
        }
        Ok(message.len())
    }

    fn publish(&mut self, _: &mut Peer, channel: u32, payload: &[u8], ack: bool, out: &mut Outgoing<'_>) -> Result<()> {
        let mut message = Vec::with_capacity(6 + payload.len());
        message.extend_from_slice(&[b'P', u8::from(ack)]);
        message.extend_from_slice(&channel.to_le_bytes());
        message.extend_from_slice(payload);
        out.send(&message);
        Ok(())
    }
}

impl Adapter for Simple {}
