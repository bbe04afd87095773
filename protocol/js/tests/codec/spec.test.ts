/** The tables of `SPEC.md` are those of this package. In Node: a browser has no files. */

import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { codeNames, frameTypes, limits } from "../../src/codec/index.js";

const spec = readFileSync(new URL("../../../SPEC.md", import.meta.url), "utf8");
const rows = spec.split("\n").flatMap((line) =>
  line.startsWith("| ")
    ? [
        line
          .split("|")
          .slice(1, -1)
          .map((cell) => cell.trim()),
      ]
    : [],
);

describe("SPEC.md", () => {
  it("has the codes and names of this package", () => {
    const table = rows.flatMap(([code, name]) =>
      /^\d{4}$/.test(code ?? "") ? [[Number(code), name?.replaceAll("`", "")]] : [],
    );
    expect(table.length).toBeGreaterThan(30);
    expect(Object.fromEntries(table)).toEqual(codeNames);
  });

  it("has the frames of this package", () => {
    const table = rows.flatMap(([type, name, from]) =>
      /^0x..$/.test(type ?? "") && ["client", "server", "both"].includes(from ?? "")
        ? [[name?.toLowerCase(), Number(type)]]
        : [],
    );
    expect(table.length).toBeGreaterThan(25);
    expect(Object.fromEntries(table)).toEqual(
      Object.fromEntries(Object.entries(frameTypes).map(([name, type]) => [name.toLowerCase(), type])),
    );
  });

  it("has the limits of this package", () => {
    const table = new Map(
      rows.flatMap(([name, limit]) =>
        /^`\w+`$/.test(name ?? "") ? [[name?.replaceAll("`", ""), limit?.replaceAll(",", "")]] : [],
      ),
    );
    const snake = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
    for (const [name, value] of Object.entries(limits)) {
      // The count of kinds in a Welcome is in the field's own row only.
      if (name === "welcomeLimitsMax") expect(spec).toContain(`\`list(${String(value)}) of (u8, varint)\``);
      else expect([name, table.get(snake(name))]).toEqual([name, String(value)]);
    }
  });
});
