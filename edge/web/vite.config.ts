import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

/** Where `npm run dev` finds a server: its HTTP API and its WebSocket. */
const server = process.env["PANDA_SERVER"] ?? "http://127.0.0.1:8080";

export default defineConfig({
  plugins: [react()],
  build: {
    target: "es2022",
    // `build/clean.js` empties it, all but the file that keeps the folder.
    emptyOutDir: false,
    // Nothing is laid into the page or into styles as a data URL: the policy of the page does not allow it.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  worker: { format: "es" },
  server: {
    proxy: {
      // With the address that the browser asked: to the server it is its own page then.
      "/.well-known": { target: server, changeOrigin: false },
      "/register": { target: server, changeOrigin: false },
      "/login": { target: server, changeOrigin: false },
      "/user": { target: server, changeOrigin: false },
      "/chats": { target: server, changeOrigin: false },
      "/ws": { target: server, ws: true, changeOrigin: false },
    },
  },
  test: {
    include: ["tests/unit/**/*.test.{ts,tsx}"],
    environment: "happy-dom",
  },
});
