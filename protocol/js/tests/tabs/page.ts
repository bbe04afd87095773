/** What a test page runs: a client, and a view of it that the test asks. */

import { createClient, type Account } from "../../src/index.js";
import { View } from "../support/view.js";

export type Way = "worker" | "lock" | "alone" | "newer worker" | "broken worker" | "no storage";

declare global {
  interface Window {
    start(account: Account, way: Way): void;
    view: View;
  }
}

window.start = (account, way) => {
  if (way === "no storage") {
    IDBFactory.prototype.open = () => {
      throw new DOMException("not for you", "SecurityError");
    };
  }
  const scripts: Partial<Record<Way, string>> = {
    worker: "/test/worker.js",
    "newer worker": "/test/newer.js",
    "broken worker": "/test/absent.js",
  };
  const script = scripts[way];
  const client = createClient({
    url: location.origin,
    user: account.user.id,
    token: () => Promise.resolve(account.accessToken),
    ...(script !== undefined ? { worker: () => new SharedWorker(script, { type: "module", name: "panda" }) } : {}),
  });
  window.view = new View(client);
};
// As on a page without a secure origin.
if (location.hash === "#alone") delete (Navigator.prototype as { locks?: unknown }).locks;
