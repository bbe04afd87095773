/**
 * Who may use a store. Two versions of a page have two workers, and both would take their counters from one store: the one
 * that comes later is the one that goes on.
 */

import type { Said } from "./links.js";

/** Who is asked to give way and does not (it may be frozen) has its lock taken after this. */
const giveWayMs = 3_000;

/**
 * Waits until the lock is this caller's; resolves with how to give it back. `lost`, at most once: somebody else wants it, or
 * took it. Without Web Locks there is nothing to wait for.
 */
export async function takeLock(name: string, lost: () => void): Promise<() => void> {
  if (!("locks" in navigator)) return () => undefined;
  const channel = new BroadcastChannel(name);
  channel.postMessage({ is: "giveWay" } satisfies Said);
  const request = (options: LockOptions): Promise<() => void> =>
    new Promise((resolve, reject) => {
      let isOver = false;
      const over = (): void => {
        isOver = true;
        channel.close();
      };
      const lose = (): void => {
        if (isOver) return;
        over();
        lost();
      };
      navigator.locks
        .request(name, options, () => {
          channel.onmessage = ({ data }: MessageEvent<Said>) => {
            if (data.is === "giveWay") lose();
          };
          return new Promise<void>((release) => {
            resolve(() => {
              over();
              release();
            });
          });
        })
        // Not given in time; or taken away, when nobody waits for this promise any more.
        .catch((error: unknown) => {
          reject(error instanceof Error ? error : new Error(String(error)));
          if (channel.onmessage !== null) lose();
        });
    });
  return request({ signal: AbortSignal.timeout(giveWayMs) }).catch(() => request({ steal: true }));
}
