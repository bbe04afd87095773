/**
 * The one way from events to state. Live events, a resume, pages of history and the outbox all come as updates of the
 * same action, and nothing else changes what is known of chats. Plain functions without drafts: at hundreds of messages
 * a second only what an event touches is copied, also of ten thousand chats.
 */

import type { ChatEvent, ChatId, ChatSummary, ClientEvent, HistoryPage, OutboxEntry, OutboxId } from "@panda/client";
import { createAction, type UnknownAction } from "@reduxjs/toolkit";
import { noOrder, type ChatOrder } from "./chat_order";
import { chatIn, noChats, withoutIds, withSummaries, type ChatTable } from "./chat_table";
import { emptyTimeline, withBounds, withEvents, withViewed, type Timeline } from "./timeline";

/** Chats whose events stay in memory after they were left for another one. */
export const TIMELINES_MAX = 4;

export type Update =
  | ClientEvent
  /** A page that somebody asked for. */
  | { readonly type: "page"; readonly chat: ChatId; readonly page: HistoryPage }
  /** A chat is shown: from here on its events are kept. */
  | { readonly type: "opened"; readonly chat: ChatId }
  /** These rows are on the screen. */
  | { readonly type: "viewed"; readonly chat: ChatId; readonly from: number; readonly to: number };

export interface World {
  /** By their IDs: `chatIn` finds one. */
  readonly chats: ChatTable;
  /** All chats, the one with the newest event first. */
  readonly order: ChatOrder;
  /** Whether the list is whole. */
  readonly complete: boolean;
  /** Of the chats that were opened, the last one at the end of `opened`. */
  readonly timelines: Readonly<Record<ChatId, Timeline>>;
  readonly opened: readonly ChatId[];
  /** What waits, was refused, or was stored and whose event did not come yet; by chat (or own user), oldest first. */
  readonly outbox: Readonly<Record<string, readonly OutboxEntry[]>>;
}

export const noWorld: World = { chats: noChats, order: noOrder, complete: false, timelines: {}, opened: [], outbox: {} };

/** What came, in the order in which it came. Slices take what is theirs. */
export const applied = createAction<readonly Update[]>("applied");
/** Another user, or nobody: everything is forgotten. */
export const forgotten = createAction("forgotten");

export function worldReducer(world: World = noWorld, action: UnknownAction): World {
  if (forgotten.match(action)) return noWorld;
  return applied.match(action) ? action.payload.reduce(apply, world) : world;
}

function apply(world: World, update: Update): World {
  switch (update.type) {
    case "chats":
      return withChats(world, update.chats, update.complete);
    case "chatsLeft":
      return withoutChats(world, update.chats);
    case "events":
      return withArrived(world, update.chat, update.events);
    case "page":
      return withPage(world, update.chat, update.page);
    case "reset":
      return withTimeline(world, update.chat, (timeline) => emptyTimeline(timeline.beginsAt, 0));
    case "resetAll":
      return { ...noWorld, outbox: world.outbox };
    case "outbox":
      return update.entries.reduce(withEntry, world);
    case "outboxLeft":
      return withoutEntries(world, new Set(update.ids));
    case "opened":
      return withOpened(world, update.chat);
    case "viewed":
      return withTimeline(world, update.chat, (timeline) => withViewed(timeline, update.from, update.to));
    // The rows of what was missed are there by their seqs, and are read when they are looked at.
    case "hole":
    case "connection":
    case "sharing":
    case "storage":
    case "lagging":
    case "typing":
    case "presence":
    case "setting":
      return world;
  }
}

function withTimeline(world: World, chat: ChatId, change: (timeline: Timeline) => Timeline): World {
  const timeline = world.timelines[chat];
  if (timeline === undefined) return world;
  const changed = change(timeline);
  return changed === timeline ? world : { ...world, timelines: { ...world.timelines, [chat]: changed } };
}

// ---------------------------------------------------------------------------------------------------------------------
// Chats

function withChats(world: World, summaries: readonly ChatSummary[], complete: boolean): World {
  const chats = withSummaries(world.chats, summaries);
  let timelines = world.timelines;
  for (const summary of summaries) {
    const timeline = timelines[summary.id];
    if (timeline === undefined) continue;
    // Retention may have taken more than the list knows of; who comes back to a chat may see more than before.
    const isBack = chatIn(world.chats, summary.id) === undefined;
    const beginsAt = isBack ? summary.visibleFrom : Math.max(timeline.beginsAt, summary.visibleFrom);
    const bounded = withBounds(timeline, beginsAt, summary.head);
    if (bounded !== timeline) timelines = { ...timelines, [summary.id]: bounded };
  }
  const order = world.order.with(world.chats, chats, [...new Set(summaries.map((summary) => summary.id))]);
  return { ...world, chats, order, timelines, complete: complete || world.complete };
}

function withoutChats(world: World, left: readonly ChatId[]): World {
  // What was read stays on the screen; the chat itself is no longer one of the user's.
  const gone = new Set(left);
  const chats = withoutIds(world.chats, gone);
  return { ...world, chats, order: world.order.with(world.chats, chats, [...gone]) };
}

// ---------------------------------------------------------------------------------------------------------------------
// Events

function withOpened(world: World, chat: ChatId): World {
  const opened = [...world.opened.filter((other) => other !== chat), chat].slice(-TIMELINES_MAX);
  const summary = chatIn(world.chats, chat);
  const timeline = world.timelines[chat] ?? emptyTimeline(summary?.visibleFrom ?? 1, summary?.head ?? 0);
  const timelines: Record<ChatId, Timeline> = {};
  for (const one of opened) {
    const kept = one === chat ? timeline : world.timelines[one];
    if (kept) timelines[one] = kept;
  }
  return { ...world, opened, timelines };
}

function withArrived(world: World, chat: ChatId, events: readonly ChatEvent[]): World {
  const arrived = withTimeline(world, chat, (timeline) => withEvents(timeline, events));
  // One's own messages are shown by their events from now on.
  const made = new Set(events.flatMap((event) => event.outbox ?? []));
  return made.size === 0 ? arrived : withoutEntries(arrived, made, chat);
}

function withPage(world: World, chat: ChatId, page: HistoryPage): World {
  const bounded = withTimeline(world, chat, (timeline) =>
    // What is kept on this machine may know less of the bounds than the list does.
    page.from === "server" ? withBounds(timeline, page.beginsAt, page.head) : timeline,
  );
  return withArrived(bounded, chat, page.events);
}

// ---------------------------------------------------------------------------------------------------------------------
// Outbox

function withEntry(world: World, entry: OutboxEntry): World {
  const entries = world.outbox[entry.entity] ?? [];
  const at = entries.findIndex((other) => other.id === entry.id);
  const head = world.timelines[entry.entity as ChatId]?.head ?? 0;
  // Its event is here already: there is nothing to show of it any more.
  if (entry.state === "stored" && entry.seq !== null && entry.seq <= head) {
    return at < 0 ? world : withoutEntries(world, new Set([entry.id]), entry.entity);
  }
  const changed = at < 0 ? [...entries, entry] : entries.with(at, entry);
  return { ...world, outbox: { ...world.outbox, [entry.entity]: changed } };
}

function withoutEntries(world: World, ids: ReadonlySet<OutboxId>, entity?: string): World {
  let outbox = world.outbox;
  for (const of of entity === undefined ? Object.keys(outbox) : [entity]) {
    const entries = outbox[of];
    if (entries?.some((entry) => ids.has(entry.id)) !== true) continue;
    outbox = { ...outbox, [of]: entries.filter((entry) => !ids.has(entry.id)) };
  }
  return outbox === world.outbox ? world : { ...world, outbox };
}

