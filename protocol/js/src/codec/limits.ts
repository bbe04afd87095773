/** What may be on the wire at most (`SPEC.md`, section 12; a test compares). Bytes unless the name says otherwise. */

export const frameBytesMax = 65_536;
export const helloBytesMax = 4_096;
export const tokenBytesMax = 3_072;
export const ticketBytesMax = 512;
export const proofBytesMax = 64;
export const clientNameBytesMax = 64;
export const textBytesMax = 16_384;
export const chatNameBytesMax = 256;
export const signalBytesMax = 1_024;
export const settingKeyBytesMax = 64;
export const settingValueBytesMax = 4_096;
export const errorTextBytesMax = 256;
export const addressBytesMax = 256;
export const eventBytesMax = 20_480;
/** Users named in one command. */
export const commandMembersMax = 100;
/** Chats in one Sync, outcomes in one Synced. */
export const syncChatsMax = 256;
/** Events asked for in one Page, rows in one Members or Chats. */
export const pageEventsMax = 256;
export const pageRowsMax = 256;
/** Kinds of limits in a Welcome. */
export const welcomeLimitsMax = 64;
/** Requests of a session that wait for their reply. */
export const requestsInFlightMax = 1_024;
/** Commands of a session to one entity that wait for their answer. */
export const unansweredCommandsMax = 64;
/** Applied commands of an (entity, user, device) whose answer is remembered. */
export const windowCommands = 128;
export const subscriptionsMax = 10_000;
/** The largest number that a varint holds. */
export const varintMax = (1n << 62n) - 1n;
