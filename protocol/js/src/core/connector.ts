/**
 * Keeps a session open: finds the server, dials, comes back when and where it may (`SPEC.md`, section 6), and moves when
 * the server asks for it. What the session carries is the core's.
 *
 * At most two sockets are open: the one with the session, and the one that is to take its place.
 */

import type { Connection, Refusal } from "../api.js";
import {
  backoffRange,
  going,
  originRefused,
  rangeOf,
  replaced,
  tokenInvalid,
  versionUnsupported,
} from "../codec/codes.js";
import type { Cursor, FrameBody } from "../codec/frames.js";
import type { DeviceId, UserId } from "../ids.js";
import { localRefusal, refusalOf } from "../refusals.js";
import { Backoff } from "../session/backoff.js";
import { SessionMachine, type Ask, type Auth, type End, type Output } from "../session/machine.js";
import { Places } from "./places.js";
import { OriginRefused, type Socket, type Surroundings } from "./surroundings.js";
import type { TokenReason } from "../api.js";

/** Between two attempts that a person asks for. */
const personMs = 1_000;
/** Between two attempts to move, while the old session goes on. */
const moveMs = 1_000;

/** A ticket, and until when it is good by this machine's clock. */
export interface Access {
  readonly ticket: Uint8Array;
  readonly untilMs: number;
}

export interface ConnectorOwner {
  /** Rejected: not now. `null`: a person has to log in. */
  token(reason: TokenReason): Promise<string | null>;
  /** What the next session begins with. */
  opening(): { readonly inbox: Cursor | null; readonly first: readonly Ask[] };
  /** The numbers of the requests of `opening`, in their order: a session is there and said Hello. */
  began(requests: readonly number[]): void;
  welcomed(welcome: FrameBody<"welcome">): void;
  /** Replies, events, signals. */
  carried(output: Output): void;
  /** The session is over, or gives way to another: nothing that waits for a reply gets one. */
  lost(): void;
  connection(connection: Connection): void;
  access(access: Access | null): void;
  /** The other servers of the deployment, for the next time. */
  edges(edges: readonly string[]): void;
}

export interface ConnectorConfig {
  /** The base URL. */
  readonly url: string;
  readonly user: UserId;
  readonly device: DeviceId;
  readonly client: string;
}

interface Live {
  readonly machine: SessionMachine;
  readonly socket: Socket;
  /** The base URL of its server. */
  readonly url: string;
}

export class Connector {
  #connection: Connection = { state: "connecting", attempt: 0 };
  #live: Live | null = null;
  /** The socket that is being dialled. */
  #dialled: Socket | null = null;
  /** Raised with each attempt: what an older one still waited for comes to nothing. */
  #attempt = 0;
  #access: Access | null;
  /** The last token that a session was asked for with, and whether the server refused it. */
  #token: { readonly text: string; readonly refused: boolean } | null = null;
  /** Given without being asked for, and not used yet. */
  #given: string | null = null;
  #path: string | null = null;
  readonly #places: Places;
  /** By how much this machine's clock was ahead of the server's when that last told its own. */
  #clockAheadMs: number | null = null;
  #backoff: Backoff;
  #usedTicket = false;
  #lastTryAt = -Infinity;
  #notBefore = 0;
  #cancelTimer: () => void = () => undefined;
  #cancelWait: () => void = () => undefined;

  constructor(
    readonly config: ConnectorConfig,
    readonly world: Surroundings,
    readonly owner: ConnectorOwner,
    access: Access | null,
    edges: unknown,
  ) {
    this.#access = access;
    this.#places = new Places(config.url, edges, () => world.random());
    this.#backoff = new Backoff(() => world.random());
  }

  get machine(): SessionMachine | null {
    return this.#live?.machine ?? null;
  }

  /** The other servers of the deployment, as far as known. */
  get edges(): readonly string[] {
    return this.#places.edges;
  }

  get isOnline(): boolean {
    return this.#live?.machine.isLive ?? false;
  }

  start(): void {
    void this.#connect();
  }

  /** Does something with the session, then what it put out. */
  use<T>(act: (machine: SessionMachine, now: number) => T): T | null {
    const live = this.#live;
    if (live === null) return null;
    const result = act(live.machine, this.world.now());
    this.#flush(live);
    return result;
  }

  /** `current` of the connection changed. */
  setCurrent(current: boolean): void {
    if (this.#connection.state === "online" && this.#connection.current !== current)
      this.#show({ ...this.#connection, current });
  }

  authorize(token: string): void {
    this.#token = { text: token, refused: false };
    if (this.isOnline) {
      this.use((machine, now) => {
        machine.refresh(token, now);
      });
      return;
    }
    this.#given = token;
    if (isIdle(this.#connection)) this.#again();
  }

  connectNow(): void {
    const connection = this.#connection;
    if (!isIdle(connection)) return;
    const now = this.world.now();
    const earliest = Math.max(this.#notBefore, this.#lastTryAt + personMs);
    if (now >= earliest) this.#again();
    else this.#wait(earliest - now, connection.reason);
  }

  /** Ends it for good. */
  close(): void {
    this.#attempt++;
    this.#cancelWait();
    this.#dialled?.close();
    this.#dialled = null;
    this.#show({ state: "closed" });
    this.use((machine, now) => {
      machine.leave(now);
    });
  }

  #again(): void {
    this.#cancelWait();
    this.#backoff.reset();
    void this.#connect();
  }

  /** The machine woke up, the network is back, or somebody looks at the page. */
  wake(): void {
    if (this.isOnline) {
      this.use((machine, now) => {
        machine.tick(now);
        machine.probe(now);
      });
    } else if (this.#connection.state === "waiting") this.connectNow();
  }

  async #connect(): Promise<void> {
    const attempt = ++this.#attempt;
    const isOld = (): boolean => attempt !== this.#attempt;
    const place = this.#places.current;
    this.#lastTryAt = this.world.now();
    this.#show({ state: "connecting", attempt: this.#backoff.attempt });
    try {
      const url = await this.#socketUrl();
      if (isOld()) return;
      if (url === null) {
        this.#stop(refusalOf(versionUnsupported, "This page is older or newer than the server; load it again."));
        return;
      }
      const auth = await this.#auth();
      if (isOld()) return;
      if (auth === null) this.#signedOut(null);
      else this.#dial(url, auth, attempt, place);
    } catch (error) {
      if (!isOld()) this.#notReached(error instanceof OriginRefused);
    }
  }

  /** `null`: no version in common. */
  async #socketUrl(): Promise<string | null> {
    const place = this.#places.current;
    if (this.#path === null) {
      const { json, dateMs } = await this.world.fetchJson(new URL("/.well-known/panda", place).href);
      const { versions, websocket, edges } = json as { versions?: unknown; websocket?: unknown; edges?: unknown };
      if (!Array.isArray(versions) || typeof websocket !== "string") throw new TypeError("not a discovery document");
      this.#clockAheadMs = dateMs === null ? null : this.world.wallMs() - dateMs;
      if (!versions.includes(1)) return null;
      this.#path = websocket;
      this.#places.learn(edges);
      this.owner.edges(this.#places.edges);
    }
    const url = new URL(this.#path, place);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    return url.href;
  }

  async #auth(): Promise<Auth | null> {
    if (this.#given === null && this.#access !== null && this.#access.untilMs > this.world.wallMs()) {
      this.#usedTicket = true;
      return { ticket: this.#access.ticket };
    }
    this.#usedTicket = false;
    const refused = this.#token?.refused === true ? this.#token.text : null;
    const token = this.#given ?? (await this.owner.token(refused === null ? "connect" : "refused"));
    this.#given = null;
    if (token === null || token === refused) return null;
    this.#token = { text: token, refused: false };
    return { token };
  }

  #dial(url: string, auth: Auth, attempt: number, place: string): void {
    const isOld = (): boolean => attempt !== this.#attempt;
    let live: Live | null = null;
    const socket = this.world.dial(url, {
      opened: () => {
        if (isOld()) return;
        this.#dialled = null;
        this.#leaveOld();
        live = this.#open(socket, auth, place);
      },
      message: (message) => {
        if (live === null) return;
        live.machine.receive(message, this.world.now());
        this.#flush(live);
      },
      closed: () => {
        if (live !== null) {
          live.machine.closed(this.world.now());
          this.#flush(live);
        } else if (!isOld()) {
          this.#dialled = null;
          this.#notReached(false);
        }
      },
    });
    this.#dialled = socket;
  }

  #open(socket: Socket, auth: Auth, url: string): Live {
    const { inbox, first } = this.owner.opening();
    const { device, client } = this.config;
    const random = (): number => this.world.random();
    const machine = new SessionMachine({ device, auth, inbox, client, random }, first, this.world.now());
    const live = { machine, socket, url };
    this.#live = live;
    // A session numbers its requests from 1.
    this.owner.began(first.map((_, at) => at + 1));
    this.#flush(live);
    return live;
  }

  /** The new connection is there: good-bye on the old one, and only then Hello on the new one. */
  #leaveOld(): void {
    const old = this.#live;
    if (old === null) return;
    this.#live = null;
    old.machine.leave(this.world.now());
    this.#flush(old);
    this.owner.lost();
  }

  /** No socket came of it: the next attempt is made elsewhere, if there is anywhere. */
  #notReached(refused: boolean): void {
    const named = this.#places.leave();
    // The server may be another one by now.
    this.#path = null;
    if (this.#live !== null) this.#move(named ? 0 : moveMs);
    else {
      const end = { code: null, retryAfterMs: 0, text: "", livedMs: 0, ours: false };
      // Not for good, whatever the code says of a session: an overloaded server looks like it, and an operator may add it.
      this.#ended(end, refused ? refusalOf(originRefused) : null);
    }
  }

  /** Carries out what a session put out. */
  #flush(live: Live): void {
    for (const output of live.machine.take()) {
      switch (output.is) {
        case "send":
          live.socket.send(output.message);
          break;
        case "over":
          live.socket.close();
          if (this.#live === live) {
            this.#live = null;
            this.owner.lost();
            if (isElsewhereBetter(output.end)) this.#places.leave();
            if (this.#connection.state !== "closed") this.#ended(output.end, null);
          }
          break;
        default:
          // What an old session still says was said to the new one, too.
          if (this.#live === live) this.#carry(live, output);
      }
    }
    this.#cancelTimer();
    const current = this.#live;
    if (current === null) return;
    const now = this.world.now();
    // Timers of 0 ms in a row would be a loop; every deadline is reached or moves.
    this.#cancelTimer = this.world.after(Math.max(1, current.machine.deadline - now), () => {
      current.machine.tick(this.world.now());
      this.#flush(current);
    });
  }

  #carry(live: Live, output: Output): void {
    switch (output.is) {
      case "welcome":
        this.#welcome(live, output.welcome);
        break;
      case "refresh":
        void this.#refresh("refresh");
        break;
      case "refreshRefused":
        if (rangeOf(output.code) === 12) {
          if (this.#token) this.#token = { ...this.#token, refused: true };
          void this.#refresh("refused");
          // Nothing is said against the token: the machine asks for one again, and this one may be it.
        } else this.#token = null;
        break;
      case "ticket":
        if (output.expiresInMs === null) this.#setAccess(this.#access && { ...this.#access, ticket: output.ticket });
        else this.#online(output.ticket, output.expiresInMs);
        break;
      case "goAway":
        this.#places.go(output.goAway.address);
        this.#move(Number(output.goAway.delayMs));
        break;
      default:
        this.owner.carried(output);
    }
  }

  #welcome(live: Live, welcome: FrameBody<"welcome">): void {
    if (welcome.user !== this.config.user) {
      // What is kept here is another user's; neither may see the other's.
      this.#live = null;
      live.machine.leave(this.world.now());
      this.#flush(live);
      this.owner.lost();
      this.#setAccess(null);
      this.#signedOut(refusalOf(tokenInvalid, "This login is another user's; log in as the user of this page."));
      return;
    }
    const { session } = welcome;
    const [url, clockAheadMs] = [live.url, this.#clockAheadMs];
    this.#connection = { state: "online", session, current: false, expiresAtMs: 0, url, clockAheadMs };
    this.#online(welcome.ticket, Number(welcome.expiresInMs));
    this.owner.welcomed(welcome);
  }

  #online(ticket: Uint8Array, expiresInMs: number): void {
    const untilMs = this.world.wallMs() + expiresInMs;
    this.#setAccess({ ticket, untilMs });
    if (this.#connection.state === "online") this.#show({ ...this.#connection, expiresAtMs: untilMs });
  }

  async #refresh(reason: TokenReason): Promise<void> {
    const live = this.#live;
    const token = await this.owner.token(reason).catch(() => null);
    // The same one again gives no longer right.
    if (token === null || token === this.#token?.text || live === null || live !== this.#live) return;
    this.#token = { text: token, refused: false };
    this.use((machine, now) => {
      machine.refresh(token, now);
    });
  }

  /** Dials another connection after this time, while the session goes on. */
  #move(inMs: number): void {
    this.#cancelWait();
    this.#cancelWait = this.world.after(inMs, () => {
      void this.#makeBeforeBreak();
    });
  }

  async #makeBeforeBreak(): Promise<void> {
    const attempt = ++this.#attempt;
    const place = this.#places.current;
    try {
      const url = await this.#socketUrl();
      const auth = url === null ? null : await this.#auth();
      if (attempt !== this.#attempt || this.#live === null) return;
      if (url !== null && auth !== null) this.#dial(url, auth, attempt, place);
    } catch {
      if (attempt === this.#attempt) this.#notReached(false);
    }
  }

  #ended(end: End, unreached: Refusal | null): void {
    // What was being dialled to take its place comes too late.
    this.#attempt++;
    this.#dialled?.close();
    this.#dialled = null;
    this.#cancelWait();
    const reason =
      end.code === null
        ? end.livedMs > 0
          ? null
          : (unreached ?? localRefusal("unreachable"))
        : refusalOf(end.code, end.text, end.retryAfterMs);
    const next = this.#backoff.after(end);
    if (next.is === "stop") {
      // The token that was good for it is no more.
      if (end.code !== replaced) this.#setAccess(null);
      this.#stop(reason ?? localRefusal("unreachable"));
      return;
    }
    if (next.with !== "ticket") {
      this.#setAccess(null);
      if (!this.#usedTicket && this.#token) this.#token = { ...this.#token, refused: true };
    }
    this.#notBefore = this.world.now() + end.retryAfterMs;
    this.#wait(next.inMs, reason);
  }

  #wait(inMs: number, reason: Refusal | null): void {
    this.#cancelWait();
    this.#show({ state: "waiting", attempt: this.#backoff.attempt, retryAtMs: this.world.wallMs() + inMs, reason });
    this.#cancelWait = this.world.after(inMs, () => {
      void this.#connect();
    });
  }

  #stop(reason: Refusal): void {
    this.#path = null;
    this.#show({ state: "stopped", reason });
  }

  #signedOut(reason: Refusal | null): void {
    this.#show({ state: "signedOut", reason });
  }

  #setAccess(access: Access | null): void {
    this.#access = access;
    this.owner.access(access);
  }

  #show(connection: Connection): void {
    this.#connection = connection;
    this.owner.connection(connection);
  }
}

/** There is no connection, and none is being made. */
const isIdle = (connection: Connection): connection is Extract<Connection, { readonly reason: Refusal | null }> =>
  "reason" in connection;

/** A server that died, leaves or has too much to do is no place to come back to while there is another one. */
const isElsewhereBetter = ({ code, ours }: End): boolean =>
  code === null || (!ours && (code === going || rangeOf(code) === backoffRange));
