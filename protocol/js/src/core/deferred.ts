/**
 * The code that a core does not need to open, show what is kept and connect. It is a file of its own, which is loaded when
 * somebody first acts, the store gives up, or a session opens, whatever is first: from then on nothing is loaded any more.
 */

export { requestFrames } from "../codec/request_frames.js";
export { Acting } from "./acting.js";
export { everything } from "./everything.js";
export { MemoryStore } from "../storage/memory.js";
// Loaded along, so that it is there when a store calls it.
export { readEvents, removeEvents } from "../storage/events.js";
