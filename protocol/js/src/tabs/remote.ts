/**
 * The tab's side: the {@link Client} of an application, whoever holds the core. The holder may change while the page
 * lives (a leading tab closes, a worker ends): then everything that was not answered is said again, and a listener sees
 * each event once all the same.
 */

import {
  type ChatEvent,
  type Client,
  type ClientEvent,
  type Command,
  type HistoryPage,
  type HistoryQuery,
  type Listener,
  type MembersPage,
  type Refusal,
  type RefusedError,
  type Role,
  type Sharing,
  type Stored,
  type Submitted,
  type TokenSupplier,
} from "../api.js";
import type { ChatId, OutboxId, UserId } from "../ids.js";
import { localRefusal } from "../refusals.js";
import { refused, refusedHere, worded, wordedEvents } from "../words.js";
import type { Target } from "../core/sending.js";
import type { Asked, FromCore, HubConfig, ToCore, Told } from "./messages.js";

/** How a tab reaches the core. */
export interface Link {
  /** Begins; from then on the remote is called. */
  open(remote: LinkOwner): void;
  post(message: ToCore): void;
  close(): void;
}

export interface LinkOwner {
  /** A core is there, perhaps another one than before. */
  up(sharing: Sharing): void;
  /** There is none, and loading the page again would help. It may come all the same. */
  stopped(): void;
  take(message: FromCore): void;
}

/** Calls of one tab that wait for an answer. */
const callsMax = 1_000;

interface Call<T> {
  readonly message: ToCore;
  /** Of a command. */
  readonly kept?: () => void;
  readonly resolve: (value: T) => void;
  readonly reject: (refused: RefusedError) => void;
}

export class Remote implements Client, LinkOwner {
  readonly user: UserId;
  #listeners = new Map<number, { readonly listener: Listener; live: boolean }>();
  #commands = new Map<OutboxId, Call<Stored>>();
  #calls = new Map<number, Call<unknown>>();
  #lastNumber = 0;
  #sharing: Sharing | null = null;
  #isUp = false;
  #isStopped = false;
  #closed = false;
  /** What listeners know, for the day on which another core tells it anew. */
  #seen = new Map<ChatId, number>();
  #chats = new Set<ChatId>();
  #outbox = new Set<OutboxId>();
  readonly #stopWaking: () => void;

  constructor(
    readonly config: HubConfig,
    readonly token: TokenSupplier,
    readonly link: Link,
  ) {
    this.user = config.user;
    this.#stopWaking = onWake(
      (back) => {
        // A page that comes back from the browser's cache was forgotten meanwhile.
        if (back && this.#sharing !== null && !this.#isStopped) this.up(this.#sharing);
        this.#tell("wake");
      },
      () => {
        // Who leads gives the lock back by going; all others have to say that they go.
        if (this.#sharing === "worker" || this.#sharing === "follower") this.#post({ is: "bye" });
      },
    );
    link.open(this);
  }

  // Link

  up(sharing: Sharing): void {
    if (this.#closed) return;
    this.#isUp = true;
    this.#isStopped = false;
    this.#sharing = sharing;
    this.#post({ is: "hello", config: this.config });
    for (const listener of this.#listeners.keys()) this.#post({ is: "listen", listener });
    for (const { message } of [...this.#commands.values(), ...this.#calls.values()]) this.#post(message);
  }

  stopped(): void {
    if (this.#closed) return;
    this.#isUp = false;
    this.#isStopped = true;
    for (const { listener } of this.#listeners.values()) listener([outdated()]);
  }

  take(message: FromCore): void {
    if (this.#closed) return;
    switch (message.is) {
      case "state":
        this.#state(message.listener, wordedEvents(message.events));
        break;
      case "events":
        this.#happened(wordedEvents(message.events));
        break;
      case "kept":
        this.#commands.get(message.id)?.kept?.();
        break;
      case "ended": {
        const call = this.#commands.get(message.id);
        this.#commands.delete(message.id);
        if ("stored" in message.ending) call?.resolve(message.ending.stored);
        else call?.reject(refused(message.ending.refusal));
        break;
      }
      case "answer":
      case "refused": {
        const call = this.#calls.get(message.call);
        this.#calls.delete(message.call);
        if (message.is === "answer") call?.resolve(message.value);
        else call?.reject(refused(message.refusal));
        break;
      }
      case "tokenWanted": {
        const { question } = message;
        this.token(message.reason).then(
          (token) => {
            this.#post({ is: "token", question, token });
          },
          () => {
            this.#post({ is: "token", question, token: undefined });
          },
        );
        break;
      }
      case "outdated":
        // What was submitted and not answered is with who goes on, or in the application's hands.
        this.link.close();
        this.stopped();
        break;
      case "gone":
        this.#end();
        break;
      case "here":
      // The link's.
    }
  }

  #state(id: number, state: readonly ClientEvent[]): void {
    const listening = this.#listeners.get(id);
    if (listening === undefined) return;
    const events: ClientEvent[] = [...state];
    if (this.#sharing !== null) events.unshift({ type: "sharing", sharing: this.#sharing });
    if (listening.live) events.push(...this.#gone(state));
    listening.live = true;
    this.#learn(state);
    listening.listener(events);
  }

  /** What a listener knows of and a new core does not: it went while nobody was told. */
  #gone(state: readonly ClientEvent[]): ClientEvent[] {
    const chats = new Set(this.#chats);
    const outbox = new Set(this.#outbox);
    let complete = false;
    for (const event of state) {
      if (event.type === "outbox") for (const { id } of event.entries) outbox.delete(id);
      if (event.type === "chats") {
        complete = event.complete;
        for (const { id } of event.chats) chats.delete(id);
      }
    }
    // What is under way to the core is not there yet.
    const left = [...outbox].filter((id) => !this.#commands.has(id));
    return [
      ...(complete && chats.size > 0 ? [{ type: "chatsLeft", chats: [...chats] } as const] : []),
      ...(left.length > 0 ? [{ type: "outboxLeft", ids: left } as const] : []),
    ];
  }

  #happened(batch: readonly ClientEvent[]): void {
    const events = batch.flatMap((event) => (event.type === "events" ? this.#once(event.chat, event.events) : [event]));
    this.#learn(events);
    if (events.length === 0) return;
    for (const { listener, live } of [...this.#listeners.values()]) if (live) listener(events);
  }

  /** Another core may repeat events, or have begun behind some that never came here. */
  #once(chat: ChatId, events: readonly ChatEvent[]): ClientEvent[] {
    const seen = this.#seen.get(chat);
    const fresh = events.filter(({ seq }) => seen === undefined || seq > seen);
    const [first] = fresh;
    if (first === undefined) return [];
    const missed = seen !== undefined && first.seq > seen + 1;
    return [
      ...(missed ? [{ type: "hole", chat, before: first.seq } as const] : []),
      { type: "events", chat, events: fresh },
    ];
  }

  #learn(events: readonly ClientEvent[]): void {
    for (const event of events) {
      switch (event.type) {
        case "events":
          this.#seen.set(event.chat, event.events.at(-1)?.seq ?? 0);
          break;
        case "hole":
          this.#seen.set(event.chat, event.before - 1);
          break;
        case "reset":
          this.#seen.delete(event.chat);
          break;
        case "resetAll":
          this.#seen.clear();
          this.#chats.clear();
          break;
        case "chats":
          for (const { id } of event.chats) this.#chats.add(id);
          break;
        case "chatsLeft":
          for (const id of event.chats) {
            this.#chats.delete(id);
            this.#seen.delete(id);
          }
          break;
        case "outbox":
          for (const { id } of event.entries) this.#outbox.add(id);
          break;
        case "outboxLeft":
          for (const id of event.ids) this.#outbox.delete(id);
      }
    }
  }

  // Client

  subscribe(listener: Listener): () => void {
    const id = ++this.#lastNumber;
    if (this.#closed) listener([{ type: "connection", connection: { state: "closed" } }]);
    else {
      this.#listeners.set(id, { listener, live: false });
      if (this.#isStopped) listener([outdated()]);
      this.#post({ is: "listen", listener: id });
    }
    return () => {
      this.#listeners.delete(id);
    };
  }

  authorize(token: string): void {
    this.#tell("authorize", token);
  }

  connectNow(): void {
    this.#tell("connectNow");
  }

  send(chat: ChatId, text: string, again?: OutboxId): Submitted {
    return this.#do(chat, { kind: "send", text }, again);
  }

  createGroup(name: string, members: readonly UserId[]): Submitted {
    return this.#do(null, { kind: "createGroup", name, members });
  }

  createDirect(peer: UserId): Submitted {
    return this.#do(null, { kind: "createDirect", peer });
  }

  addMembers(
    chat: ChatId,
    members: readonly UserId[],
    { role = "member", withHistory = false }: { readonly role?: Role; readonly withHistory?: boolean } = {},
  ): Submitted {
    return this.#do(chat, { kind: "addMembers", members, role, withHistory });
  }

  removeMembers(chat: ChatId, members: readonly UserId[]): Submitted {
    return this.#do(chat, { kind: "removeMembers", members });
  }

  setRole(chat: ChatId, member: UserId, role: Role): Submitted {
    return this.#do(chat, { kind: "setRole", member, role });
  }

  rename(chat: ChatId, name: string): Submitted {
    return this.#do(chat, { kind: "rename", name });
  }

  markRead(chat: ChatId, seq: number): Submitted {
    return this.#do(this.user, { kind: "markRead", chat, read: seq });
  }

  setSetting(key: string, value: Uint8Array): Submitted {
    return this.#do(this.user, { kind: "setSetting", key, value });
  }

  retry(id: OutboxId): void {
    this.#tell("retry", id);
  }

  discard(id: OutboxId): void {
    this.#tell("discard", id);
  }

  typing(chat: ChatId, typing: boolean): void {
    this.#tell("typing", chat, typing);
  }

  presence(chat: ChatId, here: boolean): void {
    this.#tell("presence", chat, here);
  }

  history(chat: ChatId, query?: HistoryQuery): Promise<HistoryPage> {
    return this.#ask("history", chat, query) as Promise<HistoryPage>;
  }

  seqAt(chat: ChatId, timeUs: number): Promise<number> {
    return this.#ask("seqAt", chat, timeUs) as Promise<number>;
  }

  preview(chats: readonly ChatId[]): void {
    this.#tell("preview", chats);
  }

  members(chat: ChatId, after?: UserId): Promise<MembersPage> {
    return this.#ask("members", chat, after) as Promise<MembersPage>;
  }

  async signOut(): Promise<void> {
    await this.#ask("signOut");
  }

  close(): void {
    if (this.#closed) return;
    this.#post({ is: "bye" });
    this.#end();
  }

  // What is behind them

  #do(target: Target, command: Command, id = newOutboxId()): Submitted {
    const message = { is: "do", id, target, command } as const;
    let kept = (): void => undefined;
    const isKept = new Promise<void>((resolve) => {
      kept = resolve;
    });
    const done = new Promise<Stored>((resolve, reject) => {
      const refusal = this.#refusal(this.#commands);
      if (refusal !== null) reject(refused(refusal));
      else {
        this.#commands.set(id, { message, kept, resolve, reject });
        this.#post(message);
      }
    });
    // What ended well was kept; of what did not, the word that it was kept came before.
    const keptOrDone = Promise.race([isKept, done.then(() => undefined)]);
    // Who only looks at the outbox need not look here.
    for (const promise of [done, keptOrDone]) promise.catch(() => undefined);
    return { id, kept: keptOrDone, done };
  }

  #ask(method: Asked, ...args: readonly unknown[]): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const refusal = this.#refusal(this.#calls);
      if (refusal !== null) {
        reject(refused(refusal));
        return;
      }
      const call = ++this.#lastNumber;
      const message = { is: "ask", call, method, args } as const;
      this.#calls.set(call, { message, resolve, reject });
      this.#post(message);
    });
  }

  #tell(method: Told, ...args: readonly unknown[]): void {
    this.#post({ is: "tell", method, args });
  }

  #refusal(waiting: ReadonlyMap<unknown, unknown>): Refusal | null {
    if (this.#closed) return localRefusal("closed");
    return waiting.size >= callsMax ? localRefusal("too_many_waiting") : null;
  }

  #post(message: ToCore): void {
    if (this.#isUp && !this.#closed) this.link.post(message);
  }

  #end(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#stopWaking();
    this.link.close();
    for (const { listener } of this.#listeners.values())
      listener([{ type: "connection", connection: { state: "closed" } }]);
    for (const call of [...this.#commands.values(), ...this.#calls.values()]) call.reject(refusedHere("closed"));
    this.#commands.clear();
    this.#calls.clear();
    this.#listeners.clear();
  }
}

const outdated = (): ClientEvent => ({
  type: "connection",
  connection: { state: "stopped", reason: worded(localRefusal("outdated")) },
});

/** Random, also on pages without a secure origin, which have no `randomUUID`. */
function newOutboxId(): OutboxId {
  return [...crypto.getRandomValues(new Uint8Array(12))]
    .map((byte) => byte.toString(16).padStart(2, "0"))
    .join("") as OutboxId;
}

/** Calls `woke` when network or page come back (`true`: from the browser's cache), `hidden` when the page goes for good or into it. */
function onWake(woke: (back: boolean) => void, hidden: () => void): () => void {
  if (typeof document === "undefined") return () => undefined;
  const stop = new AbortController();
  const { signal } = stop;
  addEventListener(
    "online",
    () => {
      woke(false);
    },
    { signal },
  );
  addEventListener("pagehide", hidden, { signal });
  addEventListener(
    "pageshow",
    ({ persisted }) => {
      woke(persisted);
    },
    { signal },
  );
  document.addEventListener(
    "visibilitychange",
    () => {
      if (!document.hidden) woke(false);
    },
    { signal },
  );
  return () => {
    stop.abort();
  };
}
