/** Logins of one's own, and logging out: what is ended, what is asked before, and what is said. */

import { RefusedError, type Login } from "@panda/client";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { go } from "../../src/shell/router";
import { drafted } from "../../src/state/drafts";
import { en } from "../../src/texts/en";
import { cake, queued, tea } from "./support/fake_client";
import { button, find, online, openPage, type OpenPage } from "./support/page";

const NOON_MS = Date.UTC(2027, 0, 18, 12);
const login = (id: string, changes: Partial<Login> = {}): Login => ({
  id,
  label: `device ${id}`,
  createdMs: NOON_MS,
  usedMs: NOON_MS,
  endsMs: NOON_MS + 1e9,
  current: false,
  ...changes,
});

let page: OpenPage;
let logins: Login[];
let asked: string[];
let refuse: string | null;
let read: () => Promise<readonly Login[]>;

beforeEach(async () => {
  logins = [login("1", { current: true }), login("2"), login("3", { label: null })];
  asked = [];
  refuse = null;
  read = () => Promise.resolve([...logins]);
  const ends = (what: string, keep: (one: Login) => boolean): Promise<void> => {
    asked.push(what);
    if (refuse !== null) return Promise.reject(new RefusedError({ code: 1, label: refuse, text: "no", retryAfterMs: 0 }));
    logins = logins.filter(keep);
    return Promise.resolve();
  };
  page = await openPage({
    logins: () => read(),
    endLogin: (id) => ends(id, (one) => one.id !== id),
    endOtherLogins: () => {
      const count = logins.length - 1;
      return ends("others", (one) => one.current).then(() => count);
    },
    logOut: () => Promise.resolve(),
  });
  await page.does(() => go({ screen: "devices" }));
});
afterEach(() => page.close());

const rows = () => [...document.querySelectorAll(".device")].map(({ textContent }) => textContent);
const says = () => find(".pane-body section [role=status]")?.textContent;
const confirms = (words: string) =>
  page.does(() => [...document.querySelectorAll<HTMLElement>("dialog button")].find(({ textContent }) => textContent === words)?.click());
const plain = (text: string | null | undefined) => text?.replaceAll(/[\u2068\u2069]/g, "");
const opens = (name: string) => page.does(() => [...document.querySelectorAll("button")].find((one) => plain(one.getAttribute("aria-label")) === name)?.click());

test("are told by their name, since when and when last, and the one of this browser cannot be ended here", () => {
  expect(rows()).toHaveLength(3);
  expect(rows()[0]).toContain(`device 1${en.devices.current}`);
  expect(rows()[1]).toMatch(/Logged in: .*2027.*Last used: about .*2027/);
  expect(rows()[2]).toContain(en.devices.unknown);
  expect([...document.querySelectorAll(".device")].map((one) => one.querySelectorAll("button").length)).toEqual([0, 1, 1]);
});

test("one is ended when that was confirmed, and not before", async () => {
  await opens("End login: device 2");
  expect(find("dialog")?.textContent).toContain(en.devices.endAsk);
  await confirms(en.cancel);
  expect(asked).toEqual([]);
  await opens("End login: device 2");
  await confirms(en.devices.end);
  expect(asked).toEqual(["2"]);
  expect(rows()).toHaveLength(2);
  expect(says()).toBe("1 login has been ended.");
});

test("all others are ended at once, and then there is nothing left to end", async () => {
  await page.does(() => button(en.devices.endOthers)?.click());
  expect(find("dialog")?.textContent).toContain("all 2 other logins");
  await confirms(en.devices.end);
  expect(asked).toEqual(["others"]);
  expect(rows()).toHaveLength(1);
  expect(says()).toBe("2 logins have been ended.");
  expect(button(en.devices.endOthers)).toBeUndefined();
});

test("one that somebody else ended meanwhile is gone, and a refusal is told and ends nothing", async () => {
  refuse = "not_found";
  await opens("End login: device 2");
  logins = logins.filter(({ id }) => id !== "2");
  await confirms(en.devices.end);
  expect(says()).toBe("1 login has been ended.");
  expect(rows()).toHaveLength(2);
  refuse = "unavailable";
  await opens(`End login: ${en.devices.unknown}`);
  await confirms(en.devices.end);
  expect(find("[role=alert]")?.textContent).toBe(en.refusals["unavailable"]);
  expect(rows()).toHaveLength(2);
});

test("an answer from before something was ended does not bring it back", async () => {
  const late: ((logins: readonly Login[]) => void)[] = [];
  read = () => new Promise((resolve) => late.push(resolve));
  // Another session asks anew, and the answer takes its time.
  await page.happens(online("2i"));
  const old = [...logins];
  read = () => Promise.resolve([...logins]);
  await opens("End login: device 2");
  await confirms(en.devices.end);
  expect(rows()).toHaveLength(2);
  expect(late).toHaveLength(1);
  await page.does(() => late[0]?.(old));
  expect(rows()).toHaveLength(2);
});

test("without a connection it says so, and asks again when wanted and when there is one", async () => {
  read = vi.fn(() => Promise.reject(new RefusedError({ code: 2, label: "unreachable", text: "no", retryAfterMs: 0 })));
  await page.does(() => go({ screen: "profile" }));
  await page.does(() => go({ screen: "devices" }));
  expect(find("[role=alert]")?.textContent).toBe(en.refusals["unreachable"]);
  await page.does(() => button(en.devices.again)?.click());
  expect(read).toHaveBeenCalledTimes(2);
  read = () => Promise.resolve([...logins]);
  await page.happens(online("2i"));
  expect(rows()).toHaveLength(3);
  expect(find("[role=alert]")).toBeNull();
});

test("logging out says how many messages were not sent and how many texts are unfinished, and lets one stay", async () => {
  const entries = [queued("o1", "a"), queued("o2", "b", { state: "sent" }), queued("o3", "c", { state: "failed" }), queued("o4", "d", { state: "stored", seq: 9 })];
  await page.happens({ type: "outbox", entries });
  await page.does(() => {
    page.store.dispatch(drafted({ chat: tea, text: "half" }));
    page.store.dispatch(drafted({ chat: cake, text: "  " }));
    go({ screen: "profile" });
  });
  await page.does(() => button(en.profile.signOut)?.click());
  expect(find("dialog")?.textContent).toContain("3 messages were not sent yet and 1 draft is unfinished; logging out removes them for good.");
  await confirms(en.cancel);
  expect(page.accounts.session()).not.toBeNull();
  expect(page.client.asked.some(({ what }) => what === "signOut")).toBe(false);
  expect(page.store.getState().drafts[tea]).toBe("half");
  await page.does(() => button(en.profile.signOut)?.click());
  await confirms(en.profile.signOut);
  expect(page.client.asked.some(({ what }) => what === "signOut")).toBe(true);
  expect(location.pathname).toBe("/app/sign-in");
});
