import { expect, test } from "./support/journey";

test("the page comes with a policy under which nothing of others runs, and small", async ({ page, server }) => {
  const answers: { path: string; encoding: string; kept: string }[] = [];
  page.on("response", (response) => {
    const headers = response.headers();
    const path = new URL(response.url()).pathname;
    answers.push({ path, encoding: headers["content-encoding"] ?? "", kept: headers["cache-control"] ?? "" });
  });
  const answer = await page.goto(server.url);
  const headers = answer?.headers() ?? {};
  expect(headers["content-security-policy"]).toContain("default-src 'none'; script-src 'self'; style-src 'self'");
  expect(headers["x-content-type-options"]).toBe("nosniff");
  await expect(page.getByRole("button", { name: "Log in" })).toBeVisible();
  const html = (await answer?.text()) ?? "";
  expect(html).not.toMatch(/<script(?![^>]*src=)[^>]*>|<style| style=| on\w+=/);
  const assets = answers.filter(({ path }) => path.startsWith("/assets/"));
  expect(assets.length).toBeGreaterThan(1);
  for (const { path, encoding, kept } of assets) {
    expect([path, encoding]).toEqual([path, "br"]);
    // A worker is asked for anew: its policy changes with the deployment's edges.
    expect([path, kept]).toEqual([path, expect.stringContaining(path.includes("panda.worker-") ? "no-cache" : "immutable")]);
  }
  // Markup that runs something would need what the policy refuses.
  const ran = await page.evaluate(() => {
    const script = document.createElement("script");
    script.textContent = "window.broken = 1";
    document.body.append(script);
    return "broken" in window;
  });
  expect(ran).toBe(false);
});

test("it can be installed", async ({ page, server, request }) => {
  await page.goto(server.url);
  const manifest = await (await request.get(`${server.url}/manifest.webmanifest`)).json() as { icons: { src: string }[]; start_url: string };
  expect(manifest.start_url).toBe("/app");
  for (const { src } of manifest.icons) expect((await request.get(`${server.url}${src}`)).status(), src).toBe(200);
  const active = await page.evaluate(() => navigator.serviceWorker.ready.then((registration) => registration.active?.state));
  expect(["activating", "activated"]).toContain(active);
});

test("an address of another form is an answer of the API and no page", async ({ request, server }) => {
  for (const path of ["/chat", "/assets/nothing.js", "/index.html", "/applications"]) {
    const answer = await request.get(`${server.url}${path}`);
    expect([path, answer.status(), answer.headers()["content-type"]]).toEqual([path, 404, "application/problem+json"]);
  }
  const page = await request.get(`${server.url}/app/chat/whatever`);
  expect([page.status(), page.headers()["content-type"]]).toEqual([200, "text/html; charset=utf-8"]);
});
