import AxeBuilder from "@axe-core/playwright";
import type { Page } from "@playwright/test";
import { expect, test } from "./support/journey";
import { Person } from "./support/person";
import { Line } from "./support/server";

async function hasNoViolation(page: Page, screen: string): Promise<void> {
  const { violations } = await new AxeBuilder({ page }).analyze();
  const told = violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(" | ")}`);
  expect(told, screen).toEqual([]);
}

/** Goes through every screen, so that each can be looked at. */
async function everyScreen(ada: Person, line: Line, other: string, look: (screen: string) => Promise<void>): Promise<void> {
  const { page, url } = ada;
  await page.goto(`${url}/app/sign-in`);
  await look("log in");
  await page.goto(`${url}/app/sign-up`);
  await page.getByLabel("Username").fill("a b");
  await page.getByLabel("Password", { exact: true }).fill("correct horse");
  await page.getByLabel("Username").evaluate((field: HTMLInputElement) => field.form?.setAttribute("novalidate", ""));
  await page.getByRole("button", { name: "Create account" }).click();
  await expect(page.locator(".field-error")).toBeVisible();
  await look("make an account, refused");
  await ada.registers();
  await look("no chats");
  await page.goto(`${url}/app/new`);
  await look("new chat");
  await ada.makesGroup("tea", other);
  await look("an empty chat");
  await ada.says("hello https://example.org");
  await ada.sees("hello https://example.org");
  await ada.startsChatWith(other);
  await ada.says("hi");
  await ada.sees("hi");
  await look("a conversation");
  await ada.opens("tea");
  await page.getByRole("button", { name: "Members" }).click();
  await expect(ada.panel.getByRole("listitem")).toHaveCount(2);
  await look("members");
  await page.getByRole("button", { name: "Close" }).click();
  await page.getByRole("button", { name: "Go to a date" }).click();
  await look("go to a date");
  await page.keyboard.press("Escape");
  await page.goto(`${url}/app/profile`);
  await page.getByText("Use a picture from another address").click();
  await look("profile");
  await page.getByRole("button", { name: "Log out" }).click();
  await look("log out?");
  await page.keyboard.press("Escape");
  await page.goto(`${url}/app/devices`);
  await expect(page.getByRole("list", { name: "Devices" }).getByRole("listitem")).toHaveCount(1);
  await look("devices");
  await page.goto(`${url}/app/nothing`);
  await look("nothing here");
  line.cut();
  await expect(page.locator(".bar-warning")).toBeVisible();
  await look("no connection");
}

for (const colorScheme of ["light", "dark"] as const) {
  test(`every screen can be used by everybody, in ${colorScheme} colours`, async ({ browser, person, server }) => {
    test.setTimeout(180_000);
    const ben = await (await person("ben")).registers();
    const line = await Line.to(server);
    const ada = await Person.at(browser, line.url, `ada-${colorScheme}`, { colorScheme, reducedMotion: "reduce" });
    await everyScreen(ada, line, ben.name, (screen) => hasNoViolation(ada.page, screen));
    expect(ada.mistakes).toEqual([]);
    line.close();
  });
}

/** Gives the page's thread that part of the processor. */
async function slowsDown(page: Page, rate: number): Promise<void> {
  const devtools = await page.context().newCDPSession(page);
  await devtools.send("Emulation.setCPUThrottlingRate", { rate });
}

test("everything can be done with the keyboard alone", async ({ person }) => {
  const ben = await (await person("ben")).registers();
  const ada = await (await person("ada")).registers();
  const { keyboard } = ada.page;
  await ada.makesGroup("tea", ben.name);
  await ada.says("first");
  await ada.makesGroup("cake", ben.name);
  // Keys come faster than a slow machine draws, and each still does what it says.
  await slowsDown(ada.page, 8);
  await keyboard.type("line one");
  await keyboard.press("Shift+Enter");
  await keyboard.type("line two");
  await keyboard.press("Enter");
  await expect(ada.messages.locator(".message-text")).toHaveText("line one\nline two");

  await keyboard.press("Alt+ArrowDown");
  await expect(ada.page.getByRole("heading", { level: 1, name: "tea" })).toBeVisible();
  await keyboard.press("Alt+ArrowUp");
  await expect(ada.page.getByRole("heading", { level: 1, name: "cake" })).toBeVisible();
  await keyboard.press("Control+k");
  await keyboard.type("te");
  await keyboard.press("Enter");
  await expect(ada.page.getByRole("heading", { level: 1, name: "tea" })).toBeVisible();
  await keyboard.press("Escape");
  await expect(ada.page.getByRole("heading", { name: "Choose a chat" })).toBeVisible();
  await keyboard.press("Control+k");
  await ada.page.getByLabel("Find a chat").fill("");
  await keyboard.press("ArrowDown");
  await keyboard.press("ArrowDown");
  await keyboard.press("Enter");
  await expect(ada.page.getByRole("heading", { level: 1, name: "tea" })).toBeVisible();
  await ada.messages.focus();
  await keyboard.press("?");
  const help = ada.page.getByRole("dialog", { name: "Keyboard" });
  await expect(help).toBeVisible();
  await keyboard.press("Escape");
  await expect(help).toHaveCount(0);
  await expect(ada.messages).toBeFocused();
});

test("who hears the page is told of new messages and of the connection", async ({ person }) => {
  const ada = await (await person("ada")).registers();
  const ben = await (await person("ben")).registers();
  await ada.makesGroup("tea", ben.name);
  await ada.says("settled");
  await ben.opens("tea");
  await ben.sees("settled");
  await ada.says("listen");
  await expect(ben.page.locator("[aria-live=polite]")).toHaveText(`${ada.name}: listen`);
  await expect(ben.page.getByRole("article").last()).toHaveAttribute("aria-setsize", /\d+/);
});
