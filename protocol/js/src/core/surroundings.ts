/** What the core needs of the world: clocks, timers, randomness, sockets and HTTP. Tests give others. */

import { isOriginRefused } from "../origin.js";

/** What `deferred.ts` has. */
export type Deferred = typeof import("./deferred.js");

/** A socket that carries messages. */
export interface Socket {
  send(message: Uint8Array<ArrayBuffer>): void;
  close(): void;
}

export interface SocketEvents {
  opened(): void;
  /** `null`: a text message. */
  message(message: Uint8Array | null): void;
  /** Once, also when it never opened. */
  closed(): void;
}

export interface Surroundings {
  /** Milliseconds of a clock that never goes back. */
  now(): number;
  /** Milliseconds since 1970, by this machine's clock, which may be wrong and may jump. */
  wallMs(): number;
  /** 0 to below 1. */
  random(): number;
  /** Calls `then` once after at least so many milliseconds; returns how to take it back. */
  after(ms: number, then: () => void): () => void;
  dial(url: string, events: SocketEvents): Socket;
  /** The JSON at this URL. Rejected for anything else; with {@link OriginRefused} where the server is there and may not be read. */
  fetchJson(url: string): Promise<Fetched>;
  /** The code that is loaded later. Rejected where it does not come; asked again, it may come all the same. */
  deferred(): Promise<Deferred>;
}

export interface Fetched {
  readonly json: unknown;
  /** The server's clock as it answered, if it said so. */
  readonly dateMs: number | null;
}

/** A server refuses pages of this origin. */
export class OriginRefused extends Error {}

/** A socket that does not open, and a document that does not come, have failed after this. */
export const dialMs = 15_000;
/** A discovery document with more than this is none. */
const documentBytesMax = 65_536;

/** The browser's (or Node's). `webSocket` and `fetch` take the place of the global ones. */
export function surroundings(
  webSocket?: new (url: string, protocol: string) => WebSocket,
  fetchWith: typeof fetch = (...of) => fetch(...of),
): Surroundings {
  return {
    now: () => performance.now(),
    wallMs: () => Date.now(),
    random: () => Math.random(),
    after(ms, then) {
      const timer = setTimeout(then, ms);
      return () => {
        clearTimeout(timer);
      };
    },
    dial(url, events) {
      const socket = new (webSocket ?? WebSocket)(url, "panda.1");
      socket.binaryType = "arraybuffer";
      let over = false;
      const end = (): void => {
        if (!over) events.closed();
        over = true;
        socket.close();
      };
      const timer = setTimeout(end, dialMs);
      socket.onopen = () => {
        clearTimeout(timer);
        // A server that ignores the subprotocol is none of ours.
        if (socket.protocol !== "panda.1") end();
        else if (!over) events.opened();
      };
      socket.onmessage = ({ data }: MessageEvent<unknown>) => {
        if (!over) events.message(data instanceof ArrayBuffer ? new Uint8Array(data) : null);
      };
      socket.onclose = socket.onerror = () => {
        clearTimeout(timer);
        end();
      };
      return {
        send(message) {
          if (socket.readyState === 1) socket.send(message);
        },
        close() {
          over = true;
          clearTimeout(timer);
          socket.close();
        },
      };
    },
    async fetchJson(url) {
      const response = await fetchWith(url, {
        credentials: "omit",
        cache: "no-store",
        signal: AbortSignal.timeout(dialMs),
      }).catch(async (error: unknown) => {
        throw (await isOriginRefused(url, fetchWith)) ? new OriginRefused() : error;
      });
      const text = await response.text();
      if (!response.ok || text.length > documentBytesMax) throw new RangeError("not the document that was asked for");
      const dateMs = Date.parse(response.headers.get("date") ?? "");
      return { json: JSON.parse(text) as unknown, dateMs: Number.isNaN(dateMs) ? null : dateMs };
    },
    deferred: () => import("./deferred.js"),
  };
}
