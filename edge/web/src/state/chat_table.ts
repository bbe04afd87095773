/**
 * Chats by their ID, in a fixed number of small tables: what changes copies the tables that it is in and no others, however
 * many chats there are. Of 10,000 chats one change copies about 300 places, and a plain record would copy all.
 */

import type { ChatId, ChatSummary } from "@panda/client";

/** Tables; a power of two. With 10,000 chats each has about 40. */
const TABLES = 256;

type Table = Readonly<Record<ChatId, ChatSummary>>;
export type ChatTable = readonly Table[];

const empty: Table = {};
export const noChats: ChatTable = Array.from({ length: TABLES }, () => empty);

/** FNV-1a of the ID's characters, which are ASCII. */
function tableOf(id: ChatId): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < id.length; at += 1) hash = Math.imul(hash ^ id.charCodeAt(at), 0x01000193);
  return (hash ^ (hash >>> 16)) & (TABLES - 1);
}

export const chatIn = (chats: ChatTable, id: ChatId): ChatSummary | undefined => chats[tableOf(id)]?.[id];

export function withSummaries(chats: ChatTable, summaries: readonly ChatSummary[]): ChatTable {
  const changed = [...chats];
  const copied = new Map<number, Record<ChatId, ChatSummary>>();
  for (const summary of summaries) {
    const at = tableOf(summary.id);
    let table = copied.get(at);
    if (table === undefined) {
      table = { ...changed[at] };
      copied.set(at, table);
      changed[at] = table;
    }
    table[summary.id] = summary;
  }
  return changed;
}

export function withoutIds(chats: ChatTable, ids: ReadonlySet<ChatId>): ChatTable {
  const changed = [...chats];
  for (const at of new Set([...ids].map(tableOf))) {
    changed[at] = Object.fromEntries(Object.entries(changed[at] ?? empty).filter(([id]) => !ids.has(id as ChatId)));
  }
  return changed;
}
