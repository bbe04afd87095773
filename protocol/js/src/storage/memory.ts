/** Keeps everything in memory: where nothing else is allowed, and for tests. */

import type { ChatId } from "../ids.js";
import type { Change, ChatRow, OutboxRow, Saved, Store, StoredEvent } from "./store.js";

/** The events of one chat. */
class Events {
  readonly bytes = new Map<number, Uint8Array>();
  /** Their seqs, rising; `null`: to be sorted when they are asked for. */
  #seqs: number[] | null = [];

  put({ seq, bytes }: StoredEvent): void {
    // They mostly come one behind the other.
    if (!this.bytes.has(seq)) {
      if (this.#seqs !== null && seq > (this.#seqs.at(-1) ?? 0)) this.#seqs.push(seq);
      else this.#seqs = null;
    }
    this.bytes.set(seq, bytes);
  }

  /** The bytes that became free. */
  drop(seq: number): number {
    const { length } = this.bytes.get(seq) ?? [];
    this.bytes.delete(seq);
    this.#seqs = null;
    return length;
  }

  seqs(): readonly number[] {
    this.#seqs ??= [...this.bytes.keys()].sort((one, other) => one - other);
    return this.#seqs;
  }
}

export class MemoryStore implements Store {
  readonly kind = "memory";
  #state = new Map<string, unknown>();
  #chats = new Map<string, ChatRow>();
  #outbox = new Map<string, OutboxRow>();
  #events = new Map<ChatId, Events>();

  load(): Promise<Saved> {
    const outbox = [...this.#outbox.values()].sort((one, other) => one.counter - other.counter);
    return Promise.resolve(structuredClone({ state: this.#state, chats: [...this.#chats.values()], outbox }));
  }

  write(changes: readonly Change[]): Promise<void> {
    return new Promise((resolve) => {
      // Cloned first: what cannot be kept changes nothing.
      for (const change of structuredClone(changes)) this.#apply(change);
      resolve();
    });
  }

  #apply(change: Change): void {
    if ("put" in change) {
      if (change.put === "state") this.#state.set(change.key, change.value);
      else if (change.put === "chat") this.#chats.set(change.row.id, change.row);
      else if (change.put === "outbox") this.#outbox.set(change.row.id, change.row);
      else {
        const kept = this.#events.get(change.chat) ?? new Events();
        this.#events.set(change.chat, kept);
        for (const event of change.events) kept.put(event);
      }
    } else if (change.drop === "state") this.#state.delete(change.key);
    else if (change.drop === "outbox") this.#outbox.delete(change.id);
    else {
      if (change.drop === "chat") this.#chats.delete(change.id);
      this.#events.delete(change.drop === "chat" ? change.id : change.chat);
    }
  }

  events(chat: ChatId, from: number, direction: "forward" | "backward", limit: number): Promise<StoredEvent[]> {
    const events = this.#events.get(chat);
    if (events === undefined) return Promise.resolve([]);
    const seqs = events.seqs();
    const found =
      direction === "forward"
        ? seqs.filter((seq) => seq >= from).slice(0, limit)
        : seqs
            .filter((seq) => seq <= from)
            .slice(-limit)
            .reverse();
    return Promise.resolve(found.map((seq) => ({ seq, bytes: events.bytes.get(seq) ?? new Uint8Array() })));
  }

  evict(order: readonly ChatId[], bytes: number): Promise<void> {
    let held = 0;
    for (const events of this.#events.values()) for (const event of events.bytes.values()) held += event.length;
    for (const chat of new Set([...order, ...this.#events.keys()])) {
      const events = this.#events.get(chat);
      for (const seq of [...(events?.seqs() ?? [])]) {
        if (held <= bytes) return Promise.resolve();
        held -= events?.drop(seq) ?? 0;
      }
    }
    return Promise.resolve();
  }

  close(): void {
    // Nothing is held besides memory.
  }
}
