import type { ClientOptions, HttpApi } from "@panda/client";
import { beforeEach, describe, expect, test, vi } from "vitest";
import { Accounts } from "../../src/account/accounts";
import { ACCOUNT_KEY, readAccount } from "../../src/account/saved";
import { makeStore } from "../../src/state/store";
import { ada, ben, cake, FakeClient, summary, tea } from "./support/fake_client";

const http = { user: () => new Promise(() => undefined) } as unknown as HttpApi;
const login = (id = ada, token = "t1", expiresInMs = 3_600_000) => ({ accessToken: token, expiresInMs, user: { id, username: "x" } });

function start() {
  const opened: { client: FakeClient; options: ClientOptions }[] = [];
  const store = makeStore();
  const open = (options: ClientOptions) => {
    const client = new FakeClient();
    opened.push({ client, options });
    return client;
  };
  const accounts = new Accounts({ store, open, api: () => http, url: "http://localhost" });
  return { accounts, opened, store };
}

beforeEach(() => localStorage.clear());

describe("who is logged in", () => {
  test("stays so over a reload, and nothing of it is believed that has another form", () => {
    start().accounts.signedIn(login());
    expect(start().accounts.session()?.account.user.id).toBe(ada);
    for (const text of [null, "", "{", "[]", "null", '{"token":1}', '{"token":"t","expiresAtMs":1,"user":{}}']) {
      expect(readAccount(text)).toBeNull();
    }
  });

  test("goes on after another login of the same user, with the same client and all that was typed", () => {
    const { accounts, opened, store } = start();
    accounts.signedIn(login());
    accounts.session()?.drafts.set(tea, "half a");
    accounts.signedIn(login(ada, "t2"));
    expect(opened).toHaveLength(1);
    expect(opened[0]?.client.asked).toMatchObject([{ what: "authorize", args: ["t2"] }]);
    expect(store.getState().drafts[tea]).toBe("half a");
  });

  test("is apart from another user: nothing of the one is there for the other", () => {
    const { accounts, opened, store } = start();
    accounts.signedIn(login());
    opened[0]?.client.emit({ type: "chats", chats: [summary(tea)], complete: true });
    accounts.session()?.drafts.set(tea, "secret");
    accounts.signedIn(login(ben, "t2"));
    expect(opened[0]?.client.asked.at(-1)?.what).toBe("close");
    expect(store.getState().world.order).toEqual([]);
    expect(store.getState().drafts).toEqual({});
  });

  test("is the same in every tab", () => {
    const { accounts, opened } = start();
    accounts.signedIn(login());
    const tell = (newValue: string | null) => dispatchEvent(new StorageEvent("storage", { key: ACCOUNT_KEY, newValue }));
    tell(JSON.stringify({ token: "t9", expiresAtMs: 9, user: { id: ada, username: "x" } }));
    expect(opened[0]?.client.asked.at(-1)).toMatchObject({ what: "authorize", args: ["t9"] });
    tell(null);
    expect(accounts.session()).toBeNull();
  });

  test("leaves nothing of what this tab has not written yet when another tab logs out", async () => {
    vi.useFakeTimers();
    const { accounts } = start();
    accounts.signedIn(login());
    accounts.session()?.drafts.set(tea, "unfinished");
    accounts.session()?.directory.learn({ id: ben, username: "ben", picture: null, version: 1 });
    localStorage.clear();
    dispatchEvent(new StorageEvent("storage", { key: ACCOUNT_KEY, newValue: null }));
    await vi.advanceTimersByTimeAsync(5_000);
    dispatchEvent(new Event("pagehide"));
    vi.useRealTimers();
    expect(Object.keys(localStorage)).toEqual([]);
  });

  test("is told when something may be left after logging out, until the next login", async () => {
    const { accounts, opened } = start();
    accounts.signedIn(login());
    if (opened[0]) opened[0].client.signOut = () => Promise.reject(new Error("in use"));
    await accounts.signOut();
    expect(accounts.isLeftBehind()).toBe(true);
    accounts.signedIn(login());
    expect(accounts.isLeftBehind()).toBe(false);
    await accounts.signOut();
    expect(accounts.isLeftBehind()).toBe(false);
  });

  test("goes by a new name in every tab, and over a reload, with the same session", () => {
    const { accounts, opened } = start();
    accounts.signedIn(login());
    accounts.renamed("ada-new");
    expect(accounts.session()?.account.user.username).toBe("ada-new");
    expect(start().accounts.session()?.account.user.username).toBe("ada-new");
    const newValue = JSON.stringify({ token: "t1", expiresAtMs: 9, user: { id: ada, username: "ada-newest" } });
    dispatchEvent(new StorageEvent("storage", { key: ACCOUNT_KEY, newValue }));
    expect(accounts.session()?.account.user.username).toBe("ada-newest");
    expect(opened[0]?.client.asked).toEqual([]);
  });

  test("leaves nothing after logging out, also where the client does not end", async () => {
    vi.useFakeTimers();
    const { accounts, opened, store } = start();
    accounts.signedIn(login());
    accounts.session()?.drafts.set(cake, "unfinished");
    if (opened[0]) opened[0].client.signOut = () => new Promise(() => undefined);
    const out = accounts.signOut();
    await vi.advanceTimersByTimeAsync(6_000);
    await out;
    vi.useRealTimers();
    expect(accounts.session()).toBeNull();
    expect(store.getState().drafts).toEqual({});
    expect(Object.keys(localStorage)).toEqual([]);
  });
});

describe("a token", () => {
  test("is given while it lasts, and a person is asked for when it does not", async () => {
    const { accounts, opened } = start();
    accounts.signedIn(login());
    const supply = opened[0]?.options.token;
    expect(await supply?.("connect")).toBe("t1");
    expect(await supply?.("refused")).toBeNull();
    // There is nothing newer: it goes on with what it has.
    await expect(supply?.("refresh")).rejects.toThrow();
    accounts.signedIn(login(ada, "t2", -1));
    expect(await supply?.("connect")).toBeNull();
  });
});
