/** Events as applications see them, from their canonical bytes. */

import type { ChatEvent, ChatEventBody, ChatKind, Role } from "../api.js";
import { decodeEvent, eventName, type Event } from "../codec/events.js";
import { DecodeError, Reader } from "../codec/reader.js";
import type { DeviceId, OutboxId } from "../ids.js";

/** The names of roles: 1 reader, 2 member, 3 admin, 4 owner. */
export const roles: readonly Role[] = ["reader", "member", "admin", "owner"];
export const roleName = (role: 1 | 2 | 3 | 4): Role => roles[role - 1] ?? "reader";
export const chatKindName = (kind: 1 | 2): ChatKind => (kind === 2 ? "direct" : "group");

/**
 * A number of the wire as a plain one. Seqs and counters of a server that counts by one never come near 2^53; one that is
 * above it would be rounded to another, so it is no number that this client can follow.
 */
export function plain(number: bigint): number {
  if (number > Number.MAX_SAFE_INTEGER) throw new DecodeError("a value is outside of its range");
  return Number(number);
}

export const readEvent = (bytes: Uint8Array): Event => decodeEvent(new Reader(bytes));

/** `outboxOf` names the entry of the outbox that has this counter, for events of the own device. */
export function chatEvent(
  event: Event,
  outboxOf: (device: DeviceId, counter: number) => OutboxId | undefined,
): ChatEvent {
  const { actor, device } = event;
  const counter = plain(event.counter);
  const outbox = outboxOf(device, counter);
  const header = {
    seq: plain(event.seq),
    timeUs: plain(event.time),
    actor,
    device,
    counter,
    ...(outbox && { outbox }),
  };
  return { ...header, ...bodyOf(event) };
}

function bodyOf({ kind, target, body }: Event): ChatEventBody {
  // Without its target such an event says nothing.
  const member = target ?? undefined;
  switch (body.is) {
    case "chatCreated":
      return { kind: body.is, chatKind: chatKindName(body.kind), name: body.name };
    case "chatRenamed":
      return { kind: body.is, name: body.name };
    case "messageSent":
      return { kind: body.is, format: "plain", text: body.text };
    case "memberAdded":
      if (member) return { kind: body.is, member, role: roleName(body.role), visibleFrom: plain(body.visibleFrom) };
      break;
    case "memberRemoved":
      if (member) return { kind: body.is, member };
      break;
    case "roleChanged":
      if (member) return { kind: body.is, member, role: roleName(body.role) };
      break;
    case "erased":
      return { kind: "erased", of: eventName(kind) ?? "unknown" };
  }
  return { kind: "unknown", code: kind };
}
