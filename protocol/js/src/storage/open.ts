/** Which store a configuration asks for. */

import type { UserId } from "../ids.js";
import { openIndexedDbStore } from "./indexeddb.js";
import { MemoryStore } from "./memory.js";
import type { Store } from "./store.js";

/** The database (and lock) of one user on one server. */
export const storeName = ({ user, url }: { readonly user: UserId; readonly url: string }): string => `panda ${user} ${url}`;

export function openStore(config: { readonly user: UserId; readonly url: string; readonly storage: "indexedDb" | "memory" }): Promise<Store> {
  return config.storage === "memory" ? Promise.resolve(new MemoryStore()) : openIndexedDbStore(storeName(config));
}
