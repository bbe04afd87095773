/** Makes the client of a tab. */

import type { Client, ClientOptions } from "./api.js";
import { storeName } from "./storage/name.js";
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
  // The core is large; a page whose connection is in a worker never loads it.
  const makeHub =
    (shared: boolean): MakeHub =>
    async (empty) =>
      (await import("./tabs/local.js")).localHub(config, options, shared, empty);
  const alone = (): Link => new OwnLink(makeHub(false));
  const here = (): Link => (canLock() ? new LockLink(storeName(config), makeHub(true), alone) : alone());
  const { worker } = options;
  const link = worker !== undefined && typeof SharedWorker !== "undefined" ? new WorkerLink(worker, here) : here();
  return new Remote(config, options.token, link);
}

/** Browsers give Web Locks to secure pages only. */
function canLock(): boolean {
  return typeof document !== "undefined" && "locks" in navigator && typeof BroadcastChannel !== "undefined";
}
