/**
 * What a page and its worker load of this package, minified and compressed, against what they may. Prints the figures,
 * and fails above them.
 */

import { build } from "esbuild";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const kib = 1024;
/** The page: what it loads at once. The worker: codec, session, stores and all; the page loads as much where there is none. */
const limits = { page: 15 * kib, worker: 23 * kib };

const source = (path) => fileURLToPath(new URL(path, import.meta.url));
const { outputFiles, metafile } = await build({
  entryPoints: { page: source("../src/index.ts"), worker: source("../src/worker.ts") },
  bundle: true,
  splitting: true,
  minify: true,
  format: "esm",
  target: "es2022",
  write: false,
  metafile: true,
  outdir: "dist",
  logLevel: "error",
});
const sizes = new Map(
  outputFiles.map(({ path, contents }) => [path.split("/").at(-1), gzipSync(contents, { level: 9 }).length]),
);

/** A file with all that it imports without waiting for a need. */
function whole(name, seen = new Set()) {
  seen.add(name);
  const output = metafile.outputs[`dist/${name}`];
  for (const { path, kind } of output.imports) {
    const imported = path.split("/").at(-1);
    if (kind === "import-statement" && !seen.has(imported)) whole(imported, seen);
  }
  return seen;
}

let failed = false;
for (const [name, limit] of Object.entries(limits)) {
  const bytes = [...whole(`${name}.js`)].reduce((sum, file) => sum + sizes.get(file), 0);
  console.log(`${name}: ${bytes} bytes gzip, ${(bytes / kib).toFixed(1)} KiB; at most ${limit / kib} KiB`);
  failed ||= bytes > limit;
}
if (failed) {
  console.error(
    "size: above the limit; look at what came into the bundle with 'npx esbuild --bundle --analyze src/worker.ts'",
  );
  process.exit(1);
}
