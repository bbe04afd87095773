/** What this browser keeps by itself of who is logged in. Chats and texts are kept by the client, apart from this. */

import type { UserId } from "@panda/client";

export interface SavedAccount {
  readonly token: string;
  /** By this machine's clock; only a guess of when it is no use to try the token. */
  readonly expiresAtMs: number;
  /** Gives the next one; `null` of a server that gives none. */
  readonly refreshToken: string | null;
  readonly user: { readonly id: UserId; readonly username: string };
}

export const ACCOUNT_KEY = "panda.account";

/** Storage that may be denied or full: then nothing is kept, and whoever asks learns so. */
export function keep(key: string, value: string | null): boolean {
  try {
    if (value === null) localStorage.removeItem(key);
    else localStorage.setItem(key, value);
    return true;
  } catch {
    return false;
  }
}

export function kept(key: string): string | null {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

/** All keys that begin so. */
export function keysWith(prefix: string): string[] {
  try {
    return Object.keys(localStorage).filter((key) => key.startsWith(prefix));
  } catch {
    return [];
  }
}

/** Of JSON that anybody may have written: only what has the form that is wanted. */
export function readAccount(text: string | null): SavedAccount | null {
  if (text === null) return null;
  try {
    const { token, expiresAtMs, refreshToken, user } = JSON.parse(text) as Partial<SavedAccount>;
    if (typeof token !== "string" || typeof expiresAtMs !== "number") return null;
    if (typeof user?.id !== "string" || typeof user.username !== "string") return null;
    const kept = typeof refreshToken === "string" ? refreshToken : null;
    return { token, expiresAtMs, refreshToken: kept, user: { id: user.id, username: user.username } };
  } catch {
    return null;
  }
}
