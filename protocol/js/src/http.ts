/**
 * The parts of the HTTP API (`edge/HTTP.md`) that a browser client needs: identity and profiles. Sessions do the rest.
 */

import { RefusedError, type Refusal } from "./api.js";
import { originRefused } from "./codec/codes.js";
import { isOriginRefused } from "./origin.js";
import { localRefusal, refusalOf } from "./refusals.js";
import type { UserId } from "./ids.js";

export interface Account {
  /** Opaque; for {@link HttpApiOptions.token} and the client's token supplier. */
  readonly accessToken: string;
  /** For so long from now, by this machine's clock. */
  readonly expiresInMs: number;
  readonly user: { readonly id: UserId; readonly username: string };
}

export interface Profile {
  readonly id: UserId;
  readonly username: string;
  /** An `https` or `http` URL, or `null`. */
  readonly picture: string | null;
  /** Rises with each change. */
  readonly version: number;
  /** Only one's own; `null` if there is none. */
  readonly email?: string | null;
}

/** What is absent stays, `null` empties. */
export interface ProfileChanges {
  readonly username?: string;
  readonly email?: string | null;
  readonly picture?: string | null;
}

export interface HttpApiOptions {
  /** The server's base URL, for a page that it serves: `location.origin`. A function where it may become another one. */
  readonly url: string | (() => string);
  /** The access token of who is logged in, or `null`. */
  readonly token?: () => string | null;
  /** Default: the global one. */
  readonly fetch?: typeof fetch;
  /** An answer that takes longer is `unreachable`. Default 35 s: the server itself answers within 30. */
  readonly timeoutMs?: number;
}

/**
 * Every promise is rejected with {@link RefusedError} only: a refusal of the server (its problem document),
 * `unreachable` where nothing, or nothing of Panda's, answered, or `origin_refused` where the server is there and lets no
 * page of this origin read what it says.
 */
export interface HttpApi {
  /** `taken`, `invalid_request` and `too_large` name the `field`. */
  register(account: {
    readonly username: string;
    readonly email?: string;
    readonly password: string;
  }): Promise<Account>;
  /** `bad_credentials` for a wrong password and an unknown name alike. */
  login(account: { readonly username: string; readonly password: string }): Promise<Account>;
  /** By ID, by `@username`, or `me`. */
  user(who: UserId | `@${string}` | "me"): Promise<Profile>;
  /** Changes one's own. With `version`, only if it is still that one: otherwise `version_conflict`. */
  updateProfile(changes: ProfileChanges, version?: number): Promise<Profile>;
}

/** An answer with more than this is none of the API's. */
const answerBytesMax = 1 << 20;

export function createHttpApi(options: HttpApiOptions): HttpApi {
  const call = async (
    method: string,
    path: string,
    body?: object,
    headers: Record<string, string> = {},
  ): Promise<unknown> => {
    const token = options.token?.() ?? null;
    if (token !== null) headers["authorization"] = `Bearer ${token}`;
    if (body !== undefined) headers["content-type"] = "application/json";
    const url = typeof options.url === "string" ? options.url : options.url();
    const fetchWith: typeof fetch = (...of) => (options.fetch ?? fetch)(...of);
    let status: number;
    let answer: unknown;
    try {
      const response = await fetchWith(new URL(path, url), {
        method,
        headers,
        body: body === undefined ? null : JSON.stringify(body),
        // Tokens travel in the header; nothing of this API is in cookies or may be answered from a cache.
        credentials: "omit",
        cache: "no-store",
        signal: AbortSignal.timeout(options.timeoutMs ?? 35_000),
      });
      status = response.status;
      const text = await response.text();
      if (text.length > answerBytesMax) throw new RangeError("the answer is too long");
      answer = JSON.parse(text);
    } catch (error) {
      const refused = error instanceof TypeError && (await isOriginRefused(url, fetchWith));
      throw new RefusedError(refused ? refusalOf(originRefused) : localRefusal("unreachable"));
    }
    if (status >= 200 && status < 300) return answer;
    throw new RefusedError(readProblem(answer, status));
  };
  return {
    register: async (account) => readAccount(await call("POST", "/register", account)),
    login: async (account) => readAccount(await call("POST", "/login", account)),
    user: async (who) => readProfile(await call("GET", `/user/${encodeURIComponent(who)}`)),
    updateProfile: async (changes, version) =>
      readProfile(
        await call("PUT", "/user/me", changes, version === undefined ? {} : { "if-match": `"v${String(version)}"` }),
      ),
  };
}

function readProblem(answer: unknown, status: number): Refusal {
  const { code, label, title, detail, field, users, retry_after_ms: retry } = members(answer);
  if (typeof code !== "number" || typeof label !== "string" || typeof title !== "string") {
    return { ...localRefusal("unreachable"), status };
  }
  return {
    code,
    label,
    text: typeof detail === "string" ? `${title} ${detail}` : title,
    retryAfterMs: typeof retry === "number" ? retry : 0,
    status,
    ...(typeof field === "string" ? { field } : {}),
    ...(Array.isArray(users) ? { users: users as UserId[] } : {}),
  };
}

function readAccount(answer: unknown): Account {
  const { access_token: accessToken, expires_in: expiresIn, user } = members(answer);
  const { id, username } = members(user);
  if (
    typeof accessToken !== "string" ||
    typeof expiresIn !== "number" ||
    typeof id !== "string" ||
    typeof username !== "string"
  ) {
    throw new RefusedError(localRefusal("unreachable"));
  }
  return { accessToken, expiresInMs: expiresIn * 1000, user: { id: id as UserId, username } };
}

function readProfile(answer: unknown): Profile {
  const { id, username, picture, version, email } = members(answer);
  if (typeof id !== "string" || typeof username !== "string" || typeof version !== "number") {
    throw new RefusedError(localRefusal("unreachable"));
  }
  return {
    id: id as UserId,
    username,
    picture: typeof picture === "string" ? picture : null,
    version,
    ...(email === undefined ? {} : { email: typeof email === "string" ? email : null }),
  };
}

/** The members of what should be an object; of anything else, none. */
function members(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}
