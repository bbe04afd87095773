//! Names, texts and lists that are too long or no text, in frames that are otherwise good.

use bytes::Bytes;
use panda_protocol::Writer;
use panda_protocol::event::MessageFormat;
use panda_protocol::frame::{Command, CommandBody, Frame, Ping, Pong, RequestId};
use panda_protocol::framing::{frame_bytes, next_frame};
use panda_protocol::limits::{
    CHAT_NAME_BYTES_MAX, COMMAND_MEMBERS_MAX, HELLO_BYTES_MAX, SETTING_KEY_BYTES_MAX, SETTING_VALUE_BYTES_MAX,
    TEXT_BYTES_MAX,
};
use panda_protocol::{ChatId, Counter, DeviceId, EntityId, ErrorCode, Text, UserId};

use crate::raw::{Raw, hello};
use crate::scene::{Scene, TRANSPORTS};
use crate::support::user;

/// A command's frame, whatever its kind and body are.
fn command(request: u64, entity: EntityId, kind_and_body: impl FnOnce(&mut Writer)) -> Bytes {
    frame_bytes(0x10, 64 * 1024, |out| {
        out.value(&RequestId(request));
        out.value(&entity);
        out.value(&Counter(request));
        out.value(&Counter(0));
        kind_and_body(out);
    })
}

fn create(name: usize, members: usize) -> CommandBody {
    let members = (0..members).map(|_| user()).collect();
    CommandBody::CreateGroup { name: Text::from("x".repeat(name)), members }
}

fn say(text: usize) -> CommandBody {
    CommandBody::Send { format: MessageFormat::Text, text: "x".repeat(text).into() }
}

fn set(key: usize, value: usize) -> CommandBody {
    CommandBody::SetSetting { key: "x".repeat(key).into(), value: vec![7; value].into() }
}

/// Sends a command of a new chat of the session's own, or of its inbox, and returns the code of its refusal, if
/// it was refused.
async fn outcome(raw: &mut Raw, (who, device): (UserId, DeviceId), request: u64, body: CommandBody) -> Option<u16> {
    let entity = match body {
        CommandBody::SetSetting { .. } => who.into(),
        _ => ChatId::group(who, device, Counter(request)).into(),
    };
    let (counter, after) = (Counter(request), Counter(0));
    raw.say(Command { request: RequestId(request), entity, counter, after, body, trace: None }).await;
    loop {
        match raw.next().await {
            Some(Frame::Ack(ack)) if ack.request == RequestId(request) => return None,
            Some(Frame::Error(error)) if error.request == RequestId(request) => return Some(error.code),
            Some(Frame::Event(_)) => {}
            other => panic!("no answer to {request}: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_text_list_or_value_above_its_limit_is_too_large_and_the_session_goes_on() {
    let mut scene = Scene::new().await;
    let too_large = [
        create(CHAT_NAME_BYTES_MAX + 1, 0),
        // As long as a frame can be.
        create(65_000, 0),
        create(3, COMMAND_MEMBERS_MAX + 1),
        create(3, 3_000),
        CommandBody::Rename { name: "x".repeat(65_000).into() },
        say(TEXT_BYTES_MAX + 1),
        say(65_000),
        set(SETTING_KEY_BYTES_MAX + 1, 1),
        set(1, SETTING_VALUE_BYTES_MAX + 1),
    ];
    for transport in TRANSPORTS {
        let who = user();
        let hello = hello(scene.server.token(who));
        let own = (who, hello.device);
        let (mut raw, _) = Raw::open_with(&scene.server, transport, hello).await;
        for (request, body) in (1..).zip(too_large.clone()) {
            let code = outcome(&mut raw, own, request, body).await;
            assert_eq!(code, Some(ErrorCode::TooLarge as u16), "{transport:?}, {request}");
        }
        // The largest that may be.
        let longest = [create(CHAT_NAME_BYTES_MAX, 0), set(SETTING_KEY_BYTES_MAX, SETTING_VALUE_BYTES_MAX)];
        for (request, body) in (100..).zip(longest) {
            assert_eq!(outcome(&mut raw, own, request, body).await, None, "{transport:?}, {request}");
        }
    }
    scene.nobody_notices().await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_kind_of_command_is_invalid_request_and_the_session_goes_on() {
    let scene = Scene::new().await;
    for transport in TRANSPORTS {
        let mut raw = scene.open(transport).await;
        for (request, kind) in (1..).zip([0x00, 0x3f, 0xff]) {
            raw.send(&command(request, ChatId::direct(user(), user()).into(), |out| out.u8(kind))).await;
            let Some(Frame::Error(error)) = raw.next().await else { panic!("{kind} was not refused") };
            assert_eq!((error.request, error.code), (RequestId(request), ErrorCode::InvalidRequest as u16));
        }
        raw.say(Ping { nonce: 7 }).await;
        assert_eq!(raw.next().await, Some(Pong { nonce: 7 }.into()));
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_are_no_utf_8_are_malformed_in_a_name_a_text_a_key_and_a_hello() {
    let mut scene = Scene::new().await;
    for transport in TRANSPORTS {
        for bytes in commands_with("נענע".as_bytes()) {
            let mut raw = scene.open(transport).await;
            raw.send(&bytes).await;
            assert!(matches!(raw.next().await, Some(Frame::Error(_))), "well formed, but of somebody else's entities");
        }
        let mut raw = Raw::connect(&scene.server, transport).await;
        raw.send(&hello_with(&scene, "נענע".as_bytes())).await;
        assert!(matches!(raw.next().await, Some(Frame::Welcome(_))));
    }
    // A byte that none begins with, one that is cut off, a surrogate, more than Unicode has, a letter's long form.
    for wrong in [&[0xff][..], &[b'x', 0xe2, 0x82], &[0xed, 0xa0, 0x80], &[0xf4, 0x90, 0x80, 0x80], &[0xc1, 0x81]] {
        for (number, bytes) in commands_with(wrong).iter().enumerate() {
            let transport = TRANSPORTS[number % 2];
            let mut raw = scene.open(transport).await;
            raw.send(bytes).await;
            assert_eq!(raw.code().await, ErrorCode::Malformed, "{transport:?}: {wrong:x?} in command {number}");
        }
        for transport in TRANSPORTS {
            let mut raw = Raw::connect(&scene.server, transport).await;
            raw.send(&hello_with(&scene, wrong)).await;
            assert_eq!(raw.code().await, ErrorCode::Malformed, "{transport:?}: {wrong:x?} in a Hello");
        }
    }
    scene.nobody_notices().await;
    scene.end().await;
}

/// A message, a new group, a new name and a setting with these bytes as their text.
fn commands_with(text: &[u8]) -> [Bytes; 4] {
    let chat = ChatId::direct(user(), user()).into();
    [
        command(1, chat, |out| {
            out.u8(0x01);
            out.u8(0);
            out.bytes(text);
        }),
        command(1, chat, |out| {
            out.u8(0x02);
            out.bytes(text);
            out.u8(0);
        }),
        command(1, chat, |out| {
            out.u8(0x07);
            out.bytes(text);
        }),
        command(1, user().into(), |out| {
            out.u8(0x41);
            out.bytes(text);
            out.bytes(b"value");
        }),
    ]
}

/// A Hello whose client has this name.
fn hello_with(scene: &Scene, name: &[u8]) -> Bytes {
    let named = hello(scene.server.token(user()));
    let mut good = Frame::from(named.clone()).to_bytes();
    let body = next_frame(&mut good, HELLO_BYTES_MAX).unwrap().unwrap().body;
    // The name is the last field, behind its length of one byte.
    let kept = body.len() - named.client.as_str().len() - 1;
    frame_bytes(0x01, body.len(), |out| {
        out.raw(&body[..kept]);
        out.bytes(name);
    })
}
