/** Tabs of a real browser and a real server: one connection for all of them, whoever holds it, and whatever dies. */

import { chromium as browserType, type Browser, type BrowserContext, type Page } from "playwright";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { Account, ChatId } from "../../src/index.js";
import { chromium } from "../support/chromium.js";
import { person, register, type Person } from "../support/people.js";
import { Server } from "../support/server.js";
import { Front } from "./front.js";
import type { Way } from "./page.js";

let server: Server;
let front: Front;
let browser: Browser;
let context: BrowserContext;
let ada: Account;
let ben: Person;
let chat: ChatId;

beforeAll(async () => {
  server = await Server.start();
  front = await Front.start(server.port);
  browser = await browserType.launch(chromium);
});
afterAll(async () => {
  await browser.close();
  await front.stop();
  await server.remove();
});
beforeEach(async () => {
  context = await browser.newContext();
  ada = await register(server.url, "ada");
  ben = await person(server.url, "ben");
  const { entity } = await ben.client.createGroup("tea", [ada.user.id]).done;
  chat = entity as ChatId;
});
afterEach(async () => {
  expect(ben.view.violations).toEqual([]);
  ben.client.close();
  await context.close();
});

/** A page with a client that was made, and perhaps nothing else. */
async function begun(way: Way, account = ada): Promise<Page> {
  const page = await context.newPage();
  await page.goto(`${front.url}/test/${way === "alone" ? "#alone" : ""}`);
  await page.waitForFunction(() => "start" in window);
  await page.evaluate(
    ([of, by]) => {
      window.start(of, by);
    },
    [account, way] as const,
  );
  return page;
}

async function tab(way: Way, account = ada): Promise<Page> {
  const broken: string[] = [];
  const noted = (page: Page): void => {
    page.on("pageerror", (error) => broken.push(String(error)));
  };
  context.on("page", noted);
  const page = await begun(way, account);
  context.off("page", noted);
  await until(
    page,
    "online and listening",
    `(view) => view.connection?.state === "online" && view.chats.get("${chat}")?.following === "live"`,
  );
  expect(broken).toEqual([]);
  return page;
}

/** Waits until a function of the page's view, in JavaScript, holds. */
async function until(page: Page, what: string, holds: string): Promise<void> {
  await page.waitForFunction(`(${holds})(window.view)`, undefined, { timeout: 15_000, polling: 20 }).catch(async () => {
    const state: unknown = await page.evaluate(() => ({
      connection: window.view.connection,
      sharing: window.view.sharing,
      log: window.view.log.slice(-5),
    }));
    throw new Error(`not in time: ${what}; ${JSON.stringify(state)}`);
  });
}

const ask = <T>(page: Page, expression: string): Promise<T> =>
  page.evaluate(`(async (view) => ${expression})(window.view)`);
const texts = (page: Page): Promise<string[]> => ask(page, `view.texts("${chat}")`);
const send = (page: Page, text: string): Promise<unknown> =>
  ask(page, `view.client.send("${chat}", ${JSON.stringify(text)}).done`);
const hasTexts = (page: Page, wanted: readonly string[]): Promise<void> =>
  until(
    page,
    `the messages ${wanted.join()}`,
    `(view) => JSON.stringify(view.texts("${chat}").filter((text) => ${JSON.stringify(wanted)}.includes(text))) === ${JSON.stringify(JSON.stringify(wanted))}`,
  );

describe.each([
  ["worker", ["worker", "worker", "worker"]],
  ["lock", ["leader", "follower", "follower"]],
  ["broken worker", ["leader", "follower", "follower"]],
] as const)("three tabs by %s", (way, sharing) => {
  it("share one session, and see the same once and in order", { timeout: 60_000 }, async () => {
    const tabs = [await tab(way), await tab(way), await tab(way)];
    expect(await Promise.all(tabs.map((page) => ask(page, "view.sharing")))).toEqual(sharing);
    const sessions = await Promise.all(tabs.map((page) => ask(page, "view.connection.session")));
    expect(new Set(sessions).size).toBe(1);
    expect(await ask(tabs[2] as Page, "view.storage")).toEqual({ kind: "durable", reason: null });
    await ben.client.send(chat, "from ben").done;
    await Promise.all(tabs.map((page, at) => send(page, `from tab ${String(at)}`)));
    for (const page of tabs)
      await until(page, "four messages", `(view) => view.texts("${chat}").length === 4 && view.outbox.size === 0`);
    const seen = await Promise.all(tabs.map(texts));
    expect(new Set(seen.map(String)).size).toBe(1);
    await ben.view.until("four messages", () => ben.view.texts(chat).length === 4);
    expect(await Promise.all(tabs.map((page) => ask(page, "view.violations")))).toEqual([[], [], []]);
    expect(
      (await ask<{ events: unknown[] }>(tabs[1] as Page, `view.client.history("${chat}")`)).events.length,
    ).toBeGreaterThan(4);
  });

  it("lose nothing when the first one closes or crashes while the others type", { timeout: 90_000 }, async () => {
    const [first, second, third] = (await Promise.all([tab(way)])).concat(await tab(way), await tab(way)) as [
      Page,
      Page,
      Page,
    ];
    const typed = async (page: Page, name: string): Promise<string[]> => {
      const sent: string[] = [];
      for (let at = 0; at < 30; at++) {
        sent.push(`${name} ${String(at)}`);
        await ask(page, `{ void view.client.send("${chat}", ${JSON.stringify(sent.at(-1))}); }`);
        await page.waitForTimeout(20);
      }
      return sent;
    };
    const typing = Promise.all([typed(second, "second"), typed(third, "third")]);
    await second.waitForTimeout(200);
    // A crash says no good-bye.
    const crash = await context.newCDPSession(first);
    crash.send("Page.crash").catch(() => undefined);
    const [ofSecond, ofThird] = await typing;
    await ben.view.until("all messages", () => ben.view.texts(chat).length === 60, 40_000);
    const seen = ben.view.texts(chat);
    expect(seen.filter((text) => text.startsWith("second"))).toEqual(ofSecond);
    expect(seen.filter((text) => text.startsWith("third"))).toEqual(ofThird);
    for (const page of [second, third]) {
      await until(
        page,
        "all messages, none queued",
        `(view) => view.outbox.size === 0 && new Set(view.texts("${chat}")).size >= 60 - 1 && view.chats.get("${chat}").last.text === ${JSON.stringify(seen.at(-1))}`,
      );
      const here = await texts(page);
      expect(new Set(here).size).toBe(here.length);
      expect(await ask(page, "view.violations")).toEqual([]);
    }
  });

  it("end together when one of them signs out, and nothing is left", { timeout: 60_000 }, async () => {
    const [first, second] = [await tab(way), await tab(way)];
    await send(first, "seen");
    await ask(second, "view.client.signOut()");
    for (const page of [first, second]) await until(page, "the end", `(view) => view.connection.state === "closed"`);
    const databases = await ask<{ name: string }[]>(first, "indexedDB.databases()");
    expect(databases.filter(({ name }) => name.includes(ada.user.id))).toEqual([]);
    // And a login in the same tab begins anew.
    await first.evaluate(
      ([of, by]) => {
        window.start(of, by);
      },
      [ada, way] as const,
    );
    await until(first, "online again", `(view) => view.connection?.state === "online" && view.chats.has("${chat}")`);
  });
});

describe("two versions of the page", () => {
  it.each(["worker", "lock"] as const)(
    "never use one store: the one before, by %s, closes it and says that it has to be loaded again",
    { timeout: 60_000 },
    async (way) => {
      const [first, second] = [await tab(way), await tab(way)];
      await send(first, "before");
      const newer = await tab("newer worker");
      for (const page of [first, second])
        await until(page, "the word", `(view) => view.connection.reason?.label === "outdated"`);
      await send(newer, "after");
      await ben.view.until("both", () => ben.view.texts(chat).length === 2);
      expect(await ask(newer, "view.storage")).toEqual({ kind: "durable", reason: null });
      expect(await ask(newer, "view.chats.size")).toBe(1);
    },
  );
});

describe("a tab that cannot share", () => {
  it("is a device of its own, in memory, and says so", { timeout: 60_000 }, async () => {
    const [first, second] = [await tab("alone"), await tab("alone")];
    expect(await ask(first, "view.sharing")).toBe("alone");
    expect(await ask(first, "view.storage.kind")).toBe("memory");
    expect(await ask(first, "view.connection.session")).not.toBe(await ask(second, "view.connection.session"));
    await send(first, "one");
    await send(second, "two");
    for (const page of [first, second]) await hasTexts(page, ["one", "two"]);
    // Neither replaces the other.
    expect(await ask(first, "view.connection.state")).toBe("online");
  });
});

describe("a tab whose storage is denied", () => {
  it("works in memory and says why", { timeout: 60_000 }, async () => {
    const page = await tab("no storage");
    expect(await ask(page, "view.storage")).toEqual({ kind: "memory", reason: "SecurityError: not for you" });
    await send(page, "typed all the same");
    await hasTexts(page, ["typed all the same"]);
  });
});

describe("a tab that is loaded again", () => {
  it.each(["worker", "lock"] as const)(
    "by %s shows at once what it knew, and is where it was",
    { timeout: 60_000 },
    async (way) => {
      const page = await tab(way);
      await send(page, "before");
      await hasTexts(page, ["before"]);
      await page.reload();
      await page.waitForFunction(() => "start" in window);
      await ben.client.send(chat, "meanwhile").done;
      await page.evaluate(
        ([of, by]) => {
          window.start(of, by);
        },
        [ada, way] as const,
      );
      await until(page, "the list", `(view) => view.complete && view.chats.get("${chat}")?.info?.name === "tea"`);
      await hasTexts(page, ["meanwhile"]);
      expect(
        await ask(
          page,
          `view.client.history("${chat}").then(({ events }) => events.filter(({ kind }) => kind === "messageSent").map(({ text }) => text))`,
        ),
      ).toEqual(["before", "meanwhile"]);
    },
  );
});

describe.each(["worker", "lock"] as const)("code that the server does not have any more, by %s", (way) => {
  it("says so in all tabs, and the page that is loaded next goes on", { timeout: 60_000 }, async () => {
    front.withheld = "deferred-";
    const pages = [await begun(way), await begun(way)];
    for (const page of pages)
      await until(
        page,
        "outdated",
        `(view) => view.connection?.reason?.label === "outdated" && view.outbox.size === 0`,
      );
    expect(await ask(pages[0] as Page, "view.storage?.kind")).toBe("durable");
    front.withheld = null;
    for (const page of pages) await page.close();
    const next = await tab(way);
    await send(next, "after all");
    await ben.view.until("what was sent", () => ben.view.texts(chat).includes("after all"));
  });
});
