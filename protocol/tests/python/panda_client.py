"""The frames, commands and events of the Panda protocol, version 1, as SPEC.md and EVENTS.md list them."""

import hashlib

from panda_codec import (
    DEVICE, DIRECT, GROUP, SESSION, U8, U16, U64, USER, VARINT,
    Bool, Bytes, Either, Fixed, Identifier, List, Option, Pair, Reader, Record, Refused, Text, Unsigned,
    bytes_of, malformed, text_of,
)  # fmt: skip

FRAME_BYTES_MAX, HELLO_BYTES_MAX, TEXT_BYTES_MAX = 65_536, 4_096, 16_384
READER, MEMBER, ADMIN, OWNER = 1, 2, 3, 4
FROM, BEGINS_AT, RESET, LIVE = 0, 1, 2, 3
FORWARD, BACKWARD = 0, 1
GROUP_CHAT, DIRECT_CHAT = 1, 2
TYPING, TYPING_STOPPED, PRESENCE = 1, 2, 3
NO_DEVICE = text_of(bytes([DEVICE]) + bytes(15))

CODES = {
    1000: "going", 1100: "overloaded", 1101: "heartbeat_timeout", 1102: "handshake_timeout", 1103: "internal",
    1104: "too_many_connections", 1105: "inbox_damaged",
    1200: "token_expired", 1201: "token_invalid", 1202: "ticket_invalid",
    1300: "replaced", 1301: "malformed", 1302: "frame_too_large", 1303: "version_unsupported",
    1304: "unexpected_frame", 1305: "text_message", 1306: "unknown_frame", 1307: "origin_refused", 1308: "revoked",
    2000: "unavailable", 2001: "rate_limited", 2002: "too_many_in_flight", 2003: "backlogged", 2004: "damaged",
    2100: "outcome_unknown", 2101: "not_applied", 2102: "held",
    2200: "invalid_request", 2201: "not_found", 2202: "not_member", 2203: "forbidden",
    2204: "limit_reached", 2205: "too_large", 2206: "too_many_subscriptions", 2300: "counter_reused",
    2301: "out_of_order", 2302: "nothing_to_do",
}  # fmt: skip

USER_ID, CHAT_ID, DEVICE_ID = Identifier(USER), Identifier(GROUP, DIRECT), Identifier(DEVICE)
ENTITY_ID = Identifier(USER, GROUP, DIRECT)
INCARNATION, DIGEST, PROOF, TICKET = Fixed(8), Fixed(8), Bytes(64), Bytes(512)
TOKEN, SENTENCE, CHAT_NAME = Text(3072), Text(256), Text(256)
CURSOR = Record(incarnation=INCARNATION, seq=VARINT)
ROLE, FORMAT, CHAT_KIND = Unsigned(1, range(1, 5)), Unsigned(1, (0,)), Unsigned(1, (GROUP_CHAT, DIRECT_CHAT))
REQUEST = {"request": VARINT}
REFUSAL = {"code": U16, "retry_after_ms": VARINT}
ENTRY = Record(chat=CHAT_ID, cursor=Option(CURSOR), proof=PROOF)
ADMISSION = Record(**{
    "start": Unsigned(1, range(4)), "incarnation": INCARNATION, "from": VARINT, "head": VARINT, "role": ROLE,
    "visible_from": VARINT, "proof": PROOF,
})  # fmt: skip


class Outcome:
    """Of one chat of a Sync: an admission, or a refusal whose fields the vectors show without a name around them."""

    cases = Either(admission=ADMISSION, refusal=Record(**REFUSAL))

    def read(self, reader):
        value = self.cases.read(reader)
        return value.get("refusal", value)

    def write(self, value):
        return self.cases.write(value if "admission" in value else {"refusal": value})

    def shown(self, value):
        return self.cases.shown(value) if "admission" in value else Record(**REFUSAL).shown(value)


COMMANDS = {
    0x01: ("Send", Record(format=FORMAT, text=Text(TEXT_BYTES_MAX))),
    0x02: ("CreateGroup", Record(name=CHAT_NAME, members=List(100, USER_ID))),
    0x03: ("CreateDirect", Record(peer=USER_ID)),
    0x04: ("AddMembers", Record(role=ROLE, with_history=Bool(), members=List(100, USER_ID))),
    0x05: ("RemoveMembers", Record(members=List(100, USER_ID))),
    0x06: ("SetRole", Record(member=USER_ID, role=ROLE)),
    0x07: ("Rename", Record(name=CHAT_NAME)),
    0x40: ("MarkRead", Record(chat=CHAT_ID, read=VARINT)),
    0x41: ("SetSetting", Record(key=Text(64), value=Bytes(4096))),
}
COMMAND_KINDS = {name: kind for kind, (name, _) in COMMANDS.items()}


class Command:
    """Refused for good, mildly, where the fields before the kind are good; see "Which code, where" in SPEC.md."""

    before_kind = Record(request=VARINT, entity=ENTITY_ID, counter=VARINT, after=VARINT)

    def read(self, reader):
        value = self.before_kind.read(reader)
        if not value["after"] < value["counter"]:
            raise malformed("`after` is not below the counter")
        value["kind"] = U8.read(reader)
        if value["kind"] not in COMMANDS:
            raise Refused("invalid_request", "a command of an unknown kind")
        try:
            value["body"] = COMMANDS[value["kind"]][1].read(reader)
        except Refused as refused:
            raise Refused("too_large", str(refused)) if refused.above_limit else refused from None
        return value

    def write(self, value):
        before = {name: value[name] for name in self.before_kind.fields}
        return self.before_kind.write(before) + command_bytes(value["kind"], value["body"])

    def shown(self, value):
        shown = self.before_kind.shown(value)
        return shown | {"kind": value["kind"], "body": COMMANDS[value["kind"]][1].shown(value["body"])}


def command_bytes(kind, body):
    """The kind and the body: what the digest is of."""
    return bytes([kind]) + COMMANDS[kind][1].write(body)


def digest_of(kind, body):
    return hashlib.sha256(command_bytes(kind, body)).digest()[:8]


def group_chat(creator, device, counter):
    named = b"panda group chat" + bytes_of(creator) + bytes_of(device) + counter.to_bytes(8, "big")
    return text_of(bytes([GROUP]) + hashlib.sha256(named).digest()[1:16])


def direct_chat(one, other):
    named = b"panda direct chat" + b"".join(sorted((bytes_of(one), bytes_of(other))))
    return text_of(bytes([DIRECT]) + hashlib.sha256(named).digest()[1:16])


class Hello:
    record = Record(
        version_min=VARINT, version_max=VARINT, capabilities=VARINT, auth=Either(token=TOKEN, ticket=TICKET),
        device=DEVICE_ID, inbox=Option(CURSOR), client=Text(64),
    )  # fmt: skip
    write, shown = record.write, record.shown

    def read(self, reader):
        at = reader.at
        if VARINT.read(reader) > VARINT.read(reader):
            raise malformed("version_min is above version_max")
        reader.at = at
        hello = self.record.read(reader)
        if hello["device"] == NO_DEVICE:
            raise malformed("a Hello names no device")
        return hello


FRAMES = {
    0x01: ("Hello", Hello()),
    0x02: ("Welcome", Record(
        version=VARINT, capabilities=VARINT, session=Identifier(SESSION), user=USER_ID, heartbeat_ms=VARINT,
        expires_in_ms=VARINT, ticket=TICKET,
        inbox=Record(**{"incarnation": INCARNATION, "head": VARINT, "from": VARINT, "reset": Bool()}),
        limits=List(64, Pair(U8, VARINT)))),
    0x03: ("Sync", Record(**REQUEST, chats=List(256, ENTRY))),
    0x04: ("Synced", Record(**REQUEST, last=Bool(), chats=List(256, Record(chat=CHAT_ID, outcome=Outcome())))),
    0x05: ("Refresh", Record(**REQUEST, token=TOKEN)),
    0x06: ("Refreshed", Record(**REQUEST, expires_in_ms=VARINT, ticket=TICKET)),
    0x07: ("Ping", Record(nonce=VARINT)),
    0x08: ("Pong", Record(nonce=VARINT)),
    0x09: ("GoAway", Record(code=U16, delay_ms=VARINT, closes_in_ms=VARINT, address=Text(256), ticket=TICKET)),
    0x0A: ("Bye", Record(**REFUSAL, text=SENTENCE)),
    0x0B: ("Error", Record(**REQUEST, **REFUSAL, details=Option(Record(counter=VARINT, seq=VARINT)), text=SENTENCE)),
    0x10: ("Command", Command()),
    0x11: ("Ack", Record(**REQUEST, seq=VARINT)),
    0x12: ("Event", Record(entity=ENTITY_ID, event=Bytes(20_480))),
    0x13: ("Subscribe", Record(**REQUEST, entry=ENTRY)),
    0x14: ("Subscribed", Record(**REQUEST, admission=ADMISSION)),
    0x15: ("Unsubscribe", Record(**REQUEST, chat=CHAT_ID)),
    0x16: ("Unsubscribed", Record(**REQUEST)),
    0x17: ("Ended", Record(entity=ENTITY_ID, **REFUSAL)),
    0x20: ("Page", Record(**REQUEST, **{
        "entity": ENTITY_ID, "direction": Unsigned(1, (FORWARD, BACKWARD)), "from": VARINT, "limit": VARINT})),
    0x21: ("PageChunk", Record(
        **REQUEST, last=Bool(), incarnation=INCARNATION, begins_at=VARINT, head=VARINT,
        events=List(256, Bytes(20_480)))),
    0x22: ("Members", Record(**REQUEST, chat=CHAT_ID, after=Option(USER_ID), limit=VARINT)),
    0x23: ("MembersPage", Record(
        **REQUEST, more=Bool(), members=List(256, Record(user=USER_ID, role=ROLE, joined=VARINT)))),
    0x24: ("Chats", Record(**REQUEST, after=Option(CHAT_ID), limit=VARINT)),
    0x25: ("ChatsPage", Record(
        **REQUEST, more=Bool(), inbox=VARINT, chats=List(256, Record(chat=CHAT_ID, joined=VARINT, read=VARINT)))),
    0x26: ("ChatInfo", Record(**REQUEST, chat=CHAT_ID)),
    0x27: ("ChatInfoReply", Record(
        **REQUEST, kind=CHAT_KIND, name=CHAT_NAME, incarnation=INCARNATION, head=VARINT, members=VARINT, role=ROLE,
        visible_from=VARINT)),
    0x80: ("Signal", Record(chat=CHAT_ID, user=Option(USER_ID), kind=U8, payload=Bytes(1024))),
    0x81: ("Head", Record(entity=ENTITY_ID, head=VARINT)),
}  # fmt: skip
FRAME_TYPES = {name: kind for kind, (name, _) in FRAMES.items()}


def encode(name, /, **fields):
    kind = FRAME_TYPES[name]
    frame = framed(bytes([kind]) + FRAMES[kind][1].write(fields))
    if name == "Hello" and len(frame) > HELLO_BYTES_MAX:
        raise ValueError("the first frame is too large")
    return frame


def framed(type_and_body):
    if len(type_and_body) > FRAME_BYTES_MAX:
        raise ValueError("the frame is too large")
    return VARINT.write(len(type_and_body)) + type_and_body


def decode(reader):
    """The next frame as (name, fields); None for one of a type that is skipped."""
    length = VARINT.read(reader)
    if length > FRAME_BYTES_MAX:
        raise Refused("frame_too_large", f"a frame of {length} bytes")
    if length == 0:
        raise malformed("a frame has at least its type")
    frame = Reader(reader.take(length))
    kind = U8.read(frame)
    if kind not in FRAMES:
        if kind >= 0x80:
            return None
        raise Refused("unknown_frame", f"a frame of type {kind:#04x}")
    name, body = FRAMES[kind]
    return name, body.read(frame)


def decode_message(message):
    """Every frame of a WebSocket message: one or more, and whole ones."""
    reader = Reader(message)
    frames = [decode(reader)]
    while reader.at < len(reader.data):
        frames.append(decode(reader))
    return [frame for frame in frames if frame is not None]


EVENTS = {
    0x01: ("ChatCreated", Record(kind=CHAT_KIND, name=CHAT_NAME)),
    0x02: ("MemberAdded", Record(role=ROLE, visible_from=VARINT)),
    0x03: ("MemberRemoved", Record()),
    0x04: ("RoleChanged", Record(role=ROLE)),
    0x05: ("ChatRenamed", Record(name=CHAT_NAME)),
    0x06: ("MessageSent", Record(format=FORMAT, text=Text(TEXT_BYTES_MAX))),
    0x40: ("ChatJoined", Record(chat=CHAT_ID, source=VARINT, role=ROLE, visible_from=VARINT)),
    0x41: ("ChatLeft", Record(chat=CHAT_ID, source=VARINT)),
    0x42: ("ReadMoved", Record(chat=CHAT_ID, read=VARINT)),
    0x43: ("SettingChanged", Record(new=Bool(), key=Text(64), value=Bytes(4096))),
}
EVENT_KINDS = {name: kind for kind, (name, _) in EVENTS.items()}
EVENT_VERSION, HAS_TARGET, ERASED = 1, 1, 2
EVENT_HEADER = Record(seq=VARINT, time=U64, actor=USER_ID, device=DEVICE_ID, counter=VARINT, digest=DIGEST)


def decode_event(data):
    reader = Reader(data)
    Unsigned(1, (EVENT_VERSION,)).read(reader)
    kind = U8.read(reader)
    flags = Unsigned(1, range(4)).read(reader)
    event = {"kind": kind} | EVENT_HEADER.read(reader)
    event["target"] = USER_ID.read(reader) if flags & HAS_TARGET else None
    body = Bytes(20_480).read(reader)
    if flags & ERASED:
        event["body"] = {"erased": True}
    elif kind in EVENTS:
        event["body"] = EVENTS[kind][1].read(Reader(body))
    else:
        event["body"] = {"unknown": body}
    return event


def encode_event(event):
    flags = (HAS_TARGET if event["target"] else 0) | (ERASED if "erased" in event["body"] else 0)
    header = {name: event[name] for name in EVENT_HEADER.fields}
    target = USER_ID.write(event["target"]) if event["target"] else b""
    if flags & ERASED:
        body = b""
    elif event["kind"] in EVENTS:
        body = EVENTS[event["kind"]][1].write(event["body"])
    else:
        body = event["body"]["unknown"]
    return bytes([EVENT_VERSION, event["kind"], flags]) + EVENT_HEADER.write(header) + target + Bytes(20_480).write(body)


def shown_event(event):
    body = event["body"]
    if event["kind"] in EVENTS and "erased" not in body:
        body = EVENTS[event["kind"]][1].shown(body)
    elif "unknown" in body:
        body = {"unknown": body["unknown"].hex()}
    return {"kind": event["kind"], "target": event["target"], "body": body} | EVENT_HEADER.shown(event)
