/** A client without a server: tests say what happens, and look at what was asked for. */

import type {
  ChatEvent,
  ChatEventBody,
  ChatId,
  ChatSummary,
  Client,
  ClientEvent,
  HistoryPage,
  HistoryQuery,
  Listener,
  MembersPage,
  OutboxEntry,
  OutboxId,
  Stored,
  Submitted,
  UserId,
} from "@panda/client";

export const ada = "0h00000000000000000000000a" as UserId;
export const ben = "0h00000000000000000000000b" as UserId;
export const tea = "1h00000000000000000000000t" as ChatId;
export const cake = "1h00000000000000000000000c" as ChatId;

/** A Monday at noon. */
export const NOON_US = 1_800_014_400_000_000;

export function event(seq: number, body: ChatEventBody, actor: UserId = ben): ChatEvent {
  const header = { seq, timeUs: NOON_US + seq * 1_000_000, actor, device: "11" as ChatEvent["device"], counter: seq };
  return { ...header, ...body };
}

export const said = (seq: number, text: string, actor: UserId = ben): ChatEvent =>
  event(seq, { kind: "messageSent", format: "plain", text }, actor);

export function summary(id: ChatId, changes: Partial<ChatSummary> = {}): ChatSummary {
  return {
    id,
    info: { kind: "group", name: id === tea ? "tea" : "cake", members: 2, role: "owner" },
    peer: null,
    joined: 1,
    read: 0,
    head: 0,
    visibleFrom: 1,
    unread: 0,
    unreadExact: true,
    last: null,
    following: "live",
    refusal: null,
    ...changes,
  };
}

export function queued(id: string, text: string, changes: Partial<OutboxEntry> = {}): OutboxEntry {
  const command = { kind: "send", text } as const;
  return { id: id as OutboxId, entity: tea, command, state: "queued", createdAtMs: 0, seq: null, refusal: null, ...changes };
}

interface Asked {
  readonly what: string;
  readonly args: readonly unknown[];
  readonly id: OutboxId | null;
  /** The outbox has it. */
  readonly keep: () => void;
  readonly end: (stored: Stored) => void;
  readonly refuse: (error: Error) => void;
}

export class FakeClient implements Client {
  readonly user = ada;
  /** All that was asked of it, in order. */
  readonly asked: Asked[] = [];
  /** What `history` answers from. */
  readonly events = new Map<ChatId, readonly ChatEvent[]>();
  readonly #listeners = new Set<Listener>();
  #ids = 0;

  /** Something happens. */
  emit(...events: ClientEvent[]): void {
    for (const listener of this.#listeners) listener(events);
  }

  subscribe(listener: Listener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #submit(what: string, ...args: unknown[]): Submitted {
    this.#ids += 1;
    const done = deferred<Stored>();
    const kept = deferred<undefined>();
    for (const { promise } of [done, kept]) promise.catch(() => undefined);
    const refuse = (error: Error) => {
      kept.reject(error);
      done.reject(error);
    };
    const id = `o${String(this.#ids)}` as OutboxId;
    this.asked.push({ what, args, id, keep: () => kept.resolve(undefined), end: done.resolve, refuse });
    return { id, kept: kept.promise, done: done.promise };
  }

  #note(what: string, ...args: unknown[]): void {
    const nothing = () => undefined;
    this.asked.push({ what, args, id: null, keep: nothing, end: nothing, refuse: nothing });
  }

  authorize = (token: string) => this.#note("authorize", token);
  connectNow = () => this.#note("connectNow");
  send = (...args: Parameters<Client["send"]>) => this.#submit("send", ...args);
  createGroup = (...args: [string, readonly UserId[]]) => this.#submit("createGroup", ...args);
  createDirect = (peer: UserId) => this.#submit("createDirect", peer);
  addMembers = (...args: Parameters<Client["addMembers"]>) => this.#submit("addMembers", ...args);
  removeMembers = (...args: Parameters<Client["removeMembers"]>) => this.#submit("removeMembers", ...args);
  setRole = (...args: Parameters<Client["setRole"]>) => this.#submit("setRole", ...args);
  rename = (...args: Parameters<Client["rename"]>) => this.#submit("rename", ...args);
  markRead = (...args: Parameters<Client["markRead"]>) => this.#submit("markRead", ...args);
  setSetting = (...args: Parameters<Client["setSetting"]>) => this.#submit("setSetting", ...args);
  retry = (id: OutboxId) => this.#note("retry", id);
  discard = (id: OutboxId) => this.#note("discard", id);
  typing = (...args: Parameters<Client["typing"]>) => this.#note("typing", ...args);
  presence = (...args: Parameters<Client["presence"]>) => this.#note("presence", ...args);
  preview = (chats: readonly ChatId[]) => this.#note("preview", chats);
  close = () => this.#note("close");

  history(chat: ChatId, { after = 0, limit = 50 }: HistoryQuery = {}): Promise<HistoryPage> {
    this.#note("history", chat, after, limit);
    const all = this.events.get(chat) ?? [];
    const events = all.filter((one) => one.seq > after).slice(0, limit);
    return Promise.resolve({ events, beginsAt: 1, head: all.at(-1)?.seq ?? 0, from: "server" });
  }

  seqAt(chat: ChatId, timeUs: number): Promise<number> {
    const all = this.events.get(chat) ?? [];
    return Promise.resolve(all.find((one) => one.timeUs >= timeUs)?.seq ?? all.length + 1);
  }

  members(chat: ChatId): Promise<MembersPage> {
    this.#note("members", chat);
    return Promise.resolve({
      members: [
        { user: ada, role: "owner", joined: 2 },
        { user: ben, role: "member", joined: 3 },
      ],
      more: false,
    });
  }

  signOut(): Promise<void> {
    this.#note("signOut");
    return Promise.resolve();
  }
}

function deferred<T>() {
  let resolve: (value: T) => void = () => undefined;
  let reject: (error: Error) => void = () => undefined;
  const promise = new Promise<T>((resolved, rejected) => {
    resolve = resolved;
    reject = rejected;
  });
  return { promise, resolve, reject };
}
