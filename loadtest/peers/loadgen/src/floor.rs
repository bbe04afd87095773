//! What the bare floors have in common: the server's end of WebSocket, as far as the `simple` adapter speaks it.
//!
//! A floor checks nothing and limits nothing: it is what the work itself costs, below which no server can be.

use anyhow::{Context as _, Result};

use crate::websocket::{BINARY, CLOSE, accept_key};

const HEAD_END: &[u8] = b"\r\n\r\n";
/// Of a client's frame: two bytes and the mask.
const HEADER: usize = 6;
/// Subscribes to nothing.
const NO_CHANNEL: u32 = u32::MAX;

/// The frame that says: subscribed.
pub const SUBSCRIBED: &[u8] = &[0x82, 1, b'R'];
/// The frame that acknowledges a publication.
pub const ACKNOWLEDGED: &[u8] = &[0x82, 1, b'A'];

/// What a client asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    /// Nothing that needs an answer.
    Nothing,
    /// Deliveries of this channel, or of none.
    Subscribe(Option<u32>),
    /// A publication.
    Publish {
        /// Whether to acknowledge it.
        ack: bool,
        /// To which channel.
        channel: u32,
        /// The frame that delivers it.
        frame: Vec<u8>,
    },
    /// The end.
    Close,
}

/// The answer to the request that opens a WebSocket, and the bytes of that; `None` if it is not all there.
pub fn upgrade(bytes: &[u8]) -> Option<(String, usize)> {
    let end = bytes.windows(HEAD_END.len()).position(|window| window == HEAD_END)?;
    let head = String::from_utf8_lossy(&bytes[..end]);
    let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap_or("");
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n",
        accept_key(key)
    );
    Some((answer, end + HEAD_END.len()))
}

/// Takes the mask off the first frame of `bytes` and says what it asks for, and its bytes; `None` if it is not all there.
///
/// # Errors
/// A message of the adapter's that is cut.
pub fn next(bytes: &mut [u8]) -> Result<Option<(Asked, usize)>> {
    let &mut [first, second, third, fourth, ..] = bytes else { return Ok(None) };
    let (header, length) = match second & 0x7f {
        126 => (HEADER + 2, usize::from(u16::from_be_bytes([third, fourth]))),
        length => (HEADER, usize::from(length)),
    };
    let Some((head, payload)) = bytes.get_mut(..header + length).and_then(|frame| frame.split_at_mut_checked(header))
    else {
        return Ok(None);
    };
    let mask = &head[header - 4..];
    for (place, byte) in payload.iter_mut().enumerate() {
        *byte ^= mask[place & 3];
    }
    let asked = if first & 0x0f == CLOSE { Asked::Close } else { asked(payload)? };
    Ok(Some((asked, header + length)))
}

fn asked(message: &[u8]) -> Result<Asked> {
    match message {
        [b'S', channel @ ..] => {
            let channel = u32::from_le_bytes(*channel.first_chunk().context("a subscription that is cut")?);
            Ok(Asked::Subscribe((channel != NO_CHANNEL).then_some(channel)))
        }
        [b'P', ack, delivered @ ..] => {
            let channel = u32::from_le_bytes(*delivered.first_chunk().context("a publication that is cut")?);
            Ok(Asked::Publish { ack: *ack != 0, channel, frame: delivery(delivered) })
        }
        _ => Ok(Asked::Nothing),
    }
}

fn delivery(channel_and_payload: &[u8]) -> Vec<u8> {
    let length = channel_and_payload.len() + 1;
    let mut frame = vec![0x80 | BINARY];
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ ..126), _) => frame.push(short),
        (_, middle) => {
            frame.push(126);
            frame.extend_from_slice(&middle.unwrap_or(u16::MAX).to_be_bytes());
        }
    }
    frame.push(b'D');
    frame.extend_from_slice(channel_and_payload);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::simple::Simple;
    use crate::adapter::{Driver as _, Events, Options, Outgoing, Peer, Role};
    use crate::{payload, websocket};

    #[test]
    fn a_floor_and_the_simple_adapter_understand_each_other() {
        let mut simple = Simple::new(&Options::default());
        let mut peer = Peer { number: 0, role: Role::Subscriber, channel: 7, step: 0, next_id: 0, expected: 0 };
        let mut bytes = Vec::new();
        let mut out = Outgoing { bytes: &mut bytes, opcode: Some(BINARY) };
        simple.open(&mut peer, &mut out).unwrap();
        simple.publish(&mut peer, 7, &payload::write(42), true, &mut out).unwrap();
        let mut all = Vec::new();
        while let Some((asked, used)) = next(&mut bytes).unwrap() {
            all.push(asked);
            bytes.drain(..used);
        }
        let [Asked::Nothing, Asked::Subscribe(Some(7)), Asked::Publish { ack: true, channel: 7, frame }] = &all[..]
        else {
            panic!("{all:?}")
        };
        let mut events = Events::default();
        let mut out = Outgoing { bytes: &mut Vec::new(), opcode: Some(BINARY) };
        for frame in [SUBSCRIBED, ACKNOWLEDGED, frame] {
            let frame = websocket::next_frame(frame).unwrap().unwrap();
            simple.receive(&mut peer, frame.payload, &mut out, &mut events).unwrap();
        }
        assert_eq!((events.ready, events.acks, events.deliveries), (true, 1, vec![42]));
    }

    #[test]
    fn an_upgrade_is_answered_once_it_is_whole() {
        let request = websocket::upgrade_request("127.0.0.1:1".parse().unwrap(), "/", None);
        assert_eq!(upgrade(&request[..request.len() - 1]), None);
        let (answer, used) = upgrade(&request).unwrap();
        assert_eq!(used, request.len());
        assert_eq!(websocket::upgrade_answer(answer.as_bytes()).unwrap(), Some(answer.len()));
    }

    #[test]
    fn a_mask_is_taken_off_and_a_frame_that_is_cut_is_waited_for() {
        let mut frame = vec![0x82, 0x85, 1, 2, 3, 4, b'S' ^ 1, 9 ^ 2, 3, 4, 1];
        assert_eq!(next(&mut frame[..10].to_vec()).unwrap(), None);
        assert_eq!(next(&mut frame).unwrap(), Some((Asked::Subscribe(Some(9)), 11)));
        assert_eq!(next(&mut [0x88, 0x80, 0, 0, 0, 0]).unwrap(), Some((Asked::Close, 6)));
        assert!(next(&mut [0x82, 0x81, 0, 0, 0, 0, b'S']).is_err());
    }
}
