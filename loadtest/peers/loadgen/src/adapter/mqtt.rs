//! MQTT 3.1.1.
//!
//! Publications ask for QoS 1, which is acknowledged, where a workload wants to know.

use anyhow::{Context as _, Result, bail, ensure};

use super::{Adapter, Deliver as _, Driver, Events, Options, Outgoing, Peer, Role, Transport, transport_of};

const CONNECT: u8 = 0x10;
const SUBSCRIBE: u8 = 0x82;
const PUBLISH: u8 = 0x30;
const PUBLISH_QOS1: u8 = 0x32;
const PUBACK: u8 = 0x40;
/// Types of packets from the server, as they stand in the high half of the first byte.
const CONNACK_TYPE: u8 = 2;
const PUBLISH_TYPE: u8 = 3;
const PUBACK_TYPE: u8 = 4;
const SUBACK_TYPE: u8 = 9;
/// Bytes of a length at most.
const LENGTH_MAX: usize = 4;

/// See the module.
#[derive(Debug)]
pub struct Mqtt {
    transport: Transport,
    user: String,
    password: String,
    qos: u8,
}

impl Mqtt {
    /// Options: `transport=tcp`, `user`, `pass`, `qos=1` for subscribers.
    pub fn new(options: &Options) -> Self {
        Self {
            transport: transport_of(options, "/mqtt", Some("mqtt")),
            user: options.or("user", ""),
            password: options.or("pass", ""),
            qos: u8::from(options.get("qos") == Some("1")),
        }
    }

    fn connect(&self, peer: &Peer) -> Vec<u8> {
        const CLEAN: u8 = 0x02;
        const WITH_PASSWORD: u8 = 0xc0;
        let mut body = Vec::new();
        string(&mut body, b"MQTT");
        let named = !self.user.is_empty();
        // Version 3.1.1; no keep-alive.
        body.extend_from_slice(&[4, CLEAN | if named { WITH_PASSWORD } else { 0 }, 0, 0]);
        string(&mut body, format!("{:?}{}", peer.role, peer.number).as_bytes());
        if named {
            string(&mut body, self.user.as_bytes());
            string(&mut body, self.password.as_bytes());
        }
        packet(CONNECT, &body)
    }

    fn take(&self, peer: &Peer, (first, body): (u8, &[u8]), out: &mut Outgoing<'_>, events: &mut Events) -> Result<()> {
        match first >> 4 {
            CONNACK_TYPE => {
                ensure!(matches!(body, [_, 0]), "the connection is refused: {body:?}");
                if peer.role == Role::Subscriber {
                    let mut topic = vec![0, 1];
                    string(&mut topic, format!("c/{}", peer.channel).as_bytes());
                    topic.push(self.qos);
                    out.send(&packet(SUBSCRIBE, &topic));
                } else {
                    events.ready = true;
                }
            }
            SUBACK_TYPE => {
                ensure!(matches!(body, [_, _, 0..=2]), "the subscription is refused: {body:?}");
                events.ready = true;
            }
            PUBLISH_TYPE => {
                let (length, rest) = body.split_first_chunk::<2>().context("a publication without a topic")?;
                let rest = rest.get(usize::from(u16::from_be_bytes(*length))..).context("a topic that is cut")?;
                if first >> 1 & 3 == 0 {
                    return events.delivery(rest);
                }
                let (id, payload) = rest.split_first_chunk::<2>().context("a publication without its number")?;
                out.send(&packet(PUBACK, id));
                events.delivery(payload)?;
            }
            PUBACK_TYPE => events.acks += 1,
            other => bail!("a packet of type {other}"),
        }
        Ok(())
    }
}

fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).expect("names, topics and passwords here are short");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut rest = body.len();
    loop {
        let low = u8::try_from(rest & 0x7f).expect("seven bits");
        rest >>= 7;
        packet.push(if rest > 0 { low | 0x80 } else { low });
        if rest == 0 {
            break;
        }
    }
    packet.extend_from_slice(body);
    packet
}

/// The first packet of `bytes`: its first byte, its body, and its bytes in all. `None`: it is not all there.
fn next_packet(bytes: &[u8]) -> Result<Option<(u8, &[u8], usize)>> {
    let (Some(first), mut length) = (bytes.first(), 0_usize) else { return Ok(None) };
    for place in 0..LENGTH_MAX {
        let Some(byte) = bytes.get(1 + place) else { return Ok(None) };
        length |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            let (from, to) = (2 + place, 2 + place + length);
            return Ok(bytes.get(from..to).map(|body| (*first, body, to)));
        }
    }
    bail!("the length of a packet has no end")
}

impl Driver for Mqtt {
    fn transport(&self) -> Transport {
        self.transport.clone()
    }

    fn is_stream(&self) -> bool {
        true
    }

    fn open(&mut self, peer: &mut Peer, out: &mut Outgoing<'_>) -> Result<()> {
        out.send(&self.connect(peer));
        Ok(())
    }

    fn receive(&mut self, peer: &mut Peer, bytes: &[u8], out: &mut Outgoing<'_>, events: &mut Events) -> Result<usize> {
        let mut used = 0;
        while let Some((first, body, length)) = next_packet(&bytes[used..])? {
            self.take(peer, (first, body), out, events)?;
            used += length;
        }
        Ok(used)
    }

    fn publish(
        &mut self,
        peer: &mut Peer,
        channel: u32,
        payload: &[u8],
        ack: bool,
        out: &mut Outgoing<'_>,
    ) -> Result<()> {
        let mut body = Vec::with_capacity(payload.len() + 16);
        string(&mut body, format!("c/{channel}").as_bytes());
        if ack {
            // From 1: there is no packet 0.
            peer.next_id = peer.next_id % u32::from(u16::MAX) + 1;
            body.extend_from_slice(&peer.next_id.to_be_bytes()[2..]);
        }
        body.extend_from_slice(payload);
        out.send(&packet(if ack { PUBLISH_QOS1 } else { PUBLISH }, &body));
        Ok(())
    }
}

impl Adapter for Mqtt {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload;

    #[test]
    fn lengths_of_packets_are_as_in_the_standard() {
        for (length, bytes) in [(0, 2), (127, 2), (128, 3), (16_383, 3), (16_384, 4)] {
            let whole = packet(PUBACK, &vec![1; length]);
            assert_eq!(whole.len(), bytes + length);
            let (first, body, used) = next_packet(&whole).unwrap().unwrap();
            assert_eq!((first, body.len(), used), (PUBACK, length, whole.len()));
            assert_eq!(next_packet(&whole[..whole.len() - 1]).unwrap(), None);
        }
        assert!(next_packet(&[0x30, 0xff, 0xff, 0xff, 0xff, 1]).is_err());
    }

    #[test]
    fn deliveries_of_both_qualities_are_read_and_the_better_one_is_acknowledged() {
        let mqtt = Mqtt::new(&Options::default());
        let peer = Peer { number: 0, role: Role::Subscriber, channel: 3, step: 0, next_id: 0, expected: 0 };
        for (first, id, answer) in [(PUBLISH, &b""[..], vec![]), (PUBLISH_QOS1, &[0, 9], vec![PUBACK, 2, 0, 9])] {
            let body = [&b"\0\x03c/3"[..], id, &payload::write(42)].concat();
            let (mut written, mut events) = (Vec::new(), Events::default());
            let mut out = Outgoing { bytes: &mut written, opcode: None };
            mqtt.take(&peer, (first, &body), &mut out, &mut events).unwrap();
            assert_eq!((events.deliveries, written), (vec![42], answer));
        }
        let mut events = Events::default();
        let mut out = Outgoing { bytes: &mut Vec::new(), opcode: None };
        assert!(mqtt.take(&peer, (PUBLISH, &[0, 200, 1]), &mut out, &mut events).is_err(), "a topic that is cut");
        assert!(mqtt.take(&peer, (CONNACK_TYPE << 4, &[0, 5]), &mut out, &mut events).is_err(), "not authorized");
    }
}
