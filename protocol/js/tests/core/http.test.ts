/** The HTTP API as the client asks it. What servers answer is in `tests/live`. */

import { afterEach, describe, expect, test, vi } from "vitest";
import { createHttpApi } from "../../src/index.js";

const granted = {
  access_token: "a",
  expires_in: 60,
  refresh_token: "r2",
  user: { id: "00000000000000000000000000", username: "ada" },
};

/** An API whose requests are noted, with the time that each may take. */
function noting(timeoutMs?: number) {
  const timeout = vi.spyOn(AbortSignal, "timeout");
  const requests: RequestInit[] = [];
  const fetch = (_: unknown, request: RequestInit = {}) => {
    requests.push(request);
    return Promise.resolve(new Response(JSON.stringify(granted)));
  };
  const api = createHttpApi({ url: "http://localhost", fetch, ...(timeoutMs === undefined ? {} : { timeoutMs }) });
  return { api, requests, times: () => timeout.mock.calls.map(([ms]) => ms) };
}

afterEach(() => vi.restoreAllMocks());

describe("a refresh", () => {
  test("is given up early enough to be repeated within the grace", async () => {
    const { api, times } = noting();
    await api.login({ username: "ada", password: "a long password" });
    await api.refresh("r1");
    expect(times()).toEqual([35_000, 10_000]);
  });

  test("takes no longer than anything else may", async () => {
    const { api, times } = noting(2_000);
    await api.refresh("r1");
    expect(times()).toEqual([2_000]);
  });
});

test("logging out outlives the page that asks for it", async () => {
  const { api, requests } = noting();
  await api.logOut("r1");
  await api.logins().catch(() => undefined);
  expect(requests.map(({ keepalive }) => keepalive)).toEqual([true, false]);
});
