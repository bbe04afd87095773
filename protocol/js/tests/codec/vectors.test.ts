/** Every vector, both ways. These run in Node and in a browser. */

import { describe, expect, it } from "vitest";
import {
  commandOf,
  decodeEvent,
  decodeMessage,
  DecodeError,
  directChatId,
  encodeCommand,
  encodeEvent,
  encodeFrame,
  codeNames,
  frameTypes,
  groupChatId,
  idBytes,
  idText,
  Reader,
  sha256,
  type Frame,
} from "../../src/codec/index.js";
import type { ChatId, DeviceId, UserId } from "../../src/ids.js";
import {
  commands,
  events,
  frames,
  fromHex,
  grown,
  identifiers,
  inVectorForm,
  malformed,
  malformedEvents,
  toHex,
  traces,
} from "../support/vectors.js";

function decodeOne(hex: string): Frame {
  const decoded: Frame[] = [];
  decodeMessage(fromHex(hex), (frame) => decoded.push(frame));
  const [frame] = decoded;
  if (frame === undefined || decoded.length !== 1) throw new Error(`${String(decoded.length)} frames`);
  return frame;
}

/** A frame as its vector says it: a command's kind and body are fields there, a refusal of a chat is bare. */
function fieldsOf(frame: Frame): unknown {
  const { type, ...fields } = frame;
  if (frame.type === "synced") {
    const chats = frame.chats.map(({ chat, outcome }) => ({
      chat,
      outcome: "refusal" in outcome ? outcome.refusal : outcome,
    }));
    return inVectorForm({ ...fields, chats });
  }
  if (type !== "command") return inVectorForm(fields);
  const { payload, ...head } = fields as Extract<Frame, { type: "command" }>;
  const { command: _, ...body } = commandOf(payload).body;
  return inVectorForm({ ...head, kind: payload[0], body });
}

const digestOf = (payload: Uint8Array): string => toHex(sha256(payload).subarray(0, 8));

describe("frames", () => {
  it.each(frames)("$name decodes to its fields and encodes to its bytes", ({ hex, type, fields }) => {
    const frame = decodeOne(hex);
    expect(frameTypes[frame.type]).toBe(type);
    expect(fieldsOf(frame)).toEqual(fields);
    expect(toHex(encodeFrame(frame))).toBe(hex);
    if (frame.type === "command")
      expect(toHex(encodeCommand(commandOf(frame.payload).body))).toBe(toHex(frame.payload));
  });

  it.each(grown)("$name with bytes behind its end decodes as without them", ({ hex, name }) => {
    const frame = decodeOne(hex);
    const known = frames.find((vector) => vector.name === name);
    expect(fieldsOf(frame)).toEqual(known?.fields);
  });

  it("of all types are in the vectors", () => {
    expect([...new Set(frames.map(({ type }) => type))].sort()).toEqual(Object.values(frameTypes).sort());
  });

  it("may share a message, and unknown ones that may be ignored are skipped", () => {
    const [ping, pong] = ["03074040", "03084040"];
    const decoded: string[] = [];
    decodeMessage(fromHex(`${ping}05ff01020304${pong}`), ({ type }) => decoded.push(type));
    expect(decoded).toEqual(["ping", "pong"]);
  });

  it("of any size that is allowed are written as they are read", () => {
    for (let length = 0; length <= 65_536 - 20; length = Math.floor(length * 1.4) + 1) {
      const payload = Uint8Array.from({ length }, (_, at) => at & 255);
      const frame: Frame = {
        type: "command",
        request: 1n,
        entity: identifiers[0]?.group.text as ChatId,
        counter: 2n,
        after: 1n,
        payload,
      };
      expect(decodeOne(toHex(encodeFrame(frame)))).toEqual(frame);
    }
  });

  it("before a malformed one are handed out", () => {
    const decoded: string[] = [];
    expect(() => {
      decodeMessage(fromHex("030740400107"), ({ type }) => decoded.push(type));
    }).toThrow(DecodeError);
    expect(decoded).toEqual(["ping"]);
  });
});

describe("malformed frames", () => {
  it.each(malformed)("$name is refused for its reason", ({ hex, error }) => {
    let thrown: unknown;
    try {
      const frame = decodeOne(hex);
      if (frame.type === "command") commandOf(frame.payload);
    } catch (caught) {
      thrown = caught;
    }
    expect(thrown).toBeInstanceOf(DecodeError);
    const { code, reason } = thrown as DecodeError;
    expect(`${String(codeNames[code])}: ${reason}`).toBe(error);
  });

  it("an empty message is malformed", () => {
    expect(() => {
      decodeMessage(new Uint8Array(), () => undefined);
    }).toThrow(DecodeError);
  });
});

describe("events", () => {
  it.each(events)("$name decodes to its fields and encodes to its bytes", ({ hex, fields }) => {
    const event = decodeEvent(new Reader(fromHex(hex)));
    const { is, ...body } = event.body;
    const bodyForm =
      is === "erased" ? { erased: true } : is === "unknown" ? { unknown: (body as { bytes: Uint8Array }).bytes } : body;
    expect(inVectorForm({ ...event, body: bodyForm })).toEqual(fields);
    expect(toHex(encodeEvent(event))).toBe(hex);
    // Bytes behind the body belong to a newer version.
    expect(decodeEvent(new Reader(fromHex(`${hex}0102`)))).toEqual(event);
  });

  it.each(malformedEvents)("$name is refused for its reason", ({ hex, error }) => {
    expect(() => decodeEvent(new Reader(fromHex(hex)))).toThrow(error);
  });
});

describe("commands", () => {
  it.each(commands)("$name encodes to its bytes, and the digest is of them", ({ hex, kind, digest, fields }) => {
    const { body, trace } = commandOf(fromHex(hex));
    const { command: _, ...of } = body;
    expect(inVectorForm(of)).toEqual(fields);
    expect(trace).toBeNull();
    const payload = encodeCommand(body);
    expect(toHex(payload)).toBe(hex);
    expect(payload[0]).toBe(kind);
    expect(digestOf(payload)).toBe(digest);
  });

  it.each(traces)("with $name behind the body: the context that it is, and the digest", ({ hex, trace, digest }) => {
    const frame = decodeOne(hex);
    if (frame.type !== "command") throw new Error(frame.type);
    const context = commandOf(frame.payload).trace;
    const written =
      context && `00-${toHex(context.trace)}-${toHex(context.span)}-${context.flags.toString(16).padStart(2, "0")}`;
    expect(written).toBe(trace);
    expect(digestOf(frame.payload)).toBe(digest);
    // A resend has the same bytes, whatever stands behind the body.
    expect(toHex(encodeFrame(frame))).toBe(hex);
  });

  it("carries a trace context that it is given", () => {
    const traced = traces.find(({ name }) => name === "a sampled context");
    const frame = decodeOne(traced?.hex ?? "");
    if (frame.type !== "command") throw new Error(frame.type);
    const { body, trace } = commandOf(frame.payload);
    expect(toHex(encodeCommand(body, trace))).toBe(toHex(frame.payload));
  });
});

describe("identifiers", () => {
  it.each(identifiers)(
    "of user $user.text have their text, and make the same chats",
    ({ user, other, device, group, direct, counter }) => {
      for (const { hex, text } of [user, other, device, group, direct]) {
        expect(idText(fromHex(hex))).toBe(text);
        expect(toHex(idBytes(text) ?? new Uint8Array())).toBe(hex);
      }
      const [me, they] = [user.text as UserId, other.text as UserId];
      expect(groupChatId(me, device.text as DeviceId, BigInt(counter))).toBe(group.text);
      expect(directChatId(me, they)).toBe(direct.text);
      expect(directChatId(they, me)).toBe(direct.text);
    },
  );

  it.each([
    "",
    "0h040g2081040g2081040g208",
    "0h040g2081040g2081040g20811",
    "0H040G2081040G2081040G2081",
    "zh040g2081040g2081040g2081",
    "0h040g2081040g2081040g208i",
  ])("are none: '%s'", (text) => {
    expect(idBytes(text)).toBeNull();
  });
});

describe("SHA-256", () => {
  it.each([
    ["", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"],
    ["abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"],
    ["a".repeat(1000), "41edece42d63e8d9bf515a9ba6932e1c20cbc9f5a5d134645adb5db1b9737ea3"],
  ])("of '%.10s'", (text, digest) => {
    expect(toHex(sha256(new TextEncoder().encode(text)))).toBe(digest);
  });
});
