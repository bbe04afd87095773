/** Error codes, and what their ranges make a client do (`SPEC.md`, section 11; a test compares). */

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
