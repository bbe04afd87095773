//! Messages in JSON, one a line, several in a WebSocket message.
//!
//! Not parsed as JSON: the generator must be cheap, and a server writes its fields in one order.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail};

use super::{CONNECT, FIRST_PUBLICATION, SUBSCRIBE, Session, last_of_opening};
use crate::adapter::{Adapter, Deliver as _, Driver, Events, Options, Outgoing, Peer, Role, Transport, shown};
use crate::websocket::TEXT;

/// See the module.
#[derive(Debug)]
pub struct Json(Session);

impl Json {
    /// Options as of Protobuf.
    pub fn new(options: &Options) -> Self {
        Self(Session::new(options))
    }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

fn line(peer: &Peer, line: &[u8], events: &mut Events) -> Result<()> {
    const DATA: &[u8] = br#""data":""#;
    if line.starts_with(br#"{"push""#) {
        let data = find(line, DATA).with_context(|| format!("the server says {}", shown(line)))?;
        return events.delivery(&line[data + DATA.len()..]);
    }
    let Some(rest) = line.strip_prefix(br#"{"id":"#) else { bail!("the server says {}", shown(line)) };
    if find(line, br#""error""#).is_some() {
        bail!("the server refuses: {}", shown(line));
    }
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let id = std::str::from_utf8(&rest[..digits])?.parse::<u32>()?;
    if id == last_of_opening(peer) {
        events.ready = true;
    } else if id >= FIRST_PUBLICATION {
        events.acks += 1;
    }
    Ok(())
}

impl Driver for Json {
    fn transport(&self) -> Transport {
        Transport::WebSocket { path: self.0.path.clone(), protocol: None, opcode: TEXT }
    }

    fn is_stream(&self) -> bool {
        false
    }

    fn open(&mut self, peer: &mut Peer, out: &mut Outgoing<'_>) -> Result<()> {
        peer.next_id = FIRST_PUBLICATION;
        let mut message = format!(r#"{{"id":{CONNECT},"connect":{{"token":"{}"}}}}"#, self.0.token(peer.number));
        if peer.role == Role::Subscriber {
            let channel = self.0.channel(peer.channel);
            write!(message, "\n{{\"id\":{SUBSCRIBE},\"subscribe\":{{\"channel\":\"{channel}\"}}}}")?;
        }
        out.send(message.as_bytes());
        Ok(())
    }

    fn receive(
        &mut self,
        peer: &mut Peer,
        message: &[u8],
        out: &mut Outgoing<'_>,
        events: &mut Events,
    ) -> Result<usize> {
        for each in message.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match each {
                // A ping, and so is its answer.
                b"{}" => out.send(b"{}"),
                each => line(peer, each, events)?,
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
        const QUOTES: usize = 2;
        // The string with its quotes is as long as every other peer's payload.
        let text = String::from_utf8_lossy(&payload[..payload.len() - QUOTES]);
        let (id, channel) = (peer.next_id, self.0.channel(channel));
        peer.next_id += 1;
        out.send(format!(r#"{{"id":{id},"publish":{{"channel":"{channel}","data":"{text}"}}}}"#).as_bytes());
        Ok(())
    }
}

impl Adapter for Json {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload;

    fn receive(message: &str) -> (Result<usize>, Vec<u8>, Events) {
        let mut peer = Peer { number: 0, role: Role::Publisher, channel: 0, step: 0, next_id: 3, expected: 0 };
        let (mut written, mut events) = (Vec::new(), Events::default());
        let mut out = Outgoing { bytes: &mut written, opcode: None };
        let used = Json::new(&Options::default()).receive(&mut peer, message.as_bytes(), &mut out, &mut events);
        (used, written, events)
    }

    #[test]
    fn lines_of_one_message_are_told_apart() {
        let text = String::from_utf8(payload::write(42).to_vec()).unwrap();
        let push = format!(r#"{{"push":{{"channel":"c0","pub":{{"data":"{text}"}}}}}}"#);
        let message = format!("{{\"id\":1,\"connect\":{{}}}}\n{{}}\n{push}\n{{\"id\":12,\"publish\":{{}}}}");
        let (used, written, events) = receive(&message);
        assert_eq!(used.unwrap(), message.len());
        assert_eq!((events.ready, events.acks, events.deliveries), (true, 1, vec![42]));
        assert_eq!(written, b"{}");
    }

    #[test]
    fn refusals_and_what_is_unknown_end_the_row() {
        for line in [r#"{"id":3,"error":{"code":103}}"#, r#"{"push":{"disconnect":{}}}"#, "hello", r#"{"id":}"#] {
            assert!(receive(line).0.is_err(), "{line}");
        }
    }
}
