import { chromium, expect, test, type BrowserContext, type Page } from "@playwright/test";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { launchOptions } from "../../playwright.config";
import { Between, shiftedClock } from "./support/between";
import { Person, password } from "./support/person";
import { Line, Server } from "./support/server";

const DAY_MS = 86_400_000;

/** Runs with a server of its own, which is gone afterwards. */
async function withServer(environment: NodeJS.ProcessEnv, journey: (server: Server) => Promise<void>): Promise<void> {
  const server = await Server.start(environment);
  try {
    await journey(server);
  } finally {
    await server.remove();
  }
}

/** What the page says above all else. */
const bars = (page: Page) => page.locator(".bars");
const stored = ({ messages }: Person) => messages.locator(".message-state-stored");

test("a server that takes connections and says nothing: the page opens, says how it is, and sends all of it later", async ({ browser }) => {
  test.setTimeout(180_000);
  // Silence is noticed after two of these.
  await withServer({ PANDA_EDGE_HEARTBEAT_MS: "2000" }, async (server) => {
    const line = await Line.to(server);
    const ada = await (await Person.at(browser, line.url, "ada-stall")).registers();
    const ben = await (await Person.at(browser, server.url, "ben-stall")).registers();
    const eve = await Person.at(browser, line.url, "eve-stall");
    await eve.page.goto(`${line.url}/app/sign-in`);
    await ada.makesGroup("tea", ben.name);
    await ada.says("before");
    await expect(stored(ada)).toHaveCount(1);
    await ada.page.evaluate(() => navigator.serviceWorker.ready.then(() => undefined));

    line.stall();
    await ada.says("into the silence");
    await ada.types("and more");
    await expect(bars(ada.page)).toContainText(/No connection|Connecting/);
    await expect(ada.waiting("queued")).toHaveCount(1);
    // A page that asks for itself waits no longer than a person does, then comes from this machine.
    await ada.page.reload({ timeout: 15_000 });
    await ada.sees("before");
    await ada.sees("into the silence");
    await expect(ada.field).toHaveValue("and more");
    await expect(bars(ada.page)).toContainText(/No connection|Connecting/);
    // Who wants to log in is told as well, and need not type anything again.
    await eve.page.getByLabel("Username").fill(eve.name);
    await eve.page.getByLabel("Password", { exact: true }).fill(password);
    await eve.page.getByRole("button", { name: "Log in" }).click();
    await expect(eve.page.getByRole("button", { name: "Logging in" })).toBeVisible();
    await expect(eve.page.getByRole("alert")).toHaveText("The server cannot be reached. Look at your connection and try again.", { timeout: 60_000 });
    await expect(eve.page.getByLabel("Username")).toHaveValue(eve.name);
    await expect(bars(ada.page)).toContainText(/No connection|Connecting/);

    line.goesOn();
    await expect(stored(ada)).toHaveCount(2, { timeout: 60_000 });
    await ben.opens("tea");
    await ben.sees("into the silence");
    expect(await ben.texts()).toEqual(["before", "into the silence"]);
    await expect(ada.field).toHaveValue("and more");
    for (const one of [ada, ben, eve]) {
      expect(one.mistakes).toEqual([]);
      await one.context.close();
    }
    line.close();
  });
});

test("a server of a newer version only: the page says so, keeps what is written, and goes on with one that speaks both", async ({ browser }) => {
  await withServer({}, async (server) => {
    const between = await Between.of(server);
    const ada = await (await Person.at(browser, between.url, "ada-version")).registers();
    await ada.makesGroup("tea");
    await ada.says("before");
    await expect(stored(ada)).toHaveCount(1);
    await ada.types("half of ");
    // It goes, and comes back as another one.
    await server.kill();
    between.versions = [2];
    await server.start();
    await expect(bars(ada.page)).toContainText("This page is out of date, or a part of it did not load. Reload the page.");
    await expect(ada.field).toHaveValue("half of ");
    await ada.field.pressSequentially("a sentence");
    await ada.field.press("Enter");
    await ada.types("and not finished");
    await expect(ada.waiting("queued")).toHaveCount(1);
    await ada.sees("before");
    await bars(ada.page).getByRole("button", { name: "Reload" }).click();
    await expect(bars(ada.page)).toContainText("This page is out of date");
    await expect(ada.waiting("queued")).toHaveCount(1);
    await expect(ada.field).toHaveValue("and not finished");
    between.versions = [1, 2];
    await bars(ada.page).getByRole("button", { name: "Reload" }).click();
    await expect(stored(ada)).toHaveCount(2);
    expect(await ada.texts()).toEqual(["before", "half of a sentence"]);
    await expect(ada.field).toHaveValue("and not finished");
    expect(ada.mistakes).toEqual([]);
    await ada.context.close();
    between.close();
  });
});

for (const [words, aheadMs] of [
  ["ahead", DAY_MS],
  ["behind", -DAY_MS],
] as const) {
  test(`a clock that is a day ${words}: the page says so and does everything, also when it is set right`, async ({ browser }) => {
    await withServer({}, async (server) => {
      const between = await Between.of(server);
      const context = await browser.newContext();
      const setClock = async (ms: number): Promise<Page> => {
        between.clockAheadMs = ms;
        const page = await context.newPage();
        if (ms !== 0) await page.addInitScript(shiftedClock(ms));
        return page;
      };
      // Logged in by a clock that is right.
      const ada = await (await Person.in(context, between.url, `ada-${words}`)).registers();
      await ada.makesGroup("tea");
      await ada.says("in time");
      await expect(stored(ada)).toHaveCount(1);
      await expect(bars(ada.page)).not.toContainText("clock");
      const address = ada.page.url();

      // The worker goes with the last page, and the next one has the other clock.
      await ada.page.close();
      const wrong = await setClock(aheadMs);
      ada.watch(wrong);
      await wrong.goto(address);
      await expect(bars(wrong)).toContainText(`The clock of this device is about 24 hours ${words}`);
      await expect(wrong.getByRole("dialog")).toHaveCount(0);
      const field = wrong.locator(".composer textarea");
      await field.fill("out of time");
      await field.press("Enter");
      const messages = wrong.getByRole("feed").locator(".message-text");
      await expect(wrong.getByRole("feed").locator(".message-state-stored")).toHaveCount(2);
      await expect(messages).toHaveText(["in time", "out of time"]);
      await field.fill("and not finished");
      await wrong.waitForTimeout(500);
      await wrong.close();

      const right = await setClock(0);
      ada.watch(right);
      await right.goto(address);
      await expect(right.locator(".composer textarea")).toHaveValue("and not finished");
      await right.locator(".composer textarea").press("Enter");
      await expect(right.getByRole("feed").locator(".message-state-stored")).toHaveCount(3);
      await expect(right.getByRole("feed").locator(".message-text")).toHaveText(["in time", "out of time", "and not finished"]);
      await expect(bars(right)).not.toContainText("clock");

      // And somebody who never had another clock than the wrong one.
      await right.close();
      between.clockAheadMs = aheadMs;
      const other = await browser.newContext();
      await other.addInitScript(shiftedClock(aheadMs));
      const ben = await (await Person.in(other, between.url, `ben-${words}`)).registers();
      await ben.makesGroup("cake");
      await ben.says("any time");
      await expect(stored(ben)).toHaveCount(1);
      await expect(bars(ben.page)).toContainText(`about 24 hours ${words}`);
      expect([...ada.mistakes, ...ben.mistakes]).toEqual([]);
      await other.close();
      await context.close();
      between.close();
    });
  });
}

/** A browser whose person, or whose administrator, lets no page keep anything. */
async function withoutStorage(journey: (context: BrowserContext) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "panda-browser."));
  await mkdir(join(folder, "Default"));
  await writeFile(join(folder, "Default", "Preferences"), JSON.stringify({ profile: { default_content_setting_values: { cookies: 2 } } }));
  const context = await chromium.launchPersistentContext(folder, { ...launchOptions, locale: "en-GB" });
  try {
    await journey(context);
  } finally {
    await context.close();
    await rm(folder, { recursive: true, force: true });
  }
}

test("a browser that keeps nothing: the page says so, works, and loses nothing while it is open", async () => {
  await withServer({}, async (server) => {
    await withoutStorage(async (context) => {
      const line = await Line.to(server);
      const ada = await (await Person.in(context, line.url, "ada-denied")).registers();
      expect(
        await ada.page.evaluate(() => {
          try {
            return typeof localStorage.length;
          } catch (error) {
            return (error as Error).name;
          }
        }),
        "it is denied, as this journey is about",
      ).toBe("SecurityError");
      await expect(bars(ada.page)).toContainText("This browser keeps nothing for this page");
      await ada.makesGroup("tea");
      await ada.says("kept by the server");
      await expect(stored(ada)).toHaveCount(1);
      await ada.types("half of");
      await expect(ada.page.getByText("What you type cannot be kept in this browser")).toBeVisible();
      line.cut();
      await expect(bars(ada.page)).toContainText("No connection");
      await ada.field.pressSequentially(" a sentence");
      await ada.field.press("Enter");
      await expect(ada.waiting("queued")).toHaveCount(1);
      line.mend();
      await expect(stored(ada)).toHaveCount(2, { timeout: 45_000 });
      expect(await ada.texts()).toEqual(["kept by the server", "half of a sentence"]);
      // Nothing but what the server has is there afterwards, and that is all of it.
      await ada.page.reload();
      await ada.page.getByLabel("Username").fill(ada.name);
      await ada.page.getByLabel("Password", { exact: true }).fill(password);
      await ada.page.getByRole("button", { name: "Log in" }).click();
      await ada.opens("tea");
      await ada.sees("half of a sentence");
      expect(ada.mistakes).toEqual([]);
      line.close();
    });
  });
});

test("a disk that is full in the middle: the page says so, goes on in memory, and what it kept before is there again later", async ({ browser }) => {
  test.setTimeout(180_000);
  await withServer({}, async (server) => {
    const line = await Line.to(server);
    const ada = await (await Person.at(browser, line.url, "ada-full")).registers();
    await ada.makesGroup("tea");
    await ada.says("before");
    await expect(stored(ada)).toHaveCount(1);
    await expect(bars(ada.page)).not.toContainText("keeps nothing");

    const devtools = await ada.context.newCDPSession(ada.page);
    await devtools.send("Storage.overrideQuotaForOrigin", { origin: line.url, quotaSize: 1 });
    // What pages keep by themselves has a measure of its own.
    await ada.page.evaluate(() => {
      for (let size = 1 << 22; size > 0; size >>= 1) {
        try {
          localStorage.setItem(`full ${String(size)}`, "x".repeat(size));
        } catch {
          // Then a smaller one.
        }
      }
    });
    // A browser looks at how much is left every half minute.
    const said = ["before"];
    await expect(async () => {
      said.push(`on a disk that gets full ${String(said.length)}`);
      await ada.says(said.at(-1) ?? "");
      await expect(bars(ada.page)).toContainText("This browser keeps nothing for this page", { timeout: 3_000 });
    }).toPass({ timeout: 60_000 });
    line.cut();
    await expect(stored(ada)).toHaveCount(said.length);
    said.push("written on a full disk");
    await ada.says("written on a full disk");
    await ada.types("and not finished, but longer than all that was there");
    await expect(ada.page.getByText("What you type cannot be kept in this browser")).toBeVisible();
    await expect(ada.waiting("queued")).toHaveCount(1);
    line.mend();
    await expect(stored(ada)).toHaveCount(said.length, { timeout: 45_000 });
    await expect(ada.field).toHaveValue("and not finished, but longer than all that was there");

    // With room again and the page anew, it is all there once.
    await devtools.send("Storage.overrideQuotaForOrigin", { origin: line.url });
    await ada.page.evaluate(() => {
      for (const key of Object.keys(localStorage)) if (key.startsWith("full ")) localStorage.removeItem(key);
    });
    said.push("and not finished, but longer than all that was there");
    await ada.field.press("Enter");
    await expect(stored(ada)).toHaveCount(said.length);
    await ada.page.reload();
    await ada.sees("written on a full disk");
    await expect.poll(() => ada.texts()).toEqual(said);
    await expect(bars(ada.page)).not.toContainText("keeps nothing");
    expect(ada.mistakes).toEqual([]);
    await ada.context.close();
    line.close();
  });
});

test("a login that is ended from elsewhere while somebody types: every letter stays in its field, and goes when they log in again", async ({
  browser,
}) => {
  await withServer({}, async (server) => {
    const between = await Between.of(server);
    const ada = await (await Person.at(browser, between.url, "ada-revoked")).registers();
    await ada.makesGroup("tea");
    await ada.says("before");
    await expect(stored(ada)).toHaveCount(1);
    await ada.field.pressSequentially("typed while ");
    // The signal that somebody types is through.
    await ada.page.waitForTimeout(500);
    expect(between.byes(1308, "ended from elsewhere")).toBe(1);
    await ada.field.pressSequentially("it ended, ", { delay: 60 });
    await expect(bars(ada.page)).toContainText("Your login was ended by you on another device, or by the operator. Log in again to go on.");
    // No window comes between the letters and their field.
    await ada.page.keyboard.type("and behind it", { delay: 20 });
    await expect(ada.field).toHaveValue("typed while it ended, and behind it");
    await expect(ada.page.getByRole("dialog")).toHaveCount(0);
    await ada.field.press("Enter");
    await expect(ada.waiting("queued")).toHaveCount(1);
    await bars(ada.page).getByRole("button", { name: "Log in" }).click();
    const dialog = ada.page.getByRole("dialog", { name: "Log in again" });
    await dialog.getByLabel("Password", { exact: true }).fill(password);
    await dialog.getByRole("button", { name: "Log in" }).click();
    await expect(dialog).toHaveCount(0);
    await expect(stored(ada)).toHaveCount(2);

    // Who is not writing is asked at once.
    await ada.page.waitForTimeout(500);
    expect(between.byes(1308, "and again")).toBe(1);
    await expect(dialog).toBeVisible();
    expect(ada.mistakes).toEqual([]);
    await ada.context.close();
    between.close();
  });
});
