/** Marks a chat as read while its end is looked at, and says how far it was looked at. */

import type { ChatId, ChatSummary, Client } from "@panda/client";
import { useEffect, useState, useSyncExternalStore } from "react";
import { useClient } from "../shell/services";

/** At most once in so long: each mark is a command to the server. */
const MARK_EVERY_MS = 400;

class Marker {
  readonly #client: Pick<Client, "markRead" | "discard">;
  readonly #chat: ChatId;
  #seq = 0;
  #isWaiting = false;

  constructor(client: Pick<Client, "markRead" | "discard">, chat: ChatId) {
    this.#client = client;
    this.#chat = chat;
  }

  /** However fast marks come, one goes out each time that the wait is over. */
  mark(seq: number): void {
    if (seq <= this.#seq) return;
    this.#seq = seq;
    if (this.#isWaiting) return;
    this.#isWaiting = true;
    setTimeout(() => {
      this.#isWaiting = false;
      const { id, done } = this.#client.markRead(this.#chat, this.#seq);
      // What is refused is asked again with the next message; nobody waits for it.
      done.catch(() => this.#client.discard(id));
    }, MARK_EVERY_MS);
  }
}

function subscribe(listener: () => void): () => void {
  for (const event of ["focus", "blur"]) addEventListener(event, listener);
  document.addEventListener("visibilitychange", listener);
  return () => {
    for (const event of ["focus", "blur"]) removeEventListener(event, listener);
    document.removeEventListener("visibilitychange", listener);
  };
}

/** Whether somebody may be looking at this page. */
export const useIsWatched = (): boolean =>
  useSyncExternalStore(subscribe, () => document.visibilityState === "visible" && document.hasFocus());

export function useMarkRead(chat: ChatId, summary: ChatSummary | undefined, head: number, isEndShown: boolean): number {
  const client = useClient();
  const isWatched = useIsWatched();
  const [marker] = useState(() => new Marker(client, chat));
  const [seen, setSeen] = useState(isEndShown ? head : (summary?.read ?? 0));
  if (isEndShown && isWatched && seen !== head) setSeen(head);
  const isMember = summary !== undefined;
  const read = summary?.read ?? 0;
  useEffect(() => {
    if (isMember && isWatched && seen > read) marker.mark(seen);
  }, [marker, isMember, isWatched, seen, read]);
  return seen;
}
