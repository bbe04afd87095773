/**
 * The client of one user in one thread: one connection, one store, any number of listeners. Tabs speak to it by way of
 * `tabs/`; it knows nothing of them.
 */

import type {
  ChatEvent,
  ClientEvent,
  Command,
  Connection,
  HistoryPage,
  HistoryQuery,
  MembersPage,
  StorageState,
  TokenReason,
} from "../api.js";
import { DecodeError } from "../codec/reader.js";
import { noDevice } from "../codec/frames.js";
import { newDeviceId } from "../codec/identifiers.js";
import type { ChatId, DeviceId, OutboxId, UserId } from "../ids.js";
import type { Output } from "../session/machine.js";
import { MemoryStore } from "../storage/memory.js";
import type { Change, Saved, Store, StoredCursor, StoreSource } from "../storage/store.js";
import { Connector, type Access } from "./connector.js";
import { Requests, type Context } from "./context.js";
import { Following } from "./following.js";
import { inTime, Journal, no, reasonOf } from "./journal.js";
import { Reading } from "./reading.js";
import { Sending, type Submitter, type Target } from "./sending.js";
import type { Surroundings } from "./surroundings.js";
import { Typing } from "./typing.js";

export interface CoreConfig {
  readonly url: string;
  readonly user: UserId;
  readonly client: string;
  readonly historyBytesMax: number;
}

export interface CoreOwner {
  token(reason: TokenReason): Promise<string | null>;
  /** What happened at once, for everybody. */
  happened(events: readonly ClientEvent[]): void;
}

/** Of so many chats it is remembered that somebody looked at them. */
const lookedMax = 100;
/** Kinds of signals. */
const [typingKind, stoppedKind, presenceKind] = [1, 2, 3] as const;

/** Opens the store, or goes on without, then connects. */
export async function openCore(
  config: CoreConfig,
  world: Surroundings,
  owner: CoreOwner,
  stores: StoreSource,
): Promise<Core> {
  let store: Store | null = null;
  try {
    await stores.before?.();
    const opening = stores.open();
    store = await inTime(world, opening).catch((error: unknown) => {
      // One that comes too late is closed: nobody waits for it any more.
      opening.then((late) => {
        late.close();
      }, no);
      throw error;
    });
    // What it holds may be damaged in ways that show only when it is taken in.
    return new Core(config, world, owner, stores, store, await inTime(world, store.load()), null);
  } catch (error) {
    store?.close();
    const memory = new MemoryStore();
    return new Core(config, world, owner, stores, memory, await memory.load(), reasonOf(error));
  }
}

export class Core {
  readonly #context: Context;
  readonly #following: Following;
  readonly #sending: Sending;
  readonly #reading: Reading;
  readonly #typing = new Typing();
  #connection: Connection = { state: "connecting", attempt: 0 };
  #storage: StorageState = { kind: "memory", reason: null };
  #access: Access | null;
  #batch: ClientEvent[] = [];
  /** Nobody hears anything before it is whole. */
  #flushing = true;
  #cancelTyping: () => void = () => undefined;
  /** Chats in the order in which somebody last looked at them: their history stays longest. */
  #looked = new Set<ChatId>();

  constructor(
    readonly config: CoreConfig,
    readonly world: Surroundings,
    readonly owner: CoreOwner,
    readonly stores: StoreSource,
    store: Store,
    saved: Saved,
    reason: string | null,
  ) {
    const { state } = saved;
    const device = (state.get("device") as DeviceId | undefined) ?? newDeviceId();
    this.#access = (state.get("access") as Access | undefined) ?? null;
    const requests = new Requests(() => this.#context.connector);
    const emit = (event: ClientEvent): void => {
      this.#emit(event);
    };
    const journal = new Journal(
      store,
      world,
      config.historyBytesMax,
      {
        storage: (storage) => {
          this.#storage = storage;
          emit({ type: "storage", storage });
        },
        everything: () => this.#everything(),
        evictionOrder: () => this.#evictionOrder(),
      },
      reason,
    );
    const connector = new Connector(
      { url: config.url, user: config.user, device, client: config.client },
      world,
      {
        token: (why) => owner.token(why),
        opening: () => this.#following.opening(),
        began: (numbers) => {
          this.#following.began(numbers);
        },
        welcomed: (welcome) => {
          this.#following.welcomed(welcome);
          this.#reading.want("info");
          this.#sending.pump();
        },
        carried: (output) => {
          this.#carried(output);
        },
        lost: () => {
          requests.lost();
          this.#following.lost();
          this.#sending.lost();
        },
        connection: (connection) => {
          this.#connection = connection;
          emit({ type: "connection", connection });
        },
        access: (access) => {
          this.#access = access;
          journal.put(
            access === null ? { drop: "state", key: "access" } : { put: "state", key: "access", value: access },
          );
        },
        edges: (edges) => {
          journal.put({ put: "state", key: "edges", value: edges });
        },
      },
      this.#access,
      state.get("edges"),
    );
    const soon = (): void => {
      this.#soon();
    };
    this.#context = { world, me: config.user, device, requests, journal, connector, emit, soon };
    const outboxOf = (of: DeviceId, counter: number): OutboxId | undefined =>
      of === device && of !== noDevice ? this.#sending.outboxOf(counter) : undefined;
    this.#following = new Following(this.#context, {
      outboxOf,
      delivered: (chat, seq, of, counter) => {
        if (of === device) this.#sending.delivered(chat, seq, counter);
      },
      released: (chat) => {
        this.#sending.released(chat);
      },
      unknown: ({ row }) => {
        this.#reading.want("info", row.id);
      },
    });
    this.#sending = new Sending(this.#context, (id) => {
      const chat = this.#following.chats.get(id as ChatId);
      return chat?.following === "live" || chat?.following === "opening" ? (chat.row.cursor?.seq ?? null) : null;
    });
    this.#reading = new Reading(this.#context, this.#following, outboxOf);
    this.#following.load(
      saved.chats,
      (state.get("inbox") as StoredCursor | undefined) ?? null,
      state.get("complete") === true,
    );
    for (const [key, value] of state)
      if (key.startsWith("setting:")) this.#following.settings.set(key.slice(8), value as Uint8Array);
    this.#sending.load(saved.outbox, state);
    this.#looked = new Set((state.get("looked") as readonly ChatId[] | undefined) ?? []);
    journal.put({ put: "state", key: "device", value: device });
    this.#flushing = false;
    connector.start();
    soon();
  }

  /** The whole state, as events. */
  snapshot(): ClientEvent[] {
    // What changed meanwhile went to the others.
    this.#flush();
    const { settings, complete } = this.#following;
    return [
      { type: "connection", connection: this.#connection },
      { type: "storage", storage: this.#storage },
      ...[...settings].map(([key, value]) => ({ type: "setting", key, value }) as const),
      { type: "chats", chats: this.#following.summaries(), complete },
      { type: "outbox", entries: this.#sending.entries() },
    ];
  }

  submit(id: OutboxId, target: Target, command: Command, submitter: Submitter): void {
    this.#sending.submit(id, target, command, submitter);
    if (command.kind !== "markRead") return;
    // The badge does not wait for the server.
    const chat = this.#following.chats.get(command.chat);
    if (chat?.markRead(command.read) === true) this.#following.changed(chat);
  }

  retry(id: OutboxId): void {
    this.#sending.retry(id);
  }

  discard(id: OutboxId): void {
    this.#sending.discard(id);
  }

  typing(chat: ChatId, typing: boolean): void {
    if (this.#typing.tell(chat, typing, this.world.now())) this.#signal(chat, typing ? typingKind : stoppedKind, []);
  }

  presence(chat: ChatId, here: boolean): void {
    this.#signal(chat, presenceKind, [here ? 1 : 0]);
  }

  history(chat: ChatId, query?: HistoryQuery): Promise<HistoryPage> {
    this.#look(chat);
    return this.#reading.history(chat, query);
  }

  #look(chat: ChatId): void {
    if ([...this.#looked].at(-1) === chat || !this.#following.chats.has(chat)) return;
    this.#looked.delete(chat);
    this.#looked.add(chat);
    this.#looked = new Set([...this.#looked].slice(-lookedMax));
    this.#context.journal.put({ put: "state", key: "looked", value: [...this.#looked] });
  }

  seqAt(chat: ChatId, timeUs: number): Promise<number> {
    return this.#reading.seqAt(chat, timeUs);
  }

  members(chat: ChatId, after?: UserId): Promise<MembersPage> {
    return this.#reading.members(chat, after);
  }

  preview(chats: readonly ChatId[]): void {
    this.#reading.want("all", ...chats);
  }

  authorize(token: string): void {
    this.#context.connector.authorize(token);
  }

  connectNow(): void {
    this.#context.connector.connectNow();
  }

  wake(): void {
    this.#context.connector.wake();
  }

  async signOut(): Promise<void> {
    this.#context.connector.close();
    await this.#context.journal.abandon();
    await inTime(this.world, this.stores.erase());
  }

  async close(): Promise<void> {
    this.#context.connector.close();
    this.#cancelTyping();
    await this.#context.journal.close();
  }

  #carried(output: Output): void {
    try {
      switch (output.is) {
        case "reply":
          this.#context.requests.reply(output);
          break;
        case "event":
          this.#following.event(output.event);
          break;
        case "ended":
          this.#following.ended(output.ended);
          break;
        case "head":
          this.#following.head(output.head);
          break;
        case "signal":
          this.#heard(output.signal);
      }
    } catch (error) {
      // Bytes of an event, or a number, that nobody may send: the session is no good.
      if (!(error instanceof DecodeError)) throw error;
      this.#context.connector.use((machine, now) => {
        machine.broke(error.reason, now);
      });
    }
  }

  #heard({ chat, user, kind, payload }: Extract<Output, { readonly is: "signal" }>["signal"]): void {
    if (user === null || !this.#following.chats.has(chat)) return;
    if (kind === presenceKind && payload.length > 0)
      this.#emit({ type: "presence", chat, user, here: payload[0] === 1 });
    if (kind === typingKind || kind === stoppedKind) this.#showTyping(chat, user, kind === typingKind);
  }

  #showTyping(chat: ChatId, user: UserId, typing: boolean): void {
    if (this.#typing.heard(chat, user, typing, this.world.now())) this.#emit({ type: "typing", chat, user, typing });
    this.#armTyping();
  }

  #armTyping(): void {
    this.#cancelTyping();
    const { deadline } = this.#typing;
    if (deadline === Infinity) return;
    this.#cancelTyping = this.world.after(deadline - this.world.now(), () => {
      for (const { chat, user } of this.#typing.lapsed(this.world.now()))
        this.#emit({ type: "typing", chat, user, typing: false });
      this.#armTyping();
    });
  }

  #signal(chat: ChatId, kind: number, payload: readonly number[]): void {
    this.#context.connector.use((machine, now) => {
      machine.signal({ chat, user: null, kind, payload: Uint8Array.from(payload) }, now);
    });
  }

  #emit(event: ClientEvent): void {
    const last = this.#batch.at(-1);
    if (event.type === "events" && last?.type === "events" && last.chat === event.chat) {
      this.#batch[this.#batch.length - 1] = { ...event, events: [...last.events, ...event.events] };
    } else this.#batch.push(event);
    if (event.type === "events") for (const one of event.events) this.#stopTyping(event.chat, one);
    this.#soon();
  }

  /** Who said something does not type it any more. */
  #stopTyping(chat: ChatId, { kind, actor }: ChatEvent): void {
    if (kind === "messageSent" && this.#typing.heard(chat, actor, false, this.world.now())) {
      this.#emit({ type: "typing", chat, user: actor, typing: false });
    }
  }

  #soon(): void {
    if (this.#flushing) return;
    this.#flushing = true;
    queueMicrotask(() => {
      this.#flush();
    });
  }

  #flush(): void {
    this.#flushing = false;
    const chats = this.#following.takeChanged();
    if (chats.length > 0) this.#batch.push({ type: "chats", chats, complete: this.#following.complete });
    const batch = this.#batch;
    this.#batch = [];
    if (batch.length > 0) this.owner.happened(batch);
  }

  #everything(): Change[] {
    const { inbox, complete, chats, settings } = this.#following;
    const states: readonly (readonly [string, unknown])[] = [
      ["device", this.#context.device],
      ["counter", this.#sending.counter],
      ["access", this.#access],
      ["edges", this.#context.connector.edges],
      ["inbox", inbox],
      ["complete", complete],
      ["looked", [...this.#looked]],
      ...[...settings].map(([key, value]) => [`setting:${key}`, value] as const),
    ];
    return [
      ...states.filter(([, value]) => value !== null).map(([key, value]) => ({ put: "state", key, value }) as const),
      ...[...chats.values()].map(({ row }) => ({ put: "chat", row }) as const),
      ...this.#sending.rows().map((row) => ({ put: "outbox", row }) as const),
    ];
  }

  /** First what nobody looked at, then what was looked at longest ago. */
  #evictionOrder(): ChatId[] {
    const looked = [...this.#looked].filter((id) => this.#following.chats.has(id));
    return [...[...this.#following.chats.keys()].filter((id) => !this.#looked.has(id)), ...looked];
  }
}
