/** Questions whose answer somebody waits for. */

import { RefusedError } from "../api.js";
import { localRefusal, refusalOf } from "../refusals.js";
import type { Ask, ReplyFrame } from "../session/machine.js";
import type { Requests } from "./context.js";

type Reply<T extends ReplyFrame["type"]> = Extract<ReplyFrame, { readonly type: T }>;

/** All replies to one request, which are of this type. Rejected with what refuses it, or `offline`. */
export function askAll<T extends ReplyFrame["type"]>(requests: Requests, ask: Ask, type: T): Promise<Reply<T>[]> {
  const isReply = (reply: ReplyFrame): reply is Reply<T> => reply.type === type;
  return new Promise((resolve, reject) => {
    const replies: Reply<T>[] = [];
    const offline = (): void => {
      reject(new RefusedError(localRefusal("offline")));
    };
    const sent = requests.ask(ask, (reply, last) => {
      if (reply === null) offline();
      else if (reply.type === "error")
        reject(new RefusedError(refusalOf(reply.code, reply.text, Number(reply.retryAfterMs))));
      else {
        if (isReply(reply)) replies.push(reply);
        if (last) resolve(replies);
      }
    });
    if (!sent) offline();
  });
}

/** The same of a request with one reply. */
export async function askOne<T extends ReplyFrame["type"]>(requests: Requests, ask: Ask, type: T): Promise<Reply<T>> {
  const [reply] = await askAll(requests, ask, type);
  if (reply === undefined) throw new RefusedError(localRefusal("offline"));
  return reply;
}
