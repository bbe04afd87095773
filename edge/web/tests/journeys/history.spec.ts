import { password } from "./support/person";
import { expect, test } from "./support/journey";

/** Some screens full, and fewer than a user may send in a minute over HTTP. */
const MESSAGES = 1_000;

test("a long chat can be scrolled from end to end, and gone into by a date", async ({ person, server }) => {
  const ada = await (await person("ada")).registers();
  await ada.makesGroup("long");
  const chat = ada.page.url().split("/").at(-1) ?? "";
  const login = await fetch(`${server.url}/login`, { method: "POST", body: JSON.stringify({ username: ada.name, password }) });
  const { access_token: token } = (await login.json()) as { access_token: string };
  for (let from = 1; from <= MESSAGES; from += 50) {
    await Promise.all(
      Array.from({ length: 50 }, (_, at) =>
        fetch(`${server.url}/chats/${chat}/messages`, {
          method: "POST",
          headers: { authorization: `Bearer ${token}` },
          body: JSON.stringify({ text: `message of the batch ${String(from)} place ${String(at)}` }),
        }).then((answer) => expect(answer.status).toBe(201)),
      ),
    );
  }
  await expect(ada.messages.getByText("batch 951").last()).toBeVisible();
  // The newest stays in sight while new ones come.
  const fromEnd = () => ada.messages.evaluate((element) => element.scrollHeight - element.scrollTop - element.clientHeight);
  await expect.poll(fromEnd).toBeLessThan(50);

  await ada.messages.focus();
  await ada.page.keyboard.press("Home");
  await expect(ada.messages.getByText("The beginning of this chat")).toBeVisible();
  await expect(ada.messages.locator(".gap")).toHaveCount(0);
  // What is looked at stays where it is while something new comes.
  /** A row in the middle of what is looked at, and where on the screen it is. */
  const looked = () =>
    ada.messages.evaluate((element) => {
      const { left, top, width, height } = element.getBoundingClientRect();
      const row = document.elementFromPoint(left + width / 2, top + height / 2)?.closest("[data-row]");
      return { row: row?.getAttribute("data-row") ?? null, top: Math.round(row?.getBoundingClientRect().top ?? 0) };
    });
  await ada.messages.evaluate((element) => element.scrollTo(0, 3_000));
  await expect(ada.messages.locator(".gap")).toHaveCount(0);
  // Until rows that are drawn for the first time have their heights.
  let before = await looked();
  await expect
    .poll(async () => {
      const now = await looked();
      const isStill = now.row !== null && now.row === before.row && now.top === before.top;
      before = now;
      return isStill;
    })
    .toBe(true);
  await fetch(`${server.url}/chats/${chat}/messages`, {
    method: "POST",
    headers: { authorization: `Bearer ${token}` },
    body: JSON.stringify({ text: "one more" }),
  });
  await expect(ada.page.getByRole("button", { name: /new message/ })).toBeVisible();
  const after = await looked();
  expect(after.row).toBe(before.row);
  expect(Math.abs(after.top - before.top)).toBeLessThanOrEqual(1);
  await ada.page.getByRole("button", { name: /new message/ }).click();
  await ada.sees("one more");

  await ada.page.getByRole("button", { name: "Go to a date" }).click();
  await ada.page.getByRole("dialog").getByRole("button", { name: "Go", exact: true }).click();
  await expect(ada.messages.locator(".day")).toBeVisible();
  await expect(ada.messages.getByText("The beginning of this chat")).toBeAttached();
  await ada.page.getByRole("button", { name: "Go to the newest messages" }).click();
  await ada.sees("one more");
});
