/** The codec alone, for tools and tests: bytes to frames and events and back, without any state. */

export { codeNames } from "./code_names.js";
export { decodeMessage, encodeFrame, frameTypes, noDevice, type Frame } from "./frames.js";
export { commandOf, encodeCommand, type CommandBody, type TraceContext } from "./commands.js";
export { decodeEvent, encodeEvent, eventName, type Event, type EventBody } from "./events.js";
export { directChatId, groupChatId } from "./chat_ids.js";
export { chatIdFrom, idBytes, idText, newDeviceId, userIdFrom } from "./identifiers.js";
export { DecodeError, Reader } from "./reader.js";
export { sha256 } from "./sha256.js";
export * as limits from "./limits.js";
