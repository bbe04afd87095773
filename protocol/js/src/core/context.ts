/** What the parts of the core share. */

import type { ClientEvent } from "../api.js";
import type { DeviceId, OutboxId, UserId } from "../ids.js";
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
}
