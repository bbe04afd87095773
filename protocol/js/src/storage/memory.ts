/** Keeps everything in memory: where nothing else is allowed, and for tests. */

import type { ChatId } from "../ids.js";
import type { Change, ChatRow, OutboxRow, Saved, Store, StoredEvent } from "./store.js";

export class MemoryStore implements Store {
  readonly kind = "memory";
  #state = new Map<string, unknown>();
  #chats = new Map<string, ChatRow>();
  #outbox = new Map<string, OutboxRow>();
  #events = new Map<ChatId, Map<number, Uint8Array>>();

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
        const kept = this.#events.get(change.chat) ?? new Map<number, Uint8Array>();
        this.#events.set(change.chat, kept);
        for (const { seq, bytes } of change.events) kept.set(seq, bytes);
      }
    } else if (change.drop === "state") this.#state.delete(change.key);
    else if (change.drop === "outbox") this.#outbox.delete(change.id);
    else {
      if (change.drop === "chat") this.#chats.delete(change.id);
      this.#events.delete(change.drop === "chat" ? change.id : change.chat);
    }
  }

  events(chat: ChatId, from: number, direction: "forward" | "backward", limit: number): Promise<StoredEvent[]> {
    const sign = direction === "forward" ? 1 : -1;
    const found = [...(this.#events.get(chat) ?? [])]
      .map(([seq, bytes]) => ({ seq, bytes }))
      .filter(({ seq }) => sign * (seq - from) >= 0)
      .sort((one, other) => sign * (one.seq - other.seq));
    return Promise.resolve(found.slice(0, limit));
  }

  evict(order: readonly ChatId[], bytes: number): Promise<void> {
    let held = 0;
    for (const events of this.#events.values()) for (const event of events.values()) held += event.length;
    for (const chat of new Set([...order, ...this.#events.keys()])) {
      const events = this.#events.get(chat) ?? new Map<number, Uint8Array>();
      for (const seq of [...events.keys()].sort((one, other) => one - other)) {
        if (held <= bytes) return Promise.resolve();
        held -= events.get(seq)?.length ?? 0;
        events.delete(seq);
      }
    }
    return Promise.resolve();
  }

  close(): void {
    // Nothing is held besides memory.
  }
}
