/** What people read of refusals: the core gives the code, the tab's side the rest. */

import { describe, expect, it } from "vitest";
import type { ChatSummary, ClientEvent, OutboxEntry, Refusal } from "../../src/api.js";
import { localRefusal, refusalOf } from "../../src/refusals.js";
import { refused, worded, wordedEvents } from "../../src/words.js";

const forbidden = {
  code: 2203,
  label: "forbidden",
  text: "The server refused this: forbidden.",
  retryAfterMs: 0,
} satisfies Refusal;

describe("a refusal", () => {
  it("gets the name and the words of its code", () => {
    expect(worded(refusalOf(2203))).toEqual(forbidden);
    expect(worded(refusalOf(2001, "", 7))).toMatchObject({ label: "rate_limited", retryAfterMs: 7 });
    expect(worded(refusalOf(2399))).toMatchObject({ label: "code_2399", text: "The server refused this: code 2399." });
    expect(worded(localRefusal("outdated"))).toMatchObject({
      code: 7,
      text: expect.stringContaining("load it again") as string,
    });
    expect(refused(refusalOf(2203)).message).toBe(forbidden.text);
  });

  it("keeps what it came with: the server's text, and the name that an older version stored", () => {
    const details = { counter: 1, seq: 2 };
    expect(worded({ ...refusalOf(2203, "because"), details })).toEqual({ ...forbidden, text: "because", details });
    expect(worded({ ...forbidden, label: "older", text: "words" })).toMatchObject({ label: "older", text: "words" });
  });

  it("has them wherever an event carries one", () => {
    const bare = refusalOf(2203);
    const events = (refusal: Refusal | null): ClientEvent[] => [
      { type: "connection", connection: { state: "waiting", attempt: 1, retryAtMs: 1, reason: refusal } },
      { type: "connection", connection: { state: "connecting", attempt: 1 } },
      { type: "chats", chats: [{ refusal } as ChatSummary], complete: true },
      { type: "outbox", entries: [{ refusal } as OutboxEntry] },
      { type: "resetAll" },
    ];
    expect(wordedEvents(events(bare))).toEqual(events(forbidden));
    expect(wordedEvents(events(null))).toEqual(events(null));
  });
});
