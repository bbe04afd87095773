/** One's own picture: what is sent, what is said of it, and which pictures are asked for where. */

import { RefusedError, type PictureOptions, type Profile } from "@panda/client";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { pictureUrl } from "../../src/parts/Avatar";
import { FILE_BYTES_MAX, PIXELS_MAX, SIDE_PX_MAX } from "../../src/profile/Picture";
import { go } from "../../src/shell/router";
import { en } from "../../src/texts/en";
import { ada } from "./support/fake_client";
import { button, find, openPage, type OpenPage } from "./support/page";

const kept = `/pictures/${ada}/0123456789abcdef.jpg`;

describe("a picture", () => {
  const server = "https://edge-1.example";

  test("that the server keeps is asked for at the server, whatever the reader wants of others", () => {
    for (const wanted of [true, false]) expect(pictureUrl(kept, server, wanted)).toBe(`${server}${kept}`);
    expect(pictureUrl(kept, "http://[::1]:8080", false)).toBe(`http://[::1]:8080${kept}`);
  });

  test("of an address elsewhere is asked for only if that is wanted, and over TLS", () => {
    expect(pictureUrl("https://a.example/p.png", server, true)).toBe("https://a.example/p.png");
    expect(pictureUrl("https://a.example/p.png", server, false)).toBeNull();
    for (const picture of ["http://a.example/p.png", "javascript:alert(1)", "data:image/png,x", ""]) expect(pictureUrl(picture, server, true)).toBeNull();
  });

  test("leads to no other server by a path that looks like one of this", () => {
    const paths = ["//evil.example/pictures/a/b.png", "/pictures//evil.example/a.png", "/pictures/../logout", `/pictures/${ada}/..%2f.png`];
    for (const path of [...paths, "/pictures/a/b.png?c", "/pictures/a/b.png#c", "\\/pictures/a/b.png", "/pictures/a/b.png\n", "https:/pictures/a/b.png"]) {
      expect(pictureUrl(path, server, false), path).toBeNull();
    }
  });
});

const bitmap = (width: number, height: number) => ({ width, height, close: vi.fn() });
const profile = (changes: Partial<Profile> = {}): Profile => ({ id: ada, username: "ada", picture: null, version: 1, email: null, ...changes });

interface Sent {
  readonly file: Blob;
  readonly options: PictureOptions;
  readonly answer: (profile: Profile) => void;
  readonly refuse: (label: string) => void;
}

let page: OpenPage;
let sent: Sent[];
let mine: Profile;
let decode: (file: Blob) => Promise<unknown>;

beforeEach(async () => {
  sent = [];
  mine = profile();
  const refusal = (label: string) => new RefusedError({ code: 1, label, text: `server: ${label}`, retryAfterMs: 0 });
  page = await openPage({
    user: () => Promise.resolve(mine),
    sendPicture: (file, options = {}) =>
      new Promise((answer, reject) => {
        sent.push({ file, options, answer, refuse: (label) => reject(refusal(label)) });
        options.signal?.addEventListener("abort", () => reject(refusal("unreachable")));
      }),
    removePicture: () => Promise.resolve(profile({ version: 3 })),
  });
  decode = () => Promise.resolve(bitmap(400, 300));
  vi.stubGlobal("createImageBitmap", (file: Blob) => decode(file));
  await page.does(() => go({ screen: "profile" }));
});
afterEach(() => page.close());

const dialog = () => find("dialog");
const alerts = () => [...document.querySelectorAll("[role=alert]")].map(({ textContent }) => textContent);
const shown = () => find(".profile-who img")?.getAttribute("src") ?? null;

async function choose(size = 10): Promise<File> {
  const file = new File(["x".repeat(size)], "me.jpg", { type: "image/jpeg" });
  await page.does(() => {
    const input = find("input[type=file]");
    if (!input) throw new Error("there is no field for a file");
    Object.defineProperty(input, "files", { value: [file], configurable: true });
    input.dispatchEvent(new Event("change", { bubbles: true }));
  });
  return file;
}

test("is shown before it is sent, sent with its progress, and is there for all who look", async () => {
  const file = await choose();
  expect(dialog()?.textContent).toContain(en.picture.title);
  expect(find("dialog canvas")?.getAttribute("aria-label")).toBe(en.picture.preview);
  expect(sent).toEqual([]);
  await page.does(() => button(en.picture.use)?.click());
  expect(sent[0]?.file).toBe(file);
  await page.does(() => sent[0]?.options.onSent?.(0.25));
  expect(find("progress")?.getAttribute("value")).toBe("0.25");
  expect(find("dialog [role=status]")?.textContent).toBe(en.picture.sending);
  await page.does(() => sent[0]?.options.onSent?.(1));
  expect(find("progress")?.hasAttribute("value")).toBe(false);
  expect(find("dialog [role=status]")?.textContent).toBe(en.picture.finishing);
  // The server has it whole: going away takes nothing back.
  expect(button(en.close)).toBeUndefined();
  await page.does(() => button(en.cancel)?.click());
  expect(dialog()).not.toBeNull();
  await page.does(() => sent[0]?.answer(profile({ picture: kept, version: 2 })));
  expect(dialog()).toBeNull();
  expect(shown()).toBe(`http://localhost${kept}`);
  expect(find(".chats-me img")?.getAttribute("src")).toBe(`http://localhost${kept}`);
  expect(page.store.getState().people[ada]?.picture).toBe(kept);
});

test("is sent once however often somebody presses, and given up with the dialog", async () => {
  await choose();
  await page.does(() => button(en.picture.use)?.click());
  await page.does(() => button(en.picture.sending)?.click());
  expect(sent).toHaveLength(1);
  await page.does(() => button(en.cancel)?.click());
  expect(sent[0]?.options.signal?.aborted).toBe(true);
  expect(dialog()).toBeNull();
  expect(alerts()).toEqual([]);
});

test.each([
  ["too_large", en.picture.tooLarge],
  ["invalid_request", en.picture.noPicture],
  ["rate_limited", en.picture.tooMany],
  ["not_found", en.picture.nowhere],
  ["outcome_unknown", en.picture.tooSlow],
  ["overloaded", en.refusals["overloaded"]],
])("that the server refuses as %s is told in words, and may be tried again", async (label, words) => {
  await choose();
  await page.does(() => button(en.picture.use)?.click());
  await page.does(() => sent[0]?.refuse(label));
  expect(alerts()).toEqual([words]);
  await page.does(() => button(en.picture.use)?.click());
  expect(sent).toHaveLength(2);
  expect(alerts()).toEqual([]);
});

test("that is too large, or none, is refused before anything is sent", async () => {
  decode = vi.fn(decode);
  await choose(FILE_BYTES_MAX + 1);
  expect(alerts()).toEqual([en.picture.tooLarge]);
  expect(decode).not.toHaveBeenCalled();
  for (const [width, height] of [
    [SIDE_PX_MAX + 1, 1],
    [1, SIDE_PX_MAX + 1],
    [PIXELS_MAX / 5_000 + 1, 5_000],
  ] as const) {
    const large = bitmap(width, height);
    decode = () => Promise.resolve(large);
    await choose();
    expect(alerts()).toEqual([en.picture.tooLarge]);
    expect(large.close).toHaveBeenCalled();
  }
  decode = () => Promise.reject(new DOMException("no", "InvalidStateError"));
  await choose();
  expect(alerts()).toEqual([en.picture.noPicture]);
  expect(dialog()).toBeNull();
  // What was wrong is forgotten with the next one.
  decode = () => Promise.resolve(bitmap(PIXELS_MAX / 5_000, 5_000));
  await choose(FILE_BYTES_MAX);
  expect(alerts()).toEqual([]);
  expect(dialog()).not.toBeNull();
});

test("is removed when that was confirmed, and its address is not what the form saves", async () => {
  expect(button(en.picture.remove)).toBeUndefined();
  await choose();
  await page.does(() => button(en.picture.use)?.click());
  await page.does(() => sent[0]?.answer(profile({ picture: kept, version: 2 })));
  expect(find("input[type=url]")).toHaveProperty("value", "");
  await page.does(() => button(en.picture.remove)?.click());
  expect(dialog()?.textContent).toContain(en.picture.removeAsk);
  expect(shown()).not.toBeNull();
  await page.does(() => [...document.querySelectorAll<HTMLElement>("dialog button")].find((one) => one.textContent === en.picture.removeAction)?.click());
  expect(shown()).toBeNull();
  expect(page.store.getState().people[ada]?.picture).toBeNull();
});
