/** What a long conversation shows, row by row. */

import { expect, type Page } from "@playwright/test";

export interface Row {
  /** Its event's number, in a chat that is seen from its beginning. */
  readonly seq: number;
  /** What the message says; `null` for what is no message. */
  readonly text: string | null;
}

export interface Shown {
  readonly top: number;
  readonly isAtTop: boolean;
  readonly isAtEnd: boolean;
  readonly rows: readonly Row[];
}

/** Waits until all rows that are drawn have come, and reads them. Not before the scroller left `from`, if that is given. */
export function shown(page: Page, from: number | null = null): Promise<Shown> {
  return page.evaluate(async (before) => {
    const scroller = document.querySelector(".timeline-scroller");
    const block = document.querySelector(".timeline-block");
    if (!scroller || !block) throw new Error("no conversation is open");
    const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
    const end = performance.now() + 30_000;
    // At an end there is nothing to leave.
    for (let frames = 0; before !== null && scroller.scrollTop === before && frames < 20; frames += 1) await frame();
    do {
      await frame();
      if (performance.now() > end) throw new Error("rows stay unloaded for 30 seconds");
    } while (block.querySelector(".gap") !== null);
    const rows = [...block.children].map((row) => ({
      seq: Number(row.getAttribute("aria-posinset")),
      text: row.querySelector(".message-text")?.textContent ?? null,
    }));
    const { scrollTop: top, scrollHeight, clientHeight } = scroller;
    return { top, isAtTop: top <= 0, isAtEnd: scrollHeight - top - clientHeight < 2, rows };
  }, from);
}

/** What was met so far, held against what was said; only events from `from` on are looked at. */
export class Met {
  readonly #texts: readonly (string | null)[];
  readonly #from: number;
  readonly #seen: Uint8Array;

  constructor(texts: readonly (string | null)[], from = 1) {
    this.#texts = texts;
    this.#from = from;
    this.#seen = new Uint8Array(texts.length);
  }

  /** Rows that stand below each other: each event once, none left out, and each says what was said. */
  take(rows: readonly Row[]): void {
    const [first] = rows;
    if (!first) throw new Error("nothing is shown");
    const isWrong = ({ seq, text }: Row) => seq >= this.#from && seq < this.#texts.length && text !== this.#texts[seq];
    const wrong = rows.find((row, at) => row.seq !== first.seq + at || isWrong(row));
    expect(wrong, "each row is the one behind the row above it, and says what was said").toBeUndefined();
    for (const { seq } of rows) if (seq < this.#seen.length) this.#seen[seq] = 1;
  }

  /** Messages that were not met. */
  missing(): number {
    let missing = 0;
    for (let seq = this.#from; seq < this.#texts.length; seq += 1) {
      if (this.#texts[seq] !== null && this.#seen[seq] === 0) missing += 1;
    }
    return missing;
  }
}
