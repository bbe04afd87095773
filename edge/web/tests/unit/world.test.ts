import type { ChatId, ClientEvent, OutboxId } from "@panda/client";
import { describe, expect, test } from "vitest";
import { chatIn } from "../../src/state/chat_table";
import { eventAt } from "../../src/state/timeline";
import { applied, forgotten, noWorld, TIMELINES_MAX, worldReducer, type Update, type World } from "../../src/state/world";
import { ada, ben, cake, event, queued, said, summary, tea } from "./support/fake_client";

const reduce = (world: World, ...updates: Update[]) => worldReducer(world, applied(updates));
const opened = reduce(
  noWorld,
  { type: "chats", chats: [summary(tea, { head: 3 }), summary(cake)], complete: true },
  { type: "opened", chat: tea },
);

/** All that is known of tea, in the order of the seqs. */
function texts(world: World): string[] {
  const timeline = world.timelines[tea];
  if (!timeline) return [];
  return Array.from({ length: timeline.head }, (_, at) => {
    const found = eventAt(timeline, at + 1);
    return found?.kind === "messageSent" ? found.text : (found?.kind ?? "-");
  });
}

describe("one way from events to state", () => {
  const all = ["one", "two", "three", "four", "five"].map((text, at) => said(at + 1, text));
  const page = (from: number, to: number): Update => ({
    type: "page",
    chat: tea,
    page: { events: all.slice(from - 1, to), beginsAt: 1, head: 5, from: "server" },
  });
  const live = (from: number, to: number): Update => ({ type: "events", chat: tea, events: all.slice(from - 1, to) });

  test.each([
    ["live alone", [live(1, 5)]],
    ["live one by one", [live(1, 1), live(2, 2), live(3, 3), live(4, 4), live(5, 5)]],
    ["history, then live", [page(1, 3), live(4, 5)]],
    ["live, then history", [live(4, 5), page(1, 3)]],
    ["history that repeats what came live", [live(3, 5), page(1, 5)]],
    ["a resume behind a hole, then history", [live(1, 1), { type: "hole", chat: tea, before: 4 }, live(4, 5), page(2, 3)]],
    ["an older page behind a newer one", [page(3, 5), page(1, 4)]],
  ] as [string, Update[]][])("%s ends in the same state", (_, updates) => {
    expect(texts(reduce(opened, ...updates))).toEqual(["one", "two", "three", "four", "five"]);
  });

  test("another store drops what was held of a chat", () => {
    const world = reduce(opened, live(1, 5), { type: "reset", chat: tea }, live(1, 1));
    expect(texts(world)).toEqual(["one"]);
  });

  test("everything is dropped but what waits to be sent", () => {
    const world = reduce(opened, live(1, 5), { type: "outbox", entries: [queued("o1", "wait")] }, { type: "resetAll" });
    expect(world).toMatchObject({ chats: noWorld.chats, order: noWorld.order, complete: false, timelines: {} });
    expect(world.outbox[tea]).toHaveLength(1);
  });

  test("what is read on this machine alone moves no bounds", () => {
    const stored = { events: all.slice(0, 1), beginsAt: 7, head: 1, from: "store" } as const;
    const world = reduce(opened, { type: "page", chat: tea, page: stored });
    expect(world.timelines[tea]).toMatchObject({ beginsAt: 1, head: 3 });
    expect(texts(world)[0]).toBe("one");
  });

  test("events of chats that nobody opened are held by the list alone", () => {
    const world = reduce(opened, { type: "events", chat: cake, events: [said(1, "crumbs")] });
    expect(world).toBe(opened);
  });

  test("only the chats that were opened last keep their events", () => {
    const ids = Array.from({ length: TIMELINES_MAX + 2 }, (_, at) => `1h${String(at)}` as ChatId);
    const world = reduce(noWorld, ...ids.map((chat): Update => ({ type: "opened", chat })));
    expect(Object.keys(world.timelines)).toEqual(ids.slice(-TIMELINES_MAX));
  });

  test("who logs out leaves nothing", () => {
    expect(worldReducer(opened, forgotten())).toBe(noWorld);
  });
});

describe("the outbox", () => {
  const outbox = (...changes: Parameters<typeof queued>[]): Update => ({
    type: "outbox",
    entries: changes.map((change) => queued(...change)),
  });

  test("a message goes from queued to its event and is shown once at every step", () => {
    const shown = (world: World) => [...texts(world).filter((text) => text === "hi"), ...(world.outbox[tea] ?? []).map((entry) => entry.state)];
    let world = reduce(opened, outbox(["o1", "hi"]));
    expect(shown(world)).toEqual(["queued"]);
    world = reduce(world, outbox(["o1", "hi", { state: "sent" }]));
    expect(shown(world)).toEqual(["sent"]);
    world = reduce(world, outbox(["o1", "hi", { state: "stored", seq: 4 }]));
    expect(shown(world)).toEqual(["stored"]);
    world = reduce(world, { type: "events", chat: tea, events: [{ ...said(4, "hi", ada), outbox: "o1" as OutboxId }] });
    expect(shown(world)).toEqual(["hi"]);
    world = reduce(world, { type: "outboxLeft", ids: ["o1" as OutboxId] });
    expect(shown(world)).toEqual(["hi"]);
  });

  test("an answer that comes behind its event shows nothing twice", () => {
    const arrived: ClientEvent = { type: "events", chat: tea, events: [{ ...said(4, "hi", ada), outbox: "o1" as OutboxId }] };
    const world = reduce(opened, outbox(["o1", "hi", { state: "sent" }]), arrived, outbox(["o1", "hi", { state: "stored", seq: 4 }]));
    expect(world.outbox[tea]).toEqual([]);
  });

  test("entries keep their order, and what was refused stays until it is taken out", () => {
    let world = reduce(opened, outbox(["o1", "one"], ["o2", "two"], ["o3", "three"]));
    world = reduce(world, outbox(["o2", "two", { state: "failed" }]));
    expect(world.outbox[tea]?.map((entry) => [entry.id, entry.state])).toEqual([
      ["o1", "queued"],
      ["o2", "failed"],
      ["o3", "queued"],
    ]);
    world = reduce(world, { type: "outboxLeft", ids: ["o2" as OutboxId] });
    expect(world.outbox[tea]?.map((entry) => entry.id)).toEqual(["o1", "o3"]);
  });
});

describe("the list of chats", () => {
  const at = (chat: ChatId, seq: number, changes = {}): Update => ({
    type: "chats",
    chats: [summary(chat, { last: said(seq, "x"), head: seq, ...changes })],
    complete: false,
  });

  test("has the newest first, and moves only what moved", () => {
    let world = reduce(opened, at(tea, 5), at(cake, 9));
    expect([...world.order]).toEqual([cake, tea]);
    const { order } = world;
    world = reduce(world, at(cake, 10));
    expect(world.order).toBe(order);
    world = reduce(world, at(tea, 11));
    expect([...world.order]).toEqual([tea, cake]);
    world = reduce(world, at(tea, 11, { read: 11 }));
    expect([...world.order]).toEqual([tea, cake]);
  });

  test("has every chat once, however they come", () => {
    const ids = Array.from({ length: 50 }, (_, number) => `1h${String(number).padStart(2, "0")}` as ChatId);
    let world = noWorld;
    for (const step of [7, 11, 13]) {
      const chats = ids.map((id, number) => summary(id, { last: said(1 + ((number * step) % 17), "x") }));
      world = reduce(world, { type: "chats", chats: chats.filter((_, number) => number % 2 === step % 2), complete: false });
      world = reduce(world, { type: "chats", chats, complete: true });
      expect(new Set(world.order).size).toBe(ids.length);
      const times = [...world.order].map((id) => chatIn(world.chats, id)?.last?.timeUs ?? 0);
      expect(times).toEqual([...times].sort((a, b) => b - a));
    }
  });

  test("who is removed keeps on the screen what was read, and starts anew when added again", () => {
    let world = reduce(opened, { type: "events", chat: tea, events: [said(4, "bye")] }, { type: "chatsLeft", chats: [tea] });
    expect(chatIn(world.chats, tea)).toBeUndefined();
    expect([...world.order]).toEqual([cake]);
    expect(texts(world)[3]).toBe("bye");
    world = reduce(world, { type: "chats", chats: [summary(tea, { head: 9, visibleFrom: 8 })], complete: false });
    expect(world.timelines[tea]).toMatchObject({ beginsAt: 8, head: 9 });
  });

  test("signals change nothing of it", () => {
    const typing: Update = { type: "typing", chat: tea, user: ben, typing: true };
    expect(reduce(opened, typing, { type: "presence", chat: tea, user: ben, here: true })).toBe(opened);
    expect(reduce(opened, { type: "events", chat: cake, events: [event(1, { kind: "unknown", code: 99 })] })).toBe(opened);
  });
});
