/** How a session is opened, kept, moved and opened again, with a server of which the test says every frame. */

import { describe, expect, it } from "vitest";
import type { Connection } from "../../src/api.js";
import type { Frame } from "../../src/codec/index.js";
import {
  begin,
  me,
  message,
  other,
  page,
  send,
  settled,
  tea,
  textsOf,
  welcome,
  World,
  type Page,
} from "../support/world.js";

const connection = ({ log }: Page): Connection | undefined =>
  log.flatMap((one) => (one.type === "connection" ? [one.connection] : [])).at(-1);
const bye = (code: number, retryAfterMs = 0n): Frame => ({ type: "bye", code, retryAfterMs, text: "because" });

describe("the first flight", () => {
  it("is Hello with the token, and all chats that are known right behind it", async () => {
    const first = await page();
    expect(first.world.socket.url).toBe("ws://panda.example/ws");
    const socket = await begin(first, [{ chat: tea, head: 5 }]);
    const hello = socket.one("hello");
    expect(hello).toMatchObject({
      versionMin: 1n,
      versionMax: 1n,
      auth: { token: "token-1" },
      inbox: null,
      client: "test/1",
    });
    await socket.say(message(tea, 6, "seen"));
    expect(textsOf(first, tea)).toEqual(["seen"]);
    await first.core.close();

    const second = await page(first.store);
    second.world.socket.events.opened();
    await settled();
    // By the ticket, from the inbox's and the chat's cursor, with the proof, before any Welcome.
    expect(second.world.socket.one("hello")).toMatchObject({
      device: hello.device,
      auth: { ticket: new TextEncoder().encode("ticket") },
      inbox: { seq: 10n },
    });
    expect(second.world.socket.one("sync").chats).toMatchObject([
      { chat: tea, cursor: { seq: 6n }, proof: Uint8Array.of(7) },
    ]);
    expect(second.asked).toEqual([]);
  });

  it("waits 15 seconds for a Welcome, then comes back", async () => {
    const one = await page();
    one.world.socket.events.opened();
    await one.world.pass(15_000);
    expect(one.world.socket.closed).toBe(true);
    expect(connection(one)).toMatchObject({ state: "waiting", reason: { label: "unreachable" } });
    await one.world.pass(1_000);
    expect(one.world.sockets.length).toBe(2);
  });
});

describe("coming back", () => {
  it("waits a random part of 1 s, 2 s, 4 s ... 30 s while nobody is there", async () => {
    const one = await page();
    one.world.chance = 0.999999;
    const waits: number[] = [];
    for (let attempt = 0; attempt < 7; attempt++) {
      const before = one.world.time;
      const dialled = one.world.sockets.length;
      one.world.socket.events.closed();
      await settled();
      while (one.world.sockets.length === dialled) await one.world.pass(100);
      waits.push(Math.round((one.world.time - before) / 1_000));
    }
    expect(waits).toEqual([1, 2, 4, 8, 16, 30, 30]);
    one.world.chance = 0;
    const dialled = one.world.sockets.length;
    one.world.socket.events.closed();
    await one.world.pass(1);
    expect(one.world.sockets.length).toBe(dialled + 1);
  });

  it.each([
    [1000, 0, 0],
    [1100, 5_000, 5_000],
    [1103, 0, 500],
    [1199, 700, 700],
  ])("after a Bye with %i and retry_after_ms %i, not before %i ms", async (code, retry, expected) => {
    const one = await page();
    const socket = await begin(one, []);
    await socket.say(bye(code, BigInt(retry)));
    expect(socket.closed).toBe(true);
    await one.world.pass(Math.max(0, expected - 1));
    if (expected > 0) expect(one.world.sockets.length).toBe(1);
    await one.world.pass(2);
    expect(one.world.sockets.length).toBe(2);
    one.world.socket.events.opened();
    await settled();
    expect(one.world.socket.one("hello").auth).toEqual({ ticket: new TextEncoder().encode("ticket") });
  });

  it.each([1300, 1301, 1303, 1308, 1399])("not after a Bye with %i, until a person asks", async (code) => {
    const one = await page();
    const socket = await begin(one, []);
    await socket.say(bye(code));
    expect(connection(one)).toMatchObject({ state: "stopped", reason: { code, text: "because" } });
    await one.world.pass(3_600_000);
    expect(one.world.sockets.length).toBe(1);
    one.core.connectNow();
    await settled();
    expect(one.world.sockets.length).toBe(2);
  });

  it("with the token where the ticket is refused, with another one where that is", async () => {
    const one = await page();
    const first = await begin(one, []);
    await first.say(bye(1000));
    await one.world.pass(1);
    one.world.socket.events.opened();
    await one.world.socket.say(bye(1202));
    await one.world.pass(1_000);
    expect(one.asked).toEqual(["connect", "connect"]);
    one.world.socket.events.opened();
    await settled();
    expect(one.world.socket.one("hello").auth).toEqual({ token: "token-1" });
    await one.world.socket.say(bye(1201));
    one.tokens = ["token-2"];
    await one.world.pass(4_000);
    expect(one.asked).toEqual(["connect", "connect", "refused"]);
    one.world.socket.events.opened();
    await settled();
    expect(one.world.socket.one("hello").auth).toEqual({ token: "token-2" });
    // The same one again helps nobody.
    await one.world.socket.say(bye(1201));
    await one.world.pass(8_000);
    expect(connection(one)).toMatchObject({ state: "signedOut" });
    one.core.authorize("token-3");
    await settled();
    one.world.socket.events.opened();
    await settled();
    expect(one.world.socket.one("hello").auth).toEqual({ token: "token-3" });
  });

  it("is asked for by a person at once, but not before retry_after_ms, nor within a second", async () => {
    const one = await page();
    const socket = await begin(one, []);
    await socket.say(bye(1100, 3_000n));
    one.core.connectNow();
    await one.world.pass(2_999);
    expect(one.world.sockets.length).toBe(1);
    await one.world.pass(1);
    expect(one.world.sockets.length).toBe(2);
    one.world.socket.events.closed();
    await settled();
    one.core.connectNow();
    await one.world.pass(998);
    expect(one.world.sockets.length).toBe(2);
    await one.world.pass(3);
    expect(one.world.sockets.length).toBe(3);
  });

  it("goes on when the token is not to be had now", async () => {
    const world = new World();
    const one = await page(undefined, world);
    one.tokens = [new Error("no network"), "token-1"];
    world.socket.events.closed();
    await world.pass(1_000);
    expect(connection(one)).toMatchObject({ state: "waiting" });
    await world.pass(2_000);
    expect(world.sockets.length).toBe(2);
  });

  it("is no use with a server that speaks no version of this client", async () => {
    const world = new World();
    world.discovery = { versions: [2], websocket: "/ws" };
    const one = await page(undefined, world);
    expect(connection(one)).toMatchObject({ state: "stopped", reason: { label: "version_unsupported" } });
    world.discovery = { versions: [1, 2], websocket: "/other" };
    one.core.connectNow();
    await world.pass(1_000);
    expect(world.socket.url).toBe("ws://panda.example/other");
  });

  it("leaves a session that is another user's", async () => {
    const one = await page();
    one.world.socket.events.opened();
    await one.world.socket.say(welcome({ user: other }));
    expect(connection(one)).toMatchObject({ state: "signedOut", reason: { label: "token_invalid" } });
    expect(one.world.socket.closed).toBe(true);
    expect(me).not.toBe(other);
  });
});

describe("heartbeats", () => {
  it("are sent when nothing else is, answered, and missed", async () => {
    const one = await page();
    const socket = await begin(one, []);
    await socket.say({ type: "ping", nonce: 77n });
    expect(socket.one("pong")).toMatchObject({ nonce: 77n });
    await one.world.pass(33_750);
    const { nonce } = socket.one("ping");
    await socket.say({ type: "pong", nonce });
    await one.world.pass(89_999);
    expect(socket.closed).toBe(false);
    await one.world.pass(1);
    expect(socket.closed).toBe(true);
    expect(socket.one("bye").code).toBe(1101);
  });

  it("of a machine that slept for an hour find out at once", async () => {
    const one = await page();
    const socket = await begin(one, []);
    one.world.time += 3_600_000;
    one.core.wake();
    await settled();
    expect(socket.closed).toBe(true);
  });

  it("are asked for when the network changed, and silence then ends it in 15 s", async () => {
    const one = await page();
    const socket = await begin(one, []);
    one.core.wake();
    await settled();
    expect(socket.take("ping").length).toBe(1);
    await one.world.pass(14_999);
    expect(socket.closed).toBe(false);
    await one.world.pass(1);
    expect(socket.closed).toBe(true);
  });
});

describe("the right to be here", () => {
  it("is refreshed between 60 and 90 % of its time, and a refusal ends nothing", async () => {
    const one = await page();
    one.world.chance = 0;
    const socket = await begin(one, [], { expiresInMs: 600_000n, heartbeatMs: 600_000n });
    one.tokens = ["token-2", "token-3"];
    await one.world.pass(359_999);
    expect(socket.take("refresh").length).toBe(0);
    await one.world.pass(1);
    const first = socket.one("refresh");
    expect(first.token).toBe("token-2");
    await socket.say({
      type: "error",
      request: first.request,
      code: 1201,
      retryAfterMs: 0n,
      details: null,
      text: "no",
    });
    const second = socket.one("refresh");
    expect(second.token).toBe("token-3");
    await socket.say({
      type: "refreshed",
      request: second.request,
      expiresInMs: 600_000n,
      ticket: Uint8Array.of(9, 9),
    });
    expect(socket.closed).toBe(false);
    expect(connection(one)).toMatchObject({ state: "online", expiresAtMs: one.world.wall + 600_000 });
    await socket.say(bye(1000));
    await one.world.pass(1);
    one.world.socket.events.opened();
    await settled();
    expect(one.world.socket.one("hello").auth).toEqual({ ticket: Uint8Array.of(9, 9) });
  });
});

describe("a refresh that is refused for another reason than its token", () => {
  it("asks nobody to log in, and gives the same token again later", async () => {
    const one = await page();
    one.world.chance = 0;
    const socket = await begin(one, [], { expiresInMs: 600_000n, heartbeatMs: 600_000n });
    one.tokens = ["token-2"];
    await one.world.pass(360_000);
    const { request } = socket.one("refresh");
    one.asked.length = 0;
    await socket.say({ type: "error", request, code: 2001, retryAfterMs: 1_000n, details: null, text: "slowly" });
    expect(one.asked).toEqual([]);
    await one.world.pass(30_000);
    expect(one.asked).toEqual(["refresh"]);
    expect(socket.one("refresh").token).toBe("token-2");
  });
});

describe("GoAway", () => {
  const goAway = (address = "", delayMs = 1_500n): Frame => ({
    type: "goAway",
    code: 1000,
    delayMs,
    closesInMs: 30_000n,
    address,
    ticket: Uint8Array.of(3),
  });

  it("moves the session at its moment, to its place, with its ticket, and only then leaves the old one", async () => {
    const one = await page();
    const old = await begin(one, [{ chat: tea, head: 5 }]);
    await old.say(goAway("edge-2:8443"));
    await one.world.pass(1_499);
    expect(one.world.sockets.length).toBe(1);
    await one.world.pass(1);
    const fresh = one.world.socket;
    expect(fresh.url).toBe("ws://edge-2:8443/ws");
    await old.say(message(tea, 6, "on the old one"));
    expect(old.closed).toBe(false);
    fresh.events.opened();
    await settled();
    expect(old.take("bye")).toMatchObject([{ code: 1000 }]);
    expect(old.closed).toBe(true);
    expect(fresh.one("hello").auth).toEqual({ ticket: Uint8Array.of(3) });
    expect(fresh.one("sync").chats).toMatchObject([{ cursor: { seq: 6n } }]);
    // What still comes on the old one is said on the new one, too.
    await old.say(message(tea, 7, "late"));
    expect(textsOf(one, tea)).toEqual(["on the old one"]);
    await fresh.say(welcome());
    expect(connection(one)).toMatchObject({ state: "online" });
  });

  it("stays where it cannot move, tries the own address, and comes back when the server closes", async () => {
    const one = await page();
    const old = await begin(one, []);
    await old.say(goAway("edge-2:8443"));
    await one.world.pass(1_500);
    one.world.socket.events.closed();
    await one.world.pass(1);
    expect(one.world.socket.url).toBe("ws://panda.example/ws");
    one.world.socket.events.closed();
    await one.world.pass(1_000);
    expect(one.world.sockets.length).toBe(4);
    expect(old.closed).toBe(false);
    expect(connection(one)).toMatchObject({ state: "online" });
    await old.say(bye(1000));
    await one.world.pass(1);
    expect(one.world.sockets.length).toBe(5);
    expect(connection(one)).toMatchObject({ state: "connecting" });
  });
});

describe("a server that breaks the protocol", () => {
  it.each([
    ["a frame that is none", new Uint8Array([1, 0x7f]), 1306],
    ["bytes that end too early", new Uint8Array([5, 7]), 1301],
    ["a length above the limit", new Uint8Array([0x80, 1, 0, 1]), 1302],
    ["a text message", null, 1304],
    ["an empty message", new Uint8Array(), 1301],
    ["a reply that nobody asked for", new Uint8Array([3, 0x11, 0x3f, 1]), 1304],
    ["a frame of a client", new Uint8Array([2, 0x24, 1]), 1301],
    ["an event that is none", new Uint8Array([0x12, 0x12, ...new Uint8Array(16).fill(0x31, 0, 1), 0]), 1301],
  ])("by %s hears a Bye, and is tried again slowly", async (_, bytes, code) => {
    const one = await page();
    const socket = await begin(one, [{ chat: tea, head: 5 }]);
    send(one, "a", "typed");
    await settled();
    socket.events.message(bytes);
    await settled();
    expect(socket.one("bye").code).toBe(code);
    expect(socket.closed).toBe(true);
    expect(connection(one)).toMatchObject({ state: "waiting", reason: { code } });
    await one.world.pass(500);
    expect(one.world.sockets.length).toBe(2);
  });
});
