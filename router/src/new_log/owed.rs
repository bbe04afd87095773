//! What chats owe to the inboxes of their members.

use std::collections::BTreeMap;

use futures_util::{TryStreamExt as _, stream};
use panda_protocol::event::Event;
use panda_protocol::link::Record;
use panda_protocol::{ChatId, EntityId, Seq, UserId};
use panda_storage::{CommandLog, EntityStore, EventStore as _, ReadOrder, StateRow, StoreError};

use super::{BYTES_AT_ONCE, EVENTS_AT_ONCE, EVERY_COPY, Making, append, patiently, row};
use crate::fold;
use crate::rows::bytes::kind;
use crate::rows::{InboxChat, MemberRow, Row, RowId, RowValue};
use crate::shard::Loaded;

/// Member rows read at once.
const MEMBERS_AT_ONCE: usize = 256;
/// Members of one chat that are looked at side by side.
const SIDE_BY_SIDE: usize = 8;

impl<S: EntityStore, L: CommandLog> Making<'_, S, L> {
    /// Compares what a chat says of everybody who is or was a member with what their inboxes say.
    pub(super) async fn members(&self, chat: ChatId, loaded: &Loaded) -> Result<(), StoreError> {
        // Those whom the tail named: their stored rows may lag.
        let mut moved = BTreeMap::new();
        for (id, row) in &loaded.rows {
            if let (RowId::Member(user), Some(Row { value: RowValue::Member(member), .. })) = (id, row) {
                moved.insert(*user, *member);
            }
        }
        self.some_members(chat, moved.iter().map(|(user, member)| (*user, *member)).collect()).await?;
        let mut after = None;
        loop {
            let page = patiently("the event store", async || {
                self.store.scan_state(chat.into(), kind::MEMBER, after.clone(), MEMBERS_AT_ONCE).await
            });
            let page = page.await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.key.key.clone());
            let mut members = Vec::with_capacity(page.len());
            for row in page {
                // One that cannot be read keeps nobody else from being compared.
                let read = self.or_damaged(chat.into(), member_row(chat.into(), row))?;
                if let Some((RowId::Member(user), Some(Row { value: RowValue::Member(member), .. }))) = read
                    && !moved.contains_key(&user)
                {
                    members.push((user, member));
                }
            }
            self.some_members(chat, members).await?;
        }
    }

    async fn some_members(&self, chat: ChatId, members: Vec<(UserId, MemberRow)>) -> Result<(), StoreError> {
        stream::iter(members.into_iter().map(Ok))
            .try_for_each_concurrent(SIDE_BY_SIDE, |(user, member)| self.member(chat, user, member))
            .await
    }

    /// An inbox that is damaged keeps no other one from being compared, nor does a chat of which some event is.
    async fn member(&self, chat: ChatId, user: UserId, member: MemberRow) -> Result<(), StoreError> {
        let missing = self.first_missing(chat, user, &member).await;
        if let Some(missing) = self.or_damaged(user.into(), missing)? {
            let appended = self.append_between(chat, user, missing, newest_of(&member)).await;
            self.or_damaged(chat.into(), appended)?;
        }
        Ok(())
    }

    /// The first event of a chat that an inbox may not have taken; behind the newest one if there is none.
    async fn first_missing(&self, chat: ChatId, user: UserId, member: &MemberRow) -> Result<Seq, StoreError> {
        let newest = newest_of(member);
        let id = RowId::InboxChat(chat);
        let inbox = EntityId::from(user);
        // The stored row is enough for nearly all: it may lag, and never runs ahead.
        let stored = patiently("the event store", async || self.store.read_state(inbox, vec![id.key()]).await);
        let stored = stored.await?.pop().flatten().and_then(|row| row.value).map(Row::from_bytes).transpose();
        let mut entry = stored.map_err(|error| corrupt(inbox, error))?.as_ref().and_then(inbox_chat);
        if entry.is_none_or(|entry| entry.source < newest) {
            let loaded = self.load(inbox, id.clone()).await?;
            entry = row(&loaded, &id).and_then(inbox_chat);
        }
        self.count(|done| done.members += 1);
        // Who never heard of the chat need not hear of what came before the last joining.
        Ok(entry.map_or(member.joined, |entry| entry.source.next()))
    }

    /// Appends what events of a chat do to an inbox, in order.
    async fn append_between(&self, chat: ChatId, user: UserId, from: Seq, through: Seq) -> Result<(), StoreError> {
        let (entity, target) = (EntityId::from(chat), EntityId::from(user));
        let mut next = from;
        while next <= through {
            let page = patiently(EVERY_COPY, async || {
                self.store.read_events(entity, next, ReadOrder::Forward, EVENTS_AT_ONCE, BYTES_AT_ONCE).await
            });
            let page = page.await?;
            if page.first().is_none_or(|first| first.seq != next) {
                return Err(StoreError::Corrupt(format!(
                    "{entity} has a member by event {through} and no event {next}"
                )));
            }
            for row in page {
                next = row.seq.next();
                if row.seq > through {
                    break;
                }
                let event = Event::from_bytes(&row.event).map_err(|error| corrupt(entity, error))?;
                for effect in fold::effects(entity, &event, &row.event) {
                    if effect.target == target {
                        append(self.log, target.shard(self.log.shards()), &Record::Effect(effect)).await;
                        self.count(|done| done.effects += 1);
                    }
                }
            }
        }
        Ok(())
    }
}

/// The event that says last whether somebody is a member.
fn newest_of(member: &MemberRow) -> Seq {
    member.ended.unwrap_or(member.joined)
}

fn member_row(chat: EntityId, row: StateRow) -> Result<(RowId, Option<Row>), StoreError> {
    let id = RowId::from_key(&row.key).map_err(|error| corrupt(chat, error))?;
    let value = row.value.map(Row::from_bytes).transpose().map_err(|error| corrupt(chat, error))?;
    Ok((id, value))
}

fn inbox_chat(row: &Row) -> Option<InboxChat> {
    match &row.value {
        RowValue::InboxChat(entry) => Some(*entry),
        _ => None,
    }
}

fn corrupt(entity: EntityId, error: panda_protocol::DecodeError) -> StoreError {
    StoreError::Corrupt(format!("state of {entity}: {error}"))
}
