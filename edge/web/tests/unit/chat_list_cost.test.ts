/** What an update of the list of chats costs, where somebody is in ten thousand: counted, not timed. */

import type { ChatId, ChatSummary } from "@panda/client";
import { beforeEach, describe, expect, test } from "vitest";
import { PIECE_CHATS_MAX } from "../../src/state/chat_order";
import { chatIn } from "../../src/state/chat_table";
import { applied, noWorld, worldReducer, type Update, type World } from "../../src/state/world";
import { said, summary } from "./support/fake_client";

const CHATS = 10_000;
const id = (number: number) => `1h${String(number * 7_919).padStart(24, "0")}` as ChatId;
const reduce = (world: World, ...updates: Update[]) => worldReducer(world, applied(updates));
const chats = (...summaries: ChatSummary[]): Update => ({ type: "chats", chats: summaries, complete: true });

/** How often a summary was asked for what was said last: the order is made of that. */
let looks = 0;
function counted(number: number, seq: number): ChatSummary {
  const last = said(seq, "x");
  return Object.defineProperty(summary(id(number), { head: seq }), "last", {
    enumerable: true,
    get: () => {
      looks += 1;
      return last;
    },
  });
}

/** Places that a state has and the one before did not have: what was copied. */
function copied(before: World, after: World): number {
  const newTables = after.chats.filter((table, at) => table !== before.chats[at]);
  const old = new Set(before.order.pieces);
  const newPieces = after.order.pieces.filter((piece) => !old.has(piece));
  return (
    (after.chats === before.chats ? 0 : after.chats.length) +
    newTables.reduce((sum, table) => sum + Object.keys(table).length, 0) +
    (after.order === before.order ? 0 : after.order.pieces.length) +
    newPieces.reduce((sum, piece) => sum + piece.length, 0)
  );
}

let world: World;
beforeEach(() => {
  world = reduce(noWorld, chats(...Array.from({ length: CHATS }, (_, number) => counted(number, number + 1))));
  looks = 0;
});

describe("in ten thousand chats", () => {
  test.each([
    ["the newest, which stays where it is", CHATS - 1, CHATS + 1],
    ["one in the middle, which comes to the top", CHATS / 2, CHATS + 1],
    ["the oldest, which comes to the top", 0, CHATS + 1],
    ["one that moves down", CHATS - 1, 77],
  ])("a message in %s copies some hundred places and looks at some dozen chats", (_, number, seq) => {
    const after = reduce(world, chats(counted(number, seq)));
    const cost = { copied: copied(world, after), looks };
    expect(chatIn(after.chats, id(number))?.head).toBe(seq);
    // One record of all and one array of all would be copied as a whole: 30,000 places for one that moves.
    expect(cost.copied).toBeLessThan(256 + 100 + 2 * CHATS / (PIECE_CHATS_MAX / 2) + 2 * PIECE_CHATS_MAX);
    expect(cost.looks).toBeLessThan(200);
    expect(cost.copied).toBeGreaterThan(0);
  });

  test("what changes of one without a message moves nothing, and the list stays the same object", () => {
    const after = reduce(world, chats({ ...summary(id(500), { head: 501, last: said(501, "x"), read: 501 }) }));
    expect(after.order).toBe(world.order);
    expect(copied(world, after)).toBeLessThan(400);
    expect(looks).toBeLessThan(200);
  });

  test("one that is left, and one that is new, cost as much", () => {
    const left = reduce(world, { type: "chatsLeft", chats: [id(5_000)] });
    expect(left.order.length).toBe(CHATS - 1);
    expect([copied(world, left) < 1_000, looks < 200]).toEqual([true, true]);
    looks = 0;
    const back = reduce(left, chats(counted(5_000, 5_001)));
    expect([copied(left, back) < 1_000, looks < 200]).toEqual([true, true]);
    expect([...back.order]).toEqual([...world.order]);
  });

  test("a thousand messages cost a thousand times that, and no piece grows beyond its bound", () => {
    for (let seq = 0; seq < 1_000; seq += 1) world = reduce(world, chats(counted((seq * 37) % CHATS, CHATS + 2 + seq)));
    expect(looks).toBeLessThan(200 * 1_000);
    expect(Math.max(...world.order.pieces.map((piece) => piece.length))).toBeLessThanOrEqual(PIECE_CHATS_MAX);
    expect(Math.min(...world.order.pieces.map((piece) => piece.length))).toBeGreaterThan(0);
    expect(world.order.pieces.length).toBeLessThan(400);
    expect(new Set(world.order).size).toBe(CHATS);
  });
});

describe("an order", () => {
  /** As it is: all chats sorted. */
  const sorted = (of: World, ids: readonly ChatId[]) =>
    ids
      .flatMap((one) => chatIn(of.chats, one) ?? [])
      .sort((a, b) => (b.last?.timeUs ?? 0) - (a.last?.timeUs ?? 0) || (a.id < b.id ? -1 : 1))
      .map((one) => one.id);

  test("is that of all chats sorted, whatever comes in whatever batches", () => {
    // A generator of one's own, so that what fails fails again.
    let seed = 20_261_128;
    const random = (below: number) => {
      seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
      return seed % below;
    };
    const ids = Array.from({ length: 700 }, (_, number) => id(number));
    let now = noWorld;
    for (let step = 0; step < 150; step += 1) {
      const many = random(10) === 0 ? random(300) : random(4);
      const some = Array.from({ length: many }, () => ids[random(ids.length)] ?? id(0));
      now =
        random(6) === 0
          ? reduce(now, { type: "chatsLeft", chats: some })
          : reduce(now, chats(...some.map((one) => summary(one, { last: random(5) === 0 ? null : said(random(400), "x") }))));
      expect([...now.order], `step ${String(step)}`).toEqual(sorted(now, ids));
      expect(now.order.length).toBe([...now.order].length);
      const [from, to] = [random(700), random(700)];
      expect(now.order.slice(from, to)).toEqual([...now.order].slice(from, to));
    }
  });
});
