/** Somebody else who serves the page's files, unchanged but for the server that they name: as another site does. */

import { readFile } from "node:fs/promises";
import { createServer, type Server as HttpsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Certificate } from "./certificate";

const dist = fileURLToPath(new URL("../../../dist/", import.meta.url));
const types: Record<string, string> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
  ".png": "image/png",
  ".webmanifest": "application/manifest+json",
};

export class PageHost {
  #server: HttpsServer | null = null;
  #of = "";

  /** Listens; serves what {@link serve} says from then on. */
  static async on(certificate: Certificate): Promise<PageHost> {
    const host = new PageHost();
    const [cert, key] = await Promise.all([readFile(certificate.file), readFile(certificate.key)]);
    const server = createServer({ cert, key }, (request, response) => {
      host.#answer(request.url ?? "/").then(
        ({ type, body }) => {
          response.writeHead(200, { "content-type": type, "content-security-policy": host.#policy(), "cache-control": "no-cache" });
          response.end(body);
        },
        () => {
          response.writeHead(404);
          response.end();
        },
      );
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    host.#server = server;
    return host;
  }

  get origin(): string {
    return `https://127.0.0.1:${String((this.#server?.address() as AddressInfo).port)}`;
  }

  /** The page talks to this server. */
  serve(url: string): void {
    this.#of = url;
  }

  close(): void {
    this.#server?.closeAllConnections();
    this.#server?.close();
  }

  /** As the server's own, with that server in it: `README.md` says so. */
  #policy(): string {
    const server = new URL(this.#of).host;
    const connect = `connect-src 'self' https://${server} wss://${server}`;
    return `default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' https:; worker-src 'self'; manifest-src 'self'; ${connect}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`;
  }

  async #answer(url: string): Promise<{ type: string; body: string | Buffer }> {
    const { pathname } = new URL(url, this.origin);
    const name = pathname === "/" || pathname.startsWith("/app") ? "index.html" : pathname.slice(1);
    const bytes = await readFile(join(dist, name));
    const type = types[extname(name)] ?? "application/octet-stream";
    if (name !== "index.html") return { type, body: bytes };
    return { type, body: bytes.toString("utf8").replace('name="panda-server" content=""', `name="panda-server" content="${this.#of}"`) };
  }
}
