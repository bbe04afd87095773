//! Bytes that are no frame, and the error that each must give.

use bytes::Bytes;
use panda_protocol::codec::DecodeError;
use panda_protocol::error_code::ErrorCode;
use panda_protocol::frame::{Frame, Hello, RequestId, Signal, SignalKind, Subscribe, Sync, SyncEntry};
use panda_protocol::framing::next_frame;
use panda_protocol::limits::{FRAME_BYTES_MAX, PROOF_BYTES_MAX, SIGNAL_BYTES_MAX};
use panda_protocol::{ChatId, DeviceId};

use super::samples;

/// The label of the error code that a server answers with, and why in words.
pub(crate) fn error_of(bytes: Bytes) -> String {
    let (code, error) = match next_frame(&mut bytes.clone(), FRAME_BYTES_MAX) {
        Err(DecodeError::TooLarge) => (ErrorCode::FrameTooLarge, DecodeError::TooLarge),
        Err(error) => (ErrorCode::Malformed, error),
        Ok(raw) => {
            let raw = raw.expect("a malformed vector is not empty");
            let is_command = raw.kind == 0x10;
            let error = Frame::decode(raw).expect_err("a malformed vector does not decode");
            let code = match error {
                DecodeError::UnknownFrame => ErrorCode::UnknownFrame,
                DecodeError::TooLarge if is_command => ErrorCode::TooLarge,
                DecodeError::UnknownVersion if is_command => ErrorCode::InvalidRequest,
                _ => ErrorCode::Malformed,
            };
            (code, error)
        }
    };
    format!("{}: {error}", code.label())
}

/// Bytes that are no event: why in words.
pub(crate) fn events() -> Vec<(&'static str, Bytes)> {
    let message =
        samples::events().into_iter().find(|(name, _)| *name == "message").expect("there is one").1.to_bytes();
    let added = samples::events()[2].1.to_bytes();
    vec![
        ("nothing", Bytes::new()),
        ("another version", changed(&message, 0, 2)),
        ("an unknown flag", changed(&message, 2, 4)),
        ("a seq in more bytes than it needs", changed(&changed(&message, 4, 0), 5, 0)),
        ("an actor that is a device", changed(&message, 15, 0x21)),
        ("a body above the limit", [&message[..56], &[0x80, 0x00, 0x50, 0x01]].concat().into()),
        ("a body cut off", message.slice(..message.len() - 1)),
        ("a message of an unknown format", changed(&message, 57, 9)),
        ("a message that is not UTF-8", changed(&message, 59, 0xff)),
        ("a role that does not exist", changed(&added, added.len() - 2, 5)),
    ]
}

/// Bytes that are no record: why in words.
pub(crate) fn records() -> Vec<(&'static str, Bytes)> {
    let command = samples::records()[0].1.to_bytes();
    let effect = samples::records()[1].1.to_bytes();
    vec![
        ("nothing", Bytes::new()),
        ("another version", changed(&command, 0, 2)),
        ("an unknown kind", changed(&command, 1, 5)),
        ("a token in more bytes than it needs", changed(&command, 11, 0x01)),
        ("an entity that is a device", changed(&command, 12, 0x21)),
        ("a command above the limit", [&command[..62], &[0x80, 0x01, 0x00, 0x01]].concat().into()),
        ("a command cut off", command.slice(..command.len() - 1)),
        ("an effect cut off", effect.slice(..effect.len() - 1)),
        ("a takeover cut off", samples::records()[2].1.to_bytes().slice(..10)),
    ]
}

pub(crate) fn cases() -> Vec<(String, Bytes)> {
    let fixed: &[(&str, &[u8])] = &[
        ("length zero", &[0x00]),
        ("length of two bytes that fits one", &[0x40, 0x02, 0x07, 0x00]),
        ("length of eight bytes that fits one", &[0xc0, 0, 0, 0, 0, 0, 0, 0x02, 0x07, 0x00]),
        ("length above the limit", &[0x80, 0x01, 0x00, 0x01, 0x07, 0x00]),
        ("length that is the largest number", &[0xff; 10]),
        ("length cut off", &[0x80, 0x01]),
        ("frame cut off", &[0x05, 0x07, 0x00]),
        ("type zero", &[0x01, 0x00]),
        ("unknown type", &[0x01, 0x7f]),
        ("ping without a nonce", &[0x01, 0x07]),
        ("ping with a long nonce", &[0x03, 0x07, 0x40, 0x01]),
        ("garbage", &[0x08, 0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ("hello of nothing", &[0x01, 0x01]),
        ("hello with min above max", &[0x04, 0x01, 0x02, 0x01, 0x00]),
        ("hello with an unknown way to authenticate", &[0x05, 0x01, 0x01, 0x01, 0x00, 0x02]),
        ("hello with a token above its limit", &[0x07, 0x01, 0x01, 0x01, 0x00, 0x00, 0x7f, 0xff]),
        ("refresh with a token that is not UTF-8", &[0x05, 0x05, 0x01, 0x02, 0xc3, 0x28]),
        ("sync that announces more chats than it has", &[0x04, 0x03, 0x01, 0x41, 0x00]),
        ("sync that announces too many chats", &[0x05, 0x03, 0x01, 0x7f, 0xff, 0x00]),
    ];
    let mut cases: Vec<(String, Bytes)> =
        fixed.iter().map(|(name, bytes)| ((*name).to_owned(), Bytes::from_static(bytes))).collect();
    let (_, hello) = samples::frames().swap_remove(0);
    cases.push(("hello of the device that no client has".to_owned(), of_no_device(hello)));
    for (name, frame) in samples::frames() {
        cases.push((format!("{name}, its last byte missing"), cut(&frame)));
    }
    let send = samples::frames().into_iter().find(|(name, _)| *name == "send").expect("there is a send").1.to_bytes();
    cases.push(("command to a device".to_owned(), changed(&send, 4, 0x21)));
    cases.push(("command with counter zero".to_owned(), changed(&send, 20, 0x00)));
    cases.push(("command after itself".to_owned(), changed(&send, 21, 0x07)));
    cases.push(("command of an unknown kind".to_owned(), changed(&send, 22, 0x3e)));
    cases.push(("command with a text above its limit".to_owned(), too_long(&send)));
    cases.push(("message of an unknown format".to_owned(), changed(&send, 23, 0x09)));
    cases.push(("message that is not UTF-8".to_owned(), changed(&send, 25, 0xff)));
    cases.extend(beyond_limits().map(|(name, frame)| (name.to_owned(), frame.to_bytes())));
    cases
}

/// Frames that are whole and have one byte more than they may in a field.
fn beyond_limits() -> impl Iterator<Item = (&'static str, Frame)> {
    let chat = ChatId::direct(samples::user(1), samples::user(2));
    let payload = Bytes::from(vec![7; SIGNAL_BYTES_MAX + 1]);
    let signal = Signal { chat, user: None, kind: SignalKind::TYPING, payload };
    let entry = SyncEntry { chat, cursor: None, proof: Bytes::from(vec![7; PROOF_BYTES_MAX + 1]) };
    let subscribe = Subscribe { request: RequestId(1), entry: entry.clone() };
    let sync = Sync { request: RequestId(1), chats: vec![entry] };
    [
        ("signal with a payload above its limit", signal.into()),
        ("subscribe with a proof above its limit", subscribe.into()),
        ("sync with a proof above its limit", sync.into()),
    ]
    .into_iter()
}

fn of_no_device(hello: Frame) -> Bytes {
    let Frame::Hello(hello) = hello else { panic!("the first sample is a Hello") };
    Frame::from(Hello { device: DeviceId::NONE, ..hello }).to_bytes()
}

/// The frame with one byte less than its fields need, its length told truly.
fn cut(frame: &Frame) -> Bytes {
    let raw = next_frame(&mut frame.to_bytes(), FRAME_BYTES_MAX).unwrap().unwrap();
    let mut out = panda_protocol::Writer::default();
    out.length(raw.body.len());
    out.u8(raw.kind);
    out.raw(&raw.body[..raw.body.len() - 1]);
    out.freeze()
}

/// The Send with a text that announces one byte more than a text may have.
fn too_long(send: &Bytes) -> Bytes {
    let mut out = panda_protocol::Writer::default();
    out.length(send.len() - 1 - 6 + 4);
    out.raw(&send[1..24]);
    out.raw(&[0x80, 0x00, 0x40, 0x01]);
    out.freeze()
}

fn changed(frame: &Bytes, at: usize, byte: u8) -> Bytes {
    let mut bytes = frame.to_vec();
    bytes[at] = byte;
    bytes.into()
}
