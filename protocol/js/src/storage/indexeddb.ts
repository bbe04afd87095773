/** Keeps everything in IndexedDB: one database for each user and server. */

import type { ChatId } from "../ids.js";
import { Hangs, type Change, type ChatRow, type OutboxRow, type Saved, type Store, type StoredEvent } from "./store.js";

/** Raised with each change of what rows mean; a database of a newer version is not touched. */
const version = 1;
/** An IndexedDB that does not answer (they hang for minutes at times) counts as one that is not there. */
const answerMs = 10_000;
/** Above every seq. */
const seqMax = Number.MAX_SAFE_INTEGER;

const tables = ["state", "chats", "outbox", "events"] as const;

interface EventRow {
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
  // One that comes too late is closed: nobody waits for it any more.
  let late = false;
  opening.addEventListener("success", () => {
    if (late) opening.result.close();
  });
  try {
    return new IndexedDbStore(await inTime(result(opening)));
  } catch (error) {
    late = true;
    throw error;
  }
}

/** Removes the database of this name, whoever has it open. */
export async function eraseIndexedDbStore(name: string): Promise<void> {
  await inTime(result(indexedDB.deleteDatabase(name)));
}

class IndexedDbStore implements Store {
  readonly kind = "durable";

  constructor(readonly database: IDBDatabase) {
    // Another tab erases it or brings a newer version: it must not wait for this one.
    database.onversionchange = () => {
      database.close();
    };
  }

  async load(): Promise<Saved> {
    const transaction = this.database.transaction(["state", "chats", "outbox"]);
    const state = transaction.objectStore("state");
    const [keys, values, chats, outbox] = await inTime(
      Promise.all([
        result(state.getAllKeys()),
        result(state.getAll()),
        result(transaction.objectStore("chats").getAll()),
        result(transaction.objectStore("outbox").getAll()),
      ]),
    );
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
    await inTime(ended);
  }

  async events(chat: ChatId, from: number, direction: "forward" | "backward", limit: number): Promise<StoredEvent[]> {
    const events = this.database.transaction("events").objectStore("events");
    const forward = direction === "forward";
    const found: StoredEvent[] = [];
    const range = IDBKeyRange.bound([chat, forward ? from : 0], [chat, forward ? seqMax : from]);
    await inTime(
      walk(events.openCursor(range, forward ? "next" : "prev"), ({ value }) => {
        const { seq, bytes } = value as EventRow;
        if (found.length < limit) found.push({ seq, bytes });
        return found.length < limit;
      }),
    );
    return found;
  }

  async evict(order: readonly ChatId[], bytes: number): Promise<void> {
    const transaction = this.database.transaction("events", "readwrite");
    const ended = done(transaction);
    const events = transaction.objectStore("events");
    const held = new Map<ChatId, number>();
    let total = 0;
    const size = ({ value }: IDBCursorWithValue): number => (value as EventRow).bytes.length;
    await walk(events.openCursor(), (cursor) => {
      const { chat } = cursor.value as EventRow;
      held.set(chat, (held.get(chat) ?? 0) + size(cursor));
      total += size(cursor);
      return true;
    });
    for (const chat of new Set([...order, ...held.keys()])) {
      if (total <= bytes) break;
      await walk(events.openCursor(IDBKeyRange.bound([chat, 0], [chat, seqMax])), (cursor) => {
        total -= size(cursor);
        cursor.delete();
        return total > bytes;
      });
    }
    await ended;
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

const reason = (error: DOMException | null): Error => error ?? new Error("the storage gave up");

function result<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => {
      resolve(request.result);
    };
    request.onerror = () => {
      reject(reason(request.error));
    };
  });
}

function done(transaction: IDBTransaction): Promise<void> {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => {
      resolve();
    };
    transaction.onabort = transaction.onerror = () => {
      reject(reason(transaction.error));
    };
  });
}

/** Visits rows as long as `visit` says so. */
function walk(
  request: IDBRequest<IDBCursorWithValue | null>,
  visit: (cursor: IDBCursorWithValue) => boolean,
): Promise<void> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => {
      const cursor = request.result;
      if (cursor !== null && visit(cursor)) cursor.continue();
      else resolve();
    };
    request.onerror = () => {
      reject(reason(request.error));
    };
  });
}

/** What is not there in time is rejected. */
function inTime<T>(promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      reject(new Hangs());
    }, answerMs);
    promise.then(resolve, reject).finally(() => {
      clearTimeout(timer);
    });
  });
}
