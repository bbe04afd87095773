/** What an application would make of the stream: state, and waiting for it. It insists on what the stream promises. */

import type {
  ChatEvent,
  ChatSummary,
  Client,
  ClientEvent,
  Connection,
  OutboxEntry,
  Sharing,
  StorageState,
} from "../../src/api.js";
import type { ChatId, OutboxId } from "../../src/ids.js";

const waitMs = 15_000;

export class View {
  connection: Connection | null = null;
  sharing: Sharing | null = null;
  storage: StorageState | null = null;
  complete = false;
  readonly chats = new Map<ChatId, ChatSummary>();
  readonly events = new Map<ChatId, ChatEvent[]>();
  readonly outbox = new Map<OutboxId, OutboxEntry>();
  readonly settings = new Map<string, Uint8Array>();
  readonly log: ClientEvent[] = [];
  /** What broke a promise of the stream. */
  readonly violations: string[] = [];
  #waiting = new Set<() => void>();
  #holes = new Set<ChatId>();
  readonly stop: () => void;

  constructor(readonly client: Client) {
    this.stop = client.subscribe((batch) => {
      for (const event of batch) this.#reduce(event);
      for (const check of [...this.#waiting]) check();
    });
  }

  /** Resolves once it holds. */
  until<T>(what: string, holds: (view: this) => T | undefined | null | false, ms = waitMs): Promise<T> {
    return new Promise((resolve, reject) => {
      const check = (): boolean => {
        const value = holds(this);
        if (value === undefined || value === null || value === false) return false;
        this.#waiting.delete(check);
        clearTimeout(timer);
        resolve(value);
        return true;
      };
      const timer = setTimeout(() => {
        this.#waiting.delete(check);
        reject(new Error(`not in ${String(ms)} ms: ${what}; connection ${JSON.stringify(this.connection)}`));
      }, ms);
      if (!check()) this.#waiting.add(check);
    });
  }

  online(): Promise<true> {
    return this.until("online and current", ({ connection }) => connection?.state === "online" && connection.current);
  }

  texts(chat: ChatId): string[] {
    return (this.events.get(chat) ?? []).flatMap((event) => (event.kind === "messageSent" ? [event.text] : []));
  }

  #reduce(event: ClientEvent): void {
    this.log.push(event);
    switch (event.type) {
      case "connection":
        this.connection = event.connection;
        break;
      case "sharing":
        this.sharing = event.sharing;
        break;
      case "storage":
        this.storage = event.storage;
        break;
      case "chats":
        for (const chat of event.chats) this.chats.set(chat.id, chat);
        this.complete = event.complete;
        break;
      case "chatsLeft":
        for (const id of event.chats) this.chats.delete(id);
        break;
      case "events":
        this.#take(event.chat, event.events);
        break;
      case "hole":
        this.#holes.add(event.chat);
        break;
      case "reset":
        this.events.delete(event.chat);
        break;
      case "resetAll":
        this.events.clear();
        this.chats.clear();
        break;
      case "outbox":
        for (const entry of event.entries) this.outbox.set(entry.id, entry);
        break;
      case "outboxLeft":
        for (const id of event.ids) this.outbox.delete(id);
        break;
      case "setting":
        this.settings.set(event.key, event.value);
    }
  }

  #take(chat: ChatId, events: readonly ChatEvent[]): void {
    const known = this.events.get(chat) ?? [];
    this.events.set(chat, known);
    for (const event of events) {
      const last = known.at(-1);
      const follows =
        last === undefined || event.seq === last.seq + 1 || (this.#holes.has(chat) && event.seq > last.seq);
      if (!follows) this.violations.push(`${chat}: ${String(event.seq)} behind ${String(last.seq)}`);
      this.#holes.delete(chat);
      known.push(event);
    }
  }
}
