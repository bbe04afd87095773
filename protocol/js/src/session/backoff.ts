/** When to come back (`SPEC.md`, section 6, "Coming back"), without clock or randomness of its own. */

import { backoffRange, rangeOf, ticketInvalid } from "../codec/codes.js";
import type { End } from "./machine.js";

/** What to do after an end. */
export type Next =
  | { readonly is: "again"; readonly inMs: number; readonly with: "ticket" | "token" | "newToken" }
  /** A person or a new version must act. */
  | { readonly is: "stop" };

const firstMs = 1_000;
const longestMs = 30_000;
/** A session that lived for so long was a good one: the attempts count from 0 again. */
const goodMs = 30_000;
/** Ranges of codes, see `rangeOf`. */
const [atOnce, token, stop] = [10, 12, 13];

export class Backoff {
  #attempt = 0;

  constructor(readonly random: () => number) {}

  /** Attempts since the last good session. */
  get attempt(): number {
    return this.#attempt;
  }

  /** A person asks for it. */
  reset(): void {
    this.#attempt = 0;
  }

  after(end: End): Next {
    if (end.livedMs >= goodMs) this.#attempt = 0;
    // A server that broke the protocol may be mended, or be another one the next time: back, but slowly.
    const range = end.code === null || end.ours ? backoffRange : rangeOf(end.code);
    if (range === stop) return { is: "stop" };
    // Once at once; a server that says so again and again is like one that is away.
    const now = this.#attempt === 0 && (range === atOnce || range === token);
    const longest = Math.min(longestMs, firstMs * 2 ** this.#attempt);
    this.#attempt = Math.min(this.#attempt + 1, 30);
    const inMs = Math.max(now ? 0 : this.random() * longest, end.retryAfterMs);
    return { is: "again", inMs, with: range !== token ? "ticket" : end.code === ticketInvalid ? "token" : "newToken" };
  }
}
