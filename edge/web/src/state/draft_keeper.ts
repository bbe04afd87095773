/**
 * Keeps what was typed over a reload and a crash, in this browser alone: drafts, and texts on their way to the outbox.
 * Other tabs take over what was typed in this one.
 */

import { RefusedError, type ChatId, type Client, type OutboxId, type UserId } from "@panda/client";
import { keep, kept, keysWith } from "../account/saved";
import { drafted, draftsRead, type Drafts } from "./drafts";
import type { Store } from "./store";

/** Who types fast is not held up by the disk. */
const WRITE_AFTER_MS = 250;
/** Characters of all drafts together that are kept; beyond, a draft lives as long as its tab. */
export const DRAFTS_CHARS_MAX = 2_000_000;

export class DraftKeeper {
  readonly #store: Store;
  readonly #client: Pick<Client, "send">;
  /** A key for each chat: two tabs that write in two chats do not know of each other's newest letters. */
  readonly #draftKey: string;
  /** A key for each text that left the field, until the outbox has it. */
  readonly #sendingKey: string;
  readonly #listeners = new Set<() => void>();
  /** Chats whose draft is not written yet. */
  readonly #changed = new Set<ChatId>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isKept = true;
  #isOver = false;

  constructor(store: Store, me: UserId, client: Pick<Client, "send">) {
    this.#store = store;
    this.#client = client;
    this.#draftKey = `panda.draft.${me}.`;
    this.#sendingKey = `panda.sending.${me}.`;
    const drafts: Drafts = {};
    for (const key of keysWith(this.#draftKey)) drafts[this.#chatOf(key)] = kept(key) ?? "";
    store.dispatch(draftsRead(drafts));
    addEventListener("pagehide", this.#write);
    addEventListener("storage", this.#follow);
    // A page or the holder of the connection ended before anybody knew. What the outbox has already is no second message.
    for (const key of keysWith(this.#sendingKey)) {
      const sending = readSending(kept(key));
      if (sending) this.#submit(sending.chat, sending.text, key.slice(this.#sendingKey.length) as OutboxId);
    }
  }

  /** Whether what is typed now outlives the tab. */
  readonly isKept = (): boolean => this.#isKept;

  /** Calls `listener` when {@link isKept} changed, which the disk says a while after a letter was typed. */
  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  set(chat: ChatId, text: string): void {
    if (this.#isOver) return;
    this.#store.dispatch(drafted({ chat, text }));
    this.#changed.add(chat);
    // What was sent must not come back as a draft, whatever happens next.
    if (text === "") this.#write();
    else this.#timer ??= setTimeout(this.#write, WRITE_AFTER_MS);
  }

  /** A text that was taken for sent and is not: before what was typed meanwhile. */
  putBack(chat: ChatId, text: string): void {
    const now = this.#store.getState().drafts[chat] ?? "";
    this.set(chat, now === "" ? text : `${text}\n${now}`);
  }

  /** The text leaves the field at once, and this browser's storage when the outbox has it; refused, it comes back. */
  send(chat: ChatId, text: string): void {
    if (this.#isOver) return;
    const key = this.#submit(chat, text);
    const sending = JSON.stringify({ chat, text });
    const isHeld = keep(key, sending);
    this.set(chat, "");
    // Where there was no room for both, the draft has made some.
    if (!isHeld) keep(key, sending);
  }

  /** Removes all of it, for good: nothing that is still under way writes any of it again. */
  forget(): void {
    this.#stop();
    for (const key of [...keysWith(this.#draftKey), ...keysWith(this.#sendingKey)]) keep(key, null);
  }

  close(): void {
    if (!this.#isOver) this.#write();
    this.#stop();
  }

  /** The key under which the text stays until the outbox has it. */
  #submit(chat: ChatId, text: string, again?: OutboxId): string {
    const submitted = again === undefined ? this.#client.send(chat, text) : this.#client.send(chat, text, again);
    const key = `${this.#sendingKey}${submitted.id}`;
    submitted.kept.then(
      () => keep(key, null),
      (error: unknown) => {
        // This page or the client ends before it is known: the next page asks again.
        if (!(error instanceof RefusedError) || error.refusal.label === "closed") return;
        keep(key, null);
        // The outbox took nothing of it.
        this.putBack(chat, text);
      },
    );
    return key;
  }

  #stop(): void {
    this.#isOver = true;
    clearTimeout(this.#timer);
    removeEventListener("pagehide", this.#write);
    removeEventListener("storage", this.#follow);
  }

  readonly #write = (): void => {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#isOver || this.#changed.size === 0) return;
    const { drafts } = this.#store.getState();
    const chars = Object.values(drafts).reduce((sum, text) => sum + text.length, 0);
    let isKept = chars <= DRAFTS_CHARS_MAX;
    for (const chat of this.#changed) {
      const text = drafts[chat] ?? "";
      // What does not fit leaves what was kept of it: half of a text is better than none.
      if (text === "") keep(this.#draftKey + chat, null);
      else isKept = isKept && keep(this.#draftKey + chat, text);
    }
    this.#changed.clear();
    if (isKept === this.#isKept) return;
    this.#isKept = isKept;
    for (const listener of this.#listeners) listener();
  };

  readonly #follow = ({ key, newValue }: StorageEvent): void => {
    if (key === null) this.#store.dispatch(draftsRead({}));
    else if (key.startsWith(this.#draftKey)) {
      const chat = this.#chatOf(key);
      // What is typed here and not written yet is newer.
      if (!this.#changed.has(chat)) this.#store.dispatch(drafted({ chat, text: newValue ?? "" }));
    }
  };

  #chatOf(key: string): ChatId {
    return key.slice(this.#draftKey.length) as ChatId;
  }
}

function readSending(text: string | null): { readonly chat: ChatId; readonly text: string } | null {
  if (text === null) return null;
  try {
    const { chat, text: said } = JSON.parse(text) as { chat?: unknown; text?: unknown };
    return typeof chat === "string" && typeof said === "string" ? { chat: chat as ChatId, text: said } : null;
  } catch {
    return null;
  }
}
