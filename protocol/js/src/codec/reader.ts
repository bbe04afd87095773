/** Reads values from bytes of a peer. Whatever they say, it ends, and allocates no more than what arrived. */

import { frameTooLarge, invalidRequest, malformed, tooLarge, unknownFrame } from "./codes.js";

/** Why bytes are not what the spec says. */
export type DecodeReason =
  | "the bytes end inside a value"
  | "a number is not in its shortest form"
  | "a length or count is above its limit"
  | "a value is outside of its range"
  | "text is not UTF-8"
  | "an identifier is of another kind"
  | "unknown version"
  | "unknown frame type";

export class DecodeError extends Error {
  override readonly name = "DecodeError";
  constructor(
    readonly reason: DecodeReason,
    /** The code with which the receiver of such bytes answers. */
    readonly code:
      | typeof malformed
      | typeof frameTooLarge
      | typeof unknownFrame
      | typeof invalidRequest
      | typeof tooLarge = malformed,
  ) {
    super(reason);
  }
}

// A byte order mark is a part of the text: it goes back byte for byte.
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export class Reader {
  #at = 0;
  readonly #view: DataView;

  constructor(readonly bytes: Uint8Array) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get left(): number {
    return this.bytes.length - this.#at;
  }

  /** The next `length` bytes, not copied. */
  take(length: number): Uint8Array {
    return this.bytes.subarray(this.#skip(length), this.#at);
  }

  u8(): number {
    return this.#view.getUint8(this.#skip(1));
  }

  u16(): number {
    return this.#view.getUint16(this.#skip(2));
  }

  u64(): bigint {
    return this.#view.getBigUint64(this.#skip(8));
  }

  varint(): bigint {
    const at = this.#skip(1);
    const first = this.#view.getUint8(at);
    const length = 1 << (first >> 6);
    this.#skip(length - 1);
    let value: bigint;
    let least: bigint;
    switch (length) {
      case 1:
        return BigInt(first);
      case 2:
        value = BigInt(this.#view.getUint16(at) & 0x3fff);
        least = 1n << 6n;
        break;
      case 4:
        value = BigInt(this.#view.getUint32(at) & 0x3fff_ffff);
        least = 1n << 14n;
        break;
      default:
        value = this.#view.getBigUint64(at) & ((1n << 62n) - 1n);
        least = 1n << 30n;
    }
    if (value < least) throw new DecodeError("a number is not in its shortest form");
    return value;
  }

  /** A length or count that is at most `max`. */
  count(max: number): number {
    const count = this.varint();
    if (count > max) throw new DecodeError("a length or count is above its limit");
    return Number(count);
  }

  text(length: number): string {
    const bytes = this.take(length);
    try {
      return utf8.decode(bytes);
    } catch {
      throw new DecodeError("text is not UTF-8");
    }
  }

  /** Goes on by `length` bytes and returns where they begin. */
  #skip(length: number): number {
    const at = this.#at;
    if (length > this.bytes.length - at) throw new DecodeError("the bytes end inside a value");
    this.#at = at + length;
    return at;
  }
}
