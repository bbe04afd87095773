/** All frames (`SPEC.md`, section 3), in both directions. */

import type { cursor, Field, ValueOf } from "./fields.js";
import { know } from "./framing.js";
import { requestFrames } from "./request_frames.js";
import { sessionFrames, type admission } from "./session_frames.js";

export { decodeMessage, encodeFrame } from "./framing.js";
export { noDevice } from "./session_frames.js";

type Frames = typeof sessionFrames & typeof requestFrames;
export type FrameName = keyof Frames;
export type FrameBody<N extends FrameName> = ValueOf<Frames[N][1]>;
export type Frame = { [N in FrameName]: { readonly type: N } & FrameBody<N> }[FrameName];
/** What a Sync's outcome or a Subscribed says of a chat that is listened to. */
export type Admission = ValueOf<typeof admission>;
export type Cursor = ValueOf<typeof cursor>;

know(requestFrames);

/** The type of each frame; also read by tests. */
export const frameTypes = Object.fromEntries(
  Object.entries({ ...sessionFrames, ...requestFrames } as Record<string, readonly [number, Field<object>]>).map(
    ([name, [type]]) => [name, type],
  ),
) as Readonly<Record<FrameName, number>>;
