/**
 * The SharedWorker: holds the cores of all tabs of this origin, one for each user. An application's worker file imports
 * it and does nothing else.
 */

import { storeName } from "./storage/name.js";
import { storesOf } from "./storage/open.js";
import { surroundings } from "./core/surroundings.js";
import { Hub } from "./tabs/hub.js";
import { takeLock } from "./tabs/lock.js";
import type { FromCore, Tab, ToCore } from "./tabs/messages.js";

const hubs = new Map<string, Hub>();
/** Cores that are being closed: the next one of the same user waits, as both would use one store. */
const closing = new Map<string, Promise<void>>();

function hubOf(message: Extract<ToCore, { readonly is: "hello" }>): Hub {
  const { config } = message;
  const key = `${config.user} ${config.url}`;
  let hub = hubs.get(key);
  if (hub === undefined) {
    const earlier = closing.get(key) ?? Promise.resolve();
    let release = (): void => undefined;
    const before = async (): Promise<void> => {
      await earlier;
      release = await takeLock(storeName(config), () => {
        made.outdated();
      });
    };
    const made = new Hub(config, surroundings(), { ...storesOf(config), before }, (closed) => {
      if (hubs.get(key) === made) hubs.delete(key);
      closing.set(
        key,
        closed
          .catch(() => undefined)
          .then(() => {
            release();
          }),
      );
    });
    hub = made;
    hubs.set(key, hub);
  }
  return hub;
}

// A worker that dies says nothing, and its ports stay open. Its lock becomes free: that is how tabs learn of it.
const lock = `panda worker ${String(Math.random())}`;
const locked = new Promise<boolean>((resolve) => {
  if (!("locks" in navigator)) resolve(false);
  else {
    navigator.locks
      .request(lock, () => {
        resolve(true);
        return new Promise<never>(() => undefined);
      })
      .catch(() => {
        resolve(false);
      });
  }
});

addEventListener("connect", (event) => {
  const [port] = (event as MessageEvent).ports;
  if (port === undefined) return;
  void locked.then((isLocked) => {
    if (isLocked) port.postMessage({ is: "here", lock } satisfies FromCore);
  });
  const tab: Tab = {
    post(message) {
      port.postMessage(message);
    },
  };
  let hub: Hub | null = null;
  port.onmessage = ({ data }: MessageEvent<ToCore>) => {
    if (data.is === "hello") hub = hubOf(data);
    hub?.take(tab, data);
  };
});
