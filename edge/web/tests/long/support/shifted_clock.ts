/** A server's clock of the day that a test sets: what was said in another year is stored under its own time. */

import { execFileSync } from "node:child_process";
import { closeSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const source = fileURLToPath(new URL("shifted_clock.c", import.meta.url));

export class ShiftedClock {
  /** What the server's environment has besides. */
  readonly environment: NodeJS.ProcessEnv;
  readonly #file: number;

  /** The library and the file that it reads lie in this folder. */
  constructor(folder: string) {
    const library = join(folder, "shifted_clock.so");
    const file = join(folder, "shift");
    execFileSync(process.env["CC"] ?? "cc", ["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", library, source]);
    this.#file = openSync(file, "w");
    this.reset();
    this.environment = { LD_PRELOAD: library, SHIFTED_CLOCK: file };
  }

  /** From now on it is this time there, and goes on as fast as here. */
  set(ms: number): void {
    this.#write(Math.round((ms - Date.now()) / 1000));
  }

  /** The same time as here. */
  reset(): void {
    this.#write(0);
  }

  close(): void {
    closeSync(this.#file);
  }

  #write(seconds: number): void {
    const bytes = Buffer.alloc(8);
    bytes.writeBigInt64LE(BigInt(seconds));
    writeSync(this.#file, bytes, 0, bytes.length, 0);
  }
}
