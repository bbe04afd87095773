import { defineConfig } from "@playwright/test";

/** The browser that the system has. */
export const launchOptions = {
  executablePath: process.env["CHROMIUM"] ?? "/usr/bin/chromium",
  // Root may not have a sandbox of its own in a container; nothing but our own page is opened.
  args: ["--no-sandbox"],
};

/** Several people against a real server, in the browser that the system has. */
export default defineConfig({
  testDir: "tests/journeys",
  testMatch: "*.spec.ts",
  timeout: 90_000,
  // Machines that do much else at once are slow, and nothing here waits longer than it has to.
  expect: { timeout: 20_000 },
  workers: 2,
  fullyParallel: true,
  reporter: [["list"]],
  use: {
    locale: "en-GB",
    launchOptions,
  },
});
