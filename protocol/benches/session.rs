//! What the server's end of a session decides about one frame, and whether anything is due.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use panda_protocol::event::MessageFormat;
use panda_protocol::frame::{Auth, Command, CommandBody, Frame, Hello, Ping, RequestId, Subscribe, SyncEntry};
use panda_protocol::framing::{RawFrame, next_frame};
use panda_protocol::limits::FRAME_BYTES_MAX;
use panda_protocol::session::server::{Due, Heard, ServerLimits, ServerSession};
use panda_protocol::{ChatId, Counter, DeviceId, Text, UserId};

fn raw(frame: impl Into<Frame>) -> RawFrame {
    let mut bytes = frame.into().to_bytes();
    next_frame(&mut bytes, FRAME_BYTES_MAX).ok().flatten().expect("a frame that was just made is one")
}

fn hello() -> RawFrame {
    raw(Hello {
        version_min: 1,
        version_max: 1,
        capabilities: 0,
        auth: Auth::Token(Text::from("t".repeat(300).as_str())),
        device: DeviceId::from_random([2; 16]),
        inbox: None,
        client: Text::from("bench"),
    })
}

fn opened(limits: &ServerLimits) -> ServerSession {
    let mut session = ServerSession::new(limits, 0);
    assert!(matches!(session.hear(limits, hello(), 0), Ok(Heard::Hello(_))));
    session.open(u64::MAX);
    session
}

fn session(criterion: &mut Criterion) {
    let limits = ServerLimits::default();
    let chat = ChatId::direct(UserId::from_random([1; 16]), UserId::from_random([3; 16]));
    let body = CommandBody::Send { format: MessageFormat::Text, text: Text::from("x".repeat(128).as_str()) };
    let (counter, after) = (Counter(2), Counter(1));
    let command = raw(Command { request: RequestId(1), entity: chat.into(), counter, after, body, trace: None });
    let entry = SyncEntry { chat, cursor: None, proof: Bytes::new() };
    let requests = [("a command", command), ("a Subscribe", raw(Subscribe { request: RequestId(2), entry }))];

    let mut group = criterion.benchmark_group("session");
    group.bench_function("a Hello", |bench| {
        let hello = hello();
        bench.iter(|| ServerSession::new(&limits, 0).hear(&limits, black_box(&hello).clone(), 1));
    });
    for (name, request) in requests {
        let mut session = opened(&limits);
        group.bench_function(format!("{name} and its reply"), |bench| {
            bench.iter(|| {
                let heard = session.hear(&limits, black_box(&request).clone(), 1);
                session.replied();
                heard
            });
        });
        assert_eq!(session.in_flight(), 0);
    }
    let mut session = opened(&limits);
    let ping = raw(Ping { nonce: 5 });
    group.bench_function("a Ping", |bench| bench.iter(|| session.hear(&limits, black_box(&ping).clone(), 1)));
    assert!(matches!(session.due(&limits, 1), Due::At(_)));
    group
        .bench_function("a look at an idle one", |bench| bench.iter(|| black_box(&session).due(&limits, black_box(1))));
    group.finish();
}

criterion_group!(benches, session);
criterion_main!(benches);
