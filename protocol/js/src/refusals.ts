/**
 * Refusals where they arise: a code, and what the server said of it. The tab's side gives them their names and words
 * (`words.ts`), so that a worker carries neither.
 */

import type { Refusal } from "./api.js";

/** This client's own. */
const own = {
  offline: 1,
  unreachable: 2,
  closed: 3,
  discarded: 4,
  storage: 5,
  too_many_waiting: 6,
  outdated: 7,
} as const;

export type LocalLabel = keyof typeof own;

export const localRefusal = (label: LocalLabel): Refusal => ({ code: own[label], label, text: "", retryAfterMs: 0 });

/** Of a code that came without a text, or with one. */
export const refusalOf = (code: number, text = "", retryAfterMs = 0): Refusal => ({
  code,
  label: "",
  text,
  retryAfterMs,
});
