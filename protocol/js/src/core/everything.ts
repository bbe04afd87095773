/** All that a core knows, for a store that takes the place of another. */

import type { ChatId, DeviceId } from "../ids.js";
import type { Change, Saved } from "../storage/store.js";
import type { Acting } from "./acting.js";
import type { Access, Connector } from "./connector.js";
import type { Following } from "./following.js";

export interface Known {
  readonly device: DeviceId;
  readonly access: Access | null;
  readonly connector: Connector;
  readonly following: Following;
  readonly looked: ReadonlySet<ChatId>;
  /** Until there is one, what was saved for it. */
  readonly acting: Acting | null;
  readonly saved: Saved | null;
}

/** Without history, which pages bring again. */
export function everything({ device, access, connector, following, looked, acting, saved }: Known): Change[] {
  const { inbox, complete, chats, settings } = following;
  const states: readonly (readonly [string, unknown])[] = [
    ["device", device],
    ["counter", acting?.counter ?? saved?.state.get("counter") ?? null],
    ["access", access],
    ["edges", connector.edges],
    ["inbox", inbox],
    ["complete", complete],
    ["looked", [...looked]],
    ...[...settings].map(([key, value]) => [`setting:${key}`, value] as const),
  ];
  return [
    ...states.filter(([, value]) => value !== null).map(([key, value]) => ({ put: "state", key, value }) as const),
    ...[...chats.values()].map(({ row }) => ({ put: "chat", row }) as const),
    ...(acting?.rows() ?? saved?.outbox ?? []).map((row) => ({ put: "outbox", row }) as const),
  ];
}
