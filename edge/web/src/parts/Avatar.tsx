/**
 * Somebody's picture, or the first letters of the name on a colour of their own. A picture that the server keeps is always
 * shown. One elsewhere is asked for only if the reader wants that: its address, which somebody else chose, learns who looks
 * and when.
 */

import { useState } from "react";
import { serverUrl } from "../shell/server";
import { useSetting } from "../shell/settings";
import { useAppSelector } from "../state/store";

/** Hues that look well with white letters on them, in both themes. */
const HUES = 12;

function hueOf(seed: string): number {
  let hash = 0;
  for (const character of seed) hash = (hash * 31 + (character.codePointAt(0) ?? 0)) >>> 0;
  return hash % HUES;
}

const graphemes = new Intl.Segmenter(undefined, { granularity: "grapheme" });

/** The first letters of the first two words; a letter with a hundred marks on it stays one without most of them. */
export function initialsOf(name: string): string {
  const words = name.split(/[\s._-]+/u).filter((word) => word !== "");
  const letters = words.slice(0, 2).map((word) => {
    const [first] = graphemes.segment(word.slice(0, 32));
    return first ? [...first.segment].slice(0, 3).join("") : "";
  });
  return letters.join("").toLocaleUpperCase();
}

/** The path of a picture that the server keeps: one that can lead to no other server. */
const keptPath = /^\/pictures\/[0-9a-z]+\/[0-9a-f]+\.[a-z]+$/;

export const isKeptPicture = (picture: string): boolean => keptPath.test(picture);

/**
 * Where a picture is, if it may be asked for: what the server keeps comes from where the page talks to; an address elsewhere
 * only over TLS and if it is wanted.
 */
export function pictureUrl(picture: string, server: string, isElsewhereWanted: boolean): string | null {
  if (isKeptPicture(picture)) return new URL(picture, server).href;
  return isElsewhereWanted && picture.startsWith("https:") ? picture : null;
}

export interface AvatarProps {
  readonly name: string;
  /** What the colour follows: an ID, so that it stays when the name changes. */
  readonly seed: string;
  /** A path of a picture that the server keeps, or an address elsewhere. */
  readonly picture?: string | null;
  readonly size?: "small" | "medium" | "large";
  /** One's own picture is shown in any case: its address is no stranger's. */
  readonly isOwn?: boolean;
}

export function Avatar({ name, seed, picture = null, size = "medium", isOwn = false }: AvatarProps) {
  const [wanted] = useSetting("pictures");
  const [broken, setBroken] = useState<string | null>(null);
  const place = useAppSelector((state) => state.link.place);
  const url = picture === null ? null : pictureUrl(picture, place ?? serverUrl(), isOwn || wanted === "on");
  return (
    <span className={`avatar avatar-${size} hue-${String(hueOf(seed))}`} aria-hidden="true">
      {url !== null && url !== broken ? (
        <img src={url} alt="" loading="lazy" decoding="async" referrerPolicy="no-referrer" onError={() => setBroken(url)} />
      ) : (
        <span>{initialsOf(name)}</span>
      )}
    </span>
  );
}
