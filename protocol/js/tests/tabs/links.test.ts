/** Which way to a core is taken where a browser denies one. */

import { afterEach, expect, it, vi } from "vitest";
import { LockLink } from "../../src/tabs/links.js";
import type { LinkOwner } from "../../src/tabs/remote.js";

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

it("a tab that gets no lock has a core of its own, and nobody tells it to load the page again", async () => {
  vi.useFakeTimers();
  const denied = vi.fn(() => Promise.reject(new DOMException("denied", "SecurityError")));
  vi.stubGlobal("navigator", { locks: { request: denied } });
  const remote = { up: vi.fn(), stopped: vi.fn(), take: vi.fn() } satisfies LinkOwner;
  const own = { open: vi.fn(), post: vi.fn(), close: vi.fn() };
  const link = new LockLink(
    "panda",
    () => Promise.reject(new Error("it does not lead")),
    () => own,
  );
  link.open(remote);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(denied).toHaveBeenCalledTimes(1);
  expect(own.open).toHaveBeenCalledExactlyOnceWith(remote);
  expect(remote.stopped).not.toHaveBeenCalled();
  link.post({ is: "bye" });
  expect(own.post).toHaveBeenCalledExactlyOnceWith({ is: "bye" });
  link.close();
  expect(own.close).toHaveBeenCalledTimes(1);
});
