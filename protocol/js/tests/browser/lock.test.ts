/** Who may use a store: the one that comes last, after the one before has closed it. Runs in a browser alone. */

import { describe, expect, it } from "vitest";
import { takeLock } from "../../src/tabs/lock.js";

const isHeld = async (name: string): Promise<boolean> =>
  (await navigator.locks.query()).held?.some((lock) => lock.name === name) ?? false;

describe("the lock of a store", () => {
  it("goes to who asks for it, once the one that has it has closed what it had open", async () => {
    const name = `polite ${String(Math.random())}`;
    const log: string[] = [];
    const first = await takeLock(name, () => {
      log.push("first is asked");
      setTimeout(() => {
        log.push("first closed");
        first();
      }, 50);
    });
    const second = await takeLock(name, () => log.push("second is asked"));
    log.push("second has it");
    expect(log).toEqual(["first is asked", "first closed", "second has it"]);
    second();
    // What was given back is asked for by nobody.
    const third = await takeLock(name, () => undefined);
    expect(log.length).toBe(3);
    third();
    await expect.poll(() => isHeld(name)).toBe(false);
  });

  it("is taken from one that does not answer, which learns of it once", { timeout: 20_000 }, async () => {
    const name = `deaf ${String(Math.random())}`;
    const stolen = new Promise((resolve) => {
      // As a worker that hears nothing holds it.
      navigator.locks.request(name, () => new Promise(() => undefined)).catch(resolve);
    });
    let lost = 0;
    const second = await takeLock(name, () => lost++);
    await expect(stolen).resolves.toHaveProperty("name", "AbortError");
    void navigator.locks.request(name, { steal: true }, () => undefined);
    await expect.poll(() => lost).toBe(1);
    second();
    expect(lost).toBe(1);
  });
});
