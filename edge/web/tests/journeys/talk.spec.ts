import { expect, test } from "./support/journey";

test("two people find each other and talk, and the one who is away sees how much is unread", async ({ person }) => {
  const ada = await (await person("ada")).registers();
  const ben = await (await person("ben")).registers();
  await expect(ben.page.getByRole("heading", { name: "No chats yet" })).toBeVisible();
  await ada.makesGroup("tea", ben.name);
  await ada.says("milk or lemon?");
  await ada.sees("milk or lemon?");
  await expect(ada.messages.locator(".message-state-stored")).toHaveCount(1);

  await expect(ben.list.getByText("milk or lemon?")).toBeVisible();
  await expect(ben.list.getByText("1 unread message")).toBeAttached();
  await ada.says("or nothing at all?");
  await expect(ben.list.getByText("2 unread messages")).toBeAttached();
  await ben.opens("tea");
  await ben.sees("milk or lemon?");
  await expect(ben.messages.locator(".unread-line")).toBeVisible();
  await expect(ben.list.locator(".badge")).toHaveCount(0);

  await ben.field.pressSequentially("נענע, بالنعناع", { delay: 20 });
  await expect(ada.page.locator(".typing-line")).toContainText(`${ben.name} is typing`);
  await ben.field.press("Enter");
  await ada.sees("נענע, بالنعناع");
  await expect(ada.page.locator(".typing-line")).not.toContainText("typing");
  expect(await ben.texts()).toEqual(await ada.texts());

  // It is all there after a reload, and read.
  await ben.page.reload();
  await ben.sees("or nothing at all?");
  await expect(ben.messages.locator(".unread-line")).toHaveCount(0);
});

test("a direct chat is one, whoever starts it, and called by the other person", async ({ person }) => {
  const ada = await (await person("ada")).registers();
  const ben = await (await person("ben")).registers();
  await ada.startsChatWith(ben.name);
  await ada.says("only for you");
  await ben.startsChatWith(ada.name, `@${ada.name}`);
  await ben.sees("only for you");
  await ben.says("thank you");
  await ada.sees("thank you");
  await expect(ada.list.locator("a.chat-row")).toHaveCount(1);
  await expect(ada.page.getByText("Here lately")).toBeVisible();
});

test("members come, get roles, and go; who is gone sees nothing more", async ({ person }) => {
  const ada = await (await person("ada")).registers();
  const ben = await (await person("ben")).registers();
  const eve = await (await person("eve")).registers();
  await ada.makesGroup("plans");
  await ada.says("before");
  await ada.page.getByRole("button", { name: "Members" }).click();

  await ada.panel.getByLabel("Add somebody").fill("nobody-of-this-name");
  await ada.panel.getByRole("button", { name: "Add", exact: true }).click();
  await expect(ada.panel.getByText("There is nobody called nobody-of-this-name")).toBeVisible();
  await ada.panel.getByLabel("Add somebody").fill(ben.name);
  await ada.panel.getByRole("button", { name: "Add", exact: true }).click();
  await expect(ada.panel.getByRole("combobox", { name: `Role of ${ben.name}` })).toHaveValue("member");
  await ada.panel.getByLabel("Add somebody").fill(eve.name);
  await ada.panel.getByText("They may read what was said before").click();
  await ada.panel.getByRole("button", { name: "Add", exact: true }).click();
  await expect(ada.panel.getByRole("combobox", { name: `Role of ${eve.name}` })).toBeVisible();

  await ben.opens("plans");
  await expect(ben.messages.getByText("You see this chat from here on")).toBeVisible();
  await eve.opens("plans");
  await eve.sees("before");

  await ada.panel.getByRole("combobox", { name: `Role of ${ben.name}` }).selectOption("admin");
  await ben.seesNotice(`made ${ben.name} an admin`);
  await ada.panel.getByLabel("Name of the group").fill("better plans");
  await ada.panel.getByRole("button", { name: "Rename" }).click();
  await expect(ben.page.getByRole("heading", { level: 1, name: "better plans" })).toBeVisible();

  await ada.panel.getByRole("button", { name: `Remove ${eve.name}` }).click();
  await ada.page.getByRole("dialog").getByRole("button", { name: "Remove", exact: true }).click();
  await expect(eve.page.getByText("You are not in this chat any more")).toBeVisible();
  await ada.page.getByRole("button", { name: "Close" }).click();
  await ada.says("she is gone");
  await ben.sees("she is gone");
  await expect(eve.list.locator("a.chat-row")).toHaveCount(0);
  await expect(eve.messages.getByText("she is gone")).toHaveCount(0);

  await ben.page.getByRole("button", { name: "Members" }).click();
  await ben.panel.getByRole("button", { name: "Leave this chat" }).click();
  await ben.page.getByRole("dialog").getByRole("button", { name: "Leave", exact: true }).click();
  await ada.seesNotice(`${ben.name} left`);
  await expect(ben.list.locator("a.chat-row")).toHaveCount(0);
});

test("a profile can be changed, and a name that is taken says so beside its field", async ({ person }) => {
  const ada = await (await person("ada")).registers();
  const ben = await (await person("ben")).registers();
  await ada.page.getByRole("link", { name: "Profile and settings" }).click();
  await ada.page.getByLabel("Username").fill(ben.name);
  await ada.page.getByRole("button", { name: "Save" }).click();
  await expect(ada.page.getByText("This name is taken; choose another.")).toBeVisible();
  await ada.page.getByLabel("Username").fill(`${ada.name}-new`);
  await ada.page.getByText("Use a picture from another address").click();
  await ada.page.getByLabel("Address of a picture").fill("http://example.org/p.png");
  await expect(ada.page.getByText("This has to begin with https://")).toBeVisible();
  await ada.page.getByLabel("Address of a picture").fill("");
  await ada.page.getByRole("button", { name: "Save" }).click();
  await expect(ada.page.getByText("Saved.")).toBeVisible();

  await ada.page.getByRole("radio", { name: "Dark" }).check();
  await expect(ada.page.locator("html")).toHaveAttribute("data-theme", "dark");
  await ada.page.getByRole("radio", { name: "العربية" }).check();
  await expect(ada.page.locator("html")).toHaveAttribute("dir", "rtl");
  await expect(ada.page.getByRole("heading", { name: "الملف الشخصي والإعدادات" })).toBeVisible();
  await ada.page.reload();
  await expect(ada.page.locator("html")).toHaveAttribute("dir", "rtl");
});

test("who logs out leaves nothing behind, and is told before that something is unfinished", async ({ person }) => {
  const ada = await (await person("ada")).registers();
  await ada.makesGroup("alone");
  await ada.types("half a thought");
  await ada.page.getByRole("link", { name: "Profile and settings" }).click();
  await ada.page.getByRole("button", { name: "Log out" }).click();
  const dialog = ada.page.getByRole("dialog");
  await expect(dialog.getByText("1 draft is unfinished")).toBeVisible();
  await dialog.getByRole("button", { name: "Log out" }).click();
  await expect(ada.page.getByRole("button", { name: "Log in" })).toBeVisible();
  expect(await ada.page.evaluate(() => Object.keys(localStorage).filter((key) => !key.startsWith("panda.settings")))).toEqual([]);
  await ada.page.getByLabel("Username").fill(ada.name);
  await ada.page.getByLabel("Password", { exact: true }).fill("not the password");
  await ada.page.getByRole("button", { name: "Log in" }).click();
  await expect(ada.page.getByText("The username or the password is wrong.")).toBeVisible();
});
