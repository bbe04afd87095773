/// <reference types="@vitest/browser/providers/playwright" />
import { defineConfig } from "vitest/config";
import { chromium } from "./tests/support/chromium.js";

/** What has to hold in a browser, too: the codec, and stores on a real IndexedDB; and alone, what only browsers have. */
export default defineConfig({
  test: {
    include: [
      "tests/codec/vectors.test.ts",
      "tests/codec/hostile.test.ts",
      "tests/storage/**/*.test.ts",
      "tests/browser/**/*.test.ts",
    ],
    testTimeout: 20_000,
    browser: {
      enabled: true,
      headless: true,
      provider: "playwright",
      screenshotFailures: false,
      instances: [{ browser: "chromium", launch: chromium }],
    },
  },
});
