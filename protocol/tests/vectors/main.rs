//! The shared vectors: what this crate encodes and decodes is, byte for byte, what `vectors/` says.
//!
//! `PANDA_VECTORS=write cargo test -p panda-protocol --test vectors` writes them anew: a changed byte in
//! an existing vector breaks every client there is.
#![expect(clippy::unwrap_used, reason = "a vector that cannot be read fails the test that reads it")]

mod fields;
mod links;
mod malformed;
mod samples;
mod traces;

use std::path::PathBuf;

use bytes::Bytes;
use panda_protocol::codec::DecodeError;
use panda_protocol::event::Event;
use panda_protocol::frame::{CommandBody, Frame, PageChunk, RequestId, command_digest};
use panda_protocol::framing::next_frame;
use panda_protocol::limits::FRAME_BYTES_MAX;
use panda_protocol::link::Record;
use panda_protocol::{ChatId, Counter, DeviceId, EntityId, Incarnation, Reader, Seq, Writer};
use serde_json::{Value, json};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Bytes {
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect::<Vec<_>>().into()
}

/// Compares with the file, or writes it. Returns what the file says.
fn pinned(name: &str, made: Value) -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vectors").join(name);
    if std::env::var("PANDA_VECTORS").as_deref() == Ok("write") {
        std::fs::write(&path, serde_json::to_string_pretty(&made).unwrap() + "\n").unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()));
    let kept: Value = serde_json::from_str(&text).unwrap();
    for (made, kept) in made.as_array().unwrap().iter().zip(kept.as_array().unwrap()) {
        assert_eq!(made, kept, "{name}: the code and the vector differ");
    }
    assert_eq!(
        made.as_array().unwrap().len(),
        kept.as_array().unwrap().len(),
        "{name}: a vector is missing or too many"
    );
    kept
}

fn decode_frame(bytes: Bytes) -> Frame {
    let mut message = bytes;
    let raw = next_frame(&mut message, FRAME_BYTES_MAX).unwrap().unwrap();
    assert!(message.is_empty());
    Frame::decode(raw).unwrap().unwrap()
}

#[test]
fn frames_encode_and_decode_as_pinned() {
    let samples = samples::frames();
    let made = samples
        .iter()
        .map(|(name, frame)| json!({"name": name, "type": frame.kind(), "fields": fields::frame(frame), "hex": hex(&frame.to_bytes())}))
        .collect();
    let kept = pinned("frames.json", made);
    for ((name, frame), vector) in samples.iter().zip(kept.as_array().unwrap()) {
        assert_eq!(decode_frame(unhex(vector["hex"].as_str().unwrap())), *frame, "{name}");
    }
    for (kind, name) in panda_protocol::frame::FRAME_TYPES {
        assert!(samples.iter().any(|(_, frame)| frame.kind() == *kind), "no vector for {name}");
    }
}

/// A newer peer's frames have bytes behind what we know: they decode as if those were not there.
#[test]
fn frames_may_grow_at_their_end() {
    let made = samples::frames()
        .iter()
        .map(|(name, frame)| {
            let grown = samples::grown(frame);
            assert_eq!(decode_frame(grown.clone()), *frame, "{name}");
            json!({"name": name, "type": frame.kind(), "hex": hex(&grown)})
        })
        .collect();
    pinned("grown.json", made);
}

/// The shortest item of a list takes one byte: a count must not be refused for it.
#[test]
fn page_chunk_of_empty_events_round_trips() {
    let chunk = PageChunk {
        request: RequestId(1),
        last: true,
        incarnation: Incarnation::default(),
        begins_at: Seq(1),
        head: Seq(2),
        events: vec![Bytes::new(); 2],
    };
    assert_eq!(decode_frame(Frame::from(chunk.clone()).to_bytes()), chunk.into());
}

#[test]
fn events_encode_and_decode_as_pinned() {
    let samples = samples::events();
    let made = samples
        .iter()
        .map(|(name, event)| json!({"name": name, "fields": fields::event(event), "hex": hex(&event.to_bytes())}))
        .collect();
    let kept = pinned("events.json", made);
    for ((name, event), vector) in samples.iter().zip(kept.as_array().unwrap()) {
        assert_eq!(Event::from_bytes(&unhex(vector["hex"].as_str().unwrap())).unwrap(), *event, "{name}");
    }
}

#[test]
fn commands_encode_and_have_digests_as_pinned() {
    let made = samples::commands()
        .iter()
        .map(|(name, body)| {
            let mut out = Writer::default();
            body.encode(&mut out);
            let bytes = out.freeze();
            assert_eq!(CommandBody::decode(&mut Reader::new(bytes.clone())).unwrap(), *body, "{name}");
            json!({"name": name, "kind": body.kind(), "fields": fields::command(body), "hex": hex(&bytes), "digest": hex(&command_digest(&bytes).0)})
        })
        .collect();
    pinned("commands.json", made);
}

#[test]
fn records_encode_and_decode_as_pinned() {
    let samples = samples::records();
    let made = samples.iter().map(|(name, record)| json!({"name": name, "hex": hex(&record.to_bytes())})).collect();
    let kept = pinned("records.json", made);
    for ((name, record), vector) in samples.iter().zip(kept.as_array().unwrap()) {
        assert_eq!(Record::from_bytes(unhex(vector["hex"].as_str().unwrap())).unwrap(), *record, "{name}");
    }
}

#[test]
fn malformed_bytes_give_the_error_that_is_pinned() {
    let made = malformed::cases()
        .iter()
        .map(|(name, bytes)| json!({"name": name, "hex": hex(bytes), "error": malformed::error_of(bytes.clone())}))
        .collect();
    pinned("malformed.json", made);
}

#[test]
fn bytes_that_are_no_event_or_record_give_the_error_that_is_pinned() {
    let made = malformed::events()
        .iter()
        .map(|(name, bytes)| {
            let error = Event::from_bytes(bytes).expect_err(name);
            json!({"name": name, "hex": hex(bytes), "error": error.to_string()})
        })
        .collect();
    pinned("malformed_events.json", made);
    let made = malformed::records()
        .iter()
        .map(|(name, bytes)| {
            let error = Record::from_bytes(bytes.clone()).expect_err(name);
            json!({"name": name, "hex": hex(bytes), "error": error.to_string()})
        })
        .collect();
    pinned("malformed_records.json", made);
}

/// A new way to be malformed needs a vector: the match below does not compile without it.
#[test]
fn every_way_to_be_malformed_has_a_vector() {
    let all = [
        DecodeError::Truncated,
        DecodeError::NonMinimal,
        DecodeError::TooLarge,
        DecodeError::Invalid,
        DecodeError::Utf8,
        DecodeError::IdKind,
        DecodeError::UnknownFrame,
        DecodeError::UnknownVersion,
    ];
    let told: Vec<String> = malformed::cases().into_iter().map(|(_, bytes)| malformed::error_of(bytes)).collect();
    for error in all {
        match error {
            DecodeError::Truncated
            | DecodeError::NonMinimal
            | DecodeError::TooLarge
            | DecodeError::Invalid
            | DecodeError::Utf8
            | DecodeError::IdKind
            | DecodeError::UnknownFrame
            | DecodeError::UnknownVersion => {}
        }
        assert!(told.iter().any(|told| told.ends_with(&error.to_string())), "{error:?}");
    }
}

/// The shard of an entity never changes: a log that is written already depends on it.
#[test]
fn shards_are_as_pinned() {
    let entities = (0..32u8).flat_map(|n| {
        let (one, other) = (samples::user(n), samples::user(255 - n));
        let group = ChatId::group(one, samples::device(n), Counter(1 << n));
        [EntityId::from(one), group.into(), ChatId::direct(one, other).into()]
    });
    let made = entities
        .map(|entity| {
            let shards: serde_json::Map<String, Value> = [1, 2, 3, 16, 64, 1000, 1024, u16::MAX]
                .into_iter()
                .map(|shards| (shards.to_string(), entity.shard(shards).0.into()))
                .collect();
            json!({"entity": hex(entity.as_bytes()), "shard": shards})
        })
        .collect();
    pinned("shards.json", made);
}

#[test]
fn identifiers_chats_and_shards_are_as_pinned() {
    let user = samples::user(1);
    let made = (1..=8u8)
        .map(|n| {
            let (one, other, device) = (samples::user(n), samples::user(n + 1), samples::device(n));
            let group = ChatId::group(one, device, Counter(u64::from(n)));
            let direct = ChatId::direct(one, other);
            let shards = |entity: EntityId| json!({"16": entity.shard(16).0, "64": entity.shard(64).0, "1024": entity.shard(1024).0});
            assert_eq!(direct, ChatId::direct(other, one));
            assert_eq!(one.to_string().parse(), Ok(one));
            json!({
                "user": {"hex": hex(one.as_bytes()), "text": one.to_string(), "shard": shards(one.into())},
                "other": {"hex": hex(other.as_bytes()), "text": other.to_string()},
                "device": {"hex": hex(device.as_bytes()), "text": device.to_string()},
                "counter": n,
                "group": {"hex": hex(group.as_bytes()), "text": group.to_string(), "shard": shards(group.into())},
                "direct": {"hex": hex(direct.as_bytes()), "text": direct.to_string(), "shard": shards(direct.into())},
                "idempotency_device": hex(DeviceId::from_idempotency_key(user, &[n]).as_bytes()),
            })
        })
        .collect();
    pinned("identifiers.json", made);
}
