/** Bundles the package into `dist/`, for programs that take no TypeScript. */

import { build } from "esbuild";
import { fileURLToPath } from "node:url";

const source = (path) => fileURLToPath(new URL(path, import.meta.url));
await build({
  entryPoints: {
    client: source("../src/index.ts"),
    worker: source("../src/worker.ts"),
    codec: source("../src/codec/index.ts"),
  },
  bundle: true,
  splitting: true,
  format: "esm",
  target: "es2022",
  outdir: source("../dist"),
  logLevel: "warning",
});
