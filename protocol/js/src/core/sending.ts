/** What this device sends: gives commands their counters, keeps them, and tells the application what becomes of each. */

import type { Command, OutboxEntry, Refusal, Stored } from "../api.js";
import { encodeCommand, type CommandBody } from "../codec/commands.js";
import { invalidRequest, tooLarge } from "../codec/codes.js";
import { LimitError } from "../codec/fields.js";
import { directChatId, groupChatId } from "../codec/chat_ids.js";
import type { EntityId, OutboxId } from "../ids.js";
import { localRefusal, refusalOf } from "../refusals.js";
import type { OutboxRow } from "../storage/store.js";
import type { Context } from "./context.js";
import { roles } from "./events.js";
import { Outbox, outboxEntriesMax, shown, type Entry, type Outcome } from "./outbox.js";

/** How a command ended. */
export type Ending = { readonly stored: Stored } | { readonly refusal: Refusal };

/** Who waits for a command. */
export interface Submitter {
  /** It is in the outbox, and written: nothing of it is lost any more. Perhaps more than once. */
  kept(): void;
  /** Once. What the outbox did not take was never kept. */
  ended(ending: Ending): void;
}

/** A group that is being made: its identifier follows from the counter. */
export type Target = EntityId | null;

export class Sending {
  readonly outbox = new Outbox();
  /** Stored, and not yet seen as an event: by counter. */
  #stored = new Map<number, OutboxEntry>();
  /** Those who wait, of each entry: another tab may ask for what one began. */
  #submitters = new Map<OutboxId, Submitter[]>();
  /** How the newest that ended did, for a tab to which the word of it got lost with the tab that led. */
  #ended = new Map<OutboxId, Ending>();
  #counter = 0;
  #cancelTimer: () => void = () => undefined;

  constructor(
    readonly context: Context,
    /** The cursor of a chat whose events come, `null` of others. */
    readonly cursorOf: (chat: EntityId) => number | null,
  ) {}

  load(rows: readonly OutboxRow[], state: ReadonlyMap<string, unknown>): void {
    const last = state.get("counter");
    // Never one that was used before, even if the store lost the newest: texts may be the same, and one would be taken
    // for the other. The clock is above all of them as long as it was not set back and a command takes a millisecond.
    this.#counter = Math.max(typeof last === "number" ? last : 0, Math.floor(this.context.world.wallMs()));
    for (const [key, value] of state) {
      if (key.startsWith(applied) && typeof value === "number")
        this.outbox.remember(key.slice(applied.length) as EntityId, value);
      if (key.startsWith(ended)) this.#ended.set(key.slice(ended.length) as OutboxId, value as Ending);
    }
    for (const row of rows) {
      this.#counter = Math.max(this.#counter, row.counter);
      this.outbox.add(row, Infinity).kept = true;
    }
  }

  entries(): OutboxEntry[] {
    return [...this.#stored.values(), ...[...this.outbox.entries.values()].map(shown)];
  }

  /** All that a store must have of it. */
  rows(): OutboxRow[] {
    return [...this.outbox.entries.values()].map(({ row }) => row);
  }

  get counter(): number {
    return this.#counter;
  }

  /** A second submit of one ID only listens. */
  submit(id: OutboxId, target: Target, command: Command, submitter: Submitter): void {
    const there = this.outbox.entries.get(id);
    if (there !== undefined) {
      this.#submitters.set(id, [...(this.#submitters.get(id) ?? []), submitter]);
      if (there.kept) submitter.kept();
      return;
    }
    const past = this.#ended.get(id);
    if (past !== undefined) {
      submitter.kept();
      submitter.ended(past);
      return;
    }
    const counter = this.#counter + 1;
    const { me, device } = this.context;
    let payload: Uint8Array;
    let entity: EntityId;
    try {
      payload = encodeCommand(bodyOf(command));
      entity =
        target ??
        (command.kind === "createDirect" ? directChatId(me, command.peer) : groupChatId(me, device, BigInt(counter)));
    } catch (error) {
      submitter.ended({ refusal: refusalOf(error instanceof LimitError ? tooLarge : invalidRequest) });
      return;
    }
    if (command.kind === "send" && command.text === "")
      submitter.ended({ refusal: refusalOf(invalidRequest, "There is no text to send.") });
    else if (this.outbox.entries.size >= outboxEntriesMax)
      submitter.ended({ refusal: localRefusal("too_many_waiting") });
    else {
      this.#counter = counter;
      this.#submitters.set(id, [submitter]);
      const row = { id, entity, command, payload, counter, createdAtMs: this.context.world.wallMs(), refusal: null };
      const entry = this.outbox.add(row, 0);
      this.#replace(entry);
      this.#show(entry);
      void this.#keep(entry);
    }
  }

  retry(id: OutboxId): void {
    const entry = this.outbox.entries.get(id);
    if (entry !== undefined && entry.row.refusal !== null) this.#renumber(entry, 0);
  }

  discard(id: OutboxId): void {
    const entry = this.outbox.entries.get(id);
    if (entry === undefined || (entry.row.refusal === null && entry.sends > 0)) return;
    this.#end(entry, { refusal: localRefusal("discarded") });
    this.context.emit({ type: "outboxLeft", ids: [id] });
  }

  /** Sends what may go now. */
  pump(): void {
    const { connector, requests, world } = this.context;
    this.#cancelTimer();
    const now = world.now();
    // Reads must find room, too.
    const room = connector.isOnline ? (connector.machine?.room ?? 0) - reservedRequests : 0;
    for (const { entry, counter, after } of room > 0 ? this.outbox.pump(now, room) : []) {
      const { entity, payload } = entry.row;
      const command = { type: "command", entity, counter: BigInt(counter), after: BigInt(after), payload } as const;
      // Without a session that takes it, `lost` brings it back to the queue.
      requests.ask(command, (reply) => {
        if (reply === null) return;
        this.#answered(entry, this.outbox.answered(entry, counter, reply, world.now(), world.random()), counter);
        this.pump();
      });
      this.#show(entry);
    }
    const deadline = this.outbox.deadline(now);
    this.#cancelTimer =
      deadline === Infinity
        ? () => undefined
        : world.after(deadline - now, () => {
            this.pump();
          });
  }

  lost(): void {
    this.#cancelTimer();
    const wereSent = [...this.outbox.entries.values()].filter(({ inFlight }) => inFlight);
    this.outbox.lost();
    for (const entry of wereSent) this.#show(entry);
  }

  /** Which entry an event of this device came from. */
  outboxOf(counter: number): OutboxId | undefined {
    return this.#stored.get(counter)?.id ?? this.#byCounter(counter)?.row.id;
  }

  /** An event with this counter came: whatever it was, it is stored and shown now. */
  delivered(entity: EntityId, seq: number, counter: number): void {
    const entry = this.#byCounter(counter);
    if (entry?.row.entity === entity) {
      this.outbox.seen(entry);
      this.#end(entry, { stored: { entity, seq, changed: true } });
      this.context.emit({ type: "outboxLeft", ids: [entry.row.id, ...entry.also] });
    }
    const stored = this.#stored.get(counter);
    if (stored?.entity === entity) this.#left([[counter, stored]]);
  }

  /** What is stored in this chat does not come as events any more. */
  released(entity: EntityId): void {
    this.#left([...this.#stored].filter(([, entry]) => entry.entity === entity));
  }

  #byCounter(counter: number): Entry | undefined {
    for (const entry of this.outbox.entries.values()) if (entry.row.counter === counter) return entry;
    return undefined;
  }

  #answered(entry: Entry, outcome: Outcome, counter: number): void {
    switch (outcome.is) {
      case "stored":
        if (this.outbox.entries.get(entry.row.id) === entry) this.#isStored(entry, outcome.stored, counter);
        break;
      case "failed":
        this.outbox.fail(entry, outcome.refusal);
        this.context.journal.put({ put: "outbox", row: entry.row });
        void this.context.journal.flush();
        this.#tell(entry.row.id, { refusal: outcome.refusal });
        this.#show(entry);
        break;
      case "renumber":
        this.#renumber(entry, outcome.above);
        break;
      case "waits":
        this.#show(entry);
    }
  }

  #isStored(entry: Entry, stored: Stored, counter: number): void {
    const { id, entity, command } = entry.row;
    const cursor = this.cursorOf(entity);
    const ids = [id, ...entry.also];
    const comes = command.kind === "send" && cursor !== null && cursor < stored.seq;
    this.#end(entry, { stored });
    if (comes) {
      const shownStored: OutboxEntry = { ...shown(entry), state: "stored", seq: stored.seq, refusal: null };
      this.#stored.set(counter, shownStored);
      this.context.emit({ type: "outbox", entries: [shownStored] });
    } else this.context.emit({ type: "outboxLeft", ids });
  }

  /** It leaves the outbox and the disk. */
  #end(entry: Entry, ending: Ending): void {
    const { journal } = this.context;
    this.outbox.remove(entry);
    const { entity } = entry.row;
    for (const id of [entry.row.id, ...entry.also]) {
      this.#tell(id, ending);
      this.#ended.set(id, ending);
      journal.put({ put: "state", key: ended + id, value: ending });
    }
    for (const id of [...this.#ended.keys()].slice(0, Math.max(0, this.#ended.size - endedMax))) {
      this.#ended.delete(id);
      journal.put({ drop: "state", key: ended + id });
    }
    journal.put(
      { drop: "outbox", id: entry.row.id },
      { put: "state", key: applied + entity, value: this.outbox.applied(entity) },
    );
  }

  #tell(id: OutboxId, ending: Ending): void {
    for (const submitter of this.#submitters.get(id) ?? []) submitter.ended(ending);
    this.#submitters.delete(id);
  }

  #left(entries: readonly (readonly [number, OutboxEntry])[]): void {
    if (entries.length === 0) return;
    for (const [counter] of entries) this.#stored.delete(counter);
    this.context.emit({ type: "outboxLeft", ids: entries.map(([, { id }]) => id) });
  }

  #renumber(entry: Entry, above: number): void {
    this.#counter = Math.max(this.#counter, above) + 1;
    this.outbox.renumber(entry, this.#counter);
    // A group's identifier follows from its counter: under another one it is another group.
    if (entry.row.command.kind === "createGroup") {
      const { me, device } = this.context;
      this.outbox.move(entry, groupChatId(me, device, BigInt(this.#counter)));
    }
    this.#show(entry);
    void this.#keep(entry);
  }

  /** A later MarkRead of the same chat says all that one that was never sent says. */
  #replace(entry: Entry): void {
    const { command } = entry.row;
    if (command.kind !== "markRead") return;
    for (const other of this.outbox.entries.values()) {
      const { command: its, refusal } = other.row;
      if (other === entry || its.kind !== "markRead" || its.chat !== command.chat) continue;
      if (other.sends > 0 && refusal === null) continue;
      entry.also.push(other.row.id, ...other.also);
      this.outbox.remove(other);
      this.context.journal.put({ drop: "outbox", id: other.row.id });
      this.context.emit({ type: "outboxLeft", ids: [other.row.id] });
    }
  }

  /** Nothing is sent that a crash would make this client forget. */
  async #keep(entry: Entry): Promise<void> {
    const { journal } = this.context;
    const { counter } = entry.row;
    journal.put({ put: "outbox", row: entry.row }, { put: "state", key: "counter", value: this.#counter });
    await journal.flush();
    for (const submitter of this.#submitters.get(entry.row.id) ?? []) submitter.kept();
    if (entry.row.counter !== counter) return;
    entry.kept = true;
    this.pump();
  }

  #show(entry: Entry): void {
    this.context.emit({ type: "outbox", entries: [shown(entry)] });
  }
}

/** Keys of the highest applied counters, by entity. */
const applied = "applied:";
/** Keys of how entries ended, by ID. */
const ended = "ended:";
/** More than a tab can have sent before it learns who leads. */
const endedMax = 1_000;
/** Of the requests that may wait, so many are left for reads. */
const reservedRequests = 64;

function bodyOf(command: Command): CommandBody {
  switch (command.kind) {
    case "send":
      return { command: "send", format: 0, text: command.text };
    case "addMembers":
      return {
        command: "addMembers",
        role: roleNumber(command.role),
        withHistory: command.withHistory,
        members: command.members,
      };
    case "setRole":
      return { command: "setRole", member: command.member, role: roleNumber(command.role) };
    case "markRead":
      return { command: "markRead", chat: command.chat, read: BigInt(command.read) };
    case "createGroup":
      return { command: command.kind, name: command.name, members: command.members };
    case "createDirect":
      return { command: command.kind, peer: command.peer };
    case "removeMembers":
      return { command: command.kind, members: command.members };
    case "rename":
      return { command: command.kind, name: command.name };
    case "setSetting":
      return { command: command.kind, key: command.key, value: command.value };
  }
}

const roleNumber = (role: (typeof roles)[number]): 1 | 2 | 3 | 4 => (roles.indexOf(role) + 1) as 1 | 2 | 3 | 4;
