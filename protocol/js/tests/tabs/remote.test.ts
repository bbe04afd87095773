/** The tab's side by itself: what it says and shows when its page, or the holder of the core, comes and goes. */

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { RefusedError, type ClientEvent } from "../../src/api.js";
import type { Hub } from "../../src/tabs/hub.js";
import { OwnLink } from "../../src/tabs/links.js";
import type { ToCore } from "../../src/tabs/messages.js";
import { Remote, type Link } from "../../src/tabs/remote.js";
import { me, settled, tea } from "../support/world.js";

const config = {
  url: "http://panda.example",
  user: me,
  client: "test/1",
  storage: "memory",
  historyBytesMax: 0,
} as const;

function tab(): { remote: Remote; said: ToCore[]; link: { isClosed: boolean } } {
  const said: ToCore[] = [];
  const link = {
    isClosed: false,
    open: () => undefined,
    post: (message: ToCore) => said.push(message),
    close: () => {
      link.isClosed = true;
    },
  };
  return { remote: new Remote(config, () => Promise.resolve(null), link satisfies Link), said, link };
}

const connections = (remote: Remote): string[] => {
  const seen: string[] = [];
  remote.subscribe((events: readonly ClientEvent[]) => {
    for (const event of events)
      if (event.type === "connection")
        seen.push("reason" in event.connection ? (event.connection.reason?.label ?? "-") : event.connection.state);
  });
  return seen;
};

beforeEach(() => {
  const page = new EventTarget();
  vi.stubGlobal("document", new EventTarget());
  vi.stubGlobal("addEventListener", page.addEventListener.bind(page));
  vi.stubGlobal("dispatchEvent", page.dispatchEvent.bind(page));
});
afterEach(() => {
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

describe("a page that goes", () => {
  it.each([
    ["worker", true],
    ["follower", true],
    ["leader", false],
    ["alone", false],
  ] as const)("as %s says good-bye: %s", (sharing, says) => {
    const { remote, said } = tab();
    remote.up(sharing);
    dispatchEvent(new Event("pagehide"));
    expect(said.some(({ is }) => is === "bye")).toBe(says);
  });
});

describe("what was submitted", () => {
  it("is kept when the core says so, or when it is stored; refused before, it was not", async () => {
    const { remote, said } = tab();
    remote.up("worker");
    const [kept, stored, refused] = [remote.send(tea, "a"), remote.send(tea, "b"), remote.send(tea, "c")];
    remote.take({ is: "kept", id: kept.id });
    await expect(kept.kept).resolves.toBeUndefined();
    remote.take({ is: "ended", id: stored.id, ending: { stored: { entity: tea, seq: 1, changed: true } } });
    await expect(stored.kept).resolves.toBeUndefined();
    const refusal = { code: 6, label: "too_many_waiting", text: "Too much.", retryAfterMs: 0 };
    remote.take({ is: "ended", id: refused.id, ending: { refusal } });
    await expect(refused.kept).rejects.toEqual(new RefusedError(refusal));
    expect(remote.send(tea, "a", kept.id).id).toBe(kept.id);
    expect(said.filter((message) => message.is === "do").map(({ id }) => id)).toEqual([
      kept.id,
      stored.id,
      refused.id,
      kept.id,
    ]);
  });

  it("of which nobody said anything is not known to be kept when the client is closed", async () => {
    const { remote } = tab();
    remote.up("worker");
    const { kept } = remote.send(tea, "a");
    remote.close();
    await expect(kept).rejects.toMatchObject({ refusal: { label: "closed" } });
  });
});

describe("a page of another version", () => {
  it("says that it has to be loaded again, to later listeners too, and wants its core no more", () => {
    const { remote, said, link } = tab();
    const seen = connections(remote);
    remote.up("worker");
    remote.take({ is: "outdated" });
    expect([seen, connections(remote), link.isClosed]).toEqual([["outdated"], ["outdated"], true]);
    said.length = 0;
    dispatchEvent(Object.assign(new Event("pageshow"), { persisted: true }));
    remote.connectNow();
    expect(said).toEqual([]);
  });

  it("whose code does not load says so, and goes on once it does", async () => {
    vi.useFakeTimers();
    const said: ToCore[] = [];
    const hub = { take: (_: unknown, message: ToCore) => said.push(message) } as unknown as Hub;
    let loads = 0;
    const link = new OwnLink(() =>
      ++loads < 2 ? Promise.reject(new TypeError("no such file")) : Promise.resolve(hub),
    );
    const remote = new Remote(config, () => Promise.resolve(null), link);
    const seen = connections(remote);
    await settled();
    expect(seen).toEqual(["outdated"]);
    await vi.advanceTimersByTimeAsync(5_000);
    expect(said.map(({ is }) => is)).toEqual(["hello", "listen"]);
    remote.close();
  });
});
