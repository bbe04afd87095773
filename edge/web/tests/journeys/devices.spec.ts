import { expect, test } from "./support/journey";
import { password, Person } from "./support/person";
import { Line } from "./support/server";

/** The same person at another browser. */
async function logsIn(person: Person): Promise<void> {
  await person.page.goto(`${person.url}/app/sign-in`);
  await person.page.getByLabel("Username").fill(person.name);
  await person.page.getByLabel("Password", { exact: true }).fill(password);
  await person.page.getByRole("button", { name: "Log in" }).click();
  await expect(person.list).toBeVisible();
  await person.isOnline();
}

test("a login is ended from another device: that one is told at once, keeps what was typed, and goes on when it logs in again", async ({ browser, person }) => {
  const ada = await (await person("ada")).registers();
  await ada.makesGroup("tea");
  const phone = await Person.at(browser, ada.url, ada.name);
  const tablet = await Person.at(browser, ada.url, ada.name);
  for (const one of [phone, tablet]) await logsIn(one);
  await phone.opens("tea");
  await phone.types("half a thought");

  await ada.page.getByRole("link", { name: "Profile and settings" }).click();
  await ada.page.getByRole("link", { name: "Show devices" }).click();
  const rows = ada.page.getByRole("list", { name: "Devices" }).getByRole("listitem");
  await expect(rows).toHaveCount(3);
  await expect(rows.filter({ hasText: "This device" })).toHaveCount(1);
  await expect(rows.first()).toContainText("Chrome, Linux");
  await ada.page.getByRole("button", { name: "End all other logins" }).focus();
  await ada.page.keyboard.press("Enter");
  const dialog = ada.page.getByRole("dialog");
  await expect(dialog).toContainText("End all 2 other logins?");
  await ada.page.keyboard.press("Escape");
  await expect(rows).toHaveCount(3);
  await ada.page.keyboard.press("Enter");
  await dialog.getByRole("button", { name: "End login" }).press("Enter");
  await expect(ada.page.getByText("2 logins have been ended.")).toBeVisible();
  await expect(rows).toHaveCount(1);

  // Who is writing reads it above what they write; who is not is asked for the password.
  await expect(phone.page.locator(".bars")).toContainText("Your login was ended by you on another device, or by the operator. Log in again to go on.");
  await expect(phone.page.getByRole("dialog")).toHaveCount(0);
  await expect(tablet.page.getByRole("dialog", { name: "Log in again" })).toBeVisible();
  await phone.types("half a thought, and the rest");
  await phone.field.press("Enter");
  await expect(phone.waiting("queued")).toHaveCount(1);
  await phone.page.locator(".bars").getByRole("button", { name: "Log in" }).click();
  const again = phone.page.getByRole("dialog", { name: "Log in again" });
  await again.getByLabel("Password", { exact: true }).fill(password);
  await again.getByRole("button", { name: "Log in" }).click();
  await ada.opens("tea");
  await ada.sees("half a thought, and the rest");

  await ada.page.goto(`${ada.url}/app/devices`);
  await expect(rows).toHaveCount(2);
  await ada.page.keyboard.press("Escape");
  await expect(ada.page.getByRole("heading", { level: 1, name: "Profile and settings" })).toBeVisible();
  for (const one of [phone, tablet]) {
    expect(one.mistakes).toEqual([]);
    await one.context.close();
  }
});

test("logging out says how many messages were not sent, and lets one stay", async ({ browser, server }) => {
  const line = await Line.to(server);
  const ada = await (await Person.at(browser, line.url, "ada-unsent")).registers();
  await ada.makesGroup("tea");
  line.cut();
  await expect(ada.page.locator(".bar-warning")).toBeVisible();
  for (const text of ["one", "two"]) await ada.says(text);
  await expect(ada.waiting("queued")).toHaveCount(2);
  await ada.list.getByRole("link", { name: "Profile and settings" }).click();
  await ada.page.getByRole("button", { name: "Log out" }).click();
  const dialog = ada.page.getByRole("dialog");
  await expect(dialog).toContainText("2 messages were not sent yet; logging out removes them for good.");
  await dialog.getByRole("button", { name: "Cancel" }).click();
  line.mend();
  await ada.opens("tea");
  await expect(ada.messages.locator(".message-state-stored")).toHaveCount(2, { timeout: 45_000 });
  expect(ada.mistakes).toEqual([]);
  await ada.context.close();
  line.close();
});
