/**
 * Where a client keeps what outlives a page: device, cursors, chats, outbox, settings and recent events. One store is one
 * user's on one server. `memory.ts` and `indexeddb.ts` pass the same suite (`tests/storage`).
 */

import type { ChatSummary, Command, Refusal } from "../api.js";
import type { ChatId, EntityId, OutboxId, UserId } from "../ids.js";

export interface StoredCursor {
  readonly incarnation: Uint8Array;
  readonly seq: number;
}

/** What is kept of a chat. */
export interface ChatRow {
  readonly id: ChatId;
  joined: number;
  read: number;
  head: number;
  visibleFrom: number;
  info: ChatSummary["info"];
  /** `info` reflects the events up to this seq. */
  infoSeq: number;
  peer: UserId | null;
  /** Up to where events were delivered; `null`: never listened to. */
  cursor: StoredCursor | null;
  /** What the last admission brought, for the next one. */
  proof: Uint8Array;
  /** Events from here to the cursor were seen; `unreadSeqs` are the unread messages of others among them. */
  seenFrom: number;
  unreadSeqs: number[];
  /** Canonical bytes of the newest message, else event, that was seen. */
  last: Uint8Array | null;
}

export interface OutboxRow {
  readonly id: OutboxId;
  readonly entity: EntityId;
  readonly command: Command;
  /** Kind and body as they are sent: a resend has the same bytes, whatever a newer version would write. */
  readonly payload: Uint8Array;
  readonly counter: number;
  readonly createdAtMs: number;
  /** With a refusal: failed. */
  readonly refusal: Refusal | null;
}

export interface StoredEvent {
  readonly seq: number;
  /** Canonical bytes (`EVENTS.md`). */
  readonly bytes: Uint8Array;
}

/** What a store holds besides events. */
export interface Saved {
  readonly state: ReadonlyMap<string, unknown>;
  readonly chats: readonly ChatRow[];
  /** In the order of their counters. */
  readonly outbox: readonly OutboxRow[];
}

export type Change =
  | { readonly put: "state"; readonly key: string; readonly value: unknown }
  | { readonly put: "chat"; readonly row: ChatRow }
  | { readonly put: "outbox"; readonly row: OutboxRow }
  | { readonly put: "events"; readonly chat: ChatId; readonly events: readonly StoredEvent[] }
  | { readonly drop: "state"; readonly key: string }
  /** With its events. */
  | { readonly drop: "chat"; readonly id: ChatId }
  | { readonly drop: "outbox"; readonly id: OutboxId }
  | { readonly drop: "events"; readonly chat: ChatId };

/** A store that does not answer. */
export class Hangs extends Error {
  constructor() {
    super("the storage does not answer");
  }
}

/** Every promise may be rejected, with anything, or stay open for ever: the caller goes on without the store. */
export interface Store {
  readonly kind: "durable" | "memory";
  load(): Promise<Saved>;
  /** All of it or nothing, in order. */
  write(changes: readonly Change[]): Promise<void>;
  /** Up to `limit` events of a chat from `from` on, in this direction, whatever lies between them. */
  events(chat: ChatId, from: number, direction: "forward" | "backward", limit: number): Promise<StoredEvent[]>;
  /** Removes events, those of the chats in `order` first and within a chat the oldest, until at most `bytes` are kept. */
  evict(order: readonly ChatId[], bytes: number): Promise<void>;
  close(): void;
}

/** Where the stores of one user on one server come from. */
export interface StoreSource {
  /** Waits, however long it takes, until nobody else uses it. */
  before?(): Promise<void>;
  open(): Promise<Store>;
  /** Removes what any of them kept, also one that gave up since. Rejected where something may be left. */
  erase(): Promise<void>;
}
