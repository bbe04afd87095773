//! NATS's client protocol.
//!
//! Core NATS acknowledges no publication: a PING behind it and its PONG are the round trip. With JetStream a publication
//! names a subject for the reply, and the stream's acknowledgement comes there.

use std::io::Write as _;

use anyhow::{Context as _, Result, bail, ensure};

use super::{Adapter, Deliver as _, Driver, Events, Options, Outgoing, Peer, Role, Transport, shown, transport_of};

/// Bytes of a message at most: what a server takes by default.
const MESSAGE_MAX: usize = 1024 * 1024;
const LINE_END: &[u8] = b"\r\n";
/// Steps of a connection: nothing was said; CONNECT was; its PONG came.
const SAID: u32 = 1;
const CONNECTED: u32 = 2;

/// See the module.
#[derive(Debug)]
pub struct Nats {
    transport: Transport,
    jetstream: bool,
    storage: String,
    user: String,
    password: String,
    /// Before each channel's number.
    subject: String,
    buffer: Vec<u8>,
}

impl Nats {
    /// Options: `transport=tcp`, `user`, `pass`, `subject`, `js=1`, `js_storage`.
    pub fn new(options: &Options) -> Self {
        Self {
            transport: transport_of(options, "/", None),
            jetstream: options.get("js") == Some("1"),
            storage: options.or("js_storage", "file"),
            user: options.or("user", ""),
            password: options.or("pass", ""),
            subject: options.or("subject", "c"),
            buffer: Vec::new(),
        }
    }

    /// What a connection says first.
    fn introduction(&self, peer: &Peer) -> String {
        let Self { user, password, subject, storage, .. } = self;
        let connect = format!(
            "CONNECT {{\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true,\"user\":\"{user}\",\
             \"pass\":\"{password}\",\"lang\":\"peerbench\",\"version\":\"1\",\"protocol\":1}}\r\n"
        );
        let role = match peer.role {
            Role::Subscriber => format!("SUB {subject}.{} 1\r\n", peer.channel),
            Role::Publisher if self.jetstream => format!("SUB _INBOX.{} 1\r\n", peer.number),
            Role::Setup if self.jetstream => {
                let stream = format!(
                    "{{\"name\":\"BENCH\",\"subjects\":[\"{subject}.>\"],\"retention\":\"limits\",\"max_consumers\":-1,\
                     \"max_msgs\":-1,\"max_bytes\":-1,\"max_age\":0,\"storage\":\"{storage}\",\"discard\":\"old\",\
                     \"num_replicas\":1}}"
                );
                let length = stream.len();
                format!("SUB _INBOX.setup 1\r\nPUB $JS.API.STREAM.CREATE.BENCH _INBOX.setup {length}\r\n{stream}\r\n")
            }
            Role::Publisher | Role::Setup => String::new(),
        };
        connect + &role + "PING\r\n"
    }

    fn line(&self, peer: &mut Peer, line: &[u8], out: &mut Outgoing<'_>, events: &mut Events) -> Result<()> {
        match line {
            [b'P', b'I', b'N', b'G', ..] => out.send(b"PONG\r\n"),
            [b'P', b'O', b'N', b'G', ..] if peer.step == SAID => {
                peer.step = CONNECTED;
                // A setup is ready when the stream is there.
                events.ready |= peer.role != Role::Setup || !self.jetstream;
            }
            [b'P', b'O', b'N', b'G', ..] => events.acks += 1,
            // The server may say it again.
            [b'I', b'N', b'F', b'O', ..] if peer.step == 0 => {
                peer.step = SAID;
                out.send(self.introduction(peer).as_bytes());
            }
            [b'-', b'E', b'R', b'R', ..] => bail!("the server says {}", shown(line)),
            _ => {}
        }
        Ok(())
    }
}

/// What a `MSG` line says: whether it came to an inbox, and the bytes of the message behind it.
fn message_of(line: &[u8]) -> Result<(bool, usize)> {
    // MSG <subject> <sid> [reply] <bytes>
    let space = line.iter().rposition(|byte| *byte == b' ').context("a message without a length")?;
    let length = std::str::from_utf8(&line[space + 1..]).ok().and_then(|digits| digits.parse::<usize>().ok());
    let length = length.with_context(|| format!("the length of {}", shown(line)))?;
    ensure!(length <= MESSAGE_MAX, "a message of {length} bytes");
    Ok((line.get(4) == Some(&b'_'), length))
}

fn reply(body: &[u8], peer: &Peer, events: &mut Events) -> Result<()> {
    const ERROR: &[u8] = br#""error":{"#;
    ensure!(!body.windows(ERROR.len()).any(|window| window == ERROR), "JetStream says {}", shown(body));
    if peer.role == Role::Setup {
        events.ready = true;
    } else {
        events.acks += 1;
    }
    Ok(())
}

impl Driver for Nats {
    fn transport(&self) -> Transport {
        self.transport.clone()
    }

    fn is_stream(&self) -> bool {
        true
    }

    /// The server speaks first.
    fn open(&mut self, _: &mut Peer, _: &mut Outgoing<'_>) -> Result<()> {
        Ok(())
    }

    fn receive(&mut self, peer: &mut Peer, bytes: &[u8], out: &mut Outgoing<'_>, events: &mut Events) -> Result<usize> {
        let mut used = 0;
        loop {
            let rest = &bytes[used..];
            let Some(end) = rest.iter().position(|byte| *byte == b'\n') else { return Ok(used) };
            let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
            let behind = end + 1;
            if !line.starts_with(b"MSG ") {
                self.line(peer, line, out, events)?;
                used += behind;
                continue;
            }
            let (is_reply, length) = message_of(line)?;
            let Some(body) = rest.get(behind..behind + length + LINE_END.len()) else { return Ok(used) };
            if is_reply {
                reply(&body[..length], peer, events)?;
            } else {
                events.delivery(&body[..length])?;
            }
            used += behind + body.len();
        }
    }

    fn publish(
        &mut self,
        peer: &mut Peer,
        channel: u32,
        payload: &[u8],
        ack: bool,
        out: &mut Outgoing<'_>,
    ) -> Result<()> {
        let (subject, length) = (&self.subject, payload.len());
        self.buffer.clear();
        let wrote = if self.jetstream && ack {
            write!(self.buffer, "PUB {subject}.{channel} _INBOX.{} {length}\r\n", peer.number)
        } else {
            write!(self.buffer, "PUB {subject}.{channel} {length}\r\n")
        };
        wrote.expect("writing to a Vec never fails");
        self.buffer.extend_from_slice(payload);
        self.buffer.extend_from_slice(LINE_END);
        if ack && !self.jetstream {
            self.buffer.extend_from_slice(b"PING\r\n");
        }
        out.send(&self.buffer);
        Ok(())
    }
}

impl Adapter for Nats {
    fn needs_setup(&self) -> bool {
        self.jetstream
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload;

    fn peer(role: Role) -> Peer {
        Peer { number: 7, role, channel: 3, step: 0, next_id: 0, expected: 0 }
    }

    fn receive(nats: &mut Nats, peer: &mut Peer, bytes: &[u8]) -> (Result<usize>, String, Events) {
        let (mut written, mut events) = (Vec::new(), Events::default());
        let used = nats.receive(peer, bytes, &mut Outgoing { bytes: &mut written, opcode: None }, &mut events);
        (used, String::from_utf8(written).unwrap(), events)
    }

    #[test]
    fn a_subscriber_is_ready_with_the_pong_behind_its_subscription() {
        let (mut nats, mut peer) = (Nats::new(&Options::default()), peer(Role::Subscriber));
        let (_, said, events) = receive(&mut nats, &mut peer, b"INFO {\"a\":1}\r\n");
        assert!(said.contains("SUB c.3 1\r\nPING\r\n") && !events.ready, "{said}");
        assert!(receive(&mut nats, &mut peer, b"PONG\r\n").2.ready);
        assert_eq!(receive(&mut nats, &mut peer, b"PING\r\n").1, "PONG\r\n");
        let (used, _, events) = receive(&mut nats, &mut peer, b"INFO {}\r\nPONG\r\n");
        assert_eq!((used.unwrap(), events.acks), (15, 1), "a later PONG acknowledges");
    }

    #[test]
    fn messages_are_taken_whole_and_a_rest_is_left() {
        let (mut nats, mut peer) = (Nats::new(&Options::default()), peer(Role::Subscriber));
        let message = [b"MSG c.3 1 128\r\n", &payload::write(42)[..], b"\r\n"].concat();
        let two = [&message[..], &message[..]].concat();
        for cut in [5, 14, 15, 100, message.len() - 1] {
            let (used, _, events) = receive(&mut nats, &mut peer, &two[..message.len() + cut]);
            assert_eq!((used.unwrap(), events.deliveries), (message.len(), vec![42]), "cut at {cut}");
        }
    }

    #[test]
    fn replies_acknowledge_and_errors_end_the_row() {
        let options = Options::parse(&["js=1".to_owned()]).unwrap();
        let (mut nats, mut peer) = (Nats::new(&options), peer(Role::Publisher));
        let reply = |body: &str| format!("MSG _INBOX.7 1 {}\r\n{body}\r\n", body.len()).into_bytes();
        let (_, _, events) = receive(&mut nats, &mut peer, &reply(r#"{"stream":"BENCH","seq":1}"#));
        assert_eq!(events.acks, 1);
        assert!(receive(&mut nats, &mut peer, &reply(r#"{"error":{"code":503}}"#)).0.is_err());
        assert!(receive(&mut nats, &mut peer, b"-ERR 'Authorization Violation'\r\n").0.is_err());
        assert!(receive(&mut nats, &mut peer, b"MSG c.3 1 99999999999\r\n").0.is_err());
    }
}
