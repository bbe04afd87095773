import { expect, test } from "./support/journey";
import { Person, password } from "./support/person";
import { Line, Server } from "./support/server";

test("what is written without a connection is kept over a reload and sent once when it is back", async ({
  browser,
  person,
  server,
}) => {
  const line = await Line.to(server);
  const ada = await (await Person.at(browser, line.url, "ada-away")).registers();
  const ben = await (await person("ben")).registers();
  await ada.makesGroup("tea", ben.name);
  await ada.says("before");
  await ben.opens("tea");
  await ben.sees("before");
  // The shell is kept once the worker is there.
  await ada.page.evaluate(() => navigator.serviceWorker.ready.then(() => undefined));

  line.cut();
  await ada.says("from nowhere");
  await ada.says("and once more");
  await ada.types("not finished");
  await expect(ada.waiting("queued")).toHaveCount(2);
  await ada.page.reload();
  // Reading offline: the page, the chat and what was said come from this machine.
  await ada.sees("before");
  await ada.sees("from nowhere");
  await expect(ada.field).toHaveValue("not finished");
  await expect(ada.page.locator(".bar-warning")).toContainText("No connection");

  line.mend();
  await ada.page.getByRole("button", { name: "Try now" }).click({ timeout: 5_000 }).catch(() => undefined);
  await ben.sees("from nowhere");
  await ben.sees("and once more");
  await expect(ada.messages.locator(".message-state-stored")).toHaveCount(3);
  await expect(ada.field).toHaveValue("not finished");
  expect(await ben.texts()).toEqual(["before", "from nowhere", "and once more"]);
  expect(await ada.texts()).toEqual(await ben.texts());
  expect(ada.mistakes).toEqual([]);
  await ada.context.close();
  line.close();
});

test("a server that is killed while both type loses nothing that they typed or that it took", async ({ browser }) => {
  const server = await Server.start();
  try {
    const ada = await (await Person.at(browser, server.url, "ada")).registers();
    const ben = await (await Person.at(browser, server.url, "ben")).registers();
    await ada.makesGroup("tea", ben.name);
    await ben.opens("tea");
    await ada.says("stored");
    await ben.sees("stored");
    await ada.types("half of a sentence");
    await server.kill();
    await expect(ada.page.locator(".bar-warning")).toContainText("No connection");
    await expect(ada.field).toHaveValue("half of a sentence");
    await ada.says("half of a sentence, and the other half");
    await ben.says("at the same time");
    await expect(ada.waiting("queued")).toHaveCount(1);
    await server.start();
    for (const one of [ada, ben]) {
      await one.sees("half of a sentence, and the other half");
      await one.sees("at the same time");
      await expect(one.waiting("queued")).toHaveCount(0);
      await one.isOnline();
    }
    await expect.poll(async () => (await ada.texts()).join()).toBe((await ben.texts()).join());
    expect([...ada.mistakes, ...ben.mistakes]).toEqual([]);
  } finally {
    await server.remove();
  }
});

/** As somebody does at another device. */
async function endsOtherLogins({ name, url }: Person): Promise<void> {
  const login = await fetch(`${url}/login`, { method: "POST", body: JSON.stringify({ username: name, password }) });
  const { access_token: token } = (await login.json()) as { access_token: string };
  const ended = await fetch(`${url}/user/me/logins`, { method: "DELETE", headers: { authorization: `Bearer ${token}` } });
  expect(await ended.json()).toEqual({ ended: 1 });
}

test("a login outlives its access token, over a reload too, and asks nobody", async ({ browser }) => {
  test.setTimeout(200_000);
  // The shortest that a token may last is a minute.
  const server = await Server.start({ PANDA_API_TOKEN_LIFETIME_S: "60" });
  try {
    const ada = await (await Person.at(browser, server.url, "ada")).registers();
    await ada.makesGroup("tea");
    await ada.says("in time");
    const saved = () => ada.page.evaluate(() => JSON.parse(localStorage.getItem("panda.account") ?? "{}") as { token: string; expiresAtMs: number });
    const first = await saved();
    await expect.poll(async () => (await saved()).token, { timeout: 90_000 }).not.toBe(first.token);
    // Until the first token would let nobody in any more: a few seconds more for clocks that differ.
    await expect.poll(() => Date.now() > first.expiresAtMs + 6_000, { timeout: 90_000 }).toBe(true);
    await ada.says("behind the end of the first token");
    await expect(ada.messages.locator(".message-state-stored")).toHaveCount(2);
    await ada.page.reload();
    await ada.sees("behind the end of the first token");
    await ada.isOnline();
    await expect(ada.page.getByRole("dialog", { name: "Log in again" })).toHaveCount(0);
    expect(ada.mistakes).toEqual([]);
  } finally {
    await server.remove();
  }
});

test("a login that is ended elsewhere asks for the password, and nothing that was typed is lost", async ({ browser }) => {
  const server = await Server.start();
  try {
    const ada = await (await Person.at(browser, server.url, "ada")).registers();
    await ada.makesGroup("tea");
    await ada.says("in time");
    await ada.types("typed before it ended");
    const dialog = ada.page.getByRole("dialog", { name: "Log in again" });
    await endsOtherLogins(ada);
    await expect(dialog).toBeVisible();
    await dialog.getByRole("button", { name: "Cancel" }).click();
    await expect(ada.field).toHaveValue("typed before it ended");
    await ada.says("typed after it ended");
    await expect(ada.waiting("queued")).toHaveCount(1);
    await ada.page.getByRole("button", { name: "Log in" }).click();
    await dialog.getByLabel("Password", { exact: true }).fill("wrong");
    await dialog.getByRole("button", { name: "Log in" }).click();
    await expect(dialog.getByText("The username or the password is wrong.")).toBeVisible();
    await dialog.getByLabel("Password", { exact: true }).fill(password);
    await dialog.getByRole("button", { name: "Log in" }).click();
    await expect(dialog).toHaveCount(0);
    await expect(ada.messages.locator(".message-state-stored")).toHaveCount(2);
    await ada.sees("typed after it ended");
    expect(ada.mistakes).toEqual([]);
  } finally {
    await server.remove();
  }
});

test("two tabs are one: messages, drafts and logging out are in both", async ({ person }) => {
  const ada = await (await person("ada")).registers();
  await ada.makesGroup("tea");
  const second = await ada.context.newPage();
  ada.watch(second);
  await second.goto(ada.page.url());
  const messages = second.getByRole("feed");
  await ada.says("from the first");
  await expect(messages.getByText("from the first")).toHaveCount(1);
  await second.locator(".composer textarea").fill("from the second");
  await expect(ada.field).toHaveValue("from the second");
  await second.locator(".composer textarea").press("Enter");
  await ada.sees("from the second");
  await expect(ada.field).toHaveValue("");
  // The first goes; the second goes on.
  await ada.page.goto("about:blank");
  await second.locator(".composer textarea").fill("alone now");
  await second.locator(".composer textarea").press("Enter");
  await expect(messages.locator(".message-state-stored")).toHaveCount(3);
  await ada.page.goto(second.url());
  await ada.sees("alone now");
  await second.getByRole("link", { name: "Profile and settings" }).click();
  await second.getByRole("button", { name: "Log out" }).click();
  await second.getByRole("dialog").getByRole("button", { name: "Log out" }).click();
  await expect(ada.page.getByRole("button", { name: "Log in" })).toBeVisible();
});
