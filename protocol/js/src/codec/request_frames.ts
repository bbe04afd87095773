/**
 * The frames by which commands and questions go and are answered, and signals (`SPEC.md`, section 3), by their types. A
 * session opens without them.
 */

import { commandFrame } from "./command_frame.js";
import { chatNameBytesMax, pageEventsMax, pageRowsMax, signalBytesMax } from "./limits.js";
import {
  bool,
  bytes,
  chat,
  entity,
  incarnation,
  list,
  oneOf,
  option,
  record,
  role,
  text,
  u8,
  user,
  varint,
} from "./fields.js";
import { admission, entry, event, request } from "./session_frames.js";

export const requestFrames = {
  command: [0x10, commandFrame],
  ack: [0x11, record({ request, seq: varint })],
  subscribe: [0x13, record({ request, entry })],
  subscribed: [0x14, record({ request, admission })],
  unsubscribe: [0x15, record({ request, chat })],
  unsubscribed: [0x16, record({ request })],
  /** Direction: 0 forward, 1 backward. */
  page: [0x20, record({ request, entity, direction: oneOf(0, 1), from: varint, limit: varint })],
  pageChunk: [
    0x21,
    record({
      request,
      last: bool,
      incarnation,
      beginsAt: varint,
      head: varint,
      events: list(pageEventsMax, event),
    }),
  ],
  members: [0x22, record({ request, chat, after: option(user), limit: varint })],
  membersPage: [
    0x23,
    record({ request, more: bool, members: list(pageRowsMax, record({ user, role, joined: varint })) }),
  ],
  chats: [0x24, record({ request, after: option(chat), limit: varint })],
  chatsPage: [
    0x25,
    record({
      request,
      more: bool,
      inbox: varint,
      chats: list(pageRowsMax, record({ chat, joined: varint, read: varint })),
    }),
  ],
  chatInfo: [0x26, record({ request, chat })],
  /** Kind: 1 group, 2 direct. */
  chatInfoReply: [
    0x27,
    record({
      request,
      kind: oneOf(1, 2),
      name: text(chatNameBytesMax),
      incarnation,
      head: varint,
      members: varint,
      role,
      visibleFrom: varint,
    }),
  ],
  /** Kind: 1 typing, 2 typing stopped, 3 presence; others may be unknown. */
  signal: [0x80, record({ chat, user: option(user), kind: u8, payload: bytes(signalBytesMax) })],
} as const;
