/** Serves the test page, and everything else from the server under test, as one origin. */

import { build } from "esbuild";
import { createServer, request, type Server as HttpServer } from "node:http";
import { connect, type Socket } from "node:net";
import { fileURLToPath } from "node:url";

const source = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

export class Front {
  /** Files with this in their name are not there. */
  withheld: string | null = null;

  private constructor(
    readonly url: string,
    readonly server: HttpServer,
    readonly sockets: ReadonlySet<Socket>,
  ) {}

  static async start(port: number): Promise<Front> {
    const built = await build({
      entryPoints: { page: source("page.ts"), worker: source("../../src/worker.ts") },
      bundle: true,
      splitting: true,
      format: "esm",
      target: "es2022",
      write: false,
      outdir: "/test",
      logLevel: "error",
    });
    const files = new Map(built.outputFiles.map(({ path, text }) => [path, text]));
    // The same code under another name is a newer version to a browser.
    files.set("/test/newer.js", files.get("/test/worker.js") ?? "");
    let front: Front | null = null;
    const server = createServer((asked, answer) => {
      const path = asked.url ?? "/";
      const withheld = front?.withheld ?? null;
      if (path.startsWith("/test/")) {
        const script = files.get(path);
        if (path === "/test/")
          answer
            .writeHead(200, { "content-type": "text/html" })
            .end('<!doctype html><script type="module" src="/test/page.js"></script>');
        else if (script === undefined || (withheld !== null && path.includes(withheld))) answer.writeHead(404).end();
        else answer.writeHead(200, { "content-type": "text/javascript" }).end(script);
        return;
      }
      const on = request({ host: "127.0.0.1", port, path, method: asked.method, headers: asked.headers }, (from) => {
        answer.writeHead(from.statusCode ?? 502, from.headers);
        from.pipe(answer);
      });
      on.on("error", () => answer.writeHead(502).end());
      asked.pipe(on);
    });
    server.on("upgrade", (asked, socket) => {
      const on = connect(port, "127.0.0.1", () => {
        const lines = [`GET ${asked.url ?? "/"} HTTP/1.1`];
        for (let at = 0; at < asked.rawHeaders.length; at += 2)
          lines.push(`${asked.rawHeaders[at] ?? ""}: ${asked.rawHeaders[at + 1] ?? ""}`);
        on.write(`${lines.join("\r\n")}\r\n\r\n`);
        on.pipe(socket).pipe(on);
      });
      for (const one of [on, socket])
        one.on("error", () => {
          on.destroy();
          socket.destroy();
        });
    });
    const sockets = new Set<Socket>();
    server.on("connection", (socket) => sockets.add(socket));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const address = server.address();
    if (typeof address !== "object" || address === null) throw new Error("no port");
    front = new Front(`http://127.0.0.1:${String(address.port)}`, server, sockets);
    return front;
  }

  stop(): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    return new Promise((resolve) =>
      this.server.close(() => {
        resolve();
      }),
    );
  }
}
