/**
 * Follows the inbox and every chat in it: what to ask for, what comes, in order and each once. All chats of the user are
 * listened to, so that the list is true without asking.
 */

import type { ChatSummary } from "../api.js";
import { rangeOf, tooManySubscriptions } from "../codec/codes.js";
import type { Event } from "../codec/events.js";
import type { Cursor, FrameBody } from "../codec/frames.js";
import { DecodeError } from "../codec/reader.js";
import { syncChatsMax } from "../codec/limits.js";
import type { ChatId, DeviceId, OutboxId } from "../ids.js";
import { refusalOf } from "../refusals.js";
import type { Ask } from "../session/machine.js";
import type { ChatRow, StoredCursor } from "../storage/store.js";
import { Chat, newRow, sameBytes, syncEntry } from "./chat.js";
import type { Context, OnReply } from "./context.js";
import { chatEvent, plain, readEvent } from "./events.js";

/** What was refused for now is asked for again after this, and at most twice that. */
export const againMs = 2_000;
/** Of a chat that the user just joined, so many events before that are taken along, where they may be seen. */
const introductionEvents = 16;

export interface FollowingOwner {
  /** Which entry of the outbox made an event of the own device. */
  outboxOf(device: DeviceId, counter: number): OutboxId | undefined;
  /** An event of this chat came to the application. */
  delivered(chat: ChatId, seq: number, device: DeviceId, counter: number): void;
  /** What was awaited of this chat does not come as events any more. */
  released(chat: ChatId): void;
  /** Which chats there are is to be read in this session, and told by {@link Following.listed}. */
  unlisted(session: number): void;
  /** A chat needs its name and kind, or what was said last in it. */
  unknown(chat: Chat): void;
}

export class Following {
  readonly chats = new Map<ChatId, Chat>();
  readonly settings = new Map<string, Uint8Array>();
  /** The list was read once and is kept true since. */
  complete = false;
  #inbox: StoredCursor | null = null;
  #inboxHead = 0;
  /** While the list is being read: inbox events that came meanwhile. */
  #held: Event[] | null = null;
  #toSync = new Set<ChatId>();
  /** Chats that are not yet where they were when the session began. */
  #behind = new Set<ChatId>();
  #changed = new Set<ChatId>();
  /** The Syncs of the first flight, until it is known which requests they are. */
  #opening: ChatId[][] = [];

  constructor(
    readonly context: Context,
    readonly owner: FollowingOwner,
  ) {}

  load(rows: readonly ChatRow[], inbox: StoredCursor | null, complete: boolean): void {
    for (const row of rows) {
      const chat = new Chat(row);
      try {
        if (row.last !== null) chat.last = chatEvent(readEvent(row.last), () => undefined);
      } catch {
        // Damaged bytes, or those of another version: it is read anew.
        row.last = null;
      }
      this.chats.set(row.id, chat);
    }
    this.complete = complete && inbox !== null;
    this.#inbox = this.complete ? inbox : null;
  }

  get inbox(): StoredCursor | null {
    return this.complete ? this.#inbox : null;
  }

  /** Everything is where it was when the session began. */
  get current(): boolean {
    return this.#behind.size === 0 && this.#held === null && this.#inbox !== null && this.#inbox.seq >= this.#inboxHead;
  }

  summaries(): ChatSummary[] {
    return [...this.chats.values()].map((chat) => chat.summary());
  }

  /** Changed summaries since the last call. */
  takeChanged(): ChatSummary[] {
    const changed = [...this.#changed].flatMap((id) => this.chats.get(id)?.summary() ?? []);
    this.#changed.clear();
    return changed;
  }

  changed(chat: Chat): void {
    this.#show(chat);
    this.context.journal.putChat(chat.row);
  }

  #show(chat: Chat): void {
    this.#changed.add(chat.row.id);
    this.context.soon();
  }

  // A session begins and ends

  opening(): { inbox: Cursor | null; first: Ask[] } {
    const inbox = this.inbox;
    this.#opening = [];
    const first: Ask[] = [];
    const ids = [...this.chats.keys()];
    for (let at = 0; at < ids.length; at += syncChatsMax) {
      const page = ids.slice(at, at + syncChatsMax);
      this.#opening.push(page);
      first.push(this.#sync(page));
    }
    return { inbox: inbox && { incarnation: inbox.incarnation, seq: BigInt(inbox.seq) }, first };
  }

  began(requests: readonly number[]): void {
    requests.forEach((request, at) => {
      this.context.requests.expect(request, this.#synced(this.#opening[at] ?? []));
    });
    this.#opening = [];
  }

  welcomed({ inbox }: FrameBody<"welcome">): void {
    const from = plain(inbox.from);
    this.#inboxHead = plain(inbox.head);
    const goesOn = this.inbox !== null && !inbox.reset && from === this.inbox.seq + 1;
    if (inbox.reset) this.#resetAll();
    this.#inbox = { incarnation: inbox.incarnation, seq: from - 1 };
    if (goesOn) this.#checkCurrent();
    else this.#unlisted();
  }

  lost(): void {
    this.#toSync.clear();
    this.#behind.clear();
    this.#held = null;
    for (const chat of this.chats.values()) {
      chat.awaiting = false;
      if (chat.following !== "refused") {
        chat.following = "paused";
        this.#show(chat);
      }
    }
  }

  // What comes

  event({ entity, event: bytes }: FrameBody<"event">): void {
    const event = readEvent(bytes);
    if (entity === this.context.me) this.#inboxEvent(event);
    else {
      const chat = this.chats.get(entity as ChatId);
      if (chat !== undefined) this.#chatEvent(chat, event, bytes);
    }
    this.#checkCurrent();
  }

  #chatEvent(chat: Chat, event: Event, bytes: Uint8Array): void {
    const { id, cursor } = chat.row;
    if (chat.awaiting || cursor === null) return;
    const seen = chatEvent(event, (device, counter) => this.owner.outboxOf(device, counter));
    if (seen.seq <= cursor.seq) return;
    if (seen.seq !== cursor.seq + 1) {
      this.#resync(chat);
      return;
    }
    chat.take(seen, bytes, this.context.me);
    this.context.emit({ type: "events", chat: id, events: [seen] });
    this.owner.delivered(id, seen.seq, seen.device, seen.counter);
    this.context.journal.put({ put: "events", chat: id, events: [{ seq: seen.seq, bytes }] });
    if (seen.seq >= chat.target) this.#behind.delete(id);
    this.changed(chat);
  }

  #inboxEvent(event: Event): void {
    const seq = plain(event.seq);
    if (this.#inbox === null || seq <= this.#inbox.seq) return;
    // The inbox cannot be asked for again but by a new session, which names where to go on.
    if (seq !== this.#inbox.seq + 1) throw new DecodeError("a value is outside of its range");
    this.#inbox = { ...this.#inbox, seq };
    if (this.#held !== null) {
      this.#held.push(event);
      return;
    }
    this.#apply(event);
    this.context.journal.put({ put: "state", key: "inbox", value: this.#inbox });
  }

  #apply({ body }: Event): void {
    switch (body.is) {
      case "chatJoined":
        this.#joined(body.chat, plain(body.source), plain(body.visibleFrom));
        break;
      case "chatLeft":
        this.#left([body.chat]);
        break;
      case "readMoved": {
        const chat = this.chats.get(body.chat);
        if (chat?.markRead(plain(body.read)) === true) this.changed(chat);
        break;
      }
      case "settingChanged":
        this.#setting(body.key, body.value);
    }
  }

  #setting(key: string, value: Uint8Array): void {
    const name = `setting:${key}`;
    if (value.length === 0) this.settings.delete(key);
    else this.settings.set(key, value);
    this.context.journal.put(value.length === 0 ? { drop: "state", key: name } : { put: "state", key: name, value });
    this.context.emit({ type: "setting", key, value });
  }

  #joined(id: ChatId, source: number, visibleFrom: number): void {
    if (this.chats.has(id)) this.#left([id]);
    const row = newRow(id, source, 0);
    const from = source - visibleFrom < introductionEvents ? visibleFrom : source;
    if (this.#inbox !== null) row.cursor = { incarnation: this.#inbox.incarnation, seq: Math.max(0, from - 1) };
    row.seenFrom = from;
    row.visibleFrom = visibleFrom;
    this.#add(new Chat(row));
  }

  #add(chat: Chat): void {
    this.chats.set(chat.row.id, chat);
    this.#resync(chat);
  }

  #left(ids: readonly ChatId[]): void {
    const known = ids.filter((id) => this.chats.delete(id));
    for (const id of known) {
      this.#toSync.delete(id);
      this.#behind.delete(id);
      this.#changed.delete(id);
      this.context.journal.dropChat(id);
      this.owner.released(id);
    }
    if (known.length === 0) return;
    this.context.emit({ type: "chatsLeft", chats: known });
    // There is room for as many as went.
    const waiting = [...this.chats.values()].filter(({ refusal }) => refusal?.code === tooManySubscriptions);
    for (const chat of waiting.slice(0, known.length)) this.#resync(chat);
  }

  head({ entity, head }: FrameBody<"head">): void {
    const chat = this.chats.get(entity as ChatId);
    const seq = plain(head);
    if (chat !== undefined && seq > chat.row.head) {
      chat.row.head = seq;
      this.changed(chat);
    }
    this.context.emit({ type: "lagging", entity, head: seq });
  }

  ended({ entity, code, retryAfterMs }: FrameBody<"ended">): void {
    const chat = this.chats.get(entity as ChatId);
    if (chat !== undefined) this.#refused(chat, code, Number(retryAfterMs));
  }

  // Subscriptions

  /** Subscribes anew at the cursor; events do not count before the answer. */
  #resync(chat: Chat): void {
    chat.awaiting = true;
    if (this.#toSync.size === 0) {
      queueMicrotask(() => {
        this.#flushSync();
      });
    }
    this.#toSync.add(chat.row.id);
    this.changed(chat);
  }

  #flushSync(): void {
    const ids = [...this.#toSync].filter((id) => this.chats.has(id));
    this.#toSync.clear();
    for (let at = 0; at < ids.length; at += syncChatsMax) {
      const page = ids.slice(at, at + syncChatsMax);
      // Without a session, the next one begins with all of them.
      if (!this.context.requests.ask(this.#sync(page), this.#synced(page))) return;
    }
  }

  #sync(ids: readonly ChatId[], live = false): Extract<Ask, { readonly type: "sync" }> {
    const chats = ids.flatMap((id) => this.chats.get(id) ?? []);
    for (const chat of chats) {
      chat.awaiting = true;
      chat.following = "opening";
      this.#behind.add(chat.row.id);
      this.#show(chat);
    }
    return { type: "sync", chats: chats.map((chat) => syncEntry(chat, live)) };
  }

  #synced(asked: readonly ChatId[]): OnReply {
    return (reply) => {
      if (reply === null) return;
      if (reply.type === "error") {
        for (const id of asked) this.#refuse(id, reply.code, Number(reply.retryAfterMs));
      } else if (reply.type === "synced") {
        for (const { chat: id, outcome } of reply.chats) {
          if ("admission" in outcome) this.#admitted(id, outcome.admission);
          else this.#refuse(id, outcome.refusal.code, Number(outcome.refusal.retryAfterMs));
        }
      }
      this.#checkCurrent();
    };
  }

  #admitted(id: ChatId, admission: Parameters<Chat["admit"]>[0]): void {
    const chat = this.chats.get(id);
    if (chat === undefined) return;
    const admitted = chat.admit(admission);
    if (admitted === "tooFar") {
      const page = [id];
      this.context.requests.ask(this.#sync(page, true), this.#synced(page));
      return;
    }
    if (admitted === "reset") {
      this.context.journal.put({ drop: "events", chat: id });
      this.context.emit({ type: "reset", chat: id });
    } else if (admitted === "hole") this.context.emit({ type: "hole", chat: id, before: plain(admission.from) });
    if (admitted !== "goesOn") this.owner.released(id);
    if ((chat.row.cursor?.seq ?? 0) >= chat.target) this.#behind.delete(id);
    else this.#behind.add(id);
    if (chat.row.info === null || chat.last === null || admitted !== "goesOn") this.owner.unknown(chat);
    this.changed(chat);
  }

  #refuse(id: ChatId, code: number, retryAfterMs: number): void {
    const chat = this.chats.get(id);
    if (chat !== undefined) this.#refused(chat, code, retryAfterMs);
  }

  #refused(chat: Chat, code: number, retryAfterMs: number): void {
    const isTooMany = code === tooManySubscriptions;
    const again = rangeOf(code) < 22;
    chat.following = again || isTooMany ? "paused" : "refused";
    chat.refusal = refusalOf(code, "", retryAfterMs);
    chat.awaiting = true;
    this.#behind.delete(chat.row.id);
    this.owner.released(chat.row.id);
    this.changed(chat);
    if (!again) return;
    const { requests, world } = this.context;
    const { session } = requests;
    world.after(Math.max(retryAfterMs, againMs * (1 + world.random())), () => {
      if (session === requests.session && this.chats.get(chat.row.id) === chat) this.#resync(chat);
    });
  }

  #checkCurrent(): void {
    this.context.connector.setCurrent(this.current);
  }

  // The list

  /** Which chats there are is to be read. What the inbox says meanwhile is applied behind it. */
  #unlisted(): void {
    this.#held ??= [];
    this.complete = false;
    this.owner.unlisted(this.context.requests.session);
  }

  /** These are all chats, as of events of the inbox up to `lowest` at least. */
  listed(rows: FrameBody<"chatsPage">["chats"], lowest: number): void {
    const held = this.#held;
    this.#held = null;
    this.complete = true;
    const there = new Set(rows.map(({ chat }) => chat));
    this.#left([...this.chats.keys()].filter((id) => !there.has(id)));
    for (const { chat: id, joined, read } of rows) {
      const known = this.chats.get(id);
      if (known === undefined) this.#add(new Chat(newRow(id, plain(joined), plain(read))));
      else {
        known.row.joined = plain(joined);
        known.markRead(plain(read));
        this.changed(known);
      }
    }
    for (const event of held ?? []) if (event.seq > lowest) this.#apply(event);
    this.context.journal.put(
      { put: "state", key: "inbox", value: this.#inbox },
      { put: "state", key: "complete", value: true },
    );
    // Also of nothing: an empty list is known now.
    this.context.emit({ type: "chats", chats: [], complete: true });
    this.#checkCurrent();
  }

  #resetAll(): void {
    const { journal } = this.context;
    for (const id of this.chats.keys()) {
      journal.dropChat(id);
      this.owner.released(id);
    }
    for (const key of this.settings.keys()) journal.put({ drop: "state", key: `setting:${key}` });
    journal.put({ drop: "state", key: "inbox" }, { drop: "state", key: "complete" });
    this.chats.clear();
    this.settings.clear();
    this.#behind.clear();
    this.#changed.clear();
    this.complete = false;
    this.context.emit({ type: "resetAll" });
  }

  /** Whether a page of a chat is of the store that its cursor is of. */
  isOfStore(chat: Chat, incarnation: Uint8Array): boolean {
    return chat.row.cursor === null || sameBytes(chat.row.cursor.incarnation, incarnation);
  }
}
