/**
 * The notation of `SPEC.md`, section 2, as values: each describes a field once, for reading and for writing. Frames,
 * commands and events are tables of them, so that the two directions cannot differ.
 */

import type { ChatId, DeviceId, EntityId, SessionId, UserId } from "../ids.js";
import { idBytes, idText, isIdOf, type IdKind } from "./identifiers.js";
import { DecodeError, type Reader } from "./reader.js";
import { utf8Bytes, type Writer } from "./writer.js";

export interface Field<T> {
  readonly read: (from: Reader) => T;
  readonly write: (to: Writer, value: T) => void;
}

/** What a field holds. */
export type ValueOf<F> = F extends Field<infer T> ? T : never;

const field = <T>(read: (from: Reader) => T, write: (to: Writer, value: T) => void): Field<T> => ({ read, write });

/** Of a value that is none of those listed. */
const outside = (): DecodeError => new DecodeError("a value is outside of its range");

/** What was to be written is longer than the spec allows. */
export class LimitError extends RangeError {}

function bounded(length: number, max: number): bigint {
  if (length > max) throw new LimitError("longer than its limit");
  return BigInt(length);
}

export const u8 = field(
  (from) => from.u8(),
  (to, value) => {
    to.u8(value);
  },
);

export const u16 = field(
  (from) => from.u16(),
  (to, value) => {
    to.u16(value);
  },
);

export const time = field(
  (from) => from.u64(),
  (to, value) => {
    to.u64(value);
  },
);

export const varint = field(
  (from) => from.varint(),
  (to, value) => {
    to.varint(value);
  },
);

/** So many bytes as they are. They are copied: a message's buffer does not stay for the sake of eight bytes in it. */
export const opaque = (length: number): Field<Uint8Array> =>
  field<Uint8Array>(
    (from) => from.take(length).slice(),
    (to, value) => {
      if (value.length !== length) throw new RangeError("not of its length");
      to.raw(value);
    },
  );

export const bytes = (max: number): Field<Uint8Array> =>
  field<Uint8Array>(
    (from) => from.take(from.count(max)).slice(),
    (to, value) => {
      to.varint(bounded(value.length, max));
      to.raw(value);
    },
  );

export const text = (max: number): Field<string> =>
  field(
    (from) => from.text(from.count(max)),
    (to, value) => {
      const encoded = utf8Bytes(value);
      to.varint(bounded(encoded.length, max));
      to.raw(encoded);
    },
  );

/** One of the listed numbers in one byte. */
export const oneOf = <const T extends number>(...values: readonly T[]): Field<T> =>
  field(
    (from) => {
      const read = from.u8();
      const value = values.find((listed) => listed === read);
      if (value === undefined) throw outside();
      return value;
    },
    (to, value) => {
      to.u8(value);
    },
  );

const bit = oneOf(0, 1);

export const bool: Field<boolean> = field(
  (from) => bit.read(from) === 1,
  (to, value) => {
    to.u8(value ? 1 : 0);
  },
);

export const list = <T>(max: number, of: Field<T>): Field<readonly T[]> =>
  field<readonly T[]>(
    (from) => {
      const items: T[] = [];
      for (let left = from.count(max); left > 0; left--) items.push(of.read(from));
      return items;
    },
    (to, items) => {
      to.varint(bounded(items.length, max));
      for (const item of items) of.write(to, item);
    },
  );

export const option = <T>(of: Field<T>): Field<T | null> =>
  field(
    (from) => (bool.read(from) ? of.read(from) : null),
    (to, value) => {
      bool.write(to, value !== null);
      if (value !== null) of.write(to, value);
    },
  );

export const pair = <A, B>(a: Field<A>, b: Field<B>): Field<readonly [A, B]> =>
  field(
    (from) => [a.read(from), b.read(from)] as const,
    (to, [first, second]) => {
      a.write(to, first);
      b.write(to, second);
    },
  );

type Values<S> = { readonly [K in keyof S]: ValueOf<S[K]> };

/** Fields one behind the other. */
export const record = <S extends { readonly [K in keyof S]: Field<ValueOf<S[K]>> }>(shape: S): Field<Values<S>> => {
  const fields = Object.entries(shape) as [string, Field<unknown>][];
  return field(
    (from) => Object.fromEntries(fields.map(([name, of]) => [name, of.read(from)])) as Values<S>,
    (to, value) => {
      for (const [name, of] of fields) of.write(to, (value as Record<string, unknown>)[name]);
    },
  );
};

/** One record behind another, as one. */
export const joined = <A extends object, B extends object>(a: Field<A>, b: Field<B>): Field<A & B> =>
  field(
    (from) => ({ ...a.read(from), ...b.read(from) }),
    (to, value) => {
      a.write(to, value);
      b.write(to, value);
    },
  );

type Choice<S> = { readonly [K in keyof S]: { readonly [Only in K]: ValueOf<S[Only]> } }[keyof S];

/** A byte that says which one follows: 0 the first. The value has one member, named like what it is. */
export const choice = <S extends { readonly [K in keyof S]: Field<ValueOf<S[K]>> }>(shape: S): Field<Choice<S>> => {
  const cases = Object.entries(shape) as [string, Field<unknown>][];
  return field(
    (from) => {
      const [name, of] = cases[from.u8()] ?? [];
      if (name === undefined || of === undefined) throw outside();
      return { [name]: of.read(from) } as Choice<S>;
    },
    (to, value) => {
      const at = cases.findIndex(([name]) => name in (value as object));
      const [name, of] = cases[at] ?? [];
      if (name === undefined || of === undefined) throw new RangeError("none of the cases");
      to.u8(at);
      of.write(to, (value as Record<string, unknown>)[name]);
    },
  );
};

/** A field whose values are more narrow than its type. */
export const checked = <T>(of: Field<T>, holds: (value: T) => boolean): Field<T> =>
  field((from) => {
    const value = of.read(from);
    if (!holds(value)) throw outside();
    return value;
  }, of.write);

const id = <T extends string>(kind: IdKind): Field<T> =>
  field(
    (from) => {
      const read = from.take(16);
      if (!isIdOf(kind, read)) throw new DecodeError("an identifier is of another kind");
      return idText(read) as T;
    },
    (to, value) => {
      const written = idBytes(value);
      if (written === null || !isIdOf(kind, written)) throw new RangeError("an identifier of another kind");
      to.raw(written);
    },
  );

export const user = id<UserId>("user");
export const device = id<DeviceId>("device");
export const chat = id<ChatId>("chat");
export const session = id<SessionId>("session");
export const entity = id<EntityId>("entity");

export const incarnation = opaque(8);
export const cursor = record({ incarnation, seq: varint });
/** 1 reader, 2 member, 3 admin, 4 owner. */
export const role = oneOf(1, 2, 3, 4);
