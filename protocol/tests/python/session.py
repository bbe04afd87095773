"""A session over a WebSocket, and the HTTP that comes before it. The session holds the server to what SPEC.md promises of
every session: the Welcome comes first, the events of an entity come in the order of their seqs, without a gap from where
they began, each once, and no reply comes that nobody asked for."""

import json
import secrets
import socket
import time
import urllib.error
import urllib.request
from collections import defaultdict, deque
from urllib.parse import urlsplit

import panda_client as panda
from panda_codec import DEVICE, VARINT, text_of
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

SECONDS = 10
SUBPROTOCOL = "panda.1"
REPLIES = {
    "Sync": "Synced", "Refresh": "Refreshed", "Command": "Ack", "Subscribe": "Subscribed",
    "Unsubscribe": "Unsubscribed", "Page": "PageChunk", "Members": "MembersPage", "Chats": "ChatsPage",
    "ChatInfo": "ChatInfoReply",
}  # fmt: skip


class Ended(Exception):
    """The server said Bye, or (with none) just closed."""

    def __init__(self, bye):
        super().__init__(f"the session ended with {bye}")
        self.bye = bye


def http(base, method, path, body=None, token=None, key=None):
    request = urllib.request.Request(base + path, method=method, data=body and json.dumps(body).encode())
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    if key:
        request.add_header("Idempotency-Key", key)
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refusal:
        return refusal.code, json.load(refusal)


def discover(base):
    """The discovery document, and the WebSocket's address that follows from it."""
    status, document = http(base, "GET", "/.well-known/panda")
    assert status == 200 and 1 in document["versions"], document
    scheme = {"http": "ws", "https": "wss"}[urlsplit(base).scheme]
    return document, f"{scheme}://{urlsplit(base).netloc}{document['websocket']}"


def new_device():
    return text_of(bytes([DEVICE]) + secrets.token_bytes(15))


class Wire:
    """A WebSocket that carries frames, before anything is known of a session."""

    def __init__(self, address, **options):
        options = {"subprotocols": [SUBPROTOCOL], "compression": None, "ping_interval": None} | options
        self.socket = connect(address, open_timeout=SECONDS, close_timeout=SECONDS, **options)
        self.arrived = []

    def send(self, name, /, **fields):
        self.socket.send(panda.encode(name, **fields))

    def send_bytes(self, message):
        self.socket.send(message)

    def receive(self, seconds=SECONDS):
        """The next frame as (name, fields). Raises Ended at the end, TimeoutError when none comes."""
        until = time.monotonic() + seconds
        while not self.arrived:
            try:
                message = self.socket.recv(timeout=max(0, until - time.monotonic()))
            except ConnectionClosed as closed:
                assert closed.rcvd and closed.rcvd.code == 1000, f"closed with {closed.rcvd}, not 1000"
                raise Ended(None) from None
            assert isinstance(message, bytes), f"the server sent a text message: {message!r}"
            self.arrived = panda.decode_message(message)
        name, fields = self.arrived.pop(0)
        if name == "Bye":
            self.ends_here()
            raise Ended(fields)
        return name, fields

    def ends_here(self):
        """A Bye is the last frame, and the WebSocket closes behind it with status 1000."""
        assert not self.arrived, f"frames behind a Bye: {self.arrived}"
        try:
            message = self.socket.recv(timeout=SECONDS)
            raise AssertionError(f"a message behind a Bye: {message!r}")
        except ConnectionClosed as closed:
            assert closed.rcvd and closed.rcvd.code == 1000, f"closed with {closed.rcvd}, not 1000"

    def cut(self):
        """The connection breaks: no Bye, no closing handshake."""
        self.socket.socket.shutdown(socket.SHUT_RDWR)

    def bye(self, seconds=SECONDS):
        """The Bye that ends the connection, whatever comes before it."""
        until = time.monotonic() + seconds
        while True:
            try:
                self.receive(until - time.monotonic())
            except Ended as ended:
                return ended.bye


def hello(device, inbox=None, versions=(1, 1), **auth):
    return dict(
        version_min=versions[0], version_max=versions[1], capabilities=0, auth=auth, device=device, inbox=inbox,
        client="conversation.py/1",
    )  # fmt: skip


class Session(Wire):
    def __init__(self, address, account, device=None, inbox=None, first_flight=(), **auth):
        super().__init__(address)
        self.user, self.device = account["user"]["id"], device or new_device()
        self.requests, self.waiting, self.parts, self.replies = 0, {}, defaultdict(list), {}
        self.events, self.ended, self.pongs, self.signals = defaultdict(deque), {}, [], []
        self.answered = []
        opening = hello(self.device, inbox, **(auth or {"token": account["access_token"]}))
        self.send("Hello", **opening)
        self.first = [self.request(name, **fields) for name, fields in first_flight]
        name, self.welcome = self.receive()
        assert name == "Welcome", f"the first frame was {name}"
        self.incarnation = self.welcome["inbox"]["incarnation"]
        self.due = {self.user: self.welcome["inbox"]["from"]}

    def request(self, name, /, **fields):
        """Sends without waiting; the number is for `reply`."""
        self.requests += 1
        self.waiting[self.requests] = (name, fields)
        self.send(name, request=self.requests, **fields)
        return self.requests

    def request_bytes(self, name, behind_the_number):
        """A request in bytes that this codec would not write."""
        self.requests += 1
        self.waiting[self.requests] = (name, None)
        body = VARINT.write(self.requests) + behind_the_number
        self.send_bytes(panda.framed(bytes([panda.FRAME_TYPES[name]]) + body))
        return self.requests

    def reply(self, number):
        """Every part of the reply, as (name, fields)."""
        return self.wait(lambda: self.replies.pop(number, None), f"the reply to request {number}")

    def ask_parts(self, name, /, **fields):
        parts = self.reply(self.request(name, **fields))
        assert parts[-1][0] != "Error", f"{name} {fields} was refused: {parts[-1][1]}"
        return [fields for _, fields in parts]

    def ask(self, name, /, **fields):
        (reply,) = self.ask_parts(name, **fields)
        return reply

    def refused(self, code, name, /, **fields):
        ((got, reply),) = self.reply(self.request(name, **fields))
        assert got == "Error" and panda.CODES[reply["code"]] == code, f"{got} {reply} is not {code}"
        return reply

    def event(self, entity, kind):
        """The next event of an entity; it must be of this kind."""
        queue = self.events[entity]
        event = self.wait(lambda: queue.popleft() if queue else None, f"{kind} of {entity}")
        assert panda.EVENTS[event["kind"]][0] == kind, f"{event} is not {kind}"
        return event

    def ping(self, nonce):
        """Ends when the Pong is there: what the server sent before it was taken."""
        self.send("Ping", nonce=nonce)
        self.wait(lambda: nonce in self.pongs or None, "the Pong")

    def wait(self, found, what):
        until = time.monotonic() + SECONDS
        while (result := found()) is None:
            try:
                self.take(*self.receive(until - time.monotonic()))
            except TimeoutError:
                raise AssertionError(f"{what} did not come within {SECONDS} s") from None
        return result

    def take(self, name, fields):
        if name == "Event":
            self.take_event(fields["entity"], fields["event"])
        elif name == "Ping":
            self.send("Pong", nonce=fields["nonce"])
        elif name == "Pong":
            self.pongs.append(fields["nonce"])
        elif name == "Signal":
            self.signals.append(fields)
        elif name == "Ended":
            assert self.due.pop(fields["entity"], None), f"{fields} of what was not subscribed to"
            self.ended[fields["entity"]] = fields
        elif "request" in fields:
            self.take_reply(name, fields)
        else:
            raise AssertionError(f"unexpected {name} {fields}")

    def take_event(self, entity, data):
        event = panda.decode_event(data)
        assert entity in self.due, f"an event of {entity}, which was not subscribed to: {event}"
        assert event["seq"] == self.due[entity], f"seq {event['seq']} of {entity}, where {self.due[entity]} is due"
        self.due[entity] += 1
        self.events[entity].append(event | {"bytes": data})

    def take_reply(self, name, fields):
        """A Page and a Sync have replies of several parts; every other request has one. None has more."""
        number = fields["request"]
        asked, request = self.waiting[number]
        self.parts[number].append((name, fields))
        if fields.get("last", True):
            del self.waiting[number]
            self.replies[number] = self.parts.pop(number)
            self.answered.append(number)
        if name == "Subscribed":
            self.due[request["entry"]["chat"]] = fields["admission"]["from"]
        elif name == "Synced":
            admitted = [chat for chat in fields["chats"] if "admission" in chat["outcome"]]
            self.due |= {chat["chat"]: chat["outcome"]["admission"]["from"] for chat in admitted}
        elif name == "Unsubscribed":
            self.due.pop(request["chat"], None)
        expected = REPLIES[asked]
        assert name in (expected, "Error"), f"{name} is no reply to {asked}"

    def leave(self):
        """Says Bye. Nothing may have come but what was looked at, and the server closes with no Bye of its own."""
        self.send("Bye", code=1000, retry_after_ms=0, text="")
        try:
            while True:
                self.take(*self.receive())
        except Ended as ended:
            assert ended.bye is None, f"the server answered a Bye with {ended.bye}"
        left = {entity: list(events) for entity, events in self.events.items() if events}
        assert not (left or self.signals or self.replies or self.waiting or self.ended), (
            f"not looked at: events {left}, signals {self.signals}, replies {self.replies}, "
            f"requests {self.waiting}, ends {self.ended}"
        )
