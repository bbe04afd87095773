/** `@panda/client`: see `README.md` for an example, `api.ts` for what everything means. */

export * from "./api.js";
export type * from "./ids.js";
export * from "./http.js";
export { createClient } from "./client.js";
export { chatIdFrom, userIdFrom } from "./codec/identifiers.js";
