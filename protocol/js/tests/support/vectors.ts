/** The vectors that Rust runs, too, and decoded values in their form: what `fields` of a vector says. */

import commands from "../../../vectors/commands.json" with { type: "json" };
import events from "../../../vectors/events.json" with { type: "json" };
import frames from "../../../vectors/frames.json" with { type: "json" };
import grown from "../../../vectors/grown.json" with { type: "json" };
import identifiers from "../../../vectors/identifiers.json" with { type: "json" };
import malformed from "../../../vectors/malformed.json" with { type: "json" };
import malformedEvents from "../../../vectors/malformed_events.json" with { type: "json" };
import traces from "../../../vectors/traces.json" with { type: "json" };

export { commands, events, frames, grown, identifiers, malformed, malformedEvents, traces };

export const fromHex = (hex: string): Uint8Array =>
  Uint8Array.from({ length: hex.length / 2 }, (_, at) => parseInt(hex.slice(2 * at, 2 * at + 2), 16));

export const toHex = (bytes: Uint8Array): string =>
  [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");

const snake = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/** A decoded value as vectors write it: big numbers in decimal, bytes in hex, names with underscores. */
export function inVectorForm(value: unknown): unknown {
  if (typeof value === "bigint") return value.toString();
  if (value instanceof Uint8Array) return toHex(value);
  if (Array.isArray(value)) return value.map(inVectorForm);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, of]) => [snake(name), inVectorForm(of)]));
}

/** Numbers from 0 to below 1 that a seed determines (xorshift32). */
export function seeded(seed: number): () => number {
  let state = seed | 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}
