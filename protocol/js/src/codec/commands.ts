/** What commands say (`SPEC.md`, section 8): a kind, a body by kind, and perhaps a trace context behind it. */

import {
  chatNameBytesMax,
  commandMembersMax,
  settingKeyBytesMax,
  settingValueBytesMax,
  textBytesMax,
} from "./limits.js";
import {
  bool,
  bytes,
  chat,
  list,
  oneOf,
  opaque,
  record,
  role,
  text,
  u8,
  user,
  varint,
  type Field,
  type ValueOf,
} from "./fields.js";
import { DecodeError, Reader } from "./reader.js";
import { invalidRequest, tooLarge } from "./codes.js";
import { Writer } from "./writer.js";

const members = list(commandMembersMax, user);

/** Kind by kind: what its body has. */
const commandBodies = {
  send: record({ format: oneOf(0), text: text(textBytesMax) }),
  createGroup: record({ name: text(chatNameBytesMax), members }),
  createDirect: record({ peer: user }),
  addMembers: record({ role, withHistory: bool, members }),
  removeMembers: record({ members }),
  setRole: record({ member: user, role }),
  rename: record({ name: text(chatNameBytesMax) }),
  markRead: record({ chat, read: varint }),
  setSetting: record({ key: text(settingKeyBytesMax), value: bytes(settingValueBytesMax) }),
};

export type CommandName = keyof typeof commandBodies;
export type CommandBody = {
  [K in CommandName]: { readonly command: K } & ValueOf<(typeof commandBodies)[K]>;
}[CommandName];

const kinds: Readonly<Record<CommandName, number>> = {
  send: 0x01,
  createGroup: 0x02,
  createDirect: 0x03,
  addMembers: 0x04,
  removeMembers: 0x05,
  setRole: 0x06,
  rename: 0x07,
  markRead: 0x40,
  setSetting: 0x41,
};

/** In whose context a command is followed. */
const traceContext = record({ trace: opaque(16), span: opaque(8), flags: u8 });
export type TraceContext = ValueOf<typeof traceContext>;

const bodyOf = (name: CommandName): Field<Record<string, unknown>> =>
  commandBodies[name] as unknown as Field<Record<string, unknown>>;

/** Kind and body of a command. Throws a `RangeError` for what is above a limit (`too_large`). */
export function encodeCommand(body: CommandBody, trace: TraceContext | null = null): Uint8Array {
  const to = new Writer();
  to.u8(kinds[body.command]);
  bodyOf(body.command).write(to, body);
  if (trace !== null) {
    to.u8(1);
    traceContext.write(to, trace);
  }
  return to.finish();
}

/** What kind and body say, and the context behind them, if what stands there is one. */
export function decodeCommand(from: Reader): { readonly body: CommandBody; readonly trace: TraceContext | null } {
  const kind = from.u8();
  const name = (Object.keys(kinds) as CommandName[]).find((known) => kinds[known] === kind);
  if (name === undefined) throw new DecodeError("unknown version", invalidRequest);
  try {
    const body = { command: name, ...bodyOf(name).read(from) } as CommandBody;
    return { body, trace: readTrace(from) };
  } catch (error) {
    // Only here is a length above its limit a refusal: the session goes on.
    if (error instanceof DecodeError && error.reason === "a length or count is above its limit") {
      throw new DecodeError(error.reason, tooLarge);
    }
    throw error;
  }
}

/** A command is never refused for what stands here: bytes that are no context are none. */
function readTrace(from: Reader): TraceContext | null {
  if (from.left < 26 || from.u8() !== 1) return null;
  const read = traceContext.read(from);
  const isZero = (id: Uint8Array): boolean => id.every((byte) => byte === 0);
  return isZero(read.trace) || isZero(read.span) ? null : { ...read, flags: read.flags & 3 };
}

/** What a server would say of a Command's kind and body. Throws {@link DecodeError}. */
export const commandOf = (payload: Uint8Array): ReturnType<typeof decodeCommand> => decodeCommand(new Reader(payload));
