/** A real `panda serve` on ports of its own, with a data folder that goes with it. Node only. */

import { spawn, type ChildProcess } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../../../", import.meta.url));
const startMs = 15_000;

/** The server binary, which is the Rust client, too. */
export function binary(): string {
  const named = process.env["PANDA_BINARY"] ?? join(root, "target/debug/panda");
  if (!existsSync(named))
    throw new Error(`there is no ${named}: run 'cargo build -p panda', or name another in PANDA_BINARY`);
  return named;
}

/** The server takes every PANDA_ variable for a key of its configuration. */
export const withoutOurs = (environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv =>
  Object.fromEntries(Object.entries(environment).filter(([name]) => !name.startsWith("PANDA_")));

/** A port that nobody has now. */
function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => {
        if (typeof address === "object" && address !== null) resolve(address.port);
        else reject(new Error("no port"));
      });
    });
  });
}

export class Server {
  #process: ChildProcess | null = null;
  readonly #data = mkdtempSync(join(tmpdir(), "panda-js-"));

  private constructor(
    readonly port: number,
    readonly environment: Readonly<Record<string, string>>,
  ) {}

  /** Started and ready. `environment`: configuration as variables. */
  static async start(environment: Readonly<Record<string, string>> = {}): Promise<Server> {
    const server = new Server(await freePort(), environment);
    await server.start();
    return server;
  }

  get url(): string {
    return `http://127.0.0.1:${String(this.port)}`;
  }

  /** Again after a {@link kill} or {@link stop}: on the same port, with the same data. */
  async start(): Promise<void> {
    const [quic, health] = [await freePort(), await freePort()];
    const lines: string[] = [];
    const started = spawn(
      binary(),
      [
        "serve",
        "--data",
        this.#data,
        "--http",
        `127.0.0.1:${String(this.port)}`,
        "--quic",
        `127.0.0.1:${String(quic)}`,
        "--health",
        `127.0.0.1:${String(health)}`,
      ],
      { stdio: ["ignore", "pipe", "pipe"], env: { ...withoutOurs(process.env), ...this.environment } },
    );
    for (const stream of [started.stdout, started.stderr])
      stream.on("data", (data: Buffer) => lines.push(data.toString()));
    this.#process = started;
    // Also when the test was ended in the middle.
    const orphaned = (): void => void started.kill("SIGKILL");
    process.once("exit", orphaned);
    started.once("exit", () => process.off("exit", orphaned));
    const until = performance.now() + startMs;
    for (;;) {
      if (started.exitCode !== null || performance.now() > until)
        throw new Error(`the server did not start:\n${lines.join("")}`);
      const ready = await fetch(`http://127.0.0.1:${String(health)}/readyz`).then(
        ({ ok }) => ok,
        () => false,
      );
      if (ready) return;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** As by `kill -9`. */
  kill(): Promise<void> {
    return this.#end("SIGKILL");
  }

  /** As an operator stops it: sessions are told to move. */
  stop(): Promise<void> {
    return this.#end("SIGTERM");
  }

  /** Everything of it is gone then. */
  async remove(): Promise<void> {
    await this.kill();
    rmSync(this.#data, { recursive: true, force: true });
  }

  async #end(signal: "SIGKILL" | "SIGTERM"): Promise<void> {
    const ending = this.#process;
    this.#process = null;
    if (ending === null || ending.exitCode !== null || ending.signalCode !== null) return;
    const gone = new Promise((resolve) => ending.once("exit", resolve));
    ending.kill(signal);
    await gone;
  }
}
