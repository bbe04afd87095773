/** From the client to the store: what comes within a moment is one action, so the screen is drawn once for it. */

import type { Client } from "@panda/client";
import type { Dispatch } from "./store";
import { applied, type Update } from "./world";

/** The longest that something waits for what comes behind it. */
const GATHERED_MS = 40;

/** Passes on everything until it is stopped. The first thing after a pause goes at once. */
export function followInto(client: Pick<Client, "subscribe">, dispatch: Dispatch): () => void {
  let gathered: Update[] = [];
  let timer: ReturnType<typeof setTimeout> | undefined;
  const pass = () => {
    timer = undefined;
    if (gathered.length === 0) return;
    const updates = gathered;
    gathered = [];
    timer = setTimeout(pass, GATHERED_MS);
    dispatch(applied(updates));
  };
  const stop = client.subscribe((events) => {
    gathered.push(...events);
    if (timer === undefined) pass();
  });
  return () => {
    stop();
    clearTimeout(timer);
  };
}
