/**
 * The parts of the HTTP API (`edge/HTTP.md`) that a browser client needs: identity and profiles. Sessions do the rest.
 */

import { RefusedError, type Refusal } from "./api.js";
import { notFound, originRefused } from "./codec/codes.js";
import { isOriginRefused } from "./origin.js";
import { providerLogins, type ProviderLogins } from "./provider_logins.js";
import { localRefusal, refusalOf } from "./refusals.js";
import { refused, refusedHere, worded } from "./words.js";
import type { UserId } from "./ids.js";
import { fetchTelling, type OnSent } from "./upload.js";

export type { LinkedIdentity, LoginProvider, ProviderLogins } from "./provider_logins.js";

export interface Account {
  /** Opaque; for {@link HttpApiOptions.token} and the client's token supplier. */
  readonly accessToken: string;
  /** For so long from now, by this machine's clock. */
  readonly expiresInMs: number;
  /** Gives the next access token ({@link HttpApi.refresh}), once; `null` of a server that gives none. */
  readonly refreshToken: string | null;
  readonly user: { readonly id: UserId; readonly username: string };
}

export interface Profile {
  readonly id: UserId;
  readonly username: string;
  /**
   * A path of this API (`/pictures/...`) of a picture that the server keeps, which is asked for behind the server's URL; or
   * an `https` or `http` URL that the user named; or `null`.
   */
  readonly picture: string | null;
  /** Rises with each change. */
  readonly version: number;
  /** Only one's own; `null` if there is none. */
  readonly email?: string | null;
}

/** A login of one's own: what began with a `register` or `login`, and goes on by `refresh`. */
export interface Login {
  readonly id: string;
  /** What the client called its device, or `null`. */
  readonly label: string | null;
  /** By the server's clock, as all times of this. */
  readonly createdMs: number;
  /** To the hour. */
  readonly usedMs: number;
  /** It ends then, or up to an hour later, unless it is used before. */
  readonly endsMs: number;
  /** Whether it is the one of this access token. */
  readonly current: boolean;
}

/** What is absent stays, `null` empties. */
export interface ProfileChanges {
  readonly username?: string;
  readonly email?: string | null;
  readonly picture?: string | null;
}

export interface PictureOptions {
  /** Told the part that is sent, from 0 to 1, as a browser tells it. At 1 the server makes the picture anew. */
  readonly onSent?: OnSent;
  /** Gives it up; the promise is rejected with `unreachable`, and the server may have taken it all the same. */
  readonly signal?: AbortSignal;
}

export interface HttpApiOptions {
  /** The server's base URL, for a page that it serves: `location.origin`. A function where it may become another one. */
  readonly url: string | (() => string);
  /** The access token of who is logged in, or `null`. */
  readonly token?: () => string | null;
  /** What `register` and `login` call this device in the list of one's logins: 1 to 64 characters. */
  readonly label?: string;
  /** Default: the global one. */
  readonly fetch?: typeof fetch;
  /**
   * An answer that takes longer is `unreachable`. Default 35 s: the server itself answers within 30. One of `refresh` may
   * take 10 s at most.
   */
  readonly timeoutMs?: number;
}

/**
 * Every promise is rejected with {@link RefusedError} only: a refusal of the server (its problem document),
 * `unreachable` where nothing, or nothing of Panda's, answered, or `origin_refused` where the server is there and lets no
 * page of this origin read what it says.
 */
export interface HttpApi extends ProviderLogins {
  /** `taken`, `invalid_request` and `too_large` name the `field`. */
  register(account: {
    readonly username: string;
    readonly email?: string;
    readonly password: string;
  }): Promise<Account>;
  /** `bad_credentials` for a wrong password and an unknown name alike. */
  login(account: { readonly username: string; readonly password: string }): Promise<Account>;
  /**
   * The next tokens of a login. A refresh token that was used may be brought again for some minutes, if nothing newer was
   * used, and gives the same next one: so whoever got no answer within 10 s, and is told `unreachable`, brings it again soon. `token_expired`, `token_invalid` and
   * `revoked` want a person to log in.
   */
  refresh(refreshToken: string): Promise<Account>;
  /** Ends the login of a refresh token; its sessions end with it. It goes on when the page is closed. */
  logOut(refreshToken: string): Promise<void>;
  /** One's own logins, the last used first. */
  logins(): Promise<readonly Login[]>;
  /** Ends one of them; `not_found` if it is not there any more. */
  endLogin(id: string): Promise<void>;
  /** Ends all but the one of this access token. Returns how many. */
  endOtherLogins(): Promise<number>;
  /** By ID, by `@username`, or `me`. */
  user(who: UserId | `@${string}` | "me"): Promise<Profile>;
  /** Changes one's own. With `version`, only if it is still that one: otherwise `version_conflict`. */
  updateProfile(changes: ProfileChanges, version?: number): Promise<Profile>;
  /**
   * Makes this one's picture: JPEG, PNG or WebP of at most 8 MiB. `invalid_request` where it is none, `too_large`,
   * `rate_limited`, `overloaded`; `not_found` where the server keeps no pictures; `outcome_unknown` where it did not come
   * whole within 30 s.
   */
  sendPicture(picture: Blob, options?: PictureOptions): Promise<Profile>;
  /** Removes it, or the URL that is in its place. */
  removePicture(): Promise<Profile>;
}

/** The grace of a refresh token that got no answer runs meanwhile, and bringing it again costs nothing. */
const refreshTimeoutMs = 10_000;
/** An answer with more than this is none of the API's. */
const answerBytesMax = 1 << 20;

interface CallOptions {
  readonly timeoutMs?: number;
  readonly keepalive?: boolean;
  readonly onSent?: OnSent | undefined;
  readonly signal?: AbortSignal | undefined;
}

export function createHttpApi(options: HttpApiOptions): HttpApi {
  const call = async (
    method: string,
    path: string,
    body?: object,
    headers: Record<string, string> = {},
    { timeoutMs = options.timeoutMs ?? 35_000, keepalive = false, onSent, signal }: CallOptions = {},
  ): Promise<unknown> => {
    const token = options.token?.() ?? null;
    if (token !== null) headers["authorization"] = `Bearer ${token}`;
    if (body !== undefined)
      headers["content-type"] = body instanceof Blob ? "application/octet-stream" : "application/json";
    const url = typeof options.url === "string" ? options.url : options.url();
    const fetchWith: typeof fetch = (...of) => (options.fetch ?? fetch)(...of);
    const over = AbortSignal.timeout(timeoutMs);
    let status: number;
    let answer: unknown;
    try {
      const response = await (onSent ? fetchTelling(onSent, fetchWith) : fetchWith)(new URL(path, url), {
        method,
        headers,
        body: body === undefined ? null : body instanceof Blob ? body : JSON.stringify(body),
        // Tokens travel in the header; nothing of this API is in cookies or may be answered from a cache.
        credentials: "omit",
        cache: "no-store",
        keepalive,
        signal: signal ? AbortSignal.any([signal, over]) : over,
      });
      status = response.status;
      const text = await response.text();
      if (text.length > answerBytesMax) throw new RangeError("the answer is too long");
      answer = JSON.parse(text);
    } catch (error) {
      const isRefused = error instanceof TypeError && (await isOriginRefused(url, fetchWith));
      throw isRefused ? refused(refusalOf(originRefused)) : refusedHere("unreachable");
    }
    if (status >= 200 && status < 300) return answer;
    throw new RefusedError(readProblem(answer, status));
  };
  const label = options.label === undefined ? {} : { label: options.label };
  return {
    ...providerLogins(call, label, readAccount),
    register: async (account) => readAccount(await call("POST", "/register", { ...account, ...label })),
    login: async (account) => readAccount(await call("POST", "/login", { ...account, ...label })),
    refresh: async (token) => {
      const timeoutMs = Math.min(options.timeoutMs ?? refreshTimeoutMs, refreshTimeoutMs);
      return readAccount(await call("POST", "/token/refresh", { refresh_token: token }, {}, { timeoutMs }));
    },
    logOut: async (token) => {
      // Whoever logs out closes the page next.
      await call("POST", "/logout", { refresh_token: token }, {}, { keepalive: true });
    },
    logins: async () => readLogins(await call("GET", "/user/me/logins")),
    endLogin: async (id) => {
      await call("DELETE", `/user/me/logins/${encodeURIComponent(id)}`);
    },
    endOtherLogins: async () => {
      const { ended } = members(await call("DELETE", "/user/me/logins"));
      if (typeof ended !== "number") throw refusedHere("unreachable");
      return ended;
    },
    user: async (who) => readProfile(await call("GET", `/user/${encodeURIComponent(who)}`)),
    updateProfile: async (changes, version) =>
      readProfile(
        await call("PUT", "/user/me", changes, version === undefined ? {} : { "if-match": `"v${String(version)}"` }),
      ),
    sendPicture: async (picture, { onSent, signal } = {}) =>
      readProfile(await call("PUT", "/user/me/picture", picture, {}, { onSent, signal })),
    removePicture: async () => readProfile(await call("DELETE", "/user/me/picture")),
  };
}

function readProblem(answer: unknown, status: number): Refusal {
  const { code, label, title, detail, field, users, retry_after_ms: retry } = members(answer);
  if (typeof code !== "number" || typeof label !== "string" || typeof title !== "string") {
    return { ...worded(localRefusal("unreachable")), status };
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
  const { access_token: accessToken, expires_in: expiresIn, refresh_token: refreshToken, user } = members(answer);
  const { id, username } = members(user);
  if (
    typeof accessToken !== "string" ||
    typeof expiresIn !== "number" ||
    typeof id !== "string" ||
    typeof username !== "string"
  ) {
    throw refusedHere("unreachable");
  }
  return {
    accessToken,
    expiresInMs: expiresIn * 1000,
    refreshToken: typeof refreshToken === "string" ? refreshToken : null,
    user: { id: id as UserId, username },
  };
}

function readLogins(answer: unknown): readonly Login[] {
  const { logins } = members(answer);
  if (!Array.isArray(logins)) throw refusedHere("unreachable");
  return logins.map((login: unknown) => {
    const { id, label, created_us: created, used_us: used, ends_us: ends, current } = members(login);
    if (typeof id !== "string" || typeof created !== "number" || typeof used !== "number" || typeof ends !== "number") {
      throw refusedHere("unreachable");
    }
    return {
      id,
      label: typeof label === "string" ? label : null,
      createdMs: created / 1000,
      usedMs: used / 1000,
      endsMs: ends / 1000,
      current: current === true,
    };
  });
}

function readProfile(answer: unknown): Profile {
  const { id, username, picture, version, email, erased } = members(answer);
  // There is nobody any more to show: as who was never there.
  if (erased === true) throw refused(refusalOf(notFound));
  if (typeof id !== "string" || typeof username !== "string" || typeof version !== "number") {
    throw refusedHere("unreachable");
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
