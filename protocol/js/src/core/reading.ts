/** Reads what was: history from the store and the server, members, and what the chat list shows of each chat. */

import { RefusedError, type ChatEvent, type HistoryPage, type HistoryQuery, type MembersPage } from "../api.js";
import { malformed, notFound } from "../codec/codes.js";
import { pageEventsMax, pageRowsMax } from "../codec/limits.js";
import type { ChatId, UserId } from "../ids.js";
import { refusalOf } from "../refusals.js";
import type { StoredEvent } from "../storage/store.js";
import type { Chat } from "./chat.js";
import { askAll, askOne } from "./asking.js";
import type { Context, OutboxOf } from "./context.js";
import { chatEvent, plain, readEvent, roleName } from "./events.js";
import type { Following } from "./following.js";
import { takeInfo, takePage } from "./learning.js";

/** Chats whose row is loaded at the same time. */
const loadingMax = 8;
/** Of these, so many at most that nobody looks at. */
const unseenMax = 2;
/** Events that are read for a row of the list. */
const previewEvents = 16;
const historyEvents = 50;

type Read = readonly [ChatEvent, Uint8Array];

export class Reading {
  /** Chats whose row is on the screen, those that came there last at the beginning: they are served first. */
  readonly #seen = new Set<ChatId>();
  /** Chats of which only the name is needed yet. */
  readonly #nameless = new Set<ChatId>();
  /** What the list needs to be in its order: the newest event of chats that nobody looks at. */
  readonly #unseen = new Set<ChatId>();
  #loading = 0;

  constructor(
    readonly context: Context,
    readonly following: Following,
    readonly outboxOf: OutboxOf,
  ) {}

  async history(id: ChatId, query: HistoryQuery = {}): Promise<HistoryPage> {
    const chat = this.following.chats.get(id);
    if (chat === undefined) throw new RefusedError(refusalOf(notFound));
    const limit = Math.min(Math.max(Math.floor(query.limit ?? historyEvents), 1), pageEventsMax);
    const forward = query.after !== undefined;
    const { row } = chat;
    // A chat that is listened to ends at its cursor; of another only the server knows, where there is one.
    const live = chat.following === "live" || !this.context.connector.isOnline;
    const newest =
      (live && Math.max(row.cursor?.seq ?? 0, chat.following === "live" ? 0 : row.head)) || Number.MAX_SAFE_INTEGER;
    const from = forward
      ? Math.max(query.after + 1, row.visibleFrom)
      : Math.min((query.before ?? Infinity) - 1, newest);
    const last = forward ? newest : row.visibleFrom;
    const step = forward ? 1 : -1;
    const missing = (read: readonly unknown[]): number => Math.min(limit, step * (last - from) + 1) - read.length;

    const found = await this.context.journal.events(id, from, forward ? "forward" : "backward", limit);
    const dense: Read[] = [];
    for (const event of found) {
      if (event.seq !== from + step * dense.length) break;
      const read = this.#read(event);
      if (read === null) break;
      dense.push(read);
    }
    if (missing(dense) > 0) {
      try {
        await this.#page(chat, from + step * dense.length, forward, limit - dense.length, dense);
      } catch (error) {
        // Without a server, the nearest events that are here and follow each other.
        if (dense.length === 0) dense.push(...this.#run(found, step));
        if (dense.length === 0 || !(error instanceof RefusedError) || error.refusal.label !== "offline") throw error;
      }
    }
    if (!forward) dense.reverse();
    if (this.#isThere(chat)) {
      takePage(chat, dense, this.context.me);
      this.following.changed(chat);
    }
    return {
      events: dense.map(([event]) => event),
      beginsAt: row.visibleFrom,
      head: row.head,
      from: this.context.connector.isOnline ? "server" : "store",
    };
  }

  async seqAt(id: ChatId, timeUs: number): Promise<number> {
    const newest = await this.history(id, { limit: 1 });
    let low = newest.beginsAt;
    let high = newest.head + 1;
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      const { events } = await this.history(id, { after: middle - 1, limit: 1 });
      const [event] = events;
      if (event === undefined || event.timeUs >= timeUs) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  async members(chat: ChatId, after?: UserId): Promise<MembersPage> {
    const page = await askOne(
      this.context.requests,
      { type: "members", chat, after: after ?? null, limit: BigInt(pageRowsMax) },
      "membersPage",
    );
    const members = page.members.map(({ user, role, joined }) => ({
      user,
      role: roleName(role),
      joined: plain(joined),
    }));
    return { members, more: page.more };
  }

  /** Loads what the list shows of these chats, a few at a time. `all`: they are on the screen. */
  want(what: "info" | "all", ...ids: ChatId[]): void {
    if (what === "all") {
      const before = [...this.#seen];
      this.#seen.clear();
      for (const id of [...ids, ...before]) this.#seen.add(id);
    } else for (const id of ids) this.#nameless.add(id);
    this.#next();
  }

  #next(): void {
    while (this.#loading < loadingMax && this.context.connector.isOnline) {
      const queues = [this.#seen, this.#nameless, ...(this.#loading < unseenMax ? [this.#unseen] : [])];
      const queue = queues.find(({ size }) => size > 0);
      const [id] = queue ?? [];
      if (queue === undefined || id === undefined) return;
      queue.delete(id);
      const chat = this.following.chats.get(id);
      if (chat !== undefined) void this.#load(chat, queue === this.#nameless ? "info" : "all", queue);
    }
  }

  /** It was neither left nor given up since it was asked for. */
  #isThere(chat: Chat): boolean {
    return this.following.chats.get(chat.row.id) === chat;
  }

  async #load(chat: Chat, what: "info" | "all", queue: Set<ChatId>): Promise<void> {
    this.#loading++;
    const { requests, world } = this.context;
    const { row } = chat;
    const { id } = row;
    try {
      if (row.info === null || row.infoSeq < row.seenFrom - 1) {
        takeInfo(chat, await askOne(requests, { type: "chatInfo", chat: id }, "chatInfoReply"));
      }
      if (row.info?.kind === "direct" && row.peer === null) {
        const { members } = await this.members(id);
        row.peer = members.find(({ user }) => user !== this.context.me)?.user ?? null;
      }
      const { last } = chat;
      if (last === null || last.seq < Math.min(row.seenFrom, row.head)) {
        if (what === "all") await this.history(id, { limit: previewEvents });
        else this.#unseen.add(id);
      }
      if (this.#isThere(chat)) this.following.changed(chat);
    } catch (error) {
      // What is refused for good stays unknown; for all else there is another time, at the latest the next session.
      const { session } = requests;
      const refusal = error instanceof RefusedError ? error.refusal : null;
      const isAway = refusal?.label === "offline";
      if (isAway && !this.context.connector.isOnline) queue.add(id);
      else if (refusal !== null && (isAway || (refusal.code >= 2000 && refusal.code < 2200))) {
        world.after(Math.max(refusal.retryAfterMs, 2_000 * (1 + world.random())), () => {
          if (session !== requests.session) return;
          queue.add(id);
          this.#next();
        });
      }
    } finally {
      this.#loading--;
      this.#next();
    }
  }

  /** Asks the server for a page and appends it, in its direction. */
  async #page(chat: Chat, from: number, forward: boolean, limit: number, to: Read[]): Promise<void> {
    const { requests, journal } = this.context;
    const { row } = chat;
    const { id } = row;
    const ask = {
      type: "page",
      entity: id,
      direction: forward ? 0 : 1,
      from: BigInt(from),
      limit: BigInt(limit),
    } as const;
    const chunks = await askAll(requests, ask, "pageChunk");
    const events: StoredEvent[] = [];
    for (const chunk of chunks) {
      row.visibleFrom = plain(chunk.beginsAt);
      row.head = Math.max(row.head, plain(chunk.head));
      for (const bytes of chunk.events) {
        const read = this.#read({ seq: 0, bytes });
        if (read === null) throw new RefusedError(refusalOf(malformed));
        to.push(read);
        events.push({ seq: read[0].seq, bytes });
      }
    }
    const [first] = chunks;
    // Of another store than the cursor: a reset of this chat is on its way.
    if (first !== undefined && this.#isThere(chat) && this.following.isOfStore(chat, first.incarnation))
      journal.put({ put: "events", chat: id, events });
  }

  /** `null`: bytes that are no event of this version. */
  #read({ bytes }: StoredEvent): Read | null {
    try {
      return [chatEvent(readEvent(bytes), this.outboxOf), bytes];
    } catch {
      return null;
    }
  }

  /** The first events that follow each other. */
  #run(found: readonly StoredEvent[], step: number): Read[] {
    const run: Read[] = [];
    for (const event of found) {
      const read = this.#read(event);
      if (read === null || (run.length > 0 && event.seq !== (run.at(-1)?.[0].seq ?? 0) + step)) break;
      run.push(read);
    }
    return run;
  }
}
