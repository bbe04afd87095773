/** What a chat learns of pages and answers, beside its events. */

import type { ChatEvent } from "../api.js";
import type { FrameBody } from "../codec/frames.js";
import type { UserId } from "../ids.js";
import type { Chat } from "./chat.js";
import { chatKindName, plain, roleName } from "./events.js";

/** A page that reaches the newest event, or what was seen already: rising, dense. */
export function takePage(chat: Chat, events: readonly (readonly [ChatEvent, Uint8Array])[], me: UserId): void {
  const { row } = chat;
  const [first] = events[0] ?? [];
  const [newest] = events.at(-1) ?? [];
  if (first === undefined || newest === undefined) return;
  for (const [event, bytes] of events) chat.show(event, bytes);
  const seenFrom = row.seenFrom === 0 ? row.head + 1 : row.seenFrom;
  if (first.seq >= seenFrom || newest.seq < seenFrom - 1) return;
  const unread = events
    .map(([event]) => event)
    .filter(({ seq, kind, actor }) => kind === "messageSent" && actor !== me && seq > row.read && seq < seenFrom);
  row.unreadSeqs = [...unread.map(({ seq }) => seq), ...row.unreadSeqs];
  row.seenFrom = first.seq;
  chat.boundUnread();
}

export function takeInfo(chat: Chat, info: FrameBody<"chatInfoReply">): void {
  const { row } = chat;
  const [kind, role] = [chatKindName(info.kind), roleName(info.role)];
  row.info = { kind, name: info.name, members: plain(info.members), role };
  row.infoSeq = plain(info.head);
  row.head = Math.max(row.head, row.infoSeq);
  row.visibleFrom = plain(info.visibleFrom);
}
