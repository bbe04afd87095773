/** Which store a configuration asks for. */

import type { UserId } from "../ids.js";
import { openIndexedDbStore } from "./indexeddb.js";
import { MemoryStore } from "./memory.js";
import { storeName } from "./name.js";
import type { Store } from "./store.js";

interface Wanted {
  readonly user: UserId;
  readonly url: string;
  readonly storage: "indexedDb" | "memory";
}

export function openStore(wanted: Wanted): Promise<Store> {
  return wanted.storage === "memory" ? Promise.resolve(new MemoryStore()) : openIndexedDbStore(storeName(wanted));
}
