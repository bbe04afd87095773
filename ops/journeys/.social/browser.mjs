// The browsers, and the terminals, of the journey `social-login`.
import { spawn } from "node:child_process";
import { createRequire } from "node:module";

const { JOURNEY_URL: url, JOURNEY_ISSUER: issuer, JOURNEY_PANDA: panda, JOURNEY_WEB: web } = process.env;
const { chromium } = createRequire(`${web}/package.json`)("@playwright/test");
const PATIENCE_MS = 60_000;

function expect(holds, what) {
  if (!holds) throw new Error(`expected: ${what}`);
}

const browser = await chromium.launch({
  executablePath: process.env["CHROMIUM"] ?? "/usr/bin/chromium",
  args: ["--no-sandbox"],
});

/** A browser of somebody's own. */
async function person() {
  const context = await browser.newContext({ locale: "en-GB" });
  context.setDefaultTimeout(PATIENCE_MS);
  return context.newPage();
}

/** What a person does at the provider. */
async function agree(page, name) {
  await page.waitForURL((at) => at.href.startsWith(issuer));
  await page.locator('input[name="login"]').fill(name);
  await page.locator('input[name="password"]').fill("any");
  await page.locator('button[type="submit"]').click();
  await page.locator('button[type="submit"]', { hasText: "Continue" }).click();
}

const account = (page) => page.evaluate(() => JSON.parse(localStorage.getItem("panda.account") ?? "null"));

async function loggedIn(page) {
  await page.waitForFunction(() => localStorage.getItem("panda.account") !== null);
  return (await account(page)).user;
}

async function goThere(page) {
  await page.goto(`${url}/app/sign-in`);
  await page.getByRole("button", { name: /Log in with .*Corp/ }).click();
}

async function logIn(name) {
  const page = await person();
  await goThere(page);
  await agree(page, name);
  const user = await loggedIn(page);
  expect(!page.url().includes("login="), "no code is left in the address");
  return { page, user };
}

async function api(method, path, body, token) {
  const headers = { "content-type": "application/json", ...(token ? { authorization: `Bearer ${token}` } : {}) };
  const answer = await fetch(`${url}${path}`, { method, headers, body: body && JSON.stringify(body), redirect: "manual" });
  const text = await answer.text();
  return { status: answer.status, place: answer.headers.get("location"), json: text.startsWith("{") ? JSON.parse(text) : null };
}

/** A command at a terminal; resolves with its status. */
function terminal(...args) {
  const child = spawn(panda, args, { stdio: ["pipe", "pipe", "inherit"] });
  let said = "";
  child.stdout.on("data", (bytes) => (said += bytes));
  const ended = new Promise((resolve) => child.on("close", resolve));
  const says = async (wanted) => {
    for (const end = Date.now() + PATIENCE_MS; Date.now() < end; ) {
      const found = wanted.exec(said);
      if (found) return found[0];
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    child.kill("SIGKILL");
    throw new Error(`expected: 'panda ${args.join(" ")}' says ${wanted}, and not: ${said}`);
  };
  return { child, ended, says };
}

async function browsers() {
  const ada = await logIn("ada");
  expect(ada.user.username === "ada", "the name at the provider is the username");
  const again = await logIn("ada");
  expect(again.user.id === ada.user.id, "the second login is the same user");
  console.log("a second login in another browser is the same user");

  await api("POST", "/register", { username: "carol", email: "carol@example.org", password: "correct horse" });
  const carol = await api("POST", "/login", { username: "carol", password: "correct horse" });
  const other = await logIn("carol");
  expect(other.user.id !== carol.json.user.id, "a verified mail address takes over no account");
  console.log("the mail address of an account opens it to nobody");

  // Somebody with a password links an account elsewhere.
  await api("POST", "/register", { username: "ben", password: "correct horse" });
  const page = await person();
  await page.goto(`${url}/app/sign-in`);
  await page.getByLabel("Username").fill("ben");
  await page.getByLabel("Password", { exact: true }).fill("correct horse");
  await page.getByRole("button", { name: "Log in", exact: true }).click();
  const ben = await loggedIn(page);
  await page.goto(`${url}/app/profile`);
  await page.getByRole("button", { name: /Link an account of .*Corp/ }).click();
  await agree(page, "benjamin");
  await page.getByText("benjamin@example.org").waitFor();
  const linked = await logIn("benjamin");
  expect(linked.user.id === ben.id, "the linked account logs in as its user");
  await page.getByRole("button", { name: /Unlink/ }).click();
  await page.getByText("benjamin@example.org").waitFor({ state: "detached" });
  const unlinked = await logIn("benjamin");
  expect(unlinked.user.id !== ben.id, "what is unlinked logs in as somebody else");
  await ada.page.goto(`${url}/app/profile`);
  await ada.page.getByRole("button", { name: /Unlink/ }).click();
  await ada.page.getByText("Nothing else would let you in").waitFor();
  console.log("an account was linked and unlinked; the last way in stays");
}

async function refusals() {
  const page = await person();
  // The way back stops before this browser has gone it. It is a redirect, which routes of Playwright do not see.
  let back = null;
  const devtools = await page.context().newCDPSession(page);
  devtools.on("Fetch.requestPaused", ({ requestId, request }) => {
    back = request.url;
    devtools.send("Fetch.failRequest", { requestId, errorReason: "Aborted" });
  });
  await devtools.send("Fetch.enable", { patterns: [{ urlPattern: `${url}/login/corp/callback*` }] });
  await goThere(page);
  await agree(page, "eve").catch(() => undefined);
  for (const end = Date.now() + PATIENCE_MS; back === null && Date.now() < end; ) await page.waitForTimeout(50);
  expect(back !== null, "the provider sends the browser back");
  const path = back.slice(url.length);
  const state = new URL(back).searchParams.get("state");
  const changed = state.slice(0, 60) + (state[60] === "A" ? "B" : "A") + state.slice(61);
  const tampered = await api("GET", path.replace(state, changed));
  expect(tampered.status === 401 && tampered.place === null, "a state that was changed goes nowhere");
  const mixed = await api("GET", path.replace(/iss=[^&]*/, "iss=https%3A%2F%2Fevil.example"));
  expect(mixed.place?.endsWith("#login_error=refused"), "an answer of another provider is refused");
  const first = await api("GET", path);
  expect(first.status === 303 && first.place.startsWith(`${url}/app#login=`), "the browser goes to the page, with a code");
  const replayed = await api("GET", path);
  expect(replayed.place?.endsWith("#login_error=refused"), "the provider's code is of use once");
  // Login CSRF: somebody else's browser is brought that code.
  const victim = await person();
  await victim.goto(first.place);
  await victim.getByText("begun in another window or browser").waitFor();
  expect((await account(victim)) === null, "another browser is not logged in");
  const code = first.place.split("#login=")[1];
  const guessed = await api("POST", "/login/provider/redeem", { code, secret: "guessed" });
  expect(guessed.status === 401, "a code without its secret is of no use");
  console.log("a changed state, another provider's answer, a replayed code and another browser are refused");
}

async function terminals() {
  const login = ["login", "--server", url, "--provider", "corp"];
  const loopback = terminal(...login);
  const page = await person();
  await page.goto(await loopback.says(/http:\/\/\S+\/auth\?\S+/));
  await agree(page, "ada");
  await page.getByText("You are logged in.").waitFor();
  await loopback.says(/as ada\./);
  expect((await loopback.ended) === 0, "panda login ends with 0");
  for (const turn of ["first", "second"]) {
    const chat = terminal("chat", "--server", url, "--ws", "--plain");
    chat.child.stdin.end("/quit\n");
    expect((await chat.ended) === 0, `panda chat goes on with the login that stays, the ${turn} time`);
  }
  const logout = terminal("logout", "--server", url);
  expect((await logout.ended) === 0, "panda logout ends with 0");
  console.log("a terminal was logged in through a browser of its machine, chatted twice, and was logged out");

  const device = terminal(...login, "--device");
  const where = await device.says(new RegExp(`${issuer}\\S*`));
  const typed = await device.says(/[A-Z]{4}-[A-Z]{4}/);
  const elsewhere = await person();
  await elsewhere.goto(where);
  await elsewhere.locator('input[name="user_code"]').fill(typed);
  await elsewhere.locator('button[type="submit"]').first().click();
  await elsewhere.locator('button[type="submit"]').first().click();
  await agree(elsewhere, "ada");
  await device.says(/as ada\./);
  expect((await device.ended) === 0, "panda login --device ends with 0");
  console.log("a terminal without a browser was let in by a code");
}

try {
  await browsers();
  await refusals();
  await terminals();
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
} finally {
  await browser.close();
}
