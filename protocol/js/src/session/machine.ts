/**
 * One session over one connection, without I/O, clock or randomness of its own: messages and times go in, outputs come
 * out. It knows the order of frames, heartbeats, when the right has to be refreshed, and which reply belongs to which
 * request. What events and replies mean is the core's matter.
 *
 *     hello ── Welcome ──▶ live ── Bye, silence, or the end of the socket ──▶ over
 *
 * Times are milliseconds of a clock that never goes back.
 */

import {
  frameTooLarge,
  going,
  heartbeatTimeout,
  malformed,
  unexpectedFrame,
  unknownFrame,
  versionUnsupported,
} from "../codec/codes.js";
import type { Cursor, Frame, FrameBody } from "../codec/frames.js";
import { decodeMessage, encodeFrame } from "../codec/framing.js";
import { errorTextBytesMax, requestsInFlightMax } from "../codec/limits.js";
import { DecodeError } from "../codec/reader.js";
import type { DeviceId } from "../ids.js";

export type Auth = { readonly token: string } | { readonly ticket: Uint8Array };

export interface SessionConfig {
  readonly device: DeviceId;
  readonly auth: Auth;
  readonly inbox: Cursor | null;
  readonly client: string;
  /** 0 to below 1, from which moments are drawn. */
  readonly random: () => number;
}

/** Why a session is over. */
export interface End {
  /** A Bye's code; `null`: the socket closed, or the other side was silent. */
  readonly code: number | null;
  readonly retryAfterMs: number;
  readonly text: string;
  /** How long it lived after its Welcome. */
  readonly livedMs: number;
  /** The code is this client's judgement of the server's bytes, and no word of the server. */
  readonly ours: boolean;
}

export type RequestFrame = Extract<
  Frame,
  {
    readonly type:
      "sync" | "subscribe" | "unsubscribe" | "command" | "page" | "members" | "chats" | "chatInfo" | "refresh";
  }
>;
export type ReplyFrame = Extract<
  Frame,
  {
    readonly type:
      | "synced"
      | "subscribed"
      | "unsubscribed"
      | "ack"
      | "pageChunk"
      | "membersPage"
      | "chatsPage"
      | "chatInfoReply"
      | "refreshed"
      | "error";
  }
>;
/** A request without its number, which the session chooses. */
export type Ask = RequestFrame extends infer R ? (R extends RequestFrame ? Omit<R, "request"> : never) : never;

export type Output =
  /** Put this on the socket as one message. */
  | { readonly is: "send"; readonly message: Uint8Array<ArrayBuffer> }
  | { readonly is: "welcome"; readonly welcome: FrameBody<"welcome"> }
  /** `last`: no other reply to this request comes. */
  | { readonly is: "reply"; readonly request: number; readonly reply: ReplyFrame; readonly last: boolean }
  | { readonly is: "event"; readonly event: FrameBody<"event"> }
  | { readonly is: "ended"; readonly ended: FrameBody<"ended"> }
  | { readonly is: "head"; readonly head: FrameBody<"head"> }
  | { readonly is: "signal"; readonly signal: FrameBody<"signal"> }
  /** The right ends soon: give a newer token by {@link SessionMachine.refresh}. */
  | { readonly is: "refresh" }
  /** A newer ticket and until when, from a Refreshed or a GoAway. */
  | { readonly is: "ticket"; readonly ticket: Uint8Array; readonly expiresInMs: number | null }
  /** The server did not take the token; the session goes on with the right that it has. */
  | { readonly is: "refreshRefused"; readonly code: number }
  | { readonly is: "goAway"; readonly goAway: FrameBody<"goAway"> }
  /** Close the socket; nothing more comes of this session. */
  | { readonly is: "over"; readonly end: End };

/** A Welcome, and the answer to a Ping that asks whether anybody is there, must come within this. */
const answerMs = 15_000;
/** Who waits for a reply and hears nothing for so long asks whether anybody is there. */
const patienceMs = 10_000;
/** Before the Welcome names it. */
const heartbeatAtFirstMs = answerMs / 2;
/** A Refresh that was refused or came to nothing is tried again after this, and never sooner than so after the last. */
const refreshAgainMs = 30_000;
/** A server could announce any heartbeat; below this a client would do nothing else. */
const heartbeatMsMin = 1_000;
/** Timers take no longer times: 2^31 - 1. */
const timerMsMax = 0x7fff_ffff;

const replies: Readonly<Record<RequestFrame["type"], ReplyFrame["type"]>> = {
  sync: "synced",
  subscribe: "subscribed",
  unsubscribe: "unsubscribed",
  command: "ack",
  page: "pageChunk",
  members: "membersPage",
  chats: "chatsPage",
  chatInfo: "chatInfoReply",
  refresh: "refreshed",
};

/** The end of a session of which nobody said why. */
const silence = { code: null, retryAfterMs: 0, text: "", ours: false } as const;

/** A frame that no server may send now. */
class Unexpected extends Error {}

export class SessionMachine {
  #state: "hello" | "live" | "over" = "hello";
  #outputs: Output[] = [];
  #waiting = new Map<number, RequestFrame["type"]>();
  #lastRequest = 0;
  #lastNonce = 0n;
  #heartbeatMs = heartbeatAtFirstMs;
  #heardAt: number;
  #sentAt: number;
  #liveSince: number;
  /** When an answer to a probe must be here. */
  #answerBy = Infinity;
  /** Since when something waits for a reply and nothing at all was heard. */
  #unheardSince = Infinity;
  #refreshAt = Infinity;
  #refreshRequest: number | null = null;
  readonly #random: () => number;

  /** For a socket that is open: says Hello, with `first` right behind it in the same flight. */
  constructor(config: SessionConfig, first: readonly Ask[], now: number) {
    this.#random = config.random;
    this.#heardAt = this.#sentAt = this.#liveSince = now;
    this.#send(
      {
        type: "hello",
        versionMin: 1n,
        versionMax: 1n,
        capabilities: 0n,
        auth: config.auth,
        device: config.device,
        inbox: config.inbox,
        client: config.client,
      },
      now,
    );
    for (const ask of first) this.request(ask, now);
  }

  get isLive(): boolean {
    return this.#state === "live";
  }

  /** How many more requests may wait for their reply. */
  get room(): number {
    return requestsInFlightMax - this.#waiting.size;
  }

  /** What to do, in order; each is handed out once. */
  take(): Output[] {
    const outputs = this.#outputs;
    this.#outputs = [];
    return outputs;
  }

  /** When {@link tick} has something to do: the machine's only timer. */
  get deadline(): number {
    if (this.#state === "over") return Infinity;
    const silent = this.#heardAt + 2 * this.#heartbeatMs;
    if (this.#state === "hello") return silent;
    // Earlier than asked for: timers of pages in the background are late by as much as a second, and the way takes time.
    const ask = this.#answerBy === Infinity ? this.#unheardSince + patienceMs : Infinity;
    return Math.min(silent, this.#sentAt + 0.75 * this.#heartbeatMs, this.#refreshAt, this.#answerBy, ask);
  }

  tick(now: number): void {
    if (this.#state === "over") return;
    if (now >= this.#heardAt + 2 * this.#heartbeatMs || now >= this.#answerBy) {
      this.#bye(heartbeatTimeout, "nothing was heard of the server", now);
      this.#over(silence, now);
      return;
    }
    if (this.#state === "hello") return;
    if (now >= this.#unheardSince + patienceMs) this.probe(now);
    if (now >= this.#sentAt + 0.75 * this.#heartbeatMs) this.#ping(now);
    if (now >= this.#refreshAt) {
      this.#refreshAt = now + refreshAgainMs;
      this.#outputs.push({ is: "refresh" });
    }
  }

  /** Asks whether anybody is there, because the network changed or the machine slept. Silence ends the session soon. */
  probe(now: number): void {
    if (this.#state !== "live" || this.#answerBy !== Infinity) return;
    this.#ping(now);
    this.#answerBy = now + answerMs;
  }

  /** Sends a request and returns its number, `null` when it is over or too many wait. */
  request(ask: Ask, now: number): number | null {
    if (this.#state === "over" || this.room <= 0) return null;
    const request = ++this.#lastRequest;
    this.#waiting.set(request, ask.type);
    this.#unheardSince = Math.min(this.#unheardSince, now);
    this.#send({ ...ask, request: BigInt(request) }, now);
    return request;
  }

  signal(signal: FrameBody<"signal">, now: number): void {
    if (this.#state === "live") this.#send({ type: "signal", ...signal }, now);
  }

  refresh(token: string, now: number): void {
    if (this.#state === "live" && this.#refreshRequest === null) {
      this.#refreshRequest = this.request({ type: "refresh", token }, now);
    }
  }

  /** Leaves; with Bye. */
  leave(now: number): void {
    if (this.#state === "over") return;
    this.#bye(going, "", now);
    this.#over({ ...silence, code: going }, now);
  }

  /** What a frame carried is not what the spec says. */
  broke(reason: string, now: number): void {
    if (this.#state !== "over") this.#broken(malformed, reason, now);
  }

  /** The socket closed, or could not be written to. */
  closed(now: number): void {
    this.#over(silence, now);
  }

  /** One message from the socket; `null`: a text message. */
  receive(message: Uint8Array | null, now: number): void {
    if (this.#state === "over") return;
    this.#heardAt = now;
    this.#answerBy = Infinity;
    try {
      if (message === null) throw new Unexpected("a text message");
      decodeMessage(message, (frame) => {
        // Behind a Bye nothing counts.
        if (this.#state !== "over") this.#take(frame, now);
      });
      this.#unheardSince = this.#waiting.size > 0 ? now : Infinity;
    } catch (error) {
      if (error instanceof DecodeError) {
        const code = [frameTooLarge, unknownFrame].find((one) => one === error.code) ?? malformed;
        this.#broken(code, error.reason, now);
      } else if (error instanceof Unexpected) this.#broken(unexpectedFrame, error.message, now);
      else throw error;
    }
  }

  #take(frame: Frame, now: number): void {
    switch (frame.type) {
      case "bye":
        this.#over({ ours: false, code: frame.code, retryAfterMs: Number(frame.retryAfterMs), text: frame.text }, now);
        return;
      case "ping":
        this.#send({ type: "pong", nonce: frame.nonce }, now);
        return;
      case "pong":
        return;
      case "welcome":
        this.#welcome(frame, now);
        return;
      default:
        if (this.#state !== "live") throw new Unexpected(`${frame.type} before the Welcome`);
    }
    switch (frame.type) {
      case "event":
        this.#outputs.push({ is: "event", event: frame });
        return;
      case "ended":
        this.#outputs.push({ is: "ended", ended: frame });
        return;
      case "head":
        this.#outputs.push({ is: "head", head: frame });
        return;
      case "signal":
        this.#outputs.push({ is: "signal", signal: frame });
        return;
      case "goAway":
        this.#outputs.push({ is: "ticket", ticket: frame.ticket, expiresInMs: null }, { is: "goAway", goAway: frame });
        return;
      default:
        // One that is no reply, or none to this request, is found there.
        if ("request" in frame) this.#reply(frame as ReplyFrame, now);
        else throw new Unexpected(`${frame.type} is a client's`);
    }
  }

  #welcome(welcome: FrameBody<"welcome">, now: number): void {
    if (this.#state !== "hello") throw new Unexpected("a second Welcome");
    if (welcome.version !== 1n) {
      this.#broken(versionUnsupported, "the server chose a version that was not offered", now);
      return;
    }
    this.#state = "live";
    this.#liveSince = now;
    this.#heartbeatMs = Math.min(Math.max(Number(welcome.heartbeatMs), heartbeatMsMin), timerMsMax / 2);
    this.#scheduleRefresh(Number(welcome.expiresInMs), now);
    this.#outputs.push({ is: "welcome", welcome });
  }

  #reply(reply: ReplyFrame, now: number): void {
    const request = Number(reply.request);
    const asked = this.#waiting.get(request);
    if (asked === undefined || (reply.type !== "error" && replies[asked] !== reply.type)) {
      throw new Unexpected(`${reply.type} that nothing asked for`);
    }
    const last = !(reply.type === "synced" || reply.type === "pageChunk") || reply.last;
    if (last) this.#waiting.delete(request);
    if (request !== this.#refreshRequest) {
      this.#outputs.push({ is: "reply", request, reply, last });
      return;
    }
    this.#refreshRequest = null;
    if (reply.type === "refreshed") {
      const expiresInMs = Number(reply.expiresInMs);
      this.#scheduleRefresh(expiresInMs, now);
      this.#outputs.push({ is: "ticket", ticket: reply.ticket, expiresInMs });
    } else if (reply.type === "error") {
      this.#refreshAt = now + Math.max(refreshAgainMs, Number(reply.retryAfterMs));
      this.#outputs.push({ is: "refreshRefused", code: reply.code });
    }
  }

  /** At a random moment between 60 and 90 % of the time. */
  #scheduleRefresh(expiresInMs: number, now: number): void {
    const inMs = Math.max(expiresInMs * (0.6 + 0.3 * this.#random()), refreshAgainMs);
    this.#refreshAt = now + Math.min(inMs, timerMsMax);
  }

  #ping(now: number): void {
    this.#send({ type: "ping", nonce: ++this.#lastNonce }, now);
  }

  #send(frame: Frame, now: number): void {
    this.#sentAt = now;
    this.#outputs.push({ is: "send", message: encodeFrame(frame) });
  }

  #bye(code: number, text: string, now: number): void {
    this.#send({ type: "bye", code, retryAfterMs: 0n, text: text.slice(0, errorTextBytesMax) }, now);
  }

  /** The server's bytes are not what the spec says. */
  #broken(code: number, text: string, now: number): void {
    this.#bye(code, text, now);
    this.#over({ ours: true, code, retryAfterMs: 0, text: `The server broke the protocol: ${text}.` }, now);
  }

  #over(end: Omit<End, "livedMs">, now: number): void {
    if (this.#state === "over") return;
    const livedMs = this.#state === "live" ? now - this.#liveSince : 0;
    this.#state = "over";
    this.#waiting.clear();
    this.#outputs.push({ is: "over", end: { ...end, livedMs } });
  }
}
