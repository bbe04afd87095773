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

/**
 * With these a refresh token is of no use any more: a person has to log in. `not_found` is not among them: it is what an
 * older edge says while a deployment is being upgraded, and the next one may know.
 */
const LOGIN_OVER = ["token_expired", "token_invalid", "revoked"];
/** A refresh token without an answer is brought again while its grace lasts, and not only when the session asks once more. */
const REFRESH_TRIES = 3;
const REFRESH_PAUSE_MS = 1_000;
/** A client that does not end in time is left behind: who logs out must not wait for a server. */
const SIGN_OUT_WAIT_MS = 5_000;

const NOBODY = "nobody is logged in as this user any more";

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
  readonly api: (token: () => string | null, url: () => string) => HttpApi;
  readonly url: string;
  readonly worker?: () => SharedWorker;
}

export class Accounts {
  readonly http: HttpApi;
  readonly #options: AccountsOptions;
  readonly #listeners = new Set<() => void>();
  #isLeftBehind = false;
  #session: Session | null = null;
  #account: SavedAccount | null = null;
  /** Storage may be denied or full: then this tab alone knows its account, and what is stored is old. */
  #isStored = true;
  /** Says goodbye: nothing that still comes for it is kept. */
  #leaving: Client | null = null;
  #renewing: Promise<string | null> | null = null;
  #end: () => void = () => undefined;

  constructor(options: AccountsOptions) {
    this.#options = options;
    // Where the session is, the server is there: its own may have been away for long.
    const url = () => options.store.getState().link.place ?? options.url;
    this.http = options.api(() => this.#account?.token ?? null, url);
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
    this.#isLeftBehind = false;
    this.#take(this.#keep(account));
  }

  /** Who is logged in goes by another name, with which they log in again. */
  renamed(username: string): void {
    const account = this.#account;
    if (!account || this.#isLeaving() || account.user.username === username) return;
    const renamed = { ...this.#newest(account), user: { ...account.user, username } };
    this.#isStored = keep(ACCOUNT_KEY, JSON.stringify(renamed));
    this.#take(renamed);
  }

  /** Whether the browser may still keep something of who logged out last: it did not let it be removed. */
  readonly isLeftBehind = (): boolean => this.#isLeftBehind;

  /** Removes everything that is kept of this user here, in all tabs; unsent texts too. */
  async signOut(): Promise<void> {
    const session = this.#session;
    if (!session || this.#isLeaving()) return;
    const refreshToken = this.#newest(session.account).refreshToken;
    // Before anything is waited for: a refresh that is on its way must not log in again.
    this.#leaving = session.client;
    keep(ACCOUNT_KEY, null);
    session.directory.forget();
    session.drafts.forget();
    // Behind the goodbye, which it would cut short, unless the page is closed. Where nobody answers, the login ends by
    // itself in time.
    const logOut = () => {
      if (refreshToken !== null) void this.http.logOut(refreshToken).catch(() => undefined);
    };
    addEventListener("pagehide", logOut);
    const gone = session.client.signOut().then(
      () => true,
      () => false,
    );
    const late = new Promise<boolean>((resolve) => setTimeout(() => resolve(false), SIGN_OUT_WAIT_MS));
    const isGone = await Promise.race([gone, late]);
    removeEventListener("pagehide", logOut);
    // Somebody may have logged in meanwhile, in another tab.
    if (this.#session === null || this.#isLeaving()) {
      this.#isLeftBehind = !isGone;
      this.#close();
    }
    logOut();
  }

  #isLeaving(): boolean {
    return this.#session !== null && this.#session.client === this.#leaving;
  }

  #keep({ accessToken, expiresInMs, refreshToken, user }: Account): SavedAccount {
    const account = { token: accessToken, expiresAtMs: Date.now() + expiresInMs, refreshToken, user };
    this.#isStored = keep(ACCOUNT_KEY, JSON.stringify(account));
    return account;
  }

  /** Who is logged in in this browser: another tab may know more than this one. */
  #present(): SavedAccount | null {
    return this.#isStored ? readAccount(kept(ACCOUNT_KEY)) : this.#account;
  }

  /** What another tab may have put in the place of this. */
  #newest(account: SavedAccount): SavedAccount {
    const present = this.#present();
    return present?.user.id === account.user.id ? present : account;
  }

  #take(account: SavedAccount): void {
    if (this.#session?.account.user.id !== account.user.id || this.#isLeaving()) {
      this.#close();
      this.#open(account);
    } else {
      const isNewer = this.#session.account.token !== account.token;
      this.#account = account;
      this.#session = { ...this.#session, account };
      if (isNewer) this.#session.client.authorize(account.token);
      this.#tell();
    }
  }

  #followOtherTab(account: SavedAccount | null): void {
    this.#isStored = true;
    if (account) this.#take(account);
    else {
      // Somebody logged out there: what this tab has not written yet must not be kept after that.
      this.#session?.directory.forget();
      this.#session?.drafts.forget();
      this.#close();
    }
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
    const drafts = new DraftKeeper(store, account.user.id, client);
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
    this.#leaving = null;
    this.#renewing = null;
    this.#tell();
  }

  /** The token, `null` if only a person can get another one; rejects while there is nothing newer than what is in use. */
  async #token(reason: TokenReason): Promise<string | null> {
    const account = this.#account;
    if (!account) return null;
    if (reason === "connect" && account.expiresAtMs > Date.now()) return account.token;
    // One at a time, whoever asks.
    if (this.#renewing) return this.#renewing;
    const renewing = this.#renew(account, reason).finally(() => {
      if (this.#renewing === renewing) this.#renewing = null;
    });
    this.#renewing = renewing;
    return renewing;
  }

  async #renew(account: SavedAccount, reason: TokenReason): Promise<string | null> {
    for (let tries = 1; ; tries++) {
      try {
        return await this.#renewOnce(account, reason);
      } catch (error) {
        if (tries === REFRESH_TRIES || !isUnanswered(error)) throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, REFRESH_PAUSE_MS));
      if (!this.#isOf(account)) throw new Error(NOBODY);
    }
  }

  /** Whether its user is logged in, and stays. */
  #isOf(account: SavedAccount): boolean {
    return this.#account?.user.id === account.user.id && !this.#isLeaving();
  }

  async #renewOnce(account: SavedAccount, reason: TokenReason): Promise<string | null> {
    if (!this.#isOf(account)) throw new Error(NOBODY);
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
    const sent = newest.refreshToken;
    try {
      const renewed = this.#keepOf(account, sent, await this.http.refresh(sent));
      this.#replace(renewed);
      return renewed.token;
    } catch (error) {
      if (error instanceof RefusedError && LOGIN_OVER.includes(error.refusal.label)) return null;
      throw error;
    }
  }

  /**
   * Who logged out or in as another meanwhile is not what these tokens are of. Where another tab went on further with the
   * same refresh token, its tokens stay: these were replaced, and whoever brings a replaced one ends the login.
   */
  #keepOf(account: SavedAccount, sent: string, renewed: Account): SavedAccount {
    const present = this.#present();
    if (this.#isOf(account) && present?.user.id === account.user.id) {
      return present.refreshToken === sent ? this.#keep(renewed) : present;
    }
    if (renewed.refreshToken !== null) void this.http.logOut(renewed.refreshToken).catch(() => undefined);
    throw new Error(NOBODY);
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

/** The server may have done it, or not: its answer did not come, or said that it does not know. */
function isUnanswered(error: unknown): boolean {
  return error instanceof RefusedError && (error.refusal.label === "unreachable" || (error.refusal.status ?? 0) >= 500);
}
