import { describe, expect, test, vi } from "vitest";
import { HeightIndex } from "../../src/parts/height_index";

/** A sequence that looks random and is the same in every run. */
function numbers(seed: number): () => number {
  let state = seed;
  return () => (state = (state * 1_103_515_245 + 12_345) % 2_147_483_648) / 2_147_483_648;
}

describe("an index of heights", () => {
  test("agrees with adding up, whatever is measured, appended and taken away", () => {
    const random = numbers(7);
    const index = new HeightIndex(50, 0);
    let heights: number[] = [];
    for (let round = 0; round < 400; round += 1) {
      if (random() < 0.2) {
        const count = Math.floor(random() * 300);
        index.resize(count);
        heights = Array.from({ length: count }, (_, row) => heights[row] ?? 50);
      } else if (heights.length > 0) {
        const row = Math.floor(random() * heights.length);
        heights[row] = Math.floor(random() * 400);
        index.set(row, heights[row] ?? 0);
      }
      const offsets = [0];
      for (const height of heights) offsets.push((offsets.at(-1) ?? 0) + height);
      const total = offsets.at(-1) ?? 0;
      expect(index.total).toBeCloseTo(total, 1);
      for (let look = 0; look < 10 && heights.length > 0; look += 1) {
        const row = Math.floor(random() * (heights.length + 1));
        expect(index.offset(row)).toBeCloseTo(offsets[row] ?? 0, 1);
        const place = random() * total;
        const at = index.rowAt(place);
        expect(offsets[at] ?? 0).toBeLessThanOrEqual(place + 0.5);
        expect(offsets[at + 1] ?? 0).toBeGreaterThanOrEqual(place - 0.5);
      }
    }
  });

  test("answers beyond its ends with the first and the last row", () => {
    const index = new HeightIndex(10, 5);
    expect([index.rowAt(-100), index.rowAt(0), index.rowAt(49), index.rowAt(50), index.rowAt(1e9)]).toEqual([0, 0, 4, 4, 4]);
    expect(new HeightIndex(10, 0).rowAt(5)).toBe(0);
  });

  test("tells whether a height changed, and forgets them", () => {
    const index = new HeightIndex(10, 5);
    expect([index.set(2, 30), index.set(2, 30), index.set(2, 10)]).toEqual([true, false, true]);
    index.set(0, 100);
    index.forget();
    expect([index.total, index.offset(5), index.offset(1)]).toEqual([50, 50, 10]);
  });

  test("takes a few dozen steps for what it is asked, with two hundred thousand rows", () => {
    let steps = 0;
    /** An array of which every look at a place, and every change of one, is a step. */
    const counted = (Kind: typeof Float32Array | typeof Float64Array) =>
      function (length: number) {
        return new Proxy(new Kind(length), {
          get(array, key) {
            if (typeof key === "string" && /^\d/u.test(key)) steps += 1;
            const value: unknown = Reflect.get(array, key);
            return typeof value === "function" ? (value.bind(array) as unknown) : value;
          },
          set(array, key, value) {
            steps += 1;
            return Reflect.set(array, key, value);
          },
        });
      };
    vi.stubGlobal("Float32Array", counted(Float32Array));
    vi.stubGlobal("Float64Array", counted(Float64Array));
    const index = new HeightIndex(52, 200_000);
    vi.unstubAllGlobals();
    const most = { set: 0, rowAt: 0, offset: 0 };
    const random = numbers(11);
    for (let round = 0; round < 1_000; round += 1) {
      const row = Math.floor(random() * 200_000);
      for (const [name, act] of Object.entries({
        set: () => index.set(row, 30 + round),
        rowAt: () => index.rowAt(row * 52),
        offset: () => index.offset(row),
      })) {
        steps = 0;
        act();
        most[name as keyof typeof most] = Math.max(most[name as keyof typeof most], steps);
      }
    }
    for (const [name, count] of Object.entries(most)) expect(count, name).toBeGreaterThan(0);
    for (const [name, count] of Object.entries(most)) expect(count, name).toBeLessThanOrEqual(40);
  });
});
