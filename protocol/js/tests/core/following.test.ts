/** What is shown of chats and the inbox: in order, each once, and never a silent hole. */

import { describe, expect, it } from "vitest";
import type { ChatSummary, ClientEvent } from "../../src/api.js";
import { catchUpEventsMax } from "../../src/core/chat.js";
import type { Event, Frame } from "../../src/codec/index.js";
import { directChatId } from "../../src/codec/index.js";
import { MemoryStore } from "../../src/storage/memory.js";
import { wordedEvents } from "../../src/words.js";
import type { ChatId } from "../../src/ids.js";
import {
  admission,
  answerInfo,
  answerSync,
  begin,
  event,
  incarnation,
  me,
  message,
  other,
  page,
  passAlive,
  send,
  settled,
  tea,
  textsOf,
  walks,
  welcome,
  type FakeSocket,
  type Page,
} from "../support/world.js";

const chatsOf = ({ core }: Page): readonly ChatSummary[] =>
  wordedEvents(core.snapshot()).flatMap((one) => (one.type === "chats" ? one.chats : []));
const chatOf = (one: Page, id = tea): ChatSummary | undefined => chatsOf(one).find((chat) => chat.id === id);
const kinds = (log: readonly ClientEvent[]): string[] => log.map(({ type }) => type);
const isCurrent = ({ log }: Page): boolean =>
  log.flatMap((one) => (one.type === "connection" ? [one.connection] : [])).at(-1)?.state === "online" &&
  log
    .flatMap((one) => (one.type === "connection" && one.connection.state === "online" ? [one.connection.current] : []))
    .at(-1) === true;
const noDevice: Partial<Event> = { counter: 0n };

async function reconnect(one: Page, over: Parameters<typeof welcome>[0] = {}): Promise<FakeSocket> {
  one.world.socket.events.closed();
  await one.world.pass(30_000);
  const { socket } = one.world;
  socket.events.opened();
  await socket.say(welcome(over));
  return socket;
}

describe("events of a chat", () => {
  it("come in order and once, whatever is repeated", async () => {
    const one = await page();
    const socket = await begin(one, [{ chat: tea, head: 5 }]);
    await socket.say(
      message(tea, 6, "six"),
      message(tea, 6, "six"),
      message(tea, 5, "five"),
      message(tea, 7, "seven"),
      message(walks, 3, "of a chat that is not the user's"),
    );
    expect(textsOf(one, tea)).toEqual(["six", "seven"]);
    expect(textsOf(one, walks)).toEqual([]);
    expect(chatOf(one)).toMatchObject({ head: 7, following: "live", last: { text: "seven" } });
  });

  it("of unknown kinds, and erased ones, move the cursor", async () => {
    const one = await page();
    const socket = await begin(one, [{ chat: tea, head: 5 }]);
    await socket.say(
      event(tea, 6, { is: "unknown", bytes: Uint8Array.of(1) }),
      event(tea, 7, { is: "erased" }),
      message(tea, 8, "eight"),
    );
    const events = one.log.flatMap((each) => (each.type === "events" ? each.events : []));
    expect(events).toMatchObject([
      { seq: 6, kind: "unknown", code: 0x3f },
      { seq: 7, kind: "erased", of: "messageSent" },
      { seq: 8, text: "eight" },
    ]);
  });

  it("that are missing are asked for again, and what comes meanwhile waits for them", async () => {
    const one = await page();
    const socket = await begin(one, [{ chat: tea, head: 5 }]);
    await socket.say(message(tea, 6, "six"), message(tea, 8, "eight"), message(tea, 9, "nine"));
    expect(textsOf(one, tea)).toEqual(["six"]);
    const sync = await answerSync(socket, [{ chat: tea, head: 9 }]);
    expect(sync.chats).toMatchObject([{ chat: tea, cursor: { incarnation, seq: 6n } }]);
    await socket.say(message(tea, 7, "seven"), message(tea, 8, "eight"), message(tea, 9, "nine"));
    expect(textsOf(one, tea)).toEqual(["six", "seven", "eight", "nine"]);
    expect(kinds(one.log)).not.toContain("hole");
  });

  it("before the admission are not taken", async () => {
    const one = await page();
    await begin(one, [{ chat: tea, head: 5 }]);
    const socket = await reconnect(one);
    await socket.say(message(tea, 6, "six"));
    expect(textsOf(one, tea)).toEqual([]);
    await answerSync(socket, [{ chat: tea, head: 6 }]);
    expect(isCurrent(one)).toBe(false);
    await socket.say(message(tea, 6, "six"));
    expect(textsOf(one, tea)).toEqual(["six"]);
    expect(isCurrent(one)).toBe(true);
  });
});

describe("a resume", () => {
  const admitted = async (
    start: 0 | 1 | 2,
    from: number,
    head: number,
  ): Promise<{ one: Page; socket: FakeSocket; log: ClientEvent[] }> => {
    const one = await page();
    const first = await begin(one, [{ chat: tea, head: 5 }]);
    await first.say(message(tea, 6, "six"));
    const socket = await reconnect(one);
    const { request } = socket.one("sync");
    const before = one.log.length;
    await socket.say({
      type: "synced",
      request,
      last: true,
      chats: [{ chat: tea, outcome: { admission: admission(head, start, from) } }],
    });
    return { one, socket, log: one.log.slice(before) };
  };

  it("that begins later shows a hole", async () => {
    const { one, socket, log } = await admitted(1, 20, 30);
    expect(log).toContainEqual({ type: "hole", chat: tea, before: 20 });
    await socket.say(message(tea, 20, "twenty"));
    expect(textsOf(one, tea)).toEqual(["six", "twenty"]);
  });

  it("of another store drops the chat", async () => {
    const { one, socket, log } = await admitted(2, 4, 3);
    expect(log).toContainEqual({ type: "reset", chat: tea });
    await socket.say(message(tea, 4, "anew"));
    expect(textsOf(one, tea)).toEqual(["six", "anew"]);
    expect(chatOf(one)).toMatchObject({ head: 4 });
    await one.world.pass(1_000);
    expect((await one.store.events(tea, 1, "forward", 99)).map(({ seq }) => seq)).not.toContain(6);
  });

  it("of more than a person would read takes up live and leaves a hole", async () => {
    const head = 7 + catchUpEventsMax;
    const { one, socket, log } = await admitted(0, 7, head);
    expect(kinds(log)).not.toContain("hole");
    await socket.say(message(tea, 7, "of the old subscription"));
    const sync = await answerSync(socket, [{ chat: tea, head }]);
    expect(sync.chats).toMatchObject([{ chat: tea, cursor: null }]);
    expect(one.log).toContainEqual({ type: "hole", chat: tea, before: head + 1 });
    await socket.say(message(tea, head + 1, "live"));
    expect(textsOf(one, tea)).toEqual(["six", "live"]);
    expect(chatOf(one)?.unread).toBe(head - 2 + 1);
    expect(chatOf(one)?.unreadExact).toBe(false);
  });

  it("that is refused for now is asked for again, for good not", async () => {
    const one = await page();
    await begin(one, [
      { chat: tea, head: 5 },
      { chat: walks, head: 5 },
    ]);
    const socket = await reconnect(one);
    const { request } = socket.one("sync");
    await socket.say({
      type: "synced",
      request,
      last: true,
      chats: [
        { chat: tea, outcome: { refusal: { code: 2000, retryAfterMs: 10_000n } } },
        { chat: walks, outcome: { refusal: { code: 2201, retryAfterMs: 0n } } },
      ],
    });
    expect(chatOf(one)).toMatchObject({ following: "paused", refusal: { label: "unavailable" } });
    expect(chatOf(one, walks)).toMatchObject({ following: "refused", refusal: { label: "not_found" } });
    await one.world.pass(9_999);
    expect(socket.take("sync").length).toBe(0);
    await one.world.pass(1);
    await answerSync(socket, [{ chat: tea, head: 5 }]);
    expect(chatOf(one)).toMatchObject({ following: "live", refusal: null });
  });

  it("of 600 chats asks for 256 at a time, all in the first flight", async () => {
    const one = await page();
    const chats = Array.from({ length: 600 }, (_, at) => ({
      chat: directChatId(me, `0h${String(at).padStart(4, "0")}g2081040g2081040g2081`.slice(0, 26) as typeof me),
      head: 3,
    }));
    one.world.socket.events.opened();
    await settled();
    await one.world.socket.say(welcome());
    for (let at = 0; at < chats.length; at += 256) {
      const rows = chats.slice(at, at + 256);
      const { request, limit } = one.world.socket.one("chats");
      expect(limit).toBe(256n);
      await one.world.socket.say({
        type: "chatsPage",
        request,
        more: at + 256 < chats.length,
        inbox: 10n,
        chats: rows.map(({ chat }) => ({ chat, joined: 1n, read: 0n })),
      });
    }
    expect(chatsOf(one).length).toBe(600);
    one.world.socket.take("sync");
    one.world.socket.events.closed();
    await one.world.pass(30_000);
    one.world.socket.events.opened();
    await settled();
    expect(one.world.socket.take("sync").map((sync) => sync.chats.length)).toEqual([256, 256, 88]);
  });
});

describe("an end of a subscription", () => {
  it("by a removal stays ended, by a pause is subscribed again", async () => {
    const one = await page();
    const socket = await begin(one, [
      { chat: tea, head: 5 },
      { chat: walks, head: 5 },
    ]);
    await socket.say(
      { type: "ended", entity: tea, code: 2202, retryAfterMs: 0n },
      { type: "ended", entity: walks, code: 2003, retryAfterMs: 500n },
    );
    expect(chatOf(one)).toMatchObject({ following: "refused", refusal: { label: "not_member" } });
    await one.world.pass(4_000);
    const sync = await answerSync(socket, [{ chat: walks, head: 6 }]);
    expect(sync.chats.map(({ chat, cursor }) => [chat, cursor?.seq])).toEqual([[walks, 5n]]);
    await socket.say(event(me, 11, { is: "chatLeft", chat: tea, source: 6n }, noDevice));
    expect(chatOf(one)).toBeUndefined();
    expect(one.log).toContainEqual({ type: "chatsLeft", chats: [tea] });
  });
});

describe("the inbox", () => {
  it("says which chats there are, and each is listened to at once, from its introduction on", async () => {
    const one = await page();
    const socket = await begin(one, []);
    expect(one.log).toContainEqual({ type: "chats", chats: [], complete: true });
    await socket.say(event(me, 11, { is: "chatJoined", chat: tea, source: 3n, role: 2, visibleFrom: 1n }, noDevice));
    await socket.say(
      event(me, 12, { is: "chatJoined", chat: walks, source: 900n, role: 2, visibleFrom: 1n }, noDevice),
    );
    const syncs = socket.take("sync").flatMap(({ chats }) => chats);
    expect(syncs).toMatchObject([
      { chat: tea, cursor: { incarnation, seq: 0n } },
      { chat: walks, cursor: { incarnation, seq: 899n } },
    ]);
  });

  it("moves what is read, on whatever device", async () => {
    const one = await page();
    const socket = await begin(one, [{ chat: tea, head: 2 }]);
    await socket.say(
      message(tea, 3, "a"),
      message(tea, 4, "own", { actor: me }),
      message(tea, 5, "b"),
      message(tea, 6, "c"),
    );
    expect(chatOf(one)).toMatchObject({ unread: 3, unreadExact: true });
    await socket.say(event(me, 11, { is: "readMoved", chat: tea, read: 5n }, noDevice));
    expect(chatOf(one)).toMatchObject({ unread: 1, unreadExact: true, read: 5 });
    await socket.say(event(me, 12, { is: "readMoved", chat: tea, read: 3n }, noDevice));
    expect(chatOf(one)).toMatchObject({ read: 5 });
  });

  it("with a gap ends the session, which the next one closes", async () => {
    const one = await page();
    const socket = await begin(one, []);
    await socket.say(event(me, 13, { is: "chatJoined", chat: tea, source: 3n, role: 2, visibleFrom: 1n }, noDevice));
    expect(socket.closed).toBe(true);
    await one.world.pass(2_000);
    one.world.socket.events.opened();
    await settled();
    expect(one.world.socket.one("hello").inbox).toMatchObject({ seq: 10n });
    await one.world.socket.say(
      welcome({ inbox: { incarnation, head: 11n, from: 11n, reset: false } }),
      event(me, 11, { is: "chatJoined", chat: tea, source: 3n, role: 2, visibleFrom: 1n }, noDevice),
    );
    expect(chatOf(one)).toBeDefined();
  });

  it("is applied behind the list while that is read", async () => {
    const one = await page();
    const { socket } = one.world;
    socket.events.opened();
    await settled();
    await socket.say(welcome());
    const { request } = socket.one("chats");
    // The page is of 11; what 12 and 13 did is not in it, what 11 did is.
    await socket.say(
      event(me, 11, { is: "chatJoined", chat: tea, source: 3n, role: 2, visibleFrom: 1n }, noDevice),
      event(me, 12, { is: "chatLeft", chat: tea, source: 9n }, noDevice),
      event(me, 13, { is: "chatJoined", chat: walks, source: 4n, role: 2, visibleFrom: 1n }, noDevice),
    );
    expect(chatsOf(one)).toEqual([]);
    await socket.say({
      type: "chatsPage",
      request,
      more: false,
      inbox: 11n,
      chats: [{ chat: tea, joined: 3n, read: 0n }],
    });
    expect(chatsOf(one).map(({ id }) => id)).toEqual([walks]);
  });

  it("whose list was cut short is read anew", async () => {
    const one = await page();
    one.world.socket.events.opened();
    await settled();
    await one.world.socket.say(welcome());
    one.world.socket.one("chats");
    const socket = await reconnect(one);
    expect(socket.one("hello").inbox).toBeNull();
    const { request } = socket.one("chats");
    await socket.say({ type: "error", request, code: 2000, retryAfterMs: 0n, details: null, text: "later" });
    await one.world.pass(4_000);
    const again = socket.one("chats");
    await socket.say({
      type: "chatsPage",
      request: again.request,
      more: false,
      inbox: 10n,
      chats: [{ chat: tea, joined: 3n, read: 0n }],
    });
    await answerSync(socket, [{ chat: tea, head: 5 }]);
    await answerInfo(socket, [{ chat: tea, head: 5 }]);
    expect(isCurrent(one)).toBe(true);
  });

  it("of another store drops everything and reads the list anew; the outbox stays", async () => {
    const one = await page();
    await begin(one, [{ chat: tea, head: 5 }]);
    one.world.socket.events.closed();
    await settled();
    send(one, "x", "typed");
    await one.world.pass(30_000);
    one.world.socket.events.opened();
    const before = one.log.length;
    await one.world.socket.say(welcome({ inbox: { incarnation: new Uint8Array(8), head: 2n, from: 3n, reset: true } }));
    expect(kinds(one.log.slice(before))).toContain("resetAll");
    const { request } = one.world.socket.one("chats");
    await one.world.socket.say({
      type: "chatsPage",
      request,
      more: false,
      inbox: 2n,
      chats: [{ chat: walks, joined: 1n, read: 0n }],
    });
    expect(chatsOf(one).map(({ id }) => id)).toEqual([walks]);
    expect(one.core.snapshot()).toContainEqual(
      expect.objectContaining({ type: "outbox", entries: [expect.objectContaining({ id: "x" })] }),
    );
  });

  it("that grew past what a cursor saw without a reset is read anew", async () => {
    const one = await page();
    await begin(one, [{ chat: tea, head: 5 }]);
    const socket = await reconnect(one, { inbox: { incarnation, head: 50n, from: 40n, reset: false } });
    expect(socket.take("chats").length).toBe(1);
  });
});

describe("what the list shows", () => {
  it("follows names, members and the own role", async () => {
    const one = await page();
    const socket = await begin(one, [{ chat: tea, head: 5 }]);
    await socket.say(
      event(tea, 6, { is: "chatRenamed", name: "coffee" }),
      event(tea, 7, { is: "memberAdded", role: 2, visibleFrom: 7n }, { target: other }),
      event(tea, 8, { is: "roleChanged", role: 3 }, { target: me }),
      event(tea, 9, { is: "memberRemoved" }, { target: other }),
      event(tea, 10, { is: "roleChanged", role: 1 }, { target: other }),
    );
    expect(chatOf(one)?.info).toEqual({ kind: "group", name: "coffee", members: 2, role: "admin" });
  });

  it("says that it lags", async () => {
    const one = await page();
    const socket = await begin(one, [{ chat: tea, head: 5 }]);
    await socket.say({ type: "head", entity: tea, head: 99n });
    expect(one.log).toContainEqual({ type: "lagging", entity: tea, head: 99 });
    expect(chatOf(one)?.head).toBe(99);
  });

  it("shows typing for six seconds, and not after a message", async () => {
    const one = await page();
    const socket = await begin(one, [{ chat: tea, head: 5 }]);
    const typing = { type: "signal", chat: tea, user: other, kind: 1, payload: new Uint8Array() } as const;
    const seen = (): unknown[] => one.log.flatMap((each) => (each.type === "typing" ? [each.typing] : []));
    await socket.say(typing);
    await one.world.pass(3_000);
    await socket.say(typing);
    await one.world.pass(5_999);
    expect(seen()).toEqual([true]);
    await one.world.pass(1);
    expect(seen()).toEqual([true, false]);
    await socket.say(typing, message(tea, 6, "typed"));
    await one.world.pass(10_000);
    expect(seen()).toEqual([true, false, true, false]);
    await socket.say({ ...typing, kind: 99 }, { ...typing, chat: walks }, { ...typing, user: null });
    expect(seen().length).toBe(4);
  });

  it("tells the own typing every three seconds at most, and its end only where it was told", async () => {
    const one = await page();
    const socket = await begin(one, [{ chat: tea, head: 5 }]);
    const told = (): number[] => socket.take("signal").map(({ kind }) => kind);
    one.core.typing(tea, false);
    expect(told()).toEqual([]);
    for (let key = 0; key < 50; key++) {
      one.core.typing(tea, true);
      await one.world.pass(100);
    }
    expect(told()).toEqual([1, 1]);
    one.core.typing(tea, false);
    one.core.typing(tea, false);
    expect(told()).toEqual([2]);
  });
});

describe("a chat for which there is no subscription left", () => {
  it("waits, and is followed once another one was left", async () => {
    const one = await page();
    const socket = await begin(one, [
      { chat: tea, head: 5 },
      { chat: walks, head: 5 },
    ]);
    await socket.say({ type: "ended", entity: walks, code: 2206, retryAfterMs: 0n });
    expect(chatOf(one, walks)).toMatchObject({ following: "paused", refusal: { label: "too_many_subscriptions" } });
    await passAlive(one, socket, 60_000);
    expect(socket.take("sync")).toEqual([]);
    await socket.say(event(me, 11, { is: "chatLeft", chat: tea, source: 6n }));
    const { request, chats } = socket.one("sync");
    expect(chats.map(({ chat }) => chat)).toEqual([walks]);
    await socket.say({
      type: "synced",
      request,
      last: true,
      chats: [{ chat: walks, outcome: { admission: admission(5, 0, 6) } }],
    });
    expect(chatOf(one, walks)).toMatchObject({ following: "live", refusal: null });
  });
});

describe("which history gives way first", () => {
  it("is remembered over a reload: that of chats that nobody looked at, then what was looked at longest ago", async () => {
    const store = new MemoryStore();
    const chats = [tea, walks].map((chat) => ({ chat, head: 5 }));
    const first = await page(store);
    await begin(first, chats);
    for (const chat of [walks, tea]) void first.core.history(chat).catch(() => undefined);
    await first.world.pass(1_000);
    await first.core.close();
    const orders: (readonly ChatId[])[] = [];
    store.evict = (order) => {
      orders.push(order);
      return Promise.resolve();
    };
    const second = await page(store);
    await second.world.pass(1_000);
    expect(orders).toEqual([[walks, tea]]);
  });
});

describe("the rows of the list", () => {
  /** Of these characters an identifier is made. */
  const chats = Array.from("0123456789abcdefghjk", (letter) => ({
    chat: (tea.slice(0, 20) + letter + tea.slice(21)) as ChatId,
    head: 5,
  }));

  async function list(): Promise<{ one: Page; socket: FakeSocket }> {
    const one = await page();
    return { one, socket: await begin(one, chats) };
  }

  const answerPages = async (socket: FakeSocket): Promise<number> => {
    const asked = socket.take("page");
    for (const { request, entity } of asked) await socket.say(chunk(request, entity as ChatId, 5));
    return asked.length;
  };

  it("that are on the screen are asked for first, those that came there last before the others", async () => {
    const { one, socket } = await list();
    // Eight are under way; the places become free one by one.
    const waiting = socket.take("chatInfo");
    const [seen, later] = [chats.at(-1)?.chat ?? tea, chats.at(-2)?.chat ?? tea];
    one.core.preview([seen]);
    one.core.preview([later]);
    for (const wanted of [later, seen]) {
      const asked = waiting.shift();
      await socket.say(info(asked?.request ?? 0n));
      expect(socket.one("chatInfo").chat).toBe(wanted);
    }
  });

  it("have what was said last, all of them and also where nobody looks, two at a time", async () => {
    const { one, socket } = await list();
    for (let asked = socket.take("chatInfo"); asked.length > 0; asked = socket.take("chatInfo"))
      for (const { request } of asked) await socket.say(info(request));
    let most = 0;
    for (let asked = await answerPages(socket); asked > 0; asked = await answerPages(socket))
      most = Math.max(most, asked);
    expect(most).toBe(2);
    const last = one.core.snapshot().flatMap((each) => (each.type === "chats" ? each.chats : []));
    expect(last.map((chat) => chat.last?.seq)).toEqual(chats.map(() => 5));
  });

  it("do not come back with an answer that comes after the chat was left", async () => {
    const { one, socket } = await list();
    const { chat } = chats[0] ?? { chat: tea };
    const reading = one.core.history(chat, { limit: 1 });
    await settled();
    const { request } = socket.one("page");
    await socket.say(event(me, 11, { is: "chatLeft", chat, source: 6n }));
    await one.world.pass(1_000);
    await socket.say(chunk(request, chat, 5));
    expect((await reading).events.length).toBe(1);
    await one.world.pass(1_000);
    expect((await one.store.load()).chats.map(({ id }) => id)).not.toContain(chat);
    expect(await one.store.events(chat, 1, "forward", 9)).toEqual([]);
    expect(
      one.core
        .snapshot()
        .flatMap((each) => (each.type === "chats" ? each.chats : []))
        .map(({ id }) => id),
    ).not.toContain(chat);
  });
});

const info = (request: bigint): Frame => ({
  type: "chatInfoReply",
  request,
  kind: 1,
  name: "tea",
  incarnation,
  head: 5n,
  members: 2n,
  role: 2,
  visibleFrom: 1n,
});

/** A page with the one message of this number. */
const chunk = (request: bigint, chat: ChatId, seq: number): Frame => {
  const frame = message(chat, seq, "last");
  if (frame.type !== "event") throw new Error("a message is an event");
  return { type: "pageChunk", request, last: true, incarnation, head: 5n, beginsAt: 1n, events: [frame.event] };
};
