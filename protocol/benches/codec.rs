//! What it costs to make and to read the bytes of one message: the frame of a client's command, the event as it is
//! stored, the frame that a listener gets, and the frame that goes down a link.

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use panda_protocol::event::{Digest, Event, EventBody, MessageFormat};
use panda_protocol::frame::{Command, CommandBody, EventFrame, Frame, RequestId};
use panda_protocol::framing::next_frame;
use panda_protocol::limits::FRAME_BYTES_MAX;
use panda_protocol::link::{Down, Events, LINK_FRAME_BYTES_MAX, LinkEvent};
use panda_protocol::{ChatId, Counter, DeviceId, Generation, Seq, Text, Time, UserId};

/// Bytes of text: what people write, and the most that they may.
const TEXTS: [usize; 2] = [128, 16 * 1024];

fn text(len: usize) -> Text {
    Text::from("x".repeat(len).as_str())
}

fn chat() -> ChatId {
    ChatId::direct(UserId::from_random([1; 16]), UserId::from_random([2; 16]))
}

fn command(len: usize) -> Frame {
    let body = CommandBody::Send { format: MessageFormat::Text, text: text(len) };
    let (counter, after) = (Counter(1_000), Counter(999));
    Command { request: RequestId(7), entity: chat().into(), counter, after, body, trace: None }.into()
}

fn event(len: usize) -> Event {
    Event {
        seq: Seq(100_000),
        time: Time(1_764_000_000_000_000),
        actor: UserId::from_random([1; 16]),
        device: DeviceId::from_random([3; 16]),
        counter: Counter(1_000),
        digest: Digest([9; 8]),
        target: None,
        body: EventBody::MessageSent { format: MessageFormat::Text, text: text(len) },
    }
}

fn decoded(bytes: &Bytes) -> Option<Frame> {
    let raw = next_frame(&mut bytes.clone(), FRAME_BYTES_MAX).ok().flatten()?;
    Frame::decode(raw).ok().flatten()
}

fn codec(criterion: &mut Criterion) {
    for len in TEXTS {
        let mut group = criterion.benchmark_group(format!("codec of {len} bytes of text"));
        group.throughput(Throughput::Bytes(len as u64));
        let (command, event) = (command(len), event(len));
        let stored = event.to_bytes();
        let delivered = Frame::from(EventFrame { entity: chat().into(), event: stored.clone() });
        let link_event = LinkEvent { seq: event.seq, ends: None, event: stored.clone() };
        let events = Events { generation: Generation::default(), entity: chat().into(), events: vec![link_event] };
        let down = Down::Events(events);
        let frames = [("a command", &command), ("a delivery", &delivered)];
        for (name, frame) in frames {
            let bytes = frame.to_bytes();
            assert_eq!(decoded(&bytes).as_ref(), Some(frame));
            group.bench_function(format!("{name}: encode"), |bench| bench.iter(|| black_box(frame).to_bytes()));
            group.bench_function(format!("{name}: decode"), |bench| bench.iter(|| decoded(black_box(&bytes))));
        }
        group.bench_function("an event: encode", |bench| bench.iter(|| black_box(&event).to_bytes()));
        group.bench_function("an event: decode", |bench| bench.iter(|| Event::from_bytes(black_box(&stored))));
        let encode = |down: &Down| {
            let mut out = BytesMut::new();
            down.append_to(&mut out);
            out.freeze()
        };
        let bytes = encode(&down);
        let read = || next_frame(&mut black_box(&bytes).clone(), LINK_FRAME_BYTES_MAX).map(|raw| raw.map(Down::decode));
        assert!(matches!(read(), Ok(Some(Ok(_)))));
        group.bench_function("an event down a link: encode", |bench| bench.iter(|| encode(black_box(&down))));
        group.bench_function("an event down a link: decode", |bench| bench.iter(read));
        group.finish();
    }
}

criterion_group!(benches, codec);
criterion_main!(benches);
