/** What the parts of the core share. */

import { RefusedError, type ClientEvent } from "../api.js";
import type { DeviceId, OutboxId, UserId } from "../ids.js";
import { localRefusal, refusalOf } from "../refusals.js";
import type { Ask, Output, ReplyFrame } from "../session/machine.js";
import type { Connector } from "./connector.js";
import type { Journal } from "./journal.js";
import type { Surroundings } from "./surroundings.js";

/** Takes each reply to one request; `null`: the session is over, and none comes any more. */
export type OnReply = (reply: ReplyFrame | null, last: boolean) => void;

/** Which entry of the outbox has this counter of a device, if it is the own one. */
export type OutboxOf = (device: DeviceId, counter: number) => OutboxId | undefined;

export interface Context {
  readonly world: Surroundings;
  readonly me: UserId;
  readonly device: DeviceId;
  readonly requests: Requests;
  journal: Journal;
  connector: Connector;
  readonly emit: (event: ClientEvent) => void;
  /** Something that is shown changed: whoever listens hears of it soon. */
  soon(): void;
}

/** Which reply belongs to whom. */
export class Requests {
  #waiting = new Map<number, OnReply>();
  /** Raised with each session: what was begun in an older one knows by it. */
  session = 0;

  constructor(readonly connector: () => Connector) {}

  /** Sends it, or says `false`: there is no session, or too much waits. */
  ask(ask: Ask, on: OnReply): boolean {
    const connector = this.connector();
    if (!connector.isOnline) return false;
    // Registered before anything that the socket does in between can come back.
    const request = connector.machine?.request(ask, connector.world.now()) ?? null;
    if (request === null) return false;
    this.expect(request, on);
    connector.use(() => undefined);
    return true;
  }

  expect(request: number, on: OnReply): void {
    this.#waiting.set(request, on);
  }

  reply(output: Extract<Output, { readonly is: "reply" }>): void {
    const on = this.#waiting.get(output.request);
    if (output.last) this.#waiting.delete(output.request);
    on?.(output.reply, output.last);
  }

  lost(): void {
    this.session++;
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const on of waiting) on(null, true);
  }

  /** All replies to one request, which are of this type. Rejected with what refuses it, or `offline`. */
  all<T extends ReplyFrame["type"]>(ask: Ask, type: T): Promise<Extract<ReplyFrame, { readonly type: T }>[]> {
    type Reply = Extract<ReplyFrame, { readonly type: T }>;
    const isReply = (reply: ReplyFrame): reply is Reply => reply.type === type;
    return new Promise((resolve, reject) => {
      const replies: Reply[] = [];
      const offline = (): void => {
        reject(new RefusedError(localRefusal("offline")));
      };
      const sent = this.ask(ask, (reply, last) => {
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

  async one<T extends ReplyFrame["type"]>(ask: Ask, type: T): Promise<Extract<ReplyFrame, { readonly type: T }>> {
    const [reply] = await this.all(ask, type);
    if (reply === undefined) throw new RefusedError(localRefusal("offline"));
    return reply;
  }
}
