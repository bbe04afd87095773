//! Pages of members and of chats have as many rows as were asked for, and never more than a page may have.

use std::time::Duration;

use panda_protocol::event::Role;
use panda_protocol::frame::{ChatsPage, CommandBody, MembersPage};
use panda_protocol::limits::{COMMAND_MEMBERS_MAX, PAGE_ROWS_MAX, VARINT_MAX};
use panda_protocol::link::{Down, Outcome, Read, ReadQuery, Up};
use panda_protocol::{ChatId, EntityId, Reader, UserId, Writer};
use panda_storage::event_store::BUCKET_EVENTS;

use super::support::log::MemoryLog;
use super::support::store::MemoryStore;
use super::{Edge, start_over, user};

/// Limits that are asked for, and the rows that come: none is a mistake, and too many are cut.
const ASKED: [(u64, usize); 7] = [
    (0, 1),
    (1, 1),
    (2, 2),
    (PAGE_ROWS_MAX as u64 - 1, PAGE_ROWS_MAX - 1),
    (PAGE_ROWS_MAX as u64, PAGE_ROWS_MAX),
    (PAGE_ROWS_MAX as u64 + 1, PAGE_ROWS_MAX),
    (VARINT_MAX, PAGE_ROWS_MAX),
];

/// Somebody of many.
fn one_of_many(number: u16) -> UserId {
    let mut bytes = [0xee; 16];
    bytes[14..].copy_from_slice(&number.to_be_bytes());
    UserId::from_random(bytes)
}

/// The body of the only part of a reply, behind the number of a request.
async fn listed(edge: &mut Edge, user: UserId, entity: EntityId, query: ReadQuery) -> Reader {
    let Down::Read(reply) = edge.ask(Up::Read(Read { token: 7, user, entity, query })).await else {
        panic!("a listing was asked for")
    };
    assert!(reply.last);
    let mut page = Writer::default();
    page.varint(1);
    page.raw(&reply.body.expect("it may be listed"));
    Reader::new(page.freeze())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_members_has_the_rows_asked_for_but_at_least_one_and_at_most_256() {
    let (log, store) = (MemoryLog::new(1), MemoryStore::new(1, true, BUCKET_EVENTS));
    let (router, mut edge) = start_over(&log, &store, 1).await;
    let everybody: Vec<UserId> = (0..300).map(one_of_many).collect();
    let chat = edge.create(user(1), Vec::new()).await;
    for (counter, members) in (2..).zip(everybody.chunks(COMMAND_MEMBERS_MAX)) {
        let add = CommandBody::AddMembers { role: Role::Member, with_history: false, members: members.to_vec() };
        let token = edge.command(chat.into(), user(1), counter, &add);
        assert!(matches!(edge.answer(token).await, Outcome::Applied(_)));
    }
    for (limit, rows) in ASKED {
        let query = ReadQuery::Members { after: None, limit };
        let page: MembersPage = listed(&mut edge, user(1), chat.into(), query).await.value().expect("a page");
        assert_eq!((page.members.len(), page.more), (rows, true), "{limit} asked for");
    }
    drop(edge);
    router.stop().await.expect("it stops cleanly");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_chats_has_the_rows_asked_for_but_at_least_one_and_at_most_256() {
    let (log, store) = (MemoryLog::new(1), MemoryStore::new(1, true, BUCKET_EVENTS));
    let (router, mut edge) = start_over(&log, &store, 1).await;
    let ann = user(1);
    for peer in (0..300).map(one_of_many) {
        let chat = ChatId::direct(ann, peer);
        let token = edge.command(chat.into(), ann, 1, &CommandBody::CreateDirect { peer });
        assert!(matches!(edge.answer(token).await, Outcome::Applied(_)));
    }
    // What the inbox has to be told follows through the log.
    let all_there = async {
        loop {
            let query = ReadQuery::Chats { after: None, limit: PAGE_ROWS_MAX as u64 };
            let page: ChatsPage = listed(&mut edge, ann, ann.into(), query).await.value().expect("a page");
            if page.more {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), all_there).await.expect("she is told of her chats");
    for (limit, rows) in ASKED {
        let query = ReadQuery::Chats { after: None, limit };
        let page: ChatsPage = listed(&mut edge, ann, ann.into(), query).await.value().expect("a page");
        assert_eq!((page.chats.len(), page.more), (rows, true), "{limit} asked for");
    }
    drop(edge);
    router.stop().await.expect("it stops cleanly");
}
