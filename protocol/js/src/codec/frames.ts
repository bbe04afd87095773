/** All frames (`SPEC.md`, section 3), in both directions. */

import { commandFrame } from "./command_frame.js";
import { unknownFrame, frameTooLarge } from "./codes.js";
import {
  addressBytesMax,
  chatNameBytesMax,
  clientNameBytesMax,
  errorTextBytesMax,
  eventBytesMax,
  frameBytesMax,
  pageEventsMax,
  pageRowsMax,
  proofBytesMax,
  signalBytesMax,
  syncChatsMax,
  ticketBytesMax,
  tokenBytesMax,
  welcomeLimitsMax,
} from "./limits.js";
import {
  bool,
  bytes,
  chat,
  checked,
  choice,
  cursor,
  device,
  entity,
  incarnation,
  joined,
  list,
  oneOf,
  option,
  pair,
  record,
  role,
  session,
  text,
  u16,
  u8,
  user,
  varint,
  type Field,
  type ValueOf,
} from "./fields.js";
import { DecodeError, Reader } from "./reader.js";
import { Writer } from "./writer.js";
import type { DeviceId } from "../ids.js";

/** The device of events that no device made directly: no client is it. */
export const noDevice = "11000000000000000000000000" as DeviceId;

const request = varint;
const ticket = bytes(ticketBytesMax);
const proof = bytes(proofBytesMax);
const entry = record({ chat, cursor: option(cursor), proof });
const refusal = record({ code: u16, retryAfterMs: varint });
/** Start: 0 from, 1 begins_at, 2 reset, 3 live. */
const admission = record({
  start: oneOf(0, 1, 2, 3),
  incarnation,
  from: varint,
  head: varint,
  role,
  visibleFrom: varint,
  proof,
});
const outcome = record({ chat, outcome: choice({ admission, refusal }) });
const event = bytes(eventBytesMax);

const frameBodies = {
  hello: joined(
    // Looked at before the rest, which without version 1 may be anything.
    checked(
      record({ versionMin: varint, versionMax: varint }),
      (versions) => versions.versionMin <= versions.versionMax,
    ),
    record({
      capabilities: varint,
      auth: choice({ token: text(tokenBytesMax), ticket }),
      device: checked(device, (id) => id !== noDevice),
      inbox: option(cursor),
      client: text(clientNameBytesMax),
    }),
  ),
  welcome: record({
    version: varint,
    capabilities: varint,
    session,
    user,
    heartbeatMs: varint,
    expiresInMs: varint,
    ticket,
    inbox: record({ incarnation, head: varint, from: varint, reset: bool }),
    limits: list(welcomeLimitsMax, pair(u8, varint)),
  }),
  sync: record({ request, chats: list(syncChatsMax, entry) }),
  synced: record({ request, last: bool, chats: list(syncChatsMax, outcome) }),
  refresh: record({ request, token: text(tokenBytesMax) }),
  refreshed: record({ request, expiresInMs: varint, ticket }),
  ping: record({ nonce: varint }),
  pong: record({ nonce: varint }),
  goAway: record({ code: u16, delayMs: varint, closesInMs: varint, address: text(addressBytesMax), ticket }),
  bye: record({ code: u16, retryAfterMs: varint, text: text(errorTextBytesMax) }),
  error: record({
    request,
    code: u16,
    retryAfterMs: varint,
    details: option(record({ counter: varint, seq: varint })),
    text: text(errorTextBytesMax),
  }),
  command: commandFrame,
  ack: record({ request, seq: varint }),
  event: record({ entity, event }),
  subscribe: record({ request, entry }),
  subscribed: record({ request, admission }),
  unsubscribe: record({ request, chat }),
  unsubscribed: record({ request }),
  ended: record({ entity, code: u16, retryAfterMs: varint }),
  /** Direction: 0 forward, 1 backward. */
  page: record({ request, entity, direction: oneOf(0, 1), from: varint, limit: varint }),
  pageChunk: record({
    request,
    last: bool,
    incarnation,
    beginsAt: varint,
    head: varint,
    events: list(pageEventsMax, event),
  }),
  members: record({ request, chat, after: option(user), limit: varint }),
  membersPage: record({ request, more: bool, members: list(pageRowsMax, record({ user, role, joined: varint })) }),
  chats: record({ request, after: option(chat), limit: varint }),
  chatsPage: record({
    request,
    more: bool,
    inbox: varint,
    chats: list(pageRowsMax, record({ chat, joined: varint, read: varint })),
  }),
  chatInfo: record({ request, chat }),
  /** Kind: 1 group, 2 direct. */
  chatInfoReply: record({
    request,
    kind: oneOf(1, 2),
    name: text(chatNameBytesMax),
    incarnation,
    head: varint,
    members: varint,
    role,
    visibleFrom: varint,
  }),
  /** Kind: 1 typing, 2 typing stopped, 3 presence; others may be unknown. */
  signal: record({ chat, user: option(user), kind: u8, payload: bytes(signalBytesMax) }),
  head: record({ entity, head: varint }),
};

export type FrameName = keyof typeof frameBodies;
export type FrameBody<N extends FrameName> = ValueOf<(typeof frameBodies)[N]>;
export type Frame = { [N in FrameName]: { readonly type: N } & FrameBody<N> }[FrameName];
/** What a Sync's outcome or a Subscribed says of a chat that is listened to. */
export type Admission = ValueOf<typeof admission>;
export type Cursor = ValueOf<typeof cursor>;

/** The type of each frame; also read by tests. */
export const frameTypes: Readonly<Record<FrameName, number>> = {
  hello: 0x01,
  welcome: 0x02,
  sync: 0x03,
  synced: 0x04,
  refresh: 0x05,
  refreshed: 0x06,
  ping: 0x07,
  pong: 0x08,
  goAway: 0x09,
  bye: 0x0a,
  error: 0x0b,
  command: 0x10,
  ack: 0x11,
  event: 0x12,
  subscribe: 0x13,
  subscribed: 0x14,
  unsubscribe: 0x15,
  unsubscribed: 0x16,
  ended: 0x17,
  page: 0x20,
  pageChunk: 0x21,
  members: 0x22,
  membersPage: 0x23,
  chats: 0x24,
  chatsPage: 0x25,
  chatInfo: 0x26,
  chatInfoReply: 0x27,
  signal: 0x80,
  head: 0x81,
};

const names = new Map((Object.entries(frameTypes) as [FrameName, number][]).map(([name, type]) => [type, name]));
/** From here on a frame that is not known is skipped. */
const ignorable = 0x80;

const bodyOf = (name: FrameName): Field<object> => frameBodies[name] as unknown as Field<object>;

/** One frame with its length. Throws a `RangeError` for a value above its limit. */
export function encodeFrame(frame: Frame): Uint8Array<ArrayBuffer> {
  const body = new Writer();
  body.u8(frameTypes[frame.type]);
  bodyOf(frame.type).write(body, frame);
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
  const name = names.get(type);
  if (name === undefined) {
    if (type >= ignorable) return null;
    throw new DecodeError("unknown frame type", unknownFrame);
  }
  return { type: name, ...bodyOf(name).read(from) } as Frame;
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
