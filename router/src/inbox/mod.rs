//! Inboxes: what concerns one user on all devices. Pure; see [`crate::fold`].

use panda_protocol::codec::Reader;
use panda_protocol::event::{Digest, Event, EventBody};
use panda_protocol::frame::{CommandBody, command_digest};
use panda_protocol::limits::SETTINGS_MAX;
use panda_protocol::link::{CommandRecord, Effect};
use panda_protocol::{ChatId, Counter, DeviceId, ErrorCode, Position, Seq, Text, Time, UserId};

use crate::fold::{Decision, Numbering, change, nothing_to_do};
use crate::rows::{InboxChat, InboxHead, RowId, RowValue, Rows, SettingRow};

fn decode(command: &CommandRecord) -> Result<CommandBody, Decision> {
    CommandBody::decode(&mut Reader::new(command.command.clone())).map_err(|_| ErrorCode::InvalidRequest.into())
}

pub(crate) fn needs(command: &CommandRecord, rows: &mut Vec<RowId>) {
    match decode(command) {
        Ok(CommandBody::MarkRead { chat, .. }) => rows.push(RowId::InboxChat(chat)),
        Ok(CommandBody::SetSetting { key, .. }) => rows.push(RowId::Setting(key)),
        _ => {}
    }
}

pub(crate) fn needs_of_effect(effect: &Effect, rows: &mut Vec<RowId>) {
    rows.extend(effect.source.chat().map(RowId::InboxChat));
}

/// Only the inbox's user may command it.
pub(crate) fn apply(
    rows: &dyn Rows,
    user: UserId,
    command: &CommandRecord,
    log_time: Time,
) -> Result<Vec<Event>, Decision> {
    if command.actor != user {
        return Err(ErrorCode::Forbidden.into());
    }
    let body = match decode(command)? {
        CommandBody::MarkRead { chat, read } => mark_read(rows, chat, read)?,
        CommandBody::SetSetting { key, value } => set_setting(rows, key, value)?,
        _ => return Err(ErrorCode::InvalidRequest.into()),
    };
    let (seq, time) = Numbering::behind(rows, log_time).next();
    Ok(vec![Event {
        seq,
        time,
        actor: command.actor,
        device: command.device,
        counter: command.counter,
        digest: command_digest(&command.command),
        target: None,
        body,
    }])
}

fn mark_read(rows: &dyn Rows, chat: ChatId, read: Seq) -> Result<EventBody, Decision> {
    let entry = rows.inbox_chat(chat).filter(|entry| entry.joined.is_some()).ok_or(ErrorCode::NotMember)?;
    if read <= entry.read { Err(nothing_to_do(entry.read)) } else { Ok(EventBody::ReadMoved { chat, read }) }
}

fn set_setting(rows: &dyn Rows, key: Text, value: bytes::Bytes) -> Result<EventBody, Decision> {
    if key.is_empty() {
        return Err(ErrorCode::InvalidRequest.into());
    }
    let row = rows.row(&RowId::Setting(key.clone()));
    let set = matches!(row.map(|row| &row.value), Some(RowValue::Setting(SettingRow { set: true })));
    if !set && value.is_empty() {
        return Err(nothing_to_do(row.map_or(Seq(0), |row| row.seq)));
    }
    if !set && rows.inbox_head().map_or(0, |head| head.settings) as usize >= SETTINGS_MAX {
        return Err(ErrorCode::LimitReached.into());
    }
    Ok(EventBody::SettingChanged { new: !set, key, value })
}

/// Taken if its source is above the highest taken from that chat; never refused.
pub(crate) fn apply_effect(rows: &dyn Rows, effect: &Effect, log_time: Time) -> Result<Vec<Event>, Decision> {
    let chat = effect.source.chat().ok_or(Decision::EffectTaken)?;
    if rows.inbox_chat(chat).is_some_and(|entry| entry.source >= effect.source_seq) {
        return Err(Decision::EffectTaken);
    }
    let source = Event::from_bytes(&effect.event).map_err(|_| Decision::EffectTaken)?;
    let body = match source.body {
        EventBody::MemberAdded { role, visible_from } => {
            EventBody::ChatJoined { chat, source: effect.source_seq, role, visible_from }
        }
        EventBody::MemberRemoved => EventBody::ChatLeft { chat, source: effect.source_seq },
        _ => return Err(Decision::EffectTaken),
    };
    let (seq, time) = Numbering::behind(rows, log_time).next();
    Ok(vec![Event {
        seq,
        time,
        actor: source.actor,
        device: DeviceId::NONE,
        counter: Counter(0),
        digest: Digest::default(),
        target: None,
        body,
    }])
}

/// Each row's next value depends on its own old value and the event alone, never on another row: rows
/// of one entity may be of different age when they are brought to one head.
pub(crate) fn advance(rows: &mut impl Rows, event: &Event, position: Position) {
    match &event.body {
        EventBody::ChatJoined { chat, .. } | EventBody::ChatLeft { chat, .. } | EventBody::ReadMoved { chat, .. } => {
            change(rows, RowId::InboxChat(*chat), event, |old| RowValue::InboxChat(advance_chat(old, event)));
        }
        EventBody::SettingChanged { key, value, .. } => {
            let set = !value.is_empty();
            change(rows, RowId::Setting(key.clone()), event, |_| RowValue::Setting(SettingRow { set }));
        }
        _ => {}
    }
    change(rows, RowId::Head, event, |old| {
        let mut head = match old {
            Some(RowValue::Inbox(head)) => head,
            _ => InboxHead::default(),
        };
        head.position = position;
        match &event.body {
            // Effects of one chat are taken in order, so joining and leaving alternate.
            EventBody::ChatJoined { .. } => head.chats += 1,
            EventBody::ChatLeft { .. } => head.chats = head.chats.saturating_sub(1),
            EventBody::SettingChanged { new: true, .. } => head.settings += 1,
            EventBody::SettingChanged { value, .. } if value.is_empty() => {
                head.settings = head.settings.saturating_sub(1)
            }
            _ => {}
        }
        RowValue::Inbox(head)
    });
}

fn advance_chat(old: Option<RowValue>, event: &Event) -> InboxChat {
    let mut entry = match old {
        Some(RowValue::InboxChat(entry)) => entry,
        _ => InboxChat { source: Seq(0), joined: None, read: Seq(0) },
    };
    match &event.body {
        EventBody::ChatJoined { source, .. } => {
            entry.source = *source;
            entry.joined = Some(*source);
        }
        EventBody::ChatLeft { source, .. } => {
            entry.source = *source;
            entry.joined = None;
        }
        EventBody::ReadMoved { read, .. } => entry.read = *read,
        _ => {}
    }
    entry
}
