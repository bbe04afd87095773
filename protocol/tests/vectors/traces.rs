//! Contexts: what stands behind a Command's body, and the text that stands for it.

use bytes::Bytes;
use panda_protocol::TraceContext;
use panda_protocol::frame::{Frame, command_digest};
use panda_protocol::framing::{RawFrame, frame_bytes, next_frame};
use panda_protocol::limits::FRAME_BYTES_MAX;
use panda_protocol::session::server::{Heard, Request, ServerLimits, ServerSession};
use serde_json::{Value, json};

use crate::{decode_frame, hex, pinned, samples};

const TRACE: [u8; 16] =
    [0x4b, 0xf9, 0x2f, 0x35, 0x77, 0xb3, 0x4d, 0xa6, 0xa3, 0xce, 0x92, 0x9d, 0x0e, 0x0e, 0x47, 0x36];
const PARENT: [u8; 8] = [0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7];

fn behind(first: u8, trace: [u8; 16], parent: [u8; 8], flags: u8) -> Vec<u8> {
    [&[first][..], &trace, &parent, &[flags]].concat()
}

/// What may stand behind the body of a Send.
fn cases() -> Vec<(&'static str, Vec<u8>)> {
    let sampled = behind(1, TRACE, PARENT, 1);
    vec![
        ("nothing", Vec::new()),
        ("no context", vec![0]),
        ("a sampled context", sampled.clone()),
        ("a context that is not sampled", behind(1, TRACE, PARENT, 0)),
        ("a random trace", behind(1, TRACE, PARENT, 3)),
        ("flags without a meaning are dropped", behind(1, TRACE, PARENT, 0xfd)),
        ("a context and bytes of a later version", [&sampled[..], b"newer"].concat()),
        ("no context and bytes of a later version", b"\0newer".to_vec()),
        ("bytes that are no context", b"newer".to_vec()),
        ("a first byte that is none of an option", behind(2, TRACE, PARENT, 1)),
        ("a context that is cut off", sampled[..25].to_vec()),
        ("a trace of zeros", behind(1, [0; 16], PARENT, 1)),
        ("a parent of zeros", behind(1, TRACE, [0; 8], 1)),
    ]
}

fn text(trace: Option<TraceContext>) -> Value {
    trace.map_or(Value::Null, |trace| trace.to_string().into())
}

/// Whatever stands there: the session goes on, and the digest is of all of it.
fn heard(frame: Bytes) -> (Bytes, Option<TraceContext>) {
    let limits = ServerLimits::default();
    let mut session = ServerSession::new(&limits, 0);
    let (_, hello) = samples::frames().swap_remove(0);
    session.hear(&limits, next_frame(&mut hello.to_bytes(), FRAME_BYTES_MAX).unwrap().unwrap(), 0).unwrap();
    session.open(u64::MAX);
    let raw = next_frame(&mut frame.clone(), FRAME_BYTES_MAX).unwrap().unwrap();
    match session.hear(&limits, raw, 0).unwrap() {
        Heard::Request(_, Request::Command(command)) => (command.kind_and_body, command.trace),
        other => panic!("{other:?} of a Command"),
    }
}

#[test]
fn contexts_of_commands_are_taken_or_ignored_as_pinned() {
    let send = samples::frames().into_iter().find(|(name, _)| *name == "send").expect("there is a send").1;
    let RawFrame { kind, body } = next_frame(&mut send.to_bytes(), FRAME_BYTES_MAX).unwrap().unwrap();
    let made = cases()
        .into_iter()
        .map(|(name, behind)| {
            let frame = frame_bytes(kind, body.len() + behind.len(), |out| {
                out.raw(&body);
                out.raw(&behind);
            });
            let Frame::Command(command) = decode_frame(frame.clone()) else { panic!("{name} is a Command") };
            let (kind_and_body, trace) = heard(frame.clone());
            assert_eq!(command.trace, trace, "{name}");
            if behind.len() == 26 && trace.is_some_and(|trace| trace.to_string().ends_with(&hex(&behind[25..]))) {
                assert_eq!(Frame::Command(command).to_bytes(), frame, "{name}");
            }
            json!({"name": name, "hex": hex(&frame), "trace": text(trace), "digest": hex(&command_digest(&kind_and_body).0)})
        })
        .collect();
    pinned("traces.json", made);
}

#[test]
fn traceparents_are_read_and_written_as_pinned() {
    let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let cases: &[(&str, String)] = &[
        ("sampled", good.to_owned()),
        ("not sampled", good.replace("-01", "-00")),
        ("a random trace", good.replace("-01", "-03")),
        ("flags without a meaning are dropped", good.replace("-01", "-fd")),
        ("a later version", good.replacen("00-", "cc-", 1)),
        ("a later version with more behind it", good.replacen("00-", "cc-", 1) + "-what-comes"),
        ("a later version whose flags are not known", good.replacen("00-", "cc-", 1).replace("-01", "-03")),
        ("a later version with more that no dash parts", good.replacen("00-", "cc-", 1) + "more"),
        ("this version with more behind it", good.to_owned() + "-more"),
        ("the version that is forbidden", good.replacen("00-", "ff-", 1)),
        ("capital letters", good.to_uppercase()),
        ("a trace of zeros", good.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32))),
        ("a parent of zeros", good.replace("00f067aa0ba902b7", &"0".repeat(16))),
        ("a digit that is none", good.replace("4bf9", "4bg9")),
        ("no dash where one is", good.replace("-00f0", "000f0")),
        ("one digit too few", good[..54].to_owned()),
        ("letters of two bytes", "é".repeat(28)),
        ("nothing", String::new()),
    ];
    let made = cases
        .iter()
        .map(|(name, read)| {
            let trace: Option<TraceContext> = read.parse().ok();
            if let Some(again) = trace {
                assert_eq!(again.to_string().parse(), Ok(again), "{name}");
            }
            json!({"name": name, "traceparent": read, "written": text(trace)})
        })
        .collect();
    pinned("traceparents.json", made);
}
