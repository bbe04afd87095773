/** Error codes, their names, and what their ranges make a client do (`SPEC.md`, section 11; a test compares). */

export const codeNames: Readonly<Record<number, string>> = {
  1000: "going",
  1100: "overloaded",
  1101: "heartbeat_timeout",
  1102: "handshake_timeout",
  1103: "internal",
  1104: "too_many_connections",
  1105: "inbox_damaged",
  1200: "token_expired",
  1201: "token_invalid",
  1202: "ticket_invalid",
  1300: "replaced",
  1301: "malformed",
  1302: "frame_too_large",
  1303: "version_unsupported",
  1304: "unexpected_frame",
  1305: "text_message",
  1306: "unknown_frame",
  1307: "origin_refused",
  1308: "revoked",
  2000: "unavailable",
  2001: "rate_limited",
  2002: "too_many_in_flight",
  2003: "backlogged",
  2004: "damaged",
  2100: "outcome_unknown",
  2101: "not_applied",
  2102: "held",
  2200: "invalid_request",
  2201: "not_found",
  2202: "not_member",
  2203: "forbidden",
  2204: "limit_reached",
  2205: "too_large",
  2206: "too_many_subscriptions",
  2207: "taken",
  2208: "bad_credentials",
  2209: "unauthenticated",
  2210: "version_conflict",
  2300: "counter_reused",
  2301: "out_of_order",
  2302: "nothing_to_do",
};

export const going = 1000;
export const heartbeatTimeout = 1101;
export const tokenInvalid = 1201;
export const ticketInvalid = 1202;
export const replaced = 1300;
export const malformed = 1301;
export const frameTooLarge = 1302;
export const versionUnsupported = 1303;
export const unexpectedFrame = 1304;
export const unknownFrame = 1306;
export const originRefused = 1307;
export const invalidRequest = 2200;
export const notFound = 2201;
export const tooLarge = 2205;
export const tooManySubscriptions = 2206;
export const counterReused = 2300;
export const outOfOrder = 2301;
export const nothingToDo = 2302;

/** The range that a code is in, also one that this version does not know: the code without its last two digits. */
export const rangeOf = (code: number): number => Math.floor(code / 100);
/** What {@link rangeOf} says of codes after which a client comes back with backoff. */
export const backoffRange = 11;
