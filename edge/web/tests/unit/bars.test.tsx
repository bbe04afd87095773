/** What the page says of its connection, and when it says nothing. */

import type { ClientEvent, Connection, Refusal, SessionId } from "@panda/client";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { en } from "../../src/texts/en";
import { tea } from "./support/fake_client";
import { find, openPage, types, type OpenPage } from "./support/page";

let page: OpenPage;
beforeEach(async () => {
  page = await openPage();
});
afterEach(() => page.close());

const MINUTE_MS = 60_000;
const bars = () => find(".bars")?.textContent ?? "";
const is = (connection: Connection): ClientEvent => ({ type: "connection", connection });
const online = (changes: Partial<Extract<Connection, { state: "online" }>> = {}): ClientEvent =>
  is({ state: "online", session: "2h" as SessionId, current: true, expiresAtMs: 0, url: "http://localhost", clockAheadMs: 0, ...changes });
const stopped = (label: string): ClientEvent => is({ state: "stopped", reason: { code: 1, label, text: "the server's words", retryAfterMs: 0 } satisfies Refusal });
const writes = (text: string) =>
  page.does(() => {
    const field = find(".composer textarea");
    field?.focus();
    types(field, text);
  });

test("what is over in a moment is not mentioned, and what lasts is", async () => {
  await page.happens(is({ state: "connecting", attempt: 1 }));
  await page.does(() => undefined, 1_000);
  expect(bars()).toBe("");
  await page.happens(online({ current: false }));
  await page.does(() => undefined, 1_000);
  expect(bars()).toBe("");
  await page.does(() => undefined, 1_000);
  expect(bars()).toBe(en.link.catchingUp);
  await page.happens(online());
  expect(bars()).toBe("");
  await page.happens(is({ state: "connecting", attempt: 1 }));
  await page.does(() => undefined, 2_000);
  expect(bars()).toBe(en.link.connecting);
});

test("a page that is behind says so until it is not", async () => {
  await page.happens({ type: "lagging", entity: tea, head: 9 });
  expect(bars()).toBe(en.link.lagging);
  await page.happens({ type: "events", chat: tea, events: [] });
  expect(bars()).toBe("");
});

test("a clock is told to be wrong beyond ten minutes either way, and not before", async () => {
  for (const ahead of [0, 10 * MINUTE_MS, -10 * MINUTE_MS]) {
    await page.happens(online({ clockAheadMs: ahead }));
    expect(bars()).toBe("");
  }
  await page.happens(online({ clockAheadMs: 11 * MINUTE_MS }));
  expect(bars()).toContain("about 11 minutes ahead");
  await page.happens(online({ clockAheadMs: -25 * 60 * MINUTE_MS }));
  expect(bars()).toContain("about 25 hours behind");
});

describe("a login that ended", () => {
  test.each([
    ["by itself", is({ state: "signedOut", reason: null }), en.refusals["token_expired"]],
    ["from elsewhere", stopped("revoked"), en.link.revoked],
  ])("%s is told, and the password is asked for at once", async (_, event, words) => {
    await page.happens(event);
    expect(bars()).toContain(words);
    expect(find("dialog")?.textContent).toContain(en.signIn.again);
  });

  test("interrupts nobody who is writing", async () => {
    await writes("half a thought");
    await page.happens(stopped("revoked"));
    expect(bars()).toContain(en.link.revoked);
    expect(find("dialog")).toBeNull();
    expect(document.activeElement).toBe(find(".composer textarea"));
    await page.does(() => find(".bars button")?.click());
    expect(find("dialog")?.textContent).toContain(en.signIn.again);
  });
});

test.each([
  ["replaced", en.link.replaced, en.link.useHere],
  ["outdated", en.link.outdated, en.link.reload],
  ["version_unsupported", en.link.outdated, en.link.reload],
  ["origin_refused", en.link.originRefused, undefined],
  ["code_9999", en.link.stopped("the server's words"), en.link.reload],
])("a connection that ended as %s says what to do", async (label, words, action) => {
  await page.happens(stopped(label));
  expect(find(".bars p")?.textContent).toBe(words);
  expect(find(".bars button")?.textContent).toBe(action);
});
