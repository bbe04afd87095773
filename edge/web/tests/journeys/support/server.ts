/** A `panda serve` of one's own: on free ports, with a data folder that goes with it. */

import { spawn, type ChildProcess } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, open } from "node:fs/promises";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const START_MS = 60_000;
const root = fileURLToPath(new URL("../../../../../", import.meta.url));
const target = process.env["CARGO_TARGET_DIR"] ?? join(root, "target");
export const binary = join(target, process.env["PANDA_BUILD"] ?? "debug", "panda");

/** A port that nobody listens on now. */
function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once("error", reject);
    probe.listen(0, "127.0.0.1", () => {
      const address = probe.address();
      probe.close(() => (typeof address === "object" && address ? resolve(address.port) : reject(new Error("no port"))));
    });
  });
}

export class Server {
  readonly url: string;
  /** Has the data folder `data` and what the server wrote to its log. */
  readonly folder: string;
  readonly #health: string;
  readonly #arguments: readonly string[];
  #environment: NodeJS.ProcessEnv;
  #process: ChildProcess | null = null;

  private constructor(folder: string, ports: readonly [number, number, number], environment: NodeJS.ProcessEnv) {
    const [http, quic, health] = ports.map((port) => `127.0.0.1:${String(port)}`) as [string, string, string];
    this.url = `${environment["PANDA_HTTP_CERTIFICATE"] === undefined ? "http" : "https"}://${http}`;
    this.#health = health;
    this.folder = folder;
    this.#environment = environment;
    this.#arguments = ["serve", "--data", join(folder, "data"), "--http", http, "--quic", quic, "--health", health];
  }

  /** A folder for a new one; that of another one, to go on with its data, is made if it is not there. */
  static async folder(kept?: string): Promise<string> {
    if (kept === undefined) return mkdtemp(join(tmpdir(), "panda-web."));
    await mkdir(kept, { recursive: true });
    return kept;
  }

  /** Makes one and starts it. The environment has keys of the configuration, such as `PANDA_API_TOKEN_LIFETIME_S`. */
  static async start(environment: NodeJS.ProcessEnv = {}, folder?: string): Promise<Server> {
    const ports = [await freePort(), await freePort(), await freePort()] as const;
    const server = new Server(folder ?? (await Server.folder()), ports, environment);
    await server.start();
    return server;
  }

  /** Again on the same ports, with the same data; with these keys changed. */
  async start(changed: NodeJS.ProcessEnv = {}): Promise<void> {
    this.#environment = { ...this.#environment, ...changed };
    const log = await open(join(this.folder, "log"), "a");
    const child = spawn(binary, this.#arguments, {
      stdio: ["ignore", log.fd, log.fd],
      env: { ...process.env, ...this.#environment },
    });
    this.#process = child;
    child.once("exit", () => void log.close());
    const failed = new Promise<never>((_, reject) => child.once("error", reject));
    await Promise.race([failed, this.#answers()]);
  }

  async #answers(): Promise<void> {
    const end = Date.now() + START_MS;
    while (Date.now() < end) {
      if (this.#process?.exitCode != null) break;
      try {
        const answer = await fetch(`http://${this.#health}/readyz`, { signal: AbortSignal.timeout(1_000) });
        if (answer.ok) return;
      } catch {
        // Not yet.
      }
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    throw new Error(`the server does not answer; it said:\n${await readFile(join(this.folder, "log"), "utf8")}`);
  }

  /** As a loss of power does: nobody is told. */
  async kill(signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    const child = this.#process;
    if (child?.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill(signal);
    await ended;
    this.#process = null;
  }

  /** With its data, unless they are kept. */
  async remove(isKept = false): Promise<void> {
    await this.kill(isKept ? "SIGTERM" : "SIGKILL");
    if (!isKept) await rm(this.folder, { recursive: true, force: true });
  }
}

/** The way to a server, which can be cut without a word of the server, as a tunnel under a mountain does. */
export class Line {
  readonly #relay = createServer((near) => this.#join(near));
  readonly #open = new Set<Socket>();
  readonly #port: number;
  #url = "";
  #isCut = false;
  #isStalled = false;
  /** Ends that are joined, or will be when the server answers again. */
  readonly #joined = new Set<readonly [Socket, Socket]>();

  private constructor(server: Server) {
    this.#port = Number(new URL(server.url).port);
  }

  static async to(server: Server): Promise<Line> {
    const line = new Line(server);
    await new Promise<void>((resolve) => line.#relay.listen(0, "127.0.0.1", resolve));
    line.#url = `http://127.0.0.1:${String((line.#relay.address() as AddressInfo).port)}`;
    return line;
  }

  get url(): string {
    return this.#url;
  }

  #join(near: Socket): void {
    const far = connect(this.#port, "127.0.0.1");
    const ends = [near, far] as const;
    this.#joined.add(ends);
    near.on("close", () => this.#joined.delete(ends));
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      this.#open.add(one);
      one.on("error", () => other.destroy());
      one.on("close", () => {
        this.#open.delete(one);
        other.destroy();
      });
    }
    if (this.#isCut) near.destroy();
    else if (!this.#isStalled) near.pipe(far).pipe(near);
  }

  /** Connections are taken and stay open, and nothing comes through any of them. */
  stall(): void {
    this.#isStalled = true;
    for (const [near, far] of this.#joined) {
      near.unpipe(far);
      far.unpipe(near);
    }
  }

  /** What waited comes through. */
  goesOn(): void {
    this.#isStalled = false;
    for (const [near, far] of this.#joined) near.pipe(far).pipe(near);
  }

  cut(): void {
    this.#isCut = true;
    for (const socket of this.#open) socket.destroy();
  }

  mend(): void {
    this.#isCut = false;
  }

  close(): void {
    this.cut();
    this.#relay.close();
  }
}
