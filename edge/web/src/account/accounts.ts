/**
 * Who is logged in, in all tabs, and the client that belongs to it. Outside of the components: a client is opened once,
 * however often something is drawn.
 */

import { RefusedError, type Account, type Client, type ClientOptions, type HttpApi, type TokenReason } from "@panda/client";
import { Directory } from "../people/directory";
import { DraftKeeper } from "../state/draft_keeper";
import { followInto } from "../state/inflow";
import type { Store } from "../state/store";
import { forgotten } from "../state/world";
import { ACCOUNT_KEY, keep, kept, readAccount, type SavedAccount } from "./saved";

/** With these a refresh token is of no use any more: a person has to log in. `not_found` says a server that has none. */
const LOGIN_OVER = ["token_expired", "token_invalid", "revoked", "not_found"];
/** A client that does not end in time is left behind: who logs out must not wait for a server. */
const SIGN_OUT_WAIT_MS = 5_000;

/** Everything that lives as long as somebody is logged in. */
export interface Session {
  readonly account: SavedAccount;
  readonly client: Client;
  readonly directory: Directory;
  readonly drafts: DraftKeeper;
}

export interface AccountsOptions {
  readonly store: Store;
  readonly open: (options: ClientOptions) => Client;
  readonly api: (token: () => string | null) => HttpApi;
  readonly url: string;
  readonly worker?: () => SharedWorker;
}

export class Accounts {
  readonly http: HttpApi;
  readonly #options: AccountsOptions;
  readonly #listeners = new Set<() => void>();
  #session: Session | null = null;
  #account: SavedAccount | null = null;
  #renewing: Promise<string | null> | null = null;
  #end: () => void = () => undefined;

  constructor(options: AccountsOptions) {
    this.#options = options;
    this.http = options.api(() => this.#account?.token ?? null);
    const saved = readAccount(kept(ACCOUNT_KEY));
    if (saved) this.#open(saved);
    addEventListener("storage", (event) => {
      if (event.key === ACCOUNT_KEY || event.key === null) this.#followOtherTab(readAccount(event.newValue));
    });
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  readonly session = (): Session | null => this.#session;

  /** After `register` and `login`. The same user goes on where the token ended: nothing that was typed is touched. */
  signedIn(account: Account): void {
    this.#take(this.#keep(account));
  }

  /** Removes everything that is kept of this user here, in all tabs; unsent texts too. */
  async signOut(): Promise<void> {
    const session = this.#session;
    if (!session) return;
    const refreshToken = this.#newest(session.account).refreshToken;
    keep(ACCOUNT_KEY, null);
    session.directory.forget();
    session.drafts.forget();
    const gone = session.client.signOut().catch(() => undefined);
    await Promise.race([gone, new Promise((resolve) => setTimeout(resolve, SIGN_OUT_WAIT_MS))]);
    this.#close();
    // Behind the goodbye, which it would cut short. Where nobody answers, the login ends by itself in time.
    if (refreshToken !== null) void this.http.logOut(refreshToken).catch(() => undefined);
  }

  #keep({ accessToken, expiresInMs, refreshToken, user }: Account): SavedAccount {
    const account = { token: accessToken, expiresAtMs: Date.now() + expiresInMs, refreshToken, user };
    keep(ACCOUNT_KEY, JSON.stringify(account));
    return account;
  }

  /** What another tab may have put in the place of this. */
  #newest(account: SavedAccount): SavedAccount {
    const saved = readAccount(kept(ACCOUNT_KEY));
    return saved?.user.id === account.user.id ? saved : account;
  }

  #take(account: SavedAccount): void {
    if (this.#session?.account.user.id !== account.user.id) {
      this.#close();
      this.#open(account);
    } else {
      this.#account = account;
      this.#session = { ...this.#session, account };
      this.#session.client.authorize(account.token);
      this.#tell();
    }
  }

  #followOtherTab(account: SavedAccount | null): void {
    if (account) this.#take(account);
    else this.#close();
  }

  #open(account: SavedAccount): void {
    const { store, open, url, worker } = this.#options;
    this.#account = account;
    const client = open({
      url,
      user: account.user.id,
      token: (reason) => this.#token(reason),
      clientName: "panda-web/0.1.0",
      ...(worker ? { worker } : {}),
    });
    const directory = new Directory(this.http, store, account.user.id);
    const drafts = new DraftKeeper(store, account.user.id);
    const stop = followInto(client, store.dispatch);
    this.#end = () => {
      stop();
      client.close();
      directory.close();
      drafts.close();
      store.dispatch(forgotten());
    };
    this.#session = { account, client, directory, drafts };
    this.#tell();
  }

  #close(): void {
    this.#end();
    this.#end = () => undefined;
    this.#session = null;
    this.#account = null;
    this.#tell();
  }

  /** The token, `null` if only a person can get another one; rejects while there is nothing newer than what is in use. */
  async #token(reason: TokenReason): Promise<string | null> {
    const account = this.#account;
    if (!account) return null;
    if (reason === "connect" && account.expiresAtMs > Date.now()) return account.token;
    // One at a time, whoever asks.
    this.#renewing ??= this.#renew(account, reason).finally(() => {
      this.#renewing = null;
    });
    return this.#renewing;
  }

  async #renew(account: SavedAccount, reason: TokenReason): Promise<string | null> {
    const newest = this.#newest(account);
    if (newest.token !== account.token && newest.expiresAtMs > Date.now()) {
      this.#replace(newest);
      return newest.token;
    }
    if (newest.refreshToken === null) {
      // Only a login gives a newer token. The session goes on with what it has until that ends.
      if (reason === "refresh") throw new Error("there is no newer token");
      return null;
    }
    try {
      const renewed = this.#keepOf(account, await this.http.refresh(newest.refreshToken));
      this.#replace(renewed);
      return renewed.token;
    } catch (error) {
      if (error instanceof RefusedError && LOGIN_OVER.includes(error.refusal.label)) return null;
      throw error;
    }
  }

  /** Who logged out or in as another meanwhile is not what these tokens are of. */
  #keepOf(account: SavedAccount, renewed: Account): SavedAccount {
    if (this.#account?.user.id === account.user.id) return this.#keep(renewed);
    if (renewed.refreshToken !== null) void this.http.logOut(renewed.refreshToken).catch(() => undefined);
    throw new Error("nobody is logged in as this user any more");
  }

  /** Newer tokens of the same user: whoever asked for them gives them to the client. */
  #replace(account: SavedAccount): void {
    if (!this.#session) return;
    this.#account = account;
    this.#session = { ...this.#session, account };
    this.#tell();
  }

  #tell(): void {
    for (const listener of this.#listeners) listener();
  }
}
