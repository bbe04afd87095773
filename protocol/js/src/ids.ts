/**
 * Identifiers as applications see them: 26 characters of Crockford's base32 in lower case (`SPEC.md`, section 2). The
 * brands keep a user from being passed where a chat is meant; at run time they are plain strings, fit for keys, JSON and
 * URLs. `codec/identifiers.ts` makes them from bytes and checks texts that come from elsewhere.
 */

declare const kind: unique symbol;

/** A user; as an entity, the user's inbox. Made by the server. */
export type UserId = string & { readonly [kind]: "user" };
/** One installation: made once by this client and kept. */
export type DeviceId = string & { readonly [kind]: "device" };
/** A group or direct chat. */
export type ChatId = string & { readonly [kind]: "chat" };
/** One live connection of one device. */
export type SessionId = string & { readonly [kind]: "session" };
/** What has numbered events: a chat, or a user's inbox. */
export type EntityId = ChatId | UserId;
/** One entry of the outbox: made by the tab in which the person acted, before anything else happens. */
export type OutboxId = string & { readonly [kind]: "outbox" };
