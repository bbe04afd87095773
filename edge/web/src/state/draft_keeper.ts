/** Keeps drafts over a reload and a crash, in this browser alone. Other tabs take over what was typed in this one. */

import type { ChatId, UserId } from "@panda/client";
import { keep, kept } from "../account/saved";
import { drafted, draftsRead, type Drafts } from "./drafts";
import type { Store } from "./store";

/** Who types fast is not held up by the disk. */
const WRITE_AFTER_MS = 250;
/** Characters of all drafts together that are kept; beyond, a draft lives as long as its tab. */
export const DRAFTS_CHARS_MAX = 2_000_000;

export class DraftKeeper {
  readonly #key: string;
  readonly #store: Store;
  #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #listeners = new Set<() => void>();
  #isKept = true;

  constructor(store: Store, me: UserId) {
    this.#store = store;
    this.#key = `panda.drafts.${me}`;
    store.dispatch(draftsRead(readDrafts(kept(this.#key))));
    addEventListener("pagehide", this.#write);
    addEventListener("storage", this.#follow);
  }

  /** Whether what is typed now outlives the tab. */
  readonly isKept = (): boolean => this.#isKept;

  /** Calls `listener` when {@link isKept} changed, which the disk says a while after a letter was typed. */
  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  set(chat: ChatId, text: string): void {
    this.#store.dispatch(drafted({ chat, text }));
    // What was sent must not come back as a draft, whatever happens next.
    if (text === "") this.#write();
    else this.#timer ??= setTimeout(this.#write, WRITE_AFTER_MS);
  }

  /** A text that was taken for sent and is not: before what was typed meanwhile. */
  putBack(chat: ChatId, text: string): void {
    const now = this.#store.getState().drafts[chat] ?? "";
    this.set(chat, now === "" ? text : `${text}\n${now}`);
  }

  forget(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    keep(this.#key, null);
  }

  close(): void {
    if (this.#timer !== undefined) this.#write();
    removeEventListener("pagehide", this.#write);
    removeEventListener("storage", this.#follow);
  }

  readonly #write = (): void => {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const { drafts } = this.#store.getState();
    const text = Object.keys(drafts).length === 0 ? null : JSON.stringify(drafts);
    const isKept = (text === null || text.length <= DRAFTS_CHARS_MAX) && keep(this.#key, text);
    if (isKept === this.#isKept) return;
    this.#isKept = isKept;
    for (const listener of this.#listeners) listener();
  };

  readonly #follow = (event: StorageEvent): void => {
    if (event.key === this.#key && this.#timer === undefined) this.#store.dispatch(draftsRead(readDrafts(event.newValue)));
  };
}

function readDrafts(text: string | null): Drafts {
  if (text === null) return {};
  try {
    const all = JSON.parse(text) as unknown;
    if (typeof all !== "object" || all === null) return {};
    return Object.fromEntries<string>(Object.entries(all).filter(([, draft]) => typeof draft === "string"));
  } catch {
    return {};
  }
}
