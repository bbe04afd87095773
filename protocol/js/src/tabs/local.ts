/** A hub in this thread. Pages load this only where the connection is not in a worker. */

import type { ClientOptions } from "../api.js";
import { surroundings } from "../core/surroundings.js";
import { storesOf } from "../storage/open.js";
import { Hub } from "./hub.js";
import type { HubConfig } from "./messages.js";

/** `shared`: all tabs use it. Two that do not know of each other must not use one store: they are two devices. */
export function localHub(
  config: HubConfig,
  options: Pick<ClientOptions, "webSocket" | "fetch">,
  shared: boolean,
  empty: (closed: Promise<void>) => void,
): Hub {
  const stores = storesOf(config);
  const open = (): ReturnType<typeof stores.open> =>
    shared || config.storage === "memory"
      ? stores.open()
      : Promise.reject(new Error("tabs cannot share a connection and a store here"));
  return new Hub(config, surroundings(options.webSocket, options.fetch), { ...stores, open }, empty);
}
