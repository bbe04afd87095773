/**
 * Writes what the core decides to its store, a little later and together, and goes on in memory when the store gives up:
 * whoever uses it never waits for a disk that is full or gone.
 */

import type { ChatId } from "../ids.js";
import type { StorageState } from "../api.js";
import { Hangs, type Change, type ChatRow, type Store, type StoredEvent } from "../storage/store.js";
import type { Deferred, Surroundings } from "./surroundings.js";

/** Events and cursors wait for so long to be written together; what a person did does not wait. */
const gatherMs = 250;
/** A store that does not answer for so long (they hang for minutes at times) counts as one that is not there. */
const answerMs = 10_000;
/** To make room it visits all that it has, in small pieces beside reads and writes, which takes long on a slow disk. */
const evictMs = 30_000;
/** So many changes are written without waiting. */
const gatherMax = 512;

export interface JournalOwner {
  storage(state: StorageState): void;
  /** All that a store must have, for one that takes the place of another. */
  everything(code: Deferred): Change[];
  /** Chats, those whose history matters least first. */
  evictionOrder(): ChatId[];
  /** The store gave up, and the code of the one in memory does not come. */
  outdated(): void;
}

export class Journal {
  #changes: Change[] = [];
  /** Rows of chats that changed: only the last state of each is written. */
  #rows = new Map<ChatId, ChatRow>();
  #cancel: (() => void) | null = null;
  /** Writes follow each other. */
  #writing: Promise<void> = Promise.resolve();
  /** The one that did not begin yet: it takes all that comes until then. */
  #next: Promise<void> | null = null;
  #bytesSinceEviction: number;
  /** Evictions follow each other, beside writes: nobody who reads or writes waits until all events are counted. */
  #evicting: Promise<void> = Promise.resolve();
  #closed = false;
  /** There is no store any more, and no write ends. */
  #broken = false;

  constructor(
    private store: Store,
    readonly world: Surroundings,
    readonly bytesMax: number,
    readonly owner: JournalOwner,
    reason: string | null,
  ) {
    // What is there from before is looked at with the first write.
    this.#bytesSinceEviction = bytesMax;
    owner.storage({ kind: store.kind, reason });
  }

  put(...changes: Change[]): void {
    if (this.#closed) return;
    this.#changes.push(...changes);
    for (const change of changes) {
      if ("put" in change && change.put === "events")
        for (const { bytes } of change.events) this.#bytesSinceEviction += bytes.length;
    }
    this.#soon();
  }

  putChat(row: ChatRow): void {
    if (this.#closed) return;
    this.#rows.set(row.id, row);
    this.#soon();
  }

  dropChat(id: ChatId): void {
    this.#rows.delete(id);
    this.put({ drop: "chat", id });
  }

  /** Writes all that waits. Never rejected: what cannot be written is kept in memory. */
  flush(): Promise<void> {
    this.#cancel?.();
    this.#cancel = null;
    this.#next ??= this.#writing = this.#writing.then(() => {
      this.#next = null;
      return this.#write();
    });
    return this.#next;
  }

  /** What the store has of a chat's events, the waiting ones too; nothing if it cannot be read. */
  async events(chat: ChatId, from: number, direction: "forward" | "backward", limit: number): Promise<StoredEvent[]> {
    await this.flush();
    try {
      return await inTime(this.world, this.store.events(chat, from, direction, limit));
    } catch (error) {
      await this.#fallBack(error);
      return [];
    }
  }

  /** Nothing more is written, not even what waits. */
  async abandon(): Promise<void> {
    this.#closed = true;
    this.#cancel?.();
    if (!this.#broken) await this.#writing;
    this.store.close();
  }

  async close(): Promise<void> {
    if (!this.#broken) await this.flush();
    this.#closed = true;
    this.store.close();
  }

  #soon(): void {
    if (this.#changes.length >= gatherMax) void this.flush();
    else this.#cancel ??= this.world.after(gatherMs, () => void this.flush());
  }

  async #write(): Promise<void> {
    if (this.#closed || (this.#changes.length === 0 && this.#rows.size === 0)) return;
    const changes = this.#changes;
    for (const row of this.#rows.values()) changes.push({ put: "chat", row });
    this.#changes = [];
    this.#rows = new Map();
    const write = (): Promise<void> => inTime(this.world, this.store.write(changes));
    try {
      await write();
    } catch (error) {
      // Full: history gives way to what a person typed.
      const isWritten =
        !(error instanceof Hangs) &&
        (await this.#evict(this.bytesMax / 4)
          .then(write)
          .then(yes, no));
      if (!isWritten) await this.#fallBack(error);
      return;
    }
    if (this.#bytesSinceEviction > this.bytesMax / 8) {
      this.#bytesSinceEviction = 0;
      void this.#evict(this.bytesMax).catch((error: unknown) => {
        // One that fails in another way fails with the next write, too, and that one says so.
        if (error instanceof Hangs && !this.#closed) void this.#fallBack(error);
      });
    }
  }

  #evict(bytes: number): Promise<void> {
    const evicted = this.#evicting.then(() =>
      inTime(this.world, this.store.evict(this.owner.evictionOrder(), bytes), evictMs),
    );
    this.#evicting = evicted.catch(() => undefined);
    return evicted;
  }

  /** What was not written is in `everything`, except history, which pages bring again. */
  async #fallBack(error: unknown): Promise<void> {
    const old = this.store;
    if (old.kind === "memory") return;
    const deferred = await inTime(this.world, this.world.deferred()).catch(() => null);
    if (deferred === null) {
      // Nobody is told that anything of this was kept.
      this.#closed = this.#broken = true;
      this.owner.outdated();
      return new Promise<never>(() => undefined);
    }
    // Another one that waited for the same was first.
    if (this.store !== old) return;
    this.store = new deferred.MemoryStore();
    old.close();
    await this.store.write(this.owner.everything(deferred));
    this.owner.storage({
      kind: "memory",
      reason: reasonOf(error),
    });
  }
}

/** What a store promised, or {@link Hangs} where it does not come in time: nobody waits for a disk for ever. */
export function inTime<T>(world: Surroundings, promise: Promise<T>, ms = answerMs): Promise<T> {
  return new Promise((resolve, reject) => {
    const cancel = world.after(ms, () => {
      reject(new Hangs());
    });
    promise.then(resolve, reject).finally(cancel);
  });
}

/** Why a store is not used, for {@link StorageState}. */
export const reasonOf = (error: unknown): string =>
  error instanceof Error ? `${error.name}: ${error.message}` : String(error);

const yes = (): boolean => true;
export const no = (): boolean => false;
