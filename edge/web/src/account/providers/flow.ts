/**
 * A login with an account elsewhere: this tab goes to the provider and comes back. What binds the answer to this tab is a
 * secret that stays in its `sessionStorage`: of a code that another browser's login brought, it has none.
 */

import type { HttpApi } from "@panda/client";

const KEY = "panda.provider-login";

export type Purpose = "login" | "link";

/** What this tab remembers while it is away. */
interface Begun {
  readonly secret: string;
  readonly purpose: Purpose;
  readonly path: string;
}

/** What the browser came back with. */
export interface Returned {
  readonly code: string | null;
  /** `denied`, `refused` or `unavailable`. */
  readonly error: string | null;
}

function base64(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");
}

/** SHA-256 in base64, as PKCE writes it. Over plain HTTP from another machine a browser has no SHA-256. */
export async function challengeOf(secret: string): Promise<string> {
  return base64(new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(secret))));
}

/** Whether this browser can do it: it needs an address over TLS, or of its own machine, and storage. */
export function isPossible(): boolean {
  try {
    sessionStorage.setItem(`${KEY}.try`, "1");
    sessionStorage.removeItem(`${KEY}.try`);
    return isSecureContext;
  } catch {
    return false;
  }
}

/** Goes to the provider. `leave` is for tests. */
export async function beginAt(
  http: HttpApi,
  provider: string,
  purpose: Purpose,
  leave: (url: string) => void = (url) => location.assign(url),
): Promise<void> {
  const secret = base64(crypto.getRandomValues(new Uint8Array(32)));
  const url = await http.beginProviderLogin(provider, await challengeOf(secret), purpose);
  const begun: Begun = { secret, purpose, path: location.pathname };
  sessionStorage.setItem(KEY, JSON.stringify(begun));
  leave(url);
}

/** What stands behind the `#`, which is taken out of the address and of the history at once; `null`: nothing of this. */
export function takeReturn(): Returned | null {
  const given = new URLSearchParams(location.hash.slice(1));
  const [code, error] = [given.get("login"), given.get("login_error")];
  if (code === null && error === null) return null;
  history.replaceState(null, "", location.pathname);
  return { code, error };
}

/** What this tab began, once. */
export function takeBegun(): Begun | null {
  try {
    const text = sessionStorage.getItem(KEY);
    sessionStorage.removeItem(KEY);
    const { secret, purpose, path } = JSON.parse(text ?? "{}") as Partial<Begun>;
    if (typeof secret !== "string" || (purpose !== "login" && purpose !== "link")) return null;
    // Only a path of this page, wherever the text comes from.
    return { secret, purpose, path: typeof path === "string" && path.startsWith("/app") ? path : "/app" };
  } catch {
    return null;
  }
}
