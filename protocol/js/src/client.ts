/** Makes the client of a tab. */

import type { Client, ClientOptions } from "./api.js";
import { surroundings } from "./core/surroundings.js";
import { openStore, storeName } from "./storage/open.js";
import { Hub } from "./tabs/hub.js";
import { LockLink, OwnLink, WorkerLink, type MakeHub } from "./tabs/links.js";
import type { HubConfig } from "./tabs/messages.js";
import { Remote, type Link } from "./tabs/remote.js";

const version = "0.1.0";
const historyBytes = 32 * 2 ** 20;
const historyBytesMax = 2 ** 30;

/**
 * Makes a client of one user. It connects at once and stays connected until {@link Client.close}. One for each user and
 * tab.
 */
export function createClient(options: ClientOptions): Client {
  const config: HubConfig = {
    url: new URL(options.url).origin,
    user: options.user,
    client: options.clientName ?? `panda-js/${version}`,
    storage: options.storage ?? "indexedDb",
    historyBytesMax: Math.min(Math.max(options.historyBytesMax ?? historyBytes, 0), historyBytesMax),
  };
  const makeHub =
    (open: () => ReturnType<typeof openStore>): MakeHub =>
    (empty) =>
      new Hub(config, surroundings(options.webSocket, options.fetch), open, empty);
  // Two tabs that do not know of each other must not use one store: they are two devices.
  const alone = makeHub(() =>
    config.storage === "memory" ? openStore(config) : Promise.reject(new Error("tabs cannot share a connection and a store here")),
  );
  const here = (): Link => (canLock() ? new LockLink(storeName(config), makeHub(() => openStore(config))) : new OwnLink(alone));
  const { worker } = options;
  const link = worker !== undefined && typeof SharedWorker !== "undefined" ? new WorkerLink(worker, here) : here();
  return new Remote(config, options.token, link);
}

/** Browsers give Web Locks to secure pages only. */
function canLock(): boolean {
  return typeof document !== "undefined" && "locks" in navigator && typeof BroadcastChannel !== "undefined";
}
