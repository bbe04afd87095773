"""Steps from finding the server to reading what was said."""

import hashlib

import panda_client as panda
from panda_codec import VARINT_MAX, bytes_of
from people import PASSWORD, Pen, entry, page, seqs
from session import Session, http

BIG = "🐼" * 4096
SAYINGS = 24


def discovery_and_accounts(people):
    document = people.document
    assert document["websocket"].startswith("/") and document["api"] == "/", document
    assert document["limits"]["frame_bytes"] == 65_536 and document["limits"]["text_bytes"] == 16_384, document
    assert len(bytes.fromhex(document["quic_certificate_sha256"])) == 32 and ":" in document["quic"], document
    status, again = people.login(people.ada)
    assert status == 200 and again["user"] == people.ada["user"], (status, again)
    status, problem = people.login(people.ada, "wrong horse")
    assert (status, problem["code"], problem["label"]) == (401, 2208, "bad_credentials"), problem
    status, problem = http(people.base, "POST", "/register", people.ada["user"] | {"password": PASSWORD})
    assert (status, problem["code"], problem["field"]) == (409, 2207, "username"), problem


def welcome(people):
    people.a, people.b = Session(people.address, people.ada), Session(people.address, people.ben)
    for session, account in ((people.a, people.ada), (people.b, people.ben)):
        told = session.welcome
        assert told["version"] == 1 and told["user"] == account["user"]["id"], told
        assert told["heartbeat_ms"] > 0 and 0 < told["expires_in_ms"] <= account["expires_in"] * 1000, told
        assert told["ticket"] and told["inbox"] | {"incarnation": b""} == {
            "incarnation": b"", "head": 0, "from": 1, "reset": False}, told  # fmt: skip
        limits = dict(told["limits"])
        assert limits | {6: 0} == {1: 65_536, 2: 16_384, 3: 10_000, 4: 1_024, 5: 100, 6: 0} and limits[6] > 0, told
    assert people.a.welcome["session"] != people.b.welcome["session"]


def creation_reaches_inboxes(people):
    a, b, counter = people.a, people.b, 7
    people.tea = panda.group_chat(a.user, a.device, counter)
    people.pen = Pen(a, people.tea)
    body = dict(name="tea", members=[b.user])
    other = Pen(a, panda.group_chat(a.user, a.device, counter + 1))
    other.refused("invalid_request", "CreateGroup", counter, **body)
    other.entity = people.tea
    assert people.pen.write("CreateGroup", counter, **body) == 1
    for session, role, source in ((a, panda.OWNER, 2), (b, panda.MEMBER, 3)):
        joined = session.event(session.user, "ChatJoined")
        assert joined["body"] == dict(chat=people.tea, source=source, role=role, visible_from=1), joined
        assert (joined["actor"], joined["seq"], joined["target"]) == (a.user, 1, None), joined
        assert (joined["device"], joined["counter"], joined["digest"]) == (panda.NO_DEVICE, 0, bytes(8)), joined
    people.head = 3
    again = people.pen.command("CreateGroup", counter, 0, **body)
    assert a.ask("Command", **again)["seq"] == 1, "a resend is answered as the first time"


def subscribe(people):
    for session, role in ((people.a, panda.OWNER), (people.b, panda.MEMBER)):
        admission = session.ask("Subscribe", entry=entry(people.tea))["admission"]
        people.proof = admission.pop("proof")
        assert admission == {
            "start": panda.LIVE, "incarnation": session.incarnation, "from": 4, "head": 3, "role": role,
            "visible_from": 1}, admission  # fmt: skip


def messages(people):
    a, b, pen = people.a, people.b, people.pen
    text = "hello, שלום, नमस्ते"
    assert pen.say(text, counter=20) == people.next(), "`after` is the counter of the CreateGroup"
    body = dict(format=0, text=text)
    for session in (a, b):
        event = session.event(people.tea, "MessageSent")
        people.hello = event["bytes"]
        assert event["body"] == body and event["digest"] == panda.digest_of(1, body), event
        assert (event["actor"], event["device"], event["counter"]) == (a.user, a.device, 20), event
    texts = [f"message {number}" for number in range(SAYINGS)]
    requests = []
    for text in texts:
        command = pen.command("Send", format=0, text=text)
        requests.append(a.request("Command", **command))
        pen.applied = command["counter"]
    acks = [a.reply(request)[0][1]["seq"] for request in requests]
    assert acks == [people.next() for _ in texts], acks
    assert a.answered[-SAYINGS:] == requests, "answers come in the order of the commands"
    for session in (a, b):
        events = [session.event(people.tea, "MessageSent") for _ in texts]
        assert [event["body"]["text"] for event in events] == texts
        assert all(one["time"] < next["time"] for one, next in zip(events, events[1:])), "times rise"
    assert b.ask("Command", **Pen(b, people.tea).command("Send", format=0, text="hi"))["seq"] == people.next()
    same = [session.event(people.tea, "MessageSent")["bytes"] for session in (a, b)]
    assert same[0] == same[1], "an event's bytes are the same for everybody"


def resends(people):
    a, pen = people.a, people.pen
    mine = people.head - 1
    for after in (pen.applied - 1, 0):
        again = pen.command("Send", pen.applied, after, format=0, text=f"message {SAYINGS - 1}")
        assert a.ask("Command", **again)["seq"] == mine, "the same counter answers the same seq, whatever its `after`"
    pen.refused("counter_reused", "Send", pen.applied, pen.applied - 1, format=0, text="another text")
    pen.refused("counter_reused", "Rename", pen.applied, pen.applied - 1, name="another kind")
    last = {"counter": pen.applied, "seq": mine}
    for counter, after in ((pen.applied + 2, pen.applied + 1), (pen.applied + 1, 20), (19, 0)):
        error = pen.refused("out_of_order", "Send", counter, after, format=0, text="lost")
        assert error["details"] == last, error
    fresh = Pen(people.b, people.tea, applied=7)
    assert fresh.refused("out_of_order", "Send", format=0, text="x")["details"] == {"counter": 1, "seq": people.head}
    nobody = Pen(Session(people.address, people.ben), people.tea)
    assert nobody.refused("out_of_order", "Send", 2, 1, format=0, text="x")["details"] == {"counter": 0, "seq": 0}
    nobody.session.leave()
    assert pen.say("on again", counter=pen.applied + 5) == people.next(), "nothing refused took a seq"
    for session in (a, people.b):
        assert session.event(people.tea, "MessageSent")["body"]["text"] == "on again"


def mild_refusals(people):
    """The session goes on, and the counter stays free."""
    pen, a = people.pen, people.a
    pen.refused("too_large", "Send", format=0, text=BIG + "x")
    pen.refused("too_large", "Rename", name="x" * 257)
    pen.refused("too_large", "RemoveMembers", members=[a.user] * 101)
    pen.refused("invalid_request", "Send", format=0, text="")
    pen.refused("invalid_request", "AddMembers", role=panda.MEMBER, with_history=True, members=[])
    pen.refused("invalid_request", "MarkRead", chat=people.tea, read=1)
    newer = bytes_of(people.tea) + bytes([pen.applied + 1, pen.applied, 0x33]) + b"of a newer version"
    ((name, error),) = a.reply(a.request_bytes("Command", newer))
    assert name == "Error" and panda.CODES[error["code"]] == "invalid_request", error
    for _ in range(3):
        assert pen.say(BIG) == people.next()
        assert all(s.event(people.tea, "MessageSent")["body"]["text"] == BIG for s in (a, people.b))


def grown_command(people):
    """Bytes behind a body's last field are ignored; the digest is of the bytes that were sent, these too."""
    a, pen = people.a, people.pen
    body = dict(format=0, text="grown")
    grown = panda.command_bytes(1, body) + b"newer"
    sent = bytes_of(people.tea) + bytes([pen.applied + 1, pen.applied]) + grown
    ((name, ack),) = a.reply(a.request_bytes("Command", sent))
    assert name == "Ack" and ack["seq"] == people.next(), ack
    pen.applied += 1
    for session in (a, people.b):
        event = session.event(people.tea, "MessageSent")
        assert event["body"] == body and event["digest"] == hashlib.sha256(grown).digest()[:8], event
    pen.refused("counter_reused", "Send", pen.applied, pen.applied - 1, **body)


def pages(people):
    b, tea = people.b, people.tea
    (chunk,) = page(b, tea, panda.FORWARD, 1, 3)
    kinds = [panda.EVENTS[panda.decode_event(event)["kind"]][0] for event in chunk["events"]]
    assert kinds == ["ChatCreated", "MemberAdded", "MemberAdded"], kinds
    created, owner, member = (panda.decode_event(event) for event in chunk["events"])
    assert created["body"] == dict(kind=panda.GROUP_CHAT, name="tea") and created["seq"] == 1, created
    assert (owner["target"], owner["body"]) == (people.a.user, dict(role=panda.OWNER, visible_from=1)), owner
    assert (member["target"], member["body"]) == (b.user, dict(role=panda.MEMBER, visible_from=1)), member
    assert len({(event["device"], event["counter"], event["digest"]) for event in (created, owner, member)}) == 1
    chunks = page(b, tea, panda.FORWARD, 4)
    assert seqs(chunks) == list(range(4, people.head + 1)) and chunks[0]["events"][0] == people.hello
    assert len(chunks) > 1 and [chunk["last"] for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    for chunk in chunks:
        assert (chunk["incarnation"], chunk["begins_at"], chunk["head"]) == (b.incarnation, 1, people.head), chunk
    assert seqs(page(b, tea, panda.BACKWARD, VARINT_MAX, 2)) == [people.head, people.head - 1]
    assert seqs(page(b, tea, panda.BACKWARD, 9)) == list(range(9, 0, -1))
    assert seqs(page(b, tea, panda.FORWARD, people.head + 1)) == [] == seqs(page(b, tea, panda.BACKWARD, 0))
    assert seqs(page(b, tea, panda.FORWARD, 0, 1)) == [1]
    for limit in (0, 257):
        b.refused("invalid_request", "Page", **{"entity": tea, "direction": 0, "from": 1, "limit": limit})
    (inbox,) = page(b, b.user, panda.FORWARD, 1)
    assert seqs([inbox]) == [1] and inbox["head"] == 1, inbox
    b.refused("not_found", "Page", **{"entity": people.a.user, "direction": 0, "from": 1, "limit": 1})


def lists(people):
    a, b, tea = people.a, people.b, people.tea
    rows = [dict(user=a.user, role=panda.OWNER, joined=2), dict(user=b.user, role=panda.MEMBER, joined=3)]
    rows.sort(key=lambda row: bytes_of(row["user"]))
    assert a.ask("Members", chat=tea, after=None, limit=256) == {"request": a.requests, "more": False, "members": rows}
    one = a.ask("Members", chat=tea, after=None, limit=1)
    assert one["more"] and one["members"] == rows[:1], one
    two = a.ask("Members", chat=tea, after=rows[0]["user"], limit=1)
    assert not two["more"] and two["members"] == rows[1:], two
    chats = b.ask("Chats", after=None, limit=256)
    assert chats == {"request": b.requests, "more": False, "inbox": 1, "chats": [dict(chat=tea, joined=3, read=0)]}
    info = b.ask("ChatInfo", chat=tea)
    assert info == dict(
        request=b.requests, kind=panda.GROUP_CHAT, name="tea", incarnation=b.incarnation, head=people.head, members=2,
        role=panda.MEMBER, visible_from=1), info  # fmt: skip


def strangers(people):
    c = Session(people.address, people.cyd)
    unknown = panda.group_chat(c.user, c.device, 1)
    for chat in (people.tea, unknown):
        c.refused("not_found", "ChatInfo", chat=chat)
        c.refused("not_found", "Members", chat=chat, after=None, limit=1)
        c.refused("not_found", "Page", **{"entity": chat, "direction": 0, "from": 1, "limit": 1})
        c.refused("not_found", "Subscribe", entry=entry(chat))
        Pen(c, chat).refused("not_found", "Send", format=0, text="let me in")
        assert c.ask("Unsubscribe", chat=chat), "answered, although there was no subscription"
    parts = c.ask_parts("Sync", chats=[entry(people.tea), entry(unknown)])
    found = sorted((chat["chat"], panda.CODES[chat["outcome"]["code"]]) for part in parts for chat in part["chats"])
    assert found == sorted([(people.tea, "not_found"), (unknown, "not_found")]), "each chat in exactly one part"
    c.send("Signal", chat=people.tea, user=None, kind=panda.TYPING, payload=b"")
    c.ping(1)
    c.leave()


STEPS = (
    discovery_and_accounts, welcome, creation_reaches_inboxes, subscribe, messages, resends, mild_refusals, grown_command, pages, lists,
    strangers,
)  # fmt: skip
