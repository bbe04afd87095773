/** Names and words of refusals (`SPEC.md`, section 11), on the tab's side: for all that comes from the core, and for its own. */

import { RefusedError, type ClientEvent, type Refusal } from "./api.js";
import { codeNames } from "./codec/code_names.js";
import { localRefusal, type LocalLabel } from "./refusals.js";

const own: Readonly<Record<string, string>> = {
  offline: "There is no connection now; this needs one.",
  unreachable: "The server cannot be reached; look at the connection and try again.",
  closed: "This client was closed.",
  discarded: "This was taken out before it was sent.",
  storage: "This cannot be kept or read on this machine.",
  outdated: "This page is of another version, or not all of it came; load it again.",
  too_many_waiting: "Too much waits to be sent already; wait until the connection is back.",
} satisfies Record<LocalLabel, string>;

/** A refusal with its name and a text, where it came without. */
export function worded(refusal: Refusal): Refusal {
  const { code } = refusal;
  const label = refusal.label || (codeNames[code] ?? `code_${String(code)}`);
  const text = refusal.text || (own[label] ?? `The server refused this: ${label.replaceAll("_", " ")}.`);
  return { ...refusal, label, text };
}

export const refused = (refusal: Refusal): RefusedError => new RefusedError(worded(refusal));

export const refusedHere = (label: LocalLabel): RefusedError => refused(localRefusal(label));

/** What happened, with the words for it. */
export function wordedEvents(events: readonly ClientEvent[]): ClientEvent[] {
  return events.map((event) => {
    switch (event.type) {
      case "connection": {
        const { connection } = event;
        if (!("reason" in connection) || connection.reason === null) return event;
        return { ...event, connection: { ...connection, reason: worded(connection.reason) } };
      }
      case "chats":
        return { ...event, chats: event.chats.map(withWords) };
      case "outbox":
        return { ...event, entries: event.entries.map(withWords) };
      default:
        return event;
    }
  });
}

const withWords = <T extends { readonly refusal: Refusal | null }>(one: T): T =>
  one.refusal === null ? one : { ...one, refusal: worded(one.refusal) };
