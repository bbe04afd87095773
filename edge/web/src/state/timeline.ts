/**
 * What is in memory of one chat's events: a sparse list by seq, in pages of a fixed size, of which only the ones used
 * last stay. Seqs are dense, so a row of the screen is a seq, whether its event is here or not.
 */

import type { ChatEvent } from "@panda/client";

/** Events in a page. Page `n` has the seqs from `n * PAGE_EVENTS` on. */
export const PAGE_EVENTS = 64;
/** Pages of one chat in memory: 3,072 events, which is more than three screens either way however small the rows are. */
export const PAGES_MAX = 48;

export type Page = readonly (ChatEvent | null)[];

export interface Timeline {
  /** The first seq that there is to show; at least 1. */
  readonly beginsAt: number;
  /** The chat's last event as far as known; below `beginsAt` if there is none. */
  readonly head: number;
  readonly pages: Readonly<Record<number, Page>>;
  /** The pages that are here, the one used last at the end. */
  readonly used: readonly number[];
}

const emptyPage: Page = Array.from({ length: PAGE_EVENTS }, () => null);

export function emptyTimeline(beginsAt: number, head: number): Timeline {
  return { beginsAt: Math.max(1, beginsAt), head, pages: {}, used: [] };
}

export const pageOf = (seq: number): number => Math.floor(seq / PAGE_EVENTS);

export function eventAt(timeline: Timeline, seq: number): ChatEvent | null {
  return timeline.pages[pageOf(seq)]?.[seq % PAGE_EVENTS] ?? null;
}

/** Lays events in, wherever they come from. One that is here already is replaced: it may have been erased meanwhile. */
export function withEvents(timeline: Timeline, events: readonly ChatEvent[]): Timeline {
  if (events.length === 0) return timeline;
  const pages: Record<number, Page> = { ...timeline.pages };
  let { head, used } = timeline;
  let open = -1;
  let page: (ChatEvent | null)[] = [];
  for (const event of events) {
    const at = pageOf(event.seq);
    if (at !== open) {
      open = at;
      page = [...(pages[at] ?? emptyPage)];
      pages[at] = page;
      used = usedLast(used, at);
    }
    page[event.seq % PAGE_EVENTS] = event;
    head = Math.max(head, event.seq);
  }
  return bounded({ ...timeline, head, pages, used });
}

/** The bounds that a page or the list of chats told. A head never goes back: what is behind it was seen. */
export function withBounds(timeline: Timeline, beginsAt: number, head: number): Timeline {
  const begins = Math.max(1, beginsAt);
  if (begins === timeline.beginsAt && head <= timeline.head) return timeline;
  return { ...timeline, beginsAt: begins, head: Math.max(head, timeline.head) };
}

/** Notes which rows are looked at, so that their pages stay the longest. */
export function withViewed(timeline: Timeline, from: number, to: number): Timeline {
  let used = timeline.used;
  for (let page = pageOf(from); page <= pageOf(to); page += 1) {
    if (timeline.pages[page] !== undefined) used = usedLast(used, page);
  }
  return used === timeline.used ? timeline : { ...timeline, used };
}

/** The aligned pages within these rows of which an event is missing. */
export function missingPages(timeline: Timeline, from: number, to: number): number[] {
  const missing: number[] = [];
  const first = Math.max(from, timeline.beginsAt);
  const last = Math.min(to, timeline.head);
  for (let page = pageOf(first); page <= pageOf(last) && first <= last; page += 1) {
    const begin = Math.max(timeline.beginsAt, page * PAGE_EVENTS);
    const end = Math.min(timeline.head, page * PAGE_EVENTS + PAGE_EVENTS - 1);
    const events = timeline.pages[page];
    for (let seq = begin; seq <= end; seq += 1) {
      if (events?.[seq % PAGE_EVENTS] == null) {
        missing.push(page);
        break;
      }
    }
  }
  return missing;
}

function usedLast(used: readonly number[], page: number): readonly number[] {
  return used.at(-1) === page ? used : [...used.filter((other) => other !== page), page];
}

function bounded(timeline: Timeline): Timeline {
  if (timeline.used.length <= PAGES_MAX) return timeline;
  const keep = timeline.used.slice(-PAGES_MAX);
  const pages = Object.fromEntries(keep.map((page) => [page, timeline.pages[page] ?? emptyPage]));
  return { ...timeline, pages, used: keep };
}
