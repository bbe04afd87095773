"""Every vector that concerns a client, through the codec: exact bytes both ways, and exact codes of what is refused."""

import json
from pathlib import Path

import panda_client as panda
from panda_codec import Reader, Refused, bytes_of, text_of

VECTORS = Path(__file__).resolve().parents[2] / "vectors"


def vectors(file):
    return json.loads((VECTORS / file).read_text())


def same(vector, got, expected):
    assert got == expected, f"{vector}:\n  got      {got}\n  expected {expected}"


def one_frame(vector):
    """The only frame in a vector's bytes, as the vectors show it."""
    reader = Reader(bytes.fromhex(vector["hex"]))
    name, fields = panda.decode(reader)
    same(vector["name"], reader.rest(), b"")
    same(vector["name"], panda.FRAME_TYPES[name], vector["type"])
    return name, fields, panda.FRAMES[vector["type"]][1].shown(fields)


def refusal(vector, decode):
    try:
        decode(bytes.fromhex(vector["hex"]))
    except Refused as refused:
        return refused.code
    raise AssertionError(f"{vector['name']} was not refused")


def check_frames():
    fields_of = {}
    for vector in vectors("frames.json"):
        name, fields, shown = one_frame(vector)
        same(vector["name"], shown, vector["fields"])
        same(vector["name"], panda.encode(name, **fields).hex(), vector["hex"])
        fields_of[vector["name"]] = shown
    seen = {vector["type"] for vector in vectors("frames.json")}
    same("every frame has a vector", seen, set(panda.FRAMES))
    return fields_of


def check_grown(fields_of):
    for vector in vectors("grown.json"):
        _, _, shown = one_frame(vector)
        same(f"grown {vector['name']}", shown, fields_of[vector["name"]])


def check_commands():
    for vector in vectors("commands.json"):
        data = bytes.fromhex(vector["hex"])
        same(vector["name"], data[0], vector["kind"])
        record = panda.COMMANDS[vector["kind"]][1]
        reader = Reader(data[1:])
        body = record.read(reader)
        same(vector["name"], reader.rest(), b"")
        same(vector["name"], record.shown(body), vector["fields"])
        same(vector["name"], panda.command_bytes(vector["kind"], body).hex(), vector["hex"])
        same(vector["name"], panda.digest_of(vector["kind"], body).hex(), vector["digest"])


def check_events():
    for vector in vectors("events.json"):
        event = panda.decode_event(bytes.fromhex(vector["hex"]))
        same(vector["name"], panda.shown_event(event), vector["fields"])
        same(vector["name"], panda.encode_event(event).hex(), vector["hex"])
        newer = panda.decode_event(bytes.fromhex(vector["hex"]) + b"newer")
        same(f"grown {vector['name']}", newer, event)


def check_malformed():
    for vector in vectors("malformed.json"):
        same(vector["name"], refusal(vector, panda.decode_message), vector["error"].split(":")[0])
    for vector in vectors("malformed_events.json"):
        same(vector["name"], refusal(vector, panda.decode_event), "malformed")


def check_identifiers():
    for vector in vectors("identifiers.json"):
        for name in ("user", "other", "device", "group", "direct"):
            same(name, text_of(bytes.fromhex(vector[name]["hex"])), vector[name]["text"])
            same(name, bytes_of(vector[name]["text"]).hex(), vector[name]["hex"])
        user, other, device = (vector[name]["text"] for name in ("user", "other", "device"))
        same("group", panda.group_chat(user, device, vector["counter"]), vector["group"]["text"])
        same("direct", panda.direct_chat(user, other), vector["direct"]["text"])
        same("direct", panda.direct_chat(other, user), vector["direct"]["text"])


def main():
    fields_of = check_frames()
    check_grown(fields_of)
    check_commands()
    check_events()
    check_malformed()
    check_identifiers()
    files = ("frames", "grown", "commands", "events", "malformed", "malformed_events", "identifiers")
    print("vectors:", ", ".join(f"{len(vectors(f'{file}.json'))} {file}" for file in files))


if __name__ == "__main__":
    main()
