/**
 * What people do with a core: send, read, and show that they type. A core opens and connects without it, see
 * `deferred.ts`.
 */

import type { ChatEvent, Command, HistoryPage, HistoryQuery, MembersPage, OutboxEntry } from "../api.js";
import type { FrameBody } from "../codec/frames.js";
import type { ChatId, OutboxId, UserId } from "../ids.js";
import type { OutboxRow, Saved } from "../storage/store.js";
import type { Context, OutboxOf } from "./context.js";
import type { Following } from "./following.js";
import { readList } from "./listing.js";
import { Reading } from "./reading.js";
import { Sending, type Submitter, type Target } from "./sending.js";
import { Typing } from "./typing.js";

/** Kinds of signals. */
const [typingKind, stoppedKind, presenceKind] = [1, 2, 3] as const;

export class Acting {
  readonly #sending: Sending;
  readonly #reading: Reading;
  readonly #typing = new Typing();
  #cancelTyping: () => void = () => undefined;

  constructor(
    readonly context: Context,
    readonly following: Following,
    { outbox, state }: Saved,
    outboxOf: OutboxOf,
  ) {
    this.#sending = new Sending(context, (id) => {
      const chat = following.chats.get(id as ChatId);
      return chat?.following === "live" || chat?.following === "opening" ? (chat.row.cursor?.seq ?? null) : null;
    });
    this.#reading = new Reading(context, following, outboxOf);
    this.#sending.load(outbox, state);
  }

  // The session

  welcomed(): void {
    this.want("info");
    this.#sending.pump();
  }

  lost(): void {
    this.#sending.lost();
  }

  close(): void {
    this.#cancelTyping();
  }

  // Sending

  get counter(): number {
    return this.#sending.counter;
  }

  entries(): OutboxEntry[] {
    return this.#sending.entries();
  }

  rows(): readonly OutboxRow[] {
    return this.#sending.rows();
  }

  outboxOf(counter: number): OutboxId | undefined {
    return this.#sending.outboxOf(counter);
  }

  delivered(chat: ChatId, seq: number, counter: number): void {
    this.#sending.delivered(chat, seq, counter);
  }

  released(chat: ChatId): void {
    this.#sending.released(chat);
  }

  submit(id: OutboxId, target: Target, command: Command, submitter: Submitter): void {
    this.#sending.submit(id, target, command, submitter);
    if (command.kind !== "markRead") return;
    // The badge does not wait for the server.
    const chat = this.following.chats.get(command.chat);
    if (chat?.markRead(command.read) === true) this.following.changed(chat);
  }

  retry(id: OutboxId): void {
    this.#sending.retry(id);
  }

  discard(id: OutboxId): void {
    this.#sending.discard(id);
  }

  // Reading

  history(chat: ChatId, query?: HistoryQuery): Promise<HistoryPage> {
    return this.#reading.history(chat, query);
  }

  seqAt(chat: ChatId, timeUs: number): Promise<number> {
    return this.#reading.seqAt(chat, timeUs);
  }

  members(chat: ChatId, after?: UserId): Promise<MembersPage> {
    return this.#reading.members(chat, after);
  }

  readList(session: number): void {
    void readList(this.context, this.following, session);
  }

  want(what: "info" | "all", ...chats: ChatId[]): void {
    this.#reading.want(what, ...chats);
  }

  // Signals

  typing(chat: ChatId, typing: boolean): void {
    if (this.#typing.tell(chat, typing, this.context.world.now()))
      this.#signal(chat, typing ? typingKind : stoppedKind, []);
  }

  presence(chat: ChatId, here: boolean): void {
    this.#signal(chat, presenceKind, [here ? 1 : 0]);
  }

  heard({ chat, user, kind, payload }: FrameBody<"signal">): void {
    if (user === null || !this.following.chats.has(chat)) return;
    const { world, emit } = this.context;
    if (kind === presenceKind && payload.length > 0) emit({ type: "presence", chat, user, here: payload[0] === 1 });
    if (kind !== typingKind && kind !== stoppedKind) return;
    const typing = kind === typingKind;
    if (this.#typing.heard(chat, user, typing, world.now())) emit({ type: "typing", chat, user, typing });
    this.#armTyping();
  }

  /** Who said something does not type it any more. */
  said(chat: ChatId, { kind, actor }: ChatEvent): void {
    const { world, emit } = this.context;
    if (kind === "messageSent" && this.#typing.heard(chat, actor, false, world.now()))
      emit({ type: "typing", chat, user: actor, typing: false });
  }

  #armTyping(): void {
    this.#cancelTyping();
    const { deadline } = this.#typing;
    if (deadline === Infinity) return;
    const { world, emit } = this.context;
    this.#cancelTyping = world.after(deadline - world.now(), () => {
      for (const { chat, user } of this.#typing.lapsed(world.now()))
        emit({ type: "typing", chat, user, typing: false });
      this.#armTyping();
    });
  }

  #signal(chat: ChatId, kind: number, payload: readonly number[]): void {
    this.context.connector.use((machine, now) => {
      machine.signal({ chat, user: null, kind, payload: Uint8Array.from(payload) }, now);
    });
  }
}
