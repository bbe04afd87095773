/**
 * Takes the pictures in `screenshots/`: every main screen, in both colours, from a phone to a wide screen. They are for
 * people to look at; nothing compares them. Where `pngquant` is, they are a third of their size.
 */

import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { Page } from "@playwright/test";
import { expect, test } from "../journeys/support/journey";
import { landscape } from "../journeys/support/image";
import { password, Person } from "../journeys/support/person";

const folder = fileURLToPath(new URL("../../screenshots/", import.meta.url));
const sizes = [
  { width: 360, height: 740 },
  { width: 768, height: 900 },
  { width: 1440, height: 900 },
];

function shrink(file: string): void {
  try {
    execFileSync("pngquant", ["--force", "--skip-if-larger", "--ext", ".png", "--strip", "128", file]);
  } catch (error) {
    // 98: it would have been larger.
    if ((error as { status?: number; code?: string }).status !== 98 && (error as { code?: string }).code !== "ENOENT") throw error;
  }
}

async function take(page: Page, name: string): Promise<void> {
  for (const colorScheme of ["light", "dark"] as const) {
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    for (const size of sizes) {
      await page.setViewportSize(size);
      await page.waitForTimeout(250);
      const file = `${folder}${name}-${colorScheme}-${String(size.width)}.png`;
      await page.screenshot({ path: file, caret: "hide" });
      shrink(file);
    }
  }
}

/** Each says something in turn, in a chat that is open. */
async function talk(...said: [Person, string][]): Promise<void> {
  for (const [one, text] of said) {
    await one.says(text);
    await one.sees(text);
  }
}

test("every main screen", async ({ browser, server }) => {
  const at = (name: string, locale = "en-GB") => Person.at(browser, server.url, name, { locale, viewport: { width: 1440, height: 900 } });
  const ada = await at("ada");
  await ada.page.goto(`${server.url}/app/sign-up`);
  await expect(ada.page.getByRole("button", { name: "Create account" })).toBeVisible();
  await take(ada.page, "sign-up");
  await ada.registers();
  await take(ada.page, "first-time");
  const ben = await (await at("ben")).registers();
  const chloe = await (await at("chloe")).registers();
  const daoud = await (await at("daoud")).registers();

  await chloe.makesGroup("Weekend hikes", "ada", "ben");
  await talk([chloe, "Saturday looks dry. Ridge path, start at eight?"]);
  await daoud.makesGroup("نادي القراءة", "ada", "chloe");
  await talk([daoud, "وصلت الكتب الجديدة، متى نلتقي؟"]);
  await ben.startsChatWith("ada");
  await talk([ben, "Do you still have the key of the shed?"]);
  await ada.makesGroup("Tea and biscuits", "ben", "chloe", "daoud");
  for (const one of [ben, chloe, daoud]) await one.opens("Tea and biscuits");
  await talk(
    [ada, "I am putting the kettle on. Who wants what?"],
    [ben, "Black, with a little milk. Thank you!"],
    [ben, "And whatever biscuits are left."],
    [chloe, "Green for me. There is that one that Daoud brought back from his holidays: seventy degrees and no more, it says on the tin."],
    [daoud, "بالنعناع من فضلك"],
    [ada, "Mint it is. The tin says 70 °C, here is how to do that without a thermometer: https://example.org/tea/temperature"],
    [chloe, "You are the best."],
    [ada, "Ready in five minutes."],
  );
  await chloe.opens("Weekend hikes");
  await talk([chloe, "Bring something against the wind, it is cold up there."], [chloe, "And tell me who drives."]);
  await ada.list.getByText("tell me who drives").waitFor();
  await ben.field.pressSequentially("On my", { delay: 30 });
  await ada.page.locator(".typing-line", { hasText: "ben" }).waitFor();
  const typing = setInterval(() => void ben.field.press("x").catch(() => undefined), 2_000);
  await take(ada.page, "conversation");
  clearInterval(typing);
  await ada.page.getByRole("button", { name: "Members" }).click();
  await expect(ada.panel.getByRole("listitem")).toHaveCount(4);
  await take(ada.page, "members");

  await ada.page.goto(`${server.url}/app`);
  await ada.list.getByText("Ready in five").waitFor();
  await take(ada.page, "chats");
  await ada.page.goto(`${server.url}/app/new`);
  await ada.page.getByRole("radio", { name: "Group" }).check();
  await ada.page.getByLabel("Name of the group").fill("Garden");
  for (const name of ["ben", "chloe"]) {
    await ada.page.getByLabel("People").first().fill(name);
    await ada.page.getByRole("button", { name: "Add", exact: true }).click();
    await ada.page.getByRole("button", { name: `Remove ${name}` }).waitFor();
  }
  await take(ada.page, "new-chat");
  await ada.page.goto(`${server.url}/app/profile`);
  await ada.page.locator("input[type=file]").setInputFiles({ name: "me.png", mimeType: "image/png", buffer: landscape() });
  await ada.page.getByRole("dialog").getByRole("img").waitFor();
  await take(ada.page, "picture");
  await ada.page.getByRole("button", { name: "Use this picture" }).click();
  await ada.page.locator(".profile-who img").waitFor();
  await take(ada.page, "profile");
  const phone = await Person.at(browser, server.url, "ada", {
    userAgent: "Mozilla/5.0 (Linux; Android 16; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Mobile Safari/537.36",
  });
  await phone.page.goto(`${server.url}/app/sign-in`);
  await phone.page.getByLabel("Username").fill("ada");
  await phone.page.getByLabel("Password", { exact: true }).fill(password);
  await phone.page.getByRole("button", { name: "Log in" }).click();
  await phone.list.waitFor();
  await ada.page.goto(`${server.url}/app/devices`);
  await expect(ada.page.getByRole("listitem").filter({ hasText: "Android" })).toBeVisible();
  await take(ada.page, "devices");

  await ada.page.evaluate(() => localStorage.setItem("panda.settings.language", "ar"));
  await ada.page.goto(`${server.url}/app`);
  await ada.page.locator("a.chat-row", { hasText: "Tea and biscuits" }).click();
  await ada.page.locator(".message-text").last().waitFor();
  await take(ada.page, "arabic");

  await server.kill();
  await ada.page.locator(".bar-warning").waitFor();
  await ada.field.fill("هل من أحد هنا؟");
  await ada.field.press("Enter");
  await ada.waiting("queued").waitFor();
  await ada.page.evaluate(() => localStorage.setItem("panda.settings.language", "en"));
  await ada.page.reload();
  await ada.waiting("queued").waitFor();
  await take(ada.page, "no-connection");
});
