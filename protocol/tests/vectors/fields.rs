//! What a vector's bytes say, as JSON: identifiers in text, bytes in hex, 64-bit numbers as decimal
//! strings, so that every language reads them exactly.

use panda_protocol::event::{Event, EventBody};
use panda_protocol::frame::*;
use panda_protocol::{Cursor, Seq};
use serde_json::{Value, json};

use super::hex;

fn number(value: u64) -> Value {
    json!(value.to_string())
}

fn seq(value: Seq) -> Value {
    number(value.0)
}

fn text(value: impl ToString) -> Value {
    json!(value.to_string())
}

fn cursor(value: Option<&Cursor>) -> Value {
    value.map_or(Value::Null, |cursor| json!({"incarnation": hex(&cursor.incarnation.0), "seq": seq(cursor.seq)}))
}

fn texts<T: ToString>(values: &[T]) -> Value {
    values.iter().map(|value| json!(value.to_string())).collect()
}

pub(crate) fn event(event: &Event) -> Value {
    json!({
        "kind": event.body.kind(),
        "seq": seq(event.seq),
        "time": number(event.time.0),
        "actor": text(event.actor),
        "device": text(event.device),
        "counter": number(event.counter.0),
        "digest": hex(&event.digest.0),
        "target": event.target.map(text),
        "body": event_body(&event.body),
    })
}

fn event_body(body: &EventBody) -> Value {
    match body {
        EventBody::ChatCreated { kind, name } => json!({"kind": *kind as u8, "name": name.as_str()}),
        EventBody::MemberAdded { role, visible_from } => {
            json!({"role": *role as u8, "visible_from": seq(*visible_from)})
        }
        EventBody::MemberRemoved => json!({}),
        EventBody::RoleChanged { role } => json!({"role": *role as u8}),
        EventBody::ChatRenamed { name } => json!({"name": name.as_str()}),
        EventBody::MessageSent { format, text } => json!({"format": *format as u8, "text": text.as_str()}),
        EventBody::ChatJoined { chat, source, role, visible_from } => {
            json!({"chat": text(chat), "source": seq(*source), "role": *role as u8, "visible_from": seq(*visible_from)})
        }
        EventBody::ChatLeft { chat, source } => json!({"chat": text(chat), "source": seq(*source)}),
        EventBody::ReadMoved { chat, read } => json!({"chat": text(chat), "read": seq(*read)}),
        EventBody::SettingChanged { new, key, value } => json!({"new": new, "key": key.as_str(), "value": hex(value)}),
        EventBody::Blanked { .. } => json!({"erased": true}),
        EventBody::Unknown { body, .. } => json!({"unknown": hex(body)}),
    }
}

pub(crate) fn command(body: &CommandBody) -> Value {
    match body {
        CommandBody::Send { format, text } => json!({"format": *format as u8, "text": text.as_str()}),
        CommandBody::CreateGroup { name, members } => json!({"name": name.as_str(), "members": texts(members)}),
        CommandBody::CreateDirect { peer } => json!({"peer": text(peer)}),
        CommandBody::AddMembers { role, with_history, members } => {
            json!({"role": *role as u8, "with_history": with_history, "members": texts(members)})
        }
        CommandBody::RemoveMembers { members } => json!({"members": texts(members)}),
        CommandBody::SetRole { member, role } => json!({"member": text(member), "role": *role as u8}),
        CommandBody::Rename { name } => json!({"name": name.as_str()}),
        CommandBody::MarkRead { chat, read } => json!({"chat": text(chat), "read": seq(*read)}),
        CommandBody::SetSetting { key, value } => json!({"key": key.as_str(), "value": hex(value)}),
    }
}

fn entry(entry: &SyncEntry) -> Value {
    json!({"chat": text(entry.chat), "cursor": cursor(entry.cursor.as_ref()), "proof": hex(&entry.proof)})
}

fn admission(admission: &Admission) -> Value {
    json!({
        "start": admission.start as u8,
        "incarnation": hex(&admission.incarnation.0),
        "from": seq(admission.from),
        "head": seq(admission.head),
        "role": admission.role as u8,
        "visible_from": seq(admission.visible_from),
        "proof": hex(&admission.proof),
    })
}

pub(crate) fn frame(frame: &Frame) -> Value {
    match frame {
        Frame::Hello(_)
        | Frame::Welcome(_)
        | Frame::Refresh(_)
        | Frame::Refreshed(_)
        | Frame::Ping(_)
        | Frame::Pong(_)
        | Frame::GoAway(_)
        | Frame::Bye(_) => opening(frame),
        Frame::Page(_)
        | Frame::PageChunk(_)
        | Frame::Members(_)
        | Frame::MembersPage(_)
        | Frame::Chats(_)
        | Frame::ChatsPage(_)
        | Frame::ChatInfo(_)
        | Frame::ChatInfoReply(_) => read(frame),
        _ => live(frame),
    }
}

fn opening(frame: &Frame) -> Value {
    match frame {
        Frame::Hello(hello) => json!({
            "version_min": number(hello.version_min),
            "version_max": number(hello.version_max),
            "capabilities": number(hello.capabilities),
            "auth": match &hello.auth {
                Auth::Token(token) => json!({"token": token.as_str()}),
                Auth::Ticket(ticket) => json!({"ticket": hex(ticket)}),
            },
            "device": text(hello.device),
            "inbox": cursor(hello.inbox.as_ref()),
            "client": hello.client.as_str(),
        }),
        Frame::Welcome(welcome) => json!({
            "version": number(welcome.version),
            "capabilities": number(welcome.capabilities),
            "session": text(welcome.session),
            "user": text(welcome.user),
            "heartbeat_ms": number(welcome.heartbeat_ms),
            "expires_in_ms": number(welcome.expires_in_ms),
            "ticket": hex(&welcome.ticket),
            "inbox": {"incarnation": hex(&welcome.inbox.incarnation.0), "head": seq(welcome.inbox.head), "from": seq(welcome.inbox.from), "reset": welcome.inbox.reset},
            "limits": welcome.limits.iter().map(|(kind, value)| json!([kind, number(*value)])).collect::<Vec<_>>(),
        }),
        Frame::Refresh(refresh) => json!({"request": number(refresh.request.0), "token": refresh.token.as_str()}),
        Frame::Refreshed(refreshed) => {
            json!({"request": number(refreshed.request.0), "expires_in_ms": number(refreshed.expires_in_ms), "ticket": hex(&refreshed.ticket)})
        }
        Frame::Ping(Ping { nonce }) | Frame::Pong(Pong { nonce }) => json!({"nonce": number(*nonce)}),
        Frame::GoAway(go) => {
            json!({"code": go.code, "delay_ms": number(go.delay_ms), "closes_in_ms": number(go.closes_in_ms), "address": go.address.as_str(), "ticket": hex(&go.ticket)})
        }
        Frame::Bye(bye) => {
            json!({"code": bye.code, "retry_after_ms": number(bye.retry_after_ms), "text": bye.text.as_str()})
        }
        other => panic!("not an opening frame: {other:?}"),
    }
}

fn live(frame: &Frame) -> Value {
    match frame {
        Frame::Sync(sync) => {
            json!({"request": number(sync.request.0), "chats": sync.chats.iter().map(entry).collect::<Vec<_>>()})
        }
        Frame::Synced(synced) => json!({
            "request": number(synced.request.0),
            "last": synced.last,
            "chats": synced.chats.iter().map(|chat| json!({
                "chat": text(chat.chat),
                "outcome": match &chat.outcome {
                    Ok(admitted) => json!({"admission": admission(admitted)}),
                    Err((code, retry_after_ms)) => json!({"code": code, "retry_after_ms": number(*retry_after_ms)}),
                },
            })).collect::<Vec<_>>(),
        }),
        Frame::Subscribe(subscribe) => {
            json!({"request": number(subscribe.request.0), "entry": entry(&subscribe.entry)})
        }
        Frame::Subscribed(subscribed) => {
            json!({"request": number(subscribed.request.0), "admission": admission(&subscribed.admission)})
        }
        Frame::Unsubscribe(unsubscribe) => {
            json!({"request": number(unsubscribe.request.0), "chat": text(unsubscribe.chat)})
        }
        Frame::Unsubscribed(unsubscribed) => json!({"request": number(unsubscribed.request.0)}),
        Frame::Ended(ended) => {
            json!({"entity": text(ended.entity), "code": ended.code, "retry_after_ms": number(ended.retry_after_ms)})
        }
        Frame::Head(head) => json!({"entity": text(head.entity), "head": seq(head.head)}),
        Frame::Event(event) => json!({"entity": text(event.entity), "event": hex(&event.event)}),
        Frame::Signal(signal) => {
            json!({"chat": text(signal.chat), "user": signal.user.map(text), "kind": signal.kind.0, "payload": hex(&signal.payload)})
        }
        Frame::Command(command) => json!({
            "request": number(command.request.0),
            "entity": text(command.entity),
            "counter": number(command.counter.0),
            "after": number(command.after.0),
            "kind": command.body.kind(),
            "body": self::command(&command.body),
        }),
        Frame::Ack(ack) => json!({"request": number(ack.request.0), "seq": seq(ack.seq)}),
        Frame::Error(error) => json!({
            "request": number(error.request.0),
            "code": error.code,
            "retry_after_ms": number(error.retry_after_ms),
            "details": error.details.map(|details| json!({"counter": number(details.counter.0), "seq": seq(details.seq)})),
            "text": error.text.as_str(),
        }),
        other => panic!("not a live frame: {other:?}"),
    }
}

fn read(frame: &Frame) -> Value {
    match frame {
        Frame::Page(page) => {
            json!({"request": number(page.request.0), "entity": text(page.entity), "direction": page.direction as u8, "from": seq(page.from), "limit": number(page.limit)})
        }
        Frame::PageChunk(chunk) => json!({
            "request": number(chunk.request.0),
            "last": chunk.last,
            "incarnation": hex(&chunk.incarnation.0),
            "begins_at": seq(chunk.begins_at),
            "head": seq(chunk.head),
            "events": chunk.events.iter().map(|event| hex(event)).collect::<Vec<_>>(),
        }),
        Frame::Members(members) => {
            json!({"request": number(members.request.0), "chat": text(members.chat), "after": members.after.map(text), "limit": number(members.limit)})
        }
        Frame::MembersPage(page) => json!({
            "request": number(page.request.0),
            "more": page.more,
            "members": page.members.iter().map(|member| json!({"user": text(member.user), "role": member.role as u8, "joined": seq(member.joined)})).collect::<Vec<_>>(),
        }),
        Frame::Chats(chats) => {
            json!({"request": number(chats.request.0), "after": chats.after.map(text), "limit": number(chats.limit)})
        }
        Frame::ChatsPage(page) => json!({
            "request": number(page.request.0),
            "more": page.more,
            "inbox": seq(page.inbox),
            "chats": page.chats.iter().map(|chat| json!({"chat": text(chat.chat), "joined": seq(chat.joined), "read": seq(chat.read)})).collect::<Vec<_>>(),
        }),
        Frame::ChatInfo(info) => json!({"request": number(info.request.0), "chat": text(info.chat)}),
        Frame::ChatInfoReply(info) => json!({
            "request": number(info.request.0),
            "kind": info.kind as u8,
            "name": info.name.as_str(),
            "incarnation": hex(&info.incarnation.0),
            "head": seq(info.head),
            "members": number(info.members),
            "role": info.role as u8,
            "visible_from": seq(info.visible_from),
        }),
        other => panic!("not a read frame: {other:?}"),
    }
}
