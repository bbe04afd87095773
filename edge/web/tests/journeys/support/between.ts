/**
 * Somebody between a browser and a server who changes what goes through: the versions that the server speaks, the clock of
 * the browser's worker, and words of the server that it has no reason to say.
 */

import { createServer, request, type IncomingMessage, type Server as HttpServer, type ServerResponse } from "node:http";
import { connect, type AddressInfo, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { Server } from "./server";

/** A Bye (`SPEC.md`, section 6) in a message of a WebSocket (RFC 6455). */
function byeMessage(code: number, text: string): Buffer {
  const words = Buffer.from(text);
  const frame = Buffer.from([0x0a, code >> 8, code & 0xff, 0, words.length, ...words]);
  if (frame.length > 63) throw new RangeError("this is written with lengths of one byte");
  const message = Buffer.from([frame.length, ...frame]);
  return Buffer.from([0x82, message.length, ...message]);
}

/** Laid before a script, it moves the clock that this script sees. */
export const shiftedClock = (aheadMs: number): string =>
  `{const Real = Date; globalThis.Date = class extends Real {
    constructor(...of) { if (of.length === 0) super(Real.now() + ${String(aheadMs)}); else super(...of); }
    static now() { return Real.now() + ${String(aheadMs)}; }
  };}\n`;

export class Between {
  /** What the server is made to say that it speaks; `null`: what it does. */
  versions: readonly number[] | null = null;
  /** By how much the clock of the browser's worker is ahead. */
  clockAheadMs = 0;
  readonly #server: HttpServer;
  readonly #port: number;
  /** The browser's ends of sessions. */
  readonly #sessions = new Set<Duplex>();

  private constructor(server: Server) {
    this.#port = Number(new URL(server.url).port);
    this.#server = createServer((asked, answer) => this.#pass(asked, answer));
    this.#server.on("upgrade", (asked: IncomingMessage, near: Duplex, head: Buffer) => this.#join(asked, near, head));
  }

  static async of(server: Server): Promise<Between> {
    const between = new Between(server);
    await new Promise<void>((resolve) => between.#server.listen(0, "127.0.0.1", resolve));
    return between;
  }

  get url(): string {
    return `http://127.0.0.1:${String((this.#server.address() as AddressInfo).port)}`;
  }

  /** The server seems to end every session with this. Only while nothing else is on its way. */
  byes(code: number, text: string): number {
    const sessions = [...this.#sessions];
    for (const session of sessions) session.end(byeMessage(code, text));
    return sessions.length;
  }

  /** All sessions break. */
  hangUp(): void {
    for (const session of this.#sessions) session.destroy();
  }

  close(): void {
    this.hangUp();
    this.#server.closeAllConnections();
    this.#server.close();
  }

  #pass(asked: IncomingMessage, answer: ServerResponse): void {
    const path = asked.url ?? "/";
    const isWorker = this.clockAheadMs !== 0 && path.startsWith("/assets/panda.worker-");
    const isDiscovery = this.versions !== null && path === "/.well-known/panda";
    const { method, headers } = asked;
    // What is to be changed has to be there whole and plain.
    const asIs = isWorker ? { ...headers, "accept-encoding": "identity", "if-none-match": "" } : headers;
    const passed = request({ host: "127.0.0.1", port: this.#port, path, method, headers: asIs }, (said) => {
      if (!isWorker && !isDiscovery) {
        answer.writeHead(said.statusCode ?? 502, said.headers);
        said.pipe(answer);
        return;
      }
      const parts: Buffer[] = [];
      said.on("data", (part: Buffer) => parts.push(part));
      said.on("end", () => {
        const text = Buffer.concat(parts).toString("utf8");
        const changed = isWorker
          ? shiftedClock(this.clockAheadMs) + text
          : JSON.stringify({ ...(JSON.parse(text) as object), versions: this.versions });
        const kept = Object.entries(said.headers).filter(([name]) => !["content-length", "etag", "transfer-encoding"].includes(name));
        answer.writeHead(said.statusCode ?? 502, Object.fromEntries(kept));
        answer.end(changed);
      });
    });
    passed.on("error", () => answer.destroy());
    asked.pipe(passed);
  }

  #join(asked: IncomingMessage, near: Duplex, head: Buffer): void {
    // A server of other versions only takes no session of this one.
    if (this.versions?.includes(1) === false) {
      near.destroy();
      return;
    }
    const far: Socket = connect(this.#port, "127.0.0.1");
    this.#sessions.add(near);
    const lines = [`${asked.method ?? "GET"} ${asked.url ?? "/"} HTTP/1.1`];
    for (let at = 0; at < asked.rawHeaders.length; at += 2) lines.push(`${asked.rawHeaders[at] ?? ""}: ${asked.rawHeaders[at + 1] ?? ""}`);
    far.write(`${lines.join("\r\n")}\r\n\r\n`);
    far.write(head);
    near.on("error", () => far.destroy());
    near.on("close", () => {
      this.#sessions.delete(near);
      far.destroy();
    });
    far.on("error", () => near.destroy());
    far.on("close", () => near.destroy());
    near.pipe(far).pipe(near);
  }
}
