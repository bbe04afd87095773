/** How long the tasks of a page's main thread take: all of them, as the browser's own trace has them. */

import type { Browser, Page } from "@playwright/test";

/** A trace is held in the browser's memory until it is read, so a long run is many. */
const SEGMENT_MS = 15_000;
/** The one that has every task, and the names of threads. */
const CATEGORIES = ["disabled-by-default-devtools.timeline", "__metadata"];

interface TraceEvent {
  readonly name: string;
  readonly ph: string;
  readonly pid: number;
  readonly tid: number;
  readonly ts: number;
  readonly dur?: number;
  readonly tdur?: number;
  readonly args?: { readonly name?: string };
}

export interface TaskFigures {
  readonly tasks: number;
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
  /** Of the tasks that did something, which are those of a millisecond and more; by the clock, and by processor time. */
  readonly p99OfWork: number;
  readonly p99OfWorkProcessor: number;
  /** By the clock, as a person waits. */
  readonly over50: number;
  readonly over100: number;
  /** By the thread's own processor time: what a machine that does much else at once adds is not in it. */
  readonly maxProcessor: number;
  readonly over100Processor: number;
  /** Of the tasks that a `PerformanceObserver` in the page calls long (50 ms and more). */
  readonly observedLong: number;
  readonly observedMax: number;
}

export class TaskMeter {
  readonly #browser: Browser;
  readonly #page: Page;
  readonly #durations: number[] = [];
  /** The same tasks by their thread's processor time. */
  readonly #processor: number[] = [];
  #begun: number | null = null;

  private constructor(browser: Browser, page: Page) {
    this.#browser = browser;
    this.#page = page;
  }

  static async begin(browser: Browser, page: Page): Promise<TaskMeter> {
    await page.evaluate(() => {
      const seen = { count: 0, max: 0 };
      Object.assign(window, { longTasks: seen });
      new PerformanceObserver((list) => {
        for (const { duration } of list.getEntries()) {
          seen.count += 1;
          seen.max = Math.max(seen.max, duration);
        }
      }).observe({ type: "longtask" });
    });
    const meter = new TaskMeter(browser, page);
    await meter.#start();
    return meter;
  }

  /** To be called often: ends a trace that is long enough, and begins the next one. */
  async tick(): Promise<void> {
    if (this.#begun !== null && Date.now() - this.#begun < SEGMENT_MS) return;
    await this.#stop();
    await this.#start();
  }

  async end(): Promise<TaskFigures> {
    await this.#stop();
    const observed = await this.#page.evaluate(() => (window as unknown as { longTasks: { count: number; max: number } }).longTasks);
    const sorted = this.#durations.sort((a, b) => a - b);
    const processor = this.#processor.sort((a, b) => a - b);
    const at = (share: number, of: readonly number[] = sorted) => of[Math.min(of.length - 1, Math.floor(of.length * share))] ?? 0;
    const work = (of: readonly number[]) => of.filter((one) => one >= 1);
    const over = (ms: number, of: readonly number[] = sorted) => of.filter((one) => one > ms).length;
    return {
      tasks: sorted.length,
      p50: at(0.5),
      p99: at(0.99),
      p999: at(0.999),
      max: at(1),
      p99OfWork: at(0.99, work(sorted)),
      p99OfWorkProcessor: at(0.99, work(processor)),
      over50: over(50),
      over100: over(100),
      maxProcessor: at(1, processor),
      over100Processor: over(100, processor),
      observedLong: observed.count,
      observedMax: observed.max,
    };
  }

  async #start(): Promise<void> {
    this.#begun = Date.now();
    await this.#browser.startTracing(this.#page, { categories: CATEGORIES });
  }

  async #stop(): Promise<void> {
    if (this.#begun === null) return;
    this.#begun = null;
    const trace = await this.#browser.stopTracing();
    const { traceEvents } = JSON.parse(trace.toString("utf8")) as { traceEvents: TraceEvent[] };
    const tasks = traceEvents.filter(({ name, ph, dur }) => ph === "X" && dur !== undefined && name === "RunTask");
    const threads = new Set(
      traceEvents
        .filter(({ name, args }) => name === "thread_name" && args?.name === "CrRendererMain")
        .map(({ pid, tid }) => `${pid} ${tid}`),
    );
    const byThread = new Map<string, TraceEvent[]>();
    for (const task of tasks) {
      const thread = `${task.pid} ${task.tid}`;
      if (!threads.has(thread)) continue;
      const own = byThread.get(thread);
      if (own) own.push(task);
      else byThread.set(thread, [task]);
    }
    // The browser keeps an empty renderer ready; the page's is the one that did something.
    const busy = (of: readonly TraceEvent[]) => of.reduce((sum, { dur }) => sum + (dur ?? 0), 0);
    const [own] = [...byThread.values()].sort((a, b) => busy(b) - busy(a));
    for (const { dur = 0, tdur = 0 } of own ?? []) {
      this.#durations.push(dur / 1000);
      this.#processor.push(tdur / 1000);
    }
  }
}

export function tasksInWords(figures: TaskFigures): string {
  const ms = (value: number) => `${value.toFixed(1)} ms`;
  return (
    `${figures.tasks} tasks: p50 ${ms(figures.p50)}, p99 ${ms(figures.p99)}, p99.9 ${ms(figures.p999)}, longest ${ms(figures.max)}; p99 of those of 1 ms and more ${ms(figures.p99OfWork)}; ` +
    `${figures.over50} over 50 ms, ${figures.over100} over 100 ms; by processor time p99 of those ${ms(figures.p99OfWorkProcessor)}, the longest ${ms(figures.maxProcessor)}, ` +
    `${figures.over100Processor} over 100 ms; the page itself saw ${figures.observedLong} long ones, up to ${ms(figures.observedMax)}`
  );
}
