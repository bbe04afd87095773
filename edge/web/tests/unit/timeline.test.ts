import { describe, expect, test } from "vitest";
import { emptyTimeline, eventAt, missingPages, PAGE_EVENTS, PAGES_MAX, withBounds, withEvents, withViewed } from "../../src/state/timeline";
import { said } from "./support/fake_client";

const run = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, at) => said(from + at, `m${String(from + at)}`));

describe("a timeline", () => {
  test("has what was laid in, wherever it came from, and knows what is missing", () => {
    let timeline = emptyTimeline(1, 300);
    expect(missingPages(timeline, 1, 300)).toEqual([0, 1, 2, 3, 4]);
    timeline = withEvents(timeline, run(128, 191));
    expect(missingPages(timeline, 1, 300)).toEqual([0, 1, 3, 4]);
    timeline = withEvents(timeline, run(1, 10));
    expect(missingPages(timeline, 1, 20)).toEqual([0]);
    expect(missingPages(timeline, 130, 190)).toEqual([]);
    expect(eventAt(timeline, 150)).toEqual(said(150, "m150"));
    expect(eventAt(timeline, 11)).toBeNull();
    expect(eventAt(timeline, 100_000)).toBeNull();
  });

  test("asks for nothing before its beginning and behind its head", () => {
    const timeline = emptyTimeline(100, 130);
    expect(missingPages(timeline, 0, 1_000)).toEqual([1, 2]);
    expect(missingPages(withEvents(timeline, run(100, 130)), 0, 1_000)).toEqual([]);
    expect(missingPages(emptyTimeline(1, 0), 0, 10)).toEqual([]);
  });

  test("moves its head with live events and never back", () => {
    const timeline = withEvents(emptyTimeline(1, 4), [said(5, "five")]);
    expect(timeline.head).toBe(5);
    expect(withBounds(timeline, 1, 3).head).toBe(5);
    expect(withBounds(timeline, 1, 5)).toBe(timeline);
    expect(withBounds(timeline, 3, 9)).toMatchObject({ beginsAt: 3, head: 9 });
  });

  test("lays the same event in twice as once, and takes the newer form of one", () => {
    const once = withEvents(emptyTimeline(1, 0), run(1, 3));
    expect(withEvents(once, run(1, 3))).toEqual(once);
    const erased = { ...said(2, ""), kind: "erased", of: "messageSent" } as const;
    expect(eventAt(withEvents(once, [erased]), 2)?.kind).toBe("erased");
  });

  test("keeps so many pages and no more: those that were looked at last", () => {
    let timeline = emptyTimeline(1, 0);
    const looked = 3 * PAGE_EVENTS;
    for (let page = 0; page < PAGES_MAX + 20; page += 1) {
      timeline = withEvents(timeline, run(Math.max(1, page * PAGE_EVENTS), page * PAGE_EVENTS + PAGE_EVENTS - 1));
      if (page >= 3) timeline = withViewed(timeline, looked, looked + 10);
    }
    expect(Object.keys(timeline.pages)).toHaveLength(PAGES_MAX);
    expect(timeline.used).toHaveLength(PAGES_MAX);
    expect(eventAt(timeline, looked)?.seq).toBe(looked);
    expect(eventAt(timeline, 5 * PAGE_EVENTS)).toBeNull();
    expect(eventAt(timeline, timeline.head)?.seq).toBe(timeline.head);
  });

  test("copies the page of an event and none of the others", () => {
    const before = withEvents(emptyTimeline(1, 0), run(1, 200));
    const after = withEvents(before, [said(201, "next")]);
    expect(after.pages[0]).toBe(before.pages[0]);
    expect(after.pages[2]).toBe(before.pages[2]);
    expect(after.pages[3]).not.toBe(before.pages[3]);
  });
});
