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
    expect([...store.getState().world.order]).toEqual([]);
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
    for (const label of ["revoked", "token_expired", "token_invalid"]) {
      http.answer = () => Promise.reject(refused(label));
      expect(await supply?.("refresh")).toBeNull();
    }
    // An older edge knows of no refreshing; a newer one may answer the next time.
    http.answer = () => Promise.reject(refused("not_found"));
    await expect(supply?.("refresh")).rejects.toThrow();
    vi.useFakeTimers();
    http.answer = () => Promise.reject(refused("unreachable"));
    const asked = expect(supply?.("refresh")).rejects.toThrow();
    await vi.advanceTimersByTimeAsync(10_000);
    await asked;
    vi.useRealTimers();
    expect(accounts.session()?.account.refreshToken).toBe("r-t1");
  });

  test("whose answer is lost is asked for again at once, by the same refresh token", async () => {
    vi.useFakeTimers();
    const { accounts, opened, http } = start();
    accounts.signedIn(login());
    const lost = [refused("unreachable"), new RefusedError({ ...refused("outcome_unknown").refusal, status: 504 })];
    http.answer = () => {
      const error = lost.shift();
      return error ? Promise.reject(error) : Promise.resolve(login(ada, "t2"));
    };
    const asked = opened[0]?.options.token("refresh");
    await vi.advanceTimersByTimeAsync(5_000);
    expect(await asked).toBe("t2");
    // What the server refuses is not asked again.
    http.asked.length = 0;
    http.answer = () => Promise.reject(refused("rate_limited"));
    await expect(opened[0]?.options.token("refresh")).rejects.toThrow();
    vi.useRealTimers();
    expect(http.asked).toEqual([["refresh", "r-t2"]]);
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

  test("that comes while the goodbye is waited for undoes no logging out, nor is another one asked for", async () => {
    vi.useFakeTimers();
    const { accounts, opened, http } = start();
    accounts.signedIn(login());
    let answer: (account: Account) => void = () => undefined;
    http.answer = () => new Promise((resolve) => (answer = resolve));
    if (opened[0]) opened[0].client.signOut = () => new Promise(() => undefined);
    const asked = expect(opened[0]?.options.token("refresh")).rejects.toThrow();
    const out = accounts.signOut();
    answer(login(ada, "t2"));
    await asked;
    expect(localStorage.getItem(ACCOUNT_KEY)).toBeNull();
    await expect(opened[0]?.options.token("refresh")).rejects.toThrow();
    // A page that is closed meanwhile has said so.
    dispatchEvent(new Event("pagehide"));
    expect(http.asked).toEqual([["refresh", "r-t1"], ["logOut", "r-t2"], ["logOut", "r-t1"]]);
    await vi.advanceTimersByTimeAsync(6_000);
    await out;
    vi.useRealTimers();
    expect([accounts.session(), localStorage.getItem(ACCOUNT_KEY)]).toEqual([null, null]);
  });

  test("of a login in another tab, while the goodbye is waited for, is for a client of its own", async () => {
    vi.useFakeTimers();
    const { accounts, opened } = start();
    accounts.signedIn(login());
    if (opened[0]) opened[0].client.signOut = () => new Promise(() => undefined);
    const out = accounts.signOut();
    accounts.signedIn(login(ada, "t2"));
    await vi.advanceTimersByTimeAsync(6_000);
    await out;
    vi.useRealTimers();
    expect(opened).toHaveLength(2);
    expect(accounts.session()?.account.token).toBe("t2");
    expect(readAccount(localStorage.getItem(ACCOUNT_KEY))?.token).toBe("t2");
  });

  test("that comes late replaces nothing that another tab got with it", async () => {
    const { accounts, opened, http } = start();
    accounts.signedIn(login());
    const other = { token: "t3", expiresAtMs: Date.now() + 1e6, refreshToken: "r-t3", user: { id: ada, username: "x" } };
    http.answer = () => {
      localStorage.setItem(ACCOUNT_KEY, JSON.stringify(other));
      return Promise.resolve(login(ada, "t2"));
    };
    expect(await opened[0]?.options.token("refresh")).toBe("t3");
    expect(readAccount(localStorage.getItem(ACCOUNT_KEY))).toEqual(other);
    expect(accounts.session()?.account).toEqual(other);
    // They are of one login, which goes on.
    expect(http.asked).toEqual([["refresh", "r-t1"]]);
  });

  test("that comes after another tab logged out, or in as another, is of no use to anybody", async () => {
    for (const now of [null, JSON.stringify({ token: "b", expiresAtMs: 9, refreshToken: "r-b", user: { id: ben, username: "y" } })]) {
      const { accounts, opened, http } = start();
      accounts.signedIn(login());
      http.answer = () => {
        if (now === null) localStorage.removeItem(ACCOUNT_KEY);
        else localStorage.setItem(ACCOUNT_KEY, now);
        return Promise.resolve(login(ada, "t2"));
      };
      await expect(opened[0]?.options.token("refresh")).rejects.toThrow();
      expect(localStorage.getItem(ACCOUNT_KEY)).toBe(now);
      expect(http.asked).toEqual([["refresh", "r-t1"], ["logOut", "r-t2"]]);
    }
  });

  test("is refreshed on and on where nothing can be stored", async () => {
    const { accounts, opened, http } = start();
    const full = vi.spyOn(Storage.prototype, "setItem").mockImplementation(() => {
      throw new DOMException("full", "QuotaExceededError");
    });
    accounts.signedIn(login());
    for (const token of ["t2", "t3"]) {
      http.answer = () => Promise.resolve(login(ada, token));
      expect(await opened[0]?.options.token("refresh")).toBe(token);
    }
    full.mockRestore();
    expect(http.asked).toEqual([["refresh", "r-t1"], ["refresh", "r-t2"]]);
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
