/**
 * Keeps everything in IndexedDB: one database for each user and server. They hang for minutes at times: whoever calls
 * bounds how long that is waited for.
 */

import type { ChatId } from "../ids.js";
import type { Change, ChatRow, OutboxRow, Saved, Store, StoredEvent } from "./store.js";

/** Raised with each change of what rows mean; a database of a newer version is not touched. */
const version = 1;
/** Above every seq. */
export const seqMax = Number.MAX_SAFE_INTEGER;

const tables = ["state", "chats", "outbox", "events"] as const;

export interface EventRow {
  readonly chat: ChatId;
  readonly seq: number;
  readonly bytes: Uint8Array;
}

/** Opens the database of this name, or makes it. Rejected where the browser does not allow it. */
export async function openIndexedDbStore(name: string): Promise<Store> {
  const opening = indexedDB.open(name, version);
  opening.onupgradeneeded = () => {
    const database = opening.result;
    database.createObjectStore("state");
    database.createObjectStore("chats", { keyPath: "id" });
    database.createObjectStore("outbox", { keyPath: "id" });
    database.createObjectStore("events", { keyPath: ["chat", "seq"] });
  };
  return new IndexedDbStore(await result(opening));
}

/** Removes the database of this name, whoever has it open. */
export async function eraseIndexedDbStore(name: string): Promise<void> {
  await result(indexedDB.deleteDatabase(name));
}

class IndexedDbStore implements Store {
  readonly kind = "durable";
  /** Bytes of all events, or more: what was written over counts twice. Unknown until they were counted once. */
  #heldAtMost = Infinity;

  constructor(readonly database: IDBDatabase) {
    // Another tab erases it or brings a newer version: it must not wait for this one.
    database.onversionchange = () => {
      database.close();
    };
  }

  async load(): Promise<Saved> {
    const transaction = this.database.transaction(["state", "chats", "outbox"]);
    const state = transaction.objectStore("state");
    const [keys, values, chats, outbox] = await Promise.all([
      result(state.getAllKeys()),
      result(state.getAll()),
      result(transaction.objectStore("chats").getAll()),
      result(transaction.objectStore("outbox").getAll()),
    ]);
    return {
      state: new Map((keys as string[]).map((key, at) => [key, values[at] as unknown])),
      chats: chats as ChatRow[],
      outbox: (outbox as OutboxRow[]).sort((one, other) => one.counter - other.counter),
    };
  }

  async write(changes: readonly Change[]): Promise<void> {
    const transaction = this.database.transaction(tables, "readwrite");
    const ended = done(transaction);
    // A value that cannot be cloned throws in the middle: nothing of it stays.
    try {
      for (const change of changes) apply(change, transaction);
    } catch (error) {
      transaction.abort();
      await ended.catch(() => undefined);
      throw error;
    }
    for (const change of changes)
      if ("put" in change && change.put === "events") this.#heldAtMost += sizeOf(change.events);
    await ended;
  }

  async events(chat: ChatId, from: number, direction: "forward" | "backward", limit: number): Promise<StoredEvent[]> {
    const { readEvents } = await import("./events.js");
    return readEvents(this.database, chat, from, direction, limit);
  }

  async evict(order: readonly ChatId[], bytes: number): Promise<void> {
    if (this.#heldAtMost <= bytes) return;
    this.#heldAtMost = 0;
    let left = Infinity;
    try {
      const { removeEvents } = await import("./events.js");
      left = await removeEvents(this.database, order, bytes);
    } finally {
      // What came meanwhile was added, and may have been counted, too.
      this.#heldAtMost += left;
    }
  }

  close(): void {
    this.database.close();
  }
}

function apply(change: Change, transaction: IDBTransaction): void {
  const [state, chats, outbox, events] = tables.map((name) => transaction.objectStore(name)) as [
    IDBObjectStore,
    IDBObjectStore,
    IDBObjectStore,
    IDBObjectStore,
  ];
  if ("put" in change) {
    if (change.put === "state") state.put(change.value, change.key);
    else if (change.put === "chat") chats.put(change.row);
    else if (change.put === "outbox") outbox.put(change.row);
    else for (const event of change.events) events.put({ chat: change.chat, ...event });
  } else if (change.drop === "state") state.delete(change.key);
  else if (change.drop === "outbox") outbox.delete(change.id);
  else {
    if (change.drop === "chat") chats.delete(change.id);
    const chat = change.drop === "chat" ? change.id : change.chat;
    events.delete(IDBKeyRange.bound([chat, 0], [chat, seqMax]));
  }
}

const sizeOf = (events: readonly StoredEvent[]): number => events.reduce((sum, { bytes }) => sum + bytes.length, 0);

const reason = (error: DOMException | null): Error => error ?? new Error("the storage gave up");

export function result<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => {
      resolve(request.result);
    };
    request.onerror = () => {
      reject(reason(request.error));
    };
  });
}

export function done(transaction: IDBTransaction): Promise<void> {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => {
      resolve();
    };
    transaction.onabort = transaction.onerror = () => {
      reject(reason(transaction.error));
    };
  });
}
