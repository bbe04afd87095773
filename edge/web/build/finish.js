// What Vite leaves to do: the service worker with the list of what it keeps, and every text compressed as small as it
// gets, so that the server only hands it out.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const dist = fileURLToPath(new URL("../dist/", import.meta.url));
const files = readdirSync(dist, { recursive: true })
  .filter((name) => name !== ".gitignore" && statSync(join(dist, name)).isFile())
  .map((name) => name.replaceAll("\\", "/"))
  .sort();

// The shell is everything but what only an installed system asks for.
const shell = files.filter((name) => name !== "index.html" && !name.endsWith(".png")).map((name) => `/${name}`);
const version = createHash("sha256");
for (const name of files) version.update(name).update(readFileSync(join(dist, name)));
const worker = readFileSync(new URL("service_worker.js", import.meta.url), "utf8")
  .replace('"SHELL"', JSON.stringify(shell))
  .replace('"VERSION"', JSON.stringify(version.digest("hex").slice(0, 16)));
writeFileSync(join(dist, "sw.js"), worker);

for (const name of [...files, "sw.js"]) {
  // The page itself is below a kilobyte and asked for each time; pictures are compressed already.
  if (!/\.(js|css|svg|webmanifest|json)$/.test(name)) continue;
  const bytes = readFileSync(join(dist, name));
  const brotli = brotliCompressSync(bytes, {
    params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length },
  });
  writeFileSync(join(dist, `${name}.br`), brotli);
  writeFileSync(join(dist, `${name}.gz`), gzipSync(bytes, { level: 9 }));
}
