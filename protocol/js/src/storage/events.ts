/** Events in IndexedDB: reads them, and makes room: counts them and removes the oldest of the chats that matter least. */

import type { ChatId } from "../ids.js";
import { done, result, seqMax, type EventRow } from "./indexeddb.js";
import type { StoredEvent } from "./store.js";

/** Events that one transaction counts or removes: whoever reads or writes meanwhile waits for no more than that. */
const eventsAtOnce = 1_000;

/** Up to `limit` events of a chat from `from` on, whatever lies between them. */
export async function readEvents(
  database: IDBDatabase,
  chat: ChatId,
  from: number,
  direction: "forward" | "backward",
  limit: number,
): Promise<StoredEvent[]> {
  const events = database.transaction("events").objectStore("events");
  const forward = direction === "forward";
  const near = IDBKeyRange.bound(
    [chat, forward ? from : Math.max(0, from - limit + 1)],
    [chat, forward ? seqMax : from],
  );
  const rows = await result(events.getAll(near, limit) as IDBRequest<EventRow[]>);
  if (forward) return rows.map(stored);
  const found = rows.reverse().map(stored);
  if (found.length === limit || from < limit) return found;
  // Fewer lie that near: the others are further back, from the next one on.
  const before = IDBKeyRange.bound([chat, 0], [chat, from - limit]);
  const next = await result(database.transaction("events").objectStore("events").openCursor(before, "prev"));
  if (next === null) return found;
  return [
    ...found,
    ...(await readEvents(database, chat, (next.value as EventRow).seq, direction, limit - found.length)),
  ];
}

const stored = ({ seq, bytes }: EventRow): StoredEvent => ({ seq, bytes });

/** Removes events until at most `bytes` are left, those of the chats in `order` first. Tells how many are left. */
export async function removeEvents(database: IDBDatabase, order: readonly ChatId[], bytes: number): Promise<number> {
  const held = await heldBy(database);
  let total = [...held.values()].reduce((sum, one) => sum + one, 0);
  for (const chat of new Set([...order, ...held.keys()])) {
    while (total > bytes) {
      const gone = await removeOldest(database, chat, total - bytes);
      if (gone === 0) break;
      total -= gone;
    }
  }
  return total;
}

/** Bytes of events, by chat. */
async function heldBy(database: IDBDatabase): Promise<Map<ChatId, number>> {
  const held = new Map<ChatId, number>();
  let last: EventRow | undefined;
  do {
    const behind = last && IDBKeyRange.lowerBound([last.chat, last.seq], true);
    const events = database.transaction("events").objectStore("events");
    const rows = await result(events.getAll(behind, eventsAtOnce) as IDBRequest<EventRow[]>);
    for (const { chat, bytes } of rows) held.set(chat, (held.get(chat) ?? 0) + bytes.length);
    last = rows.at(-1);
  } while (last !== undefined);
  return held;
}

/** Removes some of the oldest events of a chat, of at least so many bytes if they are as many, and tells how many bytes. */
async function removeOldest(database: IDBDatabase, chat: ChatId, bytes: number): Promise<number> {
  const transaction = database.transaction("events", "readwrite");
  const ended = done(transaction);
  const events = transaction.objectStore("events");
  const oldest = events.getAll(IDBKeyRange.bound([chat, 0], [chat, seqMax]), eventsAtOnce) as IDBRequest<EventRow[]>;
  let gone = 0;
  oldest.onsuccess = () => {
    let last = -1;
    for (const row of oldest.result) {
      if (gone >= bytes) break;
      gone += row.bytes.length;
      last = row.seq;
    }
    if (last >= 0) events.delete(IDBKeyRange.bound([chat, 0], [chat, last]));
  };
  await ended;
  return gone;
}
