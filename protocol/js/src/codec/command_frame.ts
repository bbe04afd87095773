/** The frame that carries a command (`SPEC.md`, section 3); `commands.ts` has what it says. */

import type { EntityId } from "../ids.js";
import { entity, record, varint, type Field } from "./fields.js";
import { DecodeError } from "./reader.js";

export interface CommandFrame {
  readonly request: bigint;
  readonly entity: EntityId;
  readonly counter: bigint;
  readonly after: bigint;
  /** Kind, body and what is behind it: what the digest is of. {@link encodeCommand} makes it. */
  readonly payload: Uint8Array;
}

const head = record({ request: varint, entity, counter: varint, after: varint });

/** A Command's frame. What it asks for stays bytes: a resend must have the same ones, whatever this version thinks of them. */
export const commandFrame: Field<CommandFrame> = {
  read(from) {
    const fields = head.read(from);
    if (fields.counter === 0n || fields.after >= fields.counter)
      throw new DecodeError("a value is outside of its range");
    return { ...fields, payload: from.take(from.left).slice() };
  },
  write(to, value) {
    head.write(to, value);
    to.raw(value.payload);
  },
};
