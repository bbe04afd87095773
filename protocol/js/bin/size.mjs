/**
 * What a page and its worker load of this package, minified and compressed, against what they may: at once, and with all
 * that comes when it is needed. Prints the figures, and fails above them. Both are bundled as the page (`edge/web`) bundles
 * them: by Rolldown, each by itself.
 */

import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { rolldown } from "rolldown";

const kib = 1024;
/**
 * The page: what it loads at once; what else belongs to it are the worker's parts, for browsers that have no such worker.
 * The worker: what it loads at once, and all of it.
 */
const limits = [
  { what: "page, at once", entry: "../src/index.ts", later: false, kib: 15 },
  { what: "worker, at once", entry: "../src/worker.ts", later: false, kib: 15 },
  { what: "worker, all of it", entry: "../src/worker.ts", later: true, kib: 24 },
];

async function bundle(entry) {
  const bundled = await rolldown({ input: fileURLToPath(new URL(entry, import.meta.url)) });
  const { output } = await bundled.generate({ format: "es", minify: true });
  await bundled.close();
  return new Map(output.map((chunk) => [chunk.fileName, chunk]));
}

/** A file with all that it imports, also what it waits for until there is a need. */
function withImports(chunks, name, later, seen = new Set()) {
  seen.add(name);
  const { imports, dynamicImports } = chunks.get(name);
  for (const other of later ? [...imports, ...dynamicImports] : imports)
    if (!seen.has(other)) withImports(chunks, other, later, seen);
  return seen;
}

let failed = false;
for (const { what, entry, later, kib: most } of limits) {
  const chunks = await bundle(entry);
  const { fileName } = [...chunks.values()].find(({ isEntry }) => isEntry);
  const bytes = [...withImports(chunks, fileName, later)].reduce(
    (sum, name) => sum + gzipSync(chunks.get(name).code, { level: 9 }).length,
    0,
  );
  console.log(`${what}: ${bytes} bytes gzip, ${(bytes / kib).toFixed(1)} KiB; at most ${most} KiB`);
  failed ||= bytes > most * kib;
}
if (failed) {
  console.error(
    "size: above the limit; look at what came into the bundle with 'npx esbuild --bundle --analyze src/worker.ts'",
  );
  process.exit(1);
}
