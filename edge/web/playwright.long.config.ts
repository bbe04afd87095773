import { defineConfig } from "@playwright/test";
import journeys from "./playwright.config";

/** What a long chat and hours of messages do to the page, in figures: `./test long`. One after the other. */
export default defineConfig({
  ...journeys,
  testDir: "tests/long",
  timeout: 2 * 3_600_000,
  expect: { timeout: 60_000 },
  workers: 1,
  fullyParallel: false,
});
