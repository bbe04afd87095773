import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium, expect, test, type Browser, type BrowserContext, type Page } from "@playwright/test";
import { Person } from "../journeys/support/person";
import { Server } from "../journeys/support/server";
import { flow, type Stream } from "./support/flow";
import { Heaps, heapsInWords, totalOf } from "./support/heaps";
import { sayTranscript, type History } from "./support/history";
import { People } from "./support/people";
import { Met, shown } from "./support/rows";
import { ShiftedClock } from "./support/shifted_clock";
import { TaskMeter, tasksInWords, type TaskFigures } from "./support/tasks";
import { isTranscriptHere } from "./support/transcript";

const seconds = (name: string, otherwise: number) => Number(process.env[name] ?? otherwise);
/** How long much is said, and how long a little is. */
const LIVE_S = seconds("LONG_LIVE_S", 300);
const STEADY_S = seconds("LONG_STEADY_S", 900);
const JUMPS = 100;
const LIVE_PER_SECOND = 200;
const STEADY_PER_SECOND = 20;
const OTHER_CHATS = 20;
/** What is promised. */
const TASK_P99_MS = 100;
const GROWTH_BYTES_MAX = 10_000_000;
const USABLE_MS_MAX = 2_000;
const SLOWDOWN = 4;

let server: Server;
let clock: ShiftedClock;
let history: History;
let people: People;
let browser: Browser;
let context: BrowserContext;
let reader: Person;
let profile: string;
let runs = 0;

test.describe.configure({ mode: "serial" });
test.skip(!isTranscriptHere(), "ubuntu-irc.jsonl.gz is not beside this checkout; TRANSCRIPTS names its folder");

test.beforeAll(async () => {
  const folder = await Server.folder(process.env["LONG_DATA"]);
  clock = new ShiftedClock(folder);
  ends.push(() => clock.close());
  server = await Server.start({ ...clock.environment, PANDA_API_TOKEN_LIFETIME_S: "604800" }, folder);
  ends.push(() => server.remove(process.env["LONG_DATA"] !== undefined));
  history = await sayTranscript(server, clock);
  people = new People(server);
  await people.know([history.owner]);
  // A profile on the disk, as a person has: in a private window a browser keeps everything in memory.
  profile = mkdtempSync(join(tmpdir(), "panda-web-long."));
  ends.push(() => rmSync(profile, { recursive: true, force: true }));
  context = await chromium.launchPersistentContext(profile, {
    ...(test.info().project.use.launchOptions ?? {}),
    locale: "en-GB",
    timezoneId: "UTC",
    viewport: { width: 1280, height: 2160 },
  });
  ends.push(() => context.close());
  const itself = context.browser();
  if (!itself) throw new Error("Playwright tells no browser of this profile");
  browser = itself;
  reader = await newReader(context);
  await openHistory(reader);
});

/** What was begun, to be ended in the opposite order, also where not all of it could be. */
const ends: (() => Promise<void> | void)[] = [];

test.afterAll(async () => {
  for (const end of ends.reverse()) await end();
});

async function newReader(at: BrowserContext): Promise<Person> {
  runs += 1;
  const name = `reader${Date.now().toString(36)}${runs}`;
  const person = await Person.in(at, server.url, name);
  await person.registers();
  await people.know([name]);
  return person;
}

async function openHistory(person: Person): Promise<void> {
  await people.add(history.chat, history.owner, [person.name], true);
  await person.opens(history.name);
  await person.messages.locator(".message").last().waitFor();
  await shown(person.page);
}

/** The promise: of a hundred tasks, not one takes longer. */
function hold(what: string, tasks: TaskFigures): void {
  console.log(`${what}: ${tasksInWords(tasks)}`);
  expect(tasks.tasks, "the trace has the page's tasks").toBeGreaterThan(1_000);
  expect(tasks.p99, `${what}: 99 of 100 tasks are short`).toBeLessThan(TASK_P99_MS);
  // Most tasks do next to nothing, and would hide long ones among them. Those that do something are judged by the time
  // that they took of a processor: a machine that does much else must not fail this.
  expect(tasks.maxProcessor, "the trace has processor times").toBeGreaterThan(0);
  expect(tasks.p99OfWorkProcessor, `${what}: 99 of 100 tasks that do something are short`).toBeLessThan(TASK_P99_MS);
  expect(tasks.observedMax === 0 || tasks.over50 > 0, "trace and page saw the same thread").toBe(true);
}

/** What the browser says that the page keeps on the disk. */
const kept = (page: Page): Promise<number> => page.evaluate(async () => (await navigator.storage.estimate()).usage ?? 0);

const percentile = (values: readonly number[], share: number) => {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
};

/** Rows are drawn so far beyond both edges of the screen at least (`virtual_rows.ts`): a turn of a screen and this skips none. */
const BEYOND_PX = 600;
/** So many turns of the wheel between two lines that say how far it is. */
const TOLD_EVERY = 500;

/** Turns the wheel until an end is reached, or an event that lies before what is looked at. */
async function wheel(page: Page, direction: -1 | 1, met: Met, each: () => Promise<void>, until = 0): Promise<number[]> {
  const height = await page.locator(".timeline-scroller").evaluate((element) => element.clientHeight);
  await page.locator(".timeline-scroller").hover();
  const waits: number[] = [];
  let now = await shown(page);
  met.take(now.rows);
  while (direction < 0 ? !now.isAtTop && (now.rows[0]?.seq ?? 0) > until : !now.isAtEnd) {
    const begin = Date.now();
    await page.mouse.wheel(0, direction * (height + BEYOND_PX));
    now = await shown(page, now.top);
    waits.push(Date.now() - begin);
    met.take(now.rows);
    await each();
    if (waits.length % TOLD_EVERY === 0) console.log(`  ${waits.length} turns, at event ${now.rows[0]?.seq ?? 0}`);
  }
  return waits;
}

test("the whole history is scrolled through, to its first message and back", async () => {
  const { page } = reader;
  for (const [direction, way] of [
    [-1, "from the newest message to the first"],
    [1, "from the first message to the newest"],
  ] as const) {
    const begin = Date.now();
    const met = new Met(history.texts);
    const tasks = await TaskMeter.begin(browser, page);
    const waits = await wheel(page, direction, met, () => tasks.tick());
    const figures = await tasks.end();
    console.log(
      `${way}: ${waits.length} turns of the wheel in ${Math.round((Date.now() - begin) / 1000)} s, until all rows were there ` +
        `p50 ${percentile(waits, 0.5)} ms, p99 ${percentile(waits, 0.99)} ms, longest ${Math.max(...waits)} ms`,
    );
    expect(met.missing(), `${way}: every message is met`).toBe(0);
    hold(way, figures);
  }
  console.log(`kept on this machine: ${((await kept(page)) / 1e6).toFixed(1)} MB`);
});

test("a date is found again and again", async () => {
  const { page } = reader;
  const met = new Met(history.texts);
  const waits: number[] = [];
  const tasks = await TaskMeter.begin(browser, page);
  for (let jump = 0; jump < JUMPS; jump += 1) {
    // Near and far ones in turns, each day at some time.
    const day = history.days[(jump * 67) % history.days.length];
    if (!day) throw new Error("the history has no days");
    await page.getByRole("button", { name: "Go to a date" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel("Go to a date").fill(day.date);
    const begin = Date.now();
    await dialog.getByRole("button", { name: "Go", exact: true }).click();
    await expect(dialog).toHaveCount(0);
    const now = await shown(page);
    waits.push(Date.now() - begin);
    met.take(now.rows);
    const place = await page.evaluate((seq) => {
      const row = document.querySelector(`[aria-posinset="${String(seq)}"]`);
      const scroller = document.querySelector(".timeline-scroller");
      return row && scroller ? row.getBoundingClientRect().top - scroller.getBoundingClientRect().top : null;
    }, day.seq);
    expect(place, `the first message of ${day.date} is near the upper edge`).not.toBeNull();
    expect(Math.abs((place ?? 0) - 72), `the first message of ${day.date} is near the upper edge`).toBeLessThan(2);
    await tasks.tick();
  }
  console.log(`${JUMPS} dates: p50 ${percentile(waits, 0.5)} ms, p99 ${percentile(waits, 0.99)} ms until the rows were there`);
  hold("going to dates", await tasks.end());
  await page.getByRole("button", { name: "Go to the newest messages" }).click();
});

const headOf = async (page: Page): Promise<number> => {
  const { rows } = await shown(page);
  return rows.at(-1)?.seq ?? 0;
};

const sayings = ["and", "the kernel says nothing", "try it without the splash screen, and tell what the last line is, please", "thanks"];
const stream = (chat: string, perSecond: number): Stream => ({
  chat,
  perSecond,
  next: (number) => `message ${number} ${sayings[number % sayings.length] ?? ""}`,
});

test("two hundred messages a second come, and every one is there", async () => {
  const { page } = reader;
  const senders = history.users.slice(0, 120);
  await people.know(senders);
  const others: string[] = [];
  for (let at = 0; at < OTHER_CHATS; at += 1) {
    others.push(await people.makeChat(`live ${reader.name} ${at}`, `Room ${at}`, history.owner, [reader.name, ...senders]));
  }
  await expect(page.locator(`[data-chat="${others[OTHER_CHATS - 1] ?? ""}"]`)).toBeVisible();
  const heaps = await Heaps.of(browser, page);
  const before = await headOf(page);
  const heapBefore = await heaps.measure();
  const tasks = await TaskMeter.begin(browser, page);
  const begin = Date.now();
  const [stored = [], ...inOthers] = await flow(
    people,
    senders,
    [stream(history.chat, LIVE_PER_SECOND), ...others.map((chat) => stream(chat, 1))],
    LIVE_S,
    () => tasks.tick(),
  );
  const took = (Date.now() - begin) / 1000;
  const count = LIVE_S * LIVE_PER_SECOND;
  await expect.poll(() => headOf(page)).toBe(before + count);
  const figures = await tasks.end();
  const heapAfter = await heaps.measure();
  const growth = totalOf(heapAfter) - totalOf(heapBefore);
  console.log(
    `${stored.length} messages into the chat that is open and ${inOthers.flat().length} into ${OTHER_CHATS} others in ${took.toFixed(0)} s ` +
      `(${(stored.length / took).toFixed(0)} a second in it); heaps ${heapsInWords(heapBefore)} before, ${heapsInWords(heapAfter)} behind it: ` +
      `${(growth / 1e6).toFixed(2)} MB more`,
  );
  for (const chat of others) {
    await expect(page.locator(`[data-chat="${chat}"] .badge .hidden`)).toHaveText(`, ${LIVE_S} unread messages`);
  }
  expect(growth, "bytes by which the heaps grew").toBeLessThan(GROWTH_BYTES_MAX);
  // More came in a moment than a screen has rows: all of them are looked at now.
  const said = stream(history.chat, LIVE_PER_SECOND);
  const texts = new Array<string | null>(before + 1 + count).fill(null);
  for (const [seq, number] of stored) texts[seq] = said.next(number);
  for (let seq = before + 1; seq <= before + count; seq += 1) expect(texts[seq], "the server numbered what was sent").not.toBeNull();
  const met = new Met(texts, before + 1);
  await wheel(page, -1, met, () => Promise.resolve(), before);
  expect(met.missing(), "every message is there, once, under its number").toBe(0);
  await page.getByRole("button", { name: "Go to the newest messages" }).click();
  hold("two hundred a second", figures);
});

test("memory stays what it is while messages keep coming", async () => {
  const { page } = reader;
  const senders = history.users.slice(0, 120);
  await people.know(senders);
  const heaps = await Heaps.of(browser, page);
  const samples: { readonly s: number; readonly bytes: number }[] = [];
  const begin = Date.now();
  const sample = async () => {
    const heap = await heaps.measure();
    samples.push({ s: (Date.now() - begin) / 1000, bytes: totalOf(heap) });
    console.log(`after ${Math.round((Date.now() - begin) / 1000)} s: ${heapsInWords(heap)}`);
  };
  await sample();
  await flow(people, senders, [stream(history.chat, STEADY_PER_SECOND)], STEADY_S, async () => {
    if ((Date.now() - begin) / 60_000 >= samples.length) await sample();
  });
  await sample();
  // What fills up at first, such as the events that are kept in memory, is not what an hour is made of.
  const half = samples.slice(Math.floor(samples.length / 2));
  const perHour = slope(half) * 3_600;
  console.log(
    `${STEADY_PER_SECOND} a second for ${STEADY_S} s: ${((samples.at(-1)?.bytes ?? 0) / 1e6 - (samples[0]?.bytes ?? 0) / 1e6).toFixed(2)} MB more; ` +
      `at the pace of the later half, ${(perHour / 1e6).toFixed(2)} MB in an hour; ` +
      `kept on this machine: ${((await kept(page)) / 1e6).toFixed(1)} MB`,
  );
  expect(perHour, "bytes by which the heaps grow in an hour").toBeLessThan(GROWTH_BYTES_MAX);
});

/** Bytes a second of the straight line that is nearest to all. */
function slope(samples: readonly { readonly s: number; readonly bytes: number }[]): number {
  const mean = (of: readonly number[]) => of.reduce((sum, one) => sum + one, 0) / of.length;
  const s = mean(samples.map((one) => one.s));
  const bytes = mean(samples.map((one) => one.bytes));
  const across = samples.reduce((sum, one) => sum + (one.s - s) * (one.bytes - bytes), 0);
  return across / samples.reduce((sum, one) => sum + (one.s - s) ** 2, 0);
}

test("the page is of use soon, on a processor that is four times slower", async () => {
  const account = await context.storageState();
  const door = await loads(await browser.newContext({ locale: "en-GB" }), "/app/sign-in", ".door input");
  console.log(`the way in: ${door.usable.toFixed(0)} ms with nothing kept (a loop takes ${door.slower.toFixed(1)} times as long)`);
  const fresh = await browser.newContext({ locale: "en-GB", storageState: account });
  const path = `/app/chat/${history.chat}`;
  const first = await loads(fresh, path, ".composer textarea", true);
  console.log(`the chat: ${first.usable.toFixed(0)} ms with nothing kept but the login`);
  const again = await loads(fresh, path, ".composer textarea", true);
  console.log(`the chat: ${again.usable.toFixed(0)} ms another time`);
  await fresh.close();
  for (const { usable, slower } of [door, first, again]) {
    expect(slower, "the processor is slowed down").toBeGreaterThan(SLOWDOWN * 0.6);
    expect(usable, "milliseconds until it is of use").toBeLessThan(USABLE_MS_MAX);
  }
});

interface Load {
  readonly usable: number;
  readonly slower: number;
}

/** Opens a page slowly: when is this element there, and, of a chat, all rows of the screen? */
async function loads(at: BrowserContext, path: string, wanted: string, isChat = false): Promise<Load> {
  const page = await at.newPage();
  const session = await at.newCDPSession(page);
  // Another document of the same server, so that the page comes into a process that is slowed down already.
  await page.goto(`${server.url}/manifest.webmanifest`);
  // The middle one of some. The shortest would tell nothing: the browser slows a thread down by holding it up again and
  // again, and leaves it alone for a while at the beginning of a page.
  const loop = () =>
    page.evaluate(() => {
      const times = Array.from({ length: 12 }, () => {
        const begin = performance.now();
        let sum = 0;
        for (let at = 0; at < 1e7; at += 1) sum += at % 7;
        return sum > 0 ? performance.now() - begin : 0;
      });
      return times.sort((a, b) => a - b)[6] ?? 0;
    });
  const fast = await loop();
  await session.send("Emulation.setCPUThrottlingRate", { rate: SLOWDOWN });
  await page.addInitScript(
    ([selector, chat]) => {
      const isThere = () =>
        document.querySelector(selector) !== null &&
        (!chat || (document.querySelector(".timeline-block .message-text") !== null && document.querySelector(".timeline-block .gap") === null));
      const look = () => {
        // What is there is of use once it was drawn.
        if (isThere()) requestAnimationFrame(() => setTimeout(() => Object.assign(window, { usableAt: performance.now() })));
        else requestAnimationFrame(look);
      };
      look();
    },
    [wanted, isChat] as const,
  );
  await page.goto(`${server.url}${path}`);
  const usable = await (await page.waitForFunction(() => (window as unknown as { usableAt?: number }).usableAt)).jsonValue();
  await page.locator(wanted).first().click();
  await page.keyboard.type("a");
  await expect(page.locator(wanted).first()).toHaveValue("a");
  await page.keyboard.press("Backspace");
  const slow = await loop();
  await page.close();
  return { usable: usable ?? Infinity, slower: slow / fast };
}
