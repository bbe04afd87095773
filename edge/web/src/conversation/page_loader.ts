/** Fetches the pages of history that are looked at: few at a time, the ones looked at now first. */

import { RefusedError, type ChatId, type Client, type Refusal } from "@panda/client";
import type { Dispatch } from "../state/store";
import { PAGE_EVENTS } from "../state/timeline";
import { applied } from "../state/world";

/** Questions under way. More would make the page that is looked at now wait for those that were passed by. */
const ASKED_MAX = 2;

export class PageLoader {
  readonly #client: Pick<Client, "history">;
  readonly #chat: ChatId;
  readonly #dispatch: Dispatch;
  readonly #told: (refusal: Refusal | null) => void;
  readonly #asked = new Set<number>();
  /** Asked for, and not all of it came: there is no use in asking again before something changed. */
  readonly #tried = new Set<number>();
  #wanted: readonly number[] = [];
  #isClosed = false;

  constructor(client: Pick<Client, "history">, chat: ChatId, dispatch: Dispatch, told: (refusal: Refusal | null) => void) {
    this.#client = client;
    this.#chat = chat;
    this.#dispatch = dispatch;
    this.#told = told;
  }

  /** These are missing now; what was wanted before and is not among them is not looked at any more. */
  want(pages: readonly number[]): void {
    this.#wanted = pages;
    this.#next();
  }

  /** Something changed: the connection is back, or a person wants it. */
  again(): void {
    this.#tried.clear();
    this.#told(null);
    this.#next();
  }

  /** Its chat is shown; the answer says that it no longer is. */
  opened(): () => void {
    this.#isClosed = false;
    return () => {
      this.#isClosed = true;
    };
  }

  #next(): void {
    // From the end: who opens a chat looks at its newest page first.
    for (const page of this.#wanted.toReversed()) {
      if (this.#isClosed || this.#asked.size >= ASKED_MAX) return;
      if (this.#asked.has(page) || this.#tried.has(page)) continue;
      this.#asked.add(page);
      void this.#ask(page).finally(() => {
        this.#asked.delete(page);
        this.#next();
      });
    }
  }

  async #ask(number: number): Promise<void> {
    // If it is wanted again although it came, not all of it did.
    this.#tried.add(number);
    try {
      const page = await this.#client.history(this.#chat, { after: Math.max(0, number * PAGE_EVENTS - 1), limit: PAGE_EVENTS });
      if (this.#isClosed) return;
      this.#dispatch(applied([{ type: "page", chat: this.#chat, page }]));
      const last = page.events.at(-1)?.seq ?? 0;
      const isWhole = page.from === "server" && last >= Math.min(page.head, number * PAGE_EVENTS + PAGE_EVENTS - 1);
      // Complete now; it may leave the memory and be wanted another time.
      if (isWhole) this.#tried.delete(number);
      this.#told(null);
    } catch (error) {
      if (this.#isClosed) return;
      if (!(error instanceof RefusedError)) throw error;
      this.#told(error.refusal);
    }
  }
}
