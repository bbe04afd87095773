/** Messages that keep coming, at a rate, from many people at once. */

import type { People } from "./people";

/** So often messages leave, as many as are due by then. */
const EVERY_MS = 50;
/** Messages under way at once. What is due beyond waits: a server is not to be asked for the rest of a slow minute at once. */
const UNDER_WAY_MAX = 100;

export interface Stream {
  readonly chat: string;
  readonly perSecond: number;
  /** What the next message says. */
  readonly next: (number: number) => string;
}

/** Which number each stored message has in its chat: by stream, `[seq, number of the message]`. */
export type Stored = (readonly [seq: number, number: number])[][];

/** Sends until the time is over and all is stored. `each` is called again and again meanwhile, once at a time. */
export async function flow(people: People, senders: readonly string[], streams: readonly Stream[], seconds: number, each: () => Promise<void>): Promise<Stored> {
  const begin = Date.now();
  const stored: Stored = streams.map(() => []);
  const sent = streams.map(() => 0);
  const underWay = new Set<Promise<void>>();
  let turn = 0;
  let meanwhile: Promise<void> | null = null;
  const failed: unknown[] = [];
  const due = (stream: Stream) => Math.min(seconds * stream.perSecond, Math.floor(((Date.now() - begin) / 1000) * stream.perSecond));
  for (;;) {
    streams.forEach((stream, at) => {
      for (let number = sent[at] ?? 0; number < due(stream) && underWay.size < UNDER_WAY_MAX; number += 1) {
        sent[at] = number + 1;
        turn += 1;
        const sender = senders[turn % senders.length] ?? "";
        const send = people.say(stream.chat, sender, stream.next(number)).then(
          (seq) => void stored[at]?.push([seq, number]),
          (error: unknown) => void failed.push(error),
        );
        const tracked: Promise<void> = send.finally(() => underWay.delete(tracked)).then(() => undefined);
        underWay.add(tracked);
      }
    });
    if (failed.length > 0 || streams.every((stream, at) => (sent[at] ?? 0) >= seconds * stream.perSecond)) break;
    meanwhile ??= each()
      .catch((error: unknown) => void failed.push(error))
      .finally(() => (meanwhile = null));
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
  }
  await Promise.all([...underWay, meanwhile]);
  if (failed.length > 0) throw new AggregateError(failed, `${failed.length} messages could not be sent`);
  return stored;
}
