/** Identifiers in text and bytes (`SPEC.md`, section 2). */

import type { ChatId, DeviceId, UserId } from "../ids.js";

const digits = "0123456789abcdefghjkmnpqrstvwxyz";
const first = {
  user: [0x11],
  device: [0x21],
  chat: [0x31, 0x41],
  session: [0x51],
  entity: [0x11, 0x31, 0x41],
} as const;

/** What an identifier may be expected to name. */
export type IdKind = keyof typeof first;

export function idText(bytes: Uint8Array): string {
  let text = "";
  let held = 0;
  // Two zero bits come before the 128.
  let bits = 2;
  for (const byte of bytes) {
    held = (held << 8) | byte;
    bits += 8;
    while (bits >= 5) {
      bits -= 5;
      text += digits.charAt((held >> bits) & 31);
    }
    held &= (1 << bits) - 1;
  }
  return text;
}

/** The bytes of an identifier in text, or `null` for any other text. */
export function idBytes(text: string): Uint8Array | null {
  if (text.length !== 26) return null;
  const bytes = new Uint8Array(16);
  let held = 0;
  let bits = -2;
  let at = 0;
  for (const character of text) {
    const digit = digits.indexOf(character);
    // The two bits before the identifier are zeros.
    if (digit < 0 || (bits === -2 && digit > 7)) return null;
    held = (held << 5) | digit;
    bits += 5;
    if (bits >= 8) {
      bits -= 8;
      bytes[at++] = (held >> bits) & 255;
      held &= (1 << bits) - 1;
    }
  }
  return bytes;
}

/** Whether these are the bytes of an identifier that may stand where `kind` is expected. */
export function isIdOf(kind: IdKind, bytes: Uint8Array): boolean {
  return (first[kind] as readonly (number | undefined)[]).includes(bytes[0]);
}

function isText(kind: IdKind, text: string): boolean {
  const bytes = idBytes(text);
  return bytes !== null && isIdOf(kind, bytes);
}

/** A user's identifier in a text from elsewhere (a URL, a form), or `null` if it is none. */
export const userIdFrom = (text: string): UserId | null => (isText("user", text) ? (text as UserId) : null);
/** A chat's, likewise. */
export const chatIdFrom = (text: string): ChatId | null => (isText("chat", text) ? (text as ChatId) : null);

/** A device that nobody else is. */
export function newDeviceId(): DeviceId {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[0] = 0x21;
  return idText(bytes) as DeviceId;
}
