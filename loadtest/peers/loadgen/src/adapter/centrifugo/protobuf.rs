//! Messages in Protobuf, each with its length before it, several in a WebSocket message.

use anyhow::{Context as _, Result, bail};

use super::{CONNECT, FIRST_PUBLICATION, SUBSCRIBE, Session, last_of_opening};
use crate::adapter::{Adapter, Deliver as _, Driver, Events, Options, Outgoing, Peer, Role, Transport, shown};
use crate::websocket::BINARY;

/// Fields of a Command and of a Reply.
const ID: u64 = 1;
const ERROR: u64 = 2;
const PUSH: u64 = 4;
const COMMAND_CONNECT: u8 = 4;
const COMMAND_SUBSCRIBE: u8 = 5;
const COMMAND_PUBLISH: u8 = 7;
/// Fields of a Push, and of the Publication in it.
const PUBLICATION: u64 = 4;
const DISCONNECT: u64 = 11;
const DATA: u64 = 4;

/// See the module.
#[derive(Debug)]
pub struct Protobuf {
    session: Session,
    buffer: Vec<u8>,
}

impl Protobuf {
    /// Options: `ns`, a namespace of the channels; `hmac`, the secret of tokens; `path`.
    pub fn new(options: &Options) -> Self {
        Self { session: Session::new(options), buffer: Vec::new() }
    }
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        out.push(u8::try_from(value & 0x7f).expect("seven bits") | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).expect("seven bits"));
}

fn field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    const BYTES: u8 = 2;
    out.push(number << 3 | BYTES);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A Command with its length before it: its number, and one field, `kind`.
fn command(out: &mut Vec<u8>, id: u32, kind: u8, body: &[u8]) {
    let mut command = Vec::with_capacity(body.len() + 16);
    command.push(1 << 3);
    varint(&mut command, u64::from(id));
    field(&mut command, kind, body);
    varint(out, command.len() as u64);
    out.extend_from_slice(&command);
}

#[inline]
fn read_varint(rest: &mut &[u8]) -> Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, behind) = rest.split_first().context("a number that is cut")?;
        *rest = behind;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    bail!("a number without an end")
}

#[inline]
fn read_bytes<'b>(rest: &mut &'b [u8]) -> Result<&'b [u8]> {
    let length = usize::try_from(read_varint(rest)?)?;
    let (bytes, behind) = rest.split_at_checked(length).context("a field that is cut")?;
    *rest = behind;
    Ok(bytes)
}

/// The next field: its number, and its value or its bytes.
#[inline]
fn next_field<'b>(rest: &mut &'b [u8]) -> Result<Option<(u64, u64, &'b [u8])>> {
    if rest.is_empty() {
        return Ok(None);
    }
    let tag = read_varint(rest)?;
    match tag & 7 {
        0 => Ok(Some((tag >> 3, read_varint(rest)?, &[]))),
        2 => Ok(Some((tag >> 3, 0, read_bytes(rest)?))),
        other => bail!("a field of wire type {other}"),
    }
}

fn push(mut rest: &[u8], events: &mut Events) -> Result<()> {
    while let Some((number, _, mut publication)) = next_field(&mut rest)? {
        match number {
            PUBLICATION => {
                while let Some((number, _, data)) = next_field(&mut publication)? {
                    if number == DATA {
                        events.delivery(data)?;
                    }
                }
            }
            DISCONNECT => bail!("the server disconnects: {}", shown(publication)),
            _ => {}
        }
    }
    Ok(())
}

fn reply(peer: &Peer, mut rest: &[u8], events: &mut Events) -> Result<()> {
    let mut id = 0;
    while let Some((number, value, bytes)) = next_field(&mut rest)? {
        match number {
            ID => id = value,
            ERROR => bail!("the server refuses: {}", shown(bytes)),
            PUSH => push(bytes, events)?,
            _ => {}
        }
    }
    if id == u64::from(last_of_opening(peer)) {
        events.ready = true;
    } else if id >= u64::from(FIRST_PUBLICATION) {
        events.acks += 1;
    }
    Ok(())
}

impl Driver for Protobuf {
    fn transport(&self) -> Transport {
        let path = format!("{}?cf_protocol=protobuf", self.session.path);
        Transport::WebSocket { path, protocol: None, opcode: BINARY }
    }

    fn is_stream(&self) -> bool {
        false
    }

    fn open(&mut self, peer: &mut Peer, out: &mut Outgoing<'_>) -> Result<()> {
        peer.next_id = FIRST_PUBLICATION;
        let (mut body, mut message) = (Vec::new(), Vec::new());
        field(&mut body, 1, self.session.token(peer.number).as_bytes());
        command(&mut message, CONNECT, COMMAND_CONNECT, &body);
        if peer.role == Role::Subscriber {
            body.clear();
            field(&mut body, 1, self.session.channel(peer.channel).as_bytes());
            command(&mut message, SUBSCRIBE, COMMAND_SUBSCRIBE, &body);
        }
        out.send(&message);
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
        while !rest.is_empty() {
            match read_bytes(&mut rest)? {
                // An empty one is a ping, and so is its answer.
                [] => out.send(&[0]),
                bytes => reply(peer, bytes, events)?,
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
        let mut body = Vec::with_capacity(payload.len() + 32);
        field(&mut body, 1, self.session.channel(channel).as_bytes());
        field(&mut body, 2, payload);
        self.buffer.clear();
        command(&mut self.buffer, peer.next_id, COMMAND_PUBLISH, &body);
        peer.next_id += 1;
        out.send(&self.buffer);
        Ok(())
    }
}

impl Adapter for Protobuf {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload;

    fn receive(peer: &mut Peer, message: &[u8]) -> (Result<usize>, Vec<u8>, Events) {
        let (mut written, mut events) = (Vec::new(), Events::default());
        let mut out = Outgoing { bytes: &mut written, opcode: None };
        let used = Protobuf::new(&Options::default()).receive(peer, message, &mut out, &mut events);
        (used, written, events)
    }

    /// A Reply with its length before it.
    fn replied(fields: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        varint(&mut out, fields.len() as u64);
        out.extend_from_slice(fields);
        out
    }

    #[test]
    fn answers_pings_and_publications_of_one_message_are_told_apart() {
        let mut peer = Peer { number: 0, role: Role::Subscriber, channel: 0, step: 0, next_id: 3, expected: 0 };
        let (mut publication, mut pushed, mut fields) = (Vec::new(), Vec::new(), Vec::new());
        field(&mut publication, 4, &payload::write(42));
        field(&mut pushed, 2, b"c0");
        field(&mut pushed, 4, &publication);
        field(&mut fields, 4, &pushed);
        let message = [replied(&[8, 2]), replied(&[]), replied(&fields), replied(&[8, 3])].concat();
        let (used, written, events) = receive(&mut peer, &message);
        assert_eq!(used.unwrap(), message.len());
        assert_eq!((events.ready, events.acks, events.deliveries, written), (true, 1, vec![42], vec![0]));
    }

    #[test]
    fn refusals_and_what_is_cut_end_the_row() {
        let mut peer = Peer { number: 0, role: Role::Publisher, channel: 0, step: 0, next_id: 3, expected: 0 };
        let mut refusal = vec![8, 1];
        field(&mut refusal, 2, b"permission denied");
        assert!(receive(&mut peer, &replied(&refusal)).0.unwrap_err().to_string().contains("permission denied"));
        for broken in [&[5, 8, 1][..], &[0x80], &[2, 0x22, 9], &[0xff; 11]] {
            assert!(receive(&mut peer, broken).0.is_err(), "{broken:?}");
        }
    }
}
