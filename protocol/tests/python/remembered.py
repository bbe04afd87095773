"""What a sender's windows remember over a move of all chats: a device says something before it, and sends the very same
commands again behind it.

`remembered.py say http://HOST:PORT NOTES` notes what was said and how it was answered; `remembered.py again
http://HOST:PORT NOTES`, wherever the chats are then, must be answered the same, and nothing may have been made of it.
"""

import json
import sys

import panda_client as panda
from people import PASSWORD, Pen
from session import Session, discover, http, new_device

NAME = "mover"
KEY = "the one that moves"
POSTED = {"text": "posted once"}
SAID = ["said first", "said second", "said third"]


def say(base, notes):
    account = answered(201, http(base, "POST", "/register", {"username": NAME, "password": PASSWORD}))
    device = new_device()
    session = Session(discover(base)[1], account, device)
    chat = panda.group_chat(session.user, device, 1)
    pen = Pen(session, chat)
    seqs = [pen.write("CreateGroup", name="moving", members=[])] + [pen.say(text) for text in SAID]
    posted = post(base, account, chat, KEY, POSTED)
    made = dict(device=device, chat=chat, seqs=seqs, posted=posted, head=head(session, chat))
    with open(notes, "w") as file:
        json.dump(made, file)


def again(base, notes):
    with open(notes) as file:
        made = json.load(file)
    account = answered(200, http(base, "POST", "/login", {"username": NAME, "password": PASSWORD}))
    session = Session(discover(base)[1], account, made["device"])
    pen = Pen(session, made["chat"])
    seqs = [pen.write("CreateGroup", name="moving", members=[])] + [pen.say(text) for text in SAID]
    assert seqs == made["seqs"], f"the same counters are answered with {seqs}, not {made['seqs']} as the first time"
    pen.refused("counter_reused", "Send", pen.applied, pen.applied - 1, format=0, text="another text")
    posted = post(base, account, made["chat"], KEY, POSTED)
    assert posted == made["posted"], f"the same key is answered with {posted}, not {made['posted']} as the first time"
    refused = http(base, "POST", f"/chats/{made['chat']}/messages", {"text": "another"}, account["access_token"], KEY)
    assert refused[1]["label"] == "counter_reused", refused
    assert head(session, made["chat"]) == made["head"], "nothing sent again made an event"
    assert pen.say("said behind the move") == made["head"] + 1, "and the sender goes on"
    print(f"{len(seqs)} counters and a key were answered as before the move, and made nothing")


def post(base, account, chat, key, body):
    return answered(201, http(base, "POST", f"/chats/{chat}/messages", body, account["access_token"], key))["seq"]


def head(session, chat):
    return session.ask("ChatInfo", chat=chat)["head"]


def answered(expected, answer):
    status, body = answer
    assert status == expected, answer
    return body


if __name__ == "__main__":
    {"say": say, "again": again}[sys.argv[1]](sys.argv[2].rstrip("/"), sys.argv[3])
