import { describe, expect, test } from "vitest";
import { bytesOver, TEXT_BYTES_MAX } from "../../src/conversation/Composer";
import { partsOf } from "../../src/conversation/MessageText";
import { initialsOf } from "../../src/parts/Avatar";
import { isPicture } from "../../src/profile/Profile";
import { plainName } from "../../src/people/PersonPicker";
import { pathOf, routeOf, type Route } from "../../src/shell/router";
import { ar } from "../../src/texts/ar";
import { en } from "../../src/texts/en";
import { makeLocale, preferredLanguage } from "../../src/texts/locale";
import { tea } from "./support/fake_client";

describe("addresses of the page", () => {
  test("lead where they came from", () => {
    const routes: Route[] = [
      { screen: "chats" },
      { screen: "chat", chat: tea, panel: null },
      { screen: "chat", chat: tea, panel: "members" },
      { screen: "new" },
      { screen: "profile" },
      { screen: "devices" },
      { screen: "signIn" },
      { screen: "signUp" },
    ];
    for (const route of routes) expect(routeOf(pathOf(route))).toEqual(route);
  });

  test("that name nothing show that, and never a chat of another form", () => {
    for (const path of ["/app/chat/", "/app/chat/short", `/app/chat/${tea}/other`, `/app/chat/${tea.toUpperCase()}`, "/app/x"]) {
      expect(routeOf(path)).toEqual({ screen: "nowhere" });
    }
  });
});

describe("texts of messages", () => {
  test("become links only where they are addresses of the web", () => {
    expect(partsOf("see https://a.example/x?y=1, and (http://b.example).").filter((part) => part.href !== null)).toEqual([
      { text: "https://a.example/x?y=1", href: "https://a.example/x?y=1" },
      { text: "http://b.example", href: "http://b.example" },
    ]);
    for (const text of ["javascript:alert(1)", "data:text/html,<script>", "<img src=x onerror=alert(1)>", "https://", "ftp://a.example"]) {
      expect(partsOf(text).every((part) => part.href === null), text).toBe(true);
    }
  });

  test("stay what they are, whatever they are", () => {
    for (const text of ["", "a", "<b>&amp;</b>", "e" + "\u0301".repeat(10_000), "https://a.example https://b.example", "\ud800 alone"]) {
      expect(partsOf(text).map((part) => part.text).join("")).toBe(text);
    }
  });

  test("end in as many brackets as somebody likes", () => {
    // With time that grows with the square of it, this would not end while anybody waits.
    const brackets = ")".repeat(4_000_000);
    expect(partsOf(`https://a.example/${brackets}a`)).toEqual([{ text: `https://a.example/${brackets}a`, href: `https://a.example/${brackets}a` }]);
    expect(partsOf(`https://a.example/${brackets}`).map((part) => part.href)).toEqual(["https://a.example/", null]);
  });

  test("show the address that a link leads to: nothing in it turns the direction", () => {
    for (const mark of ["\u202a", "\u202d", "\u202e", "\u2066", "\u2067", "\u2069"]) {
      const parts = partsOf(`https://a.example/${mark}moc.elpmaxe.b//:sptth`);
      expect(parts.find((part) => part.href !== null)?.href).toBe("https://a.example/");
      expect(parts.every((part) => part.href === null || !part.text.includes(mark))).toBe(true);
    }
  });

  test("that are too long are told by how much, in bytes", () => {
    expect(bytesOver("a".repeat(TEXT_BYTES_MAX))).toBe(0);
    expect(bytesOver("a".repeat(TEXT_BYTES_MAX + 1))).toBe(1);
    expect(bytesOver("ש".repeat(TEXT_BYTES_MAX / 2 + 3))).toBe(6);
    expect(bytesOver("w".repeat(1 << 20))).toBe((1 << 20) - TEXT_BYTES_MAX);
    expect(bytesOver("w".repeat(1 << 22))).toBeGreaterThan(0);
  });
});

describe("names", () => {
  test("have initials, also those that are hard to write small", () => {
    expect(initialsOf("Tea and biscuits")).toBe("TA");
    expect(initialsOf("ada")).toBe("A");
    expect(initialsOf("مجموعة القراءة")).toBe("ما");
    expect([...initialsOf("z" + "\u0301".repeat(10_000))].length).toBeLessThanOrEqual(3);
    expect(initialsOf("")).toBe("");
    expect(initialsOf("...")).toBe("");
  });

  test("may be written with their sign", () => {
    expect(plainName("  @ben ")).toBe("ben");
  });

  test("of pictures are addresses over TLS", () => {
    expect(isPicture("https://a.example/p.png")).toBe(true);
    for (const address of ["http://a.example/p.png", "https://", "javascript:1", `https://a.example/${"x".repeat(2_100)}`]) {
      expect(isPicture(address), address).toBe(false);
    }
  });
});

describe("languages", () => {
  test("are taken from what the browser prefers, else English", () => {
    expect(preferredLanguage(["de", "ar-EG", "en"])).toBe("ar");
    expect(preferredLanguage(["en-GB", "ar"])).toBe("en");
    expect(preferredLanguage(["de"])).toBe("en");
  });

  test("have the same entries, and every one says something", () => {
    const entries = (of: object, path = ""): string[] =>
      Object.entries(of).flatMap(([key, value]) =>
        typeof value === "object" && value !== null ? entries(value as object, `${path}${key}.`) : [`${path}${key}`],
      );
    const optional = "refusals.";
    const known = (texts: object) => entries(texts).filter((entry) => !entry.startsWith(optional)).sort();
    expect(known(ar)).toEqual(known(en));
    for (const label of Object.keys(en.refusals)) expect(ar.refusals[label], label).toBeTruthy();
  });

  test("count as they count", () => {
    expect([1, 2].map((count) => en.chat.members(count))).toEqual(["1 member", "2 members"]);
    expect(new Set([0, 1, 2, 5, 11, 100].map((count) => ar.chat.members(count))).size).toBe(6);
    expect(ar.chat.members(2)).toBe("عضوان");
  });

  test("say refusals in their own words, and unknown ones as they came", () => {
    const refusal = { code: 2203, label: "forbidden", text: "no", retryAfterMs: 0 };
    expect(makeLocale("en", en).refusal(refusal)).toBe(en.refusals["forbidden"]);
    expect(makeLocale("ar", ar).refusal(refusal)).toBe(ar.refusals["forbidden"]);
    expect(makeLocale("en", en).refusal({ ...refusal, label: "code_9999" })).toBe("no");
  });
});
