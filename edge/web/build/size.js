// What a browser has to load before it shows anything: the scripts that the page names and what these import at once,
// compressed as gzip. More than the limit fails.
import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

const SCRIPT_BYTES_MAX = 170 * 1024;

const dist = new URL("../dist/", import.meta.url);
const page = readFileSync(new URL("index.html", dist), "utf8");
const found = new Set([...page.matchAll(/(?:src|href)="\/(assets\/[^"]+\.js)"/g)].map((match) => match[1]));
if (found.size === 0) throw new Error("dist/index.html names no script: run 'npm run build'");
for (const name of found) {
  const text = readFileSync(new URL(name, dist), "utf8");
  // What is imported at once stands as `from"./name.js"` or `import"./name.js"`; what comes later is `import("…")`.
  for (const match of text.matchAll(/(?:from|import)\s*"\.\/([^"]+\.js)"/g)) found.add(`assets/${match[1]}`);
}
let total = 0;
for (const name of found) {
  const size = gzipSync(readFileSync(new URL(name, dist)), { level: 9 }).length;
  total += size;
  console.log(`${String(size).padStart(8)}  ${name}`);
}
console.log(`${String(total).padStart(8)}  bytes of script at first, of at most ${SCRIPT_BYTES_MAX}`);
if (total > SCRIPT_BYTES_MAX) {
  console.error("the first load is too large: look at what the entry imports, and load later what is not needed at once");
  process.exit(1);
}
