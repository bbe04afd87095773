import { RefusedError, type Account, type ClientOptions, type HttpApi, type Refusal } from "@panda/client";
import { beforeEach, describe, expect, test, vi } from "vitest";
import { Accounts } from "../../src/account/accounts";
import { deviceLabel } from "../../src/account/device_label";
import { ACCOUNT_KEY, readAccount } from "../../src/account/saved";
import { makeStore } from "../../src/state/store";
import { ada, ben, cake, FakeClient, summary, tea } from "./support/fake_client";

const login = (id = ada, token = "t1", expiresInMs = 3_600_000): Account => ({
  accessToken: token,
  expiresInMs,
  refreshToken: `r-${token}`,
  user: { id, username: "x" },
});

/** An API that refreshes as it is told, and notes what it was asked. */
class FakeApi {
  readonly asked: (readonly [string, string])[] = [];
  answer: () => Promise<Account> = () => new Promise(() => undefined);
  user = () => new Promise(() => undefined);
  refresh = (token: string) => {
    this.asked.push(["refresh", token]);
    return this.answer();
  };
  logOut = (token: string) => {
    this.asked.push(["logOut", token]);
    return Promise.resolve();
  };
}

const refused = (label: string) => new RefusedError({ code: 1, label, text: label, retryAfterMs: 0 } satisfies Refusal);

function start() {
  const http = new FakeApi();
  const opened: { client: FakeClient; options: ClientOptions }[] = [];
  const store = makeStore();
  const open = (options: ClientOptions) => {
    const client = new FakeClient();
    opened.push({ client, options });
    return client;
  };
  const accounts = new Accounts({ store, open, api: () => http as unknown as HttpApi, url: "http://localhost" });
  return { accounts, opened, store, http };
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

  test("leaves nothing after logging out, also where the client does not end", async () => {
    vi.useFakeTimers();
    const { accounts, opened, store, http } = start();
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
    expect(http.asked).toEqual([["logOut", "r-t1"]]);
  });
});

describe("a token", () => {
  test("is given while it lasts, and refreshed before and after", async () => {
    const { accounts, opened, http } = start();
    accounts.signedIn(login());
    const supply = opened[0]?.options.token;
    expect(await supply?.("connect")).toBe("t1");
    expect(http.asked).toEqual([]);
    for (const [reason, token] of [["refresh", "t2"], ["refused", "t3"]] as const) {
      http.answer = () => Promise.resolve(login(ada, token));
      expect(await supply?.(reason)).toBe(token);
    }
    accounts.signedIn(login(ada, "t4", -1));
    http.answer = () => Promise.resolve(login(ada, "t5"));
    expect(await supply?.("connect")).toBe("t5");
    expect(http.asked).toEqual(["t1", "t2", "t4"].map((token) => ["refresh", `r-${token}`]));
    expect(readAccount(localStorage.getItem(ACCOUNT_KEY))).toMatchObject({ token: "t5", refreshToken: "r-t5" });
    // Whoever asked gives it to the session.
    expect(opened[0]?.client.asked.filter(({ what }) => what === "authorize")).toHaveLength(1);
  });

  test("is refreshed once, however many ask at the same time", async () => {
    const { accounts, opened, http } = start();
    accounts.signedIn(login());
    const supply = opened[0]?.options.token;
    http.answer = () => Promise.resolve(login(ada, "t2"));
    expect(await Promise.all([supply?.("refresh"), supply?.("refresh")])).toEqual(["t2", "t2"]);
    expect(http.asked).toHaveLength(1);
  });

  test("that another tab got is taken", async () => {
    const { accounts, opened, http } = start();
    accounts.signedIn(login());
    const other = { token: "t2", expiresAtMs: Date.now() + 1e6, refreshToken: "r-t2", user: { id: ada, username: "x" } };
    localStorage.setItem(ACCOUNT_KEY, JSON.stringify(other));
    expect(await opened[0]?.options.token("refresh")).toBe("t2");
    expect(http.asked).toEqual([]);
  });

  test("is asked of a person where the login is over, and again later where nobody answers", async () => {
    const { accounts, opened, http } = start();
    accounts.signedIn(login());
    const supply = opened[0]?.options.token;
    for (const label of ["revoked", "token_expired", "token_invalid", "not_found"]) {
      http.answer = () => Promise.reject(refused(label));
      expect(await supply?.("refresh")).toBeNull();
    }
    http.answer = () => Promise.reject(refused("unreachable"));
    await expect(supply?.("refresh")).rejects.toThrow();
    expect(accounts.session()?.account.refreshToken).toBe("r-t1");
  });

  test("that comes after logging out is of no use to anybody", async () => {
    const { accounts, opened, http } = start();
    accounts.signedIn(login());
    let answer: (account: Account) => void = () => undefined;
    http.answer = () => new Promise((resolve) => (answer = resolve));
    const asked = opened[0]?.options.token("refresh");
    await accounts.signOut();
    answer(login(ada, "t2"));
    await expect(asked).rejects.toThrow();
    expect(localStorage.getItem(ACCOUNT_KEY)).toBeNull();
    expect(http.asked.at(-1)).toEqual(["logOut", "r-t2"]);
  });

  test("of a server that refreshes none is given while it lasts, and a person is asked for when it does not", async () => {
    const { accounts, opened } = start();
    accounts.signedIn({ ...login(), refreshToken: null });
    const supply = opened[0]?.options.token;
    expect(await supply?.("connect")).toBe("t1");
    expect(await supply?.("refused")).toBeNull();
    // There is nothing newer: it goes on with what it has.
    await expect(supply?.("refresh")).rejects.toThrow();
    accounts.signedIn({ ...login(ada, "t2", -1), refreshToken: null });
    expect(await supply?.("connect")).toBeNull();
  });
});

test("a browser has a name that a person knows it by", () => {
  const mozilla = "Mozilla/5.0";
  expect(deviceLabel(`${mozilla} (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0`)).toBe("Firefox, Linux");
  expect(deviceLabel(`${mozilla} (Windows NT 10.0) AppleWebKit/537.36 Chrome/140.0 Safari/537.36 Edg/140.0`)).toBe("Edge, Windows");
  expect(deviceLabel(`${mozilla} (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Safari/604.1`)).toBe("Safari, iPhone");
  expect(deviceLabel("curl/8")).toBe("Browser");
});
