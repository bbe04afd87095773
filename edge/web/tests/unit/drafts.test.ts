import { RefusedError } from "@panda/client";
import { beforeEach, describe, expect, test, vi } from "vitest";
import { DRAFTS_CHARS_MAX, DraftKeeper } from "../../src/state/draft_keeper";
import { makeStore } from "../../src/state/store";
import { ada, cake, FakeClient, tea } from "./support/fake_client";

function tab() {
  const store = makeStore();
  const client = new FakeClient();
  const drafts = new DraftKeeper(store, ada, client);
  return { store, client, drafts, sent: () => client.asked.filter(({ what }) => what === "send") };
}

const settled = () => new Promise((resolve) => setTimeout(resolve));
const refusal = (label: string) => new RefusedError({ code: 6, label, text: "", retryAfterMs: 0 });
const storage = () => Object.fromEntries(Object.entries({ ...localStorage }).sort());
const draft = (chat: string) => localStorage.getItem(`panda.draft.${ada}.${chat}`);

/** What a browser tells the other tabs of a key. */
const told = (key: string, newValue: string | null) => dispatchEvent(new StorageEvent("storage", { key, newValue }));

beforeEach(() => localStorage.clear());

describe("a text that is sent", () => {
  test("leaves the field at once, and the browser's storage when the outbox has it", async () => {
    const { store, drafts, sent } = tab();
    drafts.set(tea, "hello");
    drafts.send(tea, "hello");
    expect(store.getState().drafts[tea]).toBeUndefined();
    expect(draft(tea)).toBeNull();
    expect(Object.values(storage())).toEqual([JSON.stringify({ chat: tea, text: "hello" })]);
    sent()[0]?.keep();
    await settled();
    expect(storage()).toEqual({});
  });

  test("is sent again, as the same one, by the page that comes after one that never learned what became of it", () => {
    const first = tab();
    first.drafts.send(tea, "hello");
    const [{ id, args } = { id: null, args: [] }] = first.sent();
    expect(args).toEqual([tea, "hello"]);
    const second = tab();
    expect(second.sent().map((asked) => asked.args)).toEqual([[tea, "hello", id]]);
    expect(second.store.getState().drafts).toEqual({});
  });

  test("comes back if the outbox takes nothing of it, before what was typed meanwhile", async () => {
    const { store, drafts, sent } = tab();
    drafts.send(tea, "hello");
    drafts.set(tea, "and more");
    sent()[0]?.refuse(refusal("too_many_waiting"));
    await settled();
    expect(store.getState().drafts[tea]).toBe("hello\nand more");
    drafts.close();
    expect(storage()).toEqual({ [`panda.draft.${ada}.${tea}`]: "hello\nand more" });
  });

  test("waits for the next page where the client ended before it knew", async () => {
    const { store, drafts, sent } = tab();
    drafts.send(tea, "hello");
    sent()[0]?.refuse(refusal("closed"));
    await settled();
    expect(store.getState().drafts[tea]).toBeUndefined();
    expect(Object.values(storage())).toEqual([JSON.stringify({ chat: tea, text: "hello" })]);
  });

  test("is believed only in the form in which it was written", () => {
    for (const [at, text] of ["", "{", "null", "[]", '{"chat":1,"text":"x"}'].entries()) {
      localStorage.setItem(`panda.sending.${ada}.o${String(at)}`, text);
    }
    expect(tab().sent()).toEqual([]);
  });
});

describe("drafts", () => {
  test("of two tabs in two chats are kept beside each other", () => {
    const [one, other] = [tab(), tab()];
    one.drafts.set(tea, "in tea");
    other.drafts.set(cake, "in cake");
    one.drafts.close();
    other.drafts.close();
    expect([draft(tea), draft(cake)]).toEqual(["in tea", "in cake"]);
    expect(tab().store.getState().drafts).toEqual({ [tea]: "in tea", [cake]: "in cake" });
  });

  test("of another tab are taken over, all but where this one types", () => {
    const { store, drafts } = tab();
    drafts.set(tea, "typed here");
    told(`panda.draft.${ada}.${tea}`, "typed there");
    told(`panda.draft.${ada}.${cake}`, "only there");
    expect(store.getState().drafts).toEqual({ [tea]: "typed here", [cake]: "only there" });
    told(`panda.draft.${ada}.${cake}`, null);
    expect(store.getState().drafts).toEqual({ [tea]: "typed here" });
    drafts.close();
  });

  test("that are more than is kept are told, until they are less", () => {
    const { drafts } = tab();
    const heard: boolean[] = [];
    drafts.subscribe(() => heard.push(drafts.isKept()));
    drafts.set(tea, "w".repeat(DRAFTS_CHARS_MAX + 1));
    dispatchEvent(new Event("pagehide"));
    expect(draft(tea)).toBeNull();
    drafts.set(tea, "short");
    dispatchEvent(new Event("pagehide"));
    expect([heard, draft(tea)]).toEqual([[false, true], "short"]);
    drafts.close();
  });

  test("are forgotten for good: whatever still comes in any way writes nothing", async () => {
    vi.useFakeTimers();
    const { drafts, sent } = tab();
    drafts.set(cake, "not written yet");
    drafts.send(tea, "under way");
    drafts.forget();
    expect(storage()).toEqual({});
    sent()[0]?.refuse(refusal("too_many_waiting"));
    drafts.set(tea, "typed");
    drafts.putBack(tea, "back");
    drafts.send(tea, "sent");
    dispatchEvent(new Event("pagehide"));
    await vi.advanceTimersByTimeAsync(1_000);
    drafts.close();
    vi.useRealTimers();
    await settled();
    expect(storage()).toEqual({});
    expect(sent()).toHaveLength(1);
  });
});
