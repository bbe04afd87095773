/** What every store must do. Runs in Node (IndexedDB is simulated there) and in a browser. */

import { describe, expect, it, vi } from "vitest";
import type { ChatId, OutboxId } from "../../src/ids.js";
import { newRow } from "../../src/core/chat.js";
import { eraseIndexedDbStore, openIndexedDbStore } from "../../src/storage/indexeddb.js";
import { MemoryStore } from "../../src/storage/memory.js";
import type { Change, OutboxRow, Store, StoredEvent } from "../../src/storage/store.js";

if (!("indexedDB" in globalThis)) await import("fake-indexeddb/auto");

let made = 0;
/** `again` gives the store that another page of the same user would open, `erase` removes it; memory has neither. */
interface Made {
  readonly store: Store;
  readonly again?: () => Promise<Store>;
  readonly erase?: () => Promise<void>;
}
const kinds: readonly (readonly [string, () => Promise<Made>])[] = [
  ["memory", () => Promise.resolve({ store: new MemoryStore() })],
  [
    "IndexedDB",
    async () => {
      const name = `contract ${String(++made)} ${String(Math.random())}`;
      const again = (): Promise<Store> => openIndexedDbStore(name);
      return { store: await again(), again, erase: () => eraseIndexedDbStore(name) };
    },
  ],
];

const [tea, walks] = ["1hxyksx0ftm8cw00ncmbr3csmh", "21wbr0nch2sgr2f3m8jrpadhyb"] as [ChatId, ChatId];
const event = (seq: number, size = 10): StoredEvent => ({
  seq,
  bytes: Uint8Array.from({ length: size }, () => seq & 255),
});
const events = (chat: ChatId, from: number, to: number, size?: number): Change => ({
  put: "events",
  chat,
  events: Array.from({ length: to - from + 1 }, (_, at) => event(from + at, size)),
});
const outboxRow = (id: string, counter: number): OutboxRow => ({
  id: id as OutboxId,
  entity: tea,
  command: { kind: "send", text: id },
  payload: Uint8Array.of(1, 0, counter),
  counter,
  createdAtMs: 5,
  refusal: null,
});

describe("a store in memory", () => {
  it("finds a page of what came in order without sorting, or looking through, all the rest", async () => {
    const store = new MemoryStore();
    await store.write([events(tea, 1, 5_000)]);
    const looked = [vi.spyOn(Array.prototype, "sort"), vi.spyOn(Map.prototype, Symbol.iterator)];
    for (let from = 1; from < 5_000; from += 500) {
      expect((await store.events(tea, from, "forward", 3)).map(({ seq }) => seq)).toEqual([from, from + 1, from + 2]);
    }
    const calls = looked.map(
      ({ mock }) =>
        mock.contexts.filter((of) => (of as unknown[]).length > 999 || (of instanceof Map && of.size > 999)).length,
    );
    for (const spy of looked) spy.mockRestore();
    expect(calls).toEqual([0, 0]);
  });
});

describe.each(kinds)("a store in %s", (_, make) => {
  const seqs = async (
    store: Store,
    chat: ChatId,
    from: number,
    direction: "forward" | "backward",
    limit: number,
  ): Promise<number[]> => (await store.events(chat, from, direction, limit)).map(({ seq }) => seq);

  it("begins empty", async () => {
    const { store } = await make();
    expect(await store.load()).toEqual({ state: new Map(), chats: [], outbox: [] });
    expect(await store.events(tea, 1, "forward", 10)).toEqual([]);
    store.close();
  });

  it("keeps what is put, the last one of each, and the outbox in the order of its counters", async () => {
    const { store, again } = await make();
    const row = newRow(tea, 2, 0);
    await store.write([
      { put: "state", key: "device", value: "11040g2081040g2081040g2081" },
      { put: "state", key: "gone", value: 1 },
      { put: "chat", row },
      {
        put: "chat",
        row: {
          ...row,
          read: 7,
          unreadSeqs: [8, 9],
          proof: Uint8Array.of(1, 2),
          cursor: { incarnation: new Uint8Array(8), seq: 9 },
        },
      },
      { put: "outbox", row: outboxRow("second", 12) },
      { put: "outbox", row: outboxRow("first", 11) },
      { put: "outbox", row: outboxRow("stored", 10) },
      { drop: "outbox", id: "stored" as OutboxId },
      { drop: "state", key: "gone" },
    ]);
    const stores = [store];
    if (again) stores.push(await again());
    for (const one of stores) {
      const saved = await one.load();
      expect(saved.state).toEqual(new Map([["device", "11040g2081040g2081040g2081"]]));
      expect(saved.chats).toMatchObject([
        { id: tea, read: 7, unreadSeqs: [8, 9], proof: Uint8Array.of(1, 2), cursor: { seq: 9 } },
      ]);
      expect(saved.outbox.map(({ id, counter }) => [id, counter])).toEqual([
        ["first", 11],
        ["second", 12],
      ]);
      one.close();
    }
  });

  it("gives events of one chat in both directions, from where it is asked, and no more than asked for", async () => {
    const { store } = await make();
    await store.write([events(tea, 1, 30), events(walks, 5, 8), events(tea, 40, 41)]);
    expect(await seqs(store, tea, 10, "forward", 3)).toEqual([10, 11, 12]);
    expect(await seqs(store, tea, 10, "backward", 3)).toEqual([10, 9, 8]);
    expect(await seqs(store, tea, 29, "forward", 9)).toEqual([29, 30, 40, 41]);
    expect(await seqs(store, tea, Number.MAX_SAFE_INTEGER, "backward", 3)).toEqual([41, 40, 30]);
    expect(await seqs(store, walks, 1, "forward", 9)).toEqual([5, 6, 7, 8]);
    expect(await store.events(walks, 5, "forward", 1)).toEqual([event(5)]);
    await store.write([{ put: "events", chat: walks, events: [event(5, 20)] }]);
    expect(await store.events(walks, 5, "forward", 1)).toEqual([event(5, 20)]);
    store.close();
  });

  it("drops a chat with its events, or the events alone, and no others", async () => {
    const { store } = await make();
    await store.write([
      { put: "chat", row: newRow(tea, 1, 0) },
      { put: "chat", row: newRow(walks, 1, 0) },
      events(tea, 1, 3),
      events(walks, 1, 3),
    ]);
    await store.write([{ drop: "events", chat: walks }]);
    expect(await seqs(store, walks, 1, "forward", 9)).toEqual([]);
    expect(await seqs(store, tea, 1, "forward", 9)).toEqual([1, 2, 3]);
    await store.write([{ drop: "chat", id: tea }]);
    expect(await seqs(store, tea, 1, "forward", 9)).toEqual([]);
    expect((await store.load()).chats.map(({ id }) => id)).toEqual([walks]);
    store.close();
  });

  it("writes all or nothing: what cannot be kept takes the rest with it", async () => {
    const { store } = await make();
    const impossible = (): void => undefined;
    await expect(
      store.write([
        { put: "state", key: "a", value: 1 },
        { put: "state", key: "b", value: impossible },
      ]),
    ).rejects.toThrow();
    expect((await store.load()).state.size).toBe(0);
    await store.write([{ put: "state", key: "a", value: 1 }]);
    expect((await store.load()).state).toEqual(new Map([["a", 1]]));
    store.close();
  });

  it("evicts the chats in the given order, the oldest events first, down to what may stay", async () => {
    const { store } = await make();
    await store.write([events(tea, 1, 10, 100), events(walks, 1, 10, 100)]);
    await store.evict([walks, tea], 2_000);
    expect((await seqs(store, walks, 1, "forward", 99)).length).toBe(10);
    await store.evict([walks, tea], 1_500);
    expect(await seqs(store, walks, 1, "forward", 99)).toEqual([6, 7, 8, 9, 10]);
    expect((await seqs(store, tea, 1, "forward", 99)).length).toBe(10);
    await store.evict([walks], 300);
    expect(await seqs(store, walks, 1, "forward", 99)).toEqual([]);
    expect(await seqs(store, tea, 1, "forward", 99)).toEqual([8, 9, 10]);
    store.close();
  });

  it("evicts out of thousands, while others write and read", async () => {
    const { store } = await make();
    await store.write([events(tea, 1, 2_500, 10), events(walks, 1, 2_500, 10)]);
    const evicted = store.evict([tea], 30_000);
    for (let seq = 2_501; seq <= 2_520; seq++) {
      await store.write([events(walks, seq, seq, 10)]);
      expect(await seqs(store, walks, seq, "backward", 2)).toEqual([seq, seq - 1]);
    }
    await evicted;
    // What came meanwhile may be counted or not.
    const left = await seqs(store, tea, 1, "forward", 9_999);
    expect(left.length).toBeLessThanOrEqual(500);
    expect(left.length).toBeGreaterThanOrEqual(480);
    expect(left.at(-1)).toBe(2_500);
    expect((await seqs(store, walks, 1, "forward", 9_999)).length).toBe(2_520);
    // Written over, they are no more than they were.
    await store.write([events(walks, 1, 2_520, 10)]);
    await store.evict([tea], 30_200);
    expect((await seqs(store, tea, 1, "forward", 9_999)).length).toBe(left.length);
    store.close();
  });

  it("keeps its own copy of what is put", async () => {
    const { store } = await make();
    const row = newRow(tea, 2, 0);
    await store.write([{ put: "chat", row }]);
    row.read = 99;
    const [loaded] = (await store.load()).chats;
    expect(loaded?.read).toBe(0);
    store.close();
  });

  it("erases everything", async () => {
    const { store, again, erase } = await make();
    if (!again || !erase) return;
    await store.write([
      { put: "state", key: "a", value: 1 },
      events(tea, 1, 3),
      { put: "outbox", row: outboxRow("x", 1) },
    ]);
    // This page and another one have it open: they must not keep anybody waiting.
    await again();
    await erase();
    const after = await again();
    expect(await after.load()).toEqual({ state: new Map(), chats: [], outbox: [] });
    expect(await after.events(tea, 1, "forward", 9)).toEqual([]);
    after.close();
  });
});
