/**
 * The client of one user in one thread: one connection, one store, any number of listeners. Tabs speak to it by way of
 * `tabs/`; it knows nothing of them.
 */

import type {
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
import { know } from "../codec/framing.js";
import { noDevice } from "../codec/session_frames.js";
import { newDeviceId } from "../codec/identifiers.js";
import type { ChatId, DeviceId, OutboxId, UserId } from "../ids.js";
import type { Output } from "../session/machine.js";
import type { Saved, Store, StoredCursor, StoreSource } from "../storage/store.js";
import type { Acting } from "./acting.js";
import { Connector, type Access } from "./connector.js";
import { Requests, type Context } from "./context.js";
import { Following } from "./following.js";
import { inTime, Journal, no, reasonOf } from "./journal.js";
import type { Submitter, Target } from "./sending.js";
import type { Deferred, Surroundings } from "./surroundings.js";

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
  /** A part of the code does not come, though the server is there: only loading the page again helps. */
  outdated(): void;
}

/** Of so many chats it is remembered that somebody looked at them. */
const lookedMax = 100;
/** Code that did not come, and perhaps does once there is a network, is asked for again after this. */
const loadAgainMs = 5_000;

/** Opens the store, or goes on without, then connects. Rejected where the code for a core without a store does not come. */
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
    const saved = await inTime(world, store.load());
    // What waits in the outbox is shown with the first word. Code that does not come is no reason to wait longer.
    const deferred = saved.outbox.length > 0 ? await inTime(world, world.deferred()).catch(() => null) : null;
    // What it holds may be damaged in ways that show only when it is taken in.
    return new Core(config, world, owner, stores, store, saved, null, deferred);
  } catch (error) {
    store?.close();
    const deferred = await inTime(world, world.deferred());
    const memory = new deferred.MemoryStore();
    return new Core(config, world, owner, stores, memory, await memory.load(), reasonOf(error), deferred);
  }
}

export class Core {
  readonly #context: Context;
  readonly #following: Following;
  #acting: Acting | null = null;
  /** What it is to do, once it is there: bounded by what tabs may have asked and the chats that there are. */
  #waiting: ((acting: Acting) => void)[] = [];
  #loading = false;
  /** What of the store is for it. */
  #saved: Saved | null;
  #connection: Connection = { state: "connecting", attempt: 0 };
  #storage: StorageState = { kind: "memory", reason: null };
  #access: Access | null;
  #batch: ClientEvent[] = [];
  /** Nobody hears anything before it is whole. */
  #flushing = true;
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
    deferred: Deferred | null,
  ) {
    const { state } = saved;
    this.#saved = saved;
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
        everything: ({ everything }) =>
          everything({
            device,
            access: this.#access,
            connector,
            following: this.#following,
            looked: this.#looked,
            acting: this.#acting,
            saved: this.#saved,
          }),
        evictionOrder: () => this.#evictionOrder(),
        outdated: () => {
          owner.outdated();
        },
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
          if (this.#acting === null) void this.#load();
          else this.#acting.welcomed();
        },
        carried: (output) => {
          this.#carried(output);
        },
        lost: () => {
          requests.lost();
          this.#following.lost();
          this.#acting?.lost();
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
    this.#following = new Following(this.#context, {
      outboxOf: this.#outboxOf,
      delivered: (chat, seq, of, counter) => {
        if (of === device) this.#acting?.delivered(chat, seq, counter);
      },
      released: (chat) => {
        this.#acting?.released(chat);
      },
      unlisted: (session) => {
        void this.#act((acting) => {
          acting.readList(session);
        });
      },
      unknown: ({ row }) => {
        void this.#act((acting) => {
          acting.want("info", row.id);
        });
      },
    });
    this.#following.load(
      saved.chats,
      (state.get("inbox") as StoredCursor | undefined) ?? null,
      state.get("complete") === true,
    );
    for (const [key, value] of state)
      if (key.startsWith("setting:")) this.#following.settings.set(key.slice(8), value as Uint8Array);
    if (deferred !== null) this.#take(deferred, saved);
    else if (saved.outbox.length > 0) void this.#load();
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
      { type: "outbox", entries: this.#acting?.entries() ?? [] },
    ];
  }

  submit(id: OutboxId, target: Target, command: Command, submitter: Submitter): void {
    void this.#act((acting) => {
      acting.submit(id, target, command, submitter);
    });
  }

  retry(id: OutboxId): void {
    void this.#act((acting) => {
      acting.retry(id);
    });
  }

  discard(id: OutboxId): void {
    void this.#act((acting) => {
      acting.discard(id);
    });
  }

  // Signals are of the moment: without a session there is nobody to tell.

  typing(chat: ChatId, typing: boolean): void {
    if (!this.#context.connector.isOnline) return;
    void this.#act((acting) => {
      acting.typing(chat, typing);
    });
  }

  presence(chat: ChatId, here: boolean): void {
    if (!this.#context.connector.isOnline) return;
    void this.#act((acting) => {
      acting.presence(chat, here);
    });
  }

  history(chat: ChatId, query?: HistoryQuery): Promise<HistoryPage> {
    this.#look(chat);
    return this.#act((acting) => acting.history(chat, query));
  }

  #look(chat: ChatId): void {
    if ([...this.#looked].at(-1) === chat || !this.#following.chats.has(chat)) return;
    this.#looked.delete(chat);
    this.#looked.add(chat);
    this.#looked = new Set([...this.#looked].slice(-lookedMax));
    this.#context.journal.put({ put: "state", key: "looked", value: [...this.#looked] });
  }

  seqAt(chat: ChatId, timeUs: number): Promise<number> {
    return this.#act((acting) => acting.seqAt(chat, timeUs));
  }

  members(chat: ChatId, after?: UserId): Promise<MembersPage> {
    return this.#act((acting) => acting.members(chat, after));
  }

  preview(chats: readonly ChatId[]): void {
    void this.#act((acting) => {
      acting.want("all", ...chats);
    });
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
    this.#acting?.close();
    await this.#context.journal.close();
  }

  #outboxOf = (of: DeviceId, counter: number): OutboxId | undefined =>
    of === this.#context.device && of !== noDevice ? this.#acting?.outboxOf(counter) : undefined;

  /** What is asked before the code is there is done in its order, once it is. */
  #act<T>(act: (acting: Acting) => T | Promise<T>): Promise<T> {
    return new Promise((resolve) => {
      const go = (acting: Acting): void => {
        resolve(act(acting));
      };
      if (this.#acting !== null) go(this.#acting);
      else {
        this.#waiting.push(go);
        void this.#load();
      }
    });
  }

  /** Loads the code. Where there is a server that does not have it, it is of another version; else it is tried again. */
  async #load(): Promise<void> {
    const saved = this.#saved;
    if (this.#loading || saved === null || this.#isClosed()) return;
    this.#loading = true;
    try {
      const deferred = await this.world.deferred();
      if (!this.#isClosed()) this.#take(deferred, saved);
    } catch {
      if (this.#isClosed()) return;
      if (this.#context.connector.isOnline) this.owner.outdated();
      else
        this.world.after(loadAgainMs, () => {
          this.#loading = false;
          void this.#load();
        });
    }
  }

  #take({ Acting, requestFrames }: Deferred, saved: Saved): void {
    know(requestFrames);
    const acting = new Acting(this.#context, this.#following, saved, this.#outboxOf);
    this.#acting = acting;
    this.#saved = null;
    const entries = acting.entries();
    if (entries.length > 0) this.#emit({ type: "outbox", entries });
    acting.welcomed();
    for (const go of this.#waiting) go(acting);
    this.#waiting = [];
  }

  #isClosed(): boolean {
    return this.#connection.state === "closed";
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
          this.#acting?.heard(output.signal);
      }
    } catch (error) {
      // Bytes of an event, or a number, that nobody may send: the session is no good.
      if (!(error instanceof DecodeError)) throw error;
      this.#context.connector.use((machine, now) => {
        machine.broke(error.reason, now);
      });
    }
  }

  #emit(event: ClientEvent): void {
    const last = this.#batch.at(-1);
    if (event.type === "events" && last?.type === "events" && last.chat === event.chat) {
      this.#batch[this.#batch.length - 1] = { ...event, events: [...last.events, ...event.events] };
    } else this.#batch.push(event);
    if (event.type === "events") for (const one of event.events) this.#acting?.said(event.chat, one);
    this.#soon();
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

  /** First what nobody looked at, then what was looked at longest ago. */
  #evictionOrder(): ChatId[] {
    const looked = [...this.#looked].filter((id) => this.#following.chats.has(id));
    return [...[...this.#following.chats.keys()].filter((id) => !this.#looked.has(id)), ...looked];
  }
}
