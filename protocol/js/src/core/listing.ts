/** Reads which chats there are. */

import type { FrameBody } from "../codec/frames.js";
import { pageRowsMax } from "../codec/limits.js";
import { askOne } from "./asking.js";
import type { Context } from "./context.js";
import { plain } from "./events.js";
import { againMs, type Following } from "./following.js";

/** In this session; the next one begins it anew, if it has to. */
export async function readList(context: Context, following: Following, session: number): Promise<void> {
  const { requests, world } = context;
  if (session !== requests.session) return;
  const rows: FrameBody<"chatsPage">["chats"][number][] = [];
  let lowest = Infinity;
  try {
    for (let more = true; more;) {
      const after = rows.at(-1)?.chat ?? null;
      const page = await askOne(requests, { type: "chats", after, limit: BigInt(pageRowsMax) }, "chatsPage");
      rows.push(...page.chats);
      lowest = Math.min(lowest, plain(page.inbox));
      more = page.more && page.chats.length > 0;
    }
  } catch {
    world.after(againMs * (1 + world.random()), () => void readList(context, following, session));
    return;
  }
  if (session === requests.session) following.listed(rows, lowest);
}
