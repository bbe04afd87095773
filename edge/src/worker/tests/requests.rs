//! What a client may ask for, and how much of it at once.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::future::Future as _;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;

use panda_protocol::event::{MessageFormat, peek_seq};
use panda_protocol::frame::{
    Ack, Command, CommandBody, Direction, Frame, Page, Ping, RequestId, Signal, SignalKind, Sync, SyncEntry,
    Unsubscribe,
};
use panda_protocol::limits::{SUBSCRIPTIONS_MAX, TEXT_BYTES_MAX, UNANSWERED_COMMANDS_MAX};
use panda_protocol::link::{Answer, Down, Outcome, Up};
use panda_protocol::{ChatId, Counter, DeviceId, EntityId, ErrorCode, Generation, Seq};

use super::router::Router;
use super::sessions::{open, settle, subscribe};
use super::{Fixture, Pipe, raw, user};
use crate::config::SessionLimits;
use crate::fan_out::SLICE_LISTENERS;
use crate::session::{COMMANDS_HELD_MAX, SessionKey, SessionTask};

/// A chat of user 1 with so many events of 8 KiB.
fn long_chat(router: &mut Router, events: usize) -> EntityId {
    let chat = EntityId::from(ChatId::direct(user(1), user(2)));
    router.add(chat, user(1), true);
    for _ in 1..events {
        router.say(chat, 8 * 1_024);
    }
    chat
}

fn page(request: u64, entity: EntityId, direction: Direction, from: u64, limit: u64) -> Page {
    Page { request: RequestId(request), entity, direction, from: Seq(from), limit }
}

fn send(request: u64, entity: EntityId) -> Command {
    Command {
        request: RequestId(request),
        entity,
        counter: Counter(request),
        after: Counter(request - 1),
        body: CommandBody::Send { format: MessageFormat::Text, text: "hi".into() },
        trace: None,
    }
}

#[tokio::test(start_paused = true)]
async fn answers_to_one_chats_commands_leave_in_order_and_others_do_not_wait() {
    let limits = SessionLimits { commands_per_second: 1, ..SessionLimits::default() };
    let (mut fixture, mut router) = (Fixture::new(limits), Router::default());
    let key = open(&mut fixture, &mut router, 1);
    let (one, other) = (ChatId::direct(user(1), user(2)).into(), ChatId::direct(user(1), user(3)).into());
    // The bucket's burst is 64: two commands of one chat and 62 of another, then one of each too many.
    fixture.hear(key, send(1, one));
    for request in 2..=63 {
        fixture.hear(key, send(request, other));
    }
    fixture.hear(key, send(64, one));
    fixture.hear(key, send(65, one));
    let third = ChatId::direct(user(1), user(4)).into();
    fixture.hear(key, send(66, third));
    // Only the refusal with nothing before it in its chat may leave.
    let took = fixture.take_all(key);
    assert!(matches!(&took[..], [Frame::Error(error)] if error.request == RequestId(66)), "{took:?}");
    assert_eq!(fixture.core.metrics.rate_limited.get(), 2);
    // The inbox's admission was the first question, so command n has the token n + 1 of lane 0.
    let mut answer = |request: u64| {
        let outcome = Outcome::Applied(Seq(request));
        let answer = Answer { token: (request + 1) << 8, generation: Generation(1), outcome };
        fixture.core.arrive(vec![Down::Answer(answer)]);
        fixture.take_all(key)
    };
    assert_eq!(answer(64), []);
    assert_eq!(answer(2), [Frame::Ack(Ack { request: RequestId(2), seq: Seq(2) })]);
    let took = answer(1);
    let Frame::Error(last) = &took[2] else { panic!("{took:?}") };
    assert_eq!(took[..2], [1, 64].map(|of| Frame::Ack(Ack { request: RequestId(of), seq: Seq(of) })));
    assert_eq!((last.request, last.code), (RequestId(65), ErrorCode::RateLimited as u16));
    assert!(last.retry_after_ms > 0);
    assert_eq!(fixture.core.session(key).unwrap().machine.in_flight(), 61);
}

#[tokio::test(start_paused = true)]
async fn a_chats_65th_unanswered_command_is_refused_and_another_chats_is_not() {
    let limits = SessionLimits { commands_per_second: 1_000, ..SessionLimits::default() };
    let (mut fixture, mut router) = (Fixture::new(limits), Router::default());
    let key = open(&mut fixture, &mut router, 1);
    let (one, other) = (ChatId::direct(user(1), user(2)).into(), ChatId::direct(user(1), user(3)).into());
    let before = fixture.core.metrics.commands.get();
    for request in 1..=UNANSWERED_COMMANDS_MAX as u64 + 1 {
        fixture.hear(key, send(request, one));
    }
    fixture.hear(key, send(66, other));
    // The refused one was not appended, and its refusal waits for the answers before it.
    assert_eq!(fixture.core.metrics.commands.get() - before, 65);
    assert_eq!(fixture.take_all(key), []);
    let mut answer = |request: u64| {
        let outcome = Outcome::Applied(Seq(request));
        let answer = Answer { token: (request + 1) << 8, generation: Generation(1), outcome };
        fixture.core.arrive(vec![Down::Answer(answer)]);
        fixture.take_all(key)
    };
    for request in 1..64 {
        assert_eq!(answer(request).len(), 1);
    }
    let took = answer(64);
    assert!(
        matches!(&took[..], [Frame::Ack(_), Frame::Error(error)]
            if error.request == RequestId(65) && error.code == ErrorCode::TooManyInFlight as u16),
        "{took:?}"
    );
    // There is room again.
    fixture.hear(key, send(65, one));
    assert_eq!(fixture.core.metrics.commands.get() - before, 66);
}

#[tokio::test(start_paused = true)]
async fn the_refusal_of_a_command_overtakes_no_answer_and_no_more_are_read_than_may_be_held() {
    let (mut fixture, mut router) = (Fixture::new(SessionLimits::default()), Router::default());
    let key = open(&mut fixture, &mut router, 1);
    let chat = ChatId::direct(user(1), user(2)).into();
    fixture.hear(key, send(1, chat));
    let text = "x".repeat(TEXT_BYTES_MAX + 1).into();
    let too_large = CommandBody::Send { format: MessageFormat::Text, text };
    let mut last = 1;
    while fixture.core.wants_frames(key).is_some() {
        last += 1;
        fixture.hear(key, Command { body: too_large.clone(), ..send(last, chat) });
    }
    assert_eq!(last, COMMANDS_HELD_MAX as u64);
    assert_eq!(fixture.core.session(key).unwrap().machine.in_flight(), 1, "what is refused does not wait");
    assert_eq!(fixture.take_all(key), []);
    let answer = Answer { token: 2 << 8, generation: Generation(1), outcome: Outcome::Applied(Seq(9)) };
    fixture.core.arrive(vec![Down::Answer(answer)]);
    let took = fixture.take_all(key);
    assert_eq!(took[0], Frame::Ack(Ack { request: RequestId(1), seq: Seq(9) }));
    for (request, frame) in (2..=last).zip(&took[1..]) {
        let Frame::Error(error) = frame else { panic!("{frame:?}") };
        assert_eq!((error.request, error.code), (RequestId(request), ErrorCode::TooLarge as u16));
    }
    assert_eq!(took.len() as u64, last);
    assert_eq!(fixture.core.session(key).unwrap().machine.in_flight(), 0);
    assert!(fixture.core.wants_frames(key).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_thousand_long_pages_at_once_cost_the_bound_and_one_slice() {
    let (mut fixture, mut router) = (Fixture::new(SessionLimits::default()), Router::default());
    let key = open(&mut fixture, &mut router, 1);
    let chat = long_chat(&mut router, 300);
    let pages = 1_000;
    for request in 0..pages {
        fixture.hear(key, page(request, chat, Direction::Forward, 1, 256));
    }
    let bound = fixture.core.limits.outbox_bytes_max / 2 + 32 * 20 * 1_024;
    let mut most = 0;
    let mut ended = 0;
    while ended < 3 {
        settle(&mut fixture, &mut router);
        most = most.max(fixture.core.session(key).unwrap().outbox.bytes());
        for frame in fixture.take(key, 100_000) {
            if let Frame::PageChunk(chunk) = frame
                && chunk.last
            {
                assert_eq!(chunk.request, RequestId(ended), "in the order in which they were asked for");
                ended += 1;
            }
        }
    }
    assert!(most <= bound, "{most} bytes waited");
    assert_eq!(u64::from(fixture.core.session(key).unwrap().machine.in_flight()), pages - ended);
}

#[tokio::test(start_paused = true)]
async fn a_page_read_in_slices_is_one_page_in_both_directions() {
    let (mut fixture, mut router) = (Fixture::new(SessionLimits::default()), Router::default());
    let key = open(&mut fixture, &mut router, 1);
    let chat = long_chat(&mut router, 100);
    let cases = [
        (Direction::Forward, 1, 256, (1..=100).collect::<Vec<u64>>()),
        (Direction::Forward, 1, 64, (1..=64).collect()),
        (Direction::Forward, 40, 33, (40..=72).collect()),
        (Direction::Forward, 90, 256, (90..=100).collect()),
        (Direction::Forward, 101, 256, Vec::new()),
        (Direction::Backward, 1_000, 256, (1..=100).rev().collect()),
        (Direction::Backward, 64, 64, (1..=64).rev().collect()),
        (Direction::Backward, 64, 200, (1..=64).rev().collect()),
        (Direction::Backward, 1_000, 40, (61..=100).rev().collect()),
        (Direction::Forward, 7, 5, (7..=11).collect()),
    ];
    for (request, (direction, from, limit, wanted)) in (0..).zip(cases) {
        fixture.hear(key, page(request, chat, direction, from, limit));
        let mut came = Vec::new();
        let mut last = 0;
        for _ in 0..100 {
            settle(&mut fixture, &mut router);
            for frame in fixture.take_all(key) {
                let Frame::PageChunk(chunk) = frame else { panic!("{frame:?}") };
                assert_eq!(chunk.request, RequestId(request));
                assert_eq!(last, 0, "nothing comes behind the last chunk");
                last += u32::from(chunk.last);
                came.extend(chunk.events.iter().map(|event| peek_seq(event).unwrap().0));
            }
        }
        assert_eq!(last, 1, "{direction:?} from {from}, {limit}");
        assert_eq!(came, wanted, "{direction:?} from {from}, {limit}");
        assert_eq!(fixture.core.session(key).unwrap().machine.in_flight(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_with_many_admissions_out_is_not_read_from_until_they_are_answered() {
    let (mut fixture, mut router) = (Fixture::new(SessionLimits::default()), Router::default());
    let key = open(&mut fixture, &mut router, 1);
    let chat = |number: u64| ChatId::group(user(1), DeviceId::NONE, Counter(number));
    let mut syncs = 0;
    while fixture.core.wants_frames(key).is_some() {
        let entry = |number| SyncEntry { chat: chat(syncs * 256 + number), cursor: None, proof: Default::default() };
        fixture.hear(key, Sync { request: RequestId(syncs), chats: (0..256).map(entry).collect() });
        syncs += 1;
    }
    assert_eq!(syncs, 2);
    let ups = fixture.ups();
    assert_eq!(ups.iter().filter(|up| matches!(up, Up::Admit(_))).count(), 512);
    ups.into_iter().for_each(|up| router.take(up));
    settle(&mut fixture, &mut router);
    let answered: HashMap<RequestId, usize> =
        fixture.take_all(key).into_iter().fold(HashMap::new(), |mut sum, frame| {
            let Frame::Synced(synced) = frame else { panic!("{frame:?}") };
            *sum.entry(synced.request).or_default() += synced.chats.len();
            sum
        });
    assert_eq!(answered, HashMap::from([(RequestId(0), 256), (RequestId(1), 256)]));
    assert!(fixture.core.wants_frames(key).is_some());
}

#[tokio::test(start_paused = true)]
async fn nothing_stays_of_a_chat_whose_admission_had_no_room_on_the_way_up() {
    let (mut fixture, mut router) = (Fixture::new(SessionLimits::default()), Router::default());
    let keys: Vec<_> = (1..=20).map(|number| open(&mut fixture, &mut router, number)).collect();
    let chat = |number: u64| ChatId::group(user(1), DeviceId::NONE, Counter(number));
    let mut asked = 0..0;
    for key in keys {
        for request in 0..2 {
            let entry = |number| SyncEntry { chat: chat(number), cursor: None, proof: Default::default() };
            let chats = asked.end..asked.end + 256;
            asked.end = chats.end;
            fixture.hear(key, Sync { request: RequestId(request), chats: chats.map(entry).collect() });
        }
    }
    let admits = fixture.ups().into_iter().filter_map(|up| match up {
        Up::Admit(admit) => Some(admit.entity),
        _ => None,
    });
    let went: HashSet<EntityId> = admits.collect();
    assert!(!went.is_empty() && (went.len() as u64) < asked.end, "{} of {}", went.len(), asked.end);
    for number in asked {
        let entity = EntityId::from(chat(number));
        assert_eq!(fixture.core.subscriptions.is_unknown(entity), !went.contains(&entity), "chat {number}");
    }
}

#[tokio::test(start_paused = true)]
async fn two_syncs_with_one_request_number_are_both_answered_and_count_no_longer() {
    let (mut fixture, mut router) = (Fixture::new(SessionLimits::default()), Router::default());
    let key = open(&mut fixture, &mut router, 1);
    let entry = |number| SyncEntry {
        chat: ChatId::group(user(1), DeviceId::NONE, Counter(number)),
        cursor: None,
        proof: Default::default(),
    };
    fixture.hear(key, Sync { request: RequestId(7), chats: vec![entry(1), entry(2)] });
    fixture.hear(key, Sync { request: RequestId(7), chats: vec![entry(3), entry(4), entry(5)] });
    // Another is answered at once, while they wait.
    fixture.hear(key, Sync { request: RequestId(7), chats: Vec::new() });
    settle(&mut fixture, &mut router);
    let took = fixture.take_all(key);
    let synced = took.iter().map(|frame| match frame {
        Frame::Synced(synced) => (synced.chats.len(), synced.last),
        other => panic!("{other:?}"),
    });
    let (chats, lasts) = synced.fold((0, 0), |(chats, lasts), (more, last)| (chats + more, lasts + usize::from(last)));
    assert_eq!((chats, lasts), (5, 3));
    assert_eq!(fixture.core.session(key).unwrap().machine.in_flight(), 0);
    assert!(fixture.core.under_way(key).is_none());
}

#[tokio::test(start_paused = true)]
async fn who_has_all_its_answers_has_nothing_under_way_once_its_rate_is_full() {
    let (mut fixture, mut router) = (Fixture::new(SessionLimits::default()), Router::default());
    let key = open(&mut fixture, &mut router, 1);
    assert!(fixture.core.under_way(key).is_none(), "what its inbox had for it was read");
    let chat = long_chat(&mut router, 40);
    subscribe(&mut fixture, key, 1, chat.chat().unwrap());
    fixture.hear(key, page(2, chat, Direction::Forward, 1, 40));
    // To somebody else's inbox: it is refused at once.
    fixture.hear(key, send(3, user(9).into()));
    let mut took = Vec::new();
    for _ in 0..20 {
        settle(&mut fixture, &mut router);
        took.extend(fixture.take_all(key));
    }
    assert!(took.iter().any(|frame| matches!(frame, Frame::PageChunk(chunk) if chunk.last)), "{took:?}");
    assert!(fixture.core.under_way(key).is_some(), "the command is not forgotten by its rate");
    tokio::time::advance(Duration::from_secs(1)).await;
    fixture.take_all(key);
    assert!(fixture.core.under_way(key).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_session_listens_to_10_000_chats_and_to_no_further_one() {
    let limits = SessionLimits::default();
    assert_eq!(limits.subscriptions_max, SUBSCRIPTIONS_MAX);
    let (mut fixture, mut router) = (Fixture::new(limits), Router::default());
    let key = open(&mut fixture, &mut router, 1);
    let chat = |number: usize| ChatId::group(user(1), DeviceId::NONE, Counter(number as u64));
    let answer = |fixture: &mut Fixture, router: &mut Router, number: usize| {
        if !router.chats.contains_key(&EntityId::from(chat(number))) {
            router.add(chat(number).into(), user(1), true);
        }
        subscribe(fixture, key, number as u64, chat(number));
        settle(fixture, router);
        let took = fixture.take_all(key);
        let [answer] = &took[..] else { panic!("{took:?}") };
        answer.clone()
    };
    for number in 1..=SUBSCRIPTIONS_MAX {
        let answer = answer(&mut fixture, &mut router, number);
        assert!(matches!(answer, Frame::Subscribed(_)), "{number}: {answer:?}");
    }
    let Frame::Error(refused) = answer(&mut fixture, &mut router, SUBSCRIPTIONS_MAX + 1) else {
        panic!("one more is refused")
    };
    assert_eq!(refused.code, ErrorCode::TooManySubscriptions as u16);
    // One that is there begins anew, and one that is given up makes room.
    assert!(matches!(answer(&mut fixture, &mut router, 7), Frame::Subscribed(_)));
    fixture.hear(key, Unsubscribe { request: RequestId(1), chat: chat(9) });
    assert!(matches!(&fixture.take_all(key)[..], [Frame::Unsubscribed(_)]));
    assert!(matches!(answer(&mut fixture, &mut router, SUBSCRIPTIONS_MAX + 1), Frame::Subscribed(_)));
}

#[tokio::test(start_paused = true)]
async fn signals_faster_than_their_rate_are_dropped() {
    let (mut fixture, mut router) = (Fixture::new(SessionLimits::default()), Router::default());
    let chat = ChatId::direct(user(1), user(2));
    router.add(chat.into(), user(1), true);
    let key = open(&mut fixture, &mut router, 1);
    subscribe(&mut fixture, key, 1, chat);
    settle(&mut fixture, &mut router);
    for _ in 0..1_000 {
        fixture.hear(key, Signal { chat, user: None, kind: SignalKind::TYPING, payload: Default::default() });
    }
    assert_eq!(fixture.ups().len(), 64);
}

#[tokio::test(start_paused = true)]
async fn a_removed_user_sends_no_signals_however_far_behind_its_removal_it_is() {
    let (mut fixture, mut router) = (Fixture::new(SessionLimits::default()), Router::default());
    let chat = ChatId::direct(user(1), user(2));
    router.add(chat.into(), user(1), true);
    let key = open(&mut fixture, &mut router, 1);
    subscribe(&mut fixture, key, 1, chat);
    settle(&mut fixture, &mut router);
    let signal = || Signal { chat, user: None, kind: SignalKind::TYPING, payload: Default::default() };
    let sends = |fixture: &mut Fixture| {
        fixture.hear(key, signal());
        fixture.ups().into_iter().filter(|up| matches!(up, Up::Signal { .. })).count()
    };
    // It takes nothing any more: its outbox fills, and it lags.
    while fixture.core.metrics.cuts.get() == 0 {
        router.say(chat.into(), 8 * 1_024);
        settle(&mut fixture, &mut router);
    }
    assert_eq!(sends(&mut fixture), 1);
    router.remove(chat.into(), user(1));
    settle(&mut fixture, &mut router);
    assert_eq!(sends(&mut fixture), 0);
}

#[tokio::test(start_paused = true)]
async fn a_signal_for_very_many_holds_nobody_up() {
    let (mut fixture, mut router) = (Fixture::new(SessionLimits::default()), Router::default());
    let chat = ChatId::direct(user(1), user(2));
    let mut keys = Vec::new();
    let signals = |fixture: &mut Fixture, keys: &[SessionKey]| {
        let (user, payload) = (user(99), Default::default());
        fixture.core.arrive(vec![Down::Signal { chat, user, kind: SignalKind::TYPING, payload }]);
        let took = keys.iter().flat_map(|key| fixture.take_all(*key));
        took.filter(|frame| matches!(frame, Frame::Signal(_))).count()
    };
    for byte in 0..=u8::try_from(SLICE_LISTENERS).unwrap() {
        let few = keys.len();
        assert_eq!(signals(&mut fixture, &keys), few);
        router.add(chat.into(), user(byte), true);
        keys.push(open(&mut fixture, &mut router, byte));
        subscribe(&mut fixture, keys[few], 1, chat);
        settle(&mut fixture, &mut router);
    }
    assert_eq!(signals(&mut fixture, &keys), 0);
}

#[tokio::test(start_paused = true)]
async fn the_stream_for_pages_answers_pages_and_takes_nothing_else() {
    let (mut fixture, mut router) = (Fixture::new(SessionLimits::default()), Router::default());
    let key = open(&mut fixture, &mut router, 1);
    let chat = long_chat(&mut router, 40);
    let fixture = Rc::new(RefCell::new(fixture.core));
    let (session, pages) = (Pipe::default(), Pipe::default());
    for pipe in [&session, &pages] {
        pipe.0.borrow_mut().room = usize::MAX;
    }
    session.0.borrow_mut().pages = Some(pages.clone());
    pages.0.borrow_mut().said.push_back(raw(page(7, chat, Direction::Backward, 40, 40)));
    let mut task = pin!(SessionTask::new(fixture.clone(), key, session.clone()));
    let cx = &mut Context::from_waker(Waker::noop());
    for _ in 0..4 {
        assert!(task.as_mut().poll(cx).is_pending());
        while let Some(up) = { fixture.borrow_mut().links.next_up() } {
            router.take(up);
        }
        while router.answer() {}
        while let Some(down) = router.next_down() {
            fixture.borrow_mut().arrive(vec![down]);
        }
    }
    let chunks: Vec<Frame> = pages.0.borrow_mut().took.drain(..).collect();
    let events: usize =
        chunks.iter().map(|frame| if let Frame::PageChunk(chunk) = frame { chunk.events.len() } else { 0 }).sum();
    assert_eq!(events, 40);
    assert!(session.0.borrow().took.is_empty());
    pages.0.borrow_mut().said.push_back(raw(Ping { nonce: 1 }));
    assert!(task.as_mut().poll(cx).is_ready());
    let code = ErrorCode::UnexpectedFrame as u16;
    assert!(matches!(session.0.borrow().took.back(), Some(Frame::Bye(bye)) if bye.code == code));
}
