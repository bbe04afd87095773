/** Writes values as bytes. What does not fit the spec's limits is a `RangeError`: callers check before, users cannot cause it. */

import { varintMax } from "./limits.js";

const utf8 = new TextEncoder();

/** The bytes of a text. Halves of surrogate pairs, which are no characters, become U+FFFD. */
export const utf8Bytes = (text: string): Uint8Array => utf8.encode(text);

export class Writer {
  #bytes: Uint8Array<ArrayBuffer> = new Uint8Array(256);
  #view = new DataView(this.#bytes.buffer);
  #at = 0;

  /** What was written so far: a copy. */
  finish(): Uint8Array<ArrayBuffer> {
    return this.#bytes.slice(0, this.#at);
  }

  u8(value: number): void {
    const at = this.#grow(1);
    this.#view.setUint8(at, value);
  }

  u16(value: number): void {
    const at = this.#grow(2);
    this.#view.setUint16(at, value);
  }

  u64(value: bigint): void {
    const at = this.#grow(8);
    this.#view.setBigUint64(at, value);
  }

  varint(value: bigint): void {
    if (value < 0n || value > varintMax) throw new RangeError("the number does not fit a varint");
    if (value < 1n << 6n) this.u8(Number(value));
    else if (value < 1n << 14n) this.u16(Number(value) | 0x4000);
    else if (value < 1n << 30n) {
      const at = this.#grow(4);
      this.#view.setUint32(at, Number(value) + 0x8000_0000);
    } else this.u64(value | (3n << 62n));
  }

  raw(bytes: Uint8Array): void {
    const at = this.#grow(bytes.length);
    this.#bytes.set(bytes, at);
  }

  /** Makes room and returns where it begins. Buffer and view may be others then. */
  #grow(length: number): number {
    const at = this.#at;
    this.#at += length;
    if (this.#at > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(this.#at, 2 * this.#bytes.length));
      larger.set(this.#bytes);
      this.#bytes = larger;
      this.#view = new DataView(larger.buffer);
    }
    return at;
  }
}
