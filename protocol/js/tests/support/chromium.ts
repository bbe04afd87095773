/** The browser of this machine: tests download none. */

import { existsSync } from "node:fs";

const found = [
  process.env["CHROMIUM"],
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
].find((path) => path !== undefined && existsSync(path));

/** How to launch it. Its sandbox needs rights that root and containers do not have. */
export const chromium = {
  ...(found === undefined ? {} : { executablePath: found }),
  args: ["--no-sandbox", "--disable-dev-shm-usage"],
};
