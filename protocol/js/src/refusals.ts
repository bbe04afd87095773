/** Refusals as the application sees them: of the server's codes (`SPEC.md`, section 11), and this client's own. */

import type { Refusal } from "./api.js";
import { codeNames } from "./codec/codes.js";

const own = {
  offline: [1, "There is no connection now; this needs one."],
  unreachable: [2, "The server cannot be reached; look at the connection and try again."],
  closed: [3, "This client was closed."],
  discarded: [4, "This was taken out before it was sent."],
  storage: [5, "This cannot be kept or read on this machine."],
  outdated: [7, "This page is of another version, or not all of it came; load it again."],
  too_many_waiting: [6, "Too much waits to be sent already; wait until the connection is back."],
} as const satisfies Record<string, readonly [number, string]>;

export type LocalLabel = keyof typeof own;

export function localRefusal(label: LocalLabel): Refusal {
  const [code, text] = own[label];
  return { code, label, text, retryAfterMs: 0 };
}

/** Of a code that came without a text, or with one. */
export function refusalOf(code: number, text = "", retryAfterMs = 0): Refusal {
  const label = codeNames[code] ?? `code_${String(code)}`;
  return {
    code,
    label,
    text: text === "" ? `The server refused this: ${label.replaceAll("_", " ")}.` : text,
    retryAfterMs,
  };
}
