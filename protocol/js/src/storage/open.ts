/** Which store a configuration asks for. */

import type { UserId } from "../ids.js";
import { eraseIndexedDbStore, openIndexedDbStore } from "./indexeddb.js";
import { storeName } from "./name.js";
import type { StoreSource } from "./store.js";

interface Wanted {
  readonly user: UserId;
  readonly url: string;
  readonly storage: "indexedDb" | "memory";
}

export function storesOf(wanted: Wanted): StoreSource {
  if (wanted.storage === "memory") {
    return { open: async () => new (await import("./memory.js")).MemoryStore(), erase: () => Promise.resolve() };
  }
  const name = storeName(wanted);
  return {
    open: () => openIndexedDbStore(name),
    // Where there is no such thing at all, nothing was ever kept in it.
    erase: () => (typeof indexedDB === "undefined" ? Promise.resolve() : eraseIndexedDbStore(name)),
  };
}
