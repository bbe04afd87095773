//! What somebody who comes back is told of what came meanwhile: where it goes on, that something is missing, or that
//! nothing of what was kept counts.

use panda_protocol::event::Role;
use panda_protocol::frame::{Admission, CommandBody, Start};
use panda_protocol::link::{Admit, Down, Outcome, Up};
use panda_protocol::{ChatId, Cursor, Incarnation, Seq, UserId};
use panda_storage::event_store::BUCKET_EVENTS;

use super::support::log::MemoryLog;
use super::support::store::MemoryStore;
use super::{Edge, say, start_over, user};

async fn admission(edge: &mut Edge, user: UserId, chat: ChatId, cursor: Option<Cursor>) -> Admission {
    let admit = Admit { token: 5, user, entity: chat.into(), cursor, member: None, opens: None };
    let Down::Admitted(admitted) = edge.ask(Up::Admit(admit)).await else { panic!("an admission was asked for") };
    admitted.outcome.expect("a member is admitted")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admission_goes_on_at_the_cursor_or_says_what_is_missing() {
    let (log, store) = (MemoryLog::new(1), MemoryStore::new(1, true, BUCKET_EVENTS));
    let (router, mut edge) = start_over(&log, &store, 1).await;
    let (ann, eve) = (user(1), user(2));
    // The chat and its creator; three messages; then somebody who sees nothing of what was before: event 6.
    let chat = edge.create(ann, Vec::new()).await;
    let add = CommandBody::AddMembers { role: Role::Member, with_history: false, members: vec![eve] };
    for (counter, body) in (2..).zip([say("one"), say("two"), say("three"), add]) {
        let token = edge.command(chat.into(), ann, counter, &body);
        assert!(matches!(edge.answer(token).await, Outcome::Applied(_)));
    }
    let live = admission(&mut edge, ann, chat, None).await;
    assert_eq!((live.start, live.from, live.head), (Start::Live, Seq(7), Seq(6)));
    let (ours, other) = (live.incarnation, Incarnation([0xee; 8]));
    assert_ne!(ours, other);
    for (who, incarnation, seq, start, from) in [
        (ann, ours, 0, Start::From, 1),
        (ann, ours, 3, Start::From, 4),
        (ann, ours, 6, Start::From, 7),
        // A cursor beyond the head is of a store that lost something.
        (ann, ours, 7, Start::Reset, 7),
        (ann, other, 3, Start::Reset, 7),
        (ann, other, 0, Start::Reset, 7),
        (eve, ours, 0, Start::BeginsAt, 6),
        (eve, ours, 4, Start::BeginsAt, 6),
        (eve, ours, 5, Start::From, 6),
        (eve, ours, 6, Start::From, 7),
        (eve, other, 4, Start::Reset, 7),
    ] {
        let cursor = Cursor { incarnation, seq: Seq(seq) };
        let told = admission(&mut edge, who, chat, Some(cursor)).await;
        assert_eq!((told.start, told.from, told.head), (start, Seq(from), Seq(6)), "{cursor:?}");
        assert_eq!(told.incarnation, ours);
    }
    drop(edge);
    router.stop().await.expect("it stops cleanly");
}
