/** Bytes that a peer could send: whatever they are, decoding ends, throws nothing but {@link DecodeError}, and holds no more than arrived. */

import { describe, expect, it } from "vitest";
import {
  commandOf,
  decodeEvent,
  decodeMessage,
  DecodeError,
  encodeFrame,
  Reader,
  type Frame,
} from "../../src/codec/index.js";
import { events, frames, fromHex, grown, seeded, toHex } from "../support/vectors.js";

const seed = 20_251_128;
const rounds = 300;

/** What is decoded, or `null`; anything but a DecodeError is a defect. */
function decoded(bytes: Uint8Array): Frame[] | null {
  const found: Frame[] = [];
  try {
    decodeMessage(bytes, (frame) => found.push(frame));
    return found;
  } catch (error) {
    if (error instanceof DecodeError) return null;
    throw error;
  }
}

/** Bytes that a value holds, its texts as UTF-16. */
function weight(value: unknown): number {
  if (typeof value === "string") return 2 * value.length;
  if (value instanceof Uint8Array) return value.buffer.byteLength;
  if (typeof value !== "object" || value === null) return 8;
  return Object.values(value).reduce((sum: number, of: unknown) => sum + weight(of), 8);
}

/** One change of the kind that breaks decoders: a bit, a byte, a cut, a copy, a huge number. */
function mutated(bytes: Uint8Array, random: () => number): Uint8Array {
  const at = Math.floor(random() * bytes.length);
  const copy = Uint8Array.from(bytes);
  switch (Math.floor(random() * 6)) {
    case 0:
      copy[at] = (copy[at] ?? 0) ^ (1 << Math.floor(random() * 8));
      return copy;
    case 1:
      copy[at] = [0, 0x3f, 0x40, 0x7f, 0x80, 0xbf, 0xc0, 0xff][Math.floor(random() * 8)] ?? 0;
      return copy;
    case 2:
      return copy.subarray(0, at);
    case 3:
      return Uint8Array.from([...copy, ...copy.subarray(at)]);
    case 4:
      return Uint8Array.from([
        ...copy.subarray(0, at),
        0xff,
        0xff,
        0xff,
        0xff,
        0xff,
        0xff,
        0xff,
        0xff,
        ...copy.subarray(at),
      ]);
    default:
      return Uint8Array.from([...copy.subarray(0, at), ...copy.subarray(at + 1)]);
  }
}

describe("mutated vectors", () => {
  it("decode to something small or to nothing, and what decodes is written as it is read", () => {
    const random = seeded(seed);
    let whole = 0;
    for (let round = 0; round < rounds; round++) {
      for (const { hex } of [...frames, ...grown]) {
        let bytes = fromHex(hex);
        for (let change = 0; change < 1 + (round % 3); change++) bytes = mutated(bytes, random);
        const found = decoded(bytes);
        if (found === null) continue;
        whole++;
        expect(weight(found), toHex(bytes)).toBeLessThan(64 * (bytes.length + 16));
        for (const frame of found) {
          const [again] = decoded(encodeFrame(frame)) ?? [];
          expect(again).toEqual(frame);
          if (frame.type === "command") {
            try {
              commandOf(frame.payload);
            } catch (error) {
              expect(error).toBeInstanceOf(DecodeError);
            }
          }
        }
      }
    }
    // Mutations that break everything would test nothing behind the length.
    expect(whole).toBeGreaterThan(1_000);
  });

  it("of events throw nothing else", () => {
    const random = seeded(seed + 1);
    let read = 0;
    for (let round = 0; round < rounds; round++) {
      for (const { hex } of events) {
        const bytes = mutated(fromHex(hex), random);
        try {
          decodeEvent(new Reader(bytes));
          read++;
        } catch (error) {
          expect(error).toBeInstanceOf(DecodeError);
        }
      }
    }
    expect(read).toBeGreaterThan(100);
  });
});

describe("claims that nothing stands behind", () => {
  it.each([
    ["a length of 2^62 - 1", "ffffffffffffffff"],
    ["a Sync of 256 chats in three bytes", "0403014100"],
    ["a PageChunk of 256 events", "1621010069 6e6361726e6174010141 00".replaceAll(" ", "")],
    ["a text of 2^30 bytes", "090a03e800c000000040000000"],
  ])("%s", (_, hex) => {
    expect(decoded(fromHex(hex))).toBeNull();
  });

  it("random bytes", () => {
    const random = seeded(seed + 2);
    for (let round = 0; round < 5_000; round++) {
      decoded(Uint8Array.from({ length: Math.floor(random() * 64) }, () => Math.floor(random() * 256)));
    }
  });
});
