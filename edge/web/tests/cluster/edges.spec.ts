import { chromium, expect, test, type Browser } from "@playwright/test";
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { launchOptions } from "../../playwright.config";
import { Person, password } from "../journeys/support/person";

const run = promisify(execFile);
/** Where the edges are, edge-1 first, and the command that does something to one. */
const edges = (process.env["JOURNEY_EDGES"] ?? "").split(" ").filter((url) => url !== "");
const command = process.env["JOURNEY_CLUSTER"] ?? "";

/** `kill`: with signal 9; `stop`: in order; `restart`: again, and waits until it is ready. */
const edge = (what: "kill" | "stop" | "restart", number: number): Promise<unknown> =>
  run(command, [what, `edge-${String(number)}`, "--name", "journey"], { timeout: 120_000 });

/** Everything that is said fits upon one screen, so that all of it can be compared. */
const tall = { viewport: { width: 1200, height: 14_000 } };
const MESSAGES = 30;
const PAUSE_MS = 250;

interface Typist {
  readonly person: Person;
  readonly browser: Browser;
  readonly said: string[];
}

/** Somebody at a browser of their own, at the page of this edge. */
async function atEdge(number: number, name: string): Promise<Typist> {
  const browser = await chromium.launch(launchOptions);
  const person = await Person.at(browser, edges[number - 1] ?? "", name, tall);
  await person.registers();
  return { person, browser, said: [] };
}

/** The states of one's own messages that a person can see. */
const stored = ({ person }: Typist): Promise<string[]> =>
  person.messages.locator(".message", { has: person.page.locator(".message-state-stored") }).locator(".message-text").allTextContents();

/** All of one's own is stored. */
const nothingWaits = (person: Person): Promise<void> =>
  expect(person.waiting("queued").or(person.waiting("sent")).or(person.waiting("failed"))).toHaveCount(0, { timeout: 60_000 });

/** Types message after message, letter by letter, whatever happens around. */
async function types(typist: Typist, from: number, to: number): Promise<void> {
  const { person, said } = typist;
  for (let at = from; at < to; at++) {
    const text = `${person.name} ${String(at).padStart(2, "0")}`;
    await person.field.pressSequentially(text, { delay: 8 });
    await expect(person.field).toHaveValue(text);
    await person.field.press("Enter");
    await expect(person.field).toHaveValue("");
    said.push(text);
    await person.page.waitForTimeout(PAUSE_MS);
  }
}

test("three browsers type while edges are killed: nothing that was typed or stored is lost, and all three agree", async () => {
  expect(edges.length, "the journey says where three edges are").toBe(3);
  const typists = await Promise.all([atEdge(1, "ada"), atEdge(2, "ben"), atEdge(3, "cleo")]);
  const [ada, ben, cleo] = typists;
  await ada.person.makesGroup("tea", ben.person.name, cleo.person.name);
  await ada.person.says("is everybody there?");
  for (const { person } of [ben, cleo]) {
    await person.opens("tea");
    await person.sees("is everybody there?");
  }
  // What opens without a server is kept once the worker is there.
  for (const { person } of typists) await person.page.evaluate(() => navigator.serviceWorker.ready.then(() => undefined));

  const typing = Promise.all(typists.map((typist) => types(typist, 0, MESSAGES)));
  await expect.poll(() => ada.said.length, { timeout: 60_000 }).toBeGreaterThan(8);
  const before = await Promise.all(typists.map(stored));
  expect(before.every((texts) => texts.length > 0), "some of each are stored before it happens").toBe(true);
  await edge("kill", 1);
  await typing;
  const all = ["is everybody there?", ...typists.flatMap(({ said }) => said)];
  expect(all.length).toBe(1 + 3 * MESSAGES);

  // Ada's own edge is dead still: she is at another one, with all of hers.
  for (const { person, said } of typists) {
    await nothingWaits(person);
    await expect.poll(async () => (await person.texts()).length, { timeout: 60_000 }).toBe(all.length);
    const texts = await person.texts();
    expect([...texts].sort()).toEqual([...all].sort());
    expect(texts.filter((text) => said.includes(text)), "in the order in which they were typed").toEqual(said);
    expect(texts).toEqual(await ada.person.texts());
  }
  for (const [at, texts] of before.entries()) expect(typists[at]?.said).toEqual(expect.arrayContaining(texts.filter((text) => text !== all[0])));

  // The page of a dead edge opens, from what the browser keeps, and finds its way to another edge again.
  await ada.person.types("half of a sentence");
  await ada.person.page.waitForTimeout(500);
  await ada.person.page.reload();
  await expect(ada.person.field).toHaveValue("half of a sentence");
  await ada.person.says("half of a sentence, and the other half");
  for (const { person } of typists) await person.sees("half of a sentence, and the other half");
  // So do requests over HTTP: whom she does not know yet is found by name.
  const dora = await Person.at(ben.browser, edges[1] ?? "", "dora");
  await dora.registers();
  await ada.person.startsChatWith(dora.name);
  await ada.person.says("hello, from nowhere");
  await dora.opens(ada.person.name);
  await dora.sees("hello, from nowhere");
  await ada.person.opens("tea");

  // Then the next one, while everybody types on, and the first one comes back.
  const again = Promise.all(typists.map((typist) => types(typist, MESSAGES, MESSAGES + 10)));
  await edge("kill", 2);
  await edge("restart", 1);
  await again;
  // The third one is stopped in order, and tells its sessions to go.
  await edge("stop", 3);
  await ben.person.says("the last word");
  for (const { person } of typists) await nothingWaits(person);
  await expect.poll(async () => (await ben.person.texts()).length, { timeout: 60_000 }).toBe(3 + 3 * (MESSAGES + 10));
  const whole = await ben.person.texts();
  for (const { person, said } of typists) {
    await expect.poll(() => person.texts(), { timeout: 60_000 }).toEqual(whole);
    expect(whole.filter((text) => said.includes(text))).toEqual(said);
    await person.isOnline();
  }

  // A stranger at the one edge that lives reads the same, from the store.
  const login = await fetch(`${edges[0] ?? ""}/login`, { method: "POST", body: JSON.stringify({ username: ada.person.name, password }) });
  const { access_token: token } = (await login.json()) as { access_token: string };
  const headers = { authorization: `Bearer ${token}` };
  const id = new URL(ada.person.page.url()).pathname.split("/").at(-1) ?? "";
  const read = await fetch(`${edges[0] ?? ""}/chats/${id}?limit=256`, { headers });
  const { messages } = (await read.json()) as { messages: { text: string }[] };
  expect(messages.map(({ text }) => text)).toEqual(whole);

  for (const { person, browser } of typists) {
    expect(person.mistakes, `nothing goes wrong in the page of ${person.name}`).toEqual([]);
    await browser.close();
  }
});
