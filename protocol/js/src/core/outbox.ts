/**
 * Commands on their way (`SPEC.md`, section 8), without I/O and clock: which to send now and with which `after`, and what
 * an answer means. Each entity has a lane in which commands go in the order of their counters, up to 64 without waiting:
 *
 *     flowing ── an answer that is no Ack ──▶ draining ── every copy in flight is answered ──▶ flowing, from the first
 *                                                                                              that is not answered
 *
 * What is behind a refused command comes back as `out_of_order` by itself, so a lane that drained knows where it stands.
 */

import type { OutboxEntry, Refusal, Stored } from "../api.js";
import { counterReused, nothingToDo, outOfOrder, rangeOf } from "../codec/codes.js";
import { unansweredCommandsMax } from "../codec/limits.js";
import type { EntityId, OutboxId } from "../ids.js";
import { refusalOf } from "../refusals.js";
import type { OutboxRow } from "../storage/store.js";
import type { ReplyFrame } from "../session/machine.js";

/** Between the rounds of a lane that gets nowhere. */
const roundMsMin = 1_000;
const roundMsMax = 30_000;
/** Entries of an outbox, failed ones too. */
export const outboxEntriesMax = 1_000;

export interface Entry {
  row: OutboxRow;
  /** It is on the disk (or cannot be): it may be sent. */
  kept: boolean;
  inFlight: boolean;
  /** How often this counter was sent, as far as anybody can know: one that a store remembered may have been. */
  sends: number;
  /** Its counter is at or below the highest applied one: it was sent again to learn what became of it. */
  learning: boolean;
  /** Why it waits. */
  waiting: Refusal | null;
  /** Entries whose place it took; they end like it. */
  also: OutboxId[];
}

interface Lane {
  entries: Entry[];
  /** The highest applied counter of this device, as far as known. */
  applied: number;
  inFlight: number;
  draining: boolean;
  /** Rounds since something was applied. */
  rounds: number;
  notBefore: number;
}

export interface ToSend {
  readonly entry: Entry;
  readonly counter: number;
  readonly after: number;
}

/** What an answer made of an entry. */
export type Outcome =
  | { readonly is: "stored"; readonly stored: Stored }
  | { readonly is: "failed"; readonly refusal: Refusal }
  /** It waits on; what is shown of it may have changed. */
  | { readonly is: "waits" }
  /** The counter was used for something else: it needs one above every used one. */
  | { readonly is: "renumber"; readonly above: number };

export class Outbox {
  readonly entries = new Map<OutboxId, Entry>();
  #lanes = new Map<EntityId, Lane>();

  /** A lane whose highest applied counter is remembered. */
  remember(entity: EntityId, applied: number): void {
    this.#lane(entity).applied = applied;
  }

  applied(entity: EntityId): number {
    return this.#lane(entity).applied;
  }

  /** At the end of its lane, as its counter is above all others. */
  add(row: OutboxRow, sends: number): Entry {
    const entry: Entry = { row, kept: false, inFlight: false, sends, learning: false, waiting: null, also: [] };
    this.entries.set(row.id, entry);
    if (row.refusal === null) this.#lane(row.entity).entries.push(entry);
    return entry;
  }

  remove(entry: Entry): void {
    this.entries.delete(entry.row.id);
    this.#leave(entry);
  }

  /** An entry under another counter, at the end of its lane. */
  renumber(entry: Entry, counter: number): void {
    this.#leave(entry);
    Object.assign(entry, {
      row: { ...entry.row, counter, refusal: null },
      kept: false,
      sends: 0,
      learning: false,
      waiting: null,
    });
    this.#lane(entry.row.entity).entries.push(entry);
  }

  /** An entry that goes to another entity. */
  move(entry: Entry, entity: EntityId): void {
    this.#leave(entry);
    entry.row = { ...entry.row, entity };
    this.#lane(entity).entries.push(entry);
  }

  fail(entry: Entry, refusal: Refusal): void {
    this.#leave(entry);
    entry.row = { ...entry.row, refusal };
  }

  /** What to send now, at most `room` commands. */
  pump(now: number, room: number): ToSend[] {
    const sending: ToSend[] = [];
    for (const lane of this.#lanes.values()) {
      if (lane.draining || now < lane.notBefore) continue;
      let before = lane.applied;
      for (const entry of lane.entries) {
        if (!entry.kept || sending.length >= room || lane.inFlight >= unansweredCommandsMax) break;
        const { counter } = entry.row;
        // One at or below the highest applied counter is recognised by its counter alone.
        const after = counter <= lane.applied ? 0 : before;
        before = Math.max(before, counter);
        if (entry.inFlight) continue;
        entry.inFlight = true;
        entry.sends++;
        lane.inFlight++;
        sending.push({ entry, counter, after });
      }
    }
    return sending;
  }

  /** When {@link pump} may have something that it has not now. */
  deadline(now: number): number {
    let next = Infinity;
    for (const lane of this.#lanes.values()) {
      if (!lane.draining && lane.entries.length > 0 && lane.notBefore > now) next = Math.min(next, lane.notBefore);
    }
    return next;
  }

  /** The session is over: nothing is in flight any more, and all of it is sent again. */
  lost(): void {
    for (const lane of this.#lanes.values()) {
      lane.inFlight = 0;
      lane.draining = false;
      for (const entry of lane.entries) entry.inFlight = false;
    }
  }

  /** Its event came: it is stored, whatever became of the answer. */
  seen(entry: Entry): void {
    const lane = this.#lane(entry.row.entity);
    lane.applied = Math.max(lane.applied, entry.row.counter);
    lane.rounds = 0;
    this.remove(entry);
  }

  /** The answer to one copy. `counter` is that of the copy; `random` 0 to below 1. */
  answered(entry: Entry, counter: number, reply: ReplyFrame, now: number, random: number): Outcome {
    const { entity } = entry.row;
    const lane = this.#lane(entity);
    lane.inFlight--;
    const outcome = this.#judge(entry, counter, reply, lane, now, random);
    if (lane.draining && lane.inFlight === 0) lane.draining = false;
    return outcome;
  }

  #judge(entry: Entry, counter: number, reply: ReplyFrame, lane: Lane, now: number, random: number): Outcome {
    const isCurrent = this.entries.get(entry.row.id) === entry && entry.row.counter === counter && entry.inFlight;
    entry.inFlight = false;
    if (reply.type === "ack") {
      lane.applied = Math.max(lane.applied, counter);
      lane.rounds = 0;
      this.#leave(entry);
      return { is: "stored", stored: { entity: entry.row.entity, seq: Number(reply.seq), changed: true } };
    }
    // Only an Error is left; whatever it says, copies behind this one may come back out of order.
    const first = !lane.draining;
    lane.draining = true;
    if (reply.type !== "error" || !isCurrent) return { is: "waits" };
    const { code } = reply;
    const details = reply.details && { counter: Number(reply.details.counter), seq: Number(reply.details.seq) };
    const refusal = { ...refusalOf(code, reply.text, Number(reply.retryAfterMs)), ...(details && { details }) };
    if (code === nothingToDo) {
      this.#leave(entry);
      return { is: "stored", stored: { entity: entry.row.entity, seq: details?.seq ?? 0, changed: false } };
    }
    if (code === outOfOrder && details)
      return this.#outOfOrder(entry, details.counter, refusal, lane, first, now, random);
    if (code === counterReused) return { is: "renumber", above: counter };
    const range = rangeOf(code);
    if (range === 22 || range === 23) return { is: "failed", refusal };
    // Of this copy nothing came and nothing will: if it was the only one, it may be taken back.
    if (range === 20) entry.sends--;
    entry.waiting = refusal;
    this.#pause(lane, refusal.retryAfterMs, first, now, random);
    return { is: "waits" };
  }

  #outOfOrder(
    entry: Entry,
    applied: number,
    refusal: Refusal,
    lane: Lane,
    first: boolean,
    now: number,
    random: number,
  ): Outcome {
    const stood = lane.applied === applied;
    lane.applied = applied;
    const { counter } = entry.row;
    if (counter > applied) {
      // Behind one that was refused, or after a counter that this client did not know of. The first of a lane that hears
      // twice that it stands right will hear it again: then not at once.
      if (stood && lane.entries[0] === entry) this.#pause(lane, 0, first, now, random);
      return { is: "waits" };
    }
    // Only this copy was ever sent and it was not applied: another counter makes it no second event.
    if (entry.sends <= 1) return { is: "renumber", above: applied };
    if (entry.learning) return { is: "failed", refusal };
    entry.learning = true;
    return { is: "waits" };
  }

  /** `first`: of this round; the copies behind it hear the same and are no rounds of their own. */
  #pause(lane: Lane, retryAfterMs: number, first: boolean, now: number, random: number): void {
    const longest = Math.min(roundMsMax, roundMsMin * 2 ** lane.rounds);
    if (first) lane.rounds = Math.min(lane.rounds + 1, 30);
    const wait = first ? Math.max(retryAfterMs, longest * (0.5 + random / 2)) : retryAfterMs;
    lane.notBefore = Math.max(lane.notBefore, now + wait);
  }

  #leave(entry: Entry): void {
    const lane = this.#lane(entry.row.entity);
    lane.entries = lane.entries.filter((other) => other !== entry);
  }

  #lane(entity: EntityId): Lane {
    let lane = this.#lanes.get(entity);
    if (lane === undefined) {
      lane = { entries: [], applied: 0, inFlight: 0, draining: false, rounds: 0, notBefore: 0 };
      this.#lanes.set(entity, lane);
    }
    return lane;
  }
}

/** What the application sees of an entry that did not end well yet. */
export function shown(entry: Entry): OutboxEntry {
  const { id, entity, command, createdAtMs, refusal } = entry.row;
  const state = refusal !== null ? "failed" : entry.inFlight ? "sent" : "queued";
  return { id, entity, command, state, createdAtMs, seq: null, refusal: refusal ?? entry.waiting };
}
