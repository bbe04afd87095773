/** Identifiers of chats, which follow from who makes them (`SPEC.md`, section 2). */

import type { ChatId, DeviceId, UserId } from "../ids.js";
import { idBytes, idText } from "./identifiers.js";
import { sha256 } from "./sha256.js";
import { utf8Bytes, Writer } from "./writer.js";

/** The group that `creator` makes on `device` with the command that has this counter: the server makes the same. */
export function groupChatId(creator: UserId, device: DeviceId, counter: bigint): ChatId {
  const to = new Writer();
  to.raw(utf8Bytes("panda group chat"));
  to.raw(bytesOf(creator));
  to.raw(bytesOf(device));
  to.u64(counter);
  return derived(0x31, to);
}

/** The one direct chat of two users. */
export function directChatId(one: UserId, other: UserId): ChatId {
  const to = new Writer();
  to.raw(utf8Bytes("panda direct chat"));
  // The digits rise as the bytes do: texts are in the order of what they stand for.
  for (const user of one < other ? [one, other] : [other, one]) to.raw(bytesOf(user));
  return derived(0x41, to);
}

function derived(firstByte: number, from: Writer): ChatId {
  const digest = sha256(from.finish()).subarray(0, 16);
  // "Bytes 2 to 16": the digest's first byte gives way to the kind.
  digest[0] = firstByte;
  return idText(digest) as ChatId;
}

function bytesOf(id: string): Uint8Array {
  const bytes = idBytes(id);
  if (bytes === null) throw new RangeError("not an identifier");
  return bytes;
}
