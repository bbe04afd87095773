/**
 * Shows only those of many rows that are near the screen, and keeps still what is looked at while rows around it are
 * loaded, measured, added and removed. Rows lie in one block in their natural flow; the block is moved to where its first
 * row belongs. Apart from React: a scroll that needs no other rows draws nothing.
 */

import { HeightIndex } from "./height_index";

/** How far beyond the screen rows are drawn. */
const OVERSCAN_PX = 700;
/** Nearer to the end than this counts as at the end: there the newest row stays in sight. */
const END_PX = 48;
/** Rows that are drawn at once at most, however low they are. */
const DRAWN_MAX = 160;

export interface Drawn {
  /** The rows that are drawn, both included; none if `to` is below `from`. */
  readonly from: number;
  readonly to: number;
  readonly isAtEnd: boolean;
}

/** What stays where it is: the end, or a row and how far below the upper edge it begins. */
type Anchor = { readonly kind: "end" } | { readonly kind: "row"; readonly row: number; readonly top: number };

export class VirtualRows {
  readonly #listeners = new Set<() => void>();
  #heights: HeightIndex;
  #anchor: Anchor;
  #drawn: Drawn;
  #elements: { scroller: HTMLElement; spacer: HTMLElement; block: HTMLElement } | null = null;
  #width = 0;
  #height = 0;
  /** Where the scroller was put last. */
  #placed = -1;

  constructor(estimate: number, count: number, start: { row: number; top: number } | "end") {
    this.#heights = new HeightIndex(estimate, count);
    this.#anchor = start === "end" ? { kind: "end" } : { kind: "row", ...start };
    const row = this.#anchor.kind === "end" ? count - 1 : this.#anchor.row;
    // A first guess, before anything is known of the screen.
    this.#drawn = { from: Math.max(0, row - 40), to: Math.min(count - 1, row + 20), isAtEnd: start === "end" };
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  readonly drawn = (): Drawn => this.#drawn;

  /** The scroller has the spacer, which is as high as all rows, and that the block with the rows that are drawn. */
  attach(scroller: HTMLElement, spacer: HTMLElement, block: HTMLElement): () => void {
    this.#elements = { scroller, spacer, block };
    this.#width = scroller.clientWidth;
    this.#height = scroller.clientHeight;
    scroller.addEventListener("scroll", this.#scrolled, { passive: true });
    const observer = new ResizeObserver(() => {
      if (scroller.clientWidth !== this.#width) {
        this.#width = scroller.clientWidth;
        this.#heights.forget();
      }
      if (scroller.clientHeight !== this.#height) {
        this.#height = scroller.clientHeight;
        this.#place();
      }
      this.measure();
    });
    observer.observe(scroller);
    observer.observe(block);
    this.#place();
    return () => {
      observer.disconnect();
      scroller.removeEventListener("scroll", this.#scrolled);
      this.#elements = null;
    };
  }

  /** Rows came or went at the end. */
  resize(count: number): void {
    if (count === this.#heights.count) return;
    if (this.#isEndInSight()) this.#anchor = { kind: "end" };
    this.#heights.resize(count);
    this.#place();
  }

  /** Other rows altogether. */
  replace(count: number, row: number, top: number): void {
    this.#heights = new HeightIndex(this.#heights.estimate, count);
    this.scrollTo(row, top);
  }

  /** Looks how high the drawn rows are; after each time that they were drawn. */
  measure(): void {
    if (!this.#elements) return;
    let isChanged = false;
    for (const element of this.#elements.block.children) {
      const row = Number((element as HTMLElement).dataset["row"]);
      if (Number.isInteger(row) && row < this.#heights.count) {
        isChanged = this.#heights.set(row, element.getBoundingClientRect().height) || isChanged;
      }
    }
    if (isChanged) this.#place();
    else this.#move();
  }

  /** Puts a row `top` pixels below the upper edge, as far as there is room. */
  scrollTo(row: number, top = 0): void {
    this.#anchor = { kind: "row", row: Math.max(0, Math.min(row, this.#heights.count - 1)), top };
    this.#place();
  }

  scrollToEnd(): void {
    this.#anchor = { kind: "end" };
    this.#place();
  }

  readonly #scrolled = (): void => {
    if (!this.#elements) return;
    const { scroller } = this.#elements;
    // The window has another size, and the observer, which puts back what is anchored, comes behind this.
    if (scroller.clientWidth !== this.#width || scroller.clientHeight !== this.#height) return;
    const top = scroller.scrollTop;
    // Nobody scrolled: it was put there, and what was anchored for that stays anchored while rows above it grow.
    if (Math.abs(top - this.#placed) < 1) {
      this.#draw();
      return;
    }
    this.#placed = -1;
    if (this.#isEndInSight()) {
      this.#anchor = { kind: "end" };
    } else {
      const row = this.#heights.rowAt(top);
      this.#anchor = { kind: "row", row, top: this.#heights.offset(row) - top };
    }
    this.#draw();
  };

  /** A row that is anchored may be so near to the end that all behind it is on the screen. */
  #isEndInSight(): boolean {
    if (!this.#elements) return this.#anchor.kind === "end";
    const { scroller } = this.#elements;
    return this.#heights.total - scroller.scrollTop - scroller.clientHeight < END_PX;
  }

  /** After heights or the anchor changed: what is anchored is where it was. */
  #place(): void {
    if (!this.#elements) return;
    const { scroller, spacer } = this.#elements;
    const { total } = this.#heights;
    spacer.style.height = `${String(total)}px`;
    const end = Math.max(0, total - scroller.clientHeight);
    const wanted =
      this.#anchor.kind === "end" ? end : Math.min(end, this.#heights.offset(this.#anchor.row) - this.#anchor.top);
    // Setting it ends a scroll that is under way, so only where something moved.
    if (Math.abs(scroller.scrollTop - wanted) >= 1) {
      scroller.scrollTop = wanted;
      this.#placed = scroller.scrollTop;
    }
    this.#draw();
    this.#move();
  }

  /** The block begins where its first row does. */
  #move(): void {
    if (!this.#elements) return;
    this.#elements.block.style.transform = `translateY(${String(this.#heights.offset(this.#drawn.from))}px)`;
  }

  /** Draws other rows if those that are drawn do not cover the screen with room to spare. */
  #draw(): void {
    if (!this.#elements) return;
    const { scroller } = this.#elements;
    const { count } = this.#heights;
    const top = scroller.scrollTop;
    const bottom = top + scroller.clientHeight;
    const rows = (spare: number) => ({ from: this.#heights.rowAt(top - spare), to: this.#heights.rowAt(bottom + spare) });
    const needed = rows(OVERSCAN_PX / 2);
    const isAtEnd = this.#isEndInSight();
    const { from, to } = this.#drawn;
    const isCovered = count > 0 && from <= needed.from && to >= needed.to && to < count && to - from < DRAWN_MAX;
    if (isCovered && isAtEnd === this.#drawn.isAtEnd) return;
    if (isCovered) {
      this.#drawn = { from, to, isAtEnd };
    } else if (count === 0) {
      this.#drawn = { from: 0, to: -1, isAtEnd };
    } else {
      const wide = rows(OVERSCAN_PX);
      this.#drawn = { from: wide.from, to: Math.min(wide.to, wide.from + DRAWN_MAX - 1), isAtEnd };
    }
    for (const listener of this.#listeners) listener();
  }
}
