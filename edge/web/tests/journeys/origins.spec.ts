import { expect, type Browser, type Page, test as base } from "@playwright/test";
import { request } from "node:https";
import { Certificate } from "./support/certificate";
import { PageHost } from "./support/page_host";
import { Person, password } from "./support/person";
import { Server } from "./support/server";

interface Deployment {
  readonly certificate: Certificate;
  readonly browser: Browser;
  readonly server: Server;
  /** The page at an origin that the server lists, and at one that it does not. */
  readonly listed: PageHost;
  readonly foreign: PageHost;
}

const test = base.extend<object, { deployment: Deployment }>({
  deployment: [
    // eslint-disable-next-line no-empty-pattern -- Playwright reads the pattern
    async ({}, use) => {
      const certificate = await Certificate.make();
      const [listed, foreign] = [await PageHost.on(certificate), await PageHost.on(certificate)];
      const server = await Server.start({
        PANDA_HTTP_CERTIFICATE: certificate.file,
        PANDA_HTTP_KEY: certificate.key,
        PANDA_HTTP_ORIGINS: listed.origin,
      });
      listed.serve(server.url);
      foreign.serve(server.url);
      const browser = await certificate.browser();
      await use({ certificate, browser, server, listed, foreign });
      await browser.close();
      await server.remove();
      listed.close();
      foreign.close();
      await certificate.remove();
    },
    { scope: "worker" },
  ],
});

/** What becomes of a WebSocket that a script of this page opens to the server. */
const socketFrom = (page: Page, url: string): Promise<string> =>
  page.evaluate(
    (address) =>
      new Promise<string>((resolve) => {
        const socket = new WebSocket(`${address.replace("https:", "wss:")}/ws`, "panda.1");
        socket.onopen = () => {
          socket.close();
          resolve("open");
        };
        socket.onerror = () => resolve("refused");
      }),
    url,
  );

interface Told {
  readonly status: number | undefined;
  readonly code: unknown;
  readonly label: unknown;
  readonly detail: unknown;
}

/** What the server answers to whom a browser says this origin for: no page can read it. */
function toldTo(origin: string, url: string, headers: Record<string, string> = {}, method = "GET"): Promise<Told> {
  return new Promise((resolve, reject) => {
    const asked = request(url, { method, headers: { origin, ...headers }, rejectUnauthorized: false }, (answer) => {
      let body = "";
      answer.on("data", (part: Buffer) => (body += part.toString()));
      answer.on("end", () => {
        const { code, label, detail } = JSON.parse(body) as Record<string, unknown>;
        resolve({ status: answer.statusCode, code, label, detail });
      });
    });
    asked.once("error", reject);
    asked.end();
  });
}

test("over TLS the page of the server itself, and the same page of an origin that is listed, are all of it", async ({ deployment }) => {
  const { browser, server, listed } = deployment;
  const ben = await (await Person.at(browser, server.url, "ben-own")).registers();
  const ada = await (await Person.at(browser, listed.origin, "ada-listed")).registers();
  await ada.makesGroup("tea", ben.name);
  await ada.says("from another site");
  await ben.opens("tea");
  await ben.sees("from another site");
  await ben.says("from the server's own");
  await ada.sees("from the server's own");
  await expect(ada.messages.locator(".message-state-stored")).toHaveCount(1);
  // A change, which a browser asks about first, and that is made on condition of a version.
  await ada.page.goto(`${listed.origin}/app/profile`);
  await ada.page.getByLabel("Email").fill("ada@example.org");
  await ada.page.getByRole("button", { name: "Save" }).click();
  await expect(ada.page.getByText("Saved.")).toBeVisible();
  await ada.page.reload();
  await expect(ada.page.getByLabel("Email")).toHaveValue("ada@example.org");
  expect(await socketFrom(ada.page, server.url)).toBe("open");
  // The shell is kept there as well: a service worker is its own site's.
  expect(await ada.page.evaluate(() => navigator.serviceWorker.ready.then(({ scope }) => scope))).toBe(`${listed.origin}/`);
  for (const one of [ada, ben]) {
    expect(one.mistakes).toEqual([]);
    await one.context.close();
  }
});

test("a refusal that a listed page is told comes with its reason", async ({ deployment }) => {
  const { browser, listed } = deployment;
  const ada = await Person.at(browser, listed.origin, "ada-nobody");
  await ada.page.goto(`${listed.origin}/app/sign-in`);
  await ada.page.getByLabel("Username").fill("nobody-of-this-name");
  await ada.page.getByLabel("Password", { exact: true }).fill(password);
  await ada.page.getByRole("button", { name: "Log in" }).click();
  await expect(ada.page.getByRole("alert")).toHaveText("The username or the password is wrong.");
  await ada.context.close();
});

test("the same page of an origin that is not listed is refused, says so, and nothing happens", async ({ deployment }) => {
  const { browser, server, foreign } = deployment;
  const eve = await Person.at(browser, foreign.origin, "eve-foreign");
  await eve.page.goto(`${foreign.origin}/app/sign-up`);
  await eve.page.getByLabel("Username").fill(eve.name);
  await eve.page.getByLabel("Password", { exact: true }).fill(password);
  await eve.page.getByRole("button", { name: "Create account" }).click();
  await expect(eve.page.getByRole("alert")).toHaveText(
    "The server does not take connections from this address. Its operator can allow it.",
  );
  // What was typed is there still.
  await expect(eve.page.getByLabel("Username")).toHaveValue(eve.name);
  expect(await socketFrom(eve.page, server.url)).toBe("refused");
  // A request that no browser asks about first is not done either.
  const sent = await eve.page.evaluate(
    ([url, body]) => fetch(`${url ?? ""}/register`, { method: "POST", mode: "no-cors", body: body ?? "" }).then(({ type }) => type),
    [server.url, JSON.stringify({ username: eve.name, password })],
  );
  expect(sent).toBe("opaque");
  // The browser says why in its console, and nothing else went wrong there.
  expect(eve.mistakes.filter((mistake) => !mistake.includes("has been blocked by CORS policy"))).toEqual([]);
  await eve.context.close();

  const upgrade = { connection: "Upgrade", upgrade: "websocket", "sec-websocket-version": "13", "sec-websocket-protocol": "panda.1" };
  const detail = "pages of this origin may connect once http.origins of the configuration has it";
  const refusal = { status: 403, code: 1307, label: "origin_refused", detail };
  expect(await toldTo(foreign.origin, `${server.url}/login`, {}, "POST")).toEqual(refusal);
  const preflight = { "access-control-request-method": "POST", "access-control-request-headers": "content-type" };
  expect(await toldTo(foreign.origin, `${server.url}/login`, preflight, "OPTIONS")).toEqual(refusal);
  const key = { "sec-websocket-key": Buffer.alloc(16).toString("base64") };
  expect(await toldTo(foreign.origin, `${server.url}/ws`, { ...upgrade, ...key })).toEqual(refusal);

  // The name is free.
  const own = await Person.at(browser, server.url, eve.name);
  await own.registers();
  expect(own.mistakes).toEqual([]);
  await own.context.close();
});

test("somebody whose page is taken off the list keeps what they type, is told why nothing goes, and goes on when it is back", async ({
  deployment: { browser, certificate },
}) => {
  const host = await PageHost.on(certificate);
  const files = { PANDA_HTTP_CERTIFICATE: certificate.file, PANDA_HTTP_KEY: certificate.key };
  const server = await Server.start({ ...files, PANDA_HTTP_ORIGINS: host.origin });
  host.serve(server.url);
  try {
    const ada = await (await Person.at(browser, host.origin, "ada-off")).registers();
    await ada.makesGroup("tea");
    await ada.says("in time");
    await expect(ada.messages.locator(".message-state-stored")).toHaveCount(1);
    await server.kill();
    await server.start({ PANDA_HTTP_ORIGINS: "" });
    await expect(ada.page.locator(".bar-warning")).toContainText("The server does not take connections from this address.");
    await ada.says("written meanwhile");
    await ada.types("and not finished");
    await expect(ada.waiting("queued")).toHaveCount(1);
    await server.kill();
    await server.start({ PANDA_HTTP_ORIGINS: host.origin });
    await expect(ada.messages.locator(".message-state-stored")).toHaveCount(2, { timeout: 45_000 });
    await expect(ada.field).toHaveValue("and not finished");
    expect(await ada.texts()).toEqual(["in time", "written meanwhile"]);
    await ada.context.close();
  } finally {
    await server.remove();
    host.close();
  }
});
