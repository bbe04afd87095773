/** What lives in the heaps of a page and of the workers that it shares, once all that is garbage is gone. */

import type { Browser, CDPSession, Page } from "@playwright/test";

export interface Heap {
  readonly of: string;
  readonly bytes: number;
}

interface Usage {
  readonly usedSize: number;
  readonly embedderHeapUsedSize?: number;
  readonly backingStorageSize?: number;
}

/** JavaScript's own, what the browser holds for it (elements), and buffers. */
const sum = (usage: Usage) => usage.usedSize + (usage.embedderHeapUsedSize ?? 0) + (usage.backingStorageSize ?? 0);

export class Heaps {
  readonly #page: CDPSession;
  readonly #browser: CDPSession;
  #last = 0;

  private constructor(page: CDPSession, browser: CDPSession) {
    this.#page = page;
    this.#browser = browser;
  }

  static async of(browser: Browser, page: Page): Promise<Heaps> {
    const session = await page.context().newCDPSession(page);
    await session.send("HeapProfiler.enable");
    return new Heaps(session, await browser.newBrowserCDPSession());
  }

  /** After a collection, which is asked for twice: what a first one finalizes, a second one frees. */
  async measure(): Promise<Heap[]> {
    await this.#page.send("HeapProfiler.collectGarbage");
    await this.#page.send("HeapProfiler.collectGarbage");
    const heaps: Heap[] = [{ of: "page", bytes: sum(await this.#page.send("Runtime.getHeapUsage")) }];
    const { targetInfos } = await this.#browser.send("Target.getTargets");
    for (const { targetId, type } of targetInfos) {
      if (type === "shared_worker") heaps.push({ of: "worker", bytes: await this.#ofWorker(targetId) });
    }
    return heaps;
  }

  async #ofWorker(targetId: string): Promise<number> {
    const { sessionId } = await this.#browser.send("Target.attachToTarget", { targetId, flatten: false });
    try {
      await this.#ask(sessionId, "HeapProfiler.enable");
      await this.#ask(sessionId, "HeapProfiler.collectGarbage");
      await this.#ask(sessionId, "HeapProfiler.collectGarbage");
      return sum((await this.#ask(sessionId, "Runtime.getHeapUsage")) as Usage);
    } finally {
      await this.#browser.send("Target.detachFromTarget", { sessionId });
    }
  }

  /** Playwright has no session with a shared worker: its messages go through the browser's. */
  async #ask(sessionId: string, method: string): Promise<unknown> {
    this.#last += 1;
    const id = this.#last;
    const answer = new Promise<unknown>((resolve, reject) => {
      const hear = (event: { sessionId: string; message: string }) => {
        const told = JSON.parse(event.message) as { id?: number; result?: unknown; error?: { message: string } };
        if (event.sessionId !== sessionId || told.id !== id) return;
        this.#browser.off("Target.receivedMessageFromTarget", hear);
        if (told.error) reject(new Error(`${method}: ${told.error.message}`));
        else resolve(told.result);
      };
      this.#browser.on("Target.receivedMessageFromTarget", hear);
    });
    await this.#browser.send("Target.sendMessageToTarget", { sessionId, message: JSON.stringify({ id, method }) });
    return answer;
  }
}

export const totalOf = (heaps: readonly Heap[]): number => heaps.reduce((total, { bytes }) => total + bytes, 0);

export const heapsInWords = (heaps: readonly Heap[]): string =>
  heaps.map(({ of, bytes }) => `${of} ${(bytes / 1e6).toFixed(1)} MB`).join(", ");
