use alloc::vec::Vec;

use super::*;
use crate::error_code::ErrorCode;
use crate::event::{MessageFormat, Role};
use crate::frame::{
    Ack, Admission, Auth, Bye, CommandBody, Ended, ErrorDetails, ErrorReply, EventFrame, GoAway, InboxState, Refreshed,
    Start, Subscribed, Welcome,
};
use crate::framing::{RawFrame, next_frame};
use crate::ids::{Counter, DeviceId, Incarnation, Seq};
use crate::limits::FRAME_BYTES_MAX;
use crate::trace::TraceContext;

mod commands;
mod connection;
mod model;
mod subscriptions;

fn user() -> UserId {
    UserId::from_random([1; 16])
}

fn device() -> DeviceId {
    DeviceId::from_random([2; 16])
}

fn chat() -> ChatId {
    ChatId::direct(user(), UserId::from_random([3; 16]))
}

fn parameters() -> Parameters {
    Parameters {
        device: device(),
        name: Text::from("test"),
        token: Text::from("token"),
        inbox: None,
        capabilities: 0,
        counter: Counter(100),
        backoff_max_ms: 30_000,
        seed: 1,
    }
}

fn welcome() -> Welcome {
    Welcome {
        version: 1,
        capabilities: 0,
        session: SessionId::from_random([4; 16]),
        user: user(),
        heartbeat_ms: 25_000,
        expires_in_ms: 3_600_000,
        ticket: Bytes::from_static(b"ticket"),
        inbox: InboxState { incarnation: Incarnation([7; 8]), head: Seq(0), from: Seq(1), reset: false },
        limits: Vec::new(),
    }
}

fn admission(start: Start, incarnation: Incarnation, from: u64, head: u64) -> Admission {
    Admission {
        start,
        incarnation,
        from: Seq(from),
        head: Seq(head),
        role: Role::Member,
        visible_from: Seq(1),
        proof: Bytes::from_static(b"proof"),
    }
}

fn raw_of(mut bytes: Bytes) -> RawFrame {
    next_frame(&mut bytes, FRAME_BYTES_MAX).unwrap().unwrap()
}

fn hear(session: &mut ClientSession<u32>, frame: impl Into<Frame>, now_ms: u64) {
    session.hear(raw_of(frame.into().to_bytes()), now_ms);
}

fn sent(session: &mut ClientSession<u32>, now_ms: u64) -> Vec<Frame> {
    core::iter::from_fn(|| session.next_frame(now_ms))
        .map(|bytes| Frame::decode(raw_of(bytes)).unwrap().unwrap())
        .collect()
}

fn outputs(session: &mut ClientSession<u32>) -> Vec<Output<u32>> {
    core::iter::from_fn(|| session.next_output()).collect()
}

fn notices(session: &mut ClientSession<u32>) -> Vec<Notice> {
    let notice = |output| if let Output::Notice(notice) = output { Some(notice) } else { None };
    outputs(session).into_iter().filter_map(notice).collect()
}

fn answers(session: &mut ClientSession<u32>) -> Vec<(u32, Result<Reply, Refusal>)> {
    let answer = |output| if let Output::Answered(waiter, answer) = output { Some((waiter, answer)) } else { None };
    outputs(session).into_iter().filter_map(answer).collect()
}

fn connect(session: &mut ClientSession<u32>, now_ms: u64) -> Vec<Frame> {
    session.tick(now_ms);
    assert!(outputs(session).iter().any(|output| matches!(output, Output::Connect { .. })));
    session.connected(now_ms);
    sent(session, now_ms)
}

fn opened() -> ClientSession<u32> {
    let mut session = ClientSession::new(parameters());
    connect(&mut session, 0);
    hear(&mut session, welcome(), 0);
    outputs(&mut session);
    session
}

fn auth(frames: &[Frame]) -> &Auth {
    let Some(Frame::Hello(hello)) = frames.first() else { panic!("a Hello is the first frame: {frames:?}") };
    &hello.auth
}

fn say(text: &str) -> CommandBody {
    CommandBody::Send { format: MessageFormat::Text, text: Text::from(text) }
}

fn commands(frames: &[Frame]) -> Vec<(RequestId, u64, u64)> {
    let command = |frame: &Frame| match frame {
        Frame::Command(command) => Some((command.request, command.counter.0, command.after.0)),
        _ => None,
    };
    frames.iter().filter_map(command).collect()
}
