import { RefusedError, type Account, type HttpApi } from "@panda/client";
import { beforeEach, expect, test } from "vitest";
import type { Accounts } from "../../src/account/accounts";
import { finish } from "../../src/account/providers/ProviderReturn";
import { beginAt, challengeOf, takeBegun, takeReturn } from "../../src/account/providers/flow";
import { ada } from "./support/fake_client";

const account: Account = { accessToken: "t", expiresInMs: 1, refreshToken: null, user: { id: ada, username: "ada" } };

/** Notes what is asked, and who is logged in then. */
function start(refusal?: string) {
  const asked: unknown[][] = [];
  const answer = <T>(value: T, ...what: unknown[]) => {
    asked.push(what);
    return refusal === undefined
      ? Promise.resolve(value)
      : Promise.reject(new RefusedError({ code: 1, label: refusal, text: refusal, retryAfterMs: 0 }));
  };
  const http = {
    beginProviderLogin: (...of: unknown[]) => answer("https://login.example/", "begin", ...of),
    redeemProviderLogin: (...of: unknown[]) => answer(account, "redeem", ...of),
    linkIdentity: (...of: unknown[]) => answer(undefined, "link", ...of),
  } as unknown as HttpApi;
  const signedIn: Account[] = [];
  const accounts = { http, signedIn: (of: Account) => signedIn.push(of) } as unknown as Accounts;
  return { http, accounts, asked, signedIn };
}

beforeEach(() => {
  sessionStorage.clear();
  history.replaceState(null, "", "/app/profile");
});

test("a challenge is the hash of a secret, as PKCE writes it", async () => {
  // RFC 7636, appendix B.
  const challenge = await challengeOf("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
  expect(challenge).toBe("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
});

test("what comes back is redeemed with the secret whose hash was sent, once", async () => {
  const { http, accounts, asked, signedIn } = start();
  const left: string[] = [];
  await beginAt(http, "corp", "login", (url) => left.push(url));
  expect(left).toEqual(["https://login.example/"]);
  expect(await finish(accounts, { code: "c", error: null })).toBeNull();
  expect(signedIn).toEqual([account]);
  const secret = asked[1]?.[2] as string;
  expect(asked).toEqual([
    ["begin", "corp", await challengeOf(secret), "login"],
    ["redeem", "c", secret],
  ]);
  expect(await finish(accounts, { code: "c", error: null })).toBe("elsewhere");
  expect(asked).toHaveLength(2);
});

test("a code that this tab did not begin is brought to nobody", async () => {
  const { accounts, asked, signedIn } = start();
  for (const text of [null, "", "{", "[]", '{"secret":1,"purpose":"login"}', '{"secret":"s","purpose":"other"}']) {
    if (text !== null) sessionStorage.setItem("panda.provider-login", text);
    expect(await finish(accounts, { code: "of somebody else", error: null })).toBe("elsewhere");
  }
  expect([asked, signedIn]).toEqual([[], []]);
});

test("linking comes back to where it was begun, and only within this page", async () => {
  const { http, accounts, asked } = start();
  await beginAt(http, "corp", "link", () => undefined);
  history.replaceState(null, "", "/app");
  expect(await finish(accounts, { code: "c", error: null })).toBeNull();
  expect([location.pathname, asked[1]?.[0]]).toEqual(["/app/profile", "link"]);
  sessionStorage.setItem("panda.provider-login", '{"secret":"s","purpose":"link","path":"//evil.example"}');
  expect(takeBegun()?.path).toBe("/app");
});

test("a refusal is told, and what was begun is gone", async () => {
  const { http, accounts } = start();
  await beginAt(http, "corp", "login", () => undefined);
  expect(await finish(accounts, { code: null, error: "denied" })).toBe("denied");
  expect(await finish(accounts, { code: null, error: "<b>" })).toBe("refused");
  const refusing = start("token_expired");
  sessionStorage.setItem("panda.provider-login", '{"secret":"s","purpose":"login","path":"/app"}');
  expect(await finish(refusing.accounts, { code: "c", error: null })).toMatchObject({ label: "token_expired" });
});

test("a code leaves the address at once", () => {
  history.replaceState(null, "", "/app#login=abc");
  expect(takeReturn()).toEqual({ code: "abc", error: null });
  expect(location.hash).toBe("");
  expect(takeReturn()).toBeNull();
});
