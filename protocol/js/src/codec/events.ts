/** Canonical event bytes (`EVENTS.md`). */

import { chatNameBytesMax, eventBytesMax, settingKeyBytesMax, settingValueBytesMax, textBytesMax } from "./limits.js";
import {
  bool,
  bytes,
  chat,
  device,
  oneOf,
  opaque,
  record,
  role,
  text,
  time,
  user,
  varint,
  type Field,
  type ValueOf,
} from "./fields.js";
import { DecodeError, Reader } from "./reader.js";
import { Writer } from "./writer.js";
import type { UserId } from "../ids.js";

const eventBodies = {
  /** 1 group, 2 direct. */
  chatCreated: record({ kind: oneOf(1, 2), name: text(chatNameBytesMax) }),
  memberAdded: record({ role, visibleFrom: varint }),
  memberRemoved: record({}),
  roleChanged: record({ role }),
  chatRenamed: record({ name: text(chatNameBytesMax) }),
  messageSent: record({ format: oneOf(0), text: text(textBytesMax) }),
  chatJoined: record({ chat, source: varint, role, visibleFrom: varint }),
  chatLeft: record({ chat, source: varint }),
  readMoved: record({ chat, read: varint }),
  settingChanged: record({ new: bool, key: text(settingKeyBytesMax), value: bytes(settingValueBytesMax) }),
};

export type EventName = keyof typeof eventBodies;
export type EventBody =
  | { [K in EventName]: { readonly is: K } & ValueOf<(typeof eventBodies)[K]> }[EventName]
  | { readonly is: "erased" }
  | { readonly is: "unknown"; readonly bytes: Uint8Array };

const kinds: Readonly<Record<EventName, number>> = {
  chatCreated: 0x01,
  memberAdded: 0x02,
  memberRemoved: 0x03,
  roleChanged: 0x04,
  chatRenamed: 0x05,
  messageSent: 0x06,
  chatJoined: 0x40,
  chatLeft: 0x41,
  readMoved: 0x42,
  settingChanged: 0x43,
};
const names = new Map((Object.entries(kinds) as [EventName, number][]).map(([name, kind]) => [kind, name]));

/** The name of a kind, `null` for one that this version does not know. */
export const eventName = (kind: number): EventName | null => names.get(kind) ?? null;

const head = record({ seq: varint, time, actor: user, device, counter: varint, digest: opaque(8) });
const body = bytes(eventBytesMax);

export type Event = ValueOf<typeof head> & {
  readonly kind: number;
  readonly target: UserId | null;
  readonly body: EventBody;
};

const version = 1;
const hasTarget = 1;
const isErased = 2;

const bodyOf = (name: EventName): Field<object> => eventBodies[name] as unknown as Field<object>;

export function decodeEvent(from: Reader): Event {
  if (from.u8() !== version) throw new DecodeError("unknown version");
  const kind = from.u8();
  const flags = from.u8();
  if (flags > (hasTarget | isErased)) throw new DecodeError("a value is outside of its range");
  const fields = head.read(from);
  const target = (flags & hasTarget) === 0 ? null : user.read(from);
  const content = body.read(from);
  return { kind, ...fields, target, body: (flags & isErased) !== 0 ? { is: "erased" } : readBody(kind, content) };
}

function readBody(kind: number, content: Uint8Array): EventBody {
  const name = eventName(kind);
  if (name === null) return { is: "unknown", bytes: content };
  return { is: name, ...bodyOf(name).read(new Reader(content)) } as EventBody;
}

/** The canonical bytes. Routers write them; here they make histories for tests. */
export function encodeEvent(event: Event): Uint8Array {
  const to = new Writer();
  to.u8(version);
  to.u8(event.kind);
  to.u8((event.target === null ? 0 : hasTarget) | (event.body.is === "erased" ? isErased : 0));
  head.write(to, event);
  if (event.target !== null) user.write(to, event.target);
  const content = new Writer();
  if (event.body.is === "unknown") content.raw(event.body.bytes);
  else if (event.body.is !== "erased") bodyOf(event.body.is).write(content, event.body);
  body.write(to, content.finish());
  return to.finish();
}
