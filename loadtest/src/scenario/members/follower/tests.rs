//! A follower at a small server that does what no server may.

use futures_util::{SinkExt as _, StreamExt as _};
use panda_protocol::event::{Digest, MessageFormat, Role};
use panda_protocol::frame::{self, Ended, ErrorReply, EventFrame, Frame, InboxState, Start, Subscribed, Welcome};
use panda_protocol::framing::next_frame;
use panda_protocol::limits::FRAME_BYTES_MAX;
use panda_protocol::{Counter, SessionId, Time, UserId};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

use super::super::Cast;
use super::*;
use crate::api::Api;
use crate::checker::{MembershipCheck, Verdict};
use crate::report::Summary;

const INCARNATION: Incarnation = Incarnation([7; 8]);
/// For what comes at once, unless the machine has much else to do.
const COMES_WITHIN: Duration = Duration::from_secs(60);

fn user(byte: u8) -> UserId {
    UserId::from_random([byte; 16])
}

fn chat() -> ChatId {
    ChatId::direct(user(1), user(2))
}

fn event(seq: u64) -> Bytes {
    let body = EventBody::MessageSent { format: MessageFormat::Text, text: "tea".into() };
    let (actor, device) = (user(2), DeviceId::from_random([2; 16]));
    let digest = Digest::default();
    Event { seq: Seq(seq), time: Time(1), actor, device, counter: Counter(seq), digest, target: None, body }.to_bytes()
}

/// What the server says to the first Subscribe; every further one is refused.
type Script = fn(&frame::Subscribe) -> Vec<Frame>;

#[expect(clippy::result_large_err, reason = "the callback's type is tungstenite's")]
async fn serve(listener: TcpListener, script: Script) {
    let check = |_: &Request, mut response: Response| {
        response.headers_mut().insert("sec-websocket-protocol", "panda.1".parse().unwrap());
        Ok(response)
    };
    let (tcp, _) = listener.accept().await.unwrap();
    let mut stream = tokio_tungstenite::accept_hdr_async(tcp, check).await.unwrap();
    let mut subscribes = 0;
    while let Some(Ok(message)) = stream.next().await {
        let Message::Binary(mut frames) = message else { continue };
        while let Some(raw) = next_frame(&mut frames, FRAME_BYTES_MAX).unwrap() {
            let answers = match Frame::decode(raw).unwrap() {
                Some(Frame::Hello(_)) => vec![welcome().into()],
                Some(Frame::Subscribe(subscribe)) => {
                    subscribes += 1;
                    let refused = ErrorReply::new(subscribe.request, ErrorCode::NotMember);
                    if subscribes == 1 { script(&subscribe) } else { vec![refused.into()] }
                }
                _ => Vec::new(),
            };
            for answer in answers {
                stream.send(Message::Binary(answer.to_bytes())).await.unwrap();
            }
        }
    }
}

fn welcome() -> Welcome {
    Welcome {
        version: 1,
        capabilities: 0,
        session: SessionId::from_random([4; 16]),
        user: user(1),
        heartbeat_ms: 25_000,
        expires_in_ms: 3_600_000,
        ticket: Bytes::new(),
        inbox: InboxState { incarnation: INCARNATION, head: Seq(0), from: Seq(1), reset: false },
        limits: Vec::new(),
    }
}

fn subscribed(subscribe: &frame::Subscribe) -> Frame {
    let admission = Admission {
        start: Start::From,
        incarnation: INCARNATION,
        from: Seq(1),
        head: Seq(1),
        role: Role::Member,
        visible_from: Seq(1),
        proof: Bytes::new(),
    };
    Subscribed { request: subscribe.request, admission }.into()
}

fn comes(seq: u64) -> Frame {
    EventFrame { entity: chat().into(), event: event(seq) }.into()
}

fn removed() -> Frame {
    Ended { entity: chat().into(), code: ErrorCode::NotMember as u16, retry_after_ms: 0 }.into()
}

/// What is found of a follower at a server of this script.
async fn found(script: Script) -> Verdict {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(serve(listener, script));
    let run = Arc::new(Run::at(&[&base], chat(), user(1)));
    let casts = vec![Cast { owner: 0, others: Vec::new(), first: 0 }];
    let checks = vec![Mutex::new(MembershipCheck::new(chat()))];
    let shared = Arc::new(Shared { api: Api::new(&run), run: Arc::clone(&run), seed: 1, casts, checks });
    shared.check(0).concerns(0, user(1), true);
    let follower = Follower::start(&shared, 0);
    let seen = async {
        // The second Subscribe is refused behind all that the script says.
        while shared.check(0).refused_subscriptions(0) == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(COMES_WITHIN, seen).await.unwrap();
    follower.close(&run).await;
    server.abort();
    run.found_so_far()
}

#[tokio::test]
async fn an_event_behind_the_end_of_a_subscription_is_found() {
    let sound = found(|subscribe| vec![subscribed(subscribe), comes(1), removed()]).await;
    assert_eq!(sound.kept, []);
    let verdict = found(|subscribe| vec![subscribed(subscribe), comes(1), removed(), comes(2)]).await;
    let [found] = &verdict.kept[..] else { panic!("{verdict:?}") };
    assert!(found.to_string().contains("NOT LISTENING: session 0 got seq 2"), "{found}");
    let mut summary = Summary::default();
    summary.judged(&verdict);
    assert!(!summary.passed());
}

#[tokio::test]
async fn an_event_that_comes_twice_and_one_that_is_left_out_are_found() {
    let twice = found(|subscribe| vec![subscribed(subscribe), comes(1), comes(1), removed()]).await;
    assert_eq!(twice.violations, 1, "{twice:?}");
    assert!(twice.kept[0].to_string().contains("REPEATED: session 0 got seq 1 twice"), "{twice:?}");
    let hole = found(|subscribe| vec![subscribed(subscribe), comes(1), comes(3)]).await;
    assert_eq!(hole.violations, 1, "{hole:?}");
    assert!(hole.kept[0].to_string().contains("GAP: session 0 got seq 3 where 2 was due"), "{hole:?}");
}
