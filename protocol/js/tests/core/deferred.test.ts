/** The code that a core loads later: when it comes, late, or not at all. */

import { describe, expect, it } from "vitest";
import type { ClientEvent } from "../../src/api.js";
import { openCore, type Core } from "../../src/core/core.js";
import * as deferred from "../../src/core/deferred.js";
import type { Deferred } from "../../src/core/surroundings.js";
import type { OutboxId } from "../../src/ids.js";
import { MemoryStore } from "../../src/storage/memory.js";
import type { StoreSource } from "../../src/storage/store.js";
import { Hub } from "../../src/tabs/hub.js";
import type { FromCore } from "../../src/tabs/messages.js";
import { begin, me, page, send, settled, tea, welcome, World, type FakeSocket } from "../support/world.js";

/** A world in which the code comes when the test says so. */
class Late extends World {
  asked = 0;
  comes: ((with_: Deferred) => void)[] = [];
  fails: ((error: Error) => void)[] = [];
  override deferred(): Promise<Deferred> {
    this.asked++;
    return new Promise((resolve, reject) => {
      this.comes.push(resolve);
      this.fails.push(reject);
    });
  }
  async come(): Promise<void> {
    for (const come of this.comes.splice(0)) come(deferred);
    await settled();
  }
  async fail(): Promise<void> {
    for (const fail of this.fails.splice(0)) fail(new TypeError("Failed to fetch dynamically imported module"));
    await settled();
  }
}

const texts = (socket: FakeSocket): string[] =>
  socket.take("command").map(({ payload }) => new TextDecoder().decode(payload.subarray(3)));

/** A store in which two texts wait. */
async function withTexts(): Promise<MemoryStore> {
  const store = new MemoryStore();
  const before = await page(store);
  send(before, "a", "first");
  send(before, "b", "second");
  await settled();
  await before.core.close();
  return store;
}

async function opened(store: MemoryStore, world: World): Promise<{ opening: Promise<Core>; log: ClientEvent[] }> {
  const log: ClientEvent[] = [];
  const opening = openCore(
    { url: "http://panda.example", user: me, client: "test/1", historyBytesMax: 1 << 20 },
    world,
    {
      token: () => Promise.resolve("token"),
      happened: (events) => log.push(...events),
      outdated: () => log.push({ type: "resetAll" }),
    },
    { open: () => Promise.resolve(store), erase: () => Promise.resolve() },
  );
  await settled();
  return { opening, log };
}

const outboxOf = (events: readonly ClientEvent[]): string[] =>
  events.flatMap((event) => (event.type === "outbox" ? event.entries.map(({ id }) => id) : []));

describe("code that comes later", () => {
  it("is not asked for before somebody acts or a session opens", async () => {
    const world = new Late();
    const one = await page(new MemoryStore(), world);
    one.core.typing(tea, true);
    one.core.presence(tea, true);
    await world.pass(1_000);
    expect(world.asked).toBe(0);
    world.socket.events.opened();
    await world.socket.say(welcome());
    expect(world.asked).toBe(1);
  });

  it("does what was asked before it came, in the order of asking", async () => {
    const world = new Late();
    const one = await page(new MemoryStore(), world);
    send(one, "a", "first");
    send(one, "b", "second");
    send(one, "c", "taken back");
    one.core.discard("c" as OutboxId);
    await settled();
    expect(one.kept).toEqual([]);
    await world.come();
    expect(one.kept).toEqual(["a", "b"]);
    expect(one.ended.get("c")).toMatchObject({ refusal: { label: "discarded" } });
    expect(world.asked).toBe(1);
    expect(texts(await begin(one, [{ chat: tea, head: 1 }]))).toEqual(["first", "second"]);
  });

  it("that does not come while there is no server is asked for again, and nobody is told to load the page", async () => {
    const world = new Late();
    const one = await page(new MemoryStore(), world);
    send(one, "a", "typed far from everything");
    await world.fail();
    await world.pass(4_999);
    expect(world.asked).toBe(1);
    await world.pass(1);
    expect([world.asked, one.outdated, one.kept]).toEqual([2, 0, []]);
    await world.come();
    expect([one.outdated, one.kept]).toEqual([0, ["a"]]);
  });

  it("that a server does not have any more says that the page is outdated, and keeps what was kept", async () => {
    const store = await withTexts();
    const world = new Late();
    const { opening, log } = await opened(store, world);
    await world.fail();
    const core = await opening;
    world.socket.events.opened();
    await world.socket.say(welcome());
    await world.pass(5_000);
    const kept: string[] = [];
    core.submit(
      "late" as OutboxId,
      tea,
      { kind: "send", text: "late" },
      { kept: () => kept.push("late"), ended: () => kept.push("late") },
    );
    expect(log).not.toContainEqual({ type: "resetAll" });
    await world.fail();
    expect(log.filter(({ type }) => type === "resetAll").length).toBe(1);
    await core.close();
    await world.pass(60_000);
    expect(kept).toEqual([]);
    expect((await store.load()).outbox.map(({ id }) => id)).toEqual(["a", "b"]);
  });
});

describe("an outbox in which something waits", () => {
  it("is there with the first word", async () => {
    const world = new World();
    const { opening } = await opened(await withTexts(), world);
    expect(outboxOf((await opening).snapshot())).toEqual(["a", "b"]);
  });

  it("keeps nobody waiting for its code, is shown once that comes, and is sent", async () => {
    const world = new Late();
    const { opening, log } = await opened(await withTexts(), world);
    await world.pass(10_000);
    const core = await opening;
    expect(outboxOf(core.snapshot())).toEqual([]);
    world.socket.events.opened();
    await world.socket.say(welcome());
    await world.come();
    expect(outboxOf(log).slice(0, 2)).toEqual(["a", "b"]);
    expect(texts(world.socket)).toEqual(["first", "second"]);
  });

  it("outlives a store that gives up before its code is there", async () => {
    const store = await withTexts();
    Object.assign(store, { kind: "durable" });
    const world = new Late();
    const { opening } = await opened(store, world);
    await world.fail();
    const core = await opening;
    store.write = () => Promise.reject(new DOMException("no room", "QuotaExceededError"));
    // The first write, of this device, fails; the code for the memory comes, and brings that for the outbox.
    await world.pass(1_000);
    await world.come();
    await world.pass(5_000);
    await world.come();
    expect(outboxOf(core.snapshot())).toEqual(["a", "b"]);
    expect(core.snapshot()).toContainEqual(
      expect.objectContaining({ storage: { kind: "memory", reason: "QuotaExceededError: no room" } }),
    );
  });
});

describe("a store that gives up where the code for the memory does not come", () => {
  it("says that the page is outdated; nothing counts as kept, and closing ends", async () => {
    const world = new Late();
    const store = new MemoryStore();
    Object.assign(store, { kind: "durable" });
    const one = await page(store, world);
    send(one, "a", "before");
    await world.come();
    expect(one.kept).toEqual(["a"]);
    store.write = () => Promise.reject(new DOMException("no room", "QuotaExceededError"));
    send(one, "b", "behind");
    await settled();
    await world.fail();
    expect([one.outdated, one.kept]).toEqual([1, ["a"]]);
    await one.core.close();
    await one.core.signOut();
  });

  it("already when it is opened: the tabs are told, and the next ones begin anew", async () => {
    const world = new Late();
    const denied: StoreSource = {
      open: () => Promise.reject(new DOMException("not for you", "SecurityError")),
      erase: () => Promise.resolve(),
    };
    const config = {
      url: "http://panda.example",
      user: me,
      client: "test/1",
      storage: "indexedDb",
      historyBytesMax: 0,
    } as const;
    const closed: Promise<void>[] = [];
    const said: FromCore[] = [];
    const hub = new Hub(config, world, denied, (promise) => closed.push(promise));
    const tab = { post: (message: FromCore): unknown => said.push(message) };
    hub.take(tab, { is: "hello", config });
    hub.take(tab, { is: "listen", listener: 1 });
    await settled();
    await world.fail();
    expect(said).toEqual([{ is: "outdated" }]);
    expect(closed.length).toBe(1);
    await closed[0];
  });
});
