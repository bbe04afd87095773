/**
 * All chats, the one with the newest event first, in pieces: a chat that moves copies the piece that it leaves, the one that
 * it comes into, and the list of pieces. The same object if nothing moved, so that the list is not drawn anew.
 */

import type { ChatId, ChatSummary } from "@panda/client";
import { chatIn, type ChatTable } from "./chat_table";

/** Chats in a piece; one more makes two of it. */
export const PIECE_CHATS_MAX = 128;
/** Of so many chats that change at once, laying all of them out anew costs less than moving each. */
const MANY = 64;

type Piece = readonly ChatId[];

const activity = (summary: ChatSummary | undefined): number => summary?.last?.timeUs ?? 0;

/** Whether a chat stands before another one, as these summaries say. None stands before nothing. */
function isBefore(chats: ChatTable, a: ChatId | undefined, b: ChatId): boolean {
  if (a === undefined) return false;
  const [atA, atB] = [activity(chatIn(chats, a)), activity(chatIn(chats, b))];
  return atA > atB || (atA === atB && a < b);
}

export class ChatOrder {
  readonly pieces: readonly Piece[];
  readonly length: number;

  constructor(pieces: readonly Piece[]) {
    this.pieces = pieces;
    this.length = pieces.reduce((sum, piece) => sum + piece.length, 0);
  }

  *[Symbol.iterator](): Iterator<ChatId> {
    for (const piece of this.pieces) yield* piece;
  }

  /** As of an array; looks at no chat that is not asked for. */
  slice(from: number, to: number): ChatId[] {
    const found: ChatId[] = [];
    let begin = 0;
    for (const piece of this.pieces) {
      if (begin >= to) break;
      if (begin + piece.length > from) found.push(...piece.slice(Math.max(0, from - begin), to - begin));
      begin += piece.length;
    }
    return found;
  }

  /**
   * With what changed: `before` is what the order was made by, `after` what it is to be now, and `moved` has every chat that
   * is new, gone, or may stand elsewhere.
   */
  with(before: ChatTable, after: ChatTable, moved: readonly ChatId[]): ChatOrder {
    const stays = (id: ChatId) => {
      const place = this.#placeOf(before, id);
      return place !== null && this.#mayStay(after, id, place);
    };
    if (moved.every(stays)) return this;
    if (moved.length > MANY && moved.length > this.length / MANY) return laidOut(after, new Set([...this, ...moved]));
    const pieces = [...this.pieces];
    for (const id of moved) {
      const place = placeIn(pieces, before, id);
      const piece = pieces[place.piece];
      if (piece?.[place.at] === id) pieces.splice(place.piece, 1, ...parted(piece.toSpliced(place.at, 1)));
    }
    for (const id of moved) {
      if (chatIn(after, id) === undefined) continue;
      const place = placeIn(pieces, after, id);
      const piece = pieces[place.piece] ?? [];
      if (piece[place.at] !== id) pieces.splice(place.piece, 1, ...parted(piece.toSpliced(place.at, 0, id)));
    }
    return new ChatOrder(pieces);
  }

  #placeOf(before: ChatTable, id: ChatId): Place | null {
    const place = placeIn(this.pieces, before, id);
    return this.pieces[place.piece]?.[place.at] === id ? place : null;
  }

  /** Whether a chat still stands between its neighbours. Where that is so of all that changed, nothing moved. */
  #mayStay(after: ChatTable, id: ChatId, { piece, at }: Place): boolean {
    if (chatIn(after, id) === undefined) return false;
    const own = this.pieces[piece];
    const above = own?.[at - 1] ?? this.pieces[piece - 1]?.at(-1);
    const below = own?.[at + 1] ?? this.pieces[piece + 1]?.[0];
    return (above === undefined || isBefore(after, above, id)) && (below === undefined || isBefore(after, id, below));
  }
}

interface Place {
  readonly piece: number;
  readonly at: number;
}

/** The first place whose chat does not stand before this one. */
function placeIn(pieces: readonly Piece[], chats: ChatTable, id: ChatId): Place {
  const piece = firstOf(pieces.length, (one) => !isBefore(chats, pieces[one]?.at(-1), id));
  // Behind all of them it stands at the end of the last piece.
  const inside = Math.min(piece, Math.max(0, pieces.length - 1));
  const ids = pieces[inside] ?? [];
  return { piece: inside, at: firstOf(ids.length, (one) => !isBefore(chats, ids[one], id)) };
}

/** The first of so many for which it holds, and behind it for all; their number if for none. */
function firstOf(count: number, holds: (at: number) => boolean): number {
  let [low, high] = [0, count];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (holds(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}

function parted(piece: Piece): readonly Piece[] {
  if (piece.length === 0) return [];
  if (piece.length <= PIECE_CHATS_MAX) return [piece];
  const half = piece.length >>> 1;
  return [piece.slice(0, half), piece.slice(half)];
}

function laidOut(chats: ChatTable, ids: ReadonlySet<ChatId>): ChatOrder {
  const sorted = [...ids].filter((id) => chatIn(chats, id) !== undefined).sort((a, b) => (isBefore(chats, a, b) ? -1 : 1));
  const pieces: Piece[] = [];
  for (let at = 0; at < sorted.length; at += PIECE_CHATS_MAX / 2) pieces.push(sorted.slice(at, at + PIECE_CHATS_MAX / 2));
  return new ChatOrder(pieces);
}

export const noOrder = new ChatOrder([]);
