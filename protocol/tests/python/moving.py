"""Steps of chats that change, of sessions that break and come back, and of members that go."""

import panda_client as panda
from people import Pen, entry, page, seqs
from session import Ended, Session, new_device


def signals(people):
    a, b = people.a, people.b
    sent = ((panda.TYPING, b""), (panda.TYPING_STOPPED, b""), (panda.PRESENCE, b"\1"))
    for kind, payload in sent:
        a.send("Signal", chat=people.tea, user=None, kind=kind, payload=payload)
        signal = b.wait(lambda: b.signals.pop(0) if b.signals else None, "the signal")
        assert signal == dict(chat=people.tea, user=a.user, kind=kind, payload=payload), signal
    a.ping(2)
    assert not a.signals, "not back to the one that sent it"


def rename(people):
    assert people.pen.write("Rename", name="green tea") == people.next()
    for session in (people.a, people.b):
        assert session.event(people.tea, "ChatRenamed")["body"] == {"name": "green tea"}
    assert people.b.ask("ChatInfo", chat=people.tea)["name"] == "green tea"
    Pen(people.b, people.tea, applied=1).refused("forbidden", "Rename", name="my tea")
    error = people.pen.refused("nothing_to_do", "Rename", name="green tea")
    assert error["details"]["seq"] == people.head, error


def direct(people):
    a, b = people.a, people.b
    chat = panda.direct_chat(a.user, b.user)
    assert Pen(a, chat).write("CreateDirect", peer=b.user) == 1
    for session in (a, b):
        joined = session.event(session.user, "ChatJoined")
        assert joined["body"]["chat"] == chat and joined["body"]["role"] == panda.MEMBER, joined
    error = Pen(b, chat).refused("nothing_to_do", "CreateDirect", peer=a.user)
    assert error["details"]["seq"] == 1, error
    assert a.ask("ChatInfo", chat=chat)["kind"] == panda.DIRECT_CHAT
    Pen(a, chat, applied=1).refused("forbidden", "RemoveMembers", members=[a.user])


def inbox_on_all_devices(people):
    b = people.b
    cursor = dict(incarnation=b.incarnation, seq=0)
    tablet = Session(people.address, people.ben, inbox=cursor)
    assert tablet.welcome["inbox"] | {"incarnation": b""} == {
        "incarnation": b"", "head": 2, "from": 1, "reset": False}, tablet.welcome  # fmt: skip
    assert [tablet.event(b.user, "ChatJoined")["seq"] for _ in range(2)] == [1, 2], "everything behind the cursor"
    pen = Pen(b, b.user)
    assert pen.write("MarkRead", chat=people.tea, read=people.head) == 3
    for session in (b, tablet):
        assert session.event(b.user, "ReadMoved")["body"] == dict(chat=people.tea, read=people.head)
    pen.refused("nothing_to_do", "MarkRead", chat=people.tea, read=people.head)
    rows = {row["chat"]: row["read"] for row in b.ask("Chats", after=None, limit=256)["chats"]}
    assert rows[people.tea] == people.head, rows
    assert pen.write("SetSetting", key="theme", value=b"dark") == 4
    for session in (b, tablet):
        assert session.event(b.user, "SettingChanged")["body"] == dict(new=True, key="theme", value=b"dark")
    Pen(people.a, b.user).refused("not_found", "MarkRead", chat=people.tea, read=1)
    tablet.leave()
    reset = Session(people.address, people.ben, inbox=dict(incarnation=b"elsewhen", seq=1))
    assert reset.welcome["inbox"]["reset"] and reset.welcome["inbox"]["from"] == 5, reset.welcome
    reset.leave()


def coming_back(people):
    """The connection breaks, things happen, and the device resumes with its ticket and cursors in its first flight."""
    a, b, pen = people.a, people.b, people.pen
    inbox = dict(incarnation=b.incarnation, seq=b.due[b.user] - 1)
    chat = dict(incarnation=b.incarnation, seq=b.due[people.tea] - 1)
    b.cut()
    missed = [pen.say(f"missed {number}") for number in range(3)]
    first = people.head + 1
    assert missed == [people.next() for _ in missed], missed
    [a.event(people.tea, "MessageSent") for _ in missed]
    cake = panda.group_chat(a.user, a.device, 8)
    assert Pen(a, cake).write("CreateGroup", 8, name="cake", members=[b.user]) == 1
    a.event(a.user, "ChatJoined")
    unknown = panda.group_chat(b.user, b.device, 99)
    flight = [("Sync", {"chats": [entry(people.tea, chat, people.proof), entry(unknown)]})]
    people.b = b = Session(people.address, people.ben, b.device, inbox, flight, ticket=b.welcome["ticket"])
    told = b.welcome["inbox"]
    assert (told["from"], told["head"], told["reset"]) == (5, 5, False), told
    joined = b.event(b.user, "ChatJoined")
    assert joined["body"]["chat"] == cake and joined["seq"] == 5, joined
    parts = [fields for _, fields in b.reply(b.first[0])]
    outcomes = {chat["chat"]: chat["outcome"] for part in parts for chat in part["chats"]}
    assert set(outcomes) == {people.tea, unknown} and outcomes[unknown]["code"] == 2201, outcomes
    admission = outcomes[people.tea]["admission"]
    assert (admission["start"], admission["from"], admission["head"]) == (panda.FROM, first, people.head), admission
    assert [b.event(people.tea, "MessageSent")["body"]["text"] for _ in missed] == [f"missed {n}" for n in range(3)]


def other_starts(people):
    """begins_at for who may not see what lies between, reset for a cursor of another store or beyond the head."""
    pen, b = people.pen, people.b
    c = Session(people.address, people.cyd)
    assert pen.write("AddMembers", role=panda.READER, with_history=False, members=[c.user]) == people.next()
    for session in (people.a, b):
        added = session.event(people.tea, "MemberAdded")
        assert added["target"] == c.user and added["body"] == dict(role=panda.READER, visible_from=people.head), added
    assert c.event(c.user, "ChatJoined")["body"] == dict(
        chat=people.tea, source=people.head, role=panda.READER, visible_from=people.head)  # fmt: skip

    head = people.head

    def admitted(incarnation, seq):
        cursor = dict(incarnation=incarnation, seq=seq)
        admission = c.ask("Subscribe", entry=entry(people.tea, cursor))["admission"]
        assert (admission["head"], admission["visible_from"], admission["role"]) == (head, head, panda.READER), admission
        return admission["start"], admission["from"]

    assert admitted(c.incarnation, 10) == (panda.BEGINS_AT, head)
    c.event(people.tea, "MemberAdded")
    assert admitted(c.incarnation, head) == (panda.FROM, head + 1)
    assert admitted(c.incarnation, head + 1) == admitted(b"elsewhen", head) == (panda.RESET, head + 1)
    assert seqs(page(c, people.tea, panda.FORWARD, 1)) == [head] == seqs(page(c, people.tea, panda.BACKWARD, head))
    Pen(c, people.tea).refused("forbidden", "Send", format=0, text="a reader only reads")
    assert Pen(c, people.tea).write("RemoveMembers", members=[c.user]) == people.next(), "oneself: always"
    for session in (people.a, b, c):
        removed = session.event(people.tea, "MemberRemoved")
        assert removed["actor"] == removed["target"] == c.user and removed["body"] == {}, removed
    c.wait(lambda: c.ended.pop(people.tea, None), "the end of the subscription")
    c.event(c.user, "ChatLeft")
    c.leave()


def unsubscribe(people):
    a, b, pen = people.a, people.b, people.pen
    assert b.ask("Unsubscribe", chat=people.tea)
    assert pen.say("while ben does not listen") == people.next()
    a.event(people.tea, "MessageSent")
    assert b.ask("ChatInfo", chat=people.tea)["head"] == people.head
    b.ping(3)
    admission = b.ask("Subscribe", entry=entry(people.tea, dict(incarnation=b.incarnation, seq=people.head - 1)))["admission"]
    assert (admission["start"], admission["from"]) == (panda.FROM, people.head), admission
    assert b.event(people.tea, "MessageSent")["body"]["text"] == "while ben does not listen"


def removal(people):
    a, b, pen = people.a, people.b, people.pen
    assert pen.write("RemoveMembers", members=[b.user]) == people.next()
    assert pen.say("behind the removal") == people.next()
    removed = b.event(people.tea, "MemberRemoved")
    assert (removed["actor"], removed["target"], removed["seq"]) == (a.user, b.user, people.head - 1), removed
    ended = b.wait(lambda: b.ended.pop(people.tea, None), "the end of the subscription")
    assert panda.CODES[ended["code"]] == "not_member", ended
    left = b.event(b.user, "ChatLeft")
    assert left["body"] == dict(chat=people.tea, source=people.head - 1), left
    assert not b.events[people.tea], "the removal is the last event that was sent"
    b.refused("not_member", "Subscribe", entry=entry(people.tea))
    Pen(b, people.tea, applied=1).refused("not_member", "Send", format=0, text="one more")
    assert [a.event(people.tea, kind)["seq"] for kind in ("MemberRemoved", "MessageSent")] == [people.head - 1, people.head]


def refresh(people):
    b = people.b
    _, newer = people.login(people.ben)
    refreshed = b.ask("Refresh", token=newer["access_token"])
    assert 0 < refreshed["expires_in_ms"] <= newer["expires_in"] * 1000 and refreshed["ticket"], refreshed
    b.refused("token_invalid", "Refresh", token="no token")
    b.refused("token_invalid", "Refresh", token=people.ada["access_token"])
    b.ping(4)
    newest = Session(people.address, people.ben, b.device, ticket=refreshed["ticket"])
    bye = b.bye()
    assert panda.CODES[bye["code"]] == "replaced", "one session a device"
    try:
        Session(people.address, people.ben, new_device(), ticket=refreshed["ticket"])
        raise AssertionError("a ticket opened the session of another device")
    except Ended as ended:
        assert panda.CODES[ended.bye["code"]] == "ticket_invalid", ended
    people.b = newest


def leaving(people):
    for session in (people.a, people.b):
        session.ping(5)
        session.leave()


STEPS = (
    signals, rename, direct, inbox_on_all_devices, coming_back, other_starts, unsubscribe, removal, refresh, leaving,
)  # fmt: skip
