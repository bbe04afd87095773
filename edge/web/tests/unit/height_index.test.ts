import { describe, expect, test } from "vitest";
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

  test("is quick with two hundred thousand rows", () => {
    const index = new HeightIndex(52, 200_000);
    const begun = performance.now();
    for (let row = 0; row < 100_000; row += 1) index.set(row * 2, 30 + (row % 90));
    for (let place = 0; place < index.total; place += 100) index.rowAt(place);
    expect(performance.now() - begun).toBeLessThan(1_000);
  });
});
