/** The example of the README runs. */

import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, it } from "vitest";
import { Server } from "../support/server.js";

const run = promisify(execFile);
const path = (of: string): string => fileURLToPath(new URL(`../../${of}`, import.meta.url));

it("registers, says hello and prints what comes", async () => {
  const server = await Server.start();
  try {
    await run(process.execPath, [path("bin/build.mjs")]);
    const { stdout } = await run(process.execPath, [path("examples/hello.mjs"), server.url]);
    expect(stdout).toMatch(/connection: online/);
    expect(stdout).toMatch(/messageSent hello/);
    expect(stdout).toMatch(/stored as 3/);
    expect(stdout.trimEnd()).toMatch(/connection: closed$/);
  } finally {
    await server.remove();
  }
});
