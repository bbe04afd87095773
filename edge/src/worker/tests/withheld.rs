//! Commands that wait because they add users to chats.

use std::task::{Context, Poll, Waker};
use std::time::Duration;

use panda_protocol::event::{MessageFormat, Role};
use panda_protocol::frame::{Ack, Command, CommandBody, ErrorReply, Frame, RequestId};
use panda_protocol::limits::UNANSWERED_COMMANDS_MAX;
use panda_protocol::link::{Answer, Down, Outcome};
use panda_protocol::{ChatId, Counter, DeviceId, EntityId, ErrorCode, Generation, Seq};

use super::router::Router;
use super::sessions::settle;
use super::{Fixture, user};
use crate::config::SessionLimits;
use crate::session::SessionKey;

fn device() -> DeviceId {
    DeviceId::from_random([9; 16])
}

/// The group that user 1 makes first.
fn group() -> EntityId {
    ChatId::group(user(1), device(), Counter(1)).into()
}

fn create(members: &[u8]) -> CommandBody {
    CommandBody::CreateGroup { name: "tea".into(), members: members.iter().map(|byte| user(*byte)).collect() }
}

fn say() -> CommandBody {
    CommandBody::Send { format: MessageFormat::Text, text: "hi".into() }
}

/// A session of user 1, whose admission had the token 1.
fn open(fixture: &mut Fixture, router: &mut Router) -> SessionKey {
    let key = fixture.connect_as(user(1), device());
    settle(fixture, router);
    assert!(matches!(fixture.take_all(key)[..], [Frame::Welcome(_)]));
    key
}

impl Fixture {
    fn tell(&mut self, key: SessionKey, request: u64, entity: EntityId, body: CommandBody) {
        let (counter, after) = (Counter(request), Counter(request - 1));
        self.hear(key, Command { request: RequestId(request), entity, counter, after, body, trace: None });
    }

    /// What the worker's loop does behind whatever arrived.
    fn hear_appends(&mut self) {
        let cx = &mut Context::from_waker(Waker::noop());
        while let Poll::Ready(refused) = self.core.links.poll_failed(cx) {
            self.core.take(refused);
        }
    }

    /// The router answers the command whose question or record was the n-th that went out.
    fn answer(&mut self, token: u64, outcome: Outcome) {
        let answer = Answer { token: token << 8, generation: Generation(1), outcome };
        self.core.arrive(vec![Down::Answer(answer)]);
    }
}

/// Requests, and the codes that they are refused with.
fn answers(took: &[Frame]) -> Vec<(u64, Option<u16>)> {
    let answer = |frame: &Frame| match frame {
        Frame::Ack(Ack { request, .. }) => (request.0, None),
        Frame::Error(ErrorReply { request, code, .. }) => (request.0, Some(*code)),
        other => panic!("{other:?}"),
    };
    took.iter().map(answer).collect()
}

#[tokio::test(start_paused = true)]
async fn a_chat_and_what_is_said_in_it_at_once_are_appended_in_order_once_its_members_were_counted() {
    let (mut fixture, mut router) = (Fixture::new(SessionLimits::default()), Router::default());
    let key = open(&mut fixture, &mut router);
    fixture.tell(key, 1, group(), create(&[2]));
    fixture.tell(key, 2, group(), say());
    assert_eq!(fixture.core.links.withheld(), 2);
    settle(&mut fixture, &mut router);
    assert_eq!(fixture.core.links.withheld(), 0);
    // The questions about two users had the tokens 2 and 3.
    fixture.answer(5, Outcome::Applied(Seq(4)));
    assert_eq!(fixture.take_all(key), [], "it was appended behind the chat");
    fixture.answer(4, Outcome::Applied(Seq(1)));
    assert_eq!(answers(&fixture.take_all(key)), [(1, None), (2, None)]);
    assert_eq!(fixture.core.session(key).unwrap().machine.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_member_at_the_limit_refuses_the_whole_command_and_no_answer_overtakes_it() {
    let (mut fixture, mut router) = (Fixture::new(SessionLimits::default()), Router::default());
    router.full.insert(user(3));
    let key = open(&mut fixture, &mut router);
    let members = vec![user(2), user(3)];
    fixture.tell(key, 1, group(), CommandBody::AddMembers { role: Role::Member, with_history: false, members });
    fixture.tell(key, 2, group(), say());
    let bodies = [create(&[3]), CommandBody::CreateDirect { peer: user(3) }];
    let chats = [ChatId::group(user(1), device(), Counter(3)), ChatId::direct(user(1), user(3))];
    for ((request, body), chat) in (3..).zip(bodies).zip(chats) {
        fixture.tell(key, request, chat.into(), body);
    }
    // The first answers bring up the questions to the chats' owners.
    settle(&mut fixture, &mut router);
    settle(&mut fixture, &mut router);
    fixture.hear_appends();
    let full = Some(ErrorCode::LimitReached as u16);
    assert_eq!(answers(&fixture.take_all(key)), [(1, full), (3, full), (4, full)]);
    // What stands behind the first is its chat's owner to refuse.
    assert_eq!((fixture.core.links.withheld(), fixture.core.links.waiting()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn withheld_commands_count_as_unanswered() {
    let limits = SessionLimits { commands_per_second: 1_000, ..SessionLimits::default() };
    let (mut fixture, mut router) = (Fixture::new(limits), Router::default());
    let key = open(&mut fixture, &mut router);
    fixture.tell(key, 1, group(), create(&[]));
    for request in 2..=UNANSWERED_COMMANDS_MAX as u64 + 1 {
        fixture.tell(key, request, group(), say());
    }
    assert_eq!(fixture.core.links.withheld(), UNANSWERED_COMMANDS_MAX);
    assert_eq!(fixture.take_all(key), [], "its refusal waits for the answers before it");
    assert_eq!(usize::from(fixture.core.session(key).unwrap().machine.in_flight()), UNANSWERED_COMMANDS_MAX + 1);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_inbox_and_one_without_an_owner_hold_no_command_up() {
    let (mut fixture, mut router) = (Fixture::new(SessionLimits::default()), Router::default());
    router.damaged.insert(user(2).into());
    let key = open(&mut fixture, &mut router);
    fixture.tell(key, 1, group(), create(&[2]));
    settle(&mut fixture, &mut router);
    assert_eq!((fixture.core.links.withheld(), fixture.core.links.waiting()), (0, 1));
    // Nobody takes the questions of this one.
    let other = ChatId::group(user(1), device(), Counter(2)).into();
    fixture.tell(key, 2, other, create(&[3]));
    let mut due = Vec::new();
    tokio::time::advance(Duration::from_millis(999)).await;
    fixture.core.turn(&mut due);
    assert_eq!(fixture.core.links.withheld(), 1);
    tokio::time::advance(Duration::from_millis(1)).await;
    fixture.core.turn(&mut due);
    assert_eq!((fixture.core.links.withheld(), fixture.core.links.waiting()), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn what_is_withheld_when_its_session_ends_goes_on_and_is_waited_for_at_a_stop() {
    let (mut fixture, mut router) = (Fixture::new(SessionLimits::default()), Router::default());
    let key = open(&mut fixture, &mut router);
    fixture.tell(key, 1, group(), create(&[]));
    fixture.core.remove(key);
    assert!(!fixture.core.is_done(), "its command is to be appended yet");
    settle(&mut fixture, &mut router);
    assert_eq!((fixture.core.links.withheld(), fixture.core.links.waiting()), (0, 1));
    assert!(fixture.core.is_done());
    // Its answer is nobody's any more.
    fixture.answer(3, Outcome::Applied(Seq(1)));
    assert_eq!(fixture.core.links.waiting(), 0);
}
