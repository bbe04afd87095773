"""Who talks, and what every step of the conversation uses."""

import secrets

import panda_client as panda
from panda_codec import bytes_of
from session import discover, http

PASSWORD = "correct horse battery"


class People:
    """The accounts, and what a step needs to know of the steps before it."""

    def __init__(self, base):
        self.base = base
        self.document, self.address = discover(base)
        self.ada, self.ben, self.cyd = (self.register(name) for name in ("ada", "ben", "cyd"))
        self.head = 0

    def register(self, name):
        body = {"username": f"{name}-{secrets.token_hex(6)}", "password": PASSWORD}
        status, account = http(self.base, "POST", "/register", body | {"email": f"{body['username']}@example.org"})
        assert status == 201 and account["token_type"] == "Bearer", (status, account)
        assert bytes_of(account["user"]["id"])[0] == 0x11 and account["user"]["username"] == body["username"], account
        return account

    def next(self):
        """The seq that the next event of the chat must have; every step counts what it makes."""
        self.head += 1
        return self.head

    def login(self, account, password=PASSWORD):
        return http(self.base, "POST", "/login", {"username": account["user"]["username"], "password": password})


class Pen:
    """One device's commands to one entity: counters that rise, each `after` the one applied before."""

    def __init__(self, session, entity, applied=0):
        self.session, self.entity, self.applied = session, entity, applied

    def command(self, kind, counter=None, after=None, **body):
        counter = self.applied + 1 if counter is None else counter
        after = self.applied if after is None else after
        return dict(entity=self.entity, counter=counter, after=after, kind=panda.COMMAND_KINDS[kind], body=body)

    def write(self, kind, counter=None, **body):
        """The seq of the Ack."""
        command = self.command(kind, counter, **body)
        seq = self.session.ask("Command", **command)["seq"]
        self.applied = command["counter"]
        return seq

    def say(self, text, counter=None):
        return self.write("Send", counter, format=0, text=text)

    def refused(self, code, kind, counter=None, after=None, **body):
        return self.session.refused(code, "Command", **self.command(kind, counter, after, **body))


def entry(chat, cursor=None, proof=b""):
    return dict(chat=chat, cursor=cursor, proof=proof)


def page(session, entity, direction, start, limit=256):
    return session.ask_parts("Page", **{"entity": entity, "direction": direction, "from": start, "limit": limit})


def seqs(chunks):
    return [panda.decode_event(event)["seq"] for chunk in chunks for event in chunk["events"]]
