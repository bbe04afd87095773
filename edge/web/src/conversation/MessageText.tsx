/** A message's text as it was typed: nothing in it is markup. Addresses of the web can be followed. */

import { memo } from "react";

/** Without the marks that turn the direction of what follows: they would show another address than the one that is followed. */
const address = /https?:\/\/[^\s<>"'`{}|\\^\u202a-\u202e\u2066-\u2069]+/gu;
/** Behind an address this is a sentence's, not the address'. */
const trailing = ".,;:!?)]»”’";
/** Addresses of one message that become links. */
const LINKS_MAX = 100;

interface Part {
  readonly text: string;
  readonly href: string | null;
}

/** From the end, character by character: a pattern would begin anew at each of thousands of brackets in the middle. */
function withoutTrailing(found: string): string {
  let end = found.length;
  while (end > 0 && trailing.includes(found.charAt(end - 1))) end -= 1;
  return found.slice(0, end);
}

export function partsOf(text: string): Part[] {
  const parts: Part[] = [];
  let at = 0;
  for (const match of text.matchAll(address)) {
    const found = withoutTrailing(match[0]);
    if (parts.length >= 2 * LINKS_MAX || !URL.canParse(found)) continue;
    if (match.index > at) parts.push({ text: text.slice(at, match.index), href: null });
    parts.push({ text: found, href: found });
    at = match.index + found.length;
  }
  if (at < text.length) parts.push({ text: text.slice(at), href: null });
  return parts;
}

export const MessageText = memo(function MessageText({ text }: { text: string }) {
  return (
    <p className="message-text" dir="auto">
      {partsOf(text).map(({ text: part, href }, at) =>
        href === null ? (
          part
        ) : (
          <a key={at} href={href} target="_blank" rel="noopener noreferrer nofollow">
            <bdi>{part}</bdi>
          </a>
        ),
      )}
    </p>
  );
});
