// What a browser has to load, compressed as gzip, before it shows anything: the scripts that the page names and what these
// import at once; and before it connects: the worker with what that imports at once. More than a limit fails.
import { readdirSync, readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

const SCRIPT_BYTES_MAX = 170 * 1024;
const WORKER_BYTES_MAX = 15 * 1024;

const dist = new URL("../dist/", import.meta.url);

/** Fails where these files, with all that they import at once, are larger than they may be. */
function bound(what, names, most) {
  const found = new Set(names);
  let total = 0;
  // What is found on the way is visited, too.
  for (const name of found) {
    const text = readFileSync(new URL(name, dist), "utf8");
    // What is imported at once stands as `from"./name.js"` or `import"./name.js"`; what comes later is `import("…")`.
    for (const match of text.matchAll(/(?:from|import)\s*["'`]\.\/([^"'`]+\.js)["'`]/g)) found.add(`assets/${match[1]}`);
    const size = gzipSync(text, { level: 9 }).length;
    total += size;
    console.log(`${String(size).padStart(8)}  ${name}`);
  }
  console.log(`${String(total).padStart(8)}  bytes of ${what}, of at most ${most}`);
  if (total <= most) return;
  console.error(`too large: look at what is imported for ${what}, and load later what is not needed at once`);
  process.exitCode = 1;
}

const page = readFileSync(new URL("index.html", dist), "utf8");
const scripts = [...page.matchAll(/(?:src|href)="\/(assets\/[^"]+\.js)"/g)].map((match) => match[1]);
const workers = readdirSync(new URL("assets/", dist)).filter((name) => /^panda\.worker-.*\.js$/.test(name));
if (scripts.length === 0 || workers.length !== 1) throw new Error("dist is not a page with a worker: run 'npm run build'");
bound("script at first", scripts, SCRIPT_BYTES_MAX);
bound("the worker at first", workers.map((name) => `assets/${name}`), WORKER_BYTES_MAX);
