/** The HTTP API as the client asks it. What servers answer is in `tests/live`. */

import { afterEach, describe, expect, test, vi } from "vitest";
import { createHttpApi, RefusedError } from "../../src/index.js";

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

test("who is erased is nobody any more", async () => {
  const gone = { id: "00000000000000000000000000", picture: null, version: 3, erased: true };
  const fetch = () => Promise.resolve(new Response(JSON.stringify(gone)));
  const api = createHttpApi({ url: "http://localhost", fetch });
  await expect(api.user("me")).rejects.toMatchObject({ refusal: { label: "not_found" } });
});

test("logging out outlives the page that asks for it", async () => {
  const { api, requests } = noting();
  await api.logOut("r1");
  await api.logins().catch(() => undefined);
  expect(requests.map(({ keepalive }) => keepalive)).toEqual([true, false]);
});

const profile = { id: granted.user.id, username: "ada", picture: "/pictures/a/b.jpg", version: 4, email: null };

describe("a picture", () => {
  test("goes as its bytes, and comes back as the profile that names it", async () => {
    const requests: [string, RequestInit][] = [];
    const fetch = (url: unknown, request: RequestInit = {}) => {
      requests.push([String(url), request]);
      return Promise.resolve(new Response(JSON.stringify(profile)));
    };
    const api = createHttpApi({ url: "http://localhost", fetch, token: () => "t" });
    const file = new Blob(["bytes"], { type: "image/png" });
    expect(await api.sendPicture(file)).toEqual(profile);
    await api.removePicture();
    expect(requests.map(([url, { method }]) => [url, method])).toEqual([
      ["http://localhost/user/me/picture", "PUT"],
      ["http://localhost/user/me/picture", "DELETE"],
    ]);
    expect(requests[0]?.[1].body).toBe(file);
    expect(requests[0]?.[1].headers).toEqual({
      authorization: "Bearer t",
      "content-type": "application/octet-stream",
    });
    expect(requests[1]?.[1].body).toBeNull();
  });

  test("that is given up is told as one that did not get through", async () => {
    const fetch = (_: unknown, { signal }: RequestInit = {}) =>
      new Promise<Response>((_resolve, reject) =>
        signal?.addEventListener("abort", () => {
          reject(signal.reason as Error);
        }),
      );
    const api = createHttpApi({ url: "http://localhost", fetch });
    const stop = new AbortController();
    const sent = api.sendPicture(new Blob(["bytes"]), { signal: stop.signal });
    stop.abort();
    await expect(sent).rejects.toMatchObject({ refusal: { label: "unreachable" } });
  });
});

/** An XMLHttpRequest that a test lets go on, and that notes what it was told. */
class FakeRequest {
  static last: FakeRequest;
  readonly headers: Record<string, string> = {};
  readonly upload: { onprogress: (of: { loaded: number; total: number }) => void } = { onprogress: () => undefined };
  opened: readonly unknown[] = [];
  body: unknown = null;
  status = 0;
  response: unknown = null;
  onload = () => undefined;
  onerror = () => undefined;
  onabort = () => undefined;
  constructor() {
    FakeRequest.last = this;
  }
  open(...of: unknown[]) {
    this.opened = of;
  }
  setRequestHeader(name: string, value: string) {
    this.headers[name] = value;
  }
  send(body: unknown) {
    this.body = body;
  }
  abort() {
    this.onabort();
  }
  answers(status: number, body: object) {
    this.status = status;
    this.response = new Blob([JSON.stringify(body)]);
    this.onload();
  }
}

describe("a picture whose way is told", () => {
  const file = new Blob(["bytes"]);
  const start = (signal?: AbortSignal) => {
    vi.stubGlobal("XMLHttpRequest", FakeRequest);
    const parts: number[] = [];
    const api = createHttpApi({ url: "http://localhost", token: () => "t" });
    const sent = api.sendPicture(file, { onSent: (part) => parts.push(part), ...(signal ? { signal } : {}) });
    return { parts, sent, request: FakeRequest.last };
  };
  afterEach(() => vi.unstubAllGlobals());

  test("is the same request, with its parts", async () => {
    const { parts, sent, request } = start();
    expect([request.opened.map(String), request.body]).toEqual([["PUT", "http://localhost/user/me/picture"], file]);
    expect(request.headers).toEqual({ authorization: "Bearer t", "content-type": "application/octet-stream" });
    request.upload.onprogress({ loaded: 1, total: 5 });
    request.upload.onprogress({ loaded: 5, total: 5 });
    request.answers(200, profile);
    expect(await sent).toEqual(profile);
    expect(parts).toEqual([0.2, 1]);
  });

  test("is refused with what the server says, and unreachable without an answer", async () => {
    const refused = start();
    refused.request.answers(413, { code: 2205, label: "too_large", title: "no", field: "picture" });
    await expect(refused.sent).rejects.toMatchObject({
      refusal: { label: "too_large", field: "picture", status: 413 },
    });
    const stop = new AbortController();
    const given = start(stop.signal);
    stop.abort();
    await expect(given.sent).rejects.toMatchObject({ refusal: { label: "unreachable" } });
    const lost = start();
    // Whether the server is there at all is asked next; it is not.
    vi.stubGlobal("fetch", () => Promise.reject(new TypeError("no")));
    lost.request.onerror();
    await expect(lost.sent).rejects.toBeInstanceOf(RefusedError);
  });
});
