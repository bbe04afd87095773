import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { followInto } from "../../src/state/inflow";
import { makeStore } from "../../src/state/store";
import { FakeClient, said, summary, tea } from "./support/fake_client";

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

test("a flood is few actions, with everything in its order", () => {
  const client = new FakeClient();
  const store = makeStore();
  let actions = 0;
  store.subscribe(() => (actions += 1));
  const stop = followInto(client, store.dispatch);
  client.emit({ type: "chats", chats: [summary(tea)], complete: true });
  expect(actions).toBe(1);
  store.dispatch({ type: "applied", payload: [{ type: "opened", chat: tea }] });
  for (let seq = 1; seq <= 200; seq += 1) {
    client.emit({ type: "events", chat: tea, events: [said(seq, String(seq))] });
    vi.advanceTimersByTime(5);
  }
  vi.advanceTimersByTime(100);
  expect(store.getState().world.timelines[tea]?.head).toBe(200);
  expect(actions).toBeLessThan(30);
  stop();
  client.emit({ type: "events", chat: tea, events: [said(201, "late")] });
  vi.advanceTimersByTime(100);
  expect(store.getState().world.timelines[tea]?.head).toBe(200);
});
