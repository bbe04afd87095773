//! Every frame, event and record that can be made encodes to bytes that decode to the same value, alone and
//! with a newer version's bytes behind its end.

mod links;

use bytes::Bytes;
use panda_protocol::codec::{Reader, Writer};
use panda_protocol::event::{ChatKind, Digest, Event, EventBody, MessageFormat, Role, peek_seq};
use panda_protocol::frame::*;
use panda_protocol::framing::{frame_bytes, next_frame};
use panda_protocol::limits::*;
use panda_protocol::link::{CommandOrigin, CommandRecord, Effect, LinkId, Record};
use panda_protocol::{
    ChatId, Counter, Cursor, DeviceId, EntityId, Incarnation, Seq, SessionId, Text, Time, TraceContext, UserId,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

/// Numbers of every width, with the borders between the widths.
fn number() -> impl Strategy<Value = u64> + Clone {
    prop_oneof![0..=64u64, 16_382..=16_385u64, (1u64 << 30) - 2..(1 << 30) + 2, 0..=VARINT_MAX, Just(VARINT_MAX)]
}

fn seq() -> impl Strategy<Value = Seq> + Clone {
    number().prop_map(Seq)
}

fn request() -> impl Strategy<Value = RequestId> + Clone {
    number().prop_map(RequestId)
}

fn user() -> impl Strategy<Value = UserId> + Clone {
    any::<[u8; 16]>().prop_map(UserId::from_random)
}

fn device() -> impl Strategy<Value = DeviceId> + Clone {
    any::<[u8; 16]>().prop_map(DeviceId::from_random)
}

fn chat() -> impl Strategy<Value = ChatId> + Clone {
    (user(), user(), any::<bool>()).prop_map(|(one, other, direct)| {
        if direct { ChatId::direct(one, other) } else { ChatId::group(one, DeviceId::NONE, Counter(1)) }
    })
}

fn entity() -> impl Strategy<Value = EntityId> + Clone {
    prop_oneof![user().prop_map(EntityId::from), chat().prop_map(EntityId::from)]
}

fn incarnation() -> impl Strategy<Value = Incarnation> + Clone {
    any::<[u8; 8]>().prop_map(Incarnation)
}

fn cursor() -> impl Strategy<Value = Cursor> + Clone {
    (incarnation(), seq()).prop_map(|(incarnation, seq)| Cursor { incarnation, seq })
}

fn role() -> impl Strategy<Value = Role> + Clone {
    select(vec![Role::Reader, Role::Member, Role::Admin, Role::Owner])
}

fn chat_kind() -> impl Strategy<Value = ChatKind> + Clone {
    select(vec![ChatKind::Group, ChatKind::Direct])
}

/// Short ones, and one of exactly `max` bytes.
fn bytes(max: usize) -> impl Strategy<Value = Bytes> + Clone {
    let short = vec(any::<u8>(), 0..max.min(70)).prop_map(Bytes::from);
    prop_oneof![15 => short, 1 => any::<u8>().prop_map(move |byte| Bytes::from(vec![byte; max]))]
}

fn text(max: usize) -> impl Strategy<Value = Text> + Clone {
    let short =
        vec(any::<char>(), 0..max.min(64) / 4).prop_map(|text| Text::from(text.into_iter().collect::<String>()));
    prop_oneof![15 => short, 1 => Just(Text::from("x".repeat(max)))]
}

fn command_body() -> impl Strategy<Value = CommandBody> {
    let members = || vec(user(), 0..=COMMAND_MEMBERS_MAX);
    let name = || text(CHAT_NAME_BYTES_MAX);
    prop_oneof![
        text(TEXT_BYTES_MAX).prop_map(|text| CommandBody::Send { format: MessageFormat::Text, text }),
        (name(), members()).prop_map(|(name, members)| CommandBody::CreateGroup { name, members }),
        user().prop_map(|peer| CommandBody::CreateDirect { peer }),
        (role(), any::<bool>(), members()).prop_map(|(role, with_history, members)| CommandBody::AddMembers {
            role,
            with_history,
            members
        }),
        members().prop_map(|members| CommandBody::RemoveMembers { members }),
        (user(), role()).prop_map(|(member, role)| CommandBody::SetRole { member, role }),
        name().prop_map(|name| CommandBody::Rename { name }),
        (chat(), seq()).prop_map(|(chat, read)| CommandBody::MarkRead { chat, read }),
        (text(SETTING_KEY_BYTES_MAX), bytes(SETTING_VALUE_BYTES_MAX))
            .prop_map(|(key, value)| CommandBody::SetSetting { key, value }),
    ]
}

fn event_body() -> impl Strategy<Value = EventBody> {
    prop_oneof![
        (chat_kind(), text(CHAT_NAME_BYTES_MAX)).prop_map(|(kind, name)| EventBody::ChatCreated { kind, name }),
        (role(), seq()).prop_map(|(role, visible_from)| EventBody::MemberAdded { role, visible_from }),
        Just(EventBody::MemberRemoved),
        role().prop_map(|role| EventBody::RoleChanged { role }),
        text(CHAT_NAME_BYTES_MAX).prop_map(|name| EventBody::ChatRenamed { name }),
        text(TEXT_BYTES_MAX).prop_map(|text| EventBody::MessageSent { format: MessageFormat::Text, text }),
        (chat(), seq(), role(), seq()).prop_map(|(chat, source, role, visible_from)| EventBody::ChatJoined {
            chat,
            source,
            role,
            visible_from
        }),
        (chat(), seq()).prop_map(|(chat, source)| EventBody::ChatLeft { chat, source }),
        (chat(), seq()).prop_map(|(chat, read)| EventBody::ReadMoved { chat, read }),
        (any::<bool>(), text(SETTING_KEY_BYTES_MAX), bytes(SETTING_VALUE_BYTES_MAX))
            .prop_map(|(new, key, value)| EventBody::SettingChanged { new, key, value }),
        any::<u8>().prop_map(|kind| EventBody::Blanked { kind }),
        (0x50u8.., bytes(1_000)).prop_map(|(kind, body)| EventBody::Unknown { kind, body }),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let header = (seq(), any::<u64>(), user(), device(), number(), any::<[u8; 8]>(), option::of(user()));
    (header, event_body()).prop_map(|((seq, time, actor, device, counter, digest, target), body)| {
        let (time, counter, digest) = (Time(time), Counter(counter), Digest(digest));
        Event { seq, time, actor, device, counter, digest, target, body }
    })
}

fn opening() -> impl Strategy<Value = Frame> {
    let auth = prop_oneof![text(TOKEN_BYTES_MAX).prop_map(Auth::Token), bytes(TICKET_BYTES_MAX).prop_map(Auth::Ticket)];
    let hello = (number(), number(), number(), auth, device(), option::of(cursor()), text(CLIENT_NAME_BYTES_MAX))
        .prop_map(|(one, other, capabilities, auth, device, inbox, client)| {
            let (version_min, version_max) = (one.min(other), one.max(other));
            Hello { version_min, version_max, capabilities, auth, device, inbox, client }.into()
        });
    let inbox = (incarnation(), seq(), seq(), any::<bool>()).prop_map(|(incarnation, head, from, reset)| InboxState {
        incarnation,
        head,
        from,
        reset,
    });
    let head = (number(), number(), any::<[u8; 16]>(), user(), number(), number());
    let welcome = (head, bytes(TICKET_BYTES_MAX), inbox, vec((any::<u8>(), number()), 0..=64)).prop_map(
        |((version, capabilities, session, user, heartbeat_ms, expires_in_ms), ticket, inbox, limits)| {
            let session = SessionId::from_random(session);
            Welcome { version, capabilities, session, user, heartbeat_ms, expires_in_ms, ticket, inbox, limits }.into()
        },
    );
    let go_away = (any::<u16>(), number(), number(), text(ADDRESS_BYTES_MAX), bytes(TICKET_BYTES_MAX)).prop_map(
        |(code, delay_ms, closes_in_ms, address, ticket)| {
            GoAway { code, delay_ms, closes_in_ms, address, ticket }.into()
        },
    );
    prop_oneof![
        hello,
        welcome,
        go_away,
        (request(), text(TOKEN_BYTES_MAX)).prop_map(|(request, token)| Refresh { request, token }.into()),
        (request(), number(), bytes(TICKET_BYTES_MAX)).prop_map(|(request, expires_in_ms, ticket)| Refreshed {
            request,
            expires_in_ms,
            ticket
        }
        .into()),
        number().prop_map(|nonce| Ping { nonce }.into()),
        number().prop_map(|nonce| Pong { nonce }.into()),
        (any::<u16>(), number(), text(ERROR_TEXT_BYTES_MAX)).prop_map(|(code, retry_after_ms, text)| Bye {
            code,
            retry_after_ms,
            text
        }
        .into()),
    ]
}

fn admission() -> impl Strategy<Value = Admission> {
    let start = select(vec![Start::From, Start::BeginsAt, Start::Reset, Start::Live]);
    (start, incarnation(), seq(), seq(), role(), seq(), bytes(PROOF_BYTES_MAX)).prop_map(
        |(start, incarnation, from, head, role, visible_from, proof)| Admission {
            start,
            incarnation,
            from,
            head,
            role,
            visible_from,
            proof,
        },
    )
}

fn entry() -> impl Strategy<Value = SyncEntry> {
    (chat(), option::of(cursor()), bytes(PROOF_BYTES_MAX)).prop_map(|(chat, cursor, proof)| SyncEntry {
        chat,
        cursor,
        proof,
    })
}

fn trace() -> impl Strategy<Value = TraceContext> {
    any::<([u8; 16], [u8; 8], u8)>()
        .prop_filter_map("an identifier of zeros", |(trace, parent, flags)| TraceContext::new(trace, parent, flags))
}

fn live() -> impl Strategy<Value = Frame> {
    let outcome = prop_oneof![admission().prop_map(Ok), (any::<u16>(), number()).prop_map(Err)];
    let synced = (chat(), outcome).prop_map(|(chat, outcome)| SyncedEntry { chat, outcome });
    let details = (number(), seq()).prop_map(|(counter, seq)| ErrorDetails { counter: Counter(counter), seq });
    let command = (request(), entity(), 1..=VARINT_MAX, number(), command_body(), option::of(trace())).prop_map(
        |(request, entity, counter, after, body, trace)| {
            let (counter, after) = (Counter(counter), Counter(after % counter));
            Command { request, entity, counter, after, body, trace }.into()
        },
    );
    let error = (request(), any::<u16>(), number(), option::of(details), text(ERROR_TEXT_BYTES_MAX)).prop_map(
        |(request, code, retry_after_ms, details, text)| {
            ErrorReply { request, code, retry_after_ms, details, text }.into()
        },
    );
    prop_oneof![
        (request(), vec(entry(), 0..40)).prop_map(|(request, chats)| Sync { request, chats }.into()),
        (request(), any::<bool>(), vec(synced, 0..40)).prop_map(|(request, last, chats)| Synced {
            request,
            last,
            chats
        }
        .into()),
        (request(), entry()).prop_map(|(request, entry)| Subscribe { request, entry }.into()),
        (request(), admission()).prop_map(|(request, admission)| Subscribed { request, admission }.into()),
        (request(), chat()).prop_map(|(request, chat)| Unsubscribe { request, chat }.into()),
        request().prop_map(|request| Unsubscribed { request }.into()),
        (entity(), any::<u16>(), number()).prop_map(|(entity, code, retry_after_ms)| Ended {
            entity,
            code,
            retry_after_ms
        }
        .into()),
        (entity(), seq()).prop_map(|(entity, head)| Head { entity, head }.into()),
        (entity(), bytes(EVENT_BYTES_MAX)).prop_map(|(entity, event)| EventFrame { entity, event }.into()),
        (chat(), option::of(user()), any::<u8>(), bytes(SIGNAL_BYTES_MAX))
            .prop_map(|(chat, user, kind, payload)| { Signal { chat, user, kind: SignalKind(kind), payload }.into() }),
        command,
        (request(), seq()).prop_map(|(request, seq)| Ack { request, seq }.into()),
        error,
    ]
}

fn reads() -> impl Strategy<Value = Frame> {
    let direction = select(vec![Direction::Forward, Direction::Backward]);
    let member = (user(), role(), seq()).prop_map(|(user, role, joined)| MemberEntry { user, role, joined });
    let chat_entry = (chat(), seq(), seq()).prop_map(|(chat, joined, read)| ChatEntry { chat, joined, read });
    let events = vec(vec(any::<u8>(), 0..90).prop_map(Bytes::from), 0..=PAGE_EVENTS_MAX);
    let info = (request(), chat_kind(), text(CHAT_NAME_BYTES_MAX), incarnation(), seq(), number(), role(), seq());
    prop_oneof![
        (request(), entity(), direction, seq(), number()).prop_map(|(request, entity, direction, from, limit)| {
            Page { request, entity, direction, from, limit }.into()
        }),
        (request(), any::<bool>(), incarnation(), seq(), seq(), events).prop_map(
            |(request, last, incarnation, begins_at, head, events)| {
                PageChunk { request, last, incarnation, begins_at, head, events }.into()
            }
        ),
        (request(), chat(), option::of(user()), number()).prop_map(|(request, chat, after, limit)| Members {
            request,
            chat,
            after,
            limit
        }
        .into()),
        (request(), any::<bool>(), vec(member, 0..=PAGE_ROWS_MAX)).prop_map(|(request, more, members)| MembersPage {
            request,
            more,
            members
        }
        .into()),
        (request(), option::of(chat()), number())
            .prop_map(|(request, after, limit)| Chats { request, after, limit }.into()),
        (request(), any::<bool>(), seq(), vec(chat_entry, 0..=PAGE_ROWS_MAX))
            .prop_map(|(request, more, inbox, chats)| ChatsPage { request, more, inbox, chats }.into()),
        (request(), chat()).prop_map(|(request, chat)| ChatInfo { request, chat }.into()),
        info.prop_map(|(request, kind, name, incarnation, head, members, role, visible_from)| {
            ChatInfoReply { request, kind, name, incarnation, head, members, role, visible_from }.into()
        }),
    ]
}

fn record() -> impl Strategy<Value = Record> {
    let origin = (any::<u64>(), number()).prop_map(|(link, token)| CommandOrigin { link: LinkId(link), token });
    let command = (origin, entity(), user(), device(), number(), number(), command_body()).prop_map(
        |(origin, entity, actor, device, counter, after, body)| {
            let mut command = Writer::default();
            body.encode(&mut command);
            let (counter, after, command) = (Counter(counter), Counter(after), command.freeze());
            Record::Command(CommandRecord { origin, entity, actor, device, counter, after, command })
        },
    );
    prop_oneof![
        command,
        (entity(), seq(), entity(), event()).prop_map(|(source, source_seq, target, event)| {
            Record::Effect(Effect { source, source_seq, target, event: event.to_bytes() })
        }),
        (any::<u64>(), any::<u16>()).prop_map(|(router, rules_max)| Record::Takeover { router, rules_max }),
        any::<u16>().prop_map(|version| Record::Rules { version }),
    ]
}

fn grown(bytes: &[u8]) -> Bytes {
    [bytes, b"\xffnewer"].concat().into()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn frames_come_back_as_they_were(frame in prop_oneof![opening(), live(), reads()]) {
        let mut bytes = frame.to_bytes();
        let raw = next_frame(&mut bytes, FRAME_BYTES_MAX).unwrap().unwrap();
        prop_assert!(bytes.is_empty());
        let longer = grown(&raw.body);
        prop_assert_eq!(Frame::decode(raw), Ok(Some(frame.clone())));
        let mut bytes = frame_bytes(frame.kind(), longer.len(), |out| out.raw(&longer));
        let raw = next_frame(&mut bytes, FRAME_BYTES_MAX).unwrap().unwrap();
        prop_assert_eq!(Frame::decode(raw), Ok(Some(frame)));
    }

    #[test]
    fn events_come_back_as_they_were(event in event()) {
        let bytes = event.to_bytes();
        prop_assert!(bytes.len() <= EVENT_BYTES_MAX);
        prop_assert_eq!(peek_seq(&bytes), Ok(event.seq));
        prop_assert_eq!(Event::from_bytes(&grown(&bytes)), Ok(event.clone()));
        prop_assert_eq!(Event::from_bytes(&bytes), Ok(event));
    }

    #[test]
    fn records_come_back_as_they_were(record in record()) {
        let bytes = record.to_bytes();
        prop_assert_eq!(Record::from_bytes(grown(&bytes)), Ok(record.clone()));
        prop_assert_eq!(Record::from_bytes(bytes), Ok(record));
    }

    #[test]
    fn numbers_come_back_in_their_shortest_form(value in number()) {
        let mut out = Writer::default();
        out.varint(value);
        let bytes = out.freeze();
        prop_assert_eq!(bytes.len(), panda_protocol::codec::varint_len(value));
        prop_assert_eq!(Reader::new(bytes).varint(), Ok(value));
    }

    #[test]
    fn identifiers_come_back_from_their_text(entity in entity(), device in device()) {
        prop_assert_eq!(entity.to_string().parse(), Ok(entity));
        prop_assert_eq!(device.to_string().parse(), Ok(device));
    }
}
