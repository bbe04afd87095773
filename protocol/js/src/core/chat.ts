/** One chat as this client knows it: what an admission, an event or an answer makes of it. Without I/O. */

import type { ChatEvent, ChatSummary, Refusal } from "../api.js";
import type { Admission, FrameBody } from "../codec/frames.js";
import type { ChatId, UserId } from "../ids.js";
import type { ChatRow, StoredCursor } from "../storage/store.js";
import { plain, roleName } from "./events.js";

/** Unread messages that are counted one by one; older ones are counted as events. */
const unreadSeqsMax = 1_000;
/** A client that missed more events than this takes up live, and leaves a hole that pages fill when somebody looks. */
export const catchUpEventsMax = 2_000;

export const sameBytes = (one: Uint8Array, other: Uint8Array): boolean =>
  one.length === other.length && one.every((byte, at) => byte === other[at]);

/** A chat that nothing is known of but its ID. */
export function newRow(id: ChatId, joined: number, read: number): ChatRow {
  return {
    id,
    joined,
    read,
    head: 0,
    visibleFrom: 1,
    info: null,
    infoSeq: 0,
    peer: null,
    cursor: null,
    proof: new Uint8Array(),
    seenFrom: 0,
    unreadSeqs: [],
    last: null,
  };
}

/** What an admission changes for who shows the chat. */
export type Admitted = "goesOn" | "hole" | "reset" | "tooFar";

export class Chat {
  following: ChatSummary["following"] = "paused";
  refusal: Refusal | null = null;
  /** `row.last`, read. */
  last: ChatEvent | null = null;
  /** Events are not taken before the next admission: something is missing, or too much would come. */
  awaiting = false;
  /** The head at the last admission: up to here it is catching up. */
  target = 0;

  constructor(readonly row: ChatRow) {}

  admit(admission: Admission): Admitted {
    const { row } = this;
    const from = plain(admission.from);
    const head = plain(admission.head);
    const had = row.cursor;
    if (admission.start === 0 && head - from >= catchUpEventsMax) return "tooFar";
    this.following = "live";
    this.refusal = null;
    this.awaiting = false;
    this.target = head;
    row.proof = admission.proof;
    row.visibleFrom = plain(admission.visibleFrom);
    row.head = Math.max(admission.start === 2 ? 0 : row.head, head, from - 1);
    row.cursor = { incarnation: admission.incarnation, seq: from - 1 };
    if (row.info) row.info = { ...row.info, role: roleName(admission.role) };
    if (admission.start === 0) return "goesOn";
    row.seenFrom = from;
    row.unreadSeqs = [];
    if (admission.start === 2) {
      row.last = null;
      this.last = null;
      row.read = Math.min(row.read, head);
      return "reset";
    }
    return had === null ? "goesOn" : "hole";
  }

  /** Where the next Sync begins. */
  get cursor(): StoredCursor | null {
    return this.row.cursor;
  }

  /** `isNext` events only: moves the cursor and keeps the summary true. */
  take(event: ChatEvent, bytes: Uint8Array, me: UserId): void {
    const { row } = this;
    if (row.cursor !== null) row.cursor = { ...row.cursor, seq: event.seq };
    row.head = Math.max(row.head, event.seq);
    if (event.seq > row.infoSeq) this.#learn(event, me);
    if (event.kind === "messageSent" && event.actor !== me && event.seq > row.read) {
      row.unreadSeqs.push(event.seq);
      this.boundUnread();
    }
    this.show(event, bytes);
  }

  /** Whether this moved anything. */
  markRead(read: number): boolean {
    const { row } = this;
    if (read <= row.read) return false;
    row.read = read;
    row.unreadSeqs = row.unreadSeqs.filter((seq) => seq > read);
    return true;
  }

  summary(): ChatSummary {
    const { row, following, refusal, last } = this;
    const { id, info, peer, joined, read, head, visibleFrom } = row;
    const base = Math.max(read, joined, visibleFrom - 1);
    const unseen = Math.max(0, (row.seenFrom === 0 ? head : row.seenFrom - 1) - base);
    const unread = row.unreadSeqs.length + unseen;
    return {
      id,
      info,
      peer,
      joined,
      read,
      head,
      visibleFrom,
      unread,
      unreadExact: unseen === 0,
      last,
      following,
      refusal,
    };
  }

  #learn(event: ChatEvent, me: UserId): void {
    const { row } = this;
    if (row.info === null) return;
    row.infoSeq = event.seq;
    if (event.kind === "chatRenamed") row.info = { ...row.info, name: event.name };
    else if (event.kind === "memberAdded") row.info = { ...row.info, members: row.info.members + 1 };
    else if (event.kind === "memberRemoved") row.info = { ...row.info, members: row.info.members - 1 };
    else if (event.kind === "roleChanged" && event.member === me) row.info = { ...row.info, role: event.role };
  }

  /** The newest message is shown, or the newest event where there is no message. */
  show(event: ChatEvent, bytes: Uint8Array): void {
    const shown = this.last;
    const isMessage = event.kind === "messageSent";
    if (shown !== null && (isMessage === (shown.kind === "messageSent") ? event.seq <= shown.seq : !isMessage)) {
      // An erased message gives way: its body must not stay in the list.
      if (event.seq !== shown.seq) return;
    }
    this.last = event;
    this.row.last = bytes;
  }

  boundUnread(): void {
    const { row } = this;
    const excess = row.unreadSeqs.length - unreadSeqsMax;
    if (excess <= 0) return;
    row.seenFrom = (row.unreadSeqs[excess - 1] ?? 0) + 1;
    row.unreadSeqs = row.unreadSeqs.slice(excess);
  }
}

/** A subscription's entry in a Sync. `live`: without the cursor. */
export function syncEntry(chat: Chat, live: boolean): FrameBody<"sync">["chats"][number] {
  const { id, cursor, proof } = chat.row;
  return {
    chat: id,
    cursor: live || cursor === null ? null : { incarnation: cursor.incarnation, seq: BigInt(cursor.seq) },
    proof,
  };
}
