import type { FileChooser, Page } from "@playwright/test";
import { randomBytes } from "node:crypto";
import { landscape, png } from "./support/image";
import { expect, test } from "./support/journey";
import type { Person } from "./support/person";

const file = (buffer: Buffer, name = "me.png", mimeType = "image/png") => ({ name, mimeType, buffer });

async function opensProfile({ page, url }: Person): Promise<void> {
  await page.goto(`${url}/app/profile`);
  await expect(page.getByLabel("Email")).toBeVisible();
}

/** Whether a picture of somebody is there, whole and as the server keeps it. */
async function isSeen(page: Page, where: string): Promise<void> {
  const picture = page.locator(`${where} img`);
  await expect(picture).toHaveAttribute("src", /\/pictures\/[0-9a-z]{26}\/[0-9a-f]+\.(jpg|png)$/);
  await expect.poll(() => picture.evaluate((one: HTMLImageElement) => one.complete && one.naturalWidth)).toBe(480);
}

test("a picture is chosen with the keyboard, looked at, sent, seen by others who load none of other addresses, and removed", async ({ person }) => {
  const ada = await (await person("ada")).registers();
  const ben = await (await person("ben")).registers();
  await ben.startsChatWith(ada.name);
  await ben.says("hello");
  await opensProfile(ada);

  // A browser is told to hand over what it would open as soon as somebody listens, and that has to be before the key.
  const choosers: FileChooser[] = [];
  ada.page.on("filechooser", (chooser) => choosers.push(chooser));
  const opened = async (count: number) => {
    await ada.page.keyboard.press("Enter");
    await expect.poll(() => choosers.length).toBe(count);
    return choosers.at(-1);
  };
  const choose = ada.page.getByRole("button", { name: "Choose a picture" });
  await choose.focus();
  await (await opened(1))?.setFiles(file(landscape()));
  const dialog = ada.page.getByRole("dialog", { name: "Your new picture" });
  await expect(dialog.getByRole("img", { name: "How your picture will look" })).toBeVisible();
  // The middle of it is drawn, and not the whole.
  const drawn = await dialog.locator("canvas").evaluate((one: HTMLCanvasElement) => [...(one.getContext("2d")?.getImageData(2, 2, 1, 1).data ?? [])]);
  expect(drawn.slice(0, 3)).not.toEqual([0, 0, 0]);
  await expect(dialog.getByRole("button", { name: "Use this picture" })).toBeFocused();
  await ada.page.keyboard.press("Escape");
  await expect(dialog).toHaveCount(0);
  await expect(choose).toBeFocused();
  await expect(ada.page.locator(".profile-who img")).toHaveCount(0);

  await (await opened(2))?.setFiles(file(landscape()));
  await expect(dialog.getByRole("button", { name: "Use this picture" })).toBeFocused();
  await ada.page.keyboard.press("Enter");
  await expect(dialog).toHaveCount(0);
  await isSeen(ada.page, ".profile-who");
  await isSeen(ada.page, ".chats-me");
  await expect(ada.page.locator(".profile-who [role=status]")).toHaveText("Saved.");

  // Ben loads no pictures of other addresses, and sees this one.
  await ben.page.reload();
  await isSeen(ben.page, ".chat-row");
  // The form beside it saves other things, and takes nothing of it.
  await ada.page.getByLabel("Email").fill("ada@example.org");
  await ada.page.getByRole("button", { name: "Save", exact: true }).click();
  await expect(ada.page.getByText("Saved.").last()).toBeVisible();
  await ada.page.reload();
  await isSeen(ada.page, ".profile-who");

  await ada.page.getByRole("button", { name: "Remove picture" }).click();
  await ada.page.getByRole("dialog").getByRole("button", { name: "Remove", exact: true }).click();
  await expect(ada.page.getByText("Your picture is removed.")).toBeVisible();
  await expect(ada.page.locator(".profile-who img")).toHaveCount(0);
  await expect(ada.page.getByLabel("Email")).toHaveValue("ada@example.org");
  await ben.page.reload();
  await ben.list.getByText("hello").waitFor();
  await expect(ben.page.locator(".chat-row img")).toHaveCount(0);
});

test("a file that is no picture, a picture that is too large, and too many of them are refused in words that help", async ({ person }) => {
  const ada = await (await person("ada")).registers();
  await opensProfile(ada);
  const input = ada.page.locator("input[type=file]");
  const alert = ada.page.getByRole("alert");
  await input.setInputFiles(file(Buffer.from("not a picture")));
  await expect(alert).toHaveText("This file is no picture that can be used. Choose one in JPEG, PNG or WebP.");
  await input.setInputFiles(file(Buffer.alloc(8 * 1024 * 1024 + 1), "large.jpg", "image/jpeg"));
  await expect(alert).toContainText("This picture is too large: at most 8 MB");
  await input.setInputFiles(file(png(8_193, 1, () => [0, 0, 0])));
  await expect(alert).toContainText("8,192 pixels on a side");

  // What the browser can show and the server does not take is refused by the server.
  const dialog = ada.page.getByRole("dialog", { name: "Your new picture" });
  const gif = Buffer.from("R0lGODlhAQABAIAAAP8AAAAAACwAAAAAAQABAAACAkQBADs=", "base64");
  await input.setInputFiles(file(gif, "me.gif", "image/gif"));
  await dialog.getByRole("button", { name: "Use this picture" }).click();
  await expect(dialog.getByRole("alert")).toHaveText("This file is no picture that can be used. Choose one in JPEG, PNG or WebP.");
  // Ten are taken a minute.
  const sends = async () => {
    const [answer] = await Promise.all([
      ada.page.waitForResponse((response) => response.url().endsWith("/user/me/picture")),
      dialog.getByRole("button", { name: "Use this picture" }).click(),
    ]);
    return answer.status();
  };
  let status = 400;
  for (let times = 1; times < 10; times += 1) status = await sends();
  expect(status).toBe(400);
  expect(await sends()).toBe(429);
  await expect(dialog.getByRole("alert")).toHaveText("You have sent many pictures just now. Wait a minute and try again.");
  await ada.page.keyboard.press("Escape");
  // The server reads nothing of it, and is heard all the same.
  const noise = randomBytes(3 * 1_000_000);
  await input.setInputFiles(file(png(1_000, 1_000, (x, y) => [...noise.subarray((y * 1_000 + x) * 3, (y * 1_000 + x) * 3 + 3)] as [number, number, number])));
  await dialog.getByRole("button", { name: "Use this picture" }).click();
  await expect(dialog.getByRole("alert")).toHaveText("You have sent many pictures just now. Wait a minute and try again.");
});

test("what the server is away for is told, and the picture that was chosen waits", async ({ person }) => {
  const ada = await (await person("ada")).registers();
  await opensProfile(ada);
  await ada.page.locator("input[type=file]").setInputFiles(file(landscape()));
  const dialog = ada.page.getByRole("dialog", { name: "Your new picture" });
  await ada.context.setOffline(true);
  await dialog.getByRole("button", { name: "Use this picture" }).click();
  await expect(dialog.getByRole("alert")).toContainText("The server cannot be reached");
  await ada.context.setOffline(false);
  await dialog.getByRole("button", { name: "Use this picture" }).click();
  await isSeen(ada.page, ".profile-who");
});
