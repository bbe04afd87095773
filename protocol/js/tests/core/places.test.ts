/** A deployment of several servers: which one a client goes to when its own is away, and what it keeps of them. */

import { describe, expect, it } from "vitest";
import type { Connection } from "../../src/api.js";
import type { Frame } from "../../src/codec/index.js";
import { OriginRefused } from "../../src/core/surroundings.js";
import { Places, placesMax } from "../../src/core/places.js";
import { begin, page, send, settled, tea, welcome, World, type Page } from "../support/world.js";

const connection = ({ log }: Page): Connection | undefined =>
  log.flatMap((one) => (one.type === "connection" ? [one.connection] : [])).at(-1);
const [one, two, three] = ["http://one.example", "http://two.example", "http://three.example"] as const;
const hostOf = (world: World): string => new URL(world.socket.url).host;

/** A page of the first of three servers. */
async function ofThree(world = new World()): Promise<Page> {
  world.discovery = { versions: [1], websocket: "/ws", edges: [one, two, three] };
  return page(undefined, world, { url: one });
}

describe("a server that is away", () => {
  it("is left for another one, at random and with the ticket, without asking for its document first", async () => {
    for (const [chance, expected] of [
      [0.1, "two.example"],
      [0.9, "three.example"],
    ] as const) {
      const three = await ofThree();
      const socket = await begin(three, [{ chat: tea, head: 5 }]);
      expect(connection(three)).toMatchObject({ state: "online", url: one });
      three.world.chance = chance;
      send(three, "a", "typed");
      socket.events.closed();
      await three.world.pass(1_000);
      expect(hostOf(three.world)).toBe(expected);
      expect(three.world.fetched).toEqual([`${one}/.well-known/panda`]);
      three.world.socket.events.opened();
      await settled();
      expect(three.world.socket.one("hello").auth).toEqual({ ticket: new TextEncoder().encode("ticket") });
      await three.world.socket.say(welcome());
      expect(connection(three)).toMatchObject({ state: "online", url: `http://${expected}` });
    }
  });

  it("and others that are away are all tried, each after its wait, and each tells of itself anew", async () => {
    const three = await ofThree();
    three.world.chance = 0;
    (await begin(three, [])).events.closed();
    const seen = new Set<string>();
    for (let attempt = 0; attempt < 12; attempt++) {
      await three.world.pass(1);
      seen.add(hostOf(three.world));
      three.world.chance = three.world.chance === 0 ? 0.99 : 0;
      three.world.socket.events.closed();
      await three.world.pass(30_000);
    }
    expect([...seen].sort()).toEqual(["one.example", "three.example", "two.example"]);
    expect(three.world.fetched.length).toBeGreaterThan(3);
  });

  it.each([
    [1000, "two.example"],
    [1100, "two.example"],
    [1104, "two.example"],
    [1202, "one.example"],
  ])("or says %i sends to %s", async (code, expected) => {
    const three = await ofThree();
    const socket = await begin(three, []);
    three.world.chance = 0;
    await socket.say({ type: "bye", code, retryAfterMs: 0n, text: "because" });
    await three.world.pass(1_000);
    expect(hostOf(three.world)).toBe(expected);
  });

  it("as the page is opened is no end: the others are known from before", async () => {
    const first = await ofThree();
    await begin(first, []);
    await first.core.close();
    const world = new World();
    world.discovery = new TypeError("nobody is there");
    world.chance = 0;
    const again = await page(first.store, world, { url: one });
    expect(connection(again)).toMatchObject({ state: "waiting", reason: { label: "unreachable" } });
    world.discovery = { versions: [1], websocket: "/ws", edges: [two] };
    await world.pass(1_000);
    expect(hostOf(world)).toBe("two.example");
  });

  it("and alone is asked again where it is", async () => {
    const alone = await page();
    (await begin(alone, [])).events.closed();
    await alone.world.pass(1_000);
    expect(hostOf(alone.world)).toBe("panda.example");
  });
});

describe("GoAway", () => {
  const goAway = (address: string): Frame => ({
    type: "goAway",
    code: 1000,
    delayMs: 0n,
    closesInMs: 30_000n,
    address,
    ticket: Uint8Array.of(3),
  });

  it("without a place leads to another server at once, and back when that is away", async () => {
    const three = await ofThree();
    const old = await begin(three, []);
    three.world.chance = 0;
    await old.say(goAway(""));
    await three.world.pass(1);
    expect(hostOf(three.world)).toBe("two.example");
    three.world.socket.events.closed();
    await three.world.pass(999);
    expect(three.world.sockets.length).toBe(2);
    await three.world.pass(1);
    expect(three.world.sockets.length).toBe(3);
    expect(hostOf(three.world)).not.toBe("two.example");
    expect(old.closed).toBe(false);
  });

  it("with a place that is none of the known ones leads there", async () => {
    const three = await ofThree();
    const old = await begin(three, []);
    await old.say(goAway("four.example:81"));
    await three.world.pass(1);
    expect(hostOf(three.world)).toBe("four.example:81");
    three.world.socket.events.opened();
    await three.world.socket.say(welcome());
    expect(connection(three)).toMatchObject({ url: "http://four.example:81" });
  });
});

describe("what a document says of servers", () => {
  const places = (base: string, saved: unknown): readonly string[] => new Places(base, saved, () => 0).edges;

  it("is taken as far as a browser may go there, and no more of it than is allowed", () => {
    expect(places("https://a.example", ["http://b.example", "https://c.example/", "wss://d.example", 7, "no"])).toEqual(
      ["https://c.example"],
    );
    expect(places("http://a.example", ["http://b.example", "https://c.example", "http://b.example/x"])).toEqual([
      "http://b.example",
      "https://c.example",
    ]);
    for (const none of [undefined, null, "http://b.example", {}, [null]]) expect(places(one, none)).toEqual([]);
    const many = Array.from({ length: 40 }, (_, at) => `http://edge-${String(at)}.example`);
    expect(places(one, many).length).toBe(placesMax);
  });
});

describe("a server that refuses pages of this origin", () => {
  it("is told of as that, and asked again: an operator may add it", async () => {
    const world = new World();
    world.discovery = new OriginRefused();
    const one = await page(undefined, world);
    expect(connection(one)).toMatchObject({ state: "waiting", reason: { code: 1307, label: "origin_refused" } });
    world.discovery = { versions: [1], websocket: "/ws" };
    await world.pass(1_000);
    await begin(one, []);
    expect(connection(one)).toMatchObject({ state: "online" });
  });
});

describe("this machine's clock", () => {
  it.each([
    [86_400_000, 86_400_000],
    [-86_400_000, -86_400_000],
    [null, null],
  ])("is compared with the server's: %s ms ahead", async (ahead, expected) => {
    const world = new World();
    world.dateMs = ahead === null ? null : world.wall - ahead;
    const one = await page(undefined, world);
    await begin(one, []);
    expect(connection(one)).toMatchObject({ state: "online", clockAheadMs: expected });
  });
});

describe("a server that stalls", () => {
  it("while something waits for it is found out in 25 s, not after two heartbeats", async () => {
    const one = await page();
    const socket = await begin(one, [{ chat: tea, head: 5 }]);
    // What else was asked for is answered.
    for (const { request } of socket.take("page"))
      await socket.say({ type: "error", request, code: 2000, retryAfterMs: 600_000n, details: null, text: "" });
    await one.world.pass(5_000);
    send(one, "a", "typed");
    await settled();
    await one.world.pass(9_999);
    expect(socket.take("ping")).toEqual([]);
    await one.world.pass(1);
    expect(socket.take("ping").length).toBe(1);
    await one.world.pass(14_999);
    expect(socket.closed).toBe(false);
    await one.world.pass(1);
    expect(socket.closed).toBe(true);
    expect(connection(one)).toMatchObject({ state: "waiting" });
  });

  it("is one that is only slow as long as it answers who asks", async () => {
    const one = await page();
    const socket = await begin(one, [{ chat: tea, head: 5 }]);
    send(one, "a", "typed");
    await settled();
    for (let turn = 0; turn < 5; turn++) {
      await one.world.pass(10_000);
      const { nonce } = socket.one("ping");
      await socket.say({ type: "pong", nonce });
    }
    expect(socket.closed).toBe(false);
    expect(connection(one)).toMatchObject({ state: "online" });
  });
});
