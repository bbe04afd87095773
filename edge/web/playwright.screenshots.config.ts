import { defineConfig } from "@playwright/test";
import journeys from "./playwright.config";

/** Pictures of the main screens, to look at: `npm run screenshots`. */
export default defineConfig({ ...journeys, testDir: "tests/screenshots", timeout: 600_000, workers: 1 });
