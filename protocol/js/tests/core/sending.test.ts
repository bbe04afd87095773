/** What becomes of commands: counters, order, and every answer that a server has for them. */

import { describe, expect, it, vi } from "vitest";
import type { ClientEvent, OutboxEntry } from "../../src/api.js";
import type { Frame } from "../../src/codec/index.js";
import { commandOf, groupChatId } from "../../src/codec/index.js";
import { newRow } from "../../src/core/chat.js";
import { openCore } from "../../src/core/core.js";
import { outboxEntriesMax } from "../../src/core/outbox.js";
import { MemoryStore } from "../../src/storage/memory.js";
import { wordedEvents } from "../../src/words.js";
import type { OutboxId } from "../../src/ids.js";
import type { Change, Saved } from "../../src/storage/store.js";
import {
  answerSync,
  begin,
  me,
  message,
  nobody,
  page,
  passAlive,
  send,
  settled,
  tea,
  welcome,
  World,
  type FakeSocket,
  type Page,
} from "../support/world.js";

type CommandFrame = Extract<Frame, { readonly type: "command" }>;

const ack = (request: bigint, seq: number): Frame => ({ type: "ack", request, seq: BigInt(seq) });
const error = (
  request: bigint,
  code: number,
  details: { counter: bigint; seq: bigint } | null = null,
  retryAfterMs = 0n,
): Frame => ({ type: "error", request, code, retryAfterMs, details, text: "because" });
const textOf = ({ payload }: CommandFrame): string => {
  const { body } = commandOf(payload);
  return body.command === "send" ? body.text : body.command;
};
const entries = ({ core }: Page): readonly OutboxEntry[] =>
  wordedEvents(core.snapshot()).flatMap((one) => (one.type === "outbox" ? one.entries : []));
const states = (one: Page): (readonly [string, string])[] => entries(one).map(({ id, state }) => [id, state] as const);

async function started(store = new MemoryStore()): Promise<{ one: Page; socket: FakeSocket }> {
  const one = await page(store);
  return { one, socket: await begin(one, [{ chat: tea, head: 5 }]) };
}

async function reconnect(one: Page): Promise<FakeSocket> {
  one.world.socket.events.closed();
  await one.world.pass(30_000);
  one.world.socket.events.opened();
  await one.world.socket.say(welcome());
  return one.world.socket;
}

describe("commands of one chat", () => {
  it("go in their order without waiting, each after the one before, 64 at most", async () => {
    const { one, socket } = await started();
    for (let at = 0; at < 70; at++) send(one, String(at), `text ${String(at)}`);
    await settled();
    const sent = socket.take("command");
    expect(sent.length).toBe(64);
    expect(sent.map(textOf)).toEqual(Array.from({ length: 64 }, (_, at) => `text ${String(at)}`));
    expect(sent[0]?.after).toBe(0n);
    sent.slice(1).forEach((command, at) => {
      expect(command.after).toBe(sent[at]?.counter);
    });
    await socket.say(ack(sent[0]?.request ?? 0n, 6));
    expect(socket.take("command").map(textOf)).toEqual(["text 64"]);
    expect(one.ended.get("0")).toEqual({ stored: { entity: tea, seq: 6, changed: true } });
    expect(states(one).filter(([, state]) => state === "queued").length).toBe(5);
  });

  it("are stored with their acknowledgement and leave with their event, in whatever order these come", async () => {
    const { one, socket } = await started();
    send(one, "a", "first");
    send(one, "b", "second");
    await settled();
    const [a, b] = socket.take("command") as [CommandFrame, CommandFrame];
    const mine = (command: CommandFrame, seq: number): Frame =>
      message(tea, seq, textOf(command), { actor: me, device: device, counter: command.counter });
    const device = JSON.parse(JSON.stringify((await one.store.load()).state.get("device"))) as never;
    await socket.say(ack(a.request, 6));
    expect(entries(one)).toMatchObject([
      { id: "a", state: "stored", seq: 6 },
      { id: "b", state: "sent" },
    ]);
    await socket.say(mine(a, 6));
    expect(states(one)).toEqual([["b", "sent"]]);
    await socket.say(mine(b, 7));
    expect(states(one)).toEqual([]);
    expect(one.ended.get("b")).toMatchObject({ stored: { seq: 7 } });
    await socket.say(ack(b.request, 7));
    const events = one.log.flatMap((each) => (each.type === "events" ? each.events : []));
    expect(events).toMatchObject([
      { seq: 6, outbox: "a" },
      { seq: 7, outbox: "b" },
    ]);
    expect(one.log.filter(({ type }) => type === "outboxLeft")).toEqual([
      { type: "outboxLeft", ids: ["a"] },
      { type: "outboxLeft", ids: ["b"] },
    ]);
    // The next one goes on behind the highest that was applied.
    send(one, "c", "third");
    await settled();
    expect(socket.one("command").after).toBe(b.counter);
  });

  it("are sent again unchanged when the connection broke, until they are answered", async () => {
    const { one, socket } = await started();
    send(one, "a", "first");
    send(one, "b", "second");
    await settled();
    const first = socket.take("command");
    const again = (await reconnect(one)).take("command");
    const plain = ({ counter, after, payload, entity }: CommandFrame): unknown => ({ counter, after, payload, entity });
    expect(again.map(plain)).toEqual(first.map(plain));
    expect(states(one)).toEqual([
      ["a", "sent"],
      ["b", "sent"],
    ]);
  });

  it("are sent again by the next page, with the same bytes and counters, even if the store lost the counter", async () => {
    const store = new MemoryStore();
    const { one, socket } = await started(store);
    send(one, "a", "first");
    await settled();
    const first = socket.one("command");
    await one.core.close();
    await store.write([{ drop: "state", key: "counter" }]);
    const next = await page(store);
    next.world.socket.events.opened();
    await next.world.socket.say(welcome());
    const again = next.world.socket.one("command");
    expect([again.counter, again.payload]).toEqual([first.counter, first.payload]);
    send(next, "b", "second");
    await settled();
    expect(next.world.socket.one("command").counter).toBeGreaterThan(first.counter);
  });

  it("are not sent before they are kept", async () => {
    class Slow extends MemoryStore {
      release: () => void = () => undefined;
      slow = false;
      override async write(changes: readonly Change[]): Promise<void> {
        if (this.slow) await new Promise<void>((resolve) => (this.release = resolve));
        await super.write(changes);
      }
    }
    const store = new Slow();
    const { one, socket } = await started(store);
    await one.world.pass(1_000);
    store.slow = true;
    send(one, "a", "first");
    await settled();
    expect(socket.take("command")).toEqual([]);
    store.slow = false;
    store.release();
    await settled();
    expect(socket.take("command").length).toBe(1);
  });
});

describe("a refusal", () => {
  it("for good leaves the others in their order, behind what was applied", async () => {
    const { one, socket } = await started();
    for (const id of ["a", "b", "c"]) send(one, id, id);
    await settled();
    const [a, b, c] = socket.take("command") as [CommandFrame, CommandFrame, CommandFrame];
    await socket.say(ack(a.request, 6), error(b.request, 2203));
    expect(socket.take("command")).toEqual([]);
    await socket.say(error(c.request, 2301, { counter: a.counter, seq: 6n }));
    const again = socket.one("command");
    expect([again.counter, again.after, textOf(again)]).toEqual([c.counter, a.counter, "c"]);
    expect(one.ended.get("b")).toMatchObject({ refusal: { label: "forbidden", text: "because" } });
    expect(entries(one).find(({ id }) => id === "b")).toMatchObject({
      state: "failed",
      refusal: { label: "forbidden" },
      command: { text: "b" },
    });
    // A person tries again: at the end, under a new counter.
    await socket.say(ack(again.request, 7));
    one.core.retry("b" as OutboxId);
    await settled();
    const retried = socket.one("command");
    expect(retried.counter).toBeGreaterThan(c.counter);
    expect([retried.after, textOf(retried)]).toEqual([c.counter, "b"]);
  });

  it.each([2000, 2001, 2003, 2004, 2100, 2101, 2102, 2199])(
    "of now (%i) is repeated unchanged, not before retry_after_ms, and in order",
    async (code) => {
      const { one, socket } = await started();
      send(one, "a", "a");
      send(one, "b", "b");
      await settled();
      const [a, b] = socket.take("command") as [CommandFrame, CommandFrame];
      await socket.say(error(a.request, code, null, 5_000n), error(b.request, 2301, { counter: 0n, seq: 0n }));
      expect(entries(one)).toMatchObject([
        { id: "a", state: "queued", refusal: { code, retryAfterMs: 5_000 } },
        { id: "b", state: "queued" },
      ]);
      await one.world.pass(4_999);
      expect(socket.take("command")).toEqual([]);
      await one.world.pass(1);
      const again = socket.take("command");
      expect(again.map(({ counter, after }) => [counter, after])).toEqual([
        [a.counter, 0n],
        [b.counter, a.counter],
      ]);
      await socket.say(...again.map(({ request }, at) => ack(request, 6 + at)));
      expect([...one.ended.keys()]).toEqual(["a", "b"]);
    },
  );

  it("with nothing to do counts as done, and uses no counter", async () => {
    const { one, socket } = await started();
    send(one, "a", "a");
    send(one, "b", "b");
    await settled();
    const [a, b] = socket.take("command") as [CommandFrame, CommandFrame];
    await socket.say(
      error(a.request, 2302, { counter: 0n, seq: 4n }),
      error(b.request, 2301, { counter: 0n, seq: 0n }),
    );
    expect(one.ended.get("a")).toEqual({ stored: { entity: tea, seq: 4, changed: false } });
    expect(socket.one("command").after).toBe(0n);
  });

  it("of a range that this version does not know is one for good", async () => {
    const { one, socket } = await started();
    send(one, "a", "a");
    await settled();
    await socket.say(error(socket.one("command").request, 2399));
    expect(one.ended.get("a")).toMatchObject({ refusal: { code: 2399, label: "code_2399" } });
  });
});

describe("out_of_order", () => {
  it("of a command that may have been applied is asked again, and only then fails", async () => {
    const { one, socket } = await started();
    send(one, "a", "a");
    await settled();
    const a = socket.one("command");
    const fresh = await reconnect(one);
    await answerSync(fresh, [{ chat: tea, head: 5 }]);
    await fresh.say(error(fresh.one("command").request, 2301, { counter: a.counter + 5n, seq: 99n }));
    const asked = fresh.one("command");
    expect(asked.counter).toBe(a.counter);
    await fresh.say(error(asked.request, 2301, { counter: a.counter + 5n, seq: 99n }));
    expect(one.ended.get("a")).toMatchObject({ refusal: { label: "out_of_order" } });
    expect(states(one)).toEqual([["a", "failed"]]);
    // And never a second message by itself.
    await one.world.pass(600_000);
    expect(fresh.take("command")).toEqual([]);
  });

  it("of one that was sent once only gets another counter: it cannot have been applied", async () => {
    const { one, socket } = await started();
    send(one, "a", "a");
    await settled();
    const a = socket.one("command");
    await socket.say(error(a.request, 2301, { counter: a.counter + 1_000n, seq: 9n }));
    const again = socket.one("command");
    expect([again.counter, again.after]).toEqual([a.counter + 1_001n, a.counter + 1_000n]);
  });

  it("again and again is not repeated without a pause", async () => {
    const { one, socket } = await started();
    send(one, "a", "a");
    await settled();
    let rounds = 0;
    for (let second = 0; second < 60; second++) {
      for (const { request } of socket.take("command")) {
        rounds++;
        await socket.say(error(request, 2301, { counter: 1n, seq: 9n }));
      }
      await one.world.pass(1_000);
    }
    expect(rounds).toBeGreaterThan(3);
    expect(rounds).toBeLessThan(15);
  });
});

describe("counter_reused", () => {
  it("takes a counter above every used one", async () => {
    const { one, socket } = await started();
    send(one, "a", "a");
    await settled();
    const a = socket.one("command");
    await socket.say(error(a.request, 2300));
    const again = socket.one("command");
    expect(again.counter).toBeGreaterThan(a.counter);
    expect(textOf(again)).toBe("a");
    await socket.say(ack(again.request, 6));
    expect(one.ended.get("a")).toMatchObject({ stored: { seq: 6 } });
  });

  it("of a group that is made makes another group of it, whose name its counter is", async () => {
    const { one, socket } = await started();
    one.core.submit("g" as OutboxId, null, { kind: "createGroup", name: "new", members: [] }, nobody);
    await settled();
    const first = socket.one("command");
    await socket.say(error(first.request, 2300));
    const again = socket.one("command");
    const device = (await one.store.load()).state.get("device") as never;
    expect(first.entity).toBe(groupChatId(me, device, first.counter));
    expect(again.entity).toBe(groupChatId(me, device, again.counter));
    expect(again.after).toBe(0n);
  });
});

describe("the outbox", () => {
  it("takes no more than it can hold, and says so", async () => {
    const one = await page();
    for (let at = 0; at < outboxEntriesMax; at++) send(one, String(at), "x");
    send(one, "one too many", "x");
    await settled();
    expect(one.ended.get("one too many")).toMatchObject({ refusal: { label: "too_many_waiting" } });
    expect(entries(one).length).toBe(outboxEntriesMax);
  });

  it("lets go of what was never sent or failed, and of nothing else", async () => {
    const { one, socket } = await started();
    send(one, "sent", "x");
    await settled();
    one.core.discard("sent" as OutboxId);
    expect(states(one)).toEqual([["sent", "sent"]]);
    await socket.say(error(socket.one("command").request, 2000, null, 60_000n));
    one.core.discard("sent" as OutboxId);
    expect(states(one)).toEqual([]);
    expect(one.ended.get("sent")).toMatchObject({ refusal: { label: "discarded" } });
    one.world.socket.events.closed();
    await settled();
    send(one, "queued", "x");
    one.core.discard("queued" as OutboxId);
    expect(states(one)).toEqual([]);
  });

  it("replaces a read mark that was not sent by a later one of the same chat", async () => {
    const { one } = await started();
    one.world.socket.events.closed();
    await settled();
    const ended: unknown[] = [];
    for (const [id, read] of [
      ["1", 3],
      ["2", 5],
    ] as const) {
      one.core.submit(
        id as OutboxId,
        me,
        { kind: "markRead", chat: tea, read },
        { ...nobody, ended: (ending) => ended.push([id, ending]) },
      );
    }
    await settled();
    expect(states(one)).toEqual([["2", "queued"]]);
    await one.world.pass(30_000);
    one.world.socket.events.opened();
    await one.world.socket.say(welcome());
    const { request, entity } = one.world.socket.one("command");
    expect(entity).toBe(me);
    await one.world.socket.say(ack(request, 11));
    expect(ended).toEqual([
      ["2", { stored: { entity: me, seq: 11, changed: true } }],
      ["1", { stored: { entity: me, seq: 11, changed: true } }],
    ]);
  });
});

describe("what was submitted", () => {
  it("is told to be kept once it is written, and not before", async () => {
    const store = new MemoryStore();
    const { one } = await started(store);
    await one.world.pass(1_000);
    const written: (() => void)[] = [];
    store.write = () =>
      new Promise((resolve) => {
        written.push(resolve);
      });
    send(one, "a", "typed");
    await settled();
    expect(one.kept).toEqual([]);
    for (const done of written) done();
    await settled();
    expect(one.kept).toEqual(["a"]);
  });

  it("is one thing for everybody who submits it again, while it waits and afterwards", async () => {
    const { one, socket } = await started();
    send(one, "a", "typed");
    await settled();
    const heard: unknown[] = [];
    const again = (): void => {
      one.core.submit(
        "a" as OutboxId,
        tea,
        { kind: "send", text: "typed" },
        { kept: () => heard.push("kept"), ended: (ending) => heard.push(ending) },
      );
    };
    again();
    expect(heard).toEqual(["kept"]);
    const command = socket.one("command");
    await socket.say(ack(command.request, 6));
    const stored = { stored: { entity: tea, seq: 6, changed: true } };
    expect(one.ended.get("a")).toEqual(stored);
    expect(heard).toEqual(["kept", stored]);
    again();
    expect(heard).toEqual(["kept", stored, "kept", stored]);
    await settled();
    expect(socket.take("command")).toEqual([]);
  });

  it("is never told to be kept when the outbox does not take it", async () => {
    const { one } = await started();
    send(one, "a", "");
    send(one, "b", "w".repeat(16_385));
    await settled();
    expect([...one.ended.keys()]).toEqual(["a", "b"]);
    expect(one.kept).toEqual([]);
  });
});

describe("a store that hangs", () => {
  const forever = (): Promise<never> => new Promise(() => undefined);

  it.each(["write", "evict", "events"] as const)(
    "in %s is replaced by memory, and what is typed is sent",
    async (method) => {
      const store = new MemoryStore();
      Object.assign(store, { kind: "durable", [method]: forever });
      const one = await page(store);
      const socket = await begin(one, [{ chat: tea, head: 5 }]);
      if (method === "events") void one.core.history(tea, { limit: 1 }).catch(() => undefined);
      send(one, "a", "typed");
      await settled();
      // What was there before is visited with the first write that changes it, and nobody waits for that.
      const early = socket.take("command").map(textOf);
      expect(early).toEqual(method === "write" ? [] : ["typed"]);
      await passAlive(one, socket, 41_000);
      const state = one.log.findLast((event) => event.type === "storage");
      expect(state).toEqual({
        type: "storage",
        storage: { kind: "memory", reason: "Error: the storage does not answer" },
      });
      expect([...early, ...socket.take("command").map(textOf)]).toContain("typed");
      send(one, "b", "at once");
      await settled();
      expect(socket.take("command").map(textOf)).toContain("at once");
    },
  );

  it("while it is opened or read is not waited for, and closed if it comes after all", async () => {
    for (const late of [false, true]) {
      const store = new MemoryStore();
      const closed = vi.spyOn(store, "close");
      let open: (store: MemoryStore) => void = () => undefined;
      if (!late) store.load = forever;
      const world = new World();
      const events: unknown[] = [];
      const opening = openCore(
        { url: "http://panda.example", user: me, client: "test/1", historyBytesMax: 0 },
        world,
        { token: () => Promise.resolve(null), happened: (batch) => events.push(...batch), outdated: () => undefined },
        {
          open: () =>
            late
              ? new Promise((resolve) => {
                  open = resolve;
                })
              : Promise.resolve(store),
          erase: () => Promise.resolve(),
        },
      );
      await settled();
      await world.pass(10_000);
      await opening;
      await settled();
      expect(events).toContainEqual({
        type: "storage",
        storage: { kind: "memory", reason: "Error: the storage does not answer" },
      });
      open(store);
      await settled();
      expect(closed).toHaveBeenCalledTimes(1);
    }
  });
});

describe("logging out", () => {
  const done = (): Promise<void> => Promise.resolve();
  const forever = (): Promise<never> => new Promise(() => undefined);

  it("erases what was kept before the store gave up, and says when it cannot", async () => {
    for (const answer of [done, () => Promise.reject(new Error("in use")), forever]) {
      const store = new MemoryStore();
      Object.assign(store, { kind: "durable" });
      const world = new World();
      let erased = 0;
      const core = await openCore(
        { url: "http://panda.example", user: me, client: "test/1", historyBytesMax: 1 << 20 },
        world,
        { token: () => Promise.resolve("token"), happened: () => undefined, outdated: () => undefined },
        {
          open: () => Promise.resolve(store),
          erase: () => {
            erased++;
            return answer();
          },
        },
      );
      store.write = () => Promise.reject(new DOMException("no room", "QuotaExceededError"));
      await world.pass(1_000);
      const out = core.signOut().then(
        () => "gone",
        () => "left",
      );
      await settled();
      await world.pass(10_000);
      expect(await out).toBe(answer === done ? "gone" : "left");
      expect(erased).toBe(1);
    }
  });
});

describe("a store with a damaged row", () => {
  const saved = (change: Partial<Saved>): MemoryStore => {
    const store = new MemoryStore();
    store.load = () => Promise.resolve({ state: new Map(), chats: [], outbox: [], ...change });
    return store;
  };

  it("is used where only the last message of a chat cannot be read", async () => {
    const store = saved({ chats: [{ ...newRow(tea, 1, 0), last: Uint8Array.of(9, 9, 9) }] });
    const { core } = await page(store);
    expect(core.snapshot()).toContainEqual(
      expect.objectContaining({ type: "chats", chats: [expect.objectContaining({ id: tea, last: null })] }),
    );
  });

  it("is replaced by memory where it cannot be taken in, which is said", async () => {
    const events: ClientEvent[] = [];
    const core = await openCore(
      { url: "http://panda.example", user: me, client: "test/1", historyBytesMax: 0 },
      new World(),
      { token: () => Promise.resolve(null), happened: (batch) => events.push(...batch), outdated: () => undefined },
      { open: () => Promise.resolve(saved({ outbox: [null as never] })), erase: () => Promise.resolve() },
    );
    await settled();
    expect(core.snapshot()).toContainEqual({ type: "outbox", entries: [] });
    expect(events).toContainEqual({
      type: "storage",
      storage: { kind: "memory", reason: expect.stringContaining("TypeError") as string },
    });
  });
});

describe("a store that gives up", () => {
  class Broken extends MemoryStore {
    override readonly kind = "durable" as never;
    broken = false;
    evictions = 0;
    override write(changes: readonly Change[]): Promise<void> {
      return this.broken ? Promise.reject(new DOMException("no room", "QuotaExceededError")) : super.write(changes);
    }
    override evict(...of: Parameters<MemoryStore["evict"]>): Promise<void> {
      this.evictions++;
      return super.evict(...of);
    }
  }

  it("is replaced by memory, which is said; what is typed is sent all the same", async () => {
    const store = new Broken();
    const { one, socket } = await started(store);
    await one.world.pass(1_000);
    store.broken = true;
    const before = store.evictions;
    send(one, "a", "typed on a full disk");
    await settled();
    expect(one.log).toContainEqual({
      type: "storage",
      storage: { kind: "memory", reason: "QuotaExceededError: no room" },
    });
    expect(store.evictions).toBe(before + 1);
    expect(textOf(socket.one("command"))).toBe("typed on a full disk");
    send(one, "b", "and on");
    await settled();
    expect(textOf(socket.one("command"))).toBe("and on");
    const page = await Promise.race([
      one.core.history(tea, { limit: 3 }).catch(() => null),
      settled().then(() => "asks the server"),
    ]);
    expect(page).toBe("asks the server");
  });

  it("that has room once history gave way goes on", async () => {
    const store = new Broken();
    const { one, socket } = await started(store);
    await one.world.pass(1_000);
    store.broken = true;
    store.evict = () => {
      store.broken = false;
      return Promise.resolve();
    };
    send(one, "a", "typed on a full disk");
    await settled();
    expect(textOf(socket.one("command"))).toBe("typed on a full disk");
    expect((await store.load()).outbox.map(({ id }) => id)).toEqual(["a"]);
    expect(one.log.filter(({ type }) => type === "storage").length).toBe(1);
  });
});
