"""What a client does wrong, and the Bye that ends the connection for it."""

import panda_client as panda
from panda_codec import VARINT, bytes_of
from session import Session, Wire, hello, new_device
from websockets.exceptions import InvalidStatus


def same(what, bye, code):
    assert bye is not None, f"{what}: closed without a Bye, not with {code}"
    assert panda.CODES[bye["code"]] == code, f"{what}: {bye} is not {code}"


def frame(kind, body):
    return panda.framed(bytes([kind]) + body)


def in_a_session(people):
    """Each in a session of its own, behind its Welcome."""
    chat = bytes_of(panda.group_chat(people.ada["user"]["id"], new_device(), 1))
    command = b"\x05" + chat
    cases = (
        ("an oversized frame, as soon as its length is there", VARINT.write(65_537), "frame_too_large"),
        ("an oversized frame", VARINT.write(65_537) + bytes(65_537), "frame_too_large"),
        ("an unknown frame below 0x80", frame(0x30, b"newer"), "unknown_frame"),
        ("a number that is not in its shortest form", bytes.fromhex("03074001"), "malformed"),
        ("a length of zero", b"\0", "malformed"),
        ("a frame that its message does not end", b"\x05\x07\x00", "malformed"),
        ("a whole frame and a part of one", panda.encode("Pong", nonce=1) + b"\x05\x07", "malformed"),
        ("a body that is shorter", frame(0x07, b""), "malformed"),
        ("a direction that does not exist", frame(0x20, command + b"\x02\x01\x01"), "malformed"),
        ("counter zero", frame(0x10, command + b"\x00\x00\x07\x01x"), "malformed"),
        ("a command after itself", frame(0x10, command + b"\x01\x01\x07\x01x"), "malformed"),
        ("an unknown format", frame(0x10, command + b"\x01\x00\x01\x09\x01x"), "malformed"),
        ("a role that does not exist", frame(0x10, command + b"\x01\x00\x04\x05\x00\x00"), "malformed"),
        ("text that is not UTF-8", frame(0x10, command + b"\x01\x00\x07\x01\xff"), "malformed"),
        ("a device where an entity is expected", frame(0x26, b"\x05\x21" + chat[1:]), "malformed"),
        ("a second Hello", panda.encode("Hello", **hello(new_device(), token="x")), "unexpected_frame"),
        ("a frame of the server", panda.encode("Ack", request=1, seq=1), "unexpected_frame"),
        ("a Head, which is of the server too", panda.encode("Head", entity=people.ada["user"]["id"], head=1),
         "unexpected_frame"),
        ("a text message", "hello", "text_message"),
    )  # fmt: skip
    for what, message, code in cases:
        session = Session(people.address, people.ada)
        session.send_bytes(message)
        same(what, session.bye(), code)


def instead_of_a_session(people):
    token = {"token": people.ada["access_token"]}
    header, payload, signature = people.ada["access_token"].split(".")
    forged = ".".join((header, payload, signature[::-1]))

    def first(**fields):
        return panda.encode("Hello", **hello(new_device(), **fields))

    large = first(**token)[2:] + bytes(4_096)
    cases = (
        ("only newer versions", first(versions=(2, 9), **token), "version_unsupported"),
        ("only older versions", first(versions=(0, 0), **token), "version_unsupported"),
        ("min above max", first(versions=(2, 1), **token), "malformed"),
        ("the device that nobody has", panda.encode("Hello", **hello(panda.NO_DEVICE, **token)), "malformed"),
        ("a wrong token", first(token="wrong"), "token_invalid"),
        ("a forged token", first(token=forged), "token_invalid"),
        ("a wrong ticket", first(ticket=b"wrong"), "ticket_invalid"),
        ("a first frame that is no Hello", panda.encode("Ping", nonce=1), "unexpected_frame"),
        ("a Hello above its limit", panda.framed(large), "frame_too_large"),
        ("a length above the limit of a Hello", VARINT.write(4_097), "frame_too_large"),
    )
    for what, message, code in cases:
        wire = Wire(people.address)
        wire.send_bytes(message)
        same(what, wire.bye(), code)


def before_the_upgrade(people):
    cases = (({"subprotocols": None}, 400), ({"subprotocols": ["chat"]}, 400), ({"origin": "http://evil.example"}, 403))
    for options, status in cases:
        try:
            Wire(people.address, **options)
            raise AssertionError(f"a WebSocket was opened with {options}")
        except InvalidStatus as refused:
            assert refused.response.status_code == status, f"{options}: {refused}, not {status}"


def what_may_be_skipped(people):
    """Unknown types from 0x80 on, bytes behind a body, and capabilities and versions that are not known."""
    wire = Wire(people.address, compression="deflate")
    opening = hello(new_device(), versions=(1, 9), token=people.ada["access_token"]) | {"capabilities": 0b1111_1110}
    grown = frame(0x01, panda.FRAMES[0x01][1].write(opening) + b"newer")
    wire.send_bytes(grown + frame(0x90, b"newer") + frame(0xFF, b"") + frame(0x07, b"\x05newer"))
    name, fields = wire.receive()
    assert name == "Welcome" and fields["version"] == 1, fields
    assert not wire.socket.protocol.extensions, "extensions are not used"
    assert wire.receive() == ("Pong", {"nonce": 5})
    largest = panda.framed(b"\x07\x06" + bytes(panda.FRAME_BYTES_MAX - 2))
    wire.send_bytes(largest + panda.encode("Ping", nonce=7))
    assert [wire.receive() for _ in range(2)] == [("Pong", {"nonce": 6}), ("Pong", {"nonce": 7})]
    wire.send("Bye", code=1000, retry_after_ms=0, text="")
    assert wire.bye() is None, "a Bye is not answered with another"


STEPS = (in_a_session, instead_of_a_session, before_the_upgrade, what_may_be_skipped)
