/**
 * The frames that open a session, keep it, and bring what happens (`SPEC.md`, section 3), by their types. The others are in
 * `request_frames.ts`.
 */

import {
  addressBytesMax,
  clientNameBytesMax,
  errorTextBytesMax,
  eventBytesMax,
  proofBytesMax,
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
} from "./fields.js";
import type { DeviceId } from "../ids.js";

/** The device of events that no device made directly: no client is it. */
export const noDevice = "11000000000000000000000000" as DeviceId;

export const request = varint;
const ticket = bytes(ticketBytesMax);
const proof = bytes(proofBytesMax);
export const entry = record({ chat, cursor: option(cursor), proof });
const refusal = record({ code: u16, retryAfterMs: varint });
/** Start: 0 from, 1 begins_at, 2 reset, 3 live. */
export const admission = record({
  start: oneOf(0, 1, 2, 3),
  incarnation,
  from: varint,
  head: varint,
  role,
  visibleFrom: varint,
  proof,
});
const outcome = record({ chat, outcome: choice({ admission, refusal }) });
export const event = bytes(eventBytesMax);

export const sessionFrames = {
  hello: [
    0x01,
    joined(
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
  ],
  welcome: [
    0x02,
    record({
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
  ],
  sync: [0x03, record({ request, chats: list(syncChatsMax, entry) })],
  synced: [0x04, record({ request, last: bool, chats: list(syncChatsMax, outcome) })],
  refresh: [0x05, record({ request, token: text(tokenBytesMax) })],
  refreshed: [0x06, record({ request, expiresInMs: varint, ticket })],
  ping: [0x07, record({ nonce: varint })],
  pong: [0x08, record({ nonce: varint })],
  goAway: [0x09, record({ code: u16, delayMs: varint, closesInMs: varint, address: text(addressBytesMax), ticket })],
  bye: [0x0a, record({ code: u16, retryAfterMs: varint, text: text(errorTextBytesMax) })],
  error: [
    0x0b,
    record({
      request,
      code: u16,
      retryAfterMs: varint,
      details: option(record({ counter: varint, seq: varint })),
      text: text(errorTextBytesMax),
    }),
  ],
  event: [0x12, record({ entity, event })],
  ended: [0x17, record({ entity, code: u16, retryAfterMs: varint })],
  head: [0x81, record({ entity, head: varint })],
} as const;
