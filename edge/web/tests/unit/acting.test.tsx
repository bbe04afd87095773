/** What people do at the page, and what must not happen to them meanwhile. */

import { RefusedError, type ChatId, type MembersPage, type UserId } from "@panda/client";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { go } from "../../src/shell/router";
import { cake, said, summary, tea } from "./support/fake_client";
import { button, find, online, openPage, press, types, type OpenPage } from "./support/page";

let page: OpenPage;

beforeEach(async () => {
  page = await openPage();
});
afterEach(() => page.close());

const asked = (what: string) => page.client.asked.filter((one) => one.what === what);
const newChat = "1h00000000000000000000000n" as ChatId;
const refusal = new RefusedError({ code: 2203, label: "forbidden", text: "no", retryAfterMs: 0 });

describe("a new chat", () => {
  async function starts(): Promise<void> {
    await page.does(() => go({ screen: "new" }));
    await page.does(() => types(find("main form input"), "ben"));
    await page.does(() => button("Start chat")?.click());
  }

  test("is shown when it is there to who waits for it", async () => {
    await starts();
    await page.does(() => asked("createDirect")[0]?.end({ entity: newChat, seq: 1, changed: true }));
    expect(location.pathname).toBe(`/app/chat/${newChat}`);
  });

  test("pulls nobody out of the chat where they went meanwhile", async () => {
    await starts();
    await page.does(() => go({ screen: "chat", chat: tea, panel: null }));
    await page.does(() => asked("createDirect")[0]?.end({ entity: newChat, seq: 1, changed: true }));
    expect(location.pathname).toBe(`/app/chat/${tea}`);
  });

  test("that is refused is told and leaves the outbox", async () => {
    await starts();
    const [made] = asked("createDirect");
    await page.does(() => made?.refuse(refusal));
    expect(find("main")?.textContent).toContain("Your role in this chat does not allow that.");
    expect(asked("discard").map(({ args }) => args)).toEqual([[made?.id]]);
  });
});

test("what is refused of members, and a mark that is refused, leave the outbox", async () => {
  await page.does(() => go({ screen: "chat", chat: tea, panel: "members" }));
  await page.does(() => types(find(".panel form input"), "another name"));
  await page.does(() => button("Rename")?.click());
  const [rename] = asked("rename");
  await page.does(() => rename?.refuse(refusal));
  expect(find(".panel")?.textContent).toContain("Your role in this chat does not allow that.");
  expect(asked("discard").map(({ args }) => args)).toEqual([[rename?.id]]);
  await page.does(() => undefined, 1_000);
  const [mark] = asked("markRead");
  await page.does(() => mark?.refuse(refusal));
  expect(asked("discard").map(({ args }) => args)).toEqual([[rename?.id], [mark?.id]]);
});

describe("a session that moved to another server without a word about the connection", () => {
  test("loads the rows that the one before did not", async () => {
    let isAway = true;
    const history = page.client.history.bind(page.client);
    page.client.history = (...of) =>
      isAway ? Promise.reject(new RefusedError({ code: 1, label: "offline", text: "", retryAfterMs: 0 })) : history(...of);
    page.client.events.set(cake, [said(1, "c"), said(2, "of the cake")]);
    await page.happens({ type: "chats", chats: [summary(cake, { head: 2 })], complete: true });
    await page.does(() => go({ screen: "chat", chat: cake, panel: null }));
    expect(document.querySelectorAll(".gap").length).toBe(2);
    isAway = false;
    await page.happens(online());
    expect(document.querySelectorAll(".gap").length).toBe(2);
    await page.happens(online("3h"));
    expect(document.querySelectorAll(".gap").length).toBe(0);
    expect(find(".timeline")?.textContent).toContain("of the cake");
  });

  test("reads the members that the one before did not", async () => {
    const members = page.client.members.bind(page.client);
    page.client.members = () => Promise.reject<MembersPage>(new RefusedError({ code: 1, label: "offline", text: "", retryAfterMs: 0 }));
    await page.does(() => go({ screen: "chat", chat: tea, panel: "members" }));
    expect(find(".panel")?.textContent).toContain("needs a connection");
    page.client.members = members;
    await page.happens(online("3h"));
    expect(document.querySelectorAll(".member").length).toBe(2);
  });
});

test("what is not loaded was read by nobody", async () => {
  page.client.history = () => new Promise(() => undefined);
  const marked = () => asked("markRead").map(({ args }) => args).filter(([chat]) => chat === cake);
  await page.happens({ type: "chats", chats: [summary(cake, { head: 9, unread: 9 })], complete: true });
  await page.does(() => go({ screen: "chat", chat: cake, panel: null }), 2_000);
  expect(marked()).toEqual([]);
  await page.happens({ type: "events", chat: cake, events: [said(10, "seen")] });
  await page.does(() => undefined, 2_000);
  expect(marked()).toEqual([[cake, 10]]);
});

describe("going to a date", () => {
  async function asks(): Promise<(seq: number) => void> {
    let found: (seq: number) => void = () => undefined;
    page.client.seqAt = () =>
      new Promise((resolve) => {
        found = resolve;
      });
    await page.does(() => button("Go to a date")?.click());
    // A device whose clock is behind has newer messages than its today.
    expect(find("dialog input[type=date]")?.hasAttribute("max")).toBe(false);
    await page.does(() => button("Go")?.click());
    return found;
  }

  test("goes nowhere once it was closed", async () => {
    const jumped: unknown[] = [];
    const found = await asks();
    const scroller = find(".timeline-scroller");
    Object.defineProperty(scroller, "scrollTop", { get: () => 0, set: (top) => jumped.push(top), configurable: true });
    await page.does(() => button("Cancel")?.click());
    jumped.length = 0;
    await page.does(() => found(1));
    expect(jumped).toEqual([]);
  });
});

describe("the list of chats", () => {
  const stranger = (at: number) => `0h000000000000000000000${String(100 + at)}` as UserId;
  const direct = (at: number) => `1h000000000000000000000${String(100 + at)}` as ChatId;
  /** More than are drawn, of people whose names nobody asked for yet. */
  const many = Array.from({ length: 60 }, (_, at) =>
    summary(direct(at), { info: { kind: "direct", name: "", members: 2, role: "member" }, peer: stranger(at), last: said(1, "x", stranger(at)) }),
  );

  test("finds people below what is on the screen by their names", async () => {
    await page.happens({ type: "chats", chats: many, complete: true });
    const isKnown = () => page.store.getState().people[stranger(59)]?.username ?? null;
    expect(isKnown()).toBeNull();
    await page.does(() => types(find("input[type=search]"), "somebody-59"), 2_000);
    expect(isKnown()).toBe("somebody-59");
    expect([...document.querySelectorAll("a.chat-row")].map((row) => row.getAttribute("data-chat"))).toEqual([direct(59)]);
  });

  test("is moved through by what is typed, also before it is drawn", async () => {
    await page.happens({ type: "chats", chats: [summary(tea, { last: said(9, "newest") })], complete: true });
    const field = find("input[type=search]");
    // Both at once: the list is still the one before.
    await page.does(() => {
      field?.focus();
      types(field, "cake");
      press("ArrowDown", field);
    });
    expect(document.activeElement?.getAttribute("data-chat")).toBe(cake);
    await page.does(() => press("ArrowUp"));
    expect(document.activeElement).toBe(field);
  });
});

test("who hears the page hears of a lost connection once, and not each second", async () => {
  await page.happens({ type: "connection", connection: { state: "waiting", attempt: 3, retryAtMs: Date.now() + 20_000, reason: null } });
  const heard = () => {
    const bars = find(".bars")?.cloneNode(true) as HTMLElement;
    for (const one of bars.querySelectorAll("[aria-hidden=true]")) one.remove();
    return bars.textContent;
  };
  const first = heard();
  const shown = find(".bars")?.textContent;
  await page.does(() => undefined, 5_000);
  expect(find(".bars")?.textContent).not.toBe(shown);
  expect(heard()).toBe(first);
  expect(first).toContain("No connection. Trying again");
});

test("a page that is out of date asks to be loaded again", async () => {
  await page.happens({
    type: "connection",
    connection: { state: "stopped", reason: { code: 7, label: "outdated", text: "", retryAfterMs: 0 } },
  });
  expect(find(".bars")?.textContent).toContain("Reload the page.");
  expect(button("Reload")).toBeTruthy();
});

test("names in a sentence turn nothing around them", async () => {
  await page.happens({ type: "events", chat: tea, events: [{ ...said(3, ""), kind: "chatRenamed", name: "\u202ename" } as never] });
  expect(find(".notice")?.textContent).toContain("\u2068ben\u2069 renamed the group to “\u2068\u202ename\u2069”");
});
