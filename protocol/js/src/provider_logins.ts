/**
 * Logging in with an account elsewhere (`edge/HTTP.md`, "Logging in at another provider"), as far as a page needs it.
 */

import { RefusedError } from "./api.js";
import { localRefusal } from "./refusals.js";
import type { Account } from "./http.js";

/** Where people may log in. */
export interface LoginProvider {
  readonly name: string;
  /** What people read. */
  readonly label: string;
}

/** As what one logs in at a provider. */
export interface LinkedIdentity {
  readonly provider: string;
  readonly subject: string;
  /** As the provider told it last, for people to know the entry by. */
  readonly email: string | null;
}

export interface ProviderLogins {
  /** Those of the deployment; none, of most. */
  loginProviders(): Promise<readonly LoginProvider[]>;
  /**
   * Where the browser goes to log in, or to link what it logs in as. It comes back to this page's origin, with
   * `#login=<code>` or `#login_error=<word>`. `challenge` is the SHA-256 of a secret in base64 (URL-safe, without padding).
   */
  beginProviderLogin(provider: string, challenge: string, purpose: "login" | "link"): Promise<string>;
  /** `token_invalid`: another browser's code, or one that was used; `token_expired`. */
  redeemProviderLogin(code: string, secret: string): Promise<Account>;
  /** `taken` with the field `identity`: another account logs in as that. */
  linkIdentity(code: string, secret: string): Promise<void>;
  /** One's own. */
  identities(): Promise<readonly LinkedIdentity[]>;
  /** Returns those that are left. `forbidden` with the field `identity`: nothing else would let one in. */
  unlinkIdentity(identity: LinkedIdentity): Promise<readonly LinkedIdentity[]>;
}

/** A request of the API, as JSON. */
export type Call = (method: string, path: string, body?: object) => Promise<unknown>;

export function providerLogins(call: Call, label: object, readAccount: (answer: unknown) => Account): ProviderLogins {
  return {
    loginProviders: async () => {
      const { login_providers: providers } = members(await call("GET", "/.well-known/panda"));
      return Array.isArray(providers) ? providers.flatMap(readProvider) : [];
    },
    beginProviderLogin: async (provider, challenge, purpose) => {
      const name = encodeURIComponent(provider);
      const path = purpose === "link" ? `/user/me/identities/${name}` : `/login/${name}`;
      const { authorize_url: url } = members(await call("POST", path, { challenge }));
      // Nothing but an address that a browser goes to over the network.
      if (typeof url !== "string" || !/^https?:\/\//.test(url)) throw new RefusedError(localRefusal("unreachable"));
      return url;
    },
    redeemProviderLogin: async (code, secret) =>
      readAccount(await call("POST", "/login/provider/redeem", { code, secret, ...label })),
    linkIdentity: async (code, secret) => {
      await call("POST", "/user/me/identities", { code, secret });
    },
    identities: async () => readIdentities(await call("GET", "/user/me/identities")),
    unlinkIdentity: async ({ provider, subject }) => {
      const path = `/user/me/identities/${encodeURIComponent(provider)}/${encodeURIComponent(subject)}`;
      return readIdentities(await call("DELETE", path));
    },
  };
}

function readProvider(value: unknown): LoginProvider[] {
  const { name, label } = members(value);
  return typeof name === "string" && typeof label === "string" ? [{ name, label }] : [];
}

function readIdentities(answer: unknown): readonly LinkedIdentity[] {
  const { identities } = members(answer);
  if (!Array.isArray(identities)) throw new RefusedError(localRefusal("unreachable"));
  return identities.flatMap((identity: unknown) => {
    const { provider, subject, email } = members(identity);
    if (typeof provider !== "string" || typeof subject !== "string") return [];
    return [{ provider, subject, email: typeof email === "string" ? email : null }];
  });
}

function members(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}
