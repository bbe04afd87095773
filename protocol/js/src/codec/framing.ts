/** Frames to bytes and back (`SPEC.md`, section 3), of those kinds that are known by then. */

import { frameTooLarge, unknownFrame } from "./codes.js";
import type { Field } from "./fields.js";
import type { Frame } from "./frames.js";
import { frameBytesMax } from "./limits.js";
import { DecodeError, Reader } from "./reader.js";
import { sessionFrames } from "./session_frames.js";
import { Writer } from "./writer.js";

/** From here on a frame that is not known is skipped. */
const ignorable = 0x80;

const byName = new Map<string, readonly [number, Field<object>]>();
const byType = new Map<number, readonly [string, Field<object>]>();

/** From now on these are known, in this thread. Nobody sends others before, or is sent them: they answer what was asked. */
export function know(frames: object): void {
  for (const [name, [type, field]] of Object.entries(frames) as [string, [number, Field<object>]][]) {
    byName.set(name, [type, field]);
    byType.set(type, [name, field]);
  }
}
know(sessionFrames);

function unknown(name: string): never {
  throw new RangeError(`no frame ${name} is known yet`);
}

/** One frame with its length. Throws a `RangeError` for a value above its limit. */
export function encodeFrame(frame: Frame): Uint8Array<ArrayBuffer> {
  const body = new Writer();
  const [type, field] = byName.get(frame.type) ?? unknown(frame.type);
  body.u8(type);
  field.write(body, frame);
  const bytes = body.finish();
  if (bytes.length > frameBytesMax) throw new RangeError("the frame is above its limit");
  const whole = new Writer();
  whole.varint(BigInt(bytes.length));
  whole.raw(bytes);
  return whole.finish();
}

/** One frame's type and body. `null`: a frame that is to be skipped. */
function decodeBody(bytes: Uint8Array): Frame | null {
  const from = new Reader(bytes);
  const type = from.u8();
  const known = byType.get(type);
  if (known === undefined) {
    if (type >= ignorable) return null;
    throw new DecodeError("unknown frame type", unknownFrame);
  }
  const [name, field] = known;
  return { type: name, ...field.read(from) } as Frame;
}

/**
 * Hands the frames of one WebSocket message to `take`, in order. Throws {@link DecodeError} for an empty message, one
 * that ends inside a frame, and a frame that is none; those before it were handed out.
 */
export function decodeMessage(message: Uint8Array, take: (frame: Frame) => void): void {
  const from = new Reader(message);
  do {
    const length = from.varint();
    if (length > frameBytesMax) throw new DecodeError("a length or count is above its limit", frameTooLarge);
    if (length === 0n) throw new DecodeError("a value is outside of its range");
    const frame = decodeBody(from.take(Number(length)));
    if (frame !== null) take(frame);
  } while (from.left > 0);
}
