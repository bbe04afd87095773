/** Who types, for how long it is shown, and how often it is told (`SPEC.md`, section 10). Times are those of a clock that never goes back. */

import type { ChatId, UserId } from "../ids.js";

/** Typing is shown for so long after its last signal. */
const shownMs = 6_000;
/** A signal of the own typing goes out this often at most, so that it never lapses while somebody types. */
const againMs = 3_000;
/** Of so many people at once it is shown. */
const shownMax = 1_000;

export class Typing {
  #shown = new Map<string, { readonly chat: ChatId; readonly user: UserId; readonly until: number }>();
  #told = new Map<ChatId, number>();

  /** Somebody types or stopped; whether that is news. */
  heard(chat: ChatId, user: UserId, typing: boolean, now: number): boolean {
    const key = `${chat} ${user}`;
    const was = this.#shown.delete(key);
    if (!typing) return was;
    if (this.#shown.size >= shownMax) return false;
    this.#shown.set(key, { chat, user, until: now + shownMs });
    return !was;
  }

  /** Those whose time is over. They are in the order of their times. */
  lapsed(now: number): { readonly chat: ChatId; readonly user: UserId }[] {
    const over = [...this.#shown].filter(([, { until }]) => until <= now);
    for (const [key] of over) this.#shown.delete(key);
    return over.map(([, who]) => who);
  }

  get deadline(): number {
    for (const { until } of this.#shown.values()) return until;
    return Infinity;
  }

  /** The person here types or stopped: whether to send a signal. */
  tell(chat: ChatId, typing: boolean, now: number): boolean {
    const told = this.#told.get(chat);
    if (!typing) return this.#told.delete(chat) && told !== undefined && now - told < shownMs;
    if (told !== undefined && now - told < againMs) return false;
    this.#told.set(chat, now);
    return true;
  }
}
