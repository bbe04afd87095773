// Draws the icons of an installed application from `public/icons/panda.svg`, with the browser that tests use:
// `npm run icons` after the drawing changed. What it makes is checked in.
import { readFileSync, writeFileSync } from "node:fs";
import { chromium } from "@playwright/test";

const icons = new URL("../public/icons/", import.meta.url);
const drawing = readFileSync(new URL("panda.svg", icons), "utf8");
// Systems cut a maskable icon to a circle or what they like: the ground goes to the edges, and nothing of the face is
// outside of the inner four fifths.
const maskable = drawing.replace('rx="15"', "").replace('viewBox="0 0 64 64"', 'viewBox="-8 -8 80 80" style="background:#1d7a4b"');

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
const page = await browser.newPage();
for (const [name, size, svg] of [
  ["panda-180.png", 180, maskable],
  ["panda-192.png", 192, drawing],
  ["panda-512.png", 512, drawing],
  ["panda-maskable-512.png", 512, maskable],
]) {
  await page.setViewportSize({ width: size, height: size });
  await page.setContent(`<style>body{margin:0}svg{display:block;width:${size}px;height:${size}px}</style>${svg}`);
  writeFileSync(new URL(name, icons), await page.screenshot({ omitBackground: true }));
}
await browser.close();
