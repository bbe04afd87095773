//! What the fuzz targets assert. The targets in `bin/` only hand over the bytes; a test can call these too.

use bytes::{Bytes, BytesMut};
use panda_protocol::event::{Event, peek_seq};
use panda_protocol::frame::Frame;
use panda_protocol::framing::{RawFrame, next_frame, split_frame};
use panda_protocol::limits::{FRAME_BYTES_MAX, HELLO_BYTES_MAX};
use panda_protocol::link::{Down, LINK_FRAME_BYTES_MAX, Opening, Record, Up};
use panda_protocol::session::server::{Due, Heard, Phase, ServerLimits, ServerSession};

/// Every frame of a message decodes or is refused; one that decodes encodes to a frame that says the same.
pub fn decode_frame(data: &[u8]) {
    let mut message = Bytes::copy_from_slice(data);
    while let Ok(Some(raw)) = next_frame(&mut message, FRAME_BYTES_MAX) {
        assert!(raw.body.len() < FRAME_BYTES_MAX);
        if let Ok(Some(frame)) = Frame::decode(raw) {
            let mut again = frame.to_bytes();
            let raw = next_frame(&mut again, FRAME_BYTES_MAX).expect("it is a frame").expect("it is whole");
            assert!(again.is_empty());
            assert_eq!(Frame::decode(raw), Ok(Some(frame)));
        }
    }
}

/// The same bytes in pieces, whose sizes follow from the first byte, give the same frames as at once.
pub fn split_feed(data: &[u8]) {
    let Some((&seed, data)) = data.split_first() else { return };
    let mut whole = BytesMut::from(data);
    let mut at_once = Vec::new();
    let end = loop {
        match split_frame(&mut whole, FRAME_BYTES_MAX) {
            Ok(Some(frame)) => at_once.push(frame),
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    let (mut buffer, mut in_pieces, mut refused) = (BytesMut::new(), Vec::new(), None);
    let (mut rest, mut step) = (data, u32::from(seed) + 1);
    while !rest.is_empty() && refused.is_none() {
        // Small steps and large ones, so that a length and a body are both cut.
        step = step.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let len =
            (1 + (step >> 24) as usize * usize::from(seed % 16 == 0) * 64 + (step >> 29) as usize).min(rest.len());
        buffer.extend_from_slice(&rest[..len]);
        rest = &rest[len..];
        loop {
            match split_frame(&mut buffer, FRAME_BYTES_MAX) {
                Ok(Some(frame)) => in_pieces.push(frame),
                Ok(None) => break,
                Err(error) => {
                    refused = Some(error);
                    break;
                }
            }
        }
    }
    assert_eq!(in_pieces, at_once);
    assert_eq!(refused, end);
}

/// An event or record that decodes encodes to bytes that say the same.
pub fn round_trip(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    if let Ok(event) = Event::from_bytes(&bytes) {
        assert_eq!(peek_seq(&bytes), Ok(event.seq));
        assert_eq!(Event::from_bytes(&event.to_bytes()), Ok(event));
    }
    if let Ok(record) = Record::from_bytes(bytes) {
        assert_eq!(Record::from_bytes(record.to_bytes()), Ok(record));
    }
}

/// Every frame of a link decodes or is refused; one that decodes encodes to frames that say the same.
pub fn link_frame(data: &[u8]) {
    let mut message = Bytes::copy_from_slice(data);
    while let Ok(Some(raw)) = next_frame(&mut message, LINK_FRAME_BYTES_MAX) {
        if let Ok(opening) = Opening::decode(raw.clone()) {
            assert_eq!(Opening::decode(only(opening.to_bytes())), Ok(opening));
        }
        if let Ok(up) = Up::decode(raw.clone()) {
            assert_eq!(Up::decode(only(up.to_bytes())), Ok(up));
        }
        if let Ok(down) = Down::decode(raw) {
            let mut again = BytesMut::new();
            down.append_to(&mut again);
            assert_eq!(Down::decode(only(again.freeze())), Ok(down));
        }
    }
}

fn only(mut bytes: Bytes) -> RawFrame {
    let raw = next_frame(&mut bytes, LINK_FRAME_BYTES_MAX).expect("it is a frame").expect("it is whole");
    assert!(bytes.is_empty());
    raw
}

/// The server's end of a session takes any frames at any times, and keeps what it promises.
pub fn server_session(data: &[u8]) {
    let limits = ServerLimits { requests_in_flight_max: 8, ..ServerLimits::default() };
    let mut session = ServerSession::new(&limits, 0);
    let (mut now_ms, mut message) = (0u64, Bytes::copy_from_slice(data));
    while let Some(&command) = message.first() {
        let _ = message.split_to(1);
        match command {
            0..=9 => {
                now_ms += [1, 10, 100, 1_000, 5_000, 10_000, 25_000, 50_000, 100_000, 1_000_000][usize::from(command)]
            }
            10 if session.phase() == Phase::Opening => session.open(now_ms + 3_600_000),
            11 => session.replied(),
            12 => session.drain(),
            13 => session.sent(now_ms),
            14 => session.refresh(now_ms + 60_000),
            15 => session.alive(now_ms),
            _ => {
                let bytes_max = session.frame_bytes_max().unwrap_or(HELLO_BYTES_MAX);
                let Ok(Some(raw)) = next_frame(&mut message, bytes_max) else { return };
                hear(&mut session, &limits, raw, now_ms);
            }
        }
        assert!(session.in_flight() <= limits.requests_in_flight_max);
        match session.due(&limits, now_ms) {
            Due::At(at) => assert!(at > now_ms, "a moment that is past would be asked for again and again"),
            Due::Ping(_) => session.sent(now_ms),
            Due::Close(_) => session.close(),
        }
    }
}

fn hear(session: &mut ServerSession, limits: &ServerLimits, raw: RawFrame, now_ms: u64) {
    let (before, waiting) = (session.phase(), session.in_flight());
    let heard = session.hear(limits, raw, now_ms);
    match &heard {
        Err(_) | Ok(Heard::Left) => assert_eq!(session.phase(), Phase::Closed),
        Ok(Heard::Hello(_)) => assert_eq!((before, session.phase()), (Phase::Handshake, Phase::Opening)),
        Ok(Heard::Request(..)) => assert_eq!(session.in_flight(), waiting + 1),
        Ok(_) => assert_eq!(session.phase(), before),
    }
    if !matches!(heard, Ok(Heard::Request(..))) {
        assert_eq!(session.in_flight(), waiting, "only a request waits for a reply");
    }
}
