/**
 * What an application sees of Panda: the state of the connection, chats, events, the outbox and the calls that change
 * something. Everything here can be cloned between threads and written as JSON, because the connection may live in a
 * worker or another tab. Numbers: seqs and counters are whole numbers below 2^53; times are microseconds since
 * 1970-01-01 UTC where the name ends in `Us`, milliseconds where it ends in `Ms`.
 */

import type { ChatId, DeviceId, EntityId, OutboxId, SessionId, UserId } from "./ids.js";

/** What a member may do, from least to most: `reader` only reads, `member` sends, `admin` manages, `owner` all. */
export type Role = "reader" | "member" | "admin" | "owner";
export type ChatKind = "group" | "direct";

// ---------------------------------------------------------------------------------------------------------------------
// Refusals

/**
 * Why something was refused. `code` and `label` are those of `SPEC.md`, section 11, the same over HTTP; codes below 1000
 * are this client's own: 1 `offline` (no session, and this call does not wait for one), 2 `unreachable` (no answer over
 * HTTP, or one that is not Panda's), 3 `closed` (this client was closed), 4 `discarded` (taken out of the outbox before
 * it was answered), 5 `storage` (what was asked for cannot be kept or read here), 6 `too_many_waiting` (more calls or
 * queued entries than the client holds; nothing of it was kept), 7 `outdated` (the page has to be loaded again).
 */
export interface Refusal {
  readonly code: number;
  /** The code's stable name; for a code that this client does not know, `code_` and the number. */
  readonly label: string;
  /** For a person: what is so and what to do, in English. An application with catalogues goes by `label`. */
  readonly text: string;
  /** Not before this many milliseconds does it help to repeat; 0: no such wait is known. */
  readonly retryAfterMs: number;
  /** `out_of_order` and `nothing_to_do`: the counter and the seq that the server named. */
  readonly details?: { readonly counter: number; readonly seq: number };
  /** HTTP: the status. */
  readonly status?: number;
  /** HTTP: the field of the request that is refused. */
  readonly field?: string;
  /** HTTP, `limit_reached`: the users because of whom. */
  readonly users?: readonly UserId[];
}

/** With what every promise of this package is rejected. */
export class RefusedError extends Error {
  override readonly name = "RefusedError";
  constructor(readonly refusal: Refusal) {
    super(refusal.text);
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Making a client

/** Why a token is asked for. */
export type TokenReason =
  /** A session is opened and there is no ticket that opens it. */
  | "connect"
  /** The session's right ends soon; a newer token keeps it. */
  | "refresh"
  /** The server did not take the token that was given last: giving the same one again ends in `signedOut`. */
  | "refused";

/**
 * Gives an access token, or `null` when a person has to log in first; then the connection becomes `signedOut` until
 * {@link Client.authorize}. A rejection counts as "not now": it is asked again with backoff. With several tabs, any one
 * of them is asked.
 */
export type TokenSupplier = (reason: TokenReason) => Promise<string | null>;

export interface ClientOptions {
  /** The server's base URL, for a page that it serves: `location.origin`. */
  readonly url: string;
  /** Whose client this is, as `register` and `login` answer it. All that is kept is kept apart for each user. */
  readonly user: UserId;
  readonly token: TokenSupplier;
  /**
   * Makes the worker that holds the one connection of all tabs. Bundlers want to see the expression in the application:
   * `() => new SharedWorker(new URL("./panda.worker.ts", import.meta.url), { type: "module", name: "panda" })`, where
   * `panda.worker.ts` has the line `import "@panda/client/worker"`. Without it, or where SharedWorker is missing or
   * fails, one tab leads and the others speak through it; where that cannot be either, each tab is a device of its own.
   */
  readonly worker?: () => SharedWorker;
  /** Where to keep device, cursors, outbox and history. Default: `indexedDb`, and memory where that is refused. */
  readonly storage?: "indexedDb" | "memory";
  /** Name and version for the server's logs, at most 64 bytes. Default: `panda-js/` and this package's version. */
  readonly clientName?: string;
  /** The WebSocket to use where there is no global one (Node before 22). Only without a worker. */
  readonly webSocket?: new (url: string, protocol: string) => WebSocket;
  /** The fetch to use. Default: the global one. Only without a worker. */
  readonly fetch?: typeof fetch;
  /** At most so many bytes of events are kept for reading offline. Default 32 MiB, 0 to 1 GiB. */
  readonly historyBytesMax?: number;
}

// ---------------------------------------------------------------------------------------------------------------------
// Connection

export type Connection =
  /** Dialling, or waiting for the Welcome. */
  | { readonly state: "connecting"; readonly attempt: number }
  /**
   * A session is open. `current`: all chats were brought up to their heads once since it opened. `url`: the base URL of the
   * server that has it, which may be another one of the deployment after each reconnect. `clockAheadMs`: how much later it is by this machine's
   * clock than by the server's, to about a second; `null` if the server did not say.
   */
  | {
      readonly state: "online";
      readonly session: SessionId;
      readonly current: boolean;
      readonly expiresAtMs: number;
      readonly url: string;
      readonly clockAheadMs: number | null;
    }
  /**
   * No session; the next attempt is at `retryAtMs` (this machine's clock). `reason`: why the last one ended, if it said;
   * `origin_refused` if the server seems to take no page of this origin.
   */
  | { readonly state: "waiting"; readonly attempt: number; readonly retryAtMs: number; readonly reason: Refusal | null }
  /** A person has to log in; what was typed stays in the outbox. {@link Client.authorize} goes on. */
  | { readonly state: "signedOut"; readonly reason: Refusal | null }
  /**
   * It does not come back by itself: `replaced`, `version_unsupported`, `revoked`, `origin_refused`, or a defect.
   * {@link Client.connectNow} tries once more. With `outdated` only loading the page again does: another version of it goes
   * on with what is kept here, or the server has a newer one and a part of this one did not come.
   */
  | { readonly state: "stopped"; readonly reason: Refusal }
  /** {@link Client.close} or {@link Client.signOut} was called. */
  | { readonly state: "closed" };

/** How tabs share the connection: a SharedWorker, a leading tab and its followers, or nobody. */
export type Sharing = "worker" | "leader" | "follower" | "alone";

/** What becomes of a text that is typed now when the page closes. */
export interface StorageState {
  /** `durable`: kept on this machine. `memory`: gone with the page (with all pages, in a worker). */
  readonly kind: "durable" | "memory";
  /** Why it is memory although `indexedDb` was wanted: denied, full, damaged or of a newer version. */
  readonly reason: string | null;
}

// ---------------------------------------------------------------------------------------------------------------------
// Chats and their events

/** What the chat list shows. All fields of a chat are sent whenever one of them changes. */
export interface ChatSummary {
  readonly id: ChatId;
  /** `null` until the server told it; with a fresh device that follows soon after the list itself. */
  readonly info: {
    readonly kind: ChatKind;
    /** Empty for a direct chat. */
    readonly name: string;
    readonly members: number;
    readonly role: Role;
  } | null;
  /** A direct chat's other user, once known. */
  readonly peer: UserId | null;
  /** The seq of the event with which the user became a member. */
  readonly joined: number;
  /** The user has read up to here, on any device; 0: nothing. */
  readonly read: number;
  /** The last event that is known to exist; 0: not known yet. */
  readonly head: number;
  /** The first event that the user may see, as far as known. */
  readonly visibleFrom: number;
  /** Messages of others after `read`. Where `unreadExact` is false it counts events that were not seen yet, too. */
  readonly unread: number;
  readonly unreadExact: boolean;
  /** The newest message that this client has seen, else its newest event; {@link Client.preview} loads it. */
  readonly last: ChatEvent | null;
  /**
   * `live`: every event of it comes. `opening`: asked for. `paused`: no session, or the server does not follow it for now,
   * as `refusal` says (`too_many_subscriptions`: until another chat is left). `refused`: for good, see `refusal`.
   */
  readonly following: "live" | "opening" | "paused" | "refused";
  readonly refusal: Refusal | null;
}

/** What every event has. */
export interface EventHeader {
  readonly seq: number;
  /** Strictly rising within a chat; by the server's clock. */
  readonly timeUs: number;
  readonly actor: UserId;
  readonly device: DeviceId;
  readonly counter: number;
  /** It is what this entry of this device's outbox made; only while the entry is still there. */
  readonly outbox?: OutboxId;
}

/** What a chat's event says. Kinds that this version does not know come as `unknown`; they have a seq all the same. */
export type ChatEventBody =
  | { readonly kind: "chatCreated"; readonly chatKind: ChatKind; readonly name: string }
  | { readonly kind: "memberAdded"; readonly member: UserId; readonly role: Role; readonly visibleFrom: number }
  | { readonly kind: "memberRemoved"; readonly member: UserId }
  | { readonly kind: "roleChanged"; readonly member: UserId; readonly role: Role }
  | { readonly kind: "chatRenamed"; readonly name: string }
  | { readonly kind: "messageSent"; readonly format: "plain"; readonly text: string }
  /** The body was erased; `of` is the kind that it was, or `unknown`. */
  | { readonly kind: "erased"; readonly of: string }
  | { readonly kind: "unknown"; readonly code: number };

export type ChatEvent = EventHeader & ChatEventBody;

// ---------------------------------------------------------------------------------------------------------------------
// Outbox

/** What the outbox can hold: all commands of `SPEC.md`, section 8. */
export type Command =
  | { readonly kind: "send"; readonly text: string }
  | { readonly kind: "createGroup"; readonly name: string; readonly members: readonly UserId[] }
  | { readonly kind: "createDirect"; readonly peer: UserId }
  | {
      readonly kind: "addMembers";
      readonly members: readonly UserId[];
      readonly role: Role;
      readonly withHistory: boolean;
    }
  | { readonly kind: "removeMembers"; readonly members: readonly UserId[] }
  | { readonly kind: "setRole"; readonly member: UserId; readonly role: Role }
  | { readonly kind: "rename"; readonly name: string }
  | { readonly kind: "markRead"; readonly chat: ChatId; readonly read: number }
  | { readonly kind: "setSetting"; readonly key: string; readonly value: Uint8Array };

/**
 * One command of this device. An entry goes `queued`, `sent`, `stored` or `failed`; a connection that breaks brings
 * `sent` back to `queued`. `stored` leaves the outbox together with its event (see {@link ClientEvent}); `failed` stays
 * until {@link Client.retry} or {@link Client.discard}.
 */
export interface OutboxEntry {
  readonly id: OutboxId;
  /** The chat, or the own user for `markRead` and `setSetting`. */
  readonly entity: EntityId;
  readonly command: Command;
  readonly state: "queued" | "sent" | "stored" | "failed";
  /** When the person acted, by this machine's clock. For showing, not for order: entries come in their order. */
  readonly createdAtMs: number;
  /** With `stored`: the first event that it made. */
  readonly seq: number | null;
  /** With `failed`, why; with `queued`, why it still waits (`rate_limited`, `damaged` ...), if the server said so. */
  readonly refusal: Refusal | null;
}

/** How a command ended well. */
export interface Stored {
  readonly entity: EntityId;
  /** The first event that it made; for `nothing_to_do`, the event that did it before (0: none). */
  readonly seq: number;
  /** False for `nothing_to_do`: it was so already. */
  readonly changed: boolean;
}

// ---------------------------------------------------------------------------------------------------------------------
// The stream

/**
 * What happens, in order. A listener first gets the whole state as events (connection, storage, sharing, settings,
 * chats, outbox), then every change once. Reducing them gives the application's state: there is no other source for it.
 */
export type ClientEvent =
  | { readonly type: "connection"; readonly connection: Connection }
  | { readonly type: "sharing"; readonly sharing: Sharing }
  | { readonly type: "storage"; readonly storage: StorageState }
  /** New and changed chats. `complete`: with these the list is whole (as of the store, offline). */
  | { readonly type: "chats"; readonly chats: readonly ChatSummary[]; readonly complete: boolean }
  /** The user is not a member of these any more, on whatever device that was decided. What was read may stay on the screen. */
  | { readonly type: "chatsLeft"; readonly chats: readonly ChatId[] }
  /**
   * Events of one chat with rising seqs, dense, each once over the life of a listener; they follow the last ones of this
   * chat unless a `hole` or `reset` came between. Pages of {@link Client.history} are apart from it and may repeat them.
   */
  | { readonly type: "events"; readonly chat: ChatId; readonly events: readonly ChatEvent[] }
  /**
   * The next `events` of this chat begin at `before`, not behind the last ones that came: too many were missed, or they
   * may not be seen or are kept no longer. What may be seen of them is read by {@link Client.history}.
   */
  | { readonly type: "hole"; readonly chat: ChatId; readonly before: number }
  /** The server's store is another one: everything held of this chat is dropped, and read anew by pages. */
  | { readonly type: "reset"; readonly chat: ChatId }
  /** Everything held of all chats is dropped: a `chats` with `complete` follows. The outbox stays. */
  | { readonly type: "resetAll" }
  /** This client reads more slowly than events come; nothing is lost. `head` is what it is on the way to. */
  | { readonly type: "lagging"; readonly entity: EntityId; readonly head: number }
  /** New and changed entries, oldest first within one entity. */
  | { readonly type: "outbox"; readonly entries: readonly OutboxEntry[] }
  /** Stored (the event came in the same batch or before), or discarded. */
  | { readonly type: "outboxLeft"; readonly ids: readonly OutboxId[] }
  /** Ends by itself after 6 seconds: then `typing` false comes, as it does with a message of this user. */
  | { readonly type: "typing"; readonly chat: ChatId; readonly user: UserId; readonly typing: boolean }
  | { readonly type: "presence"; readonly chat: ChatId; readonly user: UserId; readonly here: boolean }
  /** A setting of the inbox, from whatever device; an empty value removes it. Seen since this device first connected. */
  | { readonly type: "setting"; readonly key: string; readonly value: Uint8Array };

/** Gets what happened at once in one array, so that a store needs one update for it. */
export type Listener = (events: readonly ClientEvent[]) => void;

// ---------------------------------------------------------------------------------------------------------------------
// Reading

/** Exactly one of `before`, `after` and neither (the newest). */
export interface HistoryQuery {
  /** Events with lower seqs than this, the nearest ones. */
  readonly before?: number;
  /** Events with higher seqs than this, the nearest ones. */
  readonly after?: number;
  /** At most so many events, 1 to 256. Default 50. */
  readonly limit?: number;
}

/** Events with rising seqs, dense. */
export interface HistoryPage {
  readonly events: readonly ChatEvent[];
  /** The first event that the user may see: nothing is before it. */
  readonly beginsAt: number;
  /** The chat's last event, as far as known. */
  readonly head: number;
  /** `store`: read from this machine only, because there is no session; there may be more on the server. */
  readonly from: "server" | "store";
}

export interface Member {
  readonly user: UserId;
  readonly role: Role;
  /** The seq of the event with which they joined. */
  readonly joined: number;
}

export interface MembersPage {
  readonly members: readonly Member[];
  /** Whether others come behind the last one. */
  readonly more: boolean;
}

// ---------------------------------------------------------------------------------------------------------------------
// The client

/**
 * A call that changes something: `id` at once, to find the entry in the outbox; `kept` when the outbox has it, `done` when
 * it ended.
 */
export interface Submitted {
  readonly id: OutboxId;
  /**
   * From then on the outbox has it, as surely as this machine keeps anything ({@link StorageState}); until then only who
   * called. Rejected with {@link RefusedError} when the outbox takes nothing of it; with `closed` nobody knows, and
   * {@link Client.send} with the same ID finds out. It may stay unhandled.
   */
  readonly kept: Promise<void>;
  /** Rejected with {@link RefusedError} when the entry becomes `failed` or is discarded. It may stay unhandled. */
  readonly done: Promise<Stored>;
}

/**
 * One user's client in this tab. Calls that change something are queued, also offline, kept on disk, sent in their order
 * for each chat and repeated until they are answered: at most once applied, whatever breaks. At most 1,000 entries wait
 * in the outbox (`too_many_waiting` beyond).
 */
export interface Client {
  readonly user: UserId;
  /** Calls `listener` with the whole state soon, then with every change. Returns how to stop. */
  subscribe(listener: Listener): () => void;

  /** Gives a token after a person logged in again. */
  authorize(token: string): void;
  /** A person wants it now: ends a wait, but not before the server's `retryAfterMs`, nor within a second of the last try. */
  connectNow(): void;

  /**
   * 1 byte to 16 KiB of UTF-8. `again`: the ID of an earlier call of which nobody knows whether the outbox has it. If it
   * has, or had, this is that one and no second message.
   */
  send(chat: ChatId, text: string, again?: OutboxId): Submitted;
  /** At most 256 bytes of name and 100 members besides the user. The chat's ID is the entry's `entity`, known before it is sent. */
  createGroup(name: string, members: readonly UserId[]): Submitted;
  createDirect(peer: UserId): Submitted;
  /** 1 to 100. `withHistory`: they see everything that was ever said. Default `member`, `false`. */
  addMembers(
    chat: ChatId,
    members: readonly UserId[],
    options?: { readonly role?: Role; readonly withHistory?: boolean },
  ): Submitted;
  /** 1 to 100; oneself to leave. */
  removeMembers(chat: ChatId, members: readonly UserId[]): Submitted;
  setRole(chat: ChatId, member: UserId, role: Role): Submitted;
  /** At most 256 bytes. */
  rename(chat: ChatId, name: string): Submitted;
  /** Marks as read up to `seq`, on all devices; a later call for the same chat takes the place of one that still waits. */
  markRead(chat: ChatId, seq: number): Submitted;
  /** Key 1 to 64 bytes, value at most 4,096; an empty value removes it. */
  setSetting(key: string, value: Uint8Array): Submitted;
  /** Queues a failed entry again, behind those of its chat. Its text never leaves the outbox before it is stored. */
  retry(id: OutboxId): void;
  /** Takes out an entry that is `queued` and was never sent, or `failed`. Others stay: it may still happen. */
  discard(id: OutboxId): void;

  /** Call on every key: what is sent is bounded (one signal every 3 s). `false` when the text was emptied or left. */
  typing(chat: ChatId, typing: boolean): void;
  /** Tells those who listen to the chat now. */
  presence(chat: ChatId, here: boolean): void;

  /** Reads from this machine what it has, from the server what is missing. Rejected with `offline` if it has nothing. */
  history(chat: ChatId, query?: HistoryQuery): Promise<HistoryPage>;
  /** The first event at or after this time, by bisection; `head + 1` if there is none. */
  seqAt(chat: ChatId, timeUs: number): Promise<number>;
  /** Loads `last` (and `info`) of these chats, where they are missing; they come as `chats`. For the rows that are visible. */
  preview(chats: readonly ChatId[]): void;
  /** Up to 256 members in the order of their IDs, behind `after`. */
  members(chat: ChatId, after?: UserId): Promise<MembersPage>;

  /** Says good-bye and removes everything that is kept of this user here, unsent texts too; in all tabs. */
  signOut(): Promise<void>;
  /** Ends this tab's part; the last one ends the session. */
  close(): void;
}
